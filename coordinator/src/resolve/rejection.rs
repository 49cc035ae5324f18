//! Why the metadata of a repository are not taken.

use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::relation::RelationError;

use super::download::DownloadError;

/// Why metadata are not taken.
#[derive(Debug, thiserror::Error)]
#[error("repository `{repository}`: {source}")]
pub struct MetadataError {
    pub repository: String,
    pub source: MetadataErrorKind,
}

/// Why metadata are not taken.
#[derive(Debug, thiserror::Error)]
pub enum MetadataErrorKind {
    /// They cannot be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The page of the repository is malformed or names what is refused.
    #[error("{url}: {reason}")]
    Repomd { url: String, reason: String },
    /// The signature of the page does not hold.
    #[error("{url}: {reason} (expected a signature of repomd.xml by one of the keys {expected})")]
    Signature {
        url: String,
        /// The fingerprints that are accepted.
        expected: String,
        reason: String,
    },
    /// A file is not what the page says.
    #[error("{url}: {what}: expected {expected}, found {found}")]
    Mismatch {
        url: String,
        what: &'static str,
        /// What the page says.
        expected: String,
        found: String,
    },
    /// A file cannot be decompressed.
    #[error("{url}: cannot be decompressed: {reason}")]
    Compression { url: String, reason: String },
    /// A dependency in the metadata is beyond what the solver could bear.
    #[error("{url}: {source}")]
    OutOfBounds {
        url: String,
        /// Which one, and by how much.
        source: RelationError,
    },
    /// The metadata are older than those that are known.
    #[error(
        "{url}: older than the cached metadata: {what} {found} after {known}; a repository should not go back (if this is intended, remove {cache})"
    )]
    RolledBack {
        url: String,
        what: &'static str,
        known: u64,
        found: u64,
        /// The directory to remove to accept it.
        cache: PathBuf,
    },
    /// The metadata are older than the target allows.
    #[error(
        "{url}: its metadata are {days} days old, more than max_age_days = {limit}: the server may serve an old state; check the repository, or raise max_age_days in the target"
    )]
    TooOld {
        url: String,
        /// How old they are.
        days: u64,
        /// How old they may be.
        limit: u32,
    },
    /// The disk said no.
    #[error("metadata cache {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl MetadataErrorKind {
    /// Whether a file is not there (any more).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Download(DownloadError::Status { status: 404 | 410, .. }))
    }
}

pub(super) type Result<T, E = MetadataErrorKind> = std::result::Result<T, E>;

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> MetadataErrorKind + '_ {
    move |source| MetadataErrorKind::Io { path: path.to_owned(), source }
}
