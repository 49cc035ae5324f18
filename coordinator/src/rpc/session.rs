//! One worker's session: receives its states, and answers each with the state that it should have.
//!
//! The store is queried concurrently with the conversation, never within it: a database that hangs
//! or is down delays the assignments of workers, but never their heartbeats.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt as _};
use rpmfarm_core::task::{Assignment, AttemptReport, DesiredState, Progress, WorkerState};
use rpmfarm_core::worker_standing::outdated;
use rpmfarm_core::{Arch, AttemptId};
use rpmfarm_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::internal;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::dispatch::assignment::{self, Assignments};
use crate::dispatch::report::ReportError;
use crate::fleet::{Fleet, WorkerSession};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::store::Store;

/// The pause after a failed query of the store.
const AGAIN: Duration = Duration::from_secs(1);

/// The parts that sessions of workers need. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    pub store: Store,
    /// The last reports of workers.
    pub fleet: Fleet,
    /// This coordinator, which owns the workers that are connected to it.
    pub peers: Peers,
    /// Composes the desired states of workers, and applies their reports.
    pub assignments: Assignments,
    /// Woken when there are free slots.
    pub bus: Bus,
    /// Woken when a worker has reported, also when only a phase changed.
    pub progress: Bus,
    /// For the metrics of how often workers had the roots that they needed.
    pub metrics: Metrics,
    /// The clock for when workers were heard, and how long an answer may take.
    pub clock: Clock,
}

type Answers = mpsc::Sender<Result<v1::DesiredState, Status>>;

/// Serves a worker from its first state to the end of its stream.
///
/// # Errors
/// When the worker violates the protocol, or has a newer session.
pub async fn serve(
    parts: &Sessions,
    caller: &Caller,
    mut states: impl Stream<Item = Result<v1::WorkerState, Status>> + Unpin,
    answers: &Answers,
) -> Result<(), Status> {
    let Some(first) = states.try_next().await? else { return Ok(()) };
    let (heard, hits, misses) = (first.sequence, first.root_hits, first.root_misses);
    let first = WorkerState::try_from(first)?;
    caller.must_be(&first.name, "this session")?;
    // Only after the name was checked to be the caller's: each name makes a label of the metric.
    parts.metrics.roots(&first.name, hits, misses);
    let session = parts.fleet.connect(first.clone(), parts.clock.instant(), parts.clock.time());
    tracing::info!(worker = session.worker(), version = first.version, "worker connected");
    let asking = PendingQuery::new(parts, first, heard);
    let mut conversation = Conversation { parts, session, asking, heard };
    let mut sent = None;
    while let Some(event) = conversation.next(&mut states, caller).await? {
        // An answer is sent for each state that was received, and when the desired state has
        // changed.
        let Some(answer) = conversation.handle(event)? else { continue };
        if sent.as_ref() != Some(&answer) {
            if !send_answer(parts.clock, answers, answer.clone(), &conversation.session).await? {
                return Ok(());
            }
            sent = Some(answer);
        }
    }
    Ok(())
}

/// The conversation with a worker.
struct Conversation<'a> {
    parts: &'a Sessions,
    session: WorkerSession,
    asking: PendingQuery,
    /// The number of the newest state received.
    heard: u64,
}

/// An event of a session.
enum Event {
    /// The worker has sent its state.
    State(Box<v1::WorkerState>),
    /// The desired state of the worker may have changed, or the worker has a newer session.
    Woken,
    /// A query of the store has ended; `None` when the store did not answer.
    Answered(anyhow::Result<Option<v1::DesiredState>>),
    /// A query of the store takes too long.
    Overdue,
    /// The certificate of the connection has expired.
    CertificateEnded,
}

