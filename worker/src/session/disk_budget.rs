//! Keeps space free for further attempts: caches are kept within their limits, and are reduced when
//! the disk is nearly full.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::AttemptContext;
use crate::build::Engine;
use crate::disk::free_mib;
use crate::transfer::FileCache;

/// The caches on a worker's disk, and their limits.
pub struct DiskBudget {
    pub engine: Arc<Engine>,
    /// Files that were fetched before.
    pub cache: FileCache,
    /// The worker's data directory.
    pub data: PathBuf,
    /// The limit of stored roots, in bytes.
    pub roots_bytes: u64,
    /// The limit of fetched files, in bytes.
    pub files_bytes: u64,
    /// MiB that must be free for new work.
    pub wanted_mib: u64,
}

/// New attempts are taken with this multiple of the reserve free, because one that starts at the
/// limit would soon be ended.
const RESERVES: u64 = 2;

/// How often free disk space is checked.
const PERIOD: Duration = Duration::from_secs(2);

impl DiskBudget {
    /// MiB that must be free for new work, of a worker whose builds leave so many free.
    #[must_use]
    pub const fn wanted_mib(reserve_mib: u64) -> u64 {
        reserve_mib.saturating_mul(RESERVES)
    }

    /// Removes the files and roots that were used longest ago until the caches are within their
    /// limits and there is enough space, or nothing is left to remove.
    pub fn free_space(&self) {
        self.engine.roots.evict(self.roots_bytes);
        self.trim(self.files_bytes);
        // Files can be fetched again faster than roots can be made again.
        if self.lacks() > 0 {
            self.trim(self.cache.bytes().saturating_sub(self.lacks()));
        }
        if self.lacks() > 0 {
            self.engine.roots.evict(self.engine.roots.bytes().saturating_sub(self.lacks()));
        }
    }

    fn trim(&self, limit: u64) {
        if let Err(error) = self.cache.trim(limit) {
            tracing::warn!(%error, "cannot remove fetched files to free space");
        }
    }

    /// How many bytes are lacking for new attempts.
    fn lacks(&self) -> u64 {
        let free = free_mib(&self.data).unwrap_or(u64::MAX);
        self.wanted_mib.saturating_sub(free) << 20
    }
}

/// Frees space whenever there is too little, as long as the worker runs, because a worker without
/// work would otherwise never do it.
pub async fn keep(shared: Arc<AttemptContext>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        if shared.disk_budget.lacks() > 0 {
            let shared = Arc::clone(&shared);
            // A panic in there is logged, and the next round tries again.
            let _ = tokio::task::spawn_blocking(move || shared.disk_budget.free_space()).await;
        }
    }
}
