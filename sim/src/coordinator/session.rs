//! Sessions of workers: what they say is taken as far as a live lease covers it, and they are
//! told what they should have.

use rpmfarm_core::attempt_news::{self, AttemptNews};
use rpmfarm_core::task::{AttemptReport, DesiredState, Outcome, WorkerState};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, FailureStage, Fault, TaskId};

use super::{Step, Stop};
use crate::network::{Down, Up};
use crate::planted::PlantedBug;
use crate::rules;
use crate::store::LiveAttempt;
use crate::trace::note;
use crate::world::{Blob, Event, World};

/// A worker as it was last heard.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) state: WorkerState,
    /// The newest connection; 0 when it has hung up.
    pub(crate) connection: u64,
    pub(crate) heard: u64,
    /// Whether what the connection said first is in the store.
    pub(crate) settled: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) worker: usize,
    sent: Option<DesiredState>,
}

impl World {
    /// Something of a worker arrives.
    pub(crate) fn heard(&mut self, w: usize, c: usize, connection: u64, message: Up) {
        if !self.coordinators[c].up {
            if !matches!(message, Up::Close) {
                self.send_down(w, c, connection, Down::Reset);
            }
            return;
        }
        if self.coordinators[c].frozen_until > self.now {
            let later = self.coordinators[c].frozen_until - self.now;
            return self.after(later, Event::Up(w, c, connection, message));
        }
        let done = match message {
            Up::Hello(state) => self.hello(c, w, connection, state),
            Up::State(state) => self.hear(c, w, connection, state),
            Up::Close => {
                self.hang_up(c, connection);
                Ok(())
            }
            Up::Upload { attempt, epoch, index, announced, sent } => {
                let taken = self.take_upload(c, attempt, epoch, *announced, *sent);
                match taken {
                    Ok(taken) => {
                        let answer = Down::Uploaded { attempt, epoch, index, taken };
                        self.send_down(w, c, connection, answer);
                        return;
                    }
                    // It is tried again.
                    Err(_) => return,
                }
            }
        };
        if done == Err(Stop::Error) {
            self.hang_up(c, connection);
            self.send_down(w, c, connection, Down::Reset);
        }
    }

    fn hang_up(&mut self, c: usize, connection: u64) {
        let coordinator = &mut self.coordinators[c];
        coordinator.sessions.remove(&connection);
        for known in coordinator.fleet.values_mut() {
            if known.connection == connection {
                known.connection = 0;
            }
        }
    }

    fn hello(&mut self, c: usize, w: usize, connection: u64, state: WorkerState) -> Step {
        if self.coordinators[c].sessions.contains_key(&connection) {
            return Ok(());
        }
        let name = state.name.clone();
        let reports = state.attempts.clone();
        note!(self, "c{c} hears {name} anew, with {} attempts", reports.len());
        let known = Known { state, connection, heard: self.now, settled: false };
        let coordinator = &mut self.coordinators[c];
        coordinator.sessions.insert(connection, Session { worker: w, sent: None });
        if let Some(before) = coordinator.fleet.insert(name.clone(), known) {
            coordinator.sessions.remove(&before.connection);
            if before.connection != 0 {
                self.send_down(w, c, before.connection, Down::Reset);
            }
        }
        self.database()?;
        // From now on this coordinator judges the worker's silence, whoever did before.
        let newest = self.store.worker_owner_upsert(&name, super::name(c));
        self.take(c, &name, &reports, Some(newest))?;
        if let Some(known) = self.coordinators[c].fleet.get_mut(&name)
            && known.connection == connection
        {
            known.settled = true;
        }
        self.ring(c);
        self.answer(c, &name, true)
    }

    fn hear(&mut self, c: usize, w: usize, connection: u64, state: WorkerState) -> Step {
        let (name, reports, now) = (state.name.clone(), state.attempts.clone(), self.now);
        match self.coordinators[c].fleet.get_mut(&name) {
            Some(known) if known.connection == connection => {
                known.state = state;
                known.heard = now;
            }
            _ => {
                self.refuse(w, c, connection);
                return Ok(());
            }
        }
        self.take(c, &name, &reports, None)?;
        self.answer(c, &name, true)
    }

    /// Applies the reports of a worker. With the first ones of a session, `before` is the newest
    /// attempt that there was when it began.
    fn take(
        &mut self,
        c: usize,
        worker: &str,
        reports: &[AttemptReport],
        before: Option<AttemptId>,
    ) -> Step {
        self.database()?;
        if self.planted(PlantedBug::LateReport) {
            self.take_unfenced(c, reports)?;
        }
        for live in self.store.attempt_list_live(Some(worker)) {
            let (id, epoch) = (AttemptId(live.id), Epoch(live.epoch));
            let before = before.is_some_and(|before| id <= before);
            match attempt_news::attempt_news(id, epoch, before, reports) {
                AttemptNews::Ended(outcome) => self.end(c, &live, outcome)?,
                AttemptNews::NeedsRequires { round, requires } => {
                    let task = TaskId(live.task);
                    self.commit(c, |store| store.round_insert(task, id, round, requires))?;
                }
                AttemptNews::Lost => {
                    let message = format!("worker {worker} was restarted and lost the attempt");
                    let failure = Failure::new(Fault::Worker, FailureStage::Lease, message);
                    self.end(c, &live, &Outcome::Failed(failure))?;
                }
                AttemptNews::Nothing => {}
            }
        }
        Ok(())
    }