impl Conversation<'_> {
    /// Waits for the next event; `None` when the worker has ended its stream.
    async fn next(
        &mut self,
        states: &mut (impl Stream<Item = Result<v1::WorkerState, Status>> + Unpin),
        caller: &Caller,
    ) -> Result<Option<Event>, Status> {
        self.asking.begin();
        let overdue = self.asking.overdue();
        Ok(Some(tokio::select! {
            // In this order, so that an answer that is due is sent first to a worker that sends all
            // the time, and so that a simulation can repeat it.
            biased;
            () = self.session.woken() => Event::Woken,
            answer = self.asking.answered() => Event::Answered(answer),
            state = states.try_next() => match state? {
                Some(state) => Event::State(Box::new(state)),
                None => return Ok(None),
            },
            () = certificate_end(self.parts.clock, caller) => Event::CertificateEnded,
            () = overdue => Event::Overdue,
        }))
    }

    /// Handles an event. Returns the answer to the worker, if there is one.
    fn handle(&mut self, event: Event) -> Result<Option<v1::DesiredState>, Status> {
        match event {
            Event::State(state) => {
                self.heard = state.sequence;
                let worker = self.session.worker();
                self.parts.metrics.roots(worker, state.root_hits, state.root_misses);
                let state = parse_state(self.parts, &self.session, *state)?;
                self.asking.reported(state, self.heard);
                Ok(None)
            }
            Event::Woken if !self.session.is_current() => Err(overtaken()),
            Event::Woken => {
                self.asking.due = true;
                Ok(None)
            }
            Event::Answered(Ok(Some(answer))) => {
                if self.session.settle() {
                    // Free slots may let waiting tasks be granted.
                    self.parts.bus.wake();
                }
                Ok(Some(answer))
            }
            Event::Answered(Ok(None)) => Ok(Some(hold_state(self.parts, self.heard))),
            Event::Answered(Err(error)) => Err(refused(error)),
            Event::Overdue => {
                // An answer without changes renews the worker's lease.
                self.asking.owes = None;
                Ok(Some(hold_state(self.parts, self.heard)))
            }
            Event::CertificateEnded => Err(Status::unauthenticated(
                "the certificate of this session has ended; connect with a newer one",
            )),
        }
    }
}

/// Completes when the caller's certificate expires; never for a caller without one.
async fn certificate_end(clock: Clock, caller: &Caller) {
    let Caller::Worker { ends, .. } = caller else { return pending().await };
    clock.sleep(ends.since(clock.time())).await;
}

/// The status that ends a session: a refusal as it is, or an internal error.
fn refused(error: anyhow::Error) -> Status {
    error.downcast::<Status>().unwrap_or_else(internal)
}

/// Records a received state, and returns it.
fn parse_state(
    parts: &Sessions,
    session: &WorkerSession,
    wire: v1::WorkerState,
) -> Result<WorkerState, Status> {
    let state = WorkerState::try_from(wire)?;
    if state.name != session.worker() {
        return Err(Status::invalid_argument("a worker must not change its name during a session"));
    }
    if !session.heard(state.clone(), parts.clock.instant(), parts.clock.time()) {
        return Err(overtaken());
    }
    Ok(state)
}

/// Sends an answer. False when the worker has gone. A worker that reads no answers must not keep a
/// session that a newer one has replaced.
async fn send_answer(
    clock: Clock,
    answers: &Answers,
    answer: v1::DesiredState,
    session: &WorkerSession,
) -> Result<bool, Status> {
    let mut sending = pin!(answers.send(Ok(answer)));
    loop {
        tokio::select! {
            biased;
            sent = &mut sending => return Ok(sent.is_ok()),
            () = clock.sleep(AGAIN) => {}
        }
        if !session.is_current() {
            return Err(overtaken());
        }
    }
}

fn overtaken() -> Status {
    Status::aborted("a newer session of this worker is connected")
}

/// The answer of a coordinator that cannot read its store: the worker keeps its attempts.
fn hold_state(parts: &Sessions, heard: u64) -> v1::DesiredState {
    let terms = DesiredState::nothing(parts.fleet.terms());
    v1::DesiredState { hold: true, heard, ..(&terms).into() }
}

/// A query of the store for a session.
struct PendingQuery {
    parts: Sessions,
    /// The newest state, without its reports.
    state: Arc<WorkerState>,
    /// Whether a new query is due.
    due: bool,
    /// The number of the state that `reports` is from.
    heard: u64,
    /// The reports of the newest state, until the store has recorded them.
    reports: Option<Vec<AttemptReport>>,
    under_way: Option<JoinHandle<FinishedQuery>>,
    /// Kept from one query to the next; moved into the query that is under way.
    memory: SessionMemory,
    /// Since when a state waits for its answer.
    owes: Option<Instant>,
}

