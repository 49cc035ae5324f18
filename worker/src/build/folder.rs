//! A tree of the worker's own files: of a package's sources, or of its modifications.
//!
//! Owns how the tree is planned, read and copied out. It must not know what is done with it.
//! Results of scripts come in through [`crate::cages::confined_dir`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rpmfarm_sources::distgit::{EntryKind, TreeEntry};
use rpmfarm_sources::modify::{PlannedFile, PlannedNode, ReadFiles, TreeError};

use super::home::owned_directory;

/// The largest file that a step of `core` reads, in bytes.
const MAX_READ: u64 = 128 << 20;
/// A tree of files that the worker has.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceTree(pub(super) BTreeMap<String, TreeItem>);

#[derive(Debug, Clone)]
pub(super) enum TreeItem {
    /// A file of the worker's own with the content, and whether it is executable.
    File(PathBuf, bool),
    /// A symlink and its target.
    Link(String),
}

impl ReadFiles for SourceTree {
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let failed = |why: String| TreeError { path: path.to_owned(), why };
        let Some(TreeItem::File(file, _)) = self.0.get(path) else {
            return Err(failed("is not there".to_owned()));
        };
        let open = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            fs::File::open(file)?.take(MAX_READ + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = open().map_err(|error| failed(error.to_string()))?;
        if bytes.len() as u64 > MAX_READ {
            return Err(failed(format!("is longer than {MAX_READ} bytes")));
        }
        Ok(bytes)
    }
}

impl SourceTree {
    pub(super) fn planned(files: &[PlannedFile], blobs: &Path) -> Self {
        let item = |node: &PlannedNode| match node {
            PlannedNode::File { digest, executable, .. } => {
                TreeItem::File(blobs.join(digest.hex()), *executable)
            }
            PlannedNode::Link(target) => TreeItem::Link(target.clone()),
        };
        Self(files.iter().map(|file| (file.path.clone(), item(&file.node))).collect())
    }

    pub(super) fn entries(&self) -> Vec<TreeEntry> {
        let kind = |item: &TreeItem| match item {
            TreeItem::File(_, executable) => EntryKind::file(*executable),
            TreeItem::Link(target) => EntryKind::Symlink(target.clone()),
        };
        self.0
            .iter()
            .map(|(path, item)| TreeEntry { path: path.clone(), kind: kind(item) })
            .collect()
    }

    pub(super) fn file(&self, path: &str) -> Option<&Path> {
        match self.0.get(path) {
            Some(TreeItem::File(file, _)) => Some(file),
            _ => None,
        }
    }
}

/// Copies a tree into an empty directory, owned by the build user. Links come last, so that
/// nothing is written through one.
pub(super) fn copy_out(folder: &SourceTree, top: &Path, owner: u32) -> io::Result<()> {
    for (path, item) in &folder.0 {
        let TreeItem::File(from, executable) = item else { continue };
        make_parents(top, path, owner)?;
        let to = top.join(path);
        fs::copy(from, &to)?;
        let may_run = *executable || path.starts_with("scripts/");
        let mode = if may_run { 0o755 } else { 0o644 };
        fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        std::os::unix::fs::chown(&to, Some(owner), Some(owner))?;
    }
    for (path, item) in &folder.0 {
        let TreeItem::Link(target) = item else { continue };
        make_parents(top, path, owner)?;
        std::os::unix::fs::symlink(target, top.join(path))?;
        std::os::unix::fs::lchown(top.join(path), Some(owner), Some(owner))?;
    }
    Ok(())
}

fn make_parents(top: &Path, path: &str, owner: u32) -> io::Result<()> {
    let mut at = top.to_path_buf();
    let Some((dir, _)) = path.rsplit_once('/') else { return Ok(()) };
    for part in dir.split('/') {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("{path} lies below a link"))),
            Err(_) => owned_directory(&at, owner)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_out_and_nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let owner = nix::unistd::getuid().as_raw();
        let content = dir.path().join("content");
        fs::write(&content, "text").expect("a file");
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        let folder = |items: &[(&str, TreeItem)]| {
            SourceTree(
                items.iter().map(|(path, item)| ((*path).to_owned(), item.clone())).collect(),
            )
        };
        let file = TreeItem::File(content.clone(), false);
        let top = dir.path().join("top");
        fs::create_dir(&top).expect("a directory");
        let link = TreeItem::Link("../x.spec".into());
        let good = folder(&[("x.spec", file.clone()), ("a/b", link), ("scripts/s", file.clone())]);
        let program = ("files/run", TreeItem::File(content, true));
        let good = SourceTree(good.0.into_iter().chain(folder(&[program]).0).collect());
        copy_out(&good, &top, owner).expect("copies");
        assert_eq!(fs::read_to_string(top.join("a/b")).expect("reads"), "text");
        let mode = |path: &str| {
            let metadata = fs::metadata(top.join(path)).expect("it is there");
            std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
        };
        assert_eq!((mode("x.spec"), mode("scripts/s"), mode("files/run")), (0o644, 0o755, 0o755));

        let link = TreeItem::Link(outside.display().to_string());
        let bad = folder(&[("evil", link.clone())]);
        copy_out(&bad, &top, owner).expect("a link alone is harmless");
        let error = copy_out(&folder(&[("evil/x", file)]), &top, owner).expect_err("below a link");
        assert!(error.to_string().contains("below a link"), "{error}");
        assert_eq!(fs::read_dir(&outside).expect("lists").count(), 0);
    }
}
