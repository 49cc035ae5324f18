//! Where the simulation asks `core`: every decision of the farm that it makes is one of these
//! calls, or one in the passes of the simulated coordinator.

use std::collections::BTreeSet;
use std::time::Duration;

use rpmfarm_core::batch_order::{BatchDecision, BatchMember, SolveOutcome, SolvedMember};
use rpmfarm_core::lease::{LeaseTerms, Liveness, listening, liveness};
use rpmfarm_core::limits::Limits;
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::matching::{self, WorkerCapacity, match_tasks};
use rpmfarm_core::placement::WorkerCandidate;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::status::{
    BuildFacts, BuildState, LastAttempt, RetryDecision, TaskFacts, after_failure, derive,
};
use rpmfarm_core::task::{Assignment, DesiredState, TaskInput, TaskKind, WorkerState};
use rpmfarm_core::time::span_us;
use rpmfarm_core::{Arch, AttemptId, BuildId, Epoch, Failure, Needs, Sha256, TaskId};

use crate::coordinator::{Fleet, Known, Solution};
use crate::scenario::{Host, TARGET};
use crate::store::{Build, LiveAttempt, Srpm, Store, Task};

/// When something that failed is tried again, as `coordinator::retry` asks.
pub(crate) fn retry_at(
    store: &Store,
    build: BuildId,
    task: Option<TaskId>,
    failure: &Failure,
    now_us: i64,
) -> Option<i64> {
    let failures = store.failure_list(build, store.build_fetch_retried_us(build));
    let earlier = failures.iter().filter(|row| row.task == task).map(|row| row.failure.fault);
    match after_failure(failure, earlier) {
        RetryDecision::TryAfter(pause) => Some(now_us + span_us(pause)),
        RetryDecision::GiveUp => None,
    }
}

/// Whether a worker that was silent for so many microseconds has lost its attempts.
pub(crate) fn is_gone(silence: u64) -> bool {
    liveness(LeaseTerms::default(), Duration::from_micros(silence), true) == Liveness::Gone
}

/// Whether a coordinator that looks at the leases so many microseconds after it last did has
/// listened in between.
pub(crate) fn is_listening(since_last_look: u64) -> bool {
    listening(LeaseTerms::default(), Duration::from_micros(since_last_look))
}

/// A worker as a dispatch pass saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    name: String,
    arches: Vec<Arch>,
    slots: u32,
    ready: bool,
}

/// How a pass sees a worker at a time, of a coordinator that listens since another.
pub(crate) fn seen(known: &Known, listening: u64, now: u64) -> Seen {
    let silence = Duration::from_micros(now - known.heard.max(listening));
    let connected = known.connection != 0 && known.settled;
    let WorkerState { name, arches, slots, draining, .. } = &known.state;
    Seen {
        name: name.clone(),
        arches: arches.clone(),
        slots: *slots,
        ready: liveness(LeaseTerms::default(), silence, connected) == Liveness::Alive && !draining,
    }
}

/// The worker for a task.
pub(crate) fn place(arch: Arch, fleet: &Fleet) -> Option<String> {
    let mut workers: Vec<WorkerCapacity<'_>> = fleet
        .workers
        .iter()
        .map(|Seen { name, arches, slots, ready }| WorkerCapacity {
            candidate: WorkerCandidate {
                name,
                arches,
                emulated: &[],
                slots: *slots,
                busy: fleet.busy.get(name).copied().unwrap_or(0),
                ready: *ready,
            },
            memory_mib: 0,
            memory_used_mib: 0,
            disk_mib: 0,
            labels: &[],
        })
        .collect();
    let needs = Needs::default();
    let task =
        matching::WaitingTask { arch, emulation: false, needs: &needs, avoid: &[], except: "" };
    let (_, worker) = match_tasks(&[task], &mut workers).pop()?;
    Some(workers[worker].candidate.name.to_owned())
}