    /// The planted bug: whatever a worker says of any attempt is believed.
    fn take_unfenced(&mut self, c: usize, reports: &[AttemptReport]) -> Step {
        for AttemptReport { attempt, epoch, progress } in reports {
            let rpmfarm_core::task::Progress::Ended(outcome) = progress else { continue };
            let Some(row) = self.store.attempts.get(&attempt.0).cloned() else { continue };
            if self.store.is_live(*attempt, *epoch) {
                continue;
            }
            let Some(task) = self.store.task_fetch(TaskId(row.task)) else { continue };
            let live = LiveAttempt {
                id: row.id,
                task: row.task,
                build: task.build.0,
                epoch: epoch.0,
                worker: row.worker,
                started_us: row.started_us,
            };
            self.end(c, &live, outcome)?;
        }
        Ok(())
    }

    /// Ends an attempt, and decides what follows from a failure.
    pub(super) fn end(&mut self, c: usize, live: &LiveAttempt, outcome: &Outcome) -> Step {
        self.database()?;
        let (id, epoch) = (AttemptId(live.id), Epoch(live.epoch));
        let (build, task) = (BuildId(live.build), TaskId(live.task));
        let now_us = self.wall_us(c);
        let ended = match outcome {
            Outcome::Failed(failure) => {
                let again = rules::retry_at(&self.store, build, Some(task), failure, now_us);
                note!(self, "c{c} attempt {id}: {failure}, again: {}", again.is_some());
                self.commit(c, |store| store.attempt_end_failed(id, epoch, failure, again, now_us))?
            }
            Outcome::Succeeded(_) => {
                note!(self, "c{c} attempt {id}: success is reported");
                self.commit(c, |store| store.attempt_end_succeeded(id, epoch, outcome, now_us))?
            }
        };
        if ended {
            self.poke(c, &live.worker);
        }
        Ok(())
    }

    /// Lets a worker's session look at what the worker should have, wherever it is connected;
    /// what is said to another coordinator may get lost.
    pub(super) fn poke(&mut self, c: usize, worker: &str) {
        let here =
            self.coordinators[c].fleet.get(worker).is_some_and(|known| known.connection != 0);
        if here {
            return self.poke_here(c, worker);
        }
        for other in 0..self.coordinators.len() {
            let hears = &self.coordinators[other];
            if other != c && hears.up && hears.frozen_until <= self.now && self.rng.chance(700) {
                self.poke_here(other, worker);
            }
        }
    }

    fn poke_here(&mut self, c: usize, worker: &str) {
        if self.answer(c, worker, false) == Err(Stop::Error)
            && let Some(known) = self.coordinators[c].fleet.get(worker)
        {
            let connection = known.connection;
            self.hang_up(c, connection);
        }
    }

    pub(crate) fn poke_all(&mut self, c: usize) {
        let names: Vec<String> = self.coordinators[c].fleet.keys().cloned().collect();
        for name in names {
            self.poke(c, &name);
        }
    }

    /// Tells a worker what it should have: always when it has spoken, otherwise when that has
    /// changed.
    fn answer(&mut self, c: usize, worker: &str, due: bool) -> Step {
        let Some(connection) = self.coordinators[c].fleet.get(worker).map(|k| k.connection) else {
            return Ok(());
        };
        self.database()?;
        let live = self.store.attempt_list_live(Some(worker));
        let desired = rules::desired(&self.store, &live);
        let Some(session) = self.coordinators[c].sessions.get_mut(&connection) else {
            return Ok(());
        };
        if due || session.sent.as_ref() != Some(&desired) {
            session.sent = Some(desired.clone());
            let w = session.worker;
            self.send_down(w, c, connection, Down::Desired(desired));
        }
        Ok(())
    }

    /// An upload: whether it is whole now; `None` when no live lease covers it.
    fn take_upload(
        &mut self,
        c: usize,
        attempt: AttemptId,
        epoch: Epoch,
        announced: Blob,
        sent: Blob,
    ) -> Step<Option<bool>> {
        self.database()?;
        if !self.store.is_live(attempt, epoch) {
            return Ok(None);
        }
        if self.disk().is_err() {
            // Nothing of it stays.
            note!(self, "c{c} attempt {attempt}: no space for {}", announced.nevra);
            return Ok(Some(false));
        }
        let (wanted, found) = (announced.digest(), sent.digest());
        if wanted != found && !self.blobs.contains_key(&wanted) {
            note!(self, "c{c} attempt {attempt}: {} arrives broken", announced.nevra);
            return Ok(Some(false));
        }
        self.uploads.entry(attempt.0).or_default().insert(wanted);
        self.blobs.entry(wanted).or_insert(announced);
        Ok(Some(true))
    }
}
