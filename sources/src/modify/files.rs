//! Adding and deleting files: `add_files` and `delete_files`.

use rpmfarm_core::name::check_file;

use super::ApplyError;
use super::apply::Context;
use super::config::Parameters;
use super::edit::{AddFile, DeleteFile, FileType};
use super::lines::Lines;
use super::patches::{self, PatchContext};
use super::tree::Tree;
use crate::distgit::LookasideFile;

/// `add_files`: the file from `files/` of the modifications, and its tag in the spec.
pub(super) fn add(
    edit: &AddFile,
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
) -> Result<(), ApplyError> {
    check_file(&edit.name)?;
    let from = format!("files/{}", edit.name);
    if !modifications.has(&from) {
        return Err(ApplyError::NotThere(from));
    }
    let to = match tree.has_directory("SPECS") {
        true => format!("SOURCES/{}", edit.name),
        false => edit.name.clone(),
    };
    if tree.has(&to) {
        return Err(ApplyError::FileExists(to));
    }
    if edit.modify_spec {
        // Some packages keep their list of patches in a file of its own.
        let list = tree.matching("*.patches").into_iter().next();
        let is_list = edit.kind == FileType::Patch && list.is_some();
        let path = match list.filter(|_| is_list) {
            Some(list) => list,
            None => tree.spec()?,
        };
        let mut file = Lines::read(tree, &path)?;
        let place = PatchContext {
            package: &context.package,
            file: &path,
            is_list,
            comments: edit.insert_almalinux_line.unwrap_or(parameters.insert_almalinux_line),
        };
        patches::add(&mut file.lines, edit, &place)?;
        file.write(tree, &path);
    }
    let content = modifications.read(&from)?;
    tree.add(&to, content, modifications.is_executable(&from));
    Ok(())
}

