//! Errors that name their file or directory: errors of the system, and permissions that are too
//! wide.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// An error of the system, with its file or directory.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct PathError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Adds the path to an error.
///
/// # Errors
/// The error of the result.
pub fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, PathError> {
    result.map_err(|source| PathError { path: path.to_owned(), source })
}

/// A file or directory with a secret that other users could read or replace.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} must belong to uid {wanted} and be closed to others: it is of uid {owner}, mode {mode:04o}; run `chown {wanted} {path} && chmod go= {path}`",
    path = .path.display()
)]
pub struct NotPrivate {
    pub path: PathBuf,
    pub owner: u32,
    pub mode: u32,
    /// The user that should own it.
    pub wanted: u32,
}

/// Checks that a file or directory belongs to this process's user and is closed to everybody else.
///
/// # Errors
/// When it does not, or is not.
pub fn check_private(path: &Path, metadata: &Metadata) -> Result<(), NotPrivate> {
    let (owner, mode, wanted) = (metadata.uid(), metadata.mode() & 0o7777, geteuid().as_raw());
    if owner == wanted && mode & 0o077 == 0 {
        return Ok(());
    }
    Err(NotPrivate { path: path.to_owned(), owner, mode, wanted })
}
