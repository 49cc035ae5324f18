//! The decisions that a simulation makes instead of the system: the time, which waiting task
//! continues next, and whether the disk is full.
//!
//! Only with the feature `simulation`, with which no program of a farm is built. A simulation runs
//! coordinators on one thread, each in a runtime of its own ([`new_runtime`]). Whatever a
//! coordinator does beyond pure code is a *step* for which its task waits here: a query, a
//! transaction, work on the disk, the end of a pause. [`settle`] runs a coordinator until every one
//! of its tasks waits, for a step or for another task; the runtime reports when it has nothing left
//! to run. The simulation then chooses a step ([`release_step`]) and settles again. One step is
//! open at a time, so that each is atomic, and a dropped runtime is a process that died between two
//! steps.
//!
//! On a thread without a simulation ([`begin`]) nothing here has an effect. It must not know what
//! the steps are for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rpmfarm_core::{Stage, StageEpoch, Timestamp};
use tokio::runtime::{Builder, Runtime};
use tokio::task::Id;

/// The wall clock at the beginning of each run: 2025-06-15.
pub const BEGINNING: Timestamp = Timestamp::from_us(1_750_000_000_000_000);

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A query outside of a transaction.
    Query,
    /// A query of a heartbeat or of a stage lease.
    Heartbeat,
    /// A transaction; for a stage, with the epoch of its fence.
    Transaction(Option<(Stage, StageEpoch)>),
    /// Work on the disk.
    Disk,
    /// The end of a pause, since the run began.
    PauseEnd(Duration),
}

/// A task that waits.
#[derive(Debug, Clone, Copy)]
pub struct WaitingStep {
    /// The number by which it is released.
    pub ticket: u64,
    /// The coordinator of the task.
    pub coordinator: usize,
    /// What it waits for.
    pub kind: StepKind,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// Success.
    Succeeds,
    /// The database does not answer.
    Refused,
    /// The transaction is committed, and its answer gets lost.
    AnswerLost,
    /// The transaction is committed, and its caller never continues: its process is about to die.
    ProcessDies,
}

/// A step that has ended.
#[derive(Debug, Clone, Copy)]
pub struct FinishedStep {
    /// Its ticket.
    pub ticket: u64,
    pub kind: StepKind,
    /// Whether a transaction was committed.
    pub committed: bool,
}

struct SimulationState {
    began: Instant,
    now: Duration,
    /// The coordinator that runs.
    current: usize,
    /// How much each wall clock is wrong, in microseconds.
    wall_off_us: BTreeMap<usize, i64>,
    disk_is_full: bool,
    /// The last random number.
    random: u64,
    tickets: u64,
    slots: BTreeMap<u64, WaitSlot>,
    waiting: Vec<WaitingStep>,
    open: Option<OpenStep>,
    finished: Option<FinishedStep>,
    /// Whether the runtime has nothing left to run, and the waker of whoever waits for that.
    is_idle: bool,
    settled: Option<Waker>,
}

/// The place of a waiting task.
struct WaitSlot {
    kind: StepKind,
    outcome: Option<StepOutcome>,
    waker: Option<Waker>,
}

/// The step that is open.
struct OpenStep {
    ticket: u64,
    kind: StepKind,
    /// The task of the step, once it has begun.
    task: Option<Id>,
    /// The number of steps of the same task within it.
    within: usize,
    committed: bool,
}

thread_local! {
    static STATE: RefCell<Option<SimulationState>> = const { RefCell::new(None) };
}

/// Runs work on this thread's simulation, if there is one. The work must not drop a waker, which
/// may drop a task that waits here.
fn with_state<T>(work: impl FnOnce(&mut SimulationState) -> T) -> Option<T> {
    STATE.try_with(|state| state.borrow_mut().as_mut().map(work)).ok().flatten()
}

