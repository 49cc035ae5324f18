//! The simulated worker: its process, its session with the coordinator, and its attempts as
//! `worker/src/session` keeps them. `core` decides how it reacts to the desired state.

mod attempt;
mod lies;

use std::collections::BTreeMap;
use std::time::Duration;

use rpmfarm_core::lease::LeaseTerms;
use rpmfarm_core::reconcile::{HeldAttempt, ReconcileAction, reconcile};
use rpmfarm_core::task::{Assignment, AttemptReport, DesiredState, Phase, Progress, WorkerState};
use rpmfarm_core::worker_standing::PROTOCOL;
use rpmfarm_core::{AttemptId, Epoch};

pub(crate) use attempt::Stage;

use crate::network::{Down, Up};
use crate::scenario::Host;
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// Identifies an attempt on a worker.
pub(crate) type Key = (AttemptId, Epoch);

/// A host with the worker's process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) host: Host,
    pub(crate) up: bool,
    pub(crate) life: u64,
    pub(crate) frozen_until: u64,
    pub(crate) disk_full_until: u64,
    /// Whether it is honest from now on, whatever its behaviour was.
    pub(crate) tamed: bool,
    pub(crate) attempts: BTreeMap<Key, Entry>,
    /// Reports that a liar repeats.
    old_reports: Vec<AttemptReport>,
    connections: u64,
    /// Its current connection; 0 for none.
    pub(crate) connection: u64,
    /// The coordinator that it uses for everything until a call fails.
    pub(crate) uses: usize,
    reconnects_at: u64,
    opened: u64,
    answered: u64,
    spoken: u64,
    steps: u64,
    heartbeat: u64,
    lease: u64,
}

/// An attempt on a worker.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) progress: Progress,
    pub(crate) assignment: Assignment,
    pub(crate) stage: Stage,
    /// The number of its next step: events for other steps are void.
    step: u64,
    /// It must end: it is no longer desired, or the coordinator is lost.
    cancelled: bool,
    /// Its task has ended.
    pub(crate) done: bool,
    /// No report on it is wanted any more.
    pub(crate) forgotten: bool,
}

impl Worker {
    pub(crate) fn new(index: usize, host: &Host) -> Self {
        Self {
            host: host.clone(),
            up: false,
            life: 0,
            frozen_until: 0,
            disk_full_until: 0,
            tamed: false,
            attempts: BTreeMap::new(),
            old_reports: Vec::new(),
            connections: index as u64,
            connection: 0,
            uses: 0,
            reconnects_at: 0,
            opened: 0,
            answered: 0,
            spoken: 0,
            steps: 0,
            heartbeat: S,
            lease: 30 * S,
        }
    }
}

impl World {
    pub(crate) fn start_worker(&mut self, w: usize) {
        let now = self.now;
        let worker = &mut self.workers[w];
        if worker.up {
            return;
        }
        (worker.up, worker.life) = (true, worker.life + 1);
        worker.attempts.clear();
        (worker.answered, worker.reconnects_at) = (now, now);
        // Half of the workers have the list in the other order.
        worker.uses = w % self.coordinators.len();
        let life = worker.life;
        note!(self, "w{w} starts");
        self.connect(w);
        self.after(S, Event::Tick(w, life));
    }

    /// `kill -9`, of the process and so of everything that it runs.
    pub(crate) fn kill_worker(&mut self, w: usize) {
        if !self.workers[w].up {
            return;
        }
        note!(self, "w{w} dies");
        let connection = self.workers[w].connection;
        let worker = &mut self.workers[w];
        (worker.up, worker.connection) = (false, 0);
        worker.attempts.clear();
        self.send_up(w, connection, Up::Close);
        // A worker that the farm can do without may never come back.
        let needed = self.outside.lock().scenario.arches.len();
        if w >= needed && self.rng.chance(300) {
            note!(self, "w{w} is gone for good");
            return;
        }
        // Its supervisor restarts it at once, or an administrator must.
        let longest = if self.rng.chance(600) { 2 * S } else { 60 * S };
        let back = self.rng.range(200 * MS, longest);
        self.after(back, Event::WorkerStarts(w));
    }

