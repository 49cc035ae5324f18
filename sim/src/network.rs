//! The network between each worker and each coordinator: messages are delayed, lost, duplicated,
//! reordered, and blocked by partitions.

use rpmfarm_core::task::WorkerState;
use rpmfarm_core::{AttemptId, Epoch, Sha256};
use rpmfarm_proto::v1;

use crate::trace::note;
use crate::world::{Event, MS, World};

/// A message of a worker.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    /// The first state of a connection.
    Hello(WorkerState),
    /// A further state.
    State(WorkerState),
    /// The connection ends.
    Close,
    /// A result file: as announced (digest and size) and as sent, with its index among the
    /// attempt's files.
    Upload { attempt: AttemptId, epoch: Epoch, index: usize, digest: (Sha256, u64), sent: Vec<u8> },
}

/// A message of a coordinator.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    /// The desired state.
    Desired(v1::DesiredState),
    /// The connection is broken.
    Reset,
    /// An upload was accepted, must be sent again, or is refused.
    Uploaded { attempt: AttemptId, epoch: Epoch, index: usize, taken: Option<bool> },
}

/// The connection between one worker and one coordinator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// Until when no message arrives: from the worker, and from the coordinator.
    pub(crate) mute_until: u64,
    pub(crate) deaf_until: u64,
    /// When the last message of each direction arrives: the next one arrives later.
    last_up: u64,
    last_down: u64,
}

impl World {
    /// Sends to the coordinator that a worker uses at present.
    pub(crate) fn send_up(&mut self, worker: usize, connection: u64, message: Up) {
        let c = self.workers[worker].uses;
        let blocked = self.links[worker][c].mute_until;
        let Some(delay) = self.delay(blocked) else { return };
        let at = self.in_order(delay, self.links[worker][c].last_up);
        self.links[worker][c].last_up = self.now + at;
        self.doubled(at, Event::Up(worker, c, connection, message));
    }

    /// A coordinator sends to a worker.
    pub(crate) fn send_down(&mut self, worker: usize, c: usize, connection: u64, message: Down) {
        let blocked = self.links[worker][c].deaf_until;
        let Some(delay) = self.delay(blocked) else { return };
        let at = self.in_order(delay, self.links[worker][c].last_down);
        self.links[worker][c].last_down = self.now + at;
        self.doubled(at, Event::Down(worker, connection, message));
    }

    /// The delay of a message; `None` when it is lost. A partition loses a message, or delays it
    /// until the partition ends.
    fn delay(&mut self, blocked_until: u64) -> Option<u64> {
        let (low, high) = if self.faulty { self.profile.delay_ms } else { (0, 5) };
        let delay = self.rng.range(low * MS, high * MS + 1);
        if self.faulty && self.rng.chance(self.profile.loss) {
            return None;
        }
        if self.now < blocked_until {
            return self.rng.chance(400).then_some(blocked_until - self.now + delay);
        }
        Some(delay)
    }

    fn in_order(&self, delay: u64, last: u64) -> u64 {
        if self.faulty && self.profile.reorders {
            delay
        } else {
            delay.max(last.saturating_sub(self.now))
        }
    }

    fn doubled(&mut self, delay: u64, event: Event) {
        if self.faulty && self.rng.chance(self.profile.duplicates) {
            let more = self.rng.below(2_000 * MS);
            self.after(delay + more, event.clone());
        }
        self.after(delay, event);
    }

    /// A coordinator's host answers that no process listens there.
    pub(crate) fn refuse(&mut self, worker: usize, c: usize, connection: u64) {
        note!(self, "c{c} does not know connection {connection} of w{worker}");
        self.send_down(worker, c, connection, Down::Reset);
    }
}
