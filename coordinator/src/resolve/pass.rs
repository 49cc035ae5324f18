//! Gives every task its lock: at once for SRPMs, in the order of the batch for builds, and round
//! by round for what `%generate_buildrequires` finds.
//!
//! What a lock names is fetched before the lock is recorded. A busy repository removes a package as
//! soon as there is a newer one, while the metadata here may be an hour old: then the metadata are
//! read anew and the root is solved again, a few times at most.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use rpmfarm_core::learned;
use rpmfarm_core::order::{
    LostBatchMember, Mate, Root, Solved, Turn, lacking, put_down_to, turn_of_round, turns,
    waits_for_text,
};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{
    Arch, BuildId, BuildOptions, Failure, FailureStage, Fault, Lock, Nevra, Sha256, Stage, Target,
    TaskId,
};

use tracing::Instrument as _;

use super::{FARM, Older, Requirements, ResolveError, Resolver, Taken};
use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::retry::Retries;
use crate::store::{Build, FencedStore, Srpm, TakenRow, Task};
use crate::targets::Targets;
use crate::waits::Waits;
use crate::work::{self, Coalesced, KeyedSemaphore, KeyedTaskPool};

/// SRPM tasks of a target that are looked at in one go; more than there are slots.
const SRPMS_AT_ONCE: i64 = 64;

/// Batches of one target that are looked at at once. One that is long, or a repository that hangs,
/// keeps neither other targets nor what is more urgent waiting.
const BATCHES_AT_ONCE: usize = 4;

/// How often a root is solved again because one of its packages is gone.
const AGAIN: u32 = 2;

/// Gives tasks their locks, some at once. Cheap to clone.
#[derive(Clone)]
pub struct ResolveStage {
    /// What is rebuilt.
    pub targets: Targets,
    /// Solves roots, and fetches packages.
    pub resolver: Resolver,
    /// Where locks are stored.
    pub blobs: Blobs,
    /// Workers that wait for a wider lock.
    pub fleet: Fleet,
    /// Where it is said what a build waits for.
    pub waits: Waits,
    /// Whether there is a next try.
    pub retries: Retries,
    /// Rings when something is to be solved anew.
    pub bus: Bus,
    /// What time it has become.
    pub clock: Clock,
    /// What is under way.
    pub work: ResolveWork,
}

/// The long pieces of work of this stage that are under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResolveWork {
    /// Makes locks, task by task.
    locks: KeyedTaskPool<TaskId>,
    /// Looks at batches.
    batches: Coalesced<i64>,
    /// Turns of the batches of each target.
    targets: Arc<KeyedSemaphore<String>>,
    memory: Arc<Memory>,
}

impl ResolveWork {
    /// With this pool for locks.
    #[must_use]
    pub fn new(locks: KeyedTaskPool<TaskId>) -> Self {
        let batches = Coalesced::new("order");
        let targets = Arc::new(KeyedSemaphore::new(BATCHES_AT_ONCE));
        Self { locks, batches, targets, memory: Arc::default() }
    }
}

impl work::Stage for ResolveStage {
    const NAME: Stage = Stage::Resolve;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for task in store.srpms_to_lock(now_us, SRPMS_AT_ONCE).await? {
            let build = store.build(task.build).await?.context("a task has a build")?;
            let (stage, store) = (self.clone(), store.clone());
            let (id, span, target) = (task.id, span(&task), build.target.clone());
            let work = async move { stage.lock_srpm(&store, &task, &build).await };
            self.work.locks.spawn_for(&target, id, work.instrument(span));
        }
        let batches = store.batches_to_order(now_us).await?;
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
        for (task, round) in store.rounds_to_lock(now_us).await? {
            let build = store.build(task.build).await?.context("a task has a build")?;
            let (stage, store) = (self.clone(), store.clone());
            let (id, span, target) = (task.id, span(&task), build.target.clone());
            let work = async move { stage.lock_round(&store, &task, &build, round).await };
            self.work.locks.spawn_for(&target, id, work.instrument(span));
        }
        Ok(())
    }
}

/// What solving said of the tasks of batches that wait, so that they are not solved again before
/// something has changed.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<TaskId, Remembered>>);

#[derive(Debug, Clone)]
struct Remembered {
    batch: i64,
    /// The count of the target's packages that it was solved with.
    packages: i64,
    /// How many rounds of requirements had been found.
    rounds: usize,
    result: Result<Lock, Unsolved>,
}