    fn connect(&mut self, w: usize) {
        let now = self.now;
        let state = self.state_of(w);
        let worker = &mut self.workers[w];
        // Unique in the farm.
        worker.connections += 1_000;
        (worker.connection, worker.opened, worker.spoken) = (worker.connections, now, now);
        let connection = worker.connection;
        self.send_up(w, connection, Up::Hello(state));
    }

    fn disconnect(&mut self, w: usize) {
        let pause = self.rng.range(100 * MS, 3_000 * MS);
        let worker = &mut self.workers[w];
        let connection = std::mem::take(&mut worker.connection);
        worker.reconnects_at = self.now + pause;
        self.send_up(w, connection, Up::Close);
        // It tries the next coordinator of its list.
        let worker = &mut self.workers[w];
        worker.uses = (worker.uses + 1) % self.coordinators.len();
    }

    fn state_of(&mut self, w: usize) -> WorkerState {
        let worker = &self.workers[w];
        let reported = worker.attempts.iter().filter(|(_, entry)| !entry.forgotten);
        let mut attempts: Vec<AttemptReport> = reported
            .map(|((attempt, epoch), entry)| AttemptReport {
                attempt: *attempt,
                epoch: *epoch,
                progress: entry.progress.clone(),
            })
            .collect();
        let mut state = worker_state(&worker.host);
        self.lie(w, &mut attempts);
        state.attempts = attempts;
        state
    }

    /// Its state has changed: it reports to the coordinator at once.
    fn report_state(&mut self, w: usize) {
        if self.workers[w].connection == 0 {
            return;
        }
        let state = self.state_of(w);
        self.workers[w].spoken = self.now;
        let connection = self.workers[w].connection;
        self.send_up(w, connection, Up::State(state));
    }

    /// Whether an event is of an earlier start of the process, or the process is stopped: then the
    /// event is delivered later.
    fn is_idle(&mut self, w: usize, life: Option<u64>, event: impl FnOnce() -> Event) -> bool {
        let worker = &self.workers[w];
        if !worker.up || life.is_some_and(|life| life != worker.life) {
            return true;
        }
        if worker.frozen_until > self.now {
            let later = worker.frozen_until - self.now;
            self.after(later, event());
            return true;
        }
        false
    }

    /// The periodic work of a worker.
    pub(crate) fn tick(&mut self, w: usize, life: u64) {
        if self.is_idle(w, Some(life), || Event::Tick(w, life)) {
            return;
        }
        self.after(S, Event::Tick(w, life));
        let now = self.now;
        let worker = &self.workers[w];
        let silence = now - worker.answered;
        if is_lost(silence, worker.heartbeat, worker.lease) && !worker.attempts.is_empty() {
            note!(self, "w{w} has lost the coordinator: builds are killed");
            self.forget_all(w);
        }
        let worker = &self.workers[w];
        if worker.connection == 0 {
            if worker.reconnects_at <= now {
                self.connect(w);
            }
        } else if now - worker.answered.max(worker.opened) > worker.lease {
            self.disconnect(w);
        } else if now - worker.spoken >= worker.heartbeat {
            self.report_state(w);
        }
    }

    /// Handles a message of the coordinator.
    pub(crate) fn receive_from_coordinator(&mut self, w: usize, connection: u64, message: Down) {
        if !self.workers[w].up {
            return;
        }
        if self.is_idle(w, None, || Event::Down(w, connection, message.clone())) {
            return;
        }
        match message {
            Down::Uploaded { attempt, epoch, index, taken } => {
                self.uploaded(w, (attempt, epoch), index, taken);
            }
            _ if connection != self.workers[w].connection => {}
            Down::Reset => self.disconnect(w),
            Down::Desired(desired) => {
                let holds = desired.hold;
                let Ok(desired) = DesiredState::try_from(desired) else {
                    return self.disconnect(w);
                };
                let worker = &mut self.workers[w];
                worker.answered = self.now;
                worker.heartbeat = desired.heartbeat_ms * MS;
                worker.lease = desired.lease_ms * MS;
                if !holds {
                    self.reconcile(w, &desired);
                }
            }
        }
    }