/// Begins a run on this thread, at time 0, with this seed of its random numbers. All runtimes of an
/// earlier run must be gone.
pub fn begin(seed: u64) {
    let state = SimulationState {
        began: Instant::now(),
        now: Duration::ZERO,
        current: 0,
        wall_off_us: BTreeMap::new(),
        disk_is_full: false,
        random: seed,
        tickets: 0,
        slots: BTreeMap::new(),
        waiting: Vec::new(),
        open: None,
        finished: None,
        is_idle: false,
        settled: None,
    };
    drop(STATE.replace(Some(state)));
}

/// Ends the run.
pub fn end() {
    drop(STATE.take());
}

/// Whether there is a simulation on this thread.
pub(crate) fn is_active() -> bool {
    with_state(|_| ()).is_some()
}

/// Sets the time since the run began.
pub fn set_time(now: Duration) {
    with_state(|state| state.now = now);
}

/// Makes the wall clock of a coordinator wrong by so many microseconds.
pub fn set_wall_offset(coordinator: usize, off_us: i64) {
    with_state(|state| state.wall_off_us.insert(coordinator, off_us));
}

/// Makes the disk full, or not.
pub fn set_disk_full(is_full: bool) {
    with_state(|state| state.disk_is_full = is_full);
}

/// A runtime for a coordinator. Dropping it drops all of its tasks where they wait.
///
/// # Errors
/// When the system refuses it.
pub fn new_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_time()
        .on_thread_park(on_thread_park)
        // Tasks that other threads woke always come first. By default tokio polls that queue only
        // every few polls, and how many polls there were depends on the timing of the database's
        // thread.
        .global_queue_interval(1)
        .build()
}

/// The runtime has run all its tasks. While a step is open, the rest of the work is done on the
/// database's thread.
fn on_thread_park() {
    let waker = with_state(|state| {
        if state.open.is_some() {
            return None;
        }
        state.is_idle = true;
        state.settled.take()
    });
    if let Some(waker) = waker.flatten() {
        waker.wake();
    }
}

/// Runs a coordinator until each of its tasks waits.
pub fn settle(runtime: &Runtime, coordinator: usize) {
    with_state(|state| (state.current, state.is_idle) = (coordinator, false));
    runtime.block_on(poll_fn(|context| {
        let waker = context.waker().clone();
        let before = with_state(|state| {
            if std::mem::take(&mut state.is_idle) {
                return Err(());
            }
            Ok(state.settled.replace(waker))
        });
        match before {
            Some(Ok(_before)) => Poll::Pending,
            Some(Err(())) | None => Poll::Ready(()),
        }
    }));
}

/// Runs work in a coordinator's runtime and with its clocks, beside its tasks.
pub fn run_within<T>(runtime: &Runtime, coordinator: usize, work: impl FnOnce() -> T) -> T {
    with_state(|state| state.current = coordinator);
    let _guard = runtime.enter();
    work()
}

/// The tasks that have begun to wait since the last call, in their order.
pub fn take_waiting_steps() -> Vec<WaitingStep> {
    with_state(|state| std::mem::take(&mut state.waiting)).unwrap_or_default()
}

/// The step that was open last, if it has ended.
pub fn take_finished_step() -> Option<FinishedStep> {
    with_state(|state| state.finished.take()).flatten()
}

/// Lets a task continue. False when it no longer waits.
pub fn release_step(ticket: u64, outcome: StepOutcome) -> bool {
    let waker = with_state(|state| {
        let slot = state.slots.get_mut(&ticket)?;
        slot.outcome = Some(outcome);
        if !matches!(slot.kind, StepKind::PauseEnd(_)) {
            let (kind, task) = (slot.kind, None);
            state.open = Some(OpenStep { ticket, kind, task, within: 0, committed: false });
        }
        Some(slot.waker.take())
    });
    match waker.flatten() {
        Some(waker) => {
            if let Some(waker) = waker {
                waker.wake();
            }
            true
        }
        None => false,
    }
}

/// This moment, where there is a simulation.
pub(crate) fn instant() -> Option<Instant> {
    with_state(|state| state.began + state.now)
}

