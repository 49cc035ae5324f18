//! Records webhooks: those that come at the same time share a transaction, so that a burst of a
//! thousand costs a few.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::bus::Bus;
use crate::clock::now_us;
use crate::store::{HookTaken, NewHook, Store};
use crate::work::Batcher;

/// How long a webhook is remembered that could be sent again.
const REMEMBERED_US: i64 = 7 * 86_400 * 1_000_000;

/// How often those are forgotten that are older.
const FORGET: Duration = Duration::from_secs(3600);

/// Why a webhook is not recorded, as the forge is told; it should send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// The database.
    #[error("the farm's database does not answer")]
    Database,
    /// Nobody records any more.
    #[error("the farm is stopping")]
    Stopping,
}

/// The way of webhooks to the store.
#[derive(Debug)]
pub(super) struct HookBatcher {
    batcher: Batcher<NewHook, Result<HookTaken, RecordError>>,
    _forgets: AbortOnDropHandle<()>,
}

impl HookBatcher {
    /// Starts what writes in the background, and rings the bell for what was written. Must be called
    /// within a tokio runtime.
    pub(super) fn start(store: Store, bell: Bus) -> Self {
        let forgets = AbortOnDropHandle::new(tokio::spawn(forget(store.clone())));
        let batcher = Batcher::start(move |hooks: Vec<NewHook>| {
            let (store, bell) = (store.clone(), bell.clone());
            async move {
                let results = record(&store, &hooks).await;
                bell.ring();
                results
            }
        });
        Self { batcher, _forgets: forgets }
    }

    /// Records a webhook. When this returns it will be worked on.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub(super) async fn record(&self, hook: NewHook) -> Result<HookTaken, RecordError> {
        self.batcher.submit(hook).await.unwrap_or(Err(RecordError::Stopping))
    }
}

async fn record(store: &Store, hooks: &[NewHook]) -> Vec<Result<HookTaken, RecordError>> {
    match store.take_hooks(hooks).await {
        Ok(taken) => taken.into_iter().map(Ok).collect(),
        Err(error) => {
            tracing::error!(%error, "webhooks were not recorded");
            vec![Err(RecordError::Database); hooks.len()]
        }
    }
}

/// Forgets old webhooks, until it is dropped.
async fn forget(store: Store) {
    let mut due = tokio::time::interval(FORGET);
    loop {
        due.tick().await;
        if let Err(error) = store.forget_hooks(now_us() - REMEMBERED_US).await {
            tracing::warn!(%error, "old webhooks were not forgotten");
        }
    }
}
