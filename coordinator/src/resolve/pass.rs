//! The resolve stage: gives every task its lock. SRPM tasks get it at once, build tasks in the
//! order of the batch (`turns`), and running attempts round by round when `%generate_buildrequires`
//! finds requirements.
//!
//! The packages of a lock are fetched before the lock is recorded. A busy repository removes a
//! package as soon as there is a newer one, while the cached metadata may be an hour old: then the
//! metadata are read again and the root is solved again, a few times at most.
//!
//! The requirements that a running attempt finds are treated like those of the spec: when another
//! build of the batch is to provide or replace one of them, the attempt is taken from its worker,
//! so that it holds no slot that the awaited build may need, and the task waits with these
//! requirements.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_core::learned_needs;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{
    Arch, BatchId, BuildId, BuildOptions, Failure, FailureStage, Fault, Lock, Nevra, Sha256, Stage,
    Target, TaskId, Timestamp,
};
use tracing::Instrument as _;

use super::batch_order::{BatchOrder, RoundDecision, SharedOrder, Solved};
use super::batches::{Batches, with};
use super::pool_news::KnownPools;
use super::{AgePolicy, FARM, FarmReplacement, Requirements, ResolveError, Resolver};
use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::retry::Retries;
use crate::store::{Build, FarmReplacementRow, FencedStore, NewLock, Srpm, Task};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, CoalescedTasks, KeyedTaskPool};

/// How many SRPM tasks of a target one pass reads; more than there are slots.
const SRPMS_AT_ONCE: i64 = 64;

/// How often a root is solved again because one of its packages is gone.
const AGAIN: u32 = 2;

/// Gives tasks their locks, several side by side. Cheap to clone.
#[derive(Clone)]
pub struct ResolveStage {
    pub targets: Targets,
    /// Solves roots, and fetches packages.
    pub resolver: Resolver,
    /// The store of locks.
    pub blobs: Blobs,
    /// The workers with attempts that wait for a wider lock.
    pub fleet: Fleet,
    /// Where the reason is shown that a build waits.
    pub waits: LocalWaitReasons,
    /// The orders of the open batches.
    pub batches: Batches,
    /// Decides whether there is a next try.
    pub retries: Retries,
    /// Woken when a task must be solved again.
    pub bus: Bus,
    /// The clock that is read while the stage works.
    pub clock: Clock,
    /// The work that is under way.
    pub work: ResolveWork,
}

/// The long work of this stage that is under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResolveWork {
    /// Solves roots and makes locks, one for each task.
    pub(super) locks: KeyedTaskPool<TaskId>,
    /// Examines batches.
    pub(super) examinations: CoalescedTasks<BatchId>,
    /// The generations of the targets' packages that were read.
    pub(super) pools: Arc<tokio::sync::Mutex<KnownPools>>,
}

impl ResolveWork {
    #[must_use]
    pub fn new(locks: KeyedTaskPool<TaskId>) -> Self {
        Self { locks, examinations: CoalescedTasks::new("order"), pools: Arc::default() }
    }
}

impl work::Stage for ResolveStage {
    const NAME: Stage = Stage::Resolve;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        self.lock_srpms(store, now).await?;
        self.request_examinations(store, now).await?;
        self.lock_rounds(store, now).await
    }
}

/// Why a task has no lock, for the record and for the order of the batch.
#[derive(Debug, Clone)]
pub(super) struct LockFailure {
    pub(super) failure: Failure,
    /// Requirements of the build that nothing provides.
    pub(super) missing: Vec<String>,
}

/// The result of recording a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// Its task can be given to a worker.
    Locked,
    /// One of its packages was withdrawn meanwhile: the root must be solved again.
    Withdrawn,
    /// It could not be made: that is recorded, to be tried again or for good.
    Failed,
}

/// The requirements of a task's root.
#[derive(Debug)]
pub(super) struct LockRequest {
    pub(super) requirements: Requirements,
    /// The round of its lock: 0, or the number of the last round of requirements plus one.
    round: u32,
}

