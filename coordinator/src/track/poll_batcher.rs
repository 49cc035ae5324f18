//! Records the results of polls: those that end at the same time share a transaction.

use crate::store::{FencedStore, PollResult, StoreError};
use crate::work::Batcher;

/// The result of a poll, with the store that it is recorded in.
type Ended = (FencedStore, PollResult);

/// Batches the results of polls for the store.
#[derive(Debug)]
pub(super) struct PollBatcher(Batcher<Ended, ()>);

impl PollBatcher {
    /// Starts the task that writes. Must be called within a tokio runtime.
    pub(super) fn start() -> Self {
        Self(Batcher::start(|ended: Vec<Ended>| async move {
            // Nearly always all polls of a batch began under one lease.
            for of_one in ended.chunk_by(|(one, _), (other, _)| one.fence() == other.fence()) {
                record(of_one).await;
            }
            vec![(); ended.len()]
        }))
    }

    /// Records the result of a poll, under the lease that it began under.
    pub(super) async fn record(&self, store: FencedStore, result: PollResult) {
        // The batcher is gone only when the farm is stopping.
        let _ = self.0.submit((store, result)).await;
    }
}

/// Records polls that began under one lease.
async fn record(ended: &[Ended]) {
    let Some((store, _)) = ended.first() else { return };
    let results: Vec<PollResult> = ended.iter().map(|(_, result)| result.clone()).collect();
    match store.poll_record(&results).await {
        Ok(0) => {}
        Ok(pushes) => tracing::info!(pushes, "new pushes upstream"),
        // Another coordinator runs the stage now, and polls these packages again.
        Err(error @ StoreError::Fenced { .. }) => {
            tracing::info!("polls of upstream are left to another coordinator: {error}");
        }
        // Polls that were not recorded are still due, and are repeated.
        Err(error) => tracing::error!(%error, "polls of upstream were not recorded"),
    }
}
