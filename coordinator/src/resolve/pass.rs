//! The resolve stage: gives every task its lock. SRPM tasks get it at once, build tasks in the
//! order of the batch, and running attempts round by round when `%generate_buildrequires` finds
//! requirements.
//!
//! The packages of a lock are fetched before the lock is recorded. A busy repository removes a
//! package as soon as there is a newer one, while the cached metadata may be an hour old: then the
//! metadata are read again and the root is solved again, a few times at most.
//!
//! Batches are ordered outside of the pass, each in the queue of its target, so that a target whose
//! repositories hang delays no other. The requirements that a running attempt finds are treated
//! like those of the spec: when another build of the batch is to provide or replace one of them,
//! the attempt is taken from its worker, so that it holds no slot that the awaited build may need,
//! and the task waits with these requirements.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::batch_order::{
    BatchDecision, BatchMember, LostBatchMember, SolveOutcome, SolvedMember, decide_batch,
    decide_round, lacking, put_down_to, waits_for_text,
};
use rpmfarm_core::learned_needs;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{
    Arch, BatchId, BuildId, BuildOptions, Failure, FailureStage, Fault, Lock, Nevra, Sha256, Stage,
    Target, TaskId, Timestamp,
};

use tracing::Instrument as _;

use super::{AgePolicy, FARM, FarmReplacement, Requirements, ResolveError, Resolver};
use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::retry::Retries;
use crate::store::{Build, FarmReplacementRow, FencedStore, Srpm, Task};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, CoalescedTasks, KeyedSemaphore, KeyedTaskPool};

/// How many SRPM tasks of a target one pass reads; more than there are slots.
const SRPMS_AT_ONCE: i64 = 64;

/// How many batches of one target are ordered side by side. A long batch or a repository that hangs
/// delays neither other targets nor more urgent batches.
const BATCHES_AT_ONCE: usize = 4;

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
    /// Makes locks, one for each task.
    locks: KeyedTaskPool<TaskId>,
    batches: CoalescedTasks<BatchId>,
    /// Permits for the batches of each target.
    targets: Arc<KeyedSemaphore<String>>,
    memory: Arc<SolveMemory>,
}

impl ResolveWork {
    #[must_use]
    pub fn new(locks: KeyedTaskPool<TaskId>) -> Self {
        let batches = CoalescedTasks::new("order");
        let targets = Arc::new(KeyedSemaphore::new(BATCHES_AT_ONCE));
        Self { locks, batches, targets, memory: Arc::default() }
    }
}

impl work::Stage for ResolveStage {
    const NAME: Stage = Stage::Resolve;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for task in store.task_list_srpms_to_lock(now, SRPMS_AT_ONCE).await? {
            let build = store.build_fetch(task.build).await?.context("a task has a build")?;
            let (stage, store) = (self.clone(), store.clone());
            let (id, span, target) = (task.id, span(&task), build.target.clone());
            let work = async move { stage.lock_srpm(&store, &task, &build).await };
            self.work.locks.spawn_for(&target, id, work.instrument(span));
        }
        let batches = store.batch_list_to_order(now).await?;
        self.work.memory.keep_batches(&batches);
        for (batch, target) in batches {
            let (stage, store) = (self.clone(), store.clone());
            self.work.batches.ask(batch, move || {
                let (stage, store, target) = (stage.clone(), store.clone(), target.clone());
                async move {
                    let _turn = stage.work.targets.acquire(target).await;
                    stage.lock_batch(&store, batch).await
                }
            });
        }
        for (task, round) in store.round_list_to_lock(now).await? {
            let build = store.build_fetch(task.build).await?.context("a task has a build")?;
            let (stage, store) = (self.clone(), store.clone());
            let (id, span, target) = (task.id, span(&task), build.target.clone());
            let work = async move { stage.lock_round(&store, &task, &build, round).await };
            self.work.locks.spawn_for(&target, id, work.instrument(span));
        }
        Ok(())
    }
}

/// The results of solving for tasks of batches that wait, so that they are not solved again before
/// something has changed.
#[derive(Debug, Default)]
struct SolveMemory(Mutex<HashMap<TaskId, RememberedSolve>>);

#[derive(Debug, Clone)]
struct RememberedSolve {
    batch: BatchId,
    /// The generation of the target's packages that it was solved with.
    packages: i64,
    /// How many rounds of requirements there were.
    rounds: usize,
    result: Result<Lock, LockFailure>,
}

