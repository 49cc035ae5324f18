//! One worker's session: hears its states, and answers each with what it should have.
//!
//! The store is asked beside the conversation, never within: a database that hangs or is away
//! holds back what workers are given, and never their heartbeats.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpmfarm_core::fleet::outdated;
use rpmfarm_core::task::{Assignment, AttemptReport, DesiredState, Progress, WorkerState};
use rpmfarm_core::{Arch, AttemptId};
use rpmfarm_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use super::internal;
use crate::bus::Bus;
use crate::clock::now_us;
use crate::dispatch::assignment::{self, Assignments};
use crate::fleet::{Fleet, Session};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::store::Store;

/// How long to wait before a store that said no is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What sessions of workers need. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    /// Facts.
    pub store: Store,
    /// What is heard of workers.
    pub fleet: Fleet,
    /// This coordinator, which owns the workers that are connected to it.
    pub peers: Peers,
    /// Says what workers should have, and takes what they report.
    pub assignments: Assignments,
    /// Rings when there are free slots.
    pub bus: Bus,
    /// Rings when a worker has reported, be it only a phase.
    pub progress: Bus,
    /// How often workers had the roots that they needed.
    pub metrics: Metrics,
}

/// Where answers go.
type Answers = mpsc::Sender<Result<v1::DesiredState, Status>>;

/// Serves a worker from its first state to the end of its stream.
///
/// # Errors
/// When the worker breaks the protocol, or a newer session of it is there.
pub async fn serve(
    parts: &Sessions,
    caller: &Caller,
    mut states: Streaming<v1::WorkerState>,
    answers: &Answers,
) -> Result<(), Status> {
    let Some(first) = states.message().await? else { return Ok(()) };
    let (heard, hits, misses) = (first.sequence, first.root_hits, first.root_misses);
    let first = WorkerState::try_from(first)?;
    caller.must_be(&first.name, "this session")?;
    // Only under a name that is the caller's: each makes a label of its own.
    parts.metrics.roots(&first.name, hits, misses);
    let session = parts.fleet.connect(first.clone(), Instant::now(), now_us());
    tracing::info!(worker = session.worker(), version = first.version, "worker connected");
    let asking = Asking::new(parts, first, heard);
    let mut talk = Talk { parts, session, asking, heard };
    let mut said = None;
    while let Some(event) = talk.next(&mut states, caller).await? {
        // An answer is due to each state that was heard, and when something has changed.
        let Some(answer) = talk.take(event)? else { continue };
        if said.as_ref() != Some(&answer) {
            if !say(answers, answer.clone(), &talk.session).await? {
                return Ok(());
            }
            said = Some(answer);
        }
    }
    Ok(())
}

/// The conversation with a worker.
struct Talk<'a> {
    parts: &'a Sessions,
    session: Session,
    asking: Asking,
    /// The number of the newest state.
    heard: u64,
}

/// What happens in a conversation.
enum Event {
    /// The worker says how it is.
    Said(Box<v1::WorkerState>),
    /// What the worker should have may have changed, or a newer session of it is there.
    Poked,
    /// The store was asked. Nothing when it could not answer.
    Answered(anyhow::Result<Option<v1::DesiredState>>),
    /// The store takes its time.
    Overdue,
    /// The certificate under which the worker is connected has ended.
    CertificateEnded,
}

impl Talk<'_> {
    /// Waits for what happens next; `None` when the worker has ended its stream.
    async fn next(
        &mut self,
        states: &mut Streaming<v1::WorkerState>,
        caller: &Caller,
    ) -> Result<Option<Event>, Status> {
        self.asking.begin();
        let overdue = self.asking.overdue();
        Ok(Some(tokio::select! {
            state = states.message() => match state? {
                Some(state) => Event::Said(Box::new(state)),
                None => return Ok(None),
            },
            () = self.session.poked() => Event::Poked,
            answer = self.asking.answered() => Event::Answered(answer),
            () = certificate_end(caller) => Event::CertificateEnded,
            () = overdue => Event::Overdue,
        }))
    }

    /// Takes what has happened. Returns what the worker is told about it, if anything.
    fn take(&mut self, event: Event) -> Result<Option<v1::DesiredState>, Status> {
        match event {
            Event::Said(state) => {
                self.heard = state.sequence;
                let worker = self.session.worker();
                self.parts.metrics.roots(worker, state.root_hits, state.root_misses);
                let state = hear(&self.session, *state)?;
                self.asking.reported(state, self.heard);
                Ok(None)
            }
            Event::Poked if !self.session.is_current() => Err(overtaken()),
            Event::Poked => {
                self.asking.due = true;
                Ok(None)
            }
            Event::Answered(Ok(Some(answer))) => {
                if self.session.settle() {
                    // Free slots are news for the tasks that wait.
                    self.parts.bus.ring();
                }
                Ok(Some(answer))
            }
            Event::Answered(Ok(None)) => Ok(Some(hold(self.parts, self.heard))),
            Event::Answered(Err(error)) => Err(refused(error)),
            Event::Overdue => {
                // The worker need not fear for its lease.
                self.asking.owes = None;
                Ok(Some(hold(self.parts, self.heard)))
            }
            Event::CertificateEnded => Err(Status::unauthenticated(
                "the certificate of this session has ended; connect with a newer one",
            )),
        }
    }
}

