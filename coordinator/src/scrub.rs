//! Reads stored files again, slowly, and compares them with their names: bit rot and files that were
//! changed in place are found before somebody needs them.
//!
//! Nothing is moved or removed: whoever uses a blob checks its digest and keeps back what does not
//! match. What is found is told by the log, by the metrics and by `rpmfarm doctor`, until the file is
//! restored.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpmfarm_core::Sha256;

use crate::blobs::{BlobError, Blobs};

/// Bytes a second: a store of one TiB is read once in three days, and no disk feels it.
const RATE: u64 = 4 << 20;
/// The shortest pause after a file.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after all of a small store.
const REST: Duration = Duration::from_secs(60 * 60);

/// The blobs that were found damaged, and how. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Damaged(Arc<Mutex<BTreeMap<Sha256, String>>>);

impl Damaged {
    /// All that are known, with what is wrong.
    #[must_use]
    pub fn all(&self) -> Vec<(Sha256, String)> {
        self.found().iter().map(|(digest, what)| (*digest, what.clone())).collect()
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<Sha256, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one blob again, and remembers or forgets that it is damaged. Returns its size in bytes.
    /// Blocks: not for a thread of the runtime.
    pub fn look(&self, blobs: &Blobs, digest: Sha256) -> u64 {
        match blobs.verify(digest) {
            Ok(size) => {
                if self.found().remove(&digest).is_some() {
                    tracing::info!(%digest, "a damaged blob was restored");
                }
                size
            }
            // Removed since it was listed.
            Err(BlobError::Missing(_)) => {
                self.found().remove(&digest);
                0
            }
            Err(error) => {
                let what = error.to_string();
                if self.found().insert(digest, what.clone()).is_none() {
                    tracing::error!(%digest, error = what, "a blob is damaged");
                }
                0
            }
        }
    }
}

/// Reads all blobs again and again, until the task is dropped.
pub async fn run(blobs: Blobs, damaged: Damaged) {
    // Whoever starts often begins elsewhere each time.
    let first: u8 = rand::random();
    loop {
        for step in 0..=u8::MAX {
            let prefix = first.wrapping_add(step);
            let store = blobs.clone();
            let listed = tokio::task::spawn_blocking(move || store.listed(prefix)).await;
            match listed {
                Ok(Ok(all)) => read_again(&blobs, &damaged, all).await,
                Ok(Err(error)) => tracing::error!(%error, "blobs cannot be listed"),
                Err(error) => tracing::error!(%error, "listing blobs was cut off"),
            }
        }
        tokio::time::sleep(REST).await;
    }
}

async fn read_again(blobs: &Blobs, damaged: &Damaged, all: Vec<Sha256>) {
    for digest in all {
        let (store, known) = (blobs.clone(), damaged.clone());
        let looked = tokio::task::spawn_blocking(move || known.look(&store, digest)).await;
        let size = looked.unwrap_or(0);
        let pause = Duration::from_millis(size.saturating_mul(1000) / RATE);
        tokio::time::sleep(pause.max(PAUSE)).await;
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
        let damaged = Damaged::default();
        assert_eq!(damaged.look(&blobs, digest), 7);
        assert!(damaged.all().is_empty());

        fs::write(blobs.path(digest), b"Content").unwrap();
        damaged.look(&blobs, digest);
        let found = damaged.all();
        assert_eq!(found[0].0, digest);
        assert!(found[0].1.contains(&Sha256::of(b"Content").to_string()), "{found:?}");

        fs::write(blobs.path(digest), b"content").unwrap();
        damaged.look(&blobs, digest);
        assert!(damaged.all().is_empty());
        damaged.look(&blobs, Sha256::of(b"nowhere"));
        assert!(damaged.all().is_empty());
    }
}