impl LockRequest {
    /// Reads the requirements of a build task, and those that its attempts found if there are any.
    pub(super) async fn read(
        store: &FencedStore,
        task: &Task,
        has_rounds: bool,
    ) -> anyhow::Result<Self> {
        let srpm = store.srpm_fetch(task.build).await?.context("a build task has an SRPM")?;
        let found = if has_rounds { store.round_list(task.id).await? } else { Vec::new() };
        Ok(Self::new(task, &srpm, found))
    }

    /// The requirements of a task on its own architecture, and those that were found in rounds.
    fn new(task: &Task, srpm: &Srpm, found: Vec<Vec<String>>) -> Self {
        let target = task.kind.rpm_target(task.arch);
        let round = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let layers = std::iter::once(srpm.requires_with(target).to_vec()).chain(found).collect();
        let conflicts = srpm.conflicts_with(target).to_vec();
        let requirements = Requirements { layers, conflicts, ..Requirements::default() };
        Self { requirements, round }
    }

    pub(super) fn requires(&self) -> Vec<String> {
        self.requirements.layers.concat()
    }
}

/// The span of the log's lines, with build and task.
pub(super) fn span(task: &Task) -> tracing::Span {
    tracing::info_span!("resolve", build = task.build.0, task = task.id.0)
}

impl ResolveStage {
    /// Begins the locks of SRPM tasks.
    async fn lock_srpms(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        let mut tasks = store.task_list_srpms_to_lock(now, SRPMS_AT_ONCE).await?;
        let under_way = self.work.locks.keys();
        tasks.retain(|task| !under_way.contains(&task.id));
        let builds = builds_of(store, &tasks).await?;
        for task in tasks {
            let build = builds.get(&task.build).context("a task has a build")?.clone();
            // In parallel with the locks of builds, which shall begin before the last SRPM is made.
            let place = format!("SRPMs of {}", build.target);
            let Some(slot) = self.work.locks.reserve_for(&place, task.id) else { continue };
            let (stage, store, span) = (self.clone(), store.clone(), span(&task));
            let work = async move { stage.lock_srpm(&store, &task, &build).await };
            slot.spawn(work.instrument(span));
        }
        Ok(())
    }

    /// Locks an SRPM task. Its root is the base root, which requires no other build.
    async fn lock_srpm(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
    ) -> anyhow::Result<()> {
        match self.solve(store, build, task.arch, Requirements::default()).await {
            Ok(lock) => {
                let wanted = LockRequest { requirements: Requirements::default(), round: 0 };
                self.record(store, task, build, &wanted, (&lock, None)).await?;
                Ok(())
            }
            Err(LockFailure { failure, .. }) => self.failed(store, task, &failure).await,
        }
    }

    /// Records that a task cannot be locked: to be tried again, or finally.
    pub(super) async fn failed(
        &self,
        store: &FencedStore,
        task: &Task,
        failure: &Failure,
    ) -> anyhow::Result<()> {
        let now = self.clock.time();
        Ok(self.retries.record(store, task.build, Some(task.id), failure, now).await?)
    }

    /// Begins to answer running attempts that found requirements.
    async fn lock_rounds(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        let mut rounds = store.round_list_to_lock(now).await?;
        let under_way = self.work.locks.keys();
        rounds.retain(|(task, _)| !under_way.contains(&task.id));
        let tasks: Vec<Task> = rounds.iter().map(|(task, _)| task.clone()).collect();
        let builds = builds_of(store, &tasks).await?;
        for (task, round) in rounds {
            let build = builds.get(&task.build).context("a task has a build")?.clone();
            let Some(order) = self.batches.order(build.batch) else {
                // It is decided on with the others of its batch, once these are known.
                self.request_examination(store, build.batch);
                continue;
            };
            let Some(slot) = self.work.locks.reserve_for(&build.target, task.id) else { continue };
            let (stage, store, span) = (self.clone(), store.clone(), span(&task));
            let work = async move {
                stage.lock_round(&store, &order, &task, &build, round).await?;
                stage.request_examination(&store, build.batch);
                Ok(())
            };
            slot.spawn(work.instrument(span));
        }
        Ok(())
    }