/// The state of a session between its queries.
#[derive(Default)]
struct SessionMemory {
    cache: assignment::AssignmentCache,
    since: SessionBaseline,
    /// The last notice to the worker.
    notice: String,
    /// The architectures that the worker named at that time.
    claimed: Vec<Arch>,
}

/// The attempts with which the first reports of a session are compared.
#[derive(Default, Clone, Copy)]
enum SessionBaseline {
    /// The session has just begun.
    #[default]
    Begin,
    /// The newest attempt when the session began. An attempt up to this one that the worker holds
    /// and does not report is lost.
    Attempt(AttemptId),
    /// The first reports were applied.
    Taken,
}

/// A query with its answer.
struct FinishedQuery {
    desired: anyhow::Result<DesiredState>,
    heard: u64,
    reports: Option<Vec<AttemptReport>>,
    memory: SessionMemory,
}

impl PendingQuery {
    fn new(parts: &Sessions, mut state: WorkerState, heard: u64) -> Self {
        let reports = std::mem::take(&mut state.attempts);
        Self {
            parts: parts.clone(),
            state: Arc::new(state),
            due: true,
            heard,
            reports: Some(reports),
            under_way: None,
            memory: SessionMemory::default(),
            owes: Some(parts.clock.instant()),
        }
    }

    fn reported(&mut self, mut state: WorkerState, heard: u64) {
        let reports = std::mem::take(&mut state.attempts);
        self.state = Arc::new(state);
        (self.reports, self.heard, self.due) = (Some(reports), heard, true);
        self.owes.get_or_insert_with(|| self.parts.clock.instant());
    }

    /// Starts a query, if one is due and none is under way.
    fn begin(&mut self) {
        if self.due && self.under_way.is_none() {
            self.due = false;
            let asked = FinishedQuery {
                desired: Ok(DesiredState::nothing(self.parts.fleet.terms())),
                heard: self.heard,
                reports: self.reports.take(),
                memory: std::mem::take(&mut self.memory),
            };
            let asking = ask(self.parts.clone(), self.state.clone(), asked);
            // A task of its own: a query that is dropped half way would break a connection of the
            // store.
            self.under_way = Some(tokio::spawn(asking));
        }
    }

    /// Returns when a state has waited for its answer for a heartbeat.
    fn overdue(&self) -> impl Future<Output = ()> + use<> {
        let patience = self.parts.fleet.terms().heartbeat();
        let (clock, until) = (self.parts.clock, self.owes.map(|since| since + patience));
        async move {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => pending().await,
            }
        }
    }

    /// The answer to the query that is under way; `None` when the store did not answer. If the
    /// future is dropped and made again, nothing is lost.
    async fn answered(&mut self) -> anyhow::Result<Option<v1::DesiredState>> {
        let Some(under_way) = &mut self.under_way else { return pending().await };
        let asked = under_way.await;
        self.under_way = None;
        let asked = asked?;
        self.memory = asked.memory;
        // A newer state contains everything that an older one did.
        self.reports = self.reports.take().or(asked.reports);
        if asked.heard == self.heard || asked.desired.is_err() {
            self.owes = None;
        }
        match asked.desired {
            Ok(desired) => Ok(Some(v1::DesiredState { heard: asked.heard, ..(&desired).into() })),
            Err(error) if error.is::<Status>() => Err(error),
            Err(error) => {
                let (worker, error) = (&self.state.name, format!("{error:#}"));
                tracing::error!(
                    worker,
                    error,
                    "the store does not answer; a worker was told to keep its attempts"
                );
                self.due = true;
                Ok(None)
            }
        }
    }
}

/// Writes reports to the store, and reads the worker's desired state from it.
async fn ask(parts: Sessions, state: Arc<WorkerState>, mut asked: FinishedQuery) -> FinishedQuery {
    asked.desired = try_ask(&parts, &state, &mut asked).await;
    if asked.desired.as_ref().is_err_and(|error| !error.is::<Status>()) {
        parts.clock.sleep(AGAIN).await;
    }
    asked
}

