//! Why packages cannot be published.

use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::{Nevra, Sha256};
use rpmfarm_repodata::RepodataError;

use crate::blobs::BlobError;

/// Why nothing was published. Clients see what they saw before.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// An operation on the disk failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        source: io::Error,
    },
    /// A blob is not there or cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Another publisher works on the target.
    #[error("another publisher is at work on {target}; the next pass tries again")]
    Busy { target: String },
    /// The channel has changed since the request was made.
    #[error(
        "{channel} of {target} shows {}, but the request is based on {}; read the channel again and make a new request",
        generation(*.shown), generation(*.based_on)
    )]
    Moved {
        target: String,
        channel: String,
        /// The generation that the request is based on.
        based_on: Option<u64>,
        /// The generation that is shown.
        shown: Option<u64>,
    },
    /// The stage moved to another coordinator, or the channel has changed, before the renames.
    #[error("{channel} of {target} is not shown: {reason}")]
    Stopped { target: String, channel: String, reason: String },
    /// A target, channel or repository whose name cannot be a directory.
    #[error("`{0}` cannot be the name of a target's, channel's or repository's directory")]
    Name(String),
    /// The target's public key.
    #[error("the public key of {target} cannot be used: {reason}")]
    Key { target: String, reason: String },
    /// A package differs from its record.
    #[error("{nevra}: {source}")]
    Package { nevra: Box<Nevra>, source: ProofError },
    /// The repodata could not be written.
    #[error(transparent)]
    Repodata(#[from] RepodataError),
    /// The signer did not sign `repomd.xml`, or not with the target's key.
    #[error("repomd.xml of {repository} was not signed: {reason}")]
    Signer {
        /// Target, channel, architecture and kind.
        repository: String,
        /// The signer's reason, or the fault of the signature.
        reason: String,
    },
}

/// Why a package cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The file is missing.
    #[error("its file is gone: {path}")]
    Missing {
        /// The expected path.
        path: PathBuf,
    },
    /// The file has another size.
    #[error("its file has {found} bytes instead of {expected}: {path}")]
    Size {
        path: PathBuf,
        /// Its size as recorded.
        expected: u64,
        /// Its size on disk.
        found: u64,
    },
    /// The file has another content.
    #[error("its file has sha256 {found} instead of {expected}: {path}")]
    Digest {
        path: PathBuf,
        /// Its digest as recorded.
        expected: Sha256,
        /// Its digest on disk.
        found: Sha256,
    },
    /// The file cannot be read as an RPM, or its parts contradict each other.
    #[error("its file is damaged: {0}")]
    Damaged(rpmfarm_rpmfile::RpmError),
    /// The file is not signed with the target's key.
    #[error("its signature is invalid with the key of {target}: {source}")]
    Signature { target: String, source: rpmfarm_rpmfile::RpmError },
    /// The header has another name.
    #[error("its header says that it is {0}")]
    Header(Box<Nevra>),
    /// The target has no repository for it.
    #[error("its architecture is not among those of {target} ({arches})")]
    Arch { target: String, arches: String },
    /// Its stored repodata describe another file.
    #[error("its repodata {0} do not describe the signed file; make them again")]
    Fragments(Sha256),
    /// Its stored repodata cannot be read.
    #[error("its repodata: {0}")]
    Described(BlobError),
    /// The request has no such repository.
    #[error("it is in none of the {count} repositories of the request")]
    Repository {
        /// How many repositories the channel has.
        count: usize,
    },
    /// The request contains the package twice.
    #[error("two packages of one request have its file name")]
    Twice,
}

pub type Result<T> = std::result::Result<T, PublishError>;

impl ProofError {
    pub(super) fn for_package(self, nevra: &Nevra) -> PublishError {
        PublishError::Package { nevra: Box::new(nevra.clone()), source: self }
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> PublishError + '_ {
    move |source| PublishError::Io { path: path.to_owned(), source }
}

fn generation(number: Option<u64>) -> String {
    number.map_or("nothing yet".into(), |number| format!("generation {number}"))
}