    /// Answers the requirements that a running attempt found: with a wider lock, with the end of
    /// the build, or by taking the attempt from its worker until other builds of its batch are
    /// done. An attempt does not keep its slot while it waits, because the others may need the
    /// slot.
    async fn lock_round(
        &self,
        store: &FencedStore,
        order: &SharedOrder,
        task: &Task,
        build: &Build,
        round: u32,
    ) -> anyhow::Result<()> {
        let wanted = LockRequest::read(store, task, true).await?;
        let seen = with(order, |order| order.seen()).await?;
        let solved = self.solve(store, build, task.arch, wanted.requirements.clone()).await;
        // Read before the attempt may be taken from its worker: afterwards nothing says which
        // workers to notify.
        let workers = store.worker_list_on_build(task.build).await?;
        match solved {
            // A failure of the farm says nothing about the package: it is tried again.
            Err(LockFailure { failure, .. }) if failure.fault == Fault::Farm => {
                self.failed(store, task, &failure).await?;
            }
            solved => {
                let (solved, decision) =
                    decide_round(order, task, seen, wanted.requires(), solved).await?;
                let lock = solved.ok();
                let answer = (decision, lock.as_ref());
                let answered =
                    self.answer_round(store, task, build, (&wanted, round), answer).await;
                if !matches!(answered, Ok(true)) {
                    // The attempt still runs, or is about to end: its place in the order stays.
                    let task = task.clone();
                    with(order, move |order| order.set_locked(&task)).await?;
                }
                answered?;
            }
        }
        for worker in workers {
            self.fleet.wake_session(&worker);
        }
        Ok(())
    }

    /// Carries out the decision on a running attempt. Returns whether its task waits now.
    async fn answer_round(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        (wanted, round): (&LockRequest, u32),
        (decision, lock): (RoundDecision, Option<&Lock>),
    ) -> anyhow::Result<bool> {
        match (decision, lock) {
            (RoundDecision::WaitFor(reason), _) => self.postpone(store, task, round, reason).await,
            (RoundDecision::Refuse(failure), _) => {
                self.failed(store, task, &failure).await?;
                Ok(false)
            }
            (RoundDecision::Proceed, Some(lock)) => {
                self.record(store, task, build, wanted, (lock, None)).await?;
                Ok(false)
            }
            // Without a root the attempt cannot continue.
            (RoundDecision::Proceed, None) => Ok(false),
        }
    }

    /// Takes a task from its worker until the builds that it waits for are done. False when the
    /// attempt no longer runs.
    async fn postpone(
        &self,
        store: &FencedStore,
        task: &Task,
        round: u32,
        reason: String,
    ) -> anyhow::Result<bool> {
        let is_postponed = store.attempt_postpone(task, round, self.clock.time()).await?;
        if is_postponed {
            tracing::info!("the attempt found requirements that are still being built: {reason}");
        }
        Ok(is_postponed)
    }

    /// Fetches the packages of a lock and records it; from then on its task can be granted. The
    /// urgency of the task in its batch is recorded with the lock, where it is new.
    pub(super) async fn record(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &LockRequest,
        (lock, urgency): (&Lock, Option<Duration>),
    ) -> anyhow::Result<Recorded> {
        let round = wanted.round;
        let target = self.targets.get(&build.target)?;
        let (resolver, with_added) = self.resolver(&target, &lock.options);
        let repositories = (&resolver, &with_added);
        let lock = match self.fetch_lock(store, repositories, task, build, round, lock).await? {
            Ok(lock) => lock,
            Err(failure) => {
                self.failed(store, task, &failure).await?;
                return Ok(Recorded::Failed);
            }
        };
        let digest = self.blobs.put(&lock.to_bytes())?;
        if round == 0 && task.kind.is_build() {
            self.record_needs(store, &target, task, build).await?;
        }
        let own = own_packages(&lock);
        if !own.is_empty() {
            self.record_taken(store, repositories, task, build, wanted, &lock).await?;
        }
        let own: Vec<Sha256> = own.into_values().collect();
        let (task, target, own) = (task.id, build.target.as_str(), own.as_slice());
        let lock = NewLock { task, round, digest, target, own, urgency };
        if !store.lock_insert_if_current(lock, self.clock.time()).await? {
            // One of its packages was withdrawn meanwhile: the root is solved again.
            tracing::info!("the root contains a package that was withdrawn after it was solved");
            self.bus.wake();
            return Ok(Recorded::Withdrawn);
        }
        self.waits.clear(build.id);
        Ok(Recorded::Locked)
    }