    fn reconcile(&mut self, w: usize, desired: &DesiredState) {
        let entries = &self.workers[w].attempts;
        let held: Vec<(Key, Progress)> = entries
            .iter()
            .filter(|(_, entry)| !entry.forgotten)
            .map(|(key, entry)| (*key, entry.progress.clone()))
            .collect();
        let held: Vec<HeldAttempt<'_>> = held
            .iter()
            .map(|((attempt, epoch), progress)| HeldAttempt {
                attempt: *attempt,
                epoch: *epoch,
                progress,
            })
            .collect();
        let mut news = false;
        for action in reconcile(&held, &desired.assignments) {
            news = true;
            match action {
                ReconcileAction::Drop(attempt, epoch) => self.forget(w, (attempt, epoch)),
                ReconcileAction::Start(assignment) => self.begin(w, assignment),
                ReconcileAction::Resume(assignment) => self.resume(w, assignment),
            }
        }
        if news {
            self.report_state(w);
        }
    }

    fn begin(&mut self, w: usize, assignment: &Assignment) {
        let key = (assignment.attempt, assignment.epoch);
        if self.workers[w].attempts.contains_key(&key) {
            return;
        }
        note!(self, "w{w} begins attempt {} of {}", key.0, assignment.package);
        let entry = Entry {
            progress: Progress::Running(Phase::Fetch),
            assignment: assignment.clone(),
            stage: Stage::WaitsForSlot,
            step: 0,
            cancelled: false,
            done: false,
            forgotten: false,
        };
        self.workers[w].attempts.insert(key, entry);
        self.next_step(w, key, 0);
    }

    fn resume(&mut self, w: usize, assignment: &Assignment) {
        let key = (assignment.attempt, assignment.epoch);
        if let Some(entry) = self.workers[w].attempts.get_mut(&key)
            && entry.stage == Stage::WaitsForLock
        {
            entry.progress = Progress::Running(Phase::Fetch);
            entry.assignment = assignment.clone();
            entry.stage = Stage::Fetch;
            self.next_step(w, key, MS);
        }
    }

    /// The attempt is no longer desired: it is killed, and no longer reported.
    fn forget(&mut self, w: usize, key: Key) {
        let Some(entry) = self.workers[w].attempts.get_mut(&key) else { return };
        entry.forgotten = true;
        entry.cancelled = true;
        if entry.done {
            self.workers[w].attempts.remove(&key);
        } else {
            let delay = self.rng.below(500) * MS;
            self.next_step(w, key, delay);
        }
    }

    fn forget_all(&mut self, w: usize) {
        let keys: Vec<Key> = self.workers[w].attempts.keys().copied().collect();
        keys.into_iter().for_each(|key| self.forget(w, key));
    }

    /// Schedules the next step of an attempt; its other scheduled steps become void.
    fn next_step(&mut self, w: usize, key: Key, delay: u64) {
        self.workers[w].steps += 1;
        let (step, life) = (self.workers[w].steps, self.workers[w].life);
        if let Some(entry) = self.workers[w].attempts.get_mut(&key) {
            entry.step = step;
            self.after(delay, Event::AttemptStep(w, life, key, step));
        }
    }
}

/// Whether a worker without an answer for so many microseconds must give up its builds.
fn is_lost(silence: u64, heartbeat: u64, lease: u64) -> bool {
    let terms = LeaseTerms::new(Duration::from_micros(heartbeat), Duration::from_micros(lease));
    Duration::from_micros(silence) > terms.unwrap_or_default().worker_gives_up_after()
}

/// The state that a worker reports.
fn worker_state(host: &Host) -> WorkerState {
    WorkerState {
        name: host.name.clone(),
        version: "sim".into(),
        protocol: PROTOCOL,
        arches: host.arches.clone(),
        emulated: Vec::new(),
        slots: host.slots,
        srpm_slots: host.srpm_slots,
        cpus: 4,
        memory_mib: 16_384,
        disk_free_mib: 262_144,
        draining: false,
        labels: Vec::new(),
        unready: String::new(),
        attempts: Vec::new(),
    }
}