/// The wall clock, where there is a simulation.
pub(crate) fn wall_time() -> Option<Timestamp> {
    with_state(|state| {
        let off = state.wall_off_us.get(&state.current).copied().unwrap_or(0);
        Timestamp::from_us((BEGINNING + state.now).as_us().saturating_add(off))
    })
}

/// A number from 0 to below 1, where there is a simulation.
pub(crate) fn draw_random() -> Option<f64> {
    with_state(|state| {
        // Knuth's generator; its upper bits are the good ones.
        let next = state.random.wrapping_mul(6_364_136_223_846_793_005);
        state.random = next.wrapping_add(1_442_695_040_888_963_407);
        f64::from((state.random >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    })
}

/// The end of a pause, where there is a simulation.
pub(crate) fn pause(time: Duration) -> Option<impl Future<Output = ()> + Send> {
    let until = with_state(|state| state.now.saturating_add(time))?;
    let park = wait_for_step(StepKind::PauseEnd(until))?;
    Some(async move {
        park.await;
    })
}

/// A permit for work on the disk, where there is a simulation. It lasts until it is dropped.
pub(crate) async fn begin_disk_step() -> Option<Step> {
    with_state(|_| ())?;
    Some(begin_step(StepKind::Disk).await)
}

/// Whether the disk accepts a write.
///
/// # Errors
/// That it is full.
pub(crate) fn check_disk_space() -> io::Result<()> {
    let is_full = with_state(|state| state.disk_is_full).unwrap_or(false);
    if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// A step, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Step {
    /// `None` without a simulation.
    ticket: Option<u64>,
    outcome: StepOutcome,
}

/// Waits until a step may begin. Queries of a task within its own transaction are a part of that
/// transaction's step.
pub(crate) async fn begin_step(kind: StepKind) -> Step {
    if let Some(ticket) = with_state(SimulationState::enter).flatten() {
        return Step { ticket: Some(ticket), outcome: StepOutcome::Succeeds };
    }
    let Some(park) = wait_for_step(kind) else {
        return Step { ticket: None, outcome: StepOutcome::Succeeds };
    };
    let ticket = park.ticket;
    let outcome = park.await;
    Step { ticket: Some(ticket), outcome }
}

impl Step {
    /// Whether the database refuses to answer.
    pub(crate) fn is_refused(&self) -> bool {
        self.outcome == StepOutcome::Refused
    }

    /// Reports that the transaction is committed. False when its caller must not learn of it.
    pub(crate) async fn finish_commit(self) -> bool {
        let (ticket, outcome) = (self.ticket, self.outcome);
        with_state(|state| {
            if let Some(open) = state.open.as_mut().filter(|open| Some(open.ticket) == ticket) {
                open.committed = true;
            }
        });
        drop(self);
        match outcome {
            StepOutcome::Succeeds | StepOutcome::Refused => true,
            StepOutcome::AnswerLost => false,
            StepOutcome::ProcessDies => pending().await,
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            with_state(|state| state.leave(ticket));
        }
    }
}

impl SimulationState {
    /// Enters the open step, if that is a transaction of the running task.
    fn enter(&mut self) -> Option<u64> {
        let task = tokio::task::try_id()?;
        let open = self.open.as_mut()?;
        if open.task != Some(task) || !matches!(open.kind, StepKind::Transaction(_)) {
            return None;
        }
        open.within += 1;
        Some(open.ticket)
    }

    fn leave(&mut self, ticket: u64) {
        let Some(open) = self.open.as_mut().filter(|open| open.ticket == ticket) else { return };
        if open.within > 0 {
            open.within -= 1;
            return;
        }
        let OpenStep { ticket, kind, committed, .. } = *open;
        self.finished = Some(FinishedStep { ticket, kind, committed });
        self.open = None;
    }
}

fn wait_for_step(kind: StepKind) -> Option<StepWait> {
    let ticket = with_state(|state| {
        state.tickets += 1;
        let (ticket, coordinator) = (state.tickets, state.current);
        state.slots.insert(ticket, WaitSlot { kind, outcome: None, waker: None });
        state.waiting.push(WaitingStep { ticket, coordinator, kind });
        ticket
    })?;
    Some(StepWait { ticket })
}

/// A task that waits to be released.
struct StepWait {
    ticket: u64,
}

impl Future for StepWait {
    type Output = StepOutcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<StepOutcome> {
        let waker = context.waker().clone();
        let found = with_state(|state| {
            let slot = state.slots.get_mut(&self.ticket)?;
            if let Some(outcome) = slot.outcome.take() {
                if let Some(open) = state.open.as_mut().filter(|open| open.ticket == self.ticket) {
                    open.task = tokio::task::try_id();
                }
                return Some((
                    Some(outcome),
                    state.slots.remove(&self.ticket).and_then(|s| s.waker),
                ));
            }
            Some((None, slot.waker.replace(waker)))
        });
        match found.flatten() {
            Some((Some(outcome), _before)) => Poll::Ready(outcome),
            Some((None, _before)) => Poll::Pending,
            // The run has ended.
            None => Poll::Pending,
        }
    }
}

impl Drop for StepWait {
    fn drop(&mut self) {
        let waker = with_state(|state| {
            let slot = state.slots.remove(&self.ticket)?;
            // It was released, but the task was dropped before it took the step.
            if slot.outcome.is_some() {
                state.leave(self.ticket);
            }
            slot.waker
        });
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::bus::Bus;
    use crate::clock::Clock;
    use crate::store::Store;

    /// The one that waits.
    fn only() -> WaitingStep {
        let all = take_waiting_steps();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    #[test]
    fn a_task_waits_until_it_is_let_go_and_dies_with_its_process() {
        begin(1);
        let process = new_runtime().expect("a runtime");
        let steps = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&steps);
        process.spawn(async move {
            let turn = begin_step(StepKind::Disk).await;
            count.fetch_add(1, Ordering::Relaxed);
            drop(turn);
            Clock.sleep(Duration::from_secs(5)).await;
            count.fetch_add(1, Ordering::Relaxed);
        });
        settle(&process, 0);
        let waiting = only();
        assert_eq!((waiting.kind, steps.load(Ordering::Relaxed)), (StepKind::Disk, 0));

        assert!(release_step(waiting.ticket, StepOutcome::Succeeds));
        settle(&process, 0);
        assert_eq!(take_finished_step().map(|done| done.kind), Some(StepKind::Disk));
        let waiting = only();
        let end_of_pause = StepKind::PauseEnd(Duration::from_secs(5));
        assert_eq!((waiting.kind, steps.load(Ordering::Relaxed)), (end_of_pause, 1));

        drop(process);
        assert!(!release_step(waiting.ticket, StepOutcome::Succeeds), "its task is gone");
        assert_eq!(steps.load(Ordering::Relaxed), 1);
        end();
    }

    /// The work of the database's thread is waited for, however long it takes.
    #[test]
    fn a_transaction_is_one_step() {
        begin(1);
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", dir.path().join("farm.db").display());
        let process = new_runtime().expect("a runtime");
        let store = process.block_on(Store::open(&url, Bus::default())).expect("it opens");
        for how in [
            StepOutcome::Succeeds,
            StepOutcome::AnswerLost,
            StepOutcome::Refused,
            StepOutcome::ProcessDies,
        ] {
            let store = store.clone();
            let asking = process.spawn(async move { store.write().await?.commit().await });
            settle(&process, 0);
            let waiting = only();
            assert_eq!(waiting.kind, StepKind::Transaction(None));
            assert!(release_step(waiting.ticket, how));
            settle(&process, 0);
            let is_committed = take_finished_step().expect("it is over").committed;
            assert_eq!(is_committed, how != StepOutcome::Refused, "{how:?}");
            assert_eq!(asking.is_finished(), how != StepOutcome::ProcessDies, "{how:?}");
            if asking.is_finished() {
                let answer = process.block_on(asking).expect("it does not panic");
                assert_eq!(answer.is_ok(), how == StepOutcome::Succeeds, "{how:?}: {answer:?}");
            }
        }
        drop(process);
        end();
    }
}