/// Why a task has no lock, for the record and for the order of the batch.
#[derive(Debug, Clone)]
struct LockFailure {
    failure: Failure,
    /// Requirements of the build that nothing provides.
    missing: Vec<String>,
}

/// The requirements of a task's root.
#[derive(Debug)]
struct LockRequest {
    requirements: Requirements,
    /// The round of its lock: 0, or the number of the last round of requirements plus one.
    round: u32,
}

impl LockRequest {
    /// The requirements of a task on its own architecture, and those that were found in rounds.
    fn new(task: &Task, srpm: &Srpm, found: Vec<Vec<String>>) -> Self {
        let target = task.kind.rpm_target(task.arch);
        let round = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let layers = std::iter::once(srpm.requires_with(target).to_vec()).chain(found).collect();
        let conflicts = srpm.conflicts_with(target).to_vec();
        let requirements = Requirements { layers, conflicts, ..Requirements::default() };
        Self { requirements, round }
    }

    fn requires(&self) -> Vec<String> {
        self.requirements.layers.concat()
    }
}

/// The results of solving for the tasks of a batch, with the requirements of each.
type SolvedTasks = HashMap<TaskId, (LockRequest, Result<Lock, LockFailure>)>;

/// The span of the log's lines, with build and task.
fn span(task: &Task) -> tracing::Span {
    tracing::info_span!("resolve", build = task.build.0, task = task.id.0)
}

