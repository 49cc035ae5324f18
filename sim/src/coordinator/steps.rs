//! When each step of a coordinator runs, and what happens to the process there: it may die before
//! and after each write, its host may stop, the database may be unreachable, an answer may be lost.

use rpmfarm_coordinator::bus::PeerMessage;
use rpmfarm_coordinator::simulation::{self, FinishedStep, StepKind, StepOutcome, WaitingStep};
use rpmfarm_core::Stage;
use tokio::sync::mpsc::error::TryRecvError;

use super::Reply;
use crate::network::Down;
use crate::trace::note;
use crate::users::Action;
use crate::world::{Event, MS, S, World};

impl World {
    /// The time of a step has come.
    pub(crate) fn run_step(&mut self, c: usize, life: u64, waiting: WaitingStep) {
        if self.is_void(c, life, || Event::Step(c, life, waiting)) {
            return;
        }
        if self.freezes(c, waiting.kind) {
            return self.after(0, Event::Step(c, life, waiting));
        }
        let Some(outcome) = self.choose_outcome(c, waiting.kind) else { return };
        if waiting.kind == StepKind::Disk {
            self.fill_disk();
        }
        simulation::set_disk_full(self.now < self.data_full_until);
        if !simulation::release_step(waiting.ticket, outcome) {
            return;
        }
        self.settle(c);
        if outcome == StepOutcome::ProcessDies {
            self.kill_coordinator(c);
        }
    }

    /// Whether the host stops now for a while, in the middle of the work.
    fn freezes(&mut self, c: usize, kind: StepKind) -> bool {
        if self.stops_publication(c) {
            return true;
        }
        let pauses = match kind {
            _ if !self.faulty => 0,
            // Between what clients see and what is recorded of it, the most can go wrong.
            StepKind::Transaction(Some((Stage::Publish, _))) => self.profile.pauses * 5,
            StepKind::Transaction(Some(_)) | StepKind::Disk => self.profile.pauses,
            StepKind::Transaction(None) => self.profile.pauses / 3,
            StepKind::Query | StepKind::Heartbeat | StepKind::PauseEnd(_) => 0,
        };
        if !self.rng.chance(pauses) {
            return false;
        }
        let length = self.rng.range(S / 2, 40 * S);
        note!(self, "c{c} is stopped for {} s", length / S);
        self.coordinators[c].frozen_until = self.now + length;
        true
    }

    /// Whether the host stops between the signatures of a generation, the moment when clients see
    /// it, and its record, for so long that the other coordinator takes over and publishes, too.
    fn stops_publication(&mut self, c: usize) -> bool {
        if !self.faulty || self.profile.rivals == 0 {
            return false;
        }
        let begun = self.outside.lock().publishing.take_if(|publishing| *publishing == c);
        if begun.is_none() || !self.rng.chance(self.profile.rivals) {
            return false;
        }
        let length = self.rng.range(15 * S, 90 * S);
        note!(self, "c{c} is stopped for {} s while it publishes", length / S);
        self.coordinators[c].frozen_until = self.now + length;
        // Then the other one publishes something else than the stopped one.
        if self.rng.chance(500) {
            let delay = self.rng.range(S, 10 * S);
            self.after(delay, Event::User(Action::CancelAccepted));
        }
        true
    }

    /// How a step ends; `None` when the process died before it.
    fn choose_outcome(&mut self, c: usize, kind: StepKind) -> Option<StepOutcome> {
        let is_down = self.now < self.database_down_until;
        match kind {
            StepKind::PauseEnd(_) | StepKind::Disk => return Some(StepOutcome::Succeeds),
            StepKind::Heartbeat if self.now < self.coordinators[c].beats_lost_until => {
                return Some(StepOutcome::Refused);
            }
            StepKind::Query | StepKind::Heartbeat | StepKind::Transaction(_) if is_down => {
                return Some(StepOutcome::Refused);
            }
            StepKind::Query | StepKind::Heartbeat => return Some(StepOutcome::Succeeds),
            StepKind::Transaction(_) => {}
        }
        let (dies, lost) = if self.faulty {
            (self.profile.dies_at_commit, self.profile.answer_lost)
        } else {
            (0, 0)
        };
        if self.rng.chance(dies) {
            if self.rng.chance(500) {
                self.kill_coordinator(c);
                return None;
            }
            return Some(StepOutcome::ProcessDies);
        }
        Some(if self.rng.chance(lost) { StepOutcome::AnswerLost } else { StepOutcome::Succeeds })
    }

    /// Perhaps this write fills the disk.
    fn fill_disk(&mut self) {
        let fills = if self.faulty { self.profile.fills } else { 0 };
        if self.rng.chance(fills) {
            let length = self.rng.range(S / 2, 20 * S);
            note!(self, "the disk of the blobs is full for {} s", length / S);
            self.data_full_until = self.data_full_until.max(self.now + length);
        }
    }

