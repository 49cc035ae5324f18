//! The layout of a commit: which of its files is the spec, which are sources, and which is the list
//! of look-aside files.
//!
//! Flat (Fedora, CentOS Stream): everything at the root, the list in `sources`. Exploded (imports
//! of SRPMs): `SPECS/`, `SOURCES/`, the list in `.NAME.metadata`.

use std::collections::BTreeMap;

use rpmfarm_core::digest::DigestKind;
use rpmfarm_core::name::shown;

use super::tree::{EntryKind, MAX_FILES, Tree, TreeEntry};
use super::{DistgitError, ListForm, LookasideFile};

/// How a commit is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutKind {
    /// Everything at the root.
    Flat,
    /// `SPECS/` and `SOURCES/`.
    Exploded,
}

/// A file of the commit that goes into the source bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// Its file name in the bundle.
    pub name: String,
    /// The path of its content in the tree, after following a symlink.
    pub path: String,
    /// Whether git has it as executable (mode 100755).
    pub executable: bool,
}

/// The parts of a commit that make the source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Flat or exploded.
    pub kind: LayoutKind,
    pub spec: CommittedFile,
    /// Patches and other committed sources, sorted by name.
    pub sources: Vec<CommittedFile>,
    /// The list of look-aside files: its path in the tree and its form.
    pub list: Option<(String, ListForm)>,
    /// Further spec files, which are not built.
    pub other_specs: Vec<String>,
}

/// The file that replaces the spec on a branch where the package was retired (dist-git of Fedora
/// and CentOS: `fedpkg retire`).
const RETIRED: &str = "dead.package";

impl Layout {
    /// Determines the layout from the entries of a tree. Of several specs, it chooses the one with
    /// the first of `names` that matches any. Only the files of the source package are checked;
    /// other directories may hold anything.
    ///
    /// # Errors
    /// When there is no spec, or several and none with one of these names; when the name of a
    /// source is not a valid file name, or a source is a link out of the tree.
    pub fn detect(
        package: &str,
        spec_names: &[String],
        entries: &[TreeEntry],
    ) -> Result<Self, DistgitError> {
        if entries.len() > MAX_FILES {
            return Err(DistgitError::ManyFiles(entries.len()));
        }
        let tree = Tree::from_entries(entries);
        let specs: Vec<&str> = specs(&tree, "").chain(specs(&tree, "SPECS/")).collect();
        if specs.is_empty() {
            let module = ["SPECS", "SOURCES"]
                .into_iter()
                .find(|dir| matches!(tree.get(dir), Some(EntryKind::Submodule)));
            return Err(match module {
                _ if tree.get(RETIRED).is_some() => DistgitError::Retired,
                Some(module) => DistgitError::Submodule(module.to_owned()),
                None => DistgitError::NoSpec,
            });
        }
        let spec = choose_spec(&specs, spec_names).ok_or_else(|| DistgitError::ManySpecs {
            specs: specs.iter().map(|path| shown(path)).collect(),
            package: shown(package),
            name: spec_names.first().map_or_else(String::new, |name| shown(name)),
        })?;
        let kind = if spec.contains('/') { LayoutKind::Exploded } else { LayoutKind::Flat };
        let other_specs = specs.iter().filter(|other| **other != spec).map(|o| shown(o)).collect();
        let list = find_list(&tree, package, kind)?;
        let spec = tree.committed(spec)?.ok_or(DistgitError::NoSpec)?;
        let sources = find_sources(&tree, kind, &spec, list.as_ref())?;
        Ok(Self { kind, spec, sources, list, other_specs })
    }

    /// Checks the look-aside files against the committed files and the rules of the target. Returns
    /// the files that are committed as well: they are not fetched, and the caller compares their
    /// content with the list ([`DistgitError::Differs`]).
    ///
    /// # Errors
    /// When the list has a file twice, or the spec, or when a file has only an MD5 digest and the
    /// target does not allow that.
    pub fn check_list<'l>(
        &'l self,
        files: &'l [LookasideFile],
        allow_md5: bool,
    ) -> Result<Vec<(&'l CommittedFile, &'l LookasideFile)>, DistgitError> {
        let list = self.list_name();
        let mut seen: BTreeMap<&str, &str> =
            [(self.spec.name.as_str(), self.spec.path.as_str())].into();
        let mut committed_too = Vec::new();
        for file in files {
            if let Some(first) = seen.insert(&file.name, list) {
                return Err(DistgitError::Twice {
                    name: file.name.clone(),
                    first: first.to_owned(),
                    second: list.to_owned(),
                });
            }
            if let Some(committed) = self.sources.iter().find(|source| source.name == file.name) {
                committed_too.push((committed, file));
            } else if file.checksum.kind == DigestKind::Md5 && !allow_md5 {
                return Err(DistgitError::Md5(file.name.clone()));
            }
        }
        Ok(committed_too)
    }

    /// The path of the list, for messages.
    #[must_use]
    pub fn list_name(&self) -> &str {
        self.list.as_ref().map_or("the list", |(path, _)| path)
    }
}

