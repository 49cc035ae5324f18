//! The bus, which wakes the passes when something was written, and the messages that wake the
//! passes of other coordinators. `peers` sends these.
//!
//! It carries no data. A pass that wakes reads the facts that lack its result, so a wake-up that
//! comes twice, or is missed because a poll came first, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc};

/// How many messages wait to be sent; further ones are dropped.
const WAITING: usize = 256;

/// A message to the other coordinators: to read the facts again, never the facts themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerMessage {
    Facts,
    /// The worker's session shall read again what the worker should have.
    WakeSession(String),
    WakeSessions,
    /// A worker has reported progress.
    Progress,
}

/// Takes messages for the other coordinators. Cheap to clone. The default one drops them.
#[derive(Debug, Clone, Default)]
pub struct PeerNotifier(Option<mpsc::Sender<PeerMessage>>);

impl PeerNotifier {
    /// A notifier and the receiver of its messages.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PeerMessage>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    /// Queues a message; drops it when the queue is full.
    pub fn send(&self, word: PeerMessage) {
        if let Some(sender) = &self.0 {
            // A dropped message does no harm: the other coordinators read the facts periodically.
            let _ = sender.try_send(word);
        }
    }
}

/// Wakes everyone who listens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    wakes: Arc<WakeCounter>,
    /// Tells the other coordinators that something was written here.
    notifier: PeerNotifier,
}

/// The state that the clones of a bus share.
#[derive(Debug, Default)]
struct WakeCounter {
    /// How often the bus was woken.
    count: AtomicU64,
    /// Wakes those who listen in the order in which they came, so that a simulation can repeat it.
    notify: Notify,
}

impl Bus {
    /// A bus that also notifies the other coordinators.
    #[must_use]
    pub fn with_notifier(notifier: PeerNotifier) -> Self {
        Self { notifier, ..Self::default() }
    }

    /// Wakes the listeners of this process and those of the other coordinators, after something was
    /// written.
    pub fn written(&self) {
        self.wake();
        self.notifier.send(PeerMessage::Facts);
    }

    /// Wakes the listeners of this process; other coordinators are not notified.
    pub fn wake(&self) {
        self.wakes.count.fetch_add(1, Ordering::Release);
        self.wakes.notify.notify_waiters();
    }

    /// Listens from now on. Call this before reading the facts, so that no write between the two is
    /// missed.
    #[must_use]
    pub fn listen(&self) -> BusListener {
        BusListener { heard: self.wakes.count.load(Ordering::Acquire), wakes: self.wakes.clone() }
    }
}

#[derive(Debug)]
pub struct BusListener {
    wakes: Arc<WakeCounter>,
    /// The count of wake-ups that this listener has seen.
    heard: u64,
}

impl BusListener {
    /// Waits until the bus was woken since the last call.
    pub async fn woken(&mut self) {
        loop {
            // Listens before the count is read, so that a wake-up in between is not missed.
            let notified = self.wakes.notify.notified();
            let count = self.wakes.count.load(Ordering::Acquire);
            if count != self.heard {
                self.heard = count;
                return;
            }
            notified.await;
        }
    }
}
