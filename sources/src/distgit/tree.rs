//! The tree of a commit: its entries by path, and where symlinks lead within it.
//!
//! Owns what an entry is and that nothing leads out of the tree. It must not know which files make
//! a source package: that is `layout`'s.

use std::collections::BTreeMap;

use rpmfarm_core::name::{check_file, shown};

use super::{CommittedFile, DistgitError};

/// The most entries that the tree of a commit may have. The largest dist-git trees (kernel,
/// texlive) have some thousands.
pub const MAX_FILES: usize = 20_000;

/// The most symlinks that lead to one file.
const MAX_LINKS: usize = 8;

/// One entry of the tree of a commit. Directories are not listed, only the files in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its path from the root, with `/` between the parts.
    pub path: String,
    pub kind: EntryKind,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file (mode 100644).
    File,
    /// A regular file that is a program (mode 100755).
    Executable,
    /// A symlink and what it says.
    Symlink(String),
    /// A commit of another repository.
    Submodule,
    /// A file whose name is not UTF-8. The path is for messages only.
    NotUtf8,
}

impl EntryKind {
    /// A regular file, executable or not.
    #[must_use]
    pub const fn file(executable: bool) -> Self {
        if executable { Self::Executable } else { Self::File }
    }

    /// Whether it is a regular file.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }
}

/// The entries of a commit by path.
pub(super) struct Tree<'a>(BTreeMap<&'a str, &'a EntryKind>);

impl<'a> Tree<'a> {
    pub(super) fn from_entries(entries: &'a [TreeEntry]) -> Self {
        Self(entries.iter().map(|e| (e.path.as_str(), &e.kind)).collect())
    }

    /// The entry at a path; `None` for a directory.
    pub(super) fn get(&self, path: &str) -> Option<&'a EntryKind> {
        self.0.get(path).copied()
    }

    /// All paths, in their order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// Paths of what lies directly in a directory, which is given with its slash.
    pub(super) fn files_in(&self, dir: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .keys()
            .copied()
            .filter(move |path| path.strip_prefix(dir).is_some_and(|name| !name.contains('/')))
    }

    /// The file at a path, with its symlinks followed; nothing if that is a directory. A submodule
    /// is an empty one.
    pub(super) fn committed(&self, path: &str) -> Result<Option<CommittedFile>, DistgitError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if matches!(self.get(path), Some(EntryKind::NotUtf8)) {
            return Err(DistgitError::NotUtf8(shown(path)));
        }
        check_file(name)
            .map_err(|error| DistgitError::Name { place: "the repository".into(), error })?;
        let mut at = path.to_owned();
        for _ in 0..=MAX_LINKS {
            match self.get(&at) {
                Some(kind @ (EntryKind::File | EntryKind::Executable)) => {
                    let executable = *kind == EntryKind::Executable;
                    return Ok(Some(CommittedFile { name: name.to_owned(), path: at, executable }));
                }
                Some(EntryKind::Symlink(target)) => {
                    let outside =
                        || DistgitError::LinkOutside { path: shown(path), target: shown(target) };
                    at = followed(&at, target).ok_or_else(outside)?;
                }
                Some(EntryKind::Submodule) => return Ok(None),
                _ if self.is_directory(&at) => return Ok(None),
                _ => break,
            }
        }
        let target = shown(&at);
        Err(DistgitError::LinkBroken { path: shown(path), target })
    }

    fn is_directory(&self, path: &str) -> bool {
        let dir = format!("{path}/");
        path.is_empty()
            || self.0.range(dir.as_str()..).next().is_some_and(|(p, _)| p.starts_with(&dir))
    }
}

/// Where a symlink leads within the tree; nothing if it leads out of it.
#[must_use]
pub fn followed(link: &str, target: &str) -> Option<String> {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return None;
    }
    let dir = link.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Layout;
    use super::*;

    /// A file at a path.
    pub(crate) fn file(path: &str) -> TreeEntry {
        TreeEntry { path: path.into(), kind: EntryKind::File }
    }

    fn link(path: &str, target: &str) -> TreeEntry {
        TreeEntry { path: path.into(), kind: EntryKind::Symlink(target.into()) }
    }

    /// The links of a tree are followed when its layout is determined.
    fn detect(entries: &[TreeEntry]) -> Result<Layout, DistgitError> {
        Layout::detect("hello", &["hello.spec".to_owned()], entries)
    }

    #[test]
    fn links_stay_inside() {
        let spec = file("SPECS/hello.spec");
        let with = |target: &str| {
            detect(&[
                spec.clone(),
                file("common/a"),
                link("SOURCES/b", target),
                link("loop", "loop"),
            ])
        };
        assert_eq!(with("../common/a").unwrap().sources[0].path, "common/a");
        assert_eq!(with("../common").unwrap().sources, []);
        for outside in ["../../etc/passwd", "/etc/passwd", "../common/../../x", ""] {
            assert!(
                matches!(with(outside), Err(DistgitError::LinkOutside { .. })),
                "{outside:?} {:?}",
                with(outside)
            );
        }
        for broken in ["nothing", "../loop", "b"] {
            assert!(matches!(with(broken), Err(DistgitError::LinkBroken { .. })), "{broken}");
        }
        assert!(detect(&[link("hello.spec", "/etc/passwd")]).is_err());
        assert!(detect(&[spec, link("SOURCES", "/etc")]).is_err());
    }

    #[test]
    fn a_link_has_the_mode_of_the_file_that_it_leads_to() {
        let program = TreeEntry { path: "common/run".into(), kind: EntryKind::Executable };
        let entries = [
            file("hello.spec"),
            file("common/text"),
            program,
            link("a", "common/run"),
            link("b", "a"),
        ];
        let layout = detect(&[&entries[..], &[link("c", "common/text")]].concat()).unwrap();
        let found: Vec<_> =
            layout.sources.iter().map(|file| (file.name.as_str(), file.executable)).collect();
        assert_eq!(found, [("a", true), ("b", true), ("c", false)]);
        assert!(!layout.spec.executable);
    }

    #[test]
    fn links_in_folders_stay_inside_too() {
        let with = |entries: &[TreeEntry]| {
            detect(&[&[file("SPECS/hello.spec"), file("SOURCES/a")], entries].concat())
        };
        let inside = with(&[link("SOURCES/sub/x", "../a"), link("SOURCES/sub/y", "nothing")]);
        let inside = inside.unwrap();
        let names: Vec<_> = inside.sources.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a", "x"], "what leads nowhere is left out");
        // Trees of tests lie there, of which nothing is read.
        for (path, target) in [
            ("SOURCES/sub/x", "/etc/passwd"),
            ("SOURCES/sub/deep/x", "../../../../etc/passwd"),
            ("SOURCES/sub/a", "/etc/passwd"),
        ] {
            let layout = with(&[link(path, target)]).unwrap();
            let names: Vec<_> = layout.sources.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, ["a"], "{path}");
        }
    }
}