/// When the caller's certificate ends; never for one without.
async fn certificate_end(caller: &Caller) {
    let Caller::Worker { ends_us, .. } = caller else { return pending().await };
    let left = Duration::from_micros(ends_us.saturating_sub(now_us()).max(0).unsigned_abs());
    tokio::time::sleep(left).await;
}

/// What ends a session: a refusal as it is, or what went wrong inside.
fn refused(error: anyhow::Error) -> Status {
    error.downcast::<Status>().unwrap_or_else(internal)
}

/// Takes a state, and returns it.
fn hear(session: &Session, wire: v1::WorkerState) -> Result<WorkerState, Status> {
    let state = WorkerState::try_from(wire)?;
    if state.name != session.worker() {
        return Err(Status::invalid_argument("a worker does not change its name"));
    }
    if !session.heard(state.clone(), Instant::now(), now_us()) {
        return Err(overtaken());
    }
    Ok(state)
}

/// Sends an answer. False when the worker has gone. A worker that takes no answers must not keep
/// a session that was overtaken.
async fn say(
    answers: &Answers,
    answer: v1::DesiredState,
    session: &Session,
) -> Result<bool, Status> {
    let mut sending = pin!(answers.send(Ok(answer)));
    loop {
        match tokio::time::timeout(AGAIN, &mut sending).await {
            Ok(sent) => return Ok(sent.is_ok()),
            Err(_) if session.is_current() => {}
            Err(_) => return Err(overtaken()),
        }
    }
}

fn overtaken() -> Status {
    Status::aborted("a newer session of this worker is connected")
}

/// The answer of a coordinator that hears and cannot read its store.
fn hold(parts: &Sessions, heard: u64) -> v1::DesiredState {
    let terms = DesiredState::nothing(parts.fleet.terms());
    v1::DesiredState { hold: true, heard, ..(&terms).into() }
}

/// What the store is asked for a session.
struct Asking {
    parts: Sessions,
    /// The newest state, without its reports.
    state: Arc<WorkerState>,
    /// Whether there is something new to ask.
    due: bool,
    /// The number of the state that `reports` is from.
    heard: u64,
    /// What the newest state says of attempts, until the store has taken it.
    reports: Option<Vec<AttemptReport>>,
    under_way: Option<JoinHandle<Asked>>,
    /// What is carried from one question to the next; lent to the one that is under way.
    memory: Memory,
    /// Since when a state waits for its answer.
    owes: Option<Instant>,
}

/// What a session remembers.
#[derive(Default)]
struct Memory {
    cache: assignment::Cache,
    since: Since,
    /// What the worker was told last about itself.
    notice: String,
    /// The architectures that it claimed then.
    claimed: Vec<Arch>,
}

/// What the first reports of a session are compared with.
#[derive(Default, Clone, Copy)]
enum Since {
    /// The session has just begun.
    #[default]
    Begin,
    /// The newest attempt when the session began. What the worker was given until then and does
    /// not name is lost.
    Attempt(AttemptId),
    /// The first reports are taken.
    Taken,
}

/// A question with its answer.
struct Asked {
    desired: anyhow::Result<DesiredState>,
    heard: u64,
    reports: Option<Vec<AttemptReport>>,
    memory: Memory,
}

impl Asking {
    fn new(parts: &Sessions, mut state: WorkerState, heard: u64) -> Self {
        let reports = std::mem::take(&mut state.attempts);
        Self {
            parts: parts.clone(),
            state: Arc::new(state),
            due: true,
            heard,
            reports: Some(reports),
            under_way: None,
            memory: Memory::default(),
            owes: Some(Instant::now()),
        }
    }

    fn reported(&mut self, mut state: WorkerState, heard: u64) {
        let reports = std::mem::take(&mut state.attempts);
        self.state = Arc::new(state);
        (self.reports, self.heard, self.due) = (Some(reports), heard, true);
        self.owes.get_or_insert_with(Instant::now);
    }

