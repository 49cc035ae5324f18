//! The files of one package, between Debian's layout and the lab's.
//!
//! Owns the merge of `/bin`, `/sbin` and `/lib*` below `/usr`, the pruned paths and the additions
//! of a recipe. Must not know of packages' names or fields.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::recipe::Changes;

/// Directories of Debian's packages that are links to those below `/usr` in a merged system.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A change of a recipe that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file operation failed.
    #[error("cannot change {}", path.display())]
    Io {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The text to replace was not found.
    #[error("{file} does not hold the text `{find}` that the recipe replaces")]
    NotFound {
        /// The file of the package.
        file: String,
        find: String,
    },
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, TreeError> {
    result.map_err(|source| TreeError::Io { path: path.to_path_buf(), source })
}

/// Moves `/bin`, `/sbin` and `/lib*` below `/usr`; returns the paths that files of `/bin` and
/// `/sbin` had, for these are required by name.
pub(super) fn merge_usr(root: &Path) -> Result<Vec<String>, TreeError> {
    let mut former = Vec::new();
    for name in MERGED {
        let from = root.join(name);
        if !from.is_dir() || from.is_symlink() {
            continue;
        }
        if matches!(name, "bin" | "sbin") {
            for entry in at(&from, fs::read_dir(&from))? {
                let file = at(&from, entry)?.file_name();
                former.push(format!("/{name}/{}", file.to_string_lossy()));
            }
        }
        let usr = root.join("usr");
        at(&usr, fs::create_dir_all(&usr))?;
        move_into(&from, &usr.join(name), &Path::new("/").join(name))?;
    }
    former.sort();
    Ok(former)
}

/// Moves a directory's content into another; `place` is its path in the root.
fn move_into(from: &Path, to: &Path, place: &Path) -> Result<(), TreeError> {
    at(to, fs::create_dir_all(to))?;
    for entry in at(from, fs::read_dir(from))? {
        let entry = at(from, entry)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = at(&source, entry.file_type())?;
        if kind.is_dir() {
            move_into(&source, &target, &place.join(entry.file_name()))?;
        } else if kind.is_symlink() {
            let link = at(&source, fs::read_link(&source))?;
            at(&target, symlink(moved_link(place, &link), &target))?;
            at(&source, fs::remove_file(&source))?;
        } else {
            at(&target, fs::rename(&source, &target))?;
        }
    }
    at(from, fs::remove_dir(from))
}

/// The target of a relative link in `place` after the move, which is one level deeper: links that
/// leave the top directory become absolute.
fn moved_link(place: &Path, link: &Path) -> PathBuf {
    if link.is_absolute() {
        return link.to_path_buf();
    }
    let mut resolved: Vec<&std::ffi::OsStr> = Vec::new();
    let mut left = false;
    let parts = place.join(link);
    for part in parts.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
                left |= resolved.is_empty();
            }
            Component::Normal(name) => resolved.push(name),
            _ => {}
        }
    }
    if left {
        Path::new("/").join(resolved.iter().collect::<PathBuf>())
    } else {
        link.to_path_buf()
    }
}

/// Removes the paths that no package of the lab has.
pub(super) fn prune(root: &Path, paths: &[String]) -> Result<(), TreeError> {
    paths.iter().try_for_each(|path| remove(&root.join(path)))
}

fn remove(path: &Path) -> Result<(), TreeError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    at(path, removed)
}

/// Makes the recipe's changes.
pub(super) fn change(root: &Path, changes: &Changes, triplet: &str) -> Result<(), TreeError> {
    let place = |path: &str| root.join(path.replace("{triplet}", triplet));
    for path in &changes.remove {
        remove(&place(path))?;
    }
    for path in &changes.directories {
        let path = place(path);
        at(&path, fs::create_dir_all(&path))?;
    }
    for (path, target) in &changes.links {
        let path = place(path);
        make_parent(&path)?;
        remove(&path)?;
        at(&path, symlink(target, &path))?;
    }
    for (path, content) in &changes.write {
        let path = place(path);
        make_parent(&path)?;
        at(&path, fs::write(&path, content))?;
    }
    for change in &changes.replace {
        let path = place(&change.file);
        let text = at(&path, fs::read_to_string(&path))?;
        if !text.contains(&change.find) {
            let (file, find) = (change.file.clone(), change.find.clone());
            return Err(TreeError::NotFound { file, find });
        }
        at(&path, fs::write(&path, text.replace(&change.find, &change.replace)))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<(), TreeError> {
    path.parent().map_or(Ok(()), |parent| at(parent, fs::create_dir_all(parent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_their_top_become_absolute() {
        let cases = [
            ("/lib/x86_64-linux-gnu", "libz.so.1.2", "libz.so.1.2"),
            ("/lib/x86_64-linux-gnu", "../../usr/lib/a", "/usr/lib/a"),
            ("/bin", "../usr/bin/perl", "/usr/bin/perl"),
            ("/lib/a", "../b", "../b"),
            ("/sbin", "/usr/bin/x", "/usr/bin/x"),
        ];
        for (place, link, moved) in cases {
            assert_eq!(moved_link(Path::new(place), Path::new(link)), Path::new(moved), "{link}");
        }
    }

    #[test]
    fn usr_is_merged() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("bin/cat"), "").unwrap();
        fs::write(root.join("usr/bin/env"), "").unwrap();
        assert_eq!(merge_usr(root).unwrap(), ["/bin/cat"]);
        assert!(root.join("usr/bin/cat").exists() && root.join("usr/bin/env").exists());
        assert!(!root.join("bin").exists());
    }

    #[test]
    fn a_replacement_that_finds_nothing_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), "text").unwrap();
        let changes: Changes =
            toml::from_str("replace = [{ file = 'f', find = 'other', replace = '' }]").unwrap();
        assert!(matches!(change(root.path(), &changes, ""), Err(TreeError::NotFound { .. })));
    }
}
