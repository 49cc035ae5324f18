//! A tree of files that is changed in memory. Files that no edit touches are not read.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::glob::matches_end;

use super::ApplyError;
use super::nearest;
use crate::distgit::{EntryKind, TreeEntry, choose_spec, followed};

/// The most symlinks that may be followed to reach a file.
const MAX_LINKS: usize = 8;

/// The tree cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct TreeError {
    pub path: String,
    pub why: String,
}

/// Reads the original content of files.
pub trait ReadFiles {
    /// The content of a file.
    ///
    /// # Errors
    /// When it cannot be read or is too long.
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError>;
}

impl ReadFiles for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let missing = || TreeError { path: path.to_owned(), why: "is not there".to_owned() };
        self.get(path).cloned().ok_or_else(missing)
    }
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file with its original content.
    Original,
    /// A file with new content.
    Changed(Vec<u8>),
    /// A symlink, with the path of the file in the tree to which it leads.
    Link(String),
}

/// A file that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    /// Its original content; `None` for a new file.
    pub before: Option<Vec<u8>>,
    /// Its content now; `None` for a removed file.
    pub after: Option<Vec<u8>>,
}

/// A tree of files: its entries by path (with `/` between the parts).
pub struct Tree<'a> {
    nodes: BTreeMap<String, Node>,
    removed: BTreeSet<String>,
    /// Names of the spec, in order of preference, for a tree with several.
    spec_names: Vec<String>,
    /// Paths of the executable files (git's mode 100755).
    executable: BTreeSet<String>,
    original: &'a dyn ReadFiles,
}

impl<'a> Tree<'a> {
    /// A tree with these entries.
    pub fn new(
        nodes: impl IntoIterator<Item = (String, Node)>,
        original: &'a dyn ReadFiles,
    ) -> Self {
        let (removed, executable) = (BTreeSet::new(), BTreeSet::new());
        let (nodes, spec_names) = (nodes.into_iter().collect(), Vec::new());
        Self { nodes, removed, spec_names, executable, original }
    }

    /// The same tree, with names of the spec for a tree with several.
    #[must_use]
    pub fn with_spec(self, names: &[String]) -> Self {
        Self { spec_names: names.to_vec(), ..self }
    }

    /// A tree with these entries of git, or of a directory, unchanged. Links are followed within
    /// the tree; submodules are left out.
    pub fn from_entries(entries: &[TreeEntry], original: &'a dyn ReadFiles) -> Self {
        let kinds: BTreeMap<&str, &EntryKind> =
            entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
        let nodes = entries.iter().filter_map(|entry| {
            let node = match &entry.kind {
                EntryKind::File | EntryKind::Executable => Node::Original,
                EntryKind::Symlink(target) => Node::Link(resolved(&kinds, &entry.path, target)),
                EntryKind::Submodule | EntryKind::NotUtf8 => return None,
            };
            Some((entry.path.clone(), node))
        });
        let programs = entries.iter().filter(|entry| entry.kind == EntryKind::Executable);
        let executable = programs.map(|entry| entry.path.clone()).collect();
        Self { executable, ..Self::new(nodes, original) }
    }

    /// All entries, sorted by path.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The entry at a path.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Whether a path exists.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Whether the file at a path (or the target of a link there) is executable.
    #[must_use]
    pub fn is_executable(&self, path: &str) -> bool {
        self.executable.contains(&self.followed(path))
    }

    /// Whether a directory has any entry.
    #[must_use]
    pub fn has_directory(&self, name: &str) -> bool {
        let dir = format!("{name}/");
        self.nodes.range(dir.clone()..).next().is_some_and(|(path, _)| path.starts_with(&dir))
    }

    /// Files that match a pattern, those of the uppermost directories first. The package's own
    /// `tests/` are left out.
    #[must_use]
    pub fn matching(&self, pattern: &str) -> Vec<String> {
        let mut paths: Vec<_> = self
            .nodes
            .keys()
            .filter(|path| !path.starts_with("tests/") && matches_end(pattern, path))
            .cloned()
            .collect();
        paths.sort_by_key(|path| (path.matches('/').count(), path.clone()));
        paths
    }

    /// The files to which the `target` of an action applies, after following links.
    ///
    /// # Errors
    /// When there is no such file, or more than one spec.
    pub fn targets(&self, target: &str) -> Result<Vec<String>, ApplyError> {
        if target == "spec" {
            return self.spec().map(|spec| vec![spec]);
        }
        let mut files = Vec::new();
        for path in self.matching(target) {
            let path = self.followed(&path);
            if !files.contains(&path) {
                files.push(path);
            }
        }
        if files.is_empty() {
            let nearest = nearest::names(target, self.nodes.keys());
            return Err(ApplyError::NoFile { target: target.to_owned(), nearest });
        }
        Ok(files)
    }

