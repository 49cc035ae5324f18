//! What can go wrong with repodata.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate; every variant names the file or the package.
#[derive(Debug, thiserror::Error)]
pub enum RepodataError {
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The headers of the file cannot be read.
    #[error("{path}: not readable as an RPM: {source}")]
    Rpm {
        /// Where the package lies.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<rpmfarm_rpmfile::RpmError>,
    },
    /// A header says something that XML cannot carry.
    #[error("{path}: cannot be described in repodata: {source}")]
    Describe {
        /// Where the package lies.
        path: PathBuf,
        /// The field and what is wrong with it.
        source: Box<rpmrepo_metadata::MetadataError>,
    },
    /// Stored fragments are not what was stored.
    #[error("stored repodata fragments are damaged: {0}; make them again from the package")]
    Fragments(String),
    /// A part of the previous repodata that was to be taken over cannot be read any more.
    #[error("{path}: damaged at byte {offset}: {source}")]
    Damaged {
        /// The compressed document, as gzip or zstd wrote it.
        path: PathBuf,
        /// Where the damaged member begins.
        offset: u64,
        /// What the decompressor said.
        source: io::Error,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, RepodataError>;

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RepodataError + '_ {
    move |source| RepodataError::Io { path: path.to_owned(), source }
}
