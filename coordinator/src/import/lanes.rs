//! Where imports run: on threads that may block, so many at once for each git host, and one at a
//! time for each package. And how they are stopped.
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
use crate::work::Queues;

/// The lanes of all hosts.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    limits: ImportLimits,
    hosts: Queues,
    packages: Queues,
}

impl Lanes {
    pub(super) fn new(shared: Shared, limits: ImportLimits) -> Self {
        Self {
            shared: Arc::new(shared),
            limits,
            hosts: Queues::default(),
            packages: Queues::default(),
        }
    }

    /// Does work on a package that comes from a host, when it is its turn. Dropping the future
    /// stops it; its thread keeps the lane until it has stopped.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        host: &str,
        package: &str,
        work: impl FnOnce(&Shared, &Watch) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        let cancelled = CancellationToken::new();
        let _guard = cancelled.clone().drop_guard();
        // The package first: who waits for it must not keep a lane meanwhile.
        let alone = self.packages.turn(package, 1).await;
        let lane = self.hosts.turn(host, self.limits.lanes).await;
        let (shared, limits) = (Arc::clone(&self.shared), self.limits.clone());
        let package = package.to_owned();
        let blocking = move || {
            let _held = (alone, lane);
            let watch = Watch::new(Handle::current(), cancelled, limits);
            // A panic, in here or in git2, is one import's end.
            catch_unwind(AssertUnwindSafe(|| work(&shared, &watch)))
                .unwrap_or_else(|_| Err(ImportError::Broken(format!("{package} made it panic"))))
        };
        tokio::task::spawn_blocking(blocking)
            .await
            .map_err(|gone| ImportError::Broken(gone.to_string()))?
    }
}