/// Why there is no lock, for the record and for the order of the batch.
#[derive(Debug, Clone)]
struct Unsolved {
    failure: Failure,
    /// Requirements of the build that nobody provides.
    missing: Vec<String>,
}

/// What a task is to be locked with.
#[derive(Debug)]
struct Wanted {
    requirements: Requirements,
    /// The round of its lock: 0, or one more than the last that was found.
    round: u32,
}

impl Wanted {
    /// What a task's root is to hold on its own architecture's terms, and what was found while it
    /// was built.
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

/// What solving gave for the tasks of a batch, with what each was to have.
type SolvedTasks = HashMap<TaskId, (Wanted, Result<Lock, Unsolved>)>;

/// What the lines of the log are about.
fn span(task: &Task) -> tracing::Span {
    tracing::info_span!("resolve", build = task.build.0, task = task.id.0)
}

impl ResolveStage {
    /// The SRPM is made in the base root, which needs nothing of any other build.
    async fn lock_srpm(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
    ) -> anyhow::Result<()> {
        match self.solve(store, build, task.arch, Requirements::default()).await {
            Ok(lock) => {
                let wanted = Wanted { requirements: Requirements::default(), round: 0 };
                self.record(store, task, build, &wanted, &lock).await
            }
            Err(Unsolved { failure, .. }) => self.failed(store, task, &failure).await,
        }
    }

    /// Solves the tasks of a batch, for all architectures, and locks those whose turn it is.
    async fn lock_batch(&self, store: &FencedStore, batch: i64) -> anyhow::Result<()> {
        // All of these: who waits for whom is a matter of the whole batch.
        let tasks = store.tasks_to_order(batch, self.clock.now_us()).await?;
        self.work.memory.keep_tasks(batch, &tasks);
        if let Some(late) = store.mate_without_srpm(batch).await? {
            for (task, _) in &tasks {
                let reason = format!("waits for the SRPM of build {} ({})", late.id, late.package);
                self.waits.set(task.build, reason);
            }
            return Ok(());
        }
        // A pass for `noarch` has its turn after the task of the same build and architecture.
        let (tasks, later) = one_of_each_arch(tasks);
        let (solved, results) = self.solve_batch(store, batch, &tasks).await?;
        // What is not accepted and waits for no turn here is built, or is tried again later.
        let unfinished = store.unaccepted_tasks(batch).await?;
        let moves: HashSet<BuildId> = unfinished
            .into_iter()
            .filter(|(_, task)| !results.contains_key(task) && !later.contains(task))
            .map(|(build, _)| build)
            .collect();
        let mates = mates(store, batch, |build| moves.contains(&build)).await?;
        self.take_turns(store, tasks, &solved, results, &mates);
        Ok(())
    }

    /// Solves each task of a batch, or remembers what solving it gave.
    async fn solve_batch(
        &self,
        store: &FencedStore,
        batch: i64,
        tasks: &[(Task, Build)],
    ) -> anyhow::Result<(Vec<Solved>, SolvedTasks)> {
        let mut found = store.requires_found(batch).await?;
        let mut all = Vec::with_capacity(tasks.len());
        let mut results = HashMap::new();
        for (task, build) in tasks {
            let srpm = store.srpm(task.build).await?.context("a build task has an SRPM")?;
            let wanted = Wanted::new(task, &srpm, found.remove(&task.id).unwrap_or_default());
            let result = self.work.memory.solve(self, store, task, build, &wanted).await?;
            let (build, arch, requires) = (task.build, task.arch, wanted.requires());
            all.push(Solved { build, arch, requires, root: root(&result) });
            results.insert(task.id, (wanted, result));
        }
        Ok((all, results))
    }

