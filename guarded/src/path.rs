//! Errors of the system that name the file or directory which they are about.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the system, with the file or directory that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct PathError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Adds the path to an error.
///
/// # Errors
/// As the result has it.
pub fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, PathError> {
    result.map_err(|source| PathError { path: path.to_owned(), source })
}