    /// Runs a coordinator until each of its tasks waits, and handles its replies and messages.
    pub(crate) fn settle(&mut self, c: usize) {
        loop {
            let Some(running) = &self.coordinators[c].running else { return };
            simulation::settle(&running.runtime, c);
            if let Some(finished) = simulation::take_finished_step() {
                self.finish_step(c, finished);
            }
            if !self.take_replies(c) {
                break;
            }
        }
        self.schedule_steps(c);
        self.forward_messages(c);
    }

    fn finish_step(&mut self, c: usize, finished: FinishedStep) {
        let FinishedStep { kind, committed, .. } = finished;
        match kind {
            StepKind::Transaction(fence) if committed => {
                if let Some((stage, epoch)) = fence {
                    note!(self, "c{c} commits for {stage}, epoch {epoch}");
                } else {
                    note!(self, "c{c} commits");
                }
                self.written = fence;
                self.has_changed = true;
            }
            StepKind::Disk => self.disk_used = true,
            _ => {}
        }
    }

    /// Schedules the steps that have begun to wait.
    fn schedule_steps(&mut self, c: usize) {
        let life = self.coordinators[c].life;
        for waiting in simulation::take_waiting_steps() {
            let delay = match waiting.kind {
                StepKind::PauseEnd(until) => {
                    let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
                    until.saturating_sub(self.now)
                }
                _ if !self.faulty => self.rng.below(2) * MS,
                _ if self.rng.chance(10) => self.rng.below(1_500) * MS,
                StepKind::Disk => self.rng.below(40) * MS,
                _ => self.rng.below(4) * MS,
            };
            self.after(delay, Event::Step(c, life, waiting));
        }
    }

    /// Handles replies. True when there were any, so that there may be more.
    fn take_replies(&mut self, c: usize) -> bool {
        let Some(running) = &mut self.coordinators[c].running else { return false };
        let replies = running.inbox.take();
        let mut received = Vec::new();
        let mut gone = Vec::new();
        for (connection, port) in &mut running.connections {
            loop {
                match port.answers.try_recv() {
                    Ok(Ok(state)) => received.push((*connection, port.worker, state)),
                    Ok(Err(_)) | Err(TryRecvError::Disconnected) => {
                        gone.push((*connection, port.worker));
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
        }
        for (connection, _) in &gone {
            running.connections.remove(connection);
        }
        let any = !(replies.is_empty() && received.is_empty() && gone.is_empty());
        for reply in replies {
            self.handle_reply(c, reply);
        }
        for (connection, worker, state) in received {
            self.send_down(worker, c, connection, Down::Desired(state));
        }
        for (connection, worker) in gone {
            note!(self, "c{c} ends connection {connection} of w{worker}");
            self.send_down(worker, c, connection, Down::Reset);
        }
        any
    }

    fn handle_reply(&mut self, c: usize, reply: Reply) {
        match reply {
            Reply::Upload { worker, connection, attempt, epoch, index, taken } => {
                let answer = Down::Uploaded { attempt, epoch, index, taken };
                self.send_down(worker, c, connection, answer);
            }
            Reply::Requested { key, answer } => self.request_answered(&key, answer),
            Reply::Done { what, build, done } => {
                note!(self, "c{c} {what} build {build}: {done:?}");
            }
            Reply::DoneToBatch { what, batch, done } => {
                note!(self, "c{c} {what} batch {batch}: {done:?}");
            }
            Reply::PassFailed(pass) => {
                note!(self, "c{c}: {pass} rests");
            }
        }
    }

    /// Delivers the messages of a coordinator to the others, most of the time.
    fn forward_messages(&mut self, c: usize) {
        let Some(running) = &mut self.coordinators[c].running else { return };
        let Some(first) = running.words.try_next() else { return };
        let words = running.words.gather(first);
        for other in (0..self.coordinators.len()).filter(|other| *other != c) {
            for word in &words {
                if self.rng.chance(700) {
                    let delay = self.rng.range(20, 60) * MS;
                    self.after(delay, Event::PeerMessage(other, word.clone()));
                }
            }
        }
    }

    /// Delivers a message of another coordinator.
    pub(crate) fn receive_peer_message(&mut self, c: usize, word: PeerMessage) {
        let coordinator = &self.coordinators[c];
        if coordinator.frozen_until > self.now {
            return;
        }
        let Some(running) = &coordinator.running else { return };
        simulation::run_within(&running.runtime, c, || match word {
            PeerMessage::Facts(changed) => running.bus.heard(&changed),
            PeerMessage::WakeSession(worker) => {
                running.fleet().wake_local_session(&worker);
            }
            PeerMessage::WakeSessions => running.fleet().wake_local_sessions(),
            PeerMessage::Progress => {}
        });
        self.settle(c);
    }
}