/// A build task that has no lock yet, with what solving said.
pub(crate) struct Waiting {
    pub(crate) task: Task,
    pub(crate) requires: Vec<String>,
    /// The round of the lock that it waits for.
    pub(crate) round: u32,
    pub(crate) solution: Solution,
}

/// Whose turn it is among the tasks of a batch. `mates` are all its builds that are neither
/// accepted nor ended.
pub(crate) fn turns(
    store: &Store,
    waiting: &[Waiting],
    mates: &[(Build, Srpm)],
) -> Vec<Option<BatchDecision>> {
    let batch = mates.first().map_or(0, |(build, _)| build.batch);
    let under_way: BTreeSet<BuildId> = store
        .task_list_unaccepted(batch)
        .into_iter()
        .filter(|(_, task)| waiting.iter().all(|waiting| waiting.task.id != *task))
        .map(|(build, _)| build)
        .collect();
    let mates = mates_of(mates, |build| under_way.contains(&build));
    let solved: Vec<SolvedMember> = waiting
        .iter()
        .map(|waiting| SolvedMember {
            build: waiting.task.build,
            arch: waiting.task.arch,
            requires: waiting.requires.clone(),
            root: root(&waiting.solution),
        })
        .collect();
    let mut turns = rpmfarm_core::batch_order::decide_batch(&solved, &mates);
    let turn = |waiting: &Waiting| turns.remove(&(waiting.task.build, waiting.task.arch));
    waiting.iter().map(turn).collect()
}

/// The builds that an attempt has to wait for with what it found. `mates` are all builds of its
/// batch that are neither accepted nor ended.
pub(crate) fn waits_for(
    task: &Task,
    requires: &[String],
    solution: &Solution,
    mates: &[(Build, Srpm)],
) -> Vec<BuildId> {
    let (build, arch, requires) = (task.build, task.arch, requires.to_vec());
    let found = SolvedMember { build, arch, requires, root: root(solution) };
    rpmfarm_core::batch_order::waits_for(&found, &mates_of(mates, |_| false))
}

fn mates_of(mates: &[(Build, Srpm)], moves: impl Fn(BuildId) -> bool) -> Vec<BatchMember> {
    let mate = |(build, srpm): &(Build, Srpm)| BatchMember {
        build: build.id(),
        package: build.package.clone(),
        predicts: srpm.predicts.clone(),
        moves: moves(build.id()),
    };
    mates.iter().map(mate).collect()
}

/// What solving gave, as the order of a batch sees it.
fn root(solution: &Solution) -> SolveOutcome {
    match solution {
        Ok(packages) => SolveOutcome::Packages(packages.clone()),
        Err(failure) => {
            let missing = failure.message.strip_prefix("nothing provides ");
            SolveOutcome::Unsolvable(missing.map(str::to_owned).into_iter().collect())
        }
    }
}

/// A package of a root: the base repository's, or the farm's own by digest.
pub(crate) fn locked(name: &str, source: &str, own: Option<Sha256>) -> LockedPackage {
    let evr = rpmfarm_core::Evr::new(0, "0", "1");
    LockedPackage {
        nevra: rpmfarm_core::Nevra::new(name, evr, "noarch"),
        digest: own.unwrap_or_else(|| Sha256::compute(name.as_bytes())),
        size: 1,
        source: source.into(),
        origin: if own.is_some() { "farm" } else { "base" }.into(),
        location: String::new(),
        base: String::new(),
        module: String::new(),
    }
}

/// The lock of a root: its blob, and the names in it.
pub(crate) fn lock(task: &Task, round: u32, root: &[LockedPackage]) -> (Sha256, BTreeSet<String>) {
    let names: BTreeSet<String> = root.iter().map(|package| package.nevra.name.clone()).collect();
    (Sha256::compute(format!("{} {round} {names:?}", task.id).as_bytes()), names)
}

/// What a worker should have.
pub(crate) fn desired(store: &Store, live: &[LiveAttempt]) -> DesiredState {
    DesiredState {
        assignments: live.iter().filter_map(|live| assignment(store, live)).collect(),
        ..DesiredState::nothing(LeaseTerms::default())
    }
}

