//! The bell that wakes the passes: something was written. And the words that wake those of other
//! coordinators, which `peers` sends.
//!
//! It carries nothing. A pass that wakes reads the facts that lack its result, so a bell that
//! rings twice, or is missed because a poll came first, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc};

/// Words that wait to be sent; more are dropped.
const WAITING: usize = 256;

/// What the other coordinators are told: to read the facts again, never the facts themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerMessage {
    Facts,
    /// A worker's session shall read again what the worker should have.
    Poke(String),
    PokeAll,
    /// A worker has reported.
    Progress,
}

/// Where words are given. Cheap to clone; without somebody who takes them they go nowhere.
#[derive(Debug, Clone, Default)]
pub struct PeerNotifier(Option<mpsc::Sender<PeerMessage>>);

impl PeerNotifier {
    /// A voice and the words that come of it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PeerMessage>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    /// Says a word, if it can be said now.
    pub fn send(&self, word: PeerMessage) {
        if let Some(sender) = &self.0 {
            // A word that does not fit is one of many: the others read the facts by themselves
            // soon.
            let _ = sender.try_send(word);
        }
    }
}

/// Rings for everyone who listens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    wakes: Arc<WakeCounter>,
    /// Where it is told that something was written here, for the other coordinators.
    voice: PeerNotifier,
}

/// What the clones of a bus have in common.
#[derive(Debug, Default)]
struct WakeCounter {
    /// How often it was rung.
    count: AtomicU64,
    /// Wakes those who listen in the order in which they came, so that a simulation can repeat it.
    notify: Notify,
}

impl Bus {
    /// A bell of which the other coordinators are told, too.
    #[must_use]
    pub fn with_voice(voice: PeerNotifier) -> Self {
        Self { voice, ..Self::default() }
    }

    /// Something was written: wakes everyone here, and at the other coordinators.
    pub fn written(&self) {
        self.wake();
        self.voice.send(PeerMessage::Facts);
    }

    /// Wakes the listeners of this process; other coordinators are not told.
    pub fn wake(&self) {
        self.wakes.count.fetch_add(1, Ordering::Release);
        self.wakes.notify.notify_waiters();
    }

    /// Listens from now on. Listen first and read the facts then, so that nothing falls between.
    #[must_use]
    pub fn listen(&self) -> BusListener {
        BusListener { heard: self.wakes.count.load(Ordering::Acquire), wakes: self.wakes.clone() }
    }
}

#[derive(Debug)]
pub struct BusListener {
    wakes: Arc<WakeCounter>,
    /// How often it had been rung by then.
    heard: u64,
}

impl BusListener {
    /// Waits until the bell has rung since the last time.
    pub async fn woken(&mut self) {
        loop {
            // Listens before the count is read, so that what rings in between is not missed.
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
