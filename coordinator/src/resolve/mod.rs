//! The stage `resolve`: from build requirements to a lock, and the packages that it names.
//!
//! Owns the metadata of external repositories, the solver pools, and the cache of external
//! packages. It must not know what a lock is for. Files from the top:
//!
//! - `pass` is the stage, [`ResolveStage`]: what is solved, and what is recorded. `turns` examines
//!   batches and starts the work that is due, by the orders that [`Batches`] keeps in memory:
//!   `batch_order` has the order of one batch, and `pool_news` reads new packages that may change
//!   it. They alone know of builds. `refresh` asks repositories for new metadata periodically.
//! - [`Resolver`] is the engine, which everyone shares: its calls are async, and what takes time
//!   runs on threads that may block. The metadata of a repository are fetched when a target is
//!   first resolved, and again only by [`Resolver::refresh`].
//! - `metadata` fetches and keeps what repositories say, with `external`, `mirrors`, `download`,
//!   `repomd`, `href` and `checks`; `rejection` says why something is not taken.
//! - `solver` is the process that solves; `pools` are what it solves in, `farm` and `lock` what
//!   goes in and comes out, `proof` what is asked before a channel changes. What a solver has read of a repository is kept for all others, beside
//!   the metadata (`rpmfarm_solv::SolverCache`).
//! - `fetch` gets the packages of a lock, and `file_conflicts` checks them as rpm will.

mod batch_order;
mod batches;
mod checks;
mod download;
mod external;
mod farm;
mod fetch;
mod file_conflicts;
pub mod href;
mod lock;
mod metadata;
mod mirrors;
mod pass;
mod pool_news;
mod pools;
mod proof;
mod refresh;
mod rejection;
pub mod repomd;
pub mod solver;
mod turns;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::modules::ModuleChoice;
use rpmfarm_core::owners::{KnownOwners, OwnerQuery};
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, BuildOptions, Fault, Lock, Nevra};
use rpmfarm_solv::Requirer;
use tokio::sync::OwnedMutexGuard;

pub use batches::Batches;
pub use download::{DownloadError, DownloadTimeouts, SinkError};
pub use external::{ExternalRepo, ExternalRepoError, RepositoryLocation};
pub use farm::{FARM, FarmError, FarmPackage, FarmPackages, FarmUpdate};
pub use fetch::{FetchError, FetchErrorKind};
pub use file_conflicts::RootError;
pub use lock::{FarmReplacement, LockError, Requirements};
pub use metadata::{AgePolicy, RepoMetadata};
pub use mirrors::{metalink, mirrorlist};
pub use pass::{ResolveStage, ResolveWork};
pub use proof::{ContentFindings, ContentProof, SharedPath};
pub use refresh::Refresh;
pub use rejection::{MetadataError, MetadataErrorKind, MirrorListError};

