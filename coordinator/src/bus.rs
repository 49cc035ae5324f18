//! The bell that wakes the passes: something was written.
//!
//! It carries nothing. A pass that wakes looks for facts that lack its result, so a bell that
//! rings twice, or is missed because a poll came first, changes nothing.

use tokio::sync::watch;

use crate::peers::herald::{Voice, Word};

/// Rings for everyone who listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    count: watch::Sender<u64>,
    /// Where it is told that something was written here, for the other coordinators.
    voice: Voice,
}

impl Default for Bus {
    fn default() -> Self {
        Self { count: watch::Sender::new(0), voice: Voice::default() }
    }
}

impl Bus {
    /// A bell of which the other coordinators are told, too.
    #[must_use]
    pub fn with_voice(voice: Voice) -> Self {
        Self { voice, ..Self::default() }
    }

    /// Something was written: wakes everyone here, and at the other coordinators.
    pub fn written(&self) {
        self.ring();
        self.voice.say(Word::Facts);
    }

    /// Wakes everyone here.
    pub fn ring(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Listens from now on. Listen first and look then, so that nothing falls between.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener { count: self.count.subscribe() }
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    count: watch::Receiver<u64>,
}

impl Listener {
    /// Waits until the bell has rung since the last time.
    pub async fn rung(&mut self) {
        // The sender lives in the farm; when it is gone, so is the reason to wake.
        if self.count.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