async fn try_ask(
    parts: &Sessions,
    state: &WorkerState,
    asked: &mut FinishedQuery,
) -> anyhow::Result<DesiredState> {
    let worker = state.name.as_str();
    if let Some(desired) = nothing_new(parts, state, asked) {
        asked.reports = None;
        parts.progress.wake();
        return Ok(desired);
    }
    let SessionMemory { cache, since, notice, claimed } = &mut asked.memory;
    *notice = welcome(parts, state).await?;
    claimed.clone_from(&state.arches);
    if let SessionBaseline::Begin = since {
        // From now on this coordinator judges the worker's silence, whichever did before.
        let connected = parts.store.worker_owner_upsert(worker, parts.peers.own_id()).await?;
        *since = SessionBaseline::Attempt(connected.newest_attempt);
    }
    if let Some(reports) = &asked.reports {
        let before = match since {
            SessionBaseline::Attempt(newest) => Some(*newest),
            SessionBaseline::Begin | SessionBaseline::Taken => None,
        };
        let now = parts.clock.time();
        let applied =
            parts.assignments.reports.apply_reports(&parts.store, worker, reports, before, now);
        applied.await.map_err(report_refused)?;
        (*since, asked.reports) = (SessionBaseline::Taken, None);
        parts.progress.wake();
    }
    let now = parts.clock.time();
    let desired = parts.assignments.desired(&parts.store, worker, cache, now).await?;
    Ok(DesiredState { notice: notice.clone(), ..desired })
}

/// How a query ends whose reports are not applied: with the status of a refusal, which ends the
/// session, or with the store's error, after which the query is repeated.
fn report_refused(error: ReportError) -> anyhow::Error {
    match error {
        ReportError::ForeignAttempt { .. } => Status::permission_denied(error.to_string()).into(),
        ReportError::Store(error) => error.into(),
    }
}

/// The answer to a heartbeat of a worker that has its desired state and no news. Nearly all
/// heartbeats are such, and need no query.
fn nothing_new(
    parts: &Sessions,
    state: &WorkerState,
    asked: &FinishedQuery,
) -> Option<DesiredState> {
    let SessionMemory { cache, since: SessionBaseline::Taken, notice, claimed } = &asked.memory
    else {
        return None;
    };
    let fresh = cache.fresh(&parts.fleet, &state.name, parts.clock.instant())?;
    let known = |report: &AttemptReport| {
        let is_it = |assigned: &Assignment| {
            (assigned.attempt, assigned.epoch) == (report.attempt, report.epoch)
        };
        matches!(report.progress, Progress::Running(_)) && fresh.assignments.iter().any(is_it)
    };
    let same = *claimed == state.arches && asked.reports.iter().flatten().all(known);
    same.then(|| DesiredState { notice: notice.clone(), ..fresh.clone() })
}

/// Whether a worker may connect, and which notice it gets.
///
/// # Errors
/// A `PERMISSION_DENIED` status when it may not; database errors.
async fn welcome(parts: &Sessions, state: &WorkerState) -> anyhow::Result<String> {
    let (decided, enrolled) = parts.store.worker_fetch_admission(&state.name).await?;
    if let Some(row) = decided.as_ref().filter(|row| !row.standing.may_connect()) {
        let message = format!("worker {} is revoked: {}", state.name, row.reason);
        return Err(Status::permission_denied(message).into());
    }
    if let Some(arch) = state.arches.iter().find(|arch| !enrolled.contains(arch))
        && !enrolled.is_empty()
    {
        let message = format!(
            "worker {} was not enrolled for {arch}; start it with --arch, or enrol it again",
            state.name
        );
        return Err(Status::permission_denied(message).into());
    }
    if let Some(outdated) = outdated(state) {
        return Ok(outdated);
    }
    Ok(match decided {
        Some(row) if !row.standing.takes_work() => {
            format!("this worker is {} and gets no new work: {}", row.standing, row.reason)
        }
        _ => String::new(),
    })
}