/// The spec files directly in a directory.
fn specs<'a>(tree: &Tree<'a>, dir: &str) -> impl Iterator<Item = &'a str> {
    let is_file = move |path: &&str| !matches!(tree.get(path), Some(EntryKind::Submodule));
    tree.files_in(dir).filter(|path| path.ends_with(".spec")).filter(is_file)
}

/// The spec to build: the only one, or the one with the first of these names that matches any.
/// `None` when that does not decide.
#[must_use]
pub fn choose_spec<'p>(specs: &[&'p str], names: &[String]) -> Option<&'p str> {
    if let [one] = specs {
        return Some(*one);
    }
    let name_of = |path: &'p str| path.rsplit('/').next().unwrap_or(path);
    let name = names.iter().find(|name| specs.iter().any(|path| name_of(path) == **name))?;
    let mut named = specs.iter().copied().filter(|path| name_of(path) == *name);
    named.next().filter(|_| named.next().is_none())
}

/// The list of look-aside files: `sources`, or else the one `.NAME.metadata`.
fn find_list(
    tree: &Tree<'_>,
    package: &str,
    kind: LayoutKind,
) -> Result<Option<(String, ListForm)>, DistgitError> {
    if kind == LayoutKind::Flat && tree.get("sources").is_some() {
        return Ok(tree.committed("sources")?.map(|file| (file.path, ListForm::Sources)));
    }
    let own = format!(".{package}.metadata");
    let all: Vec<_> = tree.files_in("").filter(|path| is_metadata(path)).collect();
    let path = match all.as_slice() {
        [] => return Ok(None),
        [one] => *one,
        many if many.contains(&own.as_str()) => own.as_str(),
        many => return Err(DistgitError::ManyLists(many.iter().map(|p| shown(p)).collect())),
    };
    Ok(tree.committed(path)?.map(|file| (file.path, ListForm::Metadata)))
}

fn is_metadata(path: &str) -> bool {
    path.starts_with('.') && path.ends_with(".metadata")
}

/// The committed sources beside the spec. Subdirectories (tests, CI) are not sources.
fn find_sources(
    tree: &Tree<'_>,
    kind: LayoutKind,
    spec: &CommittedFile,
    list: Option<&(String, ListForm)>,
) -> Result<Vec<CommittedFile>, DistgitError> {
    let dir = match kind {
        LayoutKind::Flat => "",
        LayoutKind::Exploded => "SOURCES/",
    };
    match tree.get(dir.trim_end_matches('/')) {
        Some(EntryKind::Symlink(target)) => {
            return Err(DistgitError::LinkBroken { path: "SOURCES".into(), target: shown(target) });
        }
        Some(EntryKind::Submodule) => return Err(DistgitError::Submodule("SOURCES".into())),
        _ => {}
    }
    let mut sources: Vec<CommittedFile> = Vec::new();
    for path in tree.files_in(dir) {
        let is_list = list.is_some_and(|(list, _)| list == path) || is_metadata(path);
        let is_git = path.starts_with(".git");
        let is_spec = kind == LayoutKind::Flat && path.ends_with(".spec");
        if is_list || is_git || is_spec {
            continue;
        }
        let Some(file) = tree.committed(path)? else { continue };
        if file.name == spec.name {
            return Err(DistgitError::Twice {
                name: file.name,
                first: spec.path.clone(),
                second: file.path,
            });
        }
        sources.push(file);
    }
    if kind == LayoutKind::Exploded {
        add_nested(tree, dir, spec, &mut sources)?;
    }
    Ok(sources)
}