    /// The spec file to build: one at the root or in `SPECS/`.
    ///
    /// # Errors
    /// When there is none, or several and no name decides.
    pub fn spec(&self) -> Result<String, ApplyError> {
        let mut specs = self.matching("*.spec");
        let is_in_place =
            |path: &String| !path.strip_prefix("SPECS/").unwrap_or(path).contains('/');
        if specs.iter().any(is_in_place) {
            specs.retain(is_in_place);
        }
        let all: Vec<&str> = specs.iter().map(String::as_str).collect();
        if let Some(spec) = choose_spec(&all, &self.spec_names) {
            return Ok(self.followed(spec));
        }
        match specs.len() {
            0 => Err(ApplyError::NoFile { target: "*.spec".to_owned(), nearest: Vec::new() }),
            _ => Err(ApplyError::ManySpecs(specs)),
        }
    }

    fn followed(&self, path: &str) -> String {
        match self.nodes.get(path) {
            Some(Node::Link(target)) => target.clone(),
            _ => path.to_owned(),
        }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        match self.nodes.get(path) {
            Some(Node::Changed(bytes)) => Ok(bytes.clone()),
            Some(Node::Link(target)) if target != path => self.read(target),
            Some(Node::Original) => self.original.read(path),
            _ => Err(TreeError { path: path.to_owned(), why: "is not there".to_owned() }),
        }
    }

    /// The content of a text file.
    ///
    /// # Errors
    /// As [`Self::read`], and when it is not UTF-8.
    pub fn text(&self, path: &str) -> Result<String, ApplyError> {
        String::from_utf8(self.read(path)?).map_err(|_| ApplyError::NotText(path.to_owned()))
    }

    /// Writes a new file.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, executable: bool) {
        self.write(path, bytes);
        if executable {
            self.executable.insert(path.to_owned());
        }
    }

    /// Writes a file. An existing file keeps its mode.
    pub fn write(&mut self, path: &str, bytes: Vec<u8>) {
        self.nodes.insert(path.to_owned(), Node::Changed(bytes));
    }

    pub fn remove(&mut self, path: &str) {
        if self.nodes.remove(path).is_some() {
            self.executable.remove(path);
            self.removed.insert(path.to_owned());
        }
    }

    /// The changed files, sorted by path.
    ///
    /// # Errors
    /// When the original content of a file cannot be read.
    pub fn changes(&self) -> Result<Vec<FileChange>, TreeError> {
        let mut paths: BTreeSet<&String> = self.removed.iter().collect();
        paths.extend(
            self.nodes.iter().filter(|(_, n)| matches!(n, Node::Changed(_))).map(|(path, _)| path),
        );
        let mut changes = Vec::new();
        for path in paths {
            let before = self.original.read(path).ok();
            let after = match self.nodes.get(path) {
                Some(_) => Some(self.read(path)?),
                None => None,
            };
            if before != after {
                changes.push(FileChange { path: path.clone(), before, after });
            }
        }
        Ok(changes)
    }
}

/// The file to which a link leads; the link itself if there is no such file.
fn resolved(kinds: &BTreeMap<&str, &EntryKind>, link: &str, target: &str) -> String {
    let (mut at, mut target) = (link.to_owned(), target);
    for _ in 0..MAX_LINKS {
        let Some(next) = followed(&at, target) else { break };
        match kinds.get(next.as_str()) {
            Some(EntryKind::Symlink(further)) => (at, target) = (next, further.as_str()),
            Some(kind) if kind.is_file() => return next,
            _ => break,
        }
    }
    link.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_within_the_tree() {
        let original: BTreeMap<_, _> = [("a".to_owned(), b"A".to_vec())].into();
        let entry = |path: &str, kind| TreeEntry { path: path.to_owned(), kind };
        let link = |path: &str, target: &str| entry(path, EntryKind::Symlink(target.to_owned()));
        let tree = Tree::from_entries(
            &[
                entry("a", EntryKind::File),
                link("b", "a"),
                link("dir/c", "../b"),
                link("out", "../x"),
                link("loop", "loop"),
                entry("module", EntryKind::Submodule),
            ],
            &original,
        );
        for path in ["a", "b", "dir/c"] {
            assert_eq!(tree.text(path).as_deref(), Ok("A"), "{path}");
        }
        for path in ["out", "loop", "module", "missing"] {
            assert!(tree.read(path).is_err(), "{path}");
        }
        assert_eq!(tree.targets("c"), Ok(vec!["a".to_owned()]));
        assert_eq!(tree.targets("?"), Ok(vec!["a".to_owned()]));
    }
}
