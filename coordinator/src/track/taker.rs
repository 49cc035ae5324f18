//! Takes webhooks into the store: those that come at the same time share a transaction, so that a
//! burst of a thousand costs a few.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::bus::Bus;
use crate::clock::now_us;
use crate::store::{HookTaken, NewHook, Store, StoreError};

/// Webhooks of one transaction.
const AT_ONCE: usize = 256;

/// Webhooks that wait for theirs.
const WAITING: usize = 1024;

/// How long a webhook is remembered that could be sent again.
const REMEMBERED_US: i64 = 7 * 86_400 * 1_000_000;

/// How often those are forgotten that are older.
const FORGET: Duration = Duration::from_secs(3600);

type Answer = Result<HookTaken, String>;

/// The way to the store.
#[derive(Debug)]
pub(super) struct Taker(mpsc::Sender<(NewHook, oneshot::Sender<Answer>)>);

impl Taker {
    /// Starts the task that writes.
    pub(super) fn start(store: Store, bell: Bus) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(run(receiver, store, bell));
        Self(sender)
    }

    /// Takes a webhook. When this returns it is recorded and will be worked on.
    ///
    /// # Errors
    /// When it could not be recorded; the forge should send it again.
    pub(super) async fn take(&self, hook: NewHook) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let gone = || "the farm is stopping".to_owned();
        self.0.send((hook, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

async fn run(
    mut receiver: mpsc::Receiver<(NewHook, oneshot::Sender<Answer>)>,
    store: Store,
    bell: Bus,
) {
    let mut forget = tokio::time::interval(FORGET);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut batch, AT_ONCE) => {
                if count == 0 {
                    return;
                }
            }
            _ = forget.tick() => {
                if let Err(error) = store.forget_hooks(now_us() - REMEMBERED_US).await {
                    tracing::warn!(%error, "old webhooks were not forgotten");
                }
                continue;
            }
        }
        let (hooks, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        answer(store.take_hooks(&hooks).await, answers);
        bell.ring();
    }
}

fn answer(taken: Result<Vec<HookTaken>, StoreError>, answers: Vec<oneshot::Sender<Answer>>) {
    match taken {
        Ok(taken) => {
            for (taken, answer) in taken.into_iter().zip(answers) {
                // Whoever has gone away will send it again, and then it is known.
                let _ = answer.send(Ok(taken));
            }
        }
        Err(error) => {
            tracing::error!(%error, "webhooks were not recorded");
            for answer in answers {
                let _ = answer.send(Err("the farm's database does not answer".to_owned()));
            }
        }
    }
}