/// Sources in directories below `SOURCES/`. rpm knows sources only by their names, so a file counts
/// when no other has its name. Files that cannot be sources are left out, since whole trees of
/// tests may be there.
fn add_nested(
    tree: &Tree<'_>,
    dir: &str,
    spec: &CommittedFile,
    sources: &mut Vec<CommittedFile>,
) -> Result<(), DistgitError> {
    let mut nested: BTreeMap<&str, Vec<Option<CommittedFile>>> = BTreeMap::new();
    for path in tree.paths().filter(|path| path.strip_prefix(dir).is_some_and(|p| p.contains('/')))
    {
        let name = path.rsplit('/').next().unwrap_or(path);
        // A file that cannot be a source still makes its name ambiguous.
        nested.entry(name).or_default().push(tree.committed(path).unwrap_or_default());
    }
    for (name, mut files) in nested {
        let taken = name == spec.name || sources.iter().any(|file| file.name == name);
        if let (1, Some(Some(file))) = (files.len(), files.pop())
            && !taken
        {
            sources.push(file);
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rpmfarm_core::digest::Checksum;
    use rpmfarm_core::name::check_file;

    use super::super::tree::tests::file;
    use super::*;

    fn detect(entries: &[TreeEntry]) -> Result<Layout, DistgitError> {
        Layout::detect("hello", &["hello.spec".to_owned()], entries)
    }

    fn names(layout: &Layout) -> Vec<&str> {
        layout.sources.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn flat() {
        let layout = detect(&[
            file(".gitignore"),
            file("hello.spec"),
            file("b.patch"),
            file("a.patch"),
            file("sources"),
            file("tests/run.sh"),
        ])
        .unwrap();
        assert_eq!(layout.kind, LayoutKind::Flat);
        assert_eq!(layout.spec.path, "hello.spec");
        assert_eq!(names(&layout), ["a.patch", "b.patch"]);
        assert_eq!(layout.list, Some(("sources".into(), ListForm::Sources)));
    }

    #[test]
    fn exploded() {
        let layout = detect(&[
            file(".hello.metadata"),
            file("README.md"),
            file("SOURCES/a.patch"),
            file("SOURCES/deep/x"),
            file("SPECS/hello.spec"),
        ])
        .unwrap();
        assert_eq!(layout.kind, LayoutKind::Exploded);
        assert_eq!(
            layout.spec,
            CommittedFile {
                name: "hello.spec".into(),
                path: "SPECS/hello.spec".into(),
                executable: false
            }
        );
        assert_eq!(names(&layout), ["a.patch", "x"]);
        assert_eq!(layout.list, Some((".hello.metadata".into(), ListForm::Metadata)));
    }

    #[test]
    fn a_list_is_not_needed() {
        assert_eq!(detect(&[file("x.spec")]).unwrap().list, None);
        assert_eq!(detect(&[file("SPECS/x.spec")]).unwrap().list, None);
    }

    #[test]
    fn exactly_one_spec() {
        assert_eq!(detect(&[file("a.patch")]), Err(DistgitError::NoSpec));
        assert_eq!(detect(&[file("deep/hello.spec")]), Err(DistgitError::NoSpec));
        assert_eq!(detect(&[file("dead.package")]), Err(DistgitError::Retired));
        assert!(detect(&["dead.package", "a.spec"].map(file)).is_ok());
        for two in [
            ["a.spec", "b.spec"],
            ["SPECS/a.spec", "SPECS/b.spec"],
            ["SPECS/a.spec", "a.spec"],
            ["SPECS/hello.spec", "hello.spec"],
        ] {
            let error = detect(&two.map(file)).unwrap_err();
            let is_many =
                matches!(&error, DistgitError::ManySpecs { specs, .. } if specs.len() == 2);
            assert!(is_many, "{error}");
            let words = "say which one is built with `spec = \"FILE.spec\"` under [packages.hello]";
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn of_several_specs_the_package_s_own() {
        for (other, own) in [
            ("old-hello.spec", "hello.spec"),
            ("SPECS/a.spec", "SPECS/hello.spec"),
            ("hello.spec", "SPECS/a.spec"),
            ("a.spec", "SPECS/hello.spec"),
        ] {
            let names = [own.rsplit('/').next().unwrap(), "hello.spec"].map(str::to_owned);
            let entries = [other, own, "a.patch", "SOURCES/b.patch"].map(file);
            let layout = Layout::detect("hello", &names, &entries).unwrap();
            assert_eq!(
                (layout.spec.path.as_str(), &*layout.other_specs),
                (own, &[other.to_owned()][..])
            );
            let patch = if own.contains('/') { "b.patch" } else { "a.patch" };
            assert_eq!(super::tests::names(&layout), [patch]);
        }
        assert!(detect(&[file("a.spec")]).unwrap().other_specs.is_empty());
    }

    #[test]
    fn what_no_build_reads_stops_nothing() {
        let of = |path: &str, kind: EntryKind| TreeEntry { path: path.into(), kind };
        let link = |to: &str| EntryKind::Symlink(to.to_owned());
        for odd in [
            of("tests/a\nb", EntryKind::File),
            of("tests/\u{fffd}", EntryKind::NotUtf8),
            of("tests/x", link("/etc/passwd")),
            of("tests/x", link("nothing")),
            of("ci", EntryKind::Submodule),
            of("tests/dep", EntryKind::Submodule),
            of(&format!("tests/{}", "x".repeat(5000)), EntryKind::File),
            of(&"deep/".repeat(200), EntryKind::File),
            of("SOURCES/tests/\u{fffd}", EntryKind::NotUtf8),
            of("SOURCES/tests/dep", EntryKind::Submodule),
            of("SOURCES/dep", EntryKind::Submodule),
        ] {
            for spec in ["hello.spec", "SPECS/hello.spec"] {
                let entries = [file(spec), odd.clone()];
                let layout = detect(&entries).unwrap_or_else(|error| panic!("{odd:?}: {error}"));
                assert_eq!(names(&layout), [""; 0], "{odd:?}");
            }
        }
        // What would be taken is judged, and named.
        for (spec, odd) in [
            ("hello.spec", of("caf\u{fffd}.patch", EntryKind::NotUtf8)),
            ("SPECS/hello.spec", of("SOURCES/caf\u{fffd}.patch", EntryKind::NotUtf8)),
            ("hello.spec", of("caf\u{fffd}.patch", link("/etc/passwd"))),
            ("SPECS/hello.spec", of("SOURCES/caf\u{fffd}.patch", link("nothing"))),
        ] {
            let error = detect(&[file(spec), odd]).unwrap_err().to_string();
            assert!(error.contains("caf\u{fffd}.patch"), "{error}");
        }
        let modules = ["SPECS", "SOURCES"].map(|path| of(path, EntryKind::Submodule));
        assert_eq!(detect(&modules), Err(DistgitError::Submodule("SPECS".into())));
    }

    #[test]
    fn names_are_plain() {
        for bad in ["-x", "a\nb", "a\0b"] {
            let error = detect(&[file("hello.spec"), file(bad)]).unwrap_err();
            assert!(matches!(error, DistgitError::Name { .. }), "{error}");
        }
    }

    #[test]
    fn lists_are_checked_against_the_tree() {
        let layout = detect(&[file("hello.spec"), file("a.patch"), file("sources")]).unwrap();
        let of = |name: &str, digits: usize| LookasideFile {
            name: name.into(),
            checksum: Checksum::from_hex(&"0".repeat(digits)).unwrap(),
        };
        assert_eq!(layout.check_list(&[of("x.tar", 128)], false), Ok(Vec::new()));
        assert_eq!(layout.check_list(&[of("x.tar", 32)], true), Ok(Vec::new()));
        let error = layout.check_list(&[of("x.tar", 32)], false).unwrap_err();
        assert!(error.to_string().contains("allow_md5"), "{error}");
        let error = layout.check_list(&[of("x", 64), of("x", 64)], false).unwrap_err();
        assert!(matches!(error, DistgitError::Twice { .. }), "{error}");
        // The caller compares the files that are committed as well.
        let files = [of("y", 64), of("a.patch", 32)];
        let both = layout.check_list(&files, false).unwrap();
        assert_eq!(both, [(&layout.sources[0], &files[1])]);
        assert!(layout.check_list(&[of("hello.spec", 64)], false).is_err());
    }

    fn entry() -> impl Strategy<Value = TreeEntry> {
        let part = prop_oneof![
            "[a-c./-]{0,4}",
            Just("SPECS".to_owned()),
            Just("SOURCES".to_owned()),
            Just("x.spec".to_owned()),
            Just("..".to_owned()),
            any::<String>(),
        ];
        let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
        let kind = prop_oneof![
            4 => any::<bool>().prop_map(EntryKind::file),
            2 => path.clone().prop_map(EntryKind::Symlink),
            1 => Just(EntryKind::Submodule),
        ];
        (path, kind).prop_map(|(path, kind)| TreeEntry { path, kind })
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_plain_and_in_the_tree(entries in prop::collection::vec(entry(), 0..12)) {
            if let Ok(layout) = detect(&entries) {
                for file in std::iter::once(&layout.spec).chain(&layout.sources) {
                    prop_assert!(check_file(&file.name).is_ok());
                    let kind = EntryKind::file(file.executable);
                    prop_assert!(entries.iter().any(|e| e.path == file.path && e.kind == kind));
                }
            }
        }
    }
}
