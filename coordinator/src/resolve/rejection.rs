//! Why the metadata of a repository are refused.

use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::relation::RelationError;

use super::download::DownloadError;

/// Why metadata are refused, and those of which repository.
#[derive(Debug, thiserror::Error)]
#[error("repository `{repository}`: {source}")]
pub struct MetadataError {
    pub repository: String,
    pub source: MetadataErrorKind,
}

/// Why metadata are refused.
#[derive(Debug, thiserror::Error)]
pub enum MetadataErrorKind {
    /// They cannot be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// `repomd.xml` is malformed, or has something that is refused.
    #[error("{url}: {reason}")]
    Repomd { url: String, reason: String },
    /// The signature of `repomd.xml` is not valid.
    #[error("{url}: {reason} (expected a signature of repomd.xml by one of the keys {expected})")]
    Signature {
        url: String,
        /// The fingerprints of the accepted keys.
        expected: String,
        reason: String,
    },
    /// A file differs from its entry in `repomd.xml`.
    #[error("{url}: {what}: expected {expected}, found {found}")]
    Mismatch {
        url: String,
        what: &'static str,
        /// The value in `repomd.xml`.
        expected: String,
        found: String,
    },
    /// A file cannot be decompressed.
    #[error("{url}: cannot be decompressed: {reason}")]
    Compression { url: String, reason: String },
    /// A dependency in the metadata exceeds the bounds of the solver.
    #[error("{url}: {source}")]
    OutOfBounds { url: String, source: RelationError },
    /// The metadata are older than the cached ones.
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
        /// Their age.
        days: u64,
        /// The limit on their age.
        limit: u32,
    },
    /// An operation on the disk failed.
    #[error("metadata cache {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        source: io::Error,
    },
}

impl MetadataErrorKind {
    /// Whether the server answered that a file does not exist.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Download(DownloadError::Status { status: 404 | 410, .. }))
    }
}

pub(super) type Result<T, E = MetadataErrorKind> = std::result::Result<T, E>;

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> MetadataErrorKind + '_ {
    move |source| MetadataErrorKind::Io { path: path.to_owned(), source }
}
