//! Why the metadata of a repository are refused.

use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::name::shown;
use rpmfarm_core::relation::RelationError;
use rpmfarm_core::target::BaseError;

use super::download::DownloadError;
use super::href::LocationError;
use super::repomd::RepomdError;

/// Why the metadata of a repository are refused.
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
    Repomd {
        url: String,
        /// The reason. Boxed, because it is larger than all other variants.
        reason: Box<RepomdError>,
    },
    /// The list of mirrors is malformed, or names none that may be asked.
    #[error("{url}: {reason}")]
    Mirrors { url: String, reason: MirrorListError },
    /// The location of a file is refused.
    #[error("{url}: {reason}")]
    Location {
        /// The repository.
        url: String,
        /// The reason. Boxed, because it is larger than all other variants.
        reason: Box<LocationError>,
    },
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

/// Why a mirror list or metalink is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MirrorListError {
    /// It is not UTF-8, or a metalink is not well-formed XML.
    #[error("{0}")]
    Malformed(String),
    /// It has no entry for `repomd.xml`; with the first line of its text.
    #[error("it is not a metalink of repomd.xml: `{}`", shown(.0))]
    NotMetalink(String),
    /// The entry has no digest that is accepted.
    #[error("it has no SHA-256 or SHA-512 of repomd.xml; others are not accepted")]
    NoDigest,
    /// It names no mirror.
    #[error("it names no mirror")]
    NoMirror,
    /// None of its mirrors may be asked; with the reason for the last one.
    #[error("it names no mirror that may be asked: {0}")]
    Refused(BaseError),
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
