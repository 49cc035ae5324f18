//! Records what polls led to: those that end at the same time share a transaction.

use crate::store::{FencedStore, Looked, StoreError};
use crate::work::Batcher;

/// What a poll led to, with the store that it is recorded in.
type Ended = (FencedStore, Looked);

/// The way of polls to the store.
#[derive(Debug)]
pub(super) struct PollBatcher(Batcher<Ended, ()>);

impl PollBatcher {
    /// Starts the task that writes. Must be called within a tokio runtime.
    pub(super) fn start() -> Self {
        Self(Batcher::start(|ended: Vec<Ended>| async move {
            // Nearly always all of them began under one lease.
            for of_one in ended.chunk_by(|(one, _), (other, _)| one.fence() == other.fence()) {
                record(of_one).await;
            }
            vec![(); ended.len()]
        }))
    }

    /// Records what a poll led to, under the lease that it began under.
    pub(super) async fn record(&self, store: FencedStore, looked: Looked) {
        // When nobody records any more, the farm is stopping.
        let _ = self.0.submit((store, looked)).await;
    }
}

/// Records polls that began under one lease.
async fn record(ended: &[Ended]) {
    let Some((store, _)) = ended.first() else { return };
    let looks: Vec<Looked> = ended.iter().map(|(_, looked)| looked.clone()).collect();
    match store.record_looks(&looks).await {
        Ok(0) => {}
        Ok(pushes) => tracing::info!(pushes, "upstream has pushed"),
        // Whoever polls now looks at them again.
        Err(error @ StoreError::Fenced { .. }) => {
            tracing::info!("looks at upstream are left to another: {error}");
        }
        // What was not recorded is still due, and looked at again.
        Err(error) => tracing::error!(%error, "looks at upstream were not recorded"),
    }
}
