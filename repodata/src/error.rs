//! The errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate; every variant names the file or the package.
#[derive(Debug, thiserror::Error)]
pub enum RepodataError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The headers of the file cannot be read.
    #[error("{path}: not readable as an RPM: {source}")]
    Rpm {
        /// The path of the package.
        path: PathBuf,
        /// The error in it.
        source: Box<rpmfarm_rpmfile::RpmError>,
    },
    /// A header has a value that XML cannot hold.
    #[error("{path}: cannot be described in repodata: {source}")]
    Describe {
        /// The path of the package.
        path: PathBuf,
        /// The field and its error.
        source: Box<rpmrepo_metadata::MetadataError>,
    },
    /// Stored fragments are damaged.
    #[error("stored repodata fragments are damaged: {0}; make them again from the package")]
    Fragments(String),
    /// A part of the previous repodata that was to be copied cannot be read any more.
    #[error("{path}: damaged at byte {offset}: {source}")]
    Damaged {
        /// The compressed document, as gzip or zstd wrote it.
        path: PathBuf,
        /// Where the damaged member begins.
        offset: u64,
        /// The decompressor's error.
        source: io::Error,
    },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, RepodataError>;

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RepodataError + '_ {
    move |source| RepodataError::Io { path: path.to_owned(), source }
}
