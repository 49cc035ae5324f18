//! Records webhooks: those that arrive at the same time share a transaction, so that a burst of a
//! thousand costs a few commits.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::bus::Bus;
use crate::clock;
use crate::store::{HookResult, NewHook, Store};
use crate::work::Batcher;

/// How long a webhook is remembered, so that it is recognised when it is sent again.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);

/// How often older webhooks are deleted.
const FORGET: Duration = Duration::from_secs(3600);

/// Why a webhook is not recorded, in words for the forge, which should send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the farm's database does not answer")]
    Database,
    /// The coordinator is stopping.
    #[error("the farm is stopping")]
    Stopping,
}

/// Batches webhooks for the store.
#[derive(Debug)]
pub(super) struct HookBatcher {
    batcher: Batcher<NewHook, Result<HookResult, RecordError>>,
    _forgets: AbortOnDropHandle<()>,
}

impl HookBatcher {
    /// Starts the task that writes, and wakes this bus after each write. Must be called within a
    /// tokio runtime.
    pub(super) fn start(store: Store, bus: Bus) -> Self {
        let forgets = AbortOnDropHandle::new(tokio::spawn(forget(store.clone())));
        let batcher = Batcher::start(move |hooks: Vec<NewHook>| {
            let (store, bus) = (store.clone(), bus.clone());
            async move {
                let results = record(&store, &hooks).await;
                bus.wake();
                results
            }
        });
        Self { batcher, _forgets: forgets }
    }

    /// Records a webhook. When this returns, the webhook is durable.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub(super) async fn record(&self, hook: NewHook) -> Result<HookResult, RecordError> {
        self.batcher.submit(hook).await.unwrap_or(Err(RecordError::Stopping))
    }
}

async fn record(store: &Store, hooks: &[NewHook]) -> Vec<Result<HookResult, RecordError>> {
    match store.hook_insert(hooks).await {
        Ok(taken) => taken.into_iter().map(Ok).collect(),
        Err(error) => {
            tracing::error!(%error, "webhooks were not recorded");
            vec![Err(RecordError::Database); hooks.len()]
        }
    }
}

/// Deletes old webhooks, until the future is dropped.
async fn forget(store: Store) {
    let mut due = tokio::time::interval(FORGET);
    loop {
        due.tick().await;
        if let Err(error) = store.hook_delete_before(clock::now() - REMEMBERED).await {
            tracing::warn!(%error, "old webhooks were not forgotten");
        }
    }
}
