//! The scrub: reads stored files again, slowly, and compares them with their digests, so that bit
//! rot and changed files are found before somebody needs them. The name of a blob is its digest;
//! that of a published package is in the list of its channel's generation.
//!
//! Nothing is moved or removed: every user of a blob checks its digest and refuses a damaged one.
//! Damaged files are shown in the log, by the metrics and by `rpmfarm doctor`, until they are
//! restored.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Sha256;

use crate::blobs::{BlobError, Blobs};
use crate::publish;

/// Bytes a second: a store of one TiB is read once in three days, with little load on the disk.
const RATE: u64 = 4 << 20;
/// The shortest pause after a file.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after each round over a small store.
const REST: Duration = Duration::from_secs(5 * 60);

/// The files that were found damaged, and the reason. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DamagedFiles(Arc<Mutex<BTreeMap<PathBuf, String>>>);

impl DamagedFiles {
    /// All damaged files, with the reason.
    #[must_use]
    pub fn all(&self) -> Vec<(PathBuf, String)> {
        self.lock().iter().map(|(path, what)| (path.clone(), what.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        self.0.lock()
    }

    /// Reads one blob again, and records whether it is damaged. Returns its size in bytes. Blocks,
    /// so it must not run on a thread of the runtime.
    pub fn verify(&self, blobs: &Blobs, digest: Sha256) -> u64 {
        let path = blobs.place(digest);
        match blobs.verify(digest) {
            Ok(size) => {
                self.is_whole(&path);
                size
            }
            // The blob was removed after it was listed.
            Err(BlobError::Missing(_)) => {
                self.is_whole(&path);
                0
            }
            Err(error) => self.is_damaged(path, error.to_string()),
        }
    }

    /// The same for a published file that is not a hard link to a stored one.
    pub fn verify_published(&self, blobs: &Blobs, path: &Path, digest: Sha256) -> u64 {
        let Ok(found) = fs::metadata(path) else {
            return self.is_damaged(path.to_owned(), format!("{} is gone", path.display()));
        };
        let is_stored = fs::metadata(blobs.place(digest))
            .is_ok_and(|stored| (stored.dev(), stored.ino()) == (found.dev(), found.ino()));
        if is_stored {
            // A hard link to a stored file, which was read as a blob.
            self.is_whole(path);
            return 0;
        }
        match publish::hash(path) {
            Ok(digests) if digests == digest => {
                self.is_whole(path);
                found.len()
            }
            Ok(other) => {
                let what = format!(
                    "{} is not the package that was published: its SHA-256 is {other}, not {digest}",
                    path.display()
                );
                self.is_damaged(path.to_owned(), what)
            }
            Err(error) => self.is_damaged(path.to_owned(), format!("{}: {error}", path.display())),
        }
    }

    fn is_whole(&self, path: &Path) {
        if self.lock().remove(path).is_some() {
            tracing::info!(path = %path.display(), "a damaged file was restored");
        }
    }

    fn is_damaged(&self, path: PathBuf, what: String) -> u64 {
        let mut found = self.lock();
        if !found.contains_key(&path) {
            tracing::error!(path = %path.display(), error = what, "a stored file is damaged");
        }
        found.insert(path, what);
        0
    }

    /// Forgets published files that no channel shows any more.
    fn keep(&self, repos: &Path, shown: &[(PathBuf, Sha256)]) {
        self.lock().retain(|path, _| {
            !path.starts_with(repos) || shown.iter().any(|(shown, _)| shown == path)
        });
    }
}

/// Reads all blobs, and the published files below `repos`, in rounds, until the task is dropped.
pub async fn run(blobs: Blobs, repos: PathBuf, damaged: DamagedFiles) {
    // A random beginning, so that a coordinator that is often restarted does not always read the
    // same part.
    let first: u8 = rand::random();
    loop {
        for step in 0..=u8::MAX {
            let prefix = first.wrapping_add(step);
            let store = blobs.clone();
            let listed = tokio::task::spawn_blocking(move || store.listed(prefix)).await;
            match listed {
                Ok(Ok(all)) => read_again(&blobs, &damaged, all).await,
                Ok(Err(error)) => tracing::error!(%error, "blobs cannot be listed"),
                Err(error) => tracing::error!(%error, "listing blobs was interrupted"),
            }
        }
        published(&blobs, &repos, &damaged).await;
        tokio::time::sleep(REST).await;
    }
}

async fn published(blobs: &Blobs, repos: &Path, damaged: &DamagedFiles) {
    let tree = repos.to_owned();
    let listed = tokio::task::spawn_blocking(move || publish::shown_files(&tree)).await;
    let all = match listed {
        Ok(Ok(all)) => all,
        Ok(Err(error)) => return tracing::error!(%error, "published files cannot be listed"),
        Err(error) => return tracing::error!(%error, "listing published files was interrupted"),
    };
    damaged.keep(repos, &all);
    for (path, digest) in all {
        let (store, known) = (blobs.clone(), damaged.clone());
        let verify = move || known.verify_published(&store, &path, digest);
        let size = tokio::task::spawn_blocking(verify).await.unwrap_or(0);
        // Files that are hard links to blobs were not read, so no pause is needed.
        if size > 0 {
            tokio::time::sleep(pause(size)).await;
        }
    }
}

fn pause(size: u64) -> Duration {
    Duration::from_millis(size.saturating_mul(1000) / RATE).max(PAUSE)
}

async fn read_again(blobs: &Blobs, damaged: &DamagedFiles, all: Vec<Sha256>) {
    for digest in all {
        let (store, known) = (blobs.clone(), damaged.clone());
        let verified = tokio::task::spawn_blocking(move || known.verify(&store, digest)).await;
        let size = verified.unwrap_or(0);
        tokio::time::sleep(pause(size)).await;
    }
}

impl Blobs {
    /// The blobs whose digests begin with this byte.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn listed(&self, prefix: u8) -> io::Result<Vec<Sha256>> {
        let entries = fs::read_dir(self.root().join(format!("{prefix:02x}")))?;
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_known_until_it_is_restored() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let digest = blobs.put(b"content").unwrap();
        let all: Vec<_> = (0..=u8::MAX).flat_map(|prefix| blobs.listed(prefix).unwrap()).collect();
        assert_eq!(all, [digest]);
        let damaged = DamagedFiles::default();
        assert_eq!(damaged.verify(&blobs, digest), 7);
        assert!(damaged.all().is_empty());

        fs::write(blobs.path(digest), b"Content").unwrap();
        damaged.verify(&blobs, digest);
        let found = damaged.all();
        assert_eq!(found[0].0, blobs.path(digest));
        assert!(found[0].1.contains(&Sha256::compute(b"Content").to_string()), "{found:?}");

        fs::write(blobs.path(digest), b"content").unwrap();
        damaged.verify(&blobs, digest);
        assert!(damaged.all().is_empty());
        damaged.verify(&blobs, Sha256::compute(b"nowhere"));
        assert!(damaged.all().is_empty());
    }

    #[test]
    fn what_is_published_must_be_what_was_published() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let digest = blobs.put(b"package").unwrap();
        let path = dir.path().join("a.rpm");
        fs::hard_link(blobs.path(digest), &path).unwrap();
        let damaged = DamagedFiles::default();
        assert_eq!(damaged.verify_published(&blobs, &path, digest), 0, "it is read as a blob");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"package").unwrap();
        assert_eq!(damaged.verify_published(&blobs, &path, digest), 7);
        assert!(damaged.all().is_empty());

        fs::write(&path, b"PACKAGE").unwrap();
        damaged.verify_published(&blobs, &path, digest);
        assert!(damaged.all()[0].1.contains("is not the package that was published"));
        damaged.keep(dir.path(), &[]);
        assert!(damaged.all().is_empty(), "nothing shows it any more");
        fs::remove_file(&path).unwrap();
        damaged.verify_published(&blobs, &path, digest);
        assert!(damaged.all()[0].1.contains("is gone"));
    }
}