    /// Concludes the tasks whose turn it is, and says what the others wait for.
    fn take_turns(
        &self,
        store: &FencedStore,
        tasks: Vec<(Task, Build)>,
        solved: &[Solved],
        mut results: SolvedTasks,
        mates: &[Mate],
    ) {
        let mut turns = turns(solved, mates);
        let solved: HashMap<(BuildId, Arch), &Solved> =
            solved.iter().map(|solved| ((solved.build, solved.arch), solved)).collect();
        for (task, build) in tasks {
            let key = (task.build, task.arch);
            match (turns.remove(&key), results.remove(&task.id)) {
                (Some(Turn::Go), Some((wanted, result))) => {
                    self.waits.clear(task.build);
                    let (stage, store) = (self.clone(), store.clone());
                    let (id, span, target) = (task.id, span(&task), build.target.clone());
                    let work =
                        async move { stage.conclude(&store, &task, &build, &wanted, result).await };
                    self.work.locks.spawn_for(&target, id, work.instrument(span));
                }
                (Some(Turn::WaitFor(builds)), _) => {
                    self.waits.set(task.build, waits_for_text(solved[&key], &builds, mates));
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
        wanted: &Wanted,
        result: Result<Lock, Unsolved>,
    ) -> anyhow::Result<()> {
        match result {
            Ok(lock) => self.record(store, task, build, wanted, &lock).await,
            Err(Unsolved { failure, .. }) => {
                let failure = with_lost_mate(store, build, wanted, failure).await?;
                self.failed(store, task, &failure).await
            }
        }
    }

    /// Records that a task has no lock, to be tried again or for good.
    async fn failed(
        &self,
        store: &FencedStore,
        task: &Task,
        failure: &Failure,
    ) -> anyhow::Result<()> {
        let now = self.clock.now_us();
        Ok(self.retries.record(store, task.build, Some(task.id), failure, now).await?)
    }

    /// Answers what a running attempt found: with a wider lock, with the end of the build, or by taking
    /// it from its worker until other builds of its batch are done. It does not wait where it is: its
    /// place may be the one that the others need.
    async fn lock_round(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        round: u32,
    ) -> anyhow::Result<()> {
        let srpm = store.srpm(task.build).await?.context("a build task has an SRPM")?;
        let wanted = Wanted::new(task, &srpm, store.dynamic_requires(task.id).await?);
        let result = self.solve(store, build, task.arch, wanted.requirements.clone()).await;
        let found = Solved {
            build: task.build,
            arch: task.arch,
            requires: wanted.requires(),
            root: root(&result),
        };
        let mates = mates(store, build.batch, |_| false).await?;
        let fault = result.as_ref().err().map(|unsolved| unsolved.failure.fault);
        let workers = store.workers_at(task.build).await?;
        match turn_of_round(&found, &mates, fault) {
            Turn::Go => self.conclude(store, task, build, &wanted, result).await?,
            Turn::WaitFor(blockers) => {
                let reason = waits_for_text(&found, &blockers, &mates);
                self.postpone(store, task, round, reason).await?;
            }
        }
        for worker in workers {
            self.fleet.poke(&worker);
        }
        Ok(())
    }

    /// Takes a task from its worker until what it waits for is built.
    async fn postpone(
        &self,
        store: &FencedStore,
        task: &Task,
        round: u32,
        reason: String,
    ) -> anyhow::Result<()> {
        if store.postpone(task, round, self.clock.now_us()).await? {
            tracing::info!("the attempt found requirements that are still being built: {reason}");
            self.waits.set(task.build, reason);
            self.bus.ring();
        }
        Ok(())
    }

    /// Fetches what a lock names and records it: from then on its task can be given to a worker.
    async fn record(
        &self,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &Wanted,
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
            .add_lock_with(task.id, round, digest, (&build.target, &own), self.clock.now_us())
            .await?
        {
            // Something of it was withdrawn meanwhile: it is solved anew.
            tracing::info!("the root holds what was withdrawn since it was solved");
            self.bus.ring();
            return Ok(());
        }
        self.waits.clear(task.build);
        Ok(())
    }

    /// Records for each of the farm's own packages of a lock what the root would have instead. Only people
    /// look at it: no build waits for it, and an error of the resolver is logged.
    async fn record_taken(
        &self,
        store: &FencedStore,
        (resolver, target): (&Resolver, &Target),
        task: &Task,
        build: &Build,
        wanted: &Wanted,
        lock: &Lock,
    ) -> anyhow::Result<()> {
        let plain = self.targets.get(&build.target)?;
        let own_target = plain.for_build(&build.package, &lock.options);
        let mut requirements = with_additional(wanted.requirements.clone(), &own_target, build);
        requirements.modules = plain.modules_of(&build.package);
        let taken = resolver
            .taken(target, task.arch, &**store, requirements, self.clock.system())
            .await
            .inspect_err(|error| tracing::warn!(%error, "not known what the root has instead"));
        // The pool may have changed since the lock was made: only packages of the lock count.
        let own = own_packages(lock);
        let taken =
            taken.unwrap_or_default().into_iter().filter(|one| own.contains_key(&one.package));
        store.set_taken(task.id, &taken.map(taken_row).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Fetches the packages of a lock. Returns the lock whose packages are there: another one when the
    /// repositories have moved on.
    ///
    /// # Errors
    /// Outside, the database's; inside, why the packages cannot be had or make no root.
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
            tracing::info!(%error, "reading the metadata anew");
            let refreshed = resolver.refresh(target, lock.arch, Older::Refuse, now).await;
            for error in refreshed.err().into_iter().flatten() {
                tracing::warn!(%error, "no news of a repository");
            }
            match self.solve(store, build, task.arch, wanted_of(store, task, round).await?).await {
                // Nothing has changed: the repository names what it does not have.
                Ok(same) if same == lock => return Ok(Err(failure)),
                Ok(other) => lock = other,
                Err(Unsolved { failure, .. }) => return Ok(Err(failure)),
            }
        }
        unreachable!("the last round returns")
    }

    /// Records what a task needs of a worker, before it gets into its queue.
    async fn record_needs(
        &self,
        store: &FencedStore,
        target: &Target,
        task: &Task,
        build: &Build,
    ) -> anyhow::Result<()> {
        let learned = store.learned(&build.target, &build.package, task.arch, task.kind).await?;
        let learned = learned.within(target.limits_of(&build.package).memory_mib);
        let needs = learned::needs(&target.needs_of(&build.package), &learned);
        if !needs.is_nothing() {
            store.set_needs(task.id, &needs, self.clock.now_us()).await?;
        }
        Ok(())
    }

    async fn solve(
        &self,
        store: &FencedStore,
        build: &Build,
        arch: Arch,
        wanted: Requirements,
    ) -> Result<Lock, Unsolved> {
        let of_farm = |error: &dyn std::fmt::Display| Unsolved {
            failure: Failure::new(Fault::Farm, FailureStage::Resolve, error.to_string()),
            missing: Vec::new(),
        };
        let options = store.build_options(build.id()).await.map_err(|error| of_farm(&error))?;
        let plain = self.targets.get(&build.target).map_err(|error| of_farm(&error))?;
        let mut wanted = with_additional(wanted, &plain.for_build(&build.package, &options), build);
        wanted.modules = plain.modules_of(&build.package);
        let (resolver, target) = self.resolver(&plain, &options);
        let now = self.clock.system();
        if !options.repositories.is_empty() {
            // Nobody asks them for news from time to time.
            for error in
                resolver.refresh(&target, arch, Older::Refuse, now).await.err().unwrap_or_default()
            {
                tracing::warn!(target = target.name, %arch, "no news: {error}");
            }
        }
        let solved = resolver.resolve(&target, arch, &**store, wanted, now).await;
        let mut lock = solved.map_err(|error| unsolved(&error, arch))?;
        lock.options = options;
        Ok(lock)
    }

    /// Who solves a build and fetches its packages, and in which repositories. A build with repositories of
    /// its own gets pools of its own, which are dropped afterwards: nothing of them reaches other builds.
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

/// The builds of a batch that are neither accepted nor ended. `moves` says which of them do
/// something that waits for no turn.
async fn mates(
    store: &FencedStore,
    batch: i64,
    moves: impl Fn(BuildId) -> bool,
) -> anyhow::Result<Vec<Mate>> {
    let mut mates = Vec::new();
    for build in store.open_mates(batch).await? {
        let srpm = store.srpm(build.id()).await?;
        let predicts = srpm.as_ref().map(Srpm::predicts_anywhere).unwrap_or_default();
        let claims = store.open_claims(build.id()).await?;
        let (id, is_moving) = (build.id(), moves(build.id()));
        mates.push(Mate::new(id, build.package, predicts, &claims, is_moving));
    }
    Ok(mates)
}

/// A package's failure, with the build of the same request that was to make what is missing.
async fn with_lost_mate(
    store: &FencedStore,
    build: &Build,
    wanted: &Wanted,
    failure: Failure,
) -> anyhow::Result<Failure> {
    let lacking = lacking(&failure, &wanted.requires());
    if lacking.is_empty() {
        return Ok(failure);
    }
    for mate in store.lost_mates(build.batch).await? {
        let Some(srpm) = store.srpm(mate.id()).await? else { continue };
        let (build, predicts) = (mate.id(), srpm.predicts_anywhere());
        let lost = LostBatchMember { build, package: mate.package, predicts };
        if let Some(failure) = put_down_to(&failure, &lacking, &lost) {
            return Ok(failure);
        }
    }
    Ok(failure)
}

/// What the root of a task is to have.
async fn wanted_of(store: &FencedStore, task: &Task, round: u32) -> anyhow::Result<Requirements> {
    if task.kind == TaskKind::Srpm {
        return Ok(Requirements::default());
    }
    let srpm = store.srpm(task.build).await?.context("a build task has an SRPM")?;
    let found = if round > 0 { store.dynamic_requires(task.id).await? } else { Vec::new() };
    Ok(Wanted::new(task, &srpm, found).requirements)
}

/// The first task of each build and architecture, and the others.
fn one_of_each_arch(tasks: Vec<(Task, Build)>) -> (Vec<(Task, Build)>, HashSet<TaskId>) {
    let mut known = HashSet::new();
    let (first, later): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|(task, _)| known.insert((task.build, task.arch)));
    (first, later.into_iter().map(|(task, _)| task.id).collect())
}

/// What solving gave, as the order of the batch sees it.
fn root(result: &Result<Lock, Unsolved>) -> Root {
    match result {
        Ok(lock) => Root::Packages(lock.packages().cloned().collect()),
        Err(unsolved) => Root::Unsolvable(unsolved.missing.clone()),
    }
}

fn taken_row(taken: Taken) -> TakenRow {
    let Taken { package, instead } = taken;
    let (instead, repository) = instead.unzip();
    TakenRow { package, instead, repository: repository.unwrap_or_default() }
}

/// The farm's own packages of a root.
fn own_packages(lock: &Lock) -> HashMap<Nevra, Sha256> {
    let own = lock.packages().filter(|package| package.origin == FARM);
    own.map(|package| (package.nevra.clone(), package.digest)).collect()
}

/// What a build requires, with what its options or its target add to that.
fn with_additional(mut wanted: Requirements, target: &Target, build: &Build) -> Requirements {
    let more = target.additional_packages(&build.package);
    match wanted.layers.first_mut() {
        _ if more.is_empty() => {}
        Some(first) => first.extend(more.iter().cloned()),
        None => wanted.layers.push(more.to_vec()),
    }
    wanted
}

fn unsolved(error: &ResolveError, arch: Arch) -> Unsolved {
    let excerpt = error.details().iter().take(10).cloned().collect();
    let fault = error.fault();
    // A build may fail on one architecture of several: the message says on which.
    let message = match fault {
        Fault::Package => format!("no build root for {arch}: {error}"),
        Fault::Worker | Fault::Farm => error.to_string(),
    };
    let failure = Failure::new(fault, FailureStage::Resolve, message).with_excerpt(excerpt);
    Unsolved { failure, missing: error.missing() }
}

impl Memory {
    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<TaskId, Remembered>> {
        self.0.lock()
    }

    /// Forgets the batches that wait no more.
    fn keep_batches(&self, batches: &[(i64, String)]) {
        let waiting: HashSet<i64> = batches.iter().map(|(batch, _)| *batch).collect();
        self.lock().retain(|_, known| waiting.contains(&known.batch));
    }

    /// Forgets the tasks of a batch that wait no more.
    fn keep_tasks(&self, batch: i64, tasks: &[(Task, Build)]) {
        let waiting: HashSet<TaskId> = tasks.iter().map(|(task, _)| task.id).collect();
        self.lock().retain(|id, known| known.batch != batch || waiting.contains(id));
    }

    /// Solves a task, or remembers what solving it said while its target had the same packages.
    async fn solve(
        &self,
        stage: &ResolveStage,
        store: &FencedStore,
        task: &Task,
        build: &Build,
        wanted: &Wanted,
    ) -> anyhow::Result<Result<Lock, Unsolved>> {
        let packages = store.package_count(&build.target).await?;
        let rounds = wanted.requirements.layers.len();
        let is_same = |known: &&Remembered| known.packages == packages && known.rounds == rounds;
        let known = self.lock().get(&task.id).filter(is_same).cloned();
        if let Some(known) = known {
            return Ok(known.result);
        }
        let result = stage.solve(store, build, task.arch, wanted.requirements.clone()).await;
        // What the farm could not do says nothing of the package, and may pass.
        if !matches!(&result, Err(Unsolved { failure, .. }) if failure.fault == Fault::Farm) {
            let (batch, result) = (build.batch, result.clone());
            self.lock().insert(task.id, Remembered { batch, packages, rounds, result });
        }
        Ok(result)
    }
}
