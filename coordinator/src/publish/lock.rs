//! The lock of a target: one publisher at a time reads, cleans or shows, since its channels share
//! the pool.
//!
//! Owns the file and what is said when another has it. It must not know what is done meanwhile.

use std::fs::File;

use super::error::{PublishError, Result, io_at};
use super::layout::ChannelLayout;

/// Takes the lock without waiting; it is held as long as the file lives.
///
/// # Errors
/// When another publisher has it, or what the disk says.
pub(super) fn acquire(layout: &ChannelLayout) -> Result<File> {
    let path = layout.lock();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(PublishError::Busy { target: layout.target.clone() })
        }
        Err(std::fs::TryLockError::Error(error)) => Err(io_at(&path)(error)),
    }
}
