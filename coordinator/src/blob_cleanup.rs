//! Removes unfinished files that dead processes left beside the blobs: uploads that nobody
//! continues, and files that were being written when a process died.
//!
//! Owns how old such a file must be. A file that is being written is touched all the time, and an
//! upload whose beginning was removed starts again. So the age alone decides, and several
//! coordinators may clean the same directory.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::blobs::{Blobs, gone};

/// How long a file must be unchanged before it is removed.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How often unfinished files are searched for.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// How much a pass removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanupStats {
    /// Number of files and of directories of files.
    pub entries: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Scans for unfinished files once an hour, until the task is dropped.
pub async fn run(blobs: Blobs) {
    loop {
        let store = blobs.clone();
        let removed = tokio::task::spawn_blocking(move || pass(&store, SystemTime::now())).await;
        match removed {
            Ok(Ok(CleanupStats { entries: 0, .. })) => {}
            Ok(Ok(CleanupStats { entries, bytes })) => {
                tracing::info!(entries, bytes, "removed unfinished files of dead writers");
            }
            Ok(Err(error)) => tracing::error!(%error, "unfinished files cannot be removed"),
            Err(error) => tracing::error!(%error, "the scan for unfinished files was interrupted"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One scan. Blocks, so it must not run on a thread of the runtime.
///
/// # Errors
/// When a directory cannot be read or an entry cannot be removed.
pub fn pass(blobs: &Blobs, now: SystemTime) -> io::Result<CleanupStats> {
    let mut cleared = CleanupStats::default();
    for directory in blobs.unfinished() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // The entry may vanish at any time, when its writer finishes it.
            let Some((written, bytes)) = gone(about(&entry))? else { continue };
            let old = now.duration_since(written).is_ok_and(|age| age > LEFT_AFTER);
            if old && gone(remove(&entry.path()))?.is_some() {
                cleared.entries += 1;
                cleared.bytes += bytes;
            }
        }
    }
    Ok(cleared)
}

/// When an entry was last written, and its size in bytes: a file, or a directory of files.
fn about(entry: &DirEntry) -> io::Result<(SystemTime, u64)> {
    let itself = entry.metadata()?;
    if !itself.is_dir() {
        return Ok((itself.modified()?, itself.len()));
    }
    let (mut newest, mut bytes) = (itself.modified()?, 0);
    for inner in fs::read_dir(entry.path())? {
        let inner = inner?.metadata()?;
        newest = newest.max(inner.modified()?);
        bytes += inner.len();
    }
    Ok((newest, bytes))
}

fn remove(path: &Path) -> io::Result<()> {
    // `symlink_metadata` does not follow links: the link itself is removed, not its target.
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Sha256;

    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let whole = blobs.put(b"a blob").unwrap();
        let digest = Sha256::compute(b"0123456789");
        blobs.upload_chunk(digest, 10, 0, b"0123").unwrap();
        let mut writer = blobs.writer(100).unwrap();
        writer.append(b"half").unwrap();
        let scratch = blobs.scratch().unwrap();
        fs::write(scratch.path().join("copy"), b"abc").unwrap();

        let start = SystemTime::now();
        assert_eq!(pass(&blobs, start + LEFT_AFTER / 2).unwrap(), CleanupStats::default());
        let later = start + LEFT_AFTER + Duration::from_secs(60);
        assert_eq!(pass(&blobs, later).unwrap(), CleanupStats { entries: 3, bytes: 11 });
        assert_eq!(pass(&blobs, later).unwrap(), CleanupStats::default());
        assert_eq!(blobs.read_small(whole, 100).unwrap(), b"a blob");
        // The upload begins again.
        assert_eq!(blobs.uploaded(digest, 10).unwrap(), 0);
        assert_eq!(blobs.upload_chunk(digest, 10, 0, b"0123456789").unwrap(), 10);
        blobs.finish_upload(digest).unwrap();
    }
}
