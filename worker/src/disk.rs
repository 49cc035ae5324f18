//! Free space of file systems.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Free space of the file system of a directory, in MiB.
#[must_use]
pub fn free_mib(directory: &Path) -> Option<u64> {
    let stat = statvfs(directory).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20)
}

/// Free inodes of the file system of a directory; `None` where it has no fixed number of them.
#[must_use]
pub fn free_inodes(directory: &Path) -> Option<u64> {
    let stat = statvfs(directory).ok()?;
    (stat.files() > 0).then(|| stat.files_available())
}
