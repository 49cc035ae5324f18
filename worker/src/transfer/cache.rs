//! Files by digest on this worker: packages of roots, sources, SRPMs, locks.
//!
//! Owns the directory and its size: the files that were used longest ago are removed first. A file
//! in it is always complete and checked.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rpmfarm_core::Sha256;

/// The directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileCache {
    directory: Arc<Path>,
    under_way: Arc<Mutex<HashMap<Sha256, Arc<tokio::sync::Mutex<()>>>>>,
}

impl FileCache {
    /// Opens a cache.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(directory.join("partial"))?;
        Ok(Self { directory: directory.into(), under_way: Arc::default() })
    }

    /// Where a file lies when it is here.
    #[must_use]
    pub fn path(&self, digest: Sha256) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// Where a file grows while it is fetched.
    #[must_use]
    pub fn partial(&self, digest: Sha256) -> PathBuf {
        self.directory.join("partial").join(digest.hex())
    }

    /// Whether a file is here. Being asked for counts as being used.
    #[must_use]
    pub fn has(&self, digest: Sha256) -> bool {
        let touch = |file: File| file.set_modified(SystemTime::now());
        File::open(self.path(digest)).and_then(touch).is_ok()
    }

    /// Takes over a downloaded file that was checked.
    pub fn keep(&self, digest: Sha256) -> io::Result<()> {
        fs::rename(self.partial(digest), self.path(digest))
    }

    /// The right to fetch a file: others who want it wait, and then find it in the cache.
    #[must_use]
    pub fn fetching(&self, digest: Sha256) -> Arc<tokio::sync::Mutex<()>> {
        let mut under_way = self.under_way.lock();
        under_way.retain(|_, lock| Arc::strong_count(lock) > 1);
        under_way.entry(digest).or_default().clone()
    }

    /// Bytes that all files here take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().unwrap_or_default().iter().map(|(_, size, _)| size).sum()
    }

    /// All files with when they were used last and their sizes.
    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        Ok(files)
    }

    /// Removes the files used longest ago until the rest takes no more than `limit` bytes.
    pub fn trim(&self, limit: u64) -> io::Result<()> {
        let mut files = self.files()?;
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        files.sort();
        for (_, size, path) in files {
            if total <= limit {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FileCache::open(dir.path()).unwrap();
        let digests: Vec<Sha256> = (0_u8..3).map(|n| Sha256::compute(&[n])).collect();
        for (age, digest) in digests.iter().enumerate() {
            fs::write(cache.partial(*digest), b"12345").unwrap();
            cache.keep(*digest).unwrap();
            let used = SystemTime::now() - Duration::from_secs(100 - age as u64);
            File::open(cache.path(*digest)).unwrap().set_modified(used).unwrap();
        }
        assert!(cache.has(digests[0]), "and is used now");
        cache.trim(10).unwrap();
        assert!(cache.has(digests[0]) && cache.has(digests[2]));
        assert!(!cache.has(digests[1]));
    }
}
