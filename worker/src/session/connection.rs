//! The connection to a coordinator: sends states and receives desired states, as long as the worker
//! runs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::lease::next_heartbeat;
use rpmfarm_core::reconcile::{ReconcileAction, reconcile};
use rpmfarm_core::task::DesiredState;
use rpmfarm_core::{Failure, FailureStage, Fault};
use rpmfarm_proto::{reach, v1};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::attempt::{self, AttemptContext};
use super::attempts::held;
use super::facts::WorkerIdentity;
use super::lease::{LeaseClock, SentStates};
use crate::arches::Arches;
use crate::cages::CancelReason;
use crate::transfer::channel::{pause, reason};

/// The progress of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// None was asked for.
    No,
    /// Running builds may end; no new ones are taken.
    Drain,
    /// Running builds are killed.
    Now,
}

pub struct CoordinatorSession {
    pub identity: WorkerIdentity,
    pub shared: Arc<AttemptContext>,
    pub shutdown: watch::Receiver<Shutdown>,
    /// The last notice of the coordinator.
    pub notice: Mutex<String>,
    /// The coordinator's counter of requested probes, as far as they were made.
    pub probed: AtomicU64,
}

/// Why a connection ended.
enum ConnectionEnd {
    /// There is a newer certificate to connect with.
    Renewed,
    Status(Status),
}

/// How long the coordinator has to receive the last reports after a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often a lost architecture is tried again.
const MEND: Duration = Duration::from_secs(20);

impl CoordinatorSession {
    /// Talks to the coordinator until a shutdown is complete. A broken connection is made again,
    /// however often it breaks.
    pub async fn run(mut self) {
        let pace = watch::Sender::new(LeaseClock::new(Instant::now()));
        // Outside of the loop, so that they continue over broken connections.
        let mut ended = pin!(ended(self.shared.clone(), self.shutdown.clone()));
        let mut lapse = pin!(watch_lease(self.shared.clone(), pace.subscribe()));
        let count = u32::try_from(self.shared.connection.count()).unwrap_or(1);
        let mut mend = pin!(mend_arches(self.shared.arches.clone()));
        let mut tries = 0;
        loop {
            let answered = pace.borrow().answered;
            tokio::select! {
                () = &mut ended => return,
                () = &mut lapse => return,
                () = &mut mend => return,
                broken = self.connect(&pace) => match broken {
                    // At once: builds and transfers continue meanwhile.
                    ConnectionEnd::Renewed => continue,
                    ConnectionEnd::Status(status) => self.broken(&status),
                }
            }
            let LeaseClock { answered: newest, lease, .. } = *pace.borrow();
            if newest > answered {
                tries = 0;
            }
            // Grows with each round through all coordinators, but is short enough to be back before
            // the lease ends.
            let rest = pause(tries / count).min(lease / 4);
            tokio::select! {
                () = &mut ended => return,
                () = &mut lapse => return,
                () = &mut mend => return,
                () = sleep(rest) => {}
            }
            tries += 1;
        }
    }

    /// Handles a broken connection.
    fn broken(&self, status: &Status) {
        let reason = reason(status);
        if status.code() == Code::PermissionDenied {
            // The farm has taken everything from this worker already.
            tracing::error!(
                reason,
                "the coordinator no longer admits this worker: builds are killed"
            );
            self.shared.attempts.forget_all(CancelReason::Unwanted);
        } else {
            let coordinator = self.shared.connection.address();
            match reach::remedy(&coordinator, &reason) {
                Some(remedy) => {
                    tracing::warn!(coordinator, reason, remedy, "no connection to the coordinator");
                }
                None => tracing::warn!(coordinator, reason, "no connection to the coordinator"),
            }
        }
        self.shared.connection.turn();
    }

    /// One connection, until it ends. Returns why.
    async fn connect(&mut self, pace: &watch::Sender<LeaseClock>) -> ConnectionEnd {
        let mut replaced = self.shared.connection.replacements();
        tokio::select! {
            status = self.session(pace) => ConnectionEnd::Status(status),
            // The sender lives as long as the connection.
            _ = replaced.changed() => ConnectionEnd::Renewed,
        }
    }