    /// Records for each of the farm's own packages of a lock which package the root would have
    /// instead. Only people read this: no build waits for it, and an error of the resolver is only
    /// logged.
    async fn record_taken(
        &self,
        store: &FencedStore,
        (resolver, target): (&Resolver, &Target),
        task: &Task,
        build: &Build,
        wanted: &LockRequest,
        lock: &Lock,
    ) -> anyhow::Result<()> {
        let plain = self.targets.get(&build.target)?;
        let own_target = plain.for_build(&build.package, &lock.options);
        let mut requirements = with_additional(wanted.requirements.clone(), &own_target, build);
        requirements.modules = plain.modules_of(&build.package);
        let taken = resolver
            .taken(target, task.arch, &**store, requirements, self.clock.system())
            .await
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "the packages that the farm's packages replace in the root are unknown"
                );
            });
        // The pool may have changed since the lock was made, so only packages of the lock count.
        let own = own_packages(lock);
        let taken =
            taken.unwrap_or_default().into_iter().filter(|one| own.contains_key(&one.package));
        store.taken_package_replace(task.id, &taken.map(taken_row).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Fetches the packages of a lock. Returns a lock whose packages are all fetched: another one
    /// when the repositories have changed.
    ///
    /// # Errors
    /// The outer error is the database's; the inner one says why the packages cannot be fetched or
    /// make no valid root.
    async fn fetch_lock(
        &self,
        store: &FencedStore,
        (resolver, target): (&Resolver, &Target),
        task: &Task,
        build: &Build,
        round: u32,
        lock: &Lock,
    ) -> anyhow::Result<Result<Lock, Failure>> {
        let mut lock = lock.clone();
        for left in (0..=AGAIN).rev() {
            let now = self.clock.system();
            let Err(error) = resolver.fetch(target, &lock, now).await else {
                let checked = resolver.check_root(target, &lock).await;
                return Ok(checked.map(|()| lock).map_err(|problem| {
                    Failure::new(problem.fault(), FailureStage::Resolve, problem.to_string())
                }));
            };
            let failure = Failure::new(Fault::Farm, FailureStage::Resolve, error.to_string());
            if left == 0 || !error.is_gone() {
                return Ok(Err(failure));
            }
            tracing::info!(%error, "fetching the metadata again");
            match resolver.refresh(target, lock.arch, AgePolicy::Refuse, now).await {
                Ok(false) => {}
                Ok(true) => self.batches.touch_all(&target.name).await,
                Err(errors) => {
                    for error in errors {
                        tracing::warn!(%error, "a repository could not be refreshed");
                    }
                }
            }
            match self.solve(store, build, task.arch, wanted_of(store, task, round).await?).await {
                // The lock has not changed: the repository lists a package that it does not have.
                Ok(same) if same == lock => return Ok(Err(failure)),
                Ok(other) => lock = other,
                Err(LockFailure { failure, .. }) => return Ok(Err(failure)),
            }
        }
        unreachable!("the last round returns")
    }

    /// Records the needs of a task before it enters its queue.
    async fn record_needs(
        &self,
        store: &FencedStore,
        target: &Target,
        task: &Task,
        build: &Build,
    ) -> anyhow::Result<()> {
        let learned =
            store.learned_fetch(&build.target, &build.package, task.arch, task.kind).await?;
        let learned = learned.within(target.limits_of(&build.package).memory_mib);
        let needs = learned_needs::needs(&target.needs_of(&build.package), &learned);
        if !needs.is_nothing() {
            store.task_set_needs(task.id, &needs, self.clock.time()).await?;
        }
        Ok(())
    }

    pub(super) async fn solve(
        &self,
        store: &FencedStore,
        build: &Build,
        arch: Arch,
        wanted: Requirements,
    ) -> Result<Lock, LockFailure> {
        let of_farm = |error: &dyn std::fmt::Display| LockFailure {
            failure: Failure::new(Fault::Farm, FailureStage::Resolve, error.to_string()),
            missing: Vec::new(),
        };
        let options = store.build_fetch_options(build.id).await.map_err(|error| of_farm(&error))?;
        let plain = self.targets.get(&build.target).map_err(|error| of_farm(&error))?;
        let mut wanted = with_additional(wanted, &plain.for_build(&build.package, &options), build);
        wanted.modules = plain.modules_of(&build.package);
        let (resolver, target) = self.resolver(&plain, &options);
        let now = self.clock.system();
        if !options.repositories.is_empty() {
            // These repositories belong to one build, so the periodic refresh does not include
            // them.
            for error in resolver
                .refresh(&target, arch, AgePolicy::Refuse, now)
                .await
                .err()
                .unwrap_or_default()
            {
                tracing::warn!(
                    target = target.name,
                    %arch,
                    "repositories could not be refreshed: {error}"
                );
            }
        }
        let solved = resolver.resolve(&target, arch, &**store, wanted, now).await;
        let mut lock = solved.map_err(|error| unsolved(&error, arch))?;
        lock.options = options;
        Ok(lock)
    }

    /// The resolver of a build, and the target with its repositories. A build with repositories of
    /// its own gets pools of its own, which are dropped afterwards, so that they affect no other
    /// build.
    fn resolver(&self, target: &Target, options: &BuildOptions) -> (Resolver, Target) {
        let mut target = target.clone();
        if options.repositories.is_empty() {
            return (self.resolver.clone(), target);
        }
        let added = options.target_repositories(&target);
        target.repositories.extend(added);
        (self.resolver.apart(), target)
    }
}

