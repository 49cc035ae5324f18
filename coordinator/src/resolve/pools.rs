//! One solver pool for each target and architecture: made when first needed, brought up to date
//! when repository metadata or the farm's own packages change.

use std::collections::HashSet;

use rpmfarm_core::modules::{ModuleChoice, Modules};
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, Lock, Nevra};
use rpmfarm_solv::{Pool, Repository};

use super::checks::text_of;
use super::external::ExternalRepo;
use super::farm::{FARM, FarmError, FarmPackage, Loaded};
use super::lock::{self, LockError, Requirements, SharedLayers};
use super::metadata::RepoMetadata;
use crate::blobs::Blobs;
use std::path::Path;

/// The farm's own packages win over all others, whatever the versions: what was just rebuilt is
/// what the next build must be built with.
const FARM_PRIORITY: i32 = i32::MIN;

/// The pool is made anew after so many additions of packages; each leaves a table of its own
/// behind, which every look-up passes through.
const MAX_ADDITIONS: usize = 256;

/// What a pool is made of.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// The external repositories with their metadata, in the target's order.
    pub(super) external: Vec<(ExternalRepo, RepoMetadata)>,
    /// Generation of the farm's packages.
    pub(super) generation: i64,
    /// The farm's packages; `None` when the generation is the one that the pool has.
    pub(super) packages: Option<Vec<FarmPackage>>,
}

/// More than any repository has; Enterprise Linux 8 has about 10 MB.
const MAX_MODULES: u64 = 128 << 20;

/// A pool, or none yet.
#[derive(Debug, Default)]
pub(super) struct TargetPool {
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    pool: Pool,
    /// The metadata that it was made of.
    external: Vec<RepoMetadata>,
    farm: Loaded,
    generation: Option<i64>,
    shared: SharedLayers,
}

/// Why a pool cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolsError {
    #[error(transparent)]
    Farm(#[from] FarmError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl From<rpmfarm_solv::PoolError> for PoolsError {
    fn from(error: rpmfarm_solv::PoolError) -> Self {
        Self::Lock(LockError::Metadata(error.to_string()))
    }
}

impl TargetPool {
    /// Whether the pool is made of this, so that the farm's packages need not be listed.
    pub(super) fn has(&self, external: &[(ExternalRepo, RepoMetadata)], generation: i64) -> bool {
        self.made.as_ref().is_some_and(|made| {
            made.is_of(external)
                && made.generation == Some(generation)
                && made.farm.additions <= MAX_ADDITIONS
        })
    }

    /// Brings the pool up to date and solves. Takes time: not for a thread of the runtime.
    ///
    /// # Errors
    /// When metadata cannot be read, or there is no solution.
    pub(super) fn lock(
        &mut self,
        target: &Target,
        arch: Arch,
        content: &Content,
        wanted: &Requirements,
        blobs: &Blobs,
    ) -> Result<Lock, PoolsError> {
        let made = self.up_to_date(target, arch, content, &wanted.modules, blobs)?;
        Ok(lock::make(&mut made.pool, &mut made.shared, target, arch, wanted)?)
    }

    /// Brings the pool up to date and looks for packages of the farm that lack something.
    ///
    /// # Errors
    /// When metadata cannot be read.
    pub(super) fn lacking(
        &mut self,
        target: &Target,
        arch: Arch,
        content: &Content,
        (modules, shown): (&ModuleChoice, &HashSet<Nevra>),
        blobs: &Blobs,
    ) -> Result<Vec<(Nevra, String)>, PoolsError> {
        let made = self.up_to_date(target, arch, content, modules, blobs)?;
        Ok(made.pool.lacking(FARM, shown)?)
    }

    fn up_to_date(
        &mut self,
        target: &Target,
        arch: Arch,
        content: &Content,
        modules: &ModuleChoice,
        blobs: &Blobs,
    ) -> Result<&mut Made, PoolsError> {
        // Taken out first: what fails half way must not be used again.
        let kept = self
            .made
            .take()
            .filter(|made| made.is_of(&content.external) && made.farm.additions <= MAX_ADDITIONS);
        let mut made = match kept {
            Some(made) => made,
            None => Made::new(target, arch, &content.external, modules)?,
        };
        if let Some(packages) = &content.packages {
            if made.farm.update(&mut made.pool, arch, packages, blobs)? {
                made.shared = SharedLayers::default();
            }
            made.generation = Some(content.generation);
        }
        made.pool.prepare()?;
        Ok(self.made.insert(made))
    }
}

impl Made {
    fn new(
        target: &Target,
        arch: Arch,
        external: &[(ExternalRepo, RepoMetadata)],
        choice: &ModuleChoice,
    ) -> Result<Self, PoolsError> {
        let mut pool = Pool::new(arch);
        let mut modules = Vec::new();
        for (repo, metadata) in external {
            let about = Repository {
                id: repo.id.clone(),
                priority: i32::try_from(repo.priority).unwrap_or(i32::MAX),
                cost: i32::try_from(repo.cost).unwrap_or(i32::MAX),
                excludes: repo.excludes.clone(),
                includes: repo.includes.clone(),
                module_hotfixes: repo.module_hotfixes,
            };
            pool.load_repository(about, &metadata.primary, metadata.filelists.as_deref())?;
            if let Some(path) = &metadata.modules {
                modules.push((repo.id.clone(), read_modules(&repo.id, path)?));
            }
        }
        let platform = target.module_platform_id.as_ref();
        pool.choose_modules(&modules, choice, platform).map_err(|source| LockError::Modules {
            target: target.name.clone(),
            arch,
            source,
        })?;
        pool.add_repository(Repository {
            id: FARM.to_owned(),
            priority: FARM_PRIORITY,
            // What the farm has built is to be built with, whatever module it belongs to.
            module_hotfixes: true,
            ..Repository::default()
        })?;
        tracing::info!(%arch, packages = pool.len(), "made a solver pool");
        Ok(Self {
            pool,
            external: external.iter().map(|(_, metadata)| metadata.clone()).collect(),
            farm: Loaded::default(),
            generation: None,
            shared: SharedLayers::default(),
        })
    }

    fn is_of(&self, external: &[(ExternalRepo, RepoMetadata)]) -> bool {
        self.external.iter().eq(external.iter().map(|(_, metadata)| metadata))
    }
}

/// The modules of a repository.
fn read_modules(repository: &str, path: &Path) -> Result<Modules, LockError> {
    let failed = |why: String| {
        LockError::Metadata(format!("repository `{repository}`: modules.yaml: {why}"))
    };
    let text = text_of(path, MAX_MODULES).map_err(|error| failed(error.to_string()))?;
    Modules::parse(&text).map_err(|error| failed(error.to_string()))
}
