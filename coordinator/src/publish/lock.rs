//! The lock of a target: one publisher at a time reads, cleans or shows, because the target's
//! channels share the pool.
//!
//! Owns the file and the error when another publisher holds the lock. It must not know what is done
//! under it.

use std::fs::File;

use super::error::{PublishError, Result, io_at};
use super::layout::ChannelLayout;

/// Takes the lock without waiting. It is held as long as the file is open.
///
/// # Errors
/// When another publisher holds it, or an error of the disk.
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