    /// One session, until it breaks.
    async fn session(&mut self, pace: &watch::Sender<LeaseClock>) -> Status {
        let (sender, receiver) = mpsc::channel(1);
        let mut changes = self.shared.attempts.changes();
        let mut sent = SentStates::default();
        // Queued before the call is made, because the coordinator answers only after the first
        // message.
        if sender.send(self.state(&mut sent)).await.is_err() {
            return Status::unavailable("the stream ended at once");
        }
        let mut client = self.shared.connection.control();
        let call = client.session(ReceiverStream::new(receiver));
        let mut inbound = match timeout(pace.borrow().lease, call).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("no answer to the call"),
        };
        let coordinator = self.shared.connection.address();
        tracing::info!(coordinator, "connected to the coordinator");
        let opened = Instant::now();
        let (mut spoken, mut news) = (opened, false);
        // Of a heartbeat, until the next one.
        let (mut is_first, mut chance) = (true, rand::random::<f64>());
        loop {
            let LeaseClock { heartbeat, lease, answered } = *pace.borrow();
            if answered.max(opened).elapsed() > lease {
                return Status::deadline_exceeded("no answer for the length of a lease");
            }
            // Each branch may be dropped: a received message stays in the stream, and a wait for
            // room has sent nothing.
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.heard(message, &mut sent, pace),
                    Ok(None) => return Status::unavailable("the coordinator ended the stream"),
                    Err(status) => return status,
                },
                // The state is made when there is room for it, so it is always current.
                room = sender.reserve(), if news => {
                    let Ok(room) = room else {
                        return Status::unavailable("the coordinator closed the stream");
                    };
                    room.send(self.state(&mut sent));
                    (spoken, news) = (Instant::now(), false);
                    (is_first, chance) = (false, rand::random());
                }
                // The senders of both live as long as the session.
                _ = changes.changed() => news = true,
                _ = self.shutdown.changed() => news = true,
                () = sleep(next_heartbeat(heartbeat, is_first, chance).saturating_sub(spoken.elapsed())),
                    if !news => news = true,
                // To check the lease again.
                () = sleep(lease / 4) => {}
            }
        }
    }

    fn state(&self, sent: &mut SentStates) -> v1::WorkerState {
        let draining = *self.shutdown.borrow() != Shutdown::No;
        let state = self.identity.state(draining, self.shared.attempts.reports());
        let (root_hits, root_misses) = self.shared.engine.roots.hits_and_misses();
        let sequence = sent.number(Instant::now());
        v1::WorkerState { sequence, root_hits, root_misses, ..(&state).into() }
    }

    fn heard(
        &self,
        message: v1::DesiredState,
        sent: &mut SentStates,
        pace: &watch::Sender<LeaseClock>,
    ) {
        pace.send_modify(|pace| *pace = pace.after(&message, sent, Instant::now()));
        if message.hold {
            tracing::warn!("the coordinator cannot read its store: all attempts are kept");
            return;
        }
        match DesiredState::try_from(message) {
            Ok(desired) => {
                self.note(&desired.notice);
                self.reconcile(&desired);
                // The next state reports the result.
                if self.probed.swap(desired.probe, Ordering::Relaxed) != desired.probe {
                    let arches = Arc::clone(&self.shared.arches);
                    // It runs a program of each architecture, so the session continues meanwhile.
                    tokio::task::spawn_blocking(move || arches.probe());
                }
            }
            Err(error) => tracing::error!(%error, "the coordinator sent an invalid state"),
        }
    }

    /// Logs a notice of the coordinator, unless it is the same as the last one.
    fn note(&self, notice: &str) {
        let mut last = self.notice.lock();
        if *last != notice {
            if notice.is_empty() {
                tracing::info!("the coordinator gives this worker work again");
            } else {
                tracing::warn!(notice, "notice from the coordinator");
            }
            notice.clone_into(&mut last);
        }
    }

    fn reconcile(&self, desired: &DesiredState) {
        let attempts = &self.shared.attempts;
        let reports = attempts.reports();
        for action in reconcile(&held(&reports), &desired.assignments) {
            match action {
                ReconcileAction::Drop(attempt, epoch) => {
                    attempts.forget((attempt, epoch), CancelReason::Unwanted)
                }
                ReconcileAction::Resume(assignment) => attempts.resume(assignment),
                ReconcileAction::Start(assignment) if *self.shutdown.borrow() != Shutdown::No => {
                    let message = "the worker was shutting down when the task came";
                    let failure = Failure::new(Fault::Worker, FailureStage::Shutdown, message);
                    attempts.refuse(assignment, failure);
                }
                ReconcileAction::Start(assignment) => {
                    let Some(started) = attempts.begin(assignment) else { continue };
                    let key = (assignment.attempt, assignment.epoch);
                    let package = &assignment.package;
                    // Log lines on the way have the build, task and attempt.
                    let span = tracing::info_span!(
                        "attempt",
                        build = assignment.build.0,
                        task = assignment.task.0,
                        attempt = key.0.0
                    );
                    span.in_scope(|| tracing::info!(epoch = %key.1, %package, "attempt started"));
                    let attempt = attempt::run(Arc::clone(&self.shared), key, started);
                    tokio::spawn(attempt.instrument(span));
                }
            }
        }
    }
}

/// Kills everything when the coordinator has not answered for two leases: by then the attempts were
/// given to other workers. Never returns.
async fn watch_lease(shared: Arc<AttemptContext>, pace: watch::Receiver<LeaseClock>) {
    loop {
        let now = *pace.borrow();
        if now.lost(Instant::now()) && !shared.attempts.is_empty() {
            tracing::warn!("the coordinator has been silent for two leases: builds are killed");
            shared.attempts.forget_all(CancelReason::LeaseLost);
        }
        sleep(now.lease.min(Duration::from_secs(2)) / 4).await;
    }
}

/// Checks whether architectures that were lost run again. Never returns.
async fn mend_arches(arches: Arc<Arches>) {
    loop {
        sleep(MEND).await;
        if arches.any_broken() {
            let arches = Arc::clone(&arches);
            let _ = tokio::task::spawn_blocking(move || arches.probe()).await;
        }
    }
}

/// Returns when a shutdown has come to its end.
async fn ended(shared: Arc<AttemptContext>, mut shutdown: watch::Receiver<Shutdown>) {
    // Whoever holds the sender has gone only with the whole program.
    let _ = shutdown.wait_for(|state| *state != Shutdown::No).await;
    let mut changes = shared.attempts.changes();
    while shared.attempts.any_running() {
        if *shutdown.borrow_and_update() == Shutdown::Now {
            shared.attempts.cancel_all(CancelReason::Shutdown);
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = shutdown.changed() => {}
        }
    }
    let heard = async {
        while !shared.attempts.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = timeout(LAST_WORDS, heard).await;
}
