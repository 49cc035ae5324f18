//! Errors of the system that name the file or directory which they are about.

use std::io;
use std::path::{Path, PathBuf};

/// What the system said of a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct PathError {
    /// Of what.
    pub path: PathBuf,
    /// What it said.
    pub source: io::Error,
}

/// Adds the path to an error.
///
/// # Errors
/// As the result has it.
pub fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, PathError> {
    result.map_err(|source| PathError { path: path.to_owned(), source })
}
