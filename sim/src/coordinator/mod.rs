//! The simulated coordinator: its passes look for facts that lack their result, as the real ones
//! do, and every decision in them is `core`'s. One or two of them run on one store.
//!
//! A pass reads now and writes later, so that everything else can happen between; and it may
//! die before and after each commit. What is in a [`Coordinator`] dies with it.
//!
//! - `passes`, `crew`: when they look, and what they have under way.
//! - `peers`, `commit`: whose a stage is, and how what is written for it stands behind that.
//! - `sources`, `resolve`, `accept`, `publish`: the stages; `dispatch`, `session`: what runs on
//!   each coordinator, for the workers that are connected to it.

mod accept;
mod commit;
mod crew;
mod dispatch;
mod passes;
mod peers;
mod publish;
mod resolve;
mod session;
mod sources;

use std::collections::BTreeMap;

use rpmfarm_core::TaskId;

use crew::Crew;
pub(crate) use crew::{Piece, Solution, Work};
pub(crate) use dispatch::Fleet;
pub(crate) use passes::Pass;
use peers::Peers;
pub(crate) use peers::{Claimed, Fence, name};
pub(crate) use publish::{Publishing, signed};
pub(crate) use session::{Known, Session};

use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// Why something came to no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process is dead.
    Dead,
    /// The database, the signer or another part of the farm said no.
    Error,
}

pub(crate) type Step<T = ()> = Result<T, Stop>;

/// A process, and what is true of its host.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    pub(crate) up: bool,
    /// It never comes back.
    pub(crate) lost: bool,
    /// One more for each start.
    pub(crate) life: u64,
    pub(crate) frozen_until: u64,
    /// Until when its beats do not get through to the database.
    pub(crate) beats_lost_until: u64,
    started: u64,
    /// Since when it listens without a break, and when it last looked at the leases.
    listening: u64,
    looked: u64,
    /// What its wall clock is off, in microseconds.
    pub(crate) clock_off: i64,
    /// When each pass comes next.
    due: BTreeMap<Pass, u64>,
    /// Until when one that failed hears no bell.
    rests_until: BTreeMap<Pass, u64>,
    /// Pieces of work under way, and whether each only rests.
    busy: BTreeMap<(Crew, i64), bool>,
    peers: Peers,
    fleet: BTreeMap<String, Known>,
    sessions: BTreeMap<u64, Session>,
    memory: BTreeMap<TaskId, (i64, Vec<String>, Solution)>,
}

impl World {
    pub(crate) fn start_coordinator(&mut self, c: usize) {
        let now = self.now;
        let before = &self.coordinators[c];
        if before.up || before.lost {
            return;
        }
        let life = before.life + 1;
        self.coordinators[c] = Coordinator {
            up: true,
            life,
            beats_lost_until: before.beats_lost_until,
            started: now,
            listening: now,
            looked: now,
            clock_off: before.clock_off,
            ..Coordinator::default()
        };
        note!(self, "c{c} starts");
        self.after(0, Event::Beat(c, life));
        for pass in Pass::ALL {
            let delay = self.rng.below(50) * MS;
            self.pass_in(c, pass, delay);
        }
    }

    /// `kill -9`: what is not in the store, in files or on the wire is gone.
    pub(crate) fn kill_coordinator(&mut self, c: usize) {
        if !self.coordinators[c].up {
            return;
        }
        note!(self, "c{c} dies");
        let life = self.coordinators[c].life;
        self.coordinators[c].up = false;
        if self.repo.lock == Some((c, life)) {
            self.repo.lock = None;
        }
        let back = self.rng.range(200 * MS, 20 * S);
        self.after(back, Event::CoordinatorStarts(c));
        let connections: Vec<(u64, usize)> = self.coordinators[c]
            .sessions
            .iter()
            .map(|(id, session)| (*id, session.worker))
            .collect();
        for (connection, worker) in connections {
            self.refuse(worker, c, connection);
        }
    }

    /// Its host is gone for good, unless the farm has no other.
    pub(crate) fn lose_coordinator(&mut self, c: usize) {
        if self.coordinators.iter().filter(|one| !one.lost).count() > 1 {
            note!(self, "c{c} is gone for good");
            self.coordinators[c].lost = true;
            self.kill_coordinator(c);
        }
    }

    /// Whether an event of an earlier life comes, or of a process that stands still: then it
    /// comes later.
    fn is_void(&mut self, c: usize, life: u64, event: impl FnOnce() -> Event) -> bool {
        let coordinator = &self.coordinators[c];
        if !coordinator.up || coordinator.life != life {
            return true;
        }
        if coordinator.frozen_until > self.now {
            let later = coordinator.frozen_until - self.now;
            self.after(later, event());
            return true;
        }
        false
    }
}
