//! Clears away what dead writers left beside the blobs: uploads that nobody goes on with, and files
//! that were being made when a process died.
//!
//! Owns how old such a file must be. What is being written is touched all the time, and an upload
//! whose first half has been cleared away begins again; so age alone decides, and several
//! coordinators may clear the same directory.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::blobs::Blobs;

/// How long nothing must have been written.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How often unfinished files are searched for.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// The files that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanupStats {
    /// Files, and directories of files.
    pub entries: u64,
    /// What they held, in bytes.
    pub bytes: u64,
}

/// Searches now and then, until the task is dropped.
pub async fn run(blobs: Blobs) {
    loop {
        let store = blobs.clone();
        let looked = tokio::task::spawn_blocking(move || pass(&store, SystemTime::now())).await;
        match looked {
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

/// One search. Blocks: not for a thread of the runtime.
///
/// # Errors
/// When a directory cannot be read or something in it cannot be removed.
pub fn pass(blobs: &Blobs, now: SystemTime) -> io::Result<CleanupStats> {
    let mut cleared = CleanupStats::default();
    for directory in blobs.unfinished() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Whoever writes it may end it at any time.
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

/// When something was last written, and how much is there: a file, or a directory of files.
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
    // Asked of the entry itself: a link is removed, and not what it leads to.
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// `None` for what is no longer there.
fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
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