    /// Asks, if there is something to ask and no question under way.
    fn begin(&mut self) {
        if self.due && self.under_way.is_none() {
            self.due = false;
            let asked = Asked {
                desired: Ok(DesiredState::nothing(self.parts.fleet.terms())),
                heard: self.heard,
                reports: self.reports.take(),
                memory: std::mem::take(&mut self.memory),
            };
            let asking = ask(self.parts.clone(), self.state.clone(), asked);
            // A task of its own: a question that is begun must not be dropped half way, which
            // would poison a connection of the store.
            self.under_way = Some(tokio::spawn(asking));
        }
    }

    /// Returns when a state has waited for its answer for a heartbeat.
    fn overdue(&self) -> impl Future<Output = ()> + use<> {
        let patience = self.parts.fleet.terms().heartbeat();
        let until = self.owes.map(|since| since + patience);
        async move {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => pending().await,
            }
        }
    }

    /// The answer to the question that is under way; `None` when the store has none. Dropped and
    /// called again, nothing is lost.
    async fn answered(&mut self) -> anyhow::Result<Option<v1::DesiredState>> {
        let Some(under_way) = &mut self.under_way else { return pending().await };
        let asked = under_way.await;
        self.under_way = None;
        let asked = asked?;
        self.memory = asked.memory;
        // A newer state says everything that an older one said.
        self.reports = self.reports.take().or(asked.reports);
        if asked.heard == self.heard || asked.desired.is_err() {
            self.owes = None;
        }
        match asked.desired {
            Ok(desired) => Ok(Some(v1::DesiredState { heard: asked.heard, ..(&desired).into() })),
            Err(error) if error.is::<Status>() => Err(error),
            Err(error) => {
                let (worker, error) = (&self.state.name, format!("{error:#}"));
                tracing::error!(worker, error, "a worker is told to hold on");
                self.due = true;
                Ok(None)
            }
        }
    }
}

/// Brings reports to the store, and reads from it what the worker should have.
async fn ask(parts: Sessions, state: Arc<WorkerState>, mut asked: Asked) -> Asked {
    asked.desired = try_ask(&parts, &state, &mut asked).await;
    if asked.desired.as_ref().is_err_and(|error| !error.is::<Status>()) {
        tokio::time::sleep(AGAIN).await;
    }
    asked
}

async fn try_ask(
    parts: &Sessions,
    state: &WorkerState,
    asked: &mut Asked,
) -> anyhow::Result<DesiredState> {
    let worker = state.name.as_str();
    if let Some(desired) = nothing_new(parts, state, asked) {
        asked.reports = None;
        parts.progress.ring();
        return Ok(desired);
    }
    let Memory { cache, since, notice, claimed } = &mut asked.memory;
    *notice = welcome(parts, state).await?;
    claimed.clone_from(&state.arches);
    if let Since::Begin = since {
        // From now on this coordinator judges the worker's silence, whoever did before.
        let connected = parts.store.own_worker(worker, parts.peers.me()).await?;
        *since = Since::Attempt(connected.newest_attempt);
    }
    if let Some(reports) = &asked.reports {
        let before = match since {
            Since::Attempt(newest) => Some(*newest),
            Since::Begin | Since::Taken => None,
        };
        parts.assignments.reports.take(&parts.store, worker, reports, before, now_us()).await?;
        (*since, asked.reports) = (Since::Taken, None);
        parts.progress.ring();
    }
    let desired = parts.assignments.desired(&parts.store, worker, cache, now_us()).await?;
    Ok(DesiredState { notice: notice.clone(), ..desired })
}

/// The answer to a heartbeat of a worker that does what it was told and of which nothing is new.
/// Nearly all of what is heard is this, and it costs no question to the store.
fn nothing_new(parts: &Sessions, state: &WorkerState, asked: &Asked) -> Option<DesiredState> {
    let Memory { cache, since: Since::Taken, notice, claimed } = &asked.memory else {
        return None;
    };
    let fresh = cache.fresh(&parts.fleet, &state.name, Instant::now())?;
    let known = |report: &AttemptReport| {
        let is_it = |assigned: &Assignment| {
            (assigned.attempt, assigned.epoch) == (report.attempt, report.epoch)
        };
        matches!(report.progress, Progress::Running(_)) && fresh.assignments.iter().any(is_it)
    };
    let same = *claimed == state.arches && asked.reports.iter().flatten().all(known);
    same.then(|| DesiredState { notice: notice.clone(), ..fresh.clone() })
}

/// Whether a worker may be here, and what it should be told.
///
/// # Errors
/// A `PERMISSION_DENIED` status when it may not; database errors.
async fn welcome(parts: &Sessions, state: &WorkerState) -> anyhow::Result<String> {
    let (decided, enrolled) = parts.store.admission(&state.name).await?;
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
