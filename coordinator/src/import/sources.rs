//! The files of a commit as a tree that modifications can change.

use rpmfarm_core::distgit::{EntryKind, TreeEntry, followed};
use rpmfarm_core::modify::{Node, Read, Tree, TreeError};

use super::git::{Checkout, Files};

/// How many symlinks may lead to one file.
const MAX_LINKS: usize = 8;

/// A commit and the files of it.
pub(super) struct Sources<'a> {
    pub(super) checkout: &'a Checkout,
    pub(super) files: &'a Files,
    /// The longest file that is read, in bytes.
    pub(super) limit: u64,
}

impl Read for Sources<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let failed = |why: String| TreeError { path: path.to_owned(), why };
        let (_, id) = self.files.get(path).ok_or_else(|| failed("is not there".to_owned()))?;
        self.checkout.content(path, *id, self.limit).map_err(|error| failed(error.to_string()))
    }
}

impl Sources<'_> {
    /// The tree as it is in the commit.
    pub(super) fn tree(&self) -> Tree<'_> {
        let nodes = self.files.iter().filter_map(|(path, (kind, _))| {
            let node = match kind {
                EntryKind::File => Node::Original,
                EntryKind::Symlink(target) => Node::Link(self.resolved(path, target)),
                EntryKind::Submodule => return None,
            };
            Some((path.clone(), node))
        });
        Tree::new(nodes, self)
    }

    /// The file that a link leads to; the link itself if there is none.
    fn resolved(&self, link: &str, target: &str) -> String {
        let (mut at, mut target) = (link.to_owned(), target);
        for _ in 0..MAX_LINKS {
            let Some(next) = followed(&at, target) else { break };
            match self.files.get(&next) {
                Some((EntryKind::Symlink(further), _)) => (at, target) = (next, further),
                Some((EntryKind::File, _)) => return next,
                _ => break,
            }
        }
        link.to_owned()
    }

    /// The entries of a tree that began as this commit's, for telling its layout.
    pub(super) fn entries(&self, tree: &Tree<'_>) -> Vec<TreeEntry> {
        let entry = |path: &str, kind: EntryKind| TreeEntry { path: path.to_owned(), kind };
        let of_tree = tree.nodes().map(|(path, node)| match node {
            Node::Link(_) => {
                let kind = self.files.get(path).map(|(kind, _)| kind.clone());
                entry(path, kind.unwrap_or(EntryKind::File))
            }
            Node::Original | Node::Changed(_) => entry(path, EntryKind::File),
        });
        let submodules = self.files.iter().filter(|(_, (kind, _))| *kind == EntryKind::Submodule);
        of_tree.chain(submodules.map(|(path, _)| entry(path, EntryKind::Submodule))).collect()
    }
}
