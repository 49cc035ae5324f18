//! Where imports run: on threads that may block, so many at once for each git host, and one at a
//! time for each repository. And how they are stopped.
//!
//! A host that hangs holds its own lanes until its imports time out, and nobody else's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::commit::Shared;
use super::failure::ImportError;
use super::limits::ImportLimits;
use super::watch::Watch;
use crate::http::host_of;
use crate::work::KeyedSemaphore;

/// The lanes of all hosts.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    limits: ImportLimits,
    hosts: KeyedSemaphore<String>,
    repositories: KeyedSemaphore<String>,
    stopped: CancellationToken,
}

impl Lanes {
    pub(super) fn new(shared: Shared, limits: ImportLimits) -> Self {
        Self {
            shared: Arc::new(shared),
            hosts: KeyedSemaphore::new(limits.lanes),
            repositories: KeyedSemaphore::new(1),
            limits,
            stopped: CancellationToken::new(),
        }
    }

    /// Stops everything, and whatever comes after it.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Does work on a repository, when it is its turn. Dropping the future stops it; its thread
    /// keeps the lane until it has stopped.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        repository: &str,
        work: impl FnOnce(&Shared, &Watch) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        let cancelled = self.stopped.child_token();
        let _guard = cancelled.clone().drop_guard();
        // The repository first: who waits for it must not keep a lane meanwhile.
        let alone = self.repositories.acquire(repository.to_owned()).await;
        let lane = self.hosts.acquire(host_of(repository)).await;
        let (shared, limits) = (Arc::clone(&self.shared), self.limits.clone());
        let repository = repository.to_owned();
        let blocking = move || {
            let _held = (alone, lane);
            let watch = Watch::new(Handle::current(), cancelled, limits);
            // A panic, in here or in git2, is one import's end.
            catch_unwind(AssertUnwindSafe(|| work(&shared, &watch)))
                .unwrap_or_else(|_| Err(ImportError::Broken(format!("{repository} made it panic"))))
        };
        tokio::task::spawn_blocking(blocking)
            .await
            .map_err(|gone| ImportError::Broken(gone.to_string()))?
    }
}
