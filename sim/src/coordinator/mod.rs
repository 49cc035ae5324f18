//! The coordinators: the real ones, each in a runtime of its own on one database and one disk.
//! Dropping a runtime is killing a process; only the database, files and messages on the network
//! survive it.
//!
//! - `process`: the parts of a coordinator and the passes that it runs.
//! - `steps`: when each of its steps runs, and what happens to the process there.
//! - `calls`: the calls of workers and users, and their answers.

mod calls;
mod process;
mod steps;

use rpmfarm_coordinator::simulation;
use rpmfarm_coordinator::store::NewBuild;
use rpmfarm_core::{AttemptId, BatchId, BuildId, Epoch};

pub(crate) use process::{FarmStorage, RunningCoordinator};

use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// A host, and the coordinator's process on it while it runs.
#[derive(Default)]
pub(crate) struct Coordinator {
    pub(crate) running: Option<RunningCoordinator>,
    /// Whether the host is gone for good.
    pub(crate) lost: bool,
    /// Incremented at each start.
    pub(crate) life: u64,
    pub(crate) frozen_until: u64,
    /// Until when its heartbeats do not reach the database.
    pub(crate) beats_lost_until: u64,
    /// The error of its wall clock, in microseconds.
    pub(crate) clock_off: i64,
}

impl Coordinator {
    pub(crate) const fn is_up(&self) -> bool {
        self.running.is_some()
    }
}

/// The result of a call, or of a coordinator's own work.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An upload was accepted, must be sent again, or is refused.
    Upload {
        worker: usize,
        connection: u64,
        attempt: AttemptId,
        epoch: Epoch,
        index: usize,
        taken: Option<bool>,
    },
    /// A request was answered, with its builds and whether they are new.
    Requested { key: String, answer: Option<(Vec<BuildId>, bool)> },
    /// Whether an action on a build was done.
    Done { what: &'static str, build: BuildId, done: Option<bool> },
    /// Something was done to a batch, or not.
    DoneToBatch { what: &'static str, batch: BatchId, done: Option<bool> },
    /// A pass failed, and waits before its next run.
    PassFailed(&'static str),
}

/// A new request for a package.
pub(crate) fn new_build(package: &str) -> NewBuild {
    NewBuild {
        target: crate::scenario::TARGET.into(),
        package: package.into(),
        git_ref: String::new(),
        modification_ref: String::new(),
        class: rpmfarm_core::queue::PriorityClass::default(),
        arches: Vec::new(),
        options: rpmfarm_core::BuildOptions::default(),
    }
}

impl World {
    pub(crate) fn start_coordinator(&mut self, c: usize) {
        let before = &self.coordinators[c];
        if before.is_up() || before.lost {
            return;
        }
        note!(self, "c{c} starts");
        let is_alone = self.coordinators.len() == 1;
        let pace = self.profile.pace_ms * MS;
        let running = RunningCoordinator::start(
            &self.storage,
            &self.outside,
            &self.signer,
            c,
            is_alone,
            pace,
        );
        let coordinator = &mut self.coordinators[c];
        coordinator.life += 1;
        coordinator.running = Some(running);
        self.settle(c);
    }

    /// `kill -9`.
    pub(crate) fn kill_coordinator(&mut self, c: usize) {
        let Some(running) = self.coordinators[c].running.take() else { return };
        note!(self, "c{c} dies");
        let workers: Vec<(u64, usize)> = running.workers();
        drop(running);
        // Steps that its tasks queued while they were dropped belong to no process.
        simulation::take_waiting_steps();
        simulation::take_finished_step();
        let back = self.rng.range(200 * MS, 20 * S);
        self.after(back, Event::CoordinatorStarts(c));
        for (connection, worker) in workers {
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

    /// Sets its wall clock wrong by this many microseconds.
    pub(crate) fn set_clock(&mut self, c: usize, off: i64) {
        self.coordinators[c].clock_off = off;
        simulation::set_wall_offset(c, off);
    }

    /// Whether an event is of an earlier start of the process, or the process is stopped: then the
    /// event is delivered later.
    fn is_void(&mut self, c: usize, life: u64, event: impl FnOnce() -> Event) -> bool {
        let coordinator = &self.coordinators[c];
        if !coordinator.is_up() || coordinator.life != life {
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
