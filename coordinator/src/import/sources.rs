//! The files of a commit as a tree that modifications can change.

use rpmfarm_sources::distgit::{EntryKind, TreeEntry};
use rpmfarm_sources::modify::{Node, ReadFiles, Tree, TreeError};

use super::git::{Checkout, CommitFiles};

/// A commit with its files.
pub(super) struct CommitSources<'a> {
    pub(super) checkout: &'a Checkout,
    pub(super) files: &'a CommitFiles,
    /// The longest file that is read, in bytes.
    pub(super) limit: u64,
}

impl ReadFiles for CommitSources<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let failed = |why: String| TreeError { path: path.to_owned(), why };
        let (_, id) = self.files.get(path).ok_or_else(|| failed("is not there".to_owned()))?;
        self.checkout.content(path, *id, self.limit).map_err(|error| failed(error.to_string()))
    }
}

impl CommitSources<'_> {
    /// The tree as in the commit.
    pub(super) fn tree(&self) -> Tree<'_> {
        let entry = |(path, (kind, _)): (&String, &(EntryKind, git2::Oid))| TreeEntry {
            path: path.clone(),
            kind: kind.clone(),
        };
        Tree::from_entries(&self.files.iter().map(entry).collect::<Vec<_>>(), self)
    }

    /// The entries of a tree that began as this commit's, from which its layout is recognised.
    pub(super) fn entries(&self, tree: &Tree<'_>) -> Vec<TreeEntry> {
        let entry = |path: &str, kind: EntryKind| TreeEntry { path: path.to_owned(), kind };
        let of_tree = tree.nodes().map(|(path, node)| match node {
            Node::Link(_) => {
                let kind = self.files.get(path).map(|(kind, _)| kind.clone());
                entry(path, kind.unwrap_or(EntryKind::File))
            }
            Node::Original | Node::Changed(_) => {
                entry(path, EntryKind::file(tree.is_executable(path)))
            }
        });
        // Not a file of the tree, but it is where a source is expected.
        let others = self.files.iter().filter_map(|(path, (kind, _))| {
            let is_other = matches!(kind, EntryKind::Submodule | EntryKind::NotUtf8);
            is_other.then(|| entry(path, kind.clone()))
        });
        of_tree.chain(others).collect()
    }
}
