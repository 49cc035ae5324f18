//! Files by digest: where the worker needs them, and under which names.

use std::path::{Path, PathBuf};

use rpmfarm_core::{Fault, Sha256};

use crate::cages::{CancelFlag, CancelReason};

/// A file by digest, and the name that it is wanted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// Its SHA-256.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// A plain file name.
    pub name: String,
}

/// Why files cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The work was cancelled meanwhile.
    #[error("cancelled while fetching files")]
    Cancelled(CancelReason),
    /// One could not be fetched.
    #[error("cannot get {name} (sha256 {digest}): {reason}")]
    Fetch {
        /// The name under which it was wanted.
        name: String,
        digest: Sha256,
        reason: String,
        fault: Fault,
    },
    /// The worker's own disk.
    #[error("cannot write {}: {source}", path.display())]
    Local { path: PathBuf, source: std::io::Error },
}

impl FilesError {
    /// An error of the worker's own disk.
    pub fn local(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::Local { path: path.to_path_buf(), source }
    }
}

/// Provides files by digest. Every file has been checked against its digest.
pub trait FileSource: Sync {
    /// Puts files into a directory, each under its name; blocks until they are there.
    ///
    /// # Errors
    /// When one cannot be had, or the work is cancelled.
    fn place(
        &self,
        wanted: &[WantedFile],
        into: &Path,
        cancel: &CancelFlag,
    ) -> Result<(), FilesError>;
}
