//! Writes what looks led to: those that end at the same time share a transaction.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::bus::Bus;
use crate::store::{FencedStore, Looked, StoreError};

/// Looks of one transaction.
const AT_ONCE: usize = 256;

/// Looks that wait for theirs.
const WAITING: usize = 1024;

/// A look that has ended, with the store that it is recorded in.
type Ended = (FencedStore, Looked);

type Busy = Arc<Mutex<HashSet<(String, String)>>>;

/// The way to the store, and the looks that are under way or on their way to it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    sender: mpsc::Sender<Ended>,
    busy: Busy,
}

impl Writer {
    /// Starts the task that writes.
    pub(super) fn start(bell: Bus) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let busy = Busy::default();
        tokio::spawn(run(receiver, bell, busy.clone()));
        Self { sender, busy }
    }

    /// Whether a look begins now; not while one of the same package is under way.
    pub(super) fn begin(&self, target: &str, package: &str) -> bool {
        let mut busy = self.busy.lock().expect("no one panics while holding it");
        busy.insert((target.to_owned(), package.to_owned()))
    }

    /// A look has ended, and is recorded under the lease that it began under.
    pub(super) async fn end(&self, store: FencedStore, looked: Looked) {
        // When the writer is gone, the farm is stopping.
        let _ = self.sender.send((store, looked)).await;
    }

    /// The looks that are under way: target and package.
    pub(super) fn under_way(&self) -> HashSet<(String, String)> {
        self.busy.lock().expect("no one panics while holding it").clone()
    }
}

async fn run(mut receiver: mpsc::Receiver<Ended>, bell: Bus, busy: Busy) {
    let mut batch: Vec<Ended> = Vec::new();
    while receiver.recv_many(&mut batch, AT_ONCE).await > 0 {
        // Nearly always all of them began under one lease.
        for of_one in batch.chunk_by(|(one, _), (other, _)| one.fence() == other.fence()) {
            record(of_one).await;
        }
        let mut busy = busy.lock().expect("no one panics while holding it");
        for (_, Looked { target, package, .. }) in batch.drain(..) {
            busy.remove(&(target, package));
        }
        drop(busy);
        bell.ring();
    }
}

/// Records looks that began under one lease.
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
