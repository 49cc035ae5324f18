//! The metadata of a file that change whenever somebody writes to it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// The identity of a file and of its content, from the file system's metadata without reading the
/// file. A hard link to the file has the same stamp; owner and mode are no part of it. The changes
/// that it cannot detect are in docs/decisions/0029.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Its number in its file system.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileStamp {
    #[must_use]
    pub fn from_metadata(metadata: &Metadata) -> Self {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: seconds.saturating_add(metadata.mtime_nsec()),
        }
    }
}
