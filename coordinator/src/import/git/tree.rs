//! Reading a commit: its entries, and the content of single files, within limits.

use std::collections::{BTreeSet, VecDeque};

use git2::{ObjectType, Oid, TreeEntry};
use rpmfarm_core::name::shown;
use rpmfarm_core::track::security::cve_ids;
use rpmfarm_sources::distgit::{DistgitError, EntryKind, MAX_FILES};

use super::Checkout;
use crate::import::failure::ImportError;

/// How many levels of directories are read.
const MAX_DEPTH: usize = 64;

/// The longest target of a symlink in Linux, in bytes.
const MAX_LINK: u64 = 4096;

/// File types in the modes of git trees.
const TYPE_MASK: i32 = 0o170_000;
const SYMLINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;
/// The only permission bit that git records.
const OWNER_MAY_RUN: i32 = 0o100;

/// The part of a commit's message that is read, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;

/// A commit's subject, time and CVE ids.
pub(crate) struct CommitMeta {
    /// The first line of its message.
    pub(crate) subject: String,
    /// The committer's time in seconds since 1970.
    pub(crate) at: i64,
    /// The CVE ids in its whole message.
    pub(crate) cves: BTreeSet<String>,
}

/// The files of a commit with the ids of their contents, sorted by path.
pub(crate) type CommitFiles = std::collections::BTreeMap<String, (EntryKind, Oid)>;

impl Checkout {
    /// The files of the commit. In the folders that may hold sources every entry is listed, or it
    /// is an error; in other folders as many entries as a package may have.
    ///
    /// # Errors
    /// When there are more entries at the root, in `SPECS` and in `SOURCES` than any package has,
    /// or the repository cannot be read.
    pub(crate) fn files(&self) -> Result<CommitFiles, ImportError> {
        let root = self.git(self.repository.find_commit(self.commit))?.tree_id();
        let mut files = CommitFiles::new();
        let mut entries = 0;
        let mut taken = vec![Folder { path: String::new(), id: root, depth: 0 }];
        let mut others = VecDeque::new();
        // The folders that may hold sources come first, then the others level by level.
        while let Some(folder) = taken.pop().or_else(|| others.pop_front()) {
            if folder.depth > MAX_DEPTH {
                continue;
            }
            let tree = self.git(self.repository.find_tree(folder.id))?;
            if entries + tree.len() > MAX_FILES {
                if is_taken(&folder.path) {
                    return Err(DistgitError::ManyFiles(entries + tree.len()).into());
                }
                continue;
            }
            entries += tree.len();
            for entry in &tree {
                match self.entry(&folder, &entry)? {
                    Some(Entry::Folder(next)) if is_taken(&next.path) => taken.push(next),
                    Some(Entry::Folder(next)) => others.push_back(next),
                    Some(Entry::File(path, kind)) => {
                        files.insert(path, (kind, entry.id()));
                    }
                    None => {}
                }
            }
        }
        Ok(files)
    }

    /// The kind of an entry of a folder; `None` for a folder whose name is not UTF-8.
    fn entry(&self, folder: &Folder, entry: &TreeEntry<'_>) -> Result<Option<Entry>, ImportError> {
        let is_folder = entry.kind() == Some(ObjectType::Tree);
        let Ok(name) = std::str::from_utf8(entry.name_bytes()) else {
            let name = String::from_utf8_lossy(entry.name_bytes());
            let file = || Entry::File(format!("{}{name}", folder.path), EntryKind::NotUtf8);
            return Ok((!is_folder).then(file));
        };
        let path = format!("{}{name}", folder.path);
        if is_folder {
            let (path, depth) = (format!("{path}/"), folder.depth + 1);
            return Ok(Some(Entry::Folder(Folder { path, id: entry.id(), depth })));
        }
        let mode = entry.filemode();
        let kind = match mode & TYPE_MASK {
            SUBMODULE => EntryKind::Submodule,
            SYMLINK => EntryKind::Symlink(self.link(entry.id())?),
            _ => EntryKind::file(mode & OWNER_MAY_RUN != 0),
        };
        Ok(Some(Entry::File(path, kind)))
    }

    /// The target of a symlink; for one that is too long, a text that says so.
    fn link(&self, id: Oid) -> Result<String, ImportError> {
        let (size, _) = self.git(self.repository.odb().and_then(|odb| odb.read_header(id)))?;
        if size as u64 > MAX_LINK {
            return Ok(format!("a path of {size} bytes"));
        }
        let blob = self.git(self.repository.find_blob(id))?;
        Ok(String::from_utf8_lossy(blob.content()).into_owned())
    }

    /// The content of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, or the repository cannot be read.
    pub(crate) fn content(&self, path: &str, id: Oid, limit: u64) -> Result<Vec<u8>, ImportError> {
        // The header is read first, because a small pack can hold a huge file.
        let (size, _) = self.git(self.repository.odb().and_then(|odb| odb.read_header(id)))?;
        if size as u64 > limit {
            return Err(ImportError::TooMuch {
                what: shown(path),
                found: format!("{size} bytes"),
                limit,
                unit: "bytes",
            });
        }
        Ok(self.git(self.repository.find_blob(id))?.content().to_vec())
    }

    /// The content of a text file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::content`], and when it is not UTF-8.
    pub(crate) fn text(&self, path: &str, id: Oid, limit: u64) -> Result<String, ImportError> {
        let bytes = self.content(path, id, limit)?;
        String::from_utf8(bytes).map_err(|_| ImportError::NotText(shown(path)))
    }

    /// The commit's subject, time and CVE ids.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(crate) fn meta(&self) -> Result<CommitMeta, ImportError> {
        let commit = self.git(self.repository.find_commit(self.commit))?;
        let bytes = commit.message_bytes();
        let message = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_MESSAGE)]);
        let subject = message.trim_start().lines().next().unwrap_or_default();
        Ok(CommitMeta {
            subject: shown(subject),
            at: commit.time().seconds(),
            cves: cve_ids(&message),
        })
    }

    pub(super) fn git<T>(&self, result: Result<T, git2::Error>) -> Result<T, ImportError> {
        result.map_err(|source| ImportError::Git { url: self.url.clone(), source })
    }
}

/// A folder that is still to be read.
struct Folder {
    /// Its path, ending with a slash; empty for the root.
    path: String,
    id: Oid,
    depth: usize,
}

/// The kind of an entry of a folder.
enum Entry {
    Folder(Folder),
    /// Its path, and what it is.
    File(String, EntryKind),
}

/// Whether a folder may hold sources of the package.
fn is_taken(path: &str) -> bool {
    path.is_empty() || path == "SPECS/" || path.starts_with("SOURCES/")
}
