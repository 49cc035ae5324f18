//! Import lanes: threads that may block, a limited number at once for each git host, and one at a
//! time for each repository. Also how imports are stopped.
//!
//! A host that hangs holds only its own lanes, until its imports time out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::commit::ImportContext;
use super::failure::ImportError;
use super::limits::ImportLimits;
use super::watch::ImportTimer;
use crate::http::host_of;
use crate::work::KeyedSemaphore;

/// The lanes of all hosts.
pub(super) struct ImportLanes {
    shared: Arc<ImportContext>,
    limits: ImportLimits,
    hosts: KeyedSemaphore<String>,
    repositories: KeyedSemaphore<String>,
    stopped: CancellationToken,
}

impl ImportLanes {
    pub(super) fn new(shared: ImportContext, limits: ImportLimits) -> Self {
        Self {
            shared: Arc::new(shared),
            hosts: KeyedSemaphore::new(limits.lanes),
            repositories: KeyedSemaphore::new(1),
            limits,
            stopped: CancellationToken::new(),
        }
    }

    /// Stops all imports, running and future ones.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Runs work on a repository when it is its turn. Dropping the future stops the work; its
    /// thread keeps the lane until it has stopped.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        repository: &str,
        work: impl FnOnce(&ImportContext, &ImportTimer) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        let cancelled = self.stopped.child_token();
        let _guard = cancelled.clone().drop_guard();
        // The permit of the repository comes first: an import that waits for its repository must
        // not hold a lane.
        let alone = self.repositories.acquire(repository.to_owned()).await;
        let lane = self.hosts.acquire(host_of(repository)).await;
        let (shared, limits) = (Arc::clone(&self.shared), self.limits.clone());
        let repository = repository.to_owned();
        let blocking = move || {
            let _held = (alone, lane);
            let watch = ImportTimer::new(Handle::current(), cancelled, limits);
            // A panic, here or in git2, ends only this import.
            catch_unwind(AssertUnwindSafe(|| work(&shared, &watch)))
                .unwrap_or_else(|_| Err(ImportError::Broken(format!("{repository} made it panic"))))
        };
        tokio::task::spawn_blocking(blocking)
            .await
            .map_err(|gone| ImportError::Broken(gone.to_string()))?
    }
}