use crate::blobs::Blobs;
use crate::blocking;
use crate::store::StoreError;
use download::Downloader;
use fetch::Fetcher;
use file_conflicts::FileConflicts;
use metadata::{MetadataCache, check_age};
use mirrors::MirrorLists;
use pools::{PoolContent, PoolsError};
use solver::{SolverProcess, SolverProgram, SolverSetup};

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The definition of a repository cannot be used.
    #[error(transparent)]
    Definition(#[from] ExternalRepoError),
    /// The metadata of a repository are not cached and cannot be fetched.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The farm's own packages cannot be listed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The farm's own packages cannot be given to the solver.
    #[error(transparent)]
    Farm(#[from] FarmError),
    /// There is no solution.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The solver ended while it worked on something that the build has no part in.
    #[error("{0}")]
    Solver(String),
}

impl From<PoolsError> for ResolveError {
    fn from(error: PoolsError) -> Self {
        match error {
            PoolsError::Farm(error) => Self::Farm(error),
            PoolsError::Lock(error) => Self::Lock(error),
            PoolsError::Died { how, .. } => Self::Solver(how),
        }
    }
}

/// One failed try.
enum ResolveTryError {
    Pools(PoolsError),
    Other(ResolveError),
}

impl From<PoolsError> for ResolveTryError {
    fn from(error: PoolsError) -> Self {
        Self::Pools(error)
    }
}

impl From<ResolveError> for ResolveTryError {
    fn from(error: ResolveError) -> Self {
        Self::Other(error)
    }
}

impl From<ResolveTryError> for ResolveError {
    fn from(failed: ResolveTryError) -> Self {
        match failed {
            ResolveTryError::Pools(error) => error.into(),
            ResolveTryError::Other(error) => error,
        }
    }
}

impl ResolveError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Lock(
                LockError::Package(_) | LockError::Malformed(_) | LockError::Fatal { .. },
            ) => Fault::Package,
            _ => Fault::Farm,
        }
    }

    /// The requirements of the build itself that nothing provides. Empty when something else
    /// failed.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let Self::Lock(LockError::Package(found)) = self else { return Vec::new() };
        let of_build = found.missing.iter().filter(|missing| missing.by == Requirer::Request);
        of_build.map(|missing| missing.requirement.clone()).collect()
    }

    /// The chains of requirements that lead to each missing or conflicting package, one line each.
    #[must_use]
    pub fn details(&self) -> &[String] {
        match self {
            Self::Lock(LockError::Package(found) | LockError::Root { source: found, .. }) => {
                &found.details
            }
            _ => &[],
        }
    }
}

/// Resolves requirements into locks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// The directory of the target files, to which the paths of their keys are relative.
    targets: PathBuf,
    blobs: Blobs,
    metadata: MetadataCache,
    fetcher: Fetcher,
    clashes: Arc<FileConflicts>,
    /// The program that is started as solver.
    program: SolverProgram,
    /// Where solver data of external repositories are kept.
    solver_data: PathBuf,
    environments: Arc<Mutex<HashMap<SolverEnvKey, Arc<SolverEnv>>>>,
}

type SharedSolver = Arc<tokio::sync::Mutex<SolverProcess>>;

/// A target's name and an architecture.
type SolverEnvKey = (String, Arch);

/// Everything that builds of one target and architecture are solved with.
#[derive(Debug)]
struct SolverEnv {
    /// The target from which it was made.
    target: Target,
    external: Vec<ExternalRepo>,
    /// One solver for each choice of module streams; most targets have only the one without a
    /// choice.
    solvers: Mutex<HashMap<ModuleChoice, SharedSolver>>,
    /// Held by a refresh, so that there is one at a time.
    refreshing: tokio::sync::Mutex<()>,
}

impl SolverEnv {
    fn solver(&self, modules: &ModuleChoice, new: impl FnOnce() -> SolverProcess) -> SharedSolver {
        let mut solvers = self.solvers.lock();
        let new = || Arc::new(tokio::sync::Mutex::new(new()));
        Arc::clone(solvers.entry(modules.clone()).or_insert_with(new))
    }
}

/// A locked solver, with the content that its pool should have.
struct LockedSolver {
    solver: OwnedMutexGuard<SolverProcess>,
    /// That of the target's packages, read before `content`.
    generation: i64,
    content: PoolContent,
}

impl LockedSolver {
    /// Asks the solver, on a thread that may block.
    async fn ask<T: Send + 'static>(
        self,
        ask: impl FnOnce(&mut SolverProcess, PoolContent) -> T + Send + 'static,
    ) -> T {
        let Self { mut solver, content, .. } = self;
        let answer = blocking::run(move || ask(&mut solver, content)).await;
        answer.expect("asking the solver does not panic")
    }
}