impl ResolveStage {
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
                self.record(store, task, build, &wanted, &lock).await
            }
            Err(LockFailure { failure, .. }) => self.failed(store, task, &failure).await,
        }
    }

    /// Solves the tasks of a batch, for all architectures, and locks those whose turn it is.
    async fn lock_batch(&self, store: &FencedStore, batch: BatchId) -> anyhow::Result<()> {
        // All tasks of the batch, because the order depends on the whole batch.
        let tasks = store.task_list_to_order(batch, self.clock.time()).await?;
        self.work.memory.keep_tasks(batch, &tasks);
        if let Some(late) = store.batch_member_fetch_without_srpm(batch).await? {
            for (task, _) in &tasks {
                let reason = format!("waits for the SRPM of build {} ({})", late.id, late.package);
                self.waits.set(task.build, reason);
            }
            return Ok(());
        }
        // A task for `noarch` packages comes after the task of the same build and architecture.
        let (tasks, later) = one_of_each_arch(tasks);
        let (solved, results) = self.solve_batch(store, batch, &tasks).await?;
        // Tasks that are not accepted and wait for no turn are being built, or will be tried again
        // later.
        let unfinished = store.task_list_unaccepted(batch).await?;
        let moves: HashSet<BuildId> = unfinished
            .into_iter()
            .filter(|(_, task)| !results.contains_key(task) && !later.contains(task))
            .map(|(build, _)| build)
            .collect();
        let members = batch_members(store, batch, |build| moves.contains(&build)).await?;
        self.apply_decisions(store, tasks, &solved, results, &members);
        Ok(())
    }

    /// Solves each task of a batch, or takes the remembered result.
    async fn solve_batch(
        &self,
        store: &FencedStore,
        batch: BatchId,
        tasks: &[(Task, Build)],
    ) -> anyhow::Result<(Vec<SolvedMember>, SolvedTasks)> {
        let mut found = store.round_list_of_batch(batch).await?;
        let mut all = Vec::with_capacity(tasks.len());
        let mut results = HashMap::new();
        for (task, build) in tasks {
            let srpm = store.srpm_fetch(task.build).await?.context("a build task has an SRPM")?;
            let wanted = LockRequest::new(task, &srpm, found.remove(&task.id).unwrap_or_default());
            let result = self.work.memory.solve(self, store, task, build, &wanted).await?;
            let (build, arch, requires) = (task.build, task.arch, wanted.requires());
            all.push(SolvedMember { build, arch, requires, root: root(&result) });
            results.insert(task.id, (wanted, result));
        }
        Ok((all, results))
    }

    /// Locks the tasks whose turn it is, and shows what the others wait for.
    fn apply_decisions(
        &self,
        store: &FencedStore,
        tasks: Vec<(Task, Build)>,
        solved: &[SolvedMember],
        mut results: SolvedTasks,
        members: &[BatchMember],
    ) {
        let mut decisions = decide_batch(solved, members);
        let solved: HashMap<(BuildId, Arch), &SolvedMember> =
            solved.iter().map(|solved| ((solved.build, solved.arch), solved)).collect();
        for (task, build) in tasks {
            let key = (task.build, task.arch);
            match (decisions.remove(&key), results.remove(&task.id)) {
                (Some(BatchDecision::Proceed), Some((wanted, result))) => {
                    self.waits.clear(task.build);
                    let (stage, store) = (self.clone(), store.clone());
                    let (id, span, target) = (task.id, span(&task), build.target.clone());
                    let work =
                        async move { stage.conclude(&store, &task, &build, &wanted, result).await };
                    self.work.locks.spawn_for(&target, id, work.instrument(span));
                }
                (Some(BatchDecision::WaitFor(builds)), _) => {
                    self.waits.set(task.build, waits_for_text(solved[&key], &builds, members));
                }
                _ => {}
            }
        }
    }

    async fn conclude(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &LockRequest,
        result: Result<Lock, LockFailure>,
    ) -> anyhow::Result<()> {
        match result {
            Ok(lock) => self.record(store, task, build, wanted, &lock).await,
            Err(LockFailure { failure, .. }) => {
                let failure = with_lost_member(store, build, wanted, failure).await?;
                self.failed(store, task, &failure).await
            }
        }
    }

    /// Records that a task cannot be locked: to be tried again, or finally.
    async fn failed(
        &self,
        store: &FencedStore,
        task: &Task,
        failure: &Failure,
    ) -> anyhow::Result<()> {
        let now = self.clock.time();
        Ok(self.retries.record(store, task.build, Some(task.id), failure, now).await?)
    }

    /// Answers the requirements that a running attempt found: with a wider lock, with the end of
    /// the build, or by taking the attempt from its worker until other builds of its batch are
    /// done. An attempt does not keep its slot while it waits, because the others may need the
    /// slot.
    async fn lock_round(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        round: u32,
    ) -> anyhow::Result<()> {
        let srpm = store.srpm_fetch(task.build).await?.context("a build task has an SRPM")?;
        let wanted = LockRequest::new(task, &srpm, store.round_list(task.id).await?);
        let result = self.solve(store, build, task.arch, wanted.requirements.clone()).await;
        let found = SolvedMember {
            build: task.build,
            arch: task.arch,
            requires: wanted.requires(),
            root: root(&result),
        };
        let members = batch_members(store, build.batch, |_| false).await?;
        let fault = result.as_ref().err().map(|unsolved| unsolved.failure.fault);
        // Read before the attempt may be taken from its worker: afterwards nothing says which
        // workers to notify.
        let workers = store.worker_list_on_build(task.build).await?;
        match decide_round(&found, &members, fault) {
            BatchDecision::Proceed => self.conclude(store, task, build, &wanted, result).await?,
            BatchDecision::WaitFor(blockers) => {
                let reason = waits_for_text(&found, &blockers, &members);
                self.postpone(store, task, round, reason).await?;
            }
        }
        for worker in workers {
            self.fleet.wake_session(&worker);
        }
        Ok(())
    }

    /// Takes a task from its worker until the builds that it waits for are done.
    async fn postpone(
        &self,
        store: &FencedStore,
        task: &Task,
        round: u32,
        reason: String,
    ) -> anyhow::Result<()> {
        if store.attempt_postpone(task, round, self.clock.time()).await? {
            tracing::info!("the attempt found requirements that are still being built: {reason}");
            self.waits.set(task.build, reason);
            self.bus.wake();
        }
        Ok(())
    }

    /// Fetches the packages of a lock and records it; from then on its task can be granted.
    async fn record(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &LockRequest,
        lock: &Lock,
    ) -> anyhow::Result<()> {
        let round = wanted.round;
        let target = self.targets.get(&build.target)?;
        let (resolver, with_added) = self.resolver(&target, &lock.options);
        let repositories = (&resolver, &with_added);
        let lock = match self.fetch_lock(store, repositories, task, build, round, lock).await? {
            Ok(lock) => lock,
            Err(failure) => return self.failed(store, task, &failure).await,
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
        if !store
            .lock_insert_if_current(
                task.id,
                round,
                digest,
                (&build.target, &own),
                self.clock.time(),
            )
            .await?
        {
            // One of its packages was withdrawn meanwhile: the root is solved again.
            tracing::info!("the root contains a package that was withdrawn after it was solved");
            self.bus.wake();
            return Ok(());
        }
        self.waits.clear(task.build);
        Ok(())
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
            let refreshed = resolver.refresh(target, lock.arch, AgePolicy::Refuse, now).await;
            for error in refreshed.err().into_iter().flatten() {
                tracing::warn!(%error, "a repository could not be refreshed");
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

    async fn solve(
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

/// The builds of a batch that are neither accepted nor ended. `moves` says which of them have work
/// under way that waits for no turn.
async fn batch_members(
    store: &FencedStore,
    batch: BatchId,
    moves: impl Fn(BuildId) -> bool,
) -> anyhow::Result<Vec<BatchMember>> {
    let mut members = Vec::new();
    for build in store.batch_member_list_open(batch).await? {
        let srpm = store.srpm_fetch(build.id).await?;
        let predicts = srpm.as_ref().map(Srpm::predicts_anywhere).unwrap_or_default();
        let claims = store.claim_list_open(build.id).await?;
        let (id, is_moving) = (build.id, moves(build.id));
        members.push(BatchMember::new(id, build.package, predicts, &claims, is_moving));
    }
    Ok(members)
}

/// The failure of a package, with a note about the failed build of the same batch that should have
/// provided what is missing.
async fn with_lost_member(
    store: &FencedStore,
    build: &Build,
    wanted: &LockRequest,
    failure: Failure,
) -> anyhow::Result<Failure> {
    let lacking = lacking(&failure, &wanted.requires());
    if lacking.is_empty() {
        return Ok(failure);
    }
    for mate in store.batch_member_list_lost(build.batch).await? {
        let Some(srpm) = store.srpm_fetch(mate.id).await? else { continue };
        let (build, predicts) = (mate.id, srpm.predicts_anywhere());
        let lost = LostBatchMember { build, package: mate.package, predicts };
        if let Some(failure) = put_down_to(&failure, &lacking, &lost) {
            return Ok(failure);
        }
    }
    Ok(failure)
}

/// Reads the requirements of a task's root.
async fn wanted_of(store: &FencedStore, task: &Task, round: u32) -> anyhow::Result<Requirements> {
    if task.kind == TaskKind::Srpm {
        return Ok(Requirements::default());
    }
    let srpm = store.srpm_fetch(task.build).await?.context("a build task has an SRPM")?;
    let found = if round > 0 { store.round_list(task.id).await? } else { Vec::new() };
    Ok(LockRequest::new(task, &srpm, found).requirements)
}

/// The first task of each build and architecture, and the others.
fn one_of_each_arch(tasks: Vec<(Task, Build)>) -> (Vec<(Task, Build)>, HashSet<TaskId>) {
    let mut known = HashSet::new();
    let (first, later): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|(task, _)| known.insert((task.build, task.arch)));
    (first, later.into_iter().map(|(task, _)| task.id).collect())
}

/// The result of solving in the form that the order of the batch takes.
fn root(result: &Result<Lock, LockFailure>) -> SolveOutcome {
    match result {
        Ok(lock) => SolveOutcome::Packages(lock.packages().cloned().collect()),
        Err(unsolved) => SolveOutcome::Unsolvable(unsolved.missing.clone()),
    }
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

impl SolveMemory {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, RememberedSolve>> {
        self.0.lock()
    }

    /// Forgets the batches that no longer wait.
    fn keep_batches(&self, batches: &[(BatchId, String)]) {
        let waiting: HashSet<BatchId> = batches.iter().map(|(batch, _)| *batch).collect();
        self.lock().retain(|_, known| waiting.contains(&known.batch));
    }

    /// Forgets the tasks of a batch that no longer wait.
    fn keep_tasks(&self, batch: BatchId, tasks: &[(Task, Build)]) {
        let waiting: HashSet<TaskId> = tasks.iter().map(|(task, _)| task.id).collect();
        self.lock().retain(|id, known| known.batch != batch || waiting.contains(id));
    }

    /// Solves a task, or takes the remembered result when its target has the same packages.
    async fn solve(
        &self,
        stage: &ResolveStage,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &LockRequest,
    ) -> anyhow::Result<Result<Lock, LockFailure>> {
        let packages = store.pool_fetch_generation(&build.target).await?;
        let rounds = wanted.requirements.layers.len();
        let is_same =
            |known: &&RememberedSolve| known.packages == packages && known.rounds == rounds;
        let known = self.lock().get(&task.id).filter(is_same).cloned();
        if let Some(known) = known {
            return Ok(known.result);
        }
        let result = stage.solve(store, build, task.arch, wanted.requirements.clone()).await;
        // A failure of the farm says nothing about the package and may be temporary, so it is not
        // remembered.
        if !matches!(&result, Err(LockFailure { failure, .. }) if failure.fault == Fault::Farm) {
            let (batch, result) = (build.batch, result.clone());
            self.lock().insert(task.id, RememberedSolve { batch, packages, rounds, result });
        }
        Ok(result)
    }
}