/// The builds of tasks.
async fn builds_of(
    store: &FencedStore,
    tasks: &[Task],
) -> anyhow::Result<BTreeMap<BuildId, Build>> {
    if tasks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<BuildId> = tasks.iter().map(|task| task.build).collect();
    let builds = store.build_list_by_id(&ids).await?;
    Ok(builds.into_iter().map(|build| (build.id, build)).collect())
}

/// Adds the result of solving for a running attempt to an order, which decides.
async fn decide_round(
    order: &SharedOrder,
    task: &Task,
    seen: u32,
    requires: Vec<String>,
    solved: Result<Lock, LockFailure>,
) -> anyhow::Result<(Result<Lock, LockFailure>, RoundDecision)> {
    let task = task.clone();
    let decide = move |order: &mut BatchOrder| {
        let result = match &solved {
            Ok(lock) => Solved::Root(lock, &requires),
            Err(unsolved) => Solved::Missing(&unsolved.missing, &unsolved.failure),
        };
        let decision = order.decide_round(&task, seen, result);
        (solved, decision)
    };
    with(order, decide).await
}

/// Reads the requirements of a task's root.
async fn wanted_of(store: &FencedStore, task: &Task, round: u32) -> anyhow::Result<Requirements> {
    if task.kind == TaskKind::Srpm {
        return Ok(Requirements::default());
    }
    Ok(LockRequest::read(store, task, round > 0).await?.requirements)
}

fn taken_row(taken: FarmReplacement) -> FarmReplacementRow {
    let FarmReplacement { package, instead } = taken;
    let (instead, repository) = instead.unzip();
    FarmReplacementRow { package, instead, repository: repository.unwrap_or_default() }
}

/// The farm's own packages of a root.
fn own_packages(lock: &Lock) -> HashMap<Nevra, Sha256> {
    let own = lock.packages().filter(|package| package.origin == FARM);
    own.map(|package| (package.nevra.clone(), package.digest)).collect()
}

/// The requirements of a build, with the additional ones of its options and of its target.
fn with_additional(mut wanted: Requirements, target: &Target, build: &Build) -> Requirements {
    let more = target.additional_packages(&build.package);
    match wanted.layers.first_mut() {
        _ if more.is_empty() => {}
        Some(first) => first.extend(more.iter().cloned()),
        None => wanted.layers.push(more.to_vec()),
    }
    wanted
}

fn unsolved(error: &ResolveError, arch: Arch) -> LockFailure {
    let excerpt = error.details().iter().take(10).cloned().collect();
    let fault = error.fault();
    // A build may fail on one of several architectures, so the message names it.
    let message = match fault {
        Fault::Package => format!("no build root for {arch}: {error}"),
        Fault::Worker | Fault::Farm => error.to_string(),
    };
    let failure = Failure::new(fault, FailureStage::Resolve, message).with_excerpt(excerpt);
    LockFailure { failure, missing: error.missing() }
}