impl Resolver {
    /// A resolver that keeps repository metadata in `cache` and packages in `blobs`. `targets` is
    /// the directory of the target files, and `program` is started as solver ([`solver::program`]).
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(
        cache: impl Into<PathBuf>,
        targets: impl Into<PathBuf>,
        blobs: Blobs,
        patience: DownloadTimeouts,
        program: PathBuf,
    ) -> Result<Self, reqwest::Error> {
        let cache: PathBuf = cache.into();
        let downloader = Downloader::new(patience)?;
        let mirrors = MirrorLists::new(downloader.clone());
        Ok(Self {
            targets: targets.into(),
            // No repository has a directory of this name: all have digits of a digest behind
            // theirs.
            solver_data: cache.join("solver"),
            metadata: MetadataCache::new(cache, downloader.clone(), mirrors.clone()),
            fetcher: Fetcher::new(blobs.clone(), downloader, mirrors),
            blobs,
            clashes: Arc::default(),
            program: SolverProgram::Process(program),
            environments: Arc::default(),
        })
    }

    /// The same with a simulated solver. No repository is requested.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(&self, solver: Arc<dyn solver::SimulatedSolver>) -> Self {
        let (program, clashes) = (SolverProgram::Simulated(solver), Arc::default());
        Self { program, clashes, environments: Arc::default(), ..self.clone() }
    }

    /// The same with pools of its own, which are dropped with it: for a target with repositories
    /// that only one build has.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { environments: Arc::default(), ..self.clone() }
    }

    /// Solves the requirements of a build. The lock is the same for the same requirements as long
    /// as neither repositories nor the farm's packages change.
    ///
    /// # Errors
    /// When a package cannot be provided; [`ResolveError::fault`] says whose fault that is.
    pub async fn resolve(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        wanted: Requirements,
        now: SystemTime,
    ) -> Result<Lock, ResolveError> {
        match self.lock(target, arch, farm, wanted.clone(), now).await {
            // The solver may have died by chance, as when the host had no memory left: one more
            // try.
            Err(ResolveTryError::Pools(PoolsError::Died { ready: true, .. })) => {}
            solved => return Ok(solved?),
        }
        match self.lock(target, arch, farm, wanted.clone(), now).await {
            Err(ResolveTryError::Pools(PoolsError::Died { how, ready: true })) => {
                let requirement = wanted.most_complex();
                Err(LockError::Fatal { how, requirement }.into())
            }
            solved => Ok(solved?),
        }
    }

    async fn lock(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        wanted: Requirements,
        now: SystemTime,
    ) -> Result<Lock, ResolveTryError> {
        let modules = wanted.modules.clone();
        let ready = self.ready(target, arch, &modules, farm, now).await?;
        Ok(ready.ask(move |solver, content| solver.lock(content, wanted)).await?)
    }

    /// The `noarch` packages, of those that the farm would show on an architecture of a target,
    /// with a requirement that nothing provides: neither the external repositories nor the shown
    /// packages.
    ///
    /// # Errors
    /// When the metadata of the repositories are not cached and cannot be fetched.
    pub async fn lacking(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        shown: HashSet<Nevra>,
        now: SystemTime,
    ) -> Result<Vec<(Nevra, String)>, ResolveError> {
        // Clients of the repositories have the target's modules, not those that a package chose.
        let modules = target.modules_of("");
        let ready = self.ready(target, arch, &modules, farm, now).await?;
        Ok(ready.ask(move |solver, content| solver.lacking(content, shown)).await?)
    }

    /// Compares two contents of a channel on one architecture.
    ///
    /// # Errors
    /// When the metadata of the repositories are not cached and cannot be fetched, or the solver
    /// ended.
    pub async fn prove(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        question: ContentProof,
        now: SystemTime,
    ) -> Result<ContentFindings, ResolveError> {
        // Clients of the repositories have the target's modules, as above.
        let modules = target.modules_of("");
        let ready = self.ready(target, arch, &modules, farm, now).await?;
        Ok(ready.ask(move |solver, content| solver.prove(content, question)).await?)
    }

    /// Fetches packages of external repositories into the blob store.
    ///
    /// # Errors
    /// For the first package that cannot be fetched.
    pub async fn fetch_external(
        &self,
        target: &Target,
        arch: Arch,
        packages: Vec<LockedPackage>,
        now: SystemTime,
    ) -> Result<(), FetchLockError> {
        let lock = Lock {
            target: target.name.clone(),
            arch,
            bootstrap: Layer::default(),
            layers: vec![Layer::new(packages)],
            options: BuildOptions::default(),
        };
        self.fetch(target, &lock, now).await
    }

    /// Finds the owners of the names in the query, in external repositories and among the farm's
    /// own packages. Also returns the generation of these. `paths` are the paths that builds of the
    /// target have required.
    ///
    /// # Errors
    /// When the metadata of the repositories are not cached and cannot be fetched.
    pub async fn owners(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        (questions, paths): (&OwnerQuery, &BTreeSet<String>),
        now: SystemTime,
    ) -> Result<(KnownOwners, i64), ResolveError> {
        let modules = target.modules_of("");
        let ready = self.ready(target, arch, &modules, farm, now).await?;
        let generation = ready.generation;
        let (questions, paths) = (questions.clone(), paths.clone());
        let ask =
            move |solver: &mut SolverProcess, content| solver.owners(content, questions, paths);
        Ok((ready.ask(ask).await?, generation))
    }

    /// For each of the farm's packages in a root, the package that the root would have without it.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn taken(
        &self,
        target: &Target,
        arch: Arch,
        farm: &impl FarmPackages,
        wanted: Requirements,
        now: SystemTime,
    ) -> Result<Vec<FarmReplacement>, ResolveError> {
        let modules = wanted.modules.clone();
        let ready = self.ready(target, arch, &modules, farm, now).await?;
        Ok(ready.ask(move |solver, content| solver.taken(content, wanted)).await?)
    }

    /// Fetches the missing packages of a lock into the blob store.
    ///
    /// # Errors
    /// For the first package that cannot be fetched.
    pub async fn fetch(
        &self,
        target: &Target,
        lock: &Lock,
        now: SystemTime,
    ) -> Result<(), FetchLockError> {
        let environment = self.environment(target, lock.arch)?;
        Ok(self.fetcher.lock(&environment.external, lock, now).await?)
    }

    /// Finds what rpm would refuse in a root whose packages are all in the blob store.
    ///
    /// # Errors
    /// The first problem; [`RootError::fault`] says whose fault it is.
    pub async fn check_root(&self, target: &Target, lock: &Lock) -> Result<(), RootError> {
        let hotfixes: Vec<String> = target
            .repositories
            .iter()
            .filter(|repository| repository.module_hotfixes)
            .map(|repository| repository.id.clone())
            .collect();
        let (clashes, blobs, lock) = (Arc::clone(&self.clashes), self.blobs.clone(), lock.clone());
        let is_masked = move |origin: &str| !hotfixes.iter().any(|id| id == origin);
        let check = move || clashes.check(&lock, &blobs, is_masked);
        blocking::run(check).await.expect("reading headers does not panic")
    }

    /// Asks all repositories of a target for new metadata, and takes them over. Returns whether
    /// there were any. A repository that fails does not keep others from being refreshed.
    ///
    /// # Errors
    /// For each repository that failed; its cached metadata stay.
    pub async fn refresh(
        &self,
        target: &Target,
        arch: Arch,
        older: AgePolicy,
        now: SystemTime,
    ) -> Result<bool, Vec<ResolveError>> {
        let environment = self.environment(target, arch).map_err(|error| vec![error.into()])?;
        let _turn = environment.refreshing.lock().await;
        let mut changed = false;
        let mut failed: Vec<ResolveError> = Vec::new();
        for repo in &environment.external {
            let known = self.metadata.known(repo, now).await;
            match self.metadata.refresh(repo, older, now).await {
                Ok(new) => changed |= !known.is_ok_and(|known| known == Some(new)),
                Err(error) => failed.push(error.into()),
            }
        }
        if failed.is_empty() { Ok(changed) } else { Err(failed) }
    }

    async fn ready(
        &self,
        target: &Target,
        arch: Arch,
        modules: &ModuleChoice,
        farm: &impl FarmPackages,
        now: SystemTime,
    ) -> Result<LockedSolver, ResolveError> {
        let environment = self.environment(target, arch)?;
        let external = self.external_metadata(&environment, now).await?;
        let external: Vec<_> =
            external.into_iter().map(|(repo, metadata)| (repo.for_solver(), metadata)).collect();
        let start = || SolverSetup {
            target: environment.target.clone(),
            arch,
            modules: modules.clone(),
            blobs: self.blobs.root().to_owned(),
            cache: self.solver_data.clone(),
        };
        let shared =
            environment.solver(modules, || SolverProcess::new(self.program.clone(), start()));
        // Listed under the solver's lock, so that no older list replaces a newer one.
        let mut solver = Arc::clone(&shared).lock_owned().await;
        if solver.is_worn(&external) {
            let all = farm.update(&target.name, None).await?;
            solver.begin_renewal();
            self.renew(shared, start(), PoolContent { external: external.clone(), farm: all });
        }
        let generation = farm.generation(&target.name).await?;
        let farm = farm.update(&target.name, solver.version(&external)).await?;
        Ok(LockedSolver { solver, generation, content: PoolContent { external, farm } })
    }

    /// Prepares a second process while the first one solves, and then continues with the second.
    /// Changes made meanwhile are sent with its next question.
    fn renew(&self, shared: SharedSolver, setup: SolverSetup, content: PoolContent) {
        let program = self.program.clone();
        tokio::task::spawn_blocking(move || {
            let (target, arch) = (setup.target.name.clone(), setup.arch);
            let mut next = SolverProcess::new(program, setup);
            let prepared = next.prepare(content);
            if let Err(error) = &prepared {
                tracing::warn!(target, %arch, "no new solver pool beside the old one: {error}");
            }
            shared.blocking_lock().end_renewal(prepared.is_ok().then_some(next));
        });
    }

    /// The metadata of all external repositories; those that are not cached are fetched.
    async fn external_metadata(
        &self,
        environment: &SolverEnv,
        now: SystemTime,
    ) -> Result<Vec<(ExternalRepo, RepoMetadata)>, MetadataError> {
        let mut all = Vec::new();
        #[cfg(feature = "simulation")]
        if matches!(self.program, SolverProgram::Simulated(_)) {
            return Ok(all);
        }
        for repo in &environment.external {
            let mut metadata = self.metadata.known(repo, now).await?;
            if metadata.is_none() {
                let _turn = environment.refreshing.lock().await;
                metadata = self.metadata.known(repo, now).await?;
                if metadata.is_none() {
                    metadata = Some(self.metadata.refresh(repo, AgePolicy::Refuse, now).await?);
                }
            }
            let Some(metadata) = metadata else { continue };
            check_age(repo, &metadata, now)?;
            all.push((repo.clone(), metadata));
        }
        Ok(all)
    }

    fn environment(
        &self,
        target: &Target,
        arch: Arch,
    ) -> Result<Arc<SolverEnv>, ExternalRepoError> {
        let mut environments = self.environments.lock();
        let key = (target.name.clone(), arch);
        if let Some(known) = environments.get(&key).filter(|known| known.target == *target) {
            return Ok(Arc::clone(known));
        }
        let environment = Arc::new(SolverEnv {
            target: target.clone(),
            external: external::load(target, arch, &self.targets)?,
            solvers: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        });
        environments.insert(key, Arc::clone(&environment));
        Ok(environment)
    }
}

impl FetchLockError {
    /// Whether the server answers that there is no such file: its repository may have newer
    /// packages.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Package(FetchError {
                source: FetchErrorKind::Download(DownloadError::Status { status: 404 | 410, .. }),
                ..
            })
        )
    }
}

/// Why a package of a lock cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchLockError {
    /// The definition of a repository cannot be used.
    #[error(transparent)]
    Definition(#[from] ExternalRepoError),
    /// A package cannot be fetched.
    #[error(transparent)]
    Package(#[from] FetchError),
}
