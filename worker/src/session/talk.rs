//! The conversation: states out, wishes in, for ever.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::lease::next_heartbeat;
use rpmfarm_core::reconcile::{Action, reconcile};
use rpmfarm_core::task::DesiredState;
use rpmfarm_core::{Failure, FailureStage, Fault};
use rpmfarm_proto::{reach, v1};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::attempt::{self, Shared};
use super::attempts::held;
use super::facts::Identity;
use super::lease::{Pace, Sent};
use crate::arches::Arches;
use crate::sandbox::Why;
use crate::transfer::channel::{pause, reason};

/// How far a shutdown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// None was asked for.
    No,
    /// What runs may end; nothing new is taken.
    Drain,
    /// What runs is killed.
    Now,
}

/// The session.
pub struct Session {
    /// Who speaks.
    pub identity: Identity,
    /// What attempts need.
    pub shared: Arc<Shared>,
    /// Whether to end.
    pub shutdown: watch::Receiver<Shutdown>,
    /// What the coordinator had to say last.
    pub notice: Mutex<String>,
    /// How often the coordinator has wished for a probe, as far as it was done.
    pub probed: AtomicU64,
}

/// Why a connection ended.
enum Broken {
    /// There is a newer certificate to connect with.
    Renewed,
    /// It broke.
    Status(Status),
}

/// After a shutdown, the coordinator gets so long to hear how everything ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often an architecture that does not run any more is tried again.
const MEND: Duration = Duration::from_secs(20);

impl Session {
    /// Speaks with the coordinator until a shutdown has come to its end. A broken connection is
    /// made again, for ever.
    pub async fn run(mut self) {
        let pace = watch::Sender::new(Pace::new(Instant::now()));
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
                broken = self.talk(&pace) => match broken {
                    // At once: builds and transfers go on meanwhile.
                    Broken::Renewed => continue,
                    Broken::Status(status) => self.broken(&status),
                }
            }
            let Pace { answered: newest, lease, .. } = *pace.borrow();
            if newest > answered {
                tries = 0;
            }
            // Growing with each round through all coordinators, and often enough to be back before
            // the lease is over.
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

    /// What follows from a broken connection.
    fn broken(&self, status: &Status) {
        let reason = reason(status);
        if status.code() == Code::PermissionDenied {
            // The farm has taken everything from this worker already.
            tracing::error!(
                reason,
                "the coordinator lets this worker in no more: builds are killed"
            );
            self.shared.attempts.forget_all(Why::Unwanted);
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

    /// One connection's life. Answers why it ended.
    async fn talk(&mut self, pace: &watch::Sender<Pace>) -> Broken {
        let mut replaced = self.shared.connection.replacements();
        tokio::select! {
            status = self.session(pace) => Broken::Status(status),
            // The sender lives as long as the connection.
            _ = replaced.changed() => Broken::Renewed,
        }
    }

    /// One session, until it breaks.
    async fn session(&mut self, pace: &watch::Sender<Pace>) -> Status {
        let (sender, receiver) = mpsc::channel(1);
        let mut changes = self.shared.attempts.changes();
        let mut sent = Sent::default();
        // The coordinator answers the first message; so it is there before the call is made.
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
            let Pace { heartbeat, lease, answered } = *pace.borrow();
            if answered.max(opened).elapsed() > lease {
                return Status::deadline_exceeded("no answer for the length of a lease");
            }
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.heard(message, &mut sent, pace),
                    Ok(None) => return Status::unavailable("the coordinator ended the stream"),
                    Err(status) => return status,
                },
                // The state is made when there is room for it: so it is never an old one.
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
                // To look at the lease again.
                () = sleep(lease / 4) => {}
            }
        }
    }

    fn state(&self, sent: &mut Sent) -> v1::WorkerState {
        let draining = *self.shutdown.borrow() != Shutdown::No;
        let state = self.identity.state(draining, self.shared.attempts.reports());
        let (root_hits, root_misses) = self.shared.engine.roots.hits_and_misses();
        let sequence = sent.number(Instant::now());
        v1::WorkerState { sequence, root_hits, root_misses, ..(&state).into() }
    }

    fn heard(&self, message: v1::DesiredState, sent: &mut Sent, pace: &watch::Sender<Pace>) {
        pace.send_modify(|pace| *pace = pace.after(&message, sent, Instant::now()));
        if message.hold {
            tracing::warn!("the coordinator cannot read its store: all stays as it is");
            return;
        }
        match DesiredState::try_from(message) {
            Ok(desired) => {
                self.note(&desired.notice);
                self.reconcile(&desired);
                // The next state says what came of it.
                if self.probed.swap(desired.probe, Ordering::Relaxed) != desired.probe {
                    let arches = Arc::clone(&self.shared.arches);
                    tokio::task::spawn_blocking(move || arches.probe());
                }
            }
            Err(error) => tracing::error!(%error, "the coordinator sent what is no state"),
        }
    }

    /// Tells the administrator what the coordinator has to say, once.
    fn note(&self, notice: &str) {
        let mut last = self.notice.lock();
        if *last != notice {
            if notice.is_empty() {
                tracing::info!("the coordinator gives this worker work again");
            } else {
                tracing::warn!(notice, "the coordinator says");
            }
            notice.clone_into(&mut last);
        }
    }

    fn reconcile(&self, desired: &DesiredState) {
        let attempts = &self.shared.attempts;
        let reports = attempts.reports();
        for action in reconcile(&held(&reports), &desired.assignments) {
            match action {
                Action::Drop(attempt, epoch) => attempts.forget((attempt, epoch), Why::Unwanted),
                Action::Resume(assignment) => attempts.resume(assignment),
                Action::Start(assignment) if *self.shutdown.borrow() != Shutdown::No => {
                    let message = "the worker was shutting down when the task came";
                    let failure = Failure::new(Fault::Worker, FailureStage::Shutdown, message);
                    attempts.refuse(assignment, failure);
                }
                Action::Start(assignment) => {
                    let Some(started) = attempts.begin(assignment) else { continue };
                    let key = (assignment.attempt, assignment.epoch);
                    let package = &assignment.package;
                    // What is logged on the way says which build, task and attempt it is about.
                    let span = tracing::info_span!(
                        "attempt",
                        build = assignment.build.0,
                        task = assignment.task.0,
                        attempt = key.0.0
                    );
                    span.in_scope(|| tracing::info!(epoch = %key.1, %package, "begins"));
                    let life = attempt::run(Arc::clone(&self.shared), key, started);
                    tokio::spawn(life.instrument(span));
                }
            }
        }
    }
}

/// Ends everything when the coordinator has not answered for two leases: by then it has given the
/// work to others. Never returns.
async fn watch_lease(shared: Arc<Shared>, pace: watch::Receiver<Pace>) {
    loop {
        let now = *pace.borrow();
        if now.lost(Instant::now()) && !shared.attempts.is_empty() {
            tracing::warn!("the coordinator has been silent for two leases: builds are killed");
            shared.attempts.forget_all(Why::LeaseLost);
        }
        sleep(now.lease.min(Duration::from_secs(2)) / 4).await;
    }
}

/// Looks whether architectures that were lost run again. Never returns.
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
async fn ended(shared: Arc<Shared>, mut shutdown: watch::Receiver<Shutdown>) {
    // Whoever holds the sender has gone only with the whole program.
    let _ = shutdown.wait_for(|state| *state != Shutdown::No).await;
    let mut changes = shared.attempts.changes();
    while shared.attempts.any_running() {
        if *shutdown.borrow_and_update() == Shutdown::Now {
            shared.attempts.cancel_all(Why::Shutdown);
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