/// `delete_files`: from the tree, or else from the list of look-aside files.
pub(super) fn delete(
    edit: &DeleteFile,
    tree: &mut Tree<'_>,
    context: &Context,
) -> Result<(), ApplyError> {
    let missing = match tree.targets(&edit.file_name) {
        Ok(_) => {
            // The link is deleted, not its target.
            let path = tree.matching(&edit.file_name).remove(0);
            tree.remove(&path);
            return Ok(());
        }
        Err(missing) => missing,
    };
    for list in [format!(".{}.metadata", context.package), "sources".to_owned()] {
        if !tree.has(&list) {
            continue;
        }
        let mut file = Lines::read(tree, &list)?;
        let name = edit.file_name.strip_prefix("SOURCES/").unwrap_or(&edit.file_name);
        let all = file.lines.len();
        file.lines.retain(|line| {
            !matches!(LookasideFile::parse_list(&list, line).as_deref(), Ok([one]) if one.name == name)
        });
        if file.lines.len() < all {
            file.write(tree, &list);
            return Ok(());
        }
    }
    Err(missing)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::distgit::{EntryKind, TreeEntry};
    use crate::modify::tree::Node;

    fn contents(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn tree(original: &BTreeMap<String, Vec<u8>>) -> Tree<'_> {
        Tree::new(original.keys().map(|path| (path.clone(), Node::Original)), original)
    }

    fn file(kind: FileType, name: &str) -> AddFile {
        AddFile {
            kind,
            name: name.to_owned(),
            number: super::super::number::PatchNumber::Is(900),
            modify_spec: true,
            insert_almalinux_line: Some(false),
            no_backup: false,
        }
    }

    #[test]
    fn files_are_added_where_the_layout_has_them() {
        let (parameters, context) = (Parameters::default(), Context::for_tests());
        let modifications = contents(&[("files/a.patch", "A"), ("files/x.cer", "X")]);
        let modifications = tree(&modifications);
        let spec = "Source0: s\n%autosetup\n";
        let exploded = contents(&[("SPECS/x.spec", spec), ("SOURCES/old", "")]);
        let mut exploded = tree(&exploded);
        let add_to = |edit: &AddFile, tree: &mut Tree<'_>| {
            add(edit, &parameters, tree, &modifications, &context)
        };
        add_to(&file(FileType::Patch, "a.patch"), &mut exploded).unwrap();
        add_to(&file(FileType::Source, "x.cer"), &mut exploded).unwrap();
        assert_eq!(exploded.text("SOURCES/a.patch").unwrap(), "A");
        let expected = "Source0: s\nSource900: x.cer\nPatch900: a.patch\n%autosetup\n";
        assert_eq!(exploded.text("SPECS/x.spec").unwrap(), expected);

        let flat = contents(&[("x.spec", spec), ("x.patches", "Patch1: y\n")]);
        let mut flat = tree(&flat);
        add_to(&file(FileType::Patch, "a.patch"), &mut flat).unwrap();
        assert_eq!(flat.text("x.patches").unwrap(), "Patch1: y\nPatch900: a.patch\n");
        assert_eq!(flat.text("x.spec").unwrap(), spec);
        assert_eq!(flat.text("a.patch").unwrap(), "A");

        let error = add_to(&file(FileType::Patch, "a.patch"), &mut flat).unwrap_err();
        assert_eq!(error, ApplyError::FileExists("a.patch".to_owned()));
        let error = add_to(&file(FileType::Patch, "b.patch"), &mut flat).unwrap_err();
        assert_eq!(error, ApplyError::NotThere("files/b.patch".to_owned()));
        assert!(add_to(&file(FileType::Patch, "../a"), &mut flat).is_err());
    }

    #[test]
    fn what_is_added_or_changed_keeps_its_mode() {
        let of = |files: &[(&str, bool)]| -> Vec<TreeEntry> {
            let entry = |(path, executable): &(&str, bool)| TreeEntry {
                path: (*path).to_owned(),
                kind: EntryKind::file(*executable),
            };
            files.iter().map(entry).collect()
        };
        let contents = contents(&[("files/run", "#!"), ("files/text", "t"), ("files/link", "l")]);
        let mut entries = of(&[("files/run", true), ("files/text", false)]);
        let link = EntryKind::Symlink("run".to_owned());
        entries.push(TreeEntry { path: "files/link".to_owned(), kind: link });
        let modifications = Tree::from_entries(&entries, &contents);
        let original = super::tests::contents(&[("x.spec", "Source0: s\n"), ("s", "old")]);
        let mut tree = Tree::from_entries(&of(&[("x.spec", false), ("s", true)]), &original);
        for name in ["run", "text", "link"] {
            let edit = AddFile { modify_spec: false, ..file(FileType::Source, name) };
            add(&edit, &Parameters::default(), &mut tree, &modifications, &Context::for_tests())
                .unwrap();
        }
        tree.write("s", b"new".to_vec());
        let found = ["run", "text", "link", "s", "x.spec"].map(|path| tree.is_executable(path));
        assert_eq!(found, [true, false, true, true, false]);
        // A file of the same name that comes later is another one.
        tree.remove("s");
        tree.write("s", b"text".to_vec());
        assert!(!tree.is_executable("s"));
    }

    #[test]
    fn files_are_deleted_from_the_tree_or_the_list() {
        let sha1 =
            format!("{} SOURCES/old.cer\n{} SOURCES/x.tar\n", "a".repeat(40), "b".repeat(40));
        let flat = format!("SHA512 (y.tar) = {}\n", "c".repeat(128));
        let original =
            contents(&[("SOURCES/a.cer", ""), (".x.metadata", &sha1), ("sources", &flat)]);
        let mut tree = tree(&original);
        let context = Context::for_tests();
        let mut gone =
            |name: &str| delete(&DeleteFile { file_name: name.to_owned() }, &mut tree, &context);
        gone("a.cer").unwrap();
        gone("old.cer").unwrap();
        gone("SOURCES/x.tar").unwrap();
        gone("y.tar").unwrap();
        let error = gone("y.tar").unwrap_err().to_string();
        assert!(error.contains("no file matches `y.tar`"), "{error}");
        assert!(!tree.has("SOURCES/a.cer"));
        assert_eq!(tree.text(".x.metadata").unwrap(), "");
        assert_eq!(tree.text("sources").unwrap(), "");
        let changes: Vec<_> =
            tree.changes().unwrap().into_iter().map(|change| change.path).collect();
        assert_eq!(changes, [".x.metadata", "SOURCES/a.cer", "sources"]);
    }
}