/// Whether a worker that was not answered for so many microseconds must give up what it runs.
pub(crate) fn is_lost(silence: u64, heartbeat: u64, lease: u64) -> bool {
    let terms = LeaseTerms::new(Duration::from_micros(heartbeat), Duration::from_micros(lease));
    Duration::from_micros(silence) > terms.unwrap_or_default().worker_gives_up_after()
}

fn assignment(store: &Store, live: &LiveAttempt) -> Option<Assignment> {
    let task = store.task_fetch(TaskId(live.task))?;
    let lock = store.lock_fetch(task.id)?;
    let build = store.build_fetch(task.build)?;
    let file = |name: String, digest| SourceFile { name, digest, size: 1, executable: false };
    let input = match task.kind {
        TaskKind::Srpm => {
            let import = store.import_fetch(task.build)?;
            let spec = file(format!("{}.spec", import.commit), import.bundle);
            TaskInput::Sources { spec, sources: Vec::new(), plan: None, arches: Vec::new() }
        }
        TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
            let srpm = store.srpm_fetch(task.build)?;
            let file = file(srpm.nevra.file_name(), srpm.digest);
            TaskInput::Srpm {
                file,
                dynamic_requires: srpm.dynamic,
                noarch: task.kind == TaskKind::Noarch,
            }
        }
    };
    Some(Assignment {
        attempt: AttemptId(live.id),
        task: task.id,
        build: task.build,
        epoch: Epoch(live.epoch),
        input,
        package: build.package.clone(),
        target: TARGET.into(),
        arch: task.arch,
        lock: lock.digest,
        round: lock.round,
        macros: String::new(),
        nocheck: false,
        keep: Vec::new(),
        limits: Limits::default(),
        allow: rpmfarm_core::Allowed::new(),
    })
}

/// What a worker says of itself.
pub(crate) fn worker_state(host: &Host) -> WorkerState {
    WorkerState {
        name: host.name.clone(),
        version: "sim".into(),
        protocol: 1,
        arches: host.arches.clone(),
        emulated: Vec::new(),
        slots: host.slots,
        cpus: 1,
        memory_mib: 1,
        disk_free_mib: 1,
        draining: false,
        labels: Vec::new(),
        unready: String::new(),
        attempts: Vec::new(),
    }
}

/// Where a build is, from its facts, as the API derives it. The packages of a published one are
/// signed with the key.
#[must_use]
pub fn state(store: &Store, id: BuildId, key: &str) -> BuildState {
    let tasks = store.task_list(id);
    let facts: Vec<TaskFacts> = tasks
        .iter()
        .filter(|task| task.kind.is_build())
        .map(|task| {
            let attempts = store.attempt_list(task.id);
            let last = match attempts.last() {
                None => LastAttempt::Missing,
                Some((_, None)) => LastAttempt::Running,
                Some((_, Some(end))) => LastAttempt::ended(end.outcome.as_ref()),
            };
            let locked = store.lock_fetch(task.id).is_some();
            TaskFacts::new(locked, last, store.acceptance_fetch(task.id).is_some())
        })
        .collect();
    let retried_us = store.build_fetch_retried_us(id);
    let failures = store.failure_list(id, retried_us);
    derive(&BuildFacts {
        // Every package of the simulation has names of its own.
        claimed: false,
        cancelled: store.build_fetch_cancelled_us(id) > retried_us,
        failed: failures.iter().any(|row| row.retry_us.is_none()) && !store.build_is_open(id),
        imported: store.import_fetch(id).is_some(),
        srpm: store.srpm_fetch(id).is_some(),
        tasks: &facts,
        // Only asked when all is accepted.
        signed: facts.iter().all(|task| task.accepted)
            && store.package_list_of_build(id, key).iter().all(|row| row.signature.is_some()),
        published: store.publication_fetch(id).is_some(),
    })
}
