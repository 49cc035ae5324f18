//! A solver pool of one target and architecture: made at its first use, and updated when repository
//! metadata or the farm's own packages change.
//!
//! It lives in a process of its own ([`super::solver`]), and must not know that.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rpmfarm_core::modules::{ModuleChoice, Modules};
use rpmfarm_core::owners::{KnownOwners, Owner, OwnerQuery};
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, Lock, Nevra};
use rpmfarm_solv::{Pool, PoolPackage, Repository, RepositoryFiles, SolverCache};
use serde::{Deserialize, Serialize};

use super::checks::text_of;
use super::farm::{FARM, FarmError, FarmUpdate, LoadedFarmPackages};
use super::lock::{self, FarmReplacement, LockError, Requirements, SharedLayers};
use super::metadata::RepoMetadata;
use super::proof::{self, CONTENTS, ContentFindings, ContentProof};
use crate::blobs::Blobs;
use std::path::Path;

/// The priority of the farm's own packages: above all others, whatever the versions, because the
/// next build must use what was just rebuilt. Bootstrap and base roots are solved without them.
const FARM_PRIORITY: i32 = i32::MIN;

/// After so many additions of packages the pool is made again; each addition leaves a table behind,
/// which every lookup searches. Before that, a new pool is prepared while the old one is in use.
pub(super) const MAX_ADDITIONS: usize = 256;

/// The content of a pool: metadata and the farm's packages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PoolContent {
    /// The external repositories with their metadata, in the target's order.
    pub(super) external: Vec<(Repository, RepoMetadata)>,
    /// The changes of the farm's packages since the pool was last updated; all of them for a new
    /// pool.
    pub(super) farm: FarmUpdate,
}

/// The largest `modules.yaml`, in bytes: that of Enterprise Linux 8 has about 10 MB.
const MAX_MODULES: u64 = 128 << 20;

/// A pool that is up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolStats {
    /// How many packages it has.
    pub(super) packages: usize,
    /// How often packages of the farm were added.
    pub(super) additions: usize,
}

fn unprepared() -> PoolsError {
    LockError::Metadata("the solver was asked before its pool was prepared".into()).into()
}

/// A pool, or none yet.
#[derive(Debug)]
pub(super) struct TargetPool {
    /// Where solver data of external repositories are kept.
    cache: SolverCache,
    made: Option<LoadedPool>,
    /// Warnings for the operator about the packages that were read.
    warnings: Vec<String>,
}

#[derive(Debug)]
struct LoadedPool {
    pool: Pool,
    /// The metadata that it was made from.
    external: Vec<RepoMetadata>,
    farm: LoadedFarmPackages,
    shared: SharedLayers,
}

/// Why a pool cannot be made.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub(super) enum PoolsError {
    #[error(transparent)]
    Farm(#[from] FarmError),
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The process with the pool ended.
    #[error("{how}")]
    Died {
        /// How it ended, and during what.
        how: String,
        /// Whether it had done everything that the build itself has no part in.
        ready: bool,
    },
}

impl From<rpmfarm_solv::PoolError> for PoolsError {
    fn from(error: rpmfarm_solv::PoolError) -> Self {
        Self::Lock(LockError::Metadata(error.to_string()))
    }
}

impl TargetPool {
    /// No pool yet. Solver data of external repositories are kept in `cache`, which all pools
    /// share.
    pub(super) const fn new(cache: SolverCache) -> Self {
        Self { cache, made: None, warnings: Vec::new() }
    }

    /// Takes the warnings for the operator since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        if let Some(made) = &mut self.made {
            self.warnings.append(&mut made.pool.take_warnings());
        }
        std::mem::take(&mut self.warnings)
    }

    /// Updates the pool, and solves the roots that all builds share. An error here is never the
    /// fault of one build.
    ///
    /// # Errors
    /// When metadata cannot be read, or there is no solution.
    pub(super) fn prepare(
        &mut self,
        target: &Target,
        arch: Arch,
        content: &PoolContent,
        modules: &ModuleChoice,
        blobs: &Blobs,
    ) -> Result<PoolStats, PoolsError> {
        let made = self.up_to_date(target, arch, content, modules, blobs)?;
        Ok(PoolStats { packages: made.pool.len(), additions: made.farm.additions })
    }

    /// Reads file lists if one of these requirements needs them: that may take longer than solving
    /// may.
    ///
    /// # Errors
    /// When file lists that are needed cannot be read.
    pub(super) fn prepare_for<'a>(
        &mut self,
        requirements: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        Ok(made.pool.prepare_for(requirements)?)
    }

    /// Solves, with a pool that was prepared.
    ///
    /// # Errors
    /// When there is no solution.
    pub(super) fn lock(
        &mut self,
        target: &Target,
        arch: Arch,
        wanted: &Requirements,
    ) -> Result<Lock, PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        Ok(lock::make_lock(&mut made.pool, &mut made.shared, target, arch, wanted)?)
    }

    /// Solves the roots that all builds share.
    ///
    /// # Errors
    /// When there is no solution.
    pub(super) fn share(&mut self, target: &Target, arch: Arch) -> Result<(), PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        Ok(made.shared.solve(&mut made.pool, target, arch)?)
    }

    /// Finds packages of the farm with a missing requirement, in a pool that was prepared.
    ///
    /// # Errors
    /// When file lists that are needed cannot be read.
    pub(super) fn lacking(
        &mut self,
        shown: &HashSet<Nevra>,
    ) -> Result<Vec<(Nevra, String)>, PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        Ok(made.pool.lacking(FARM, shown)?)
    }

    /// Adds what the contents of a proof have beside the pool, and reads file lists.
    ///
    /// # Errors
    /// When metadata cannot be read.
    pub(super) fn prepare_for_proof(
        &mut self,
        arch: Arch,
        question: &ContentProof,
        blobs: &Blobs,
    ) -> Result<(), PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        // An addition leaves a table behind, as those of the farm's packages do.
        let added = proof::add_lacking(&mut made.pool, &made.farm, arch, question, blobs)?;
        made.farm.additions += usize::from(added);
        Ok(made.pool.prepare_for_proof()?)
    }

    /// Compares two contents of a channel, in a pool that was prepared for it.
    ///
    /// # Errors
    /// When metadata cannot be read.
    pub(super) fn prove(
        &mut self,
        target: &Target,
        question: &ContentProof,
    ) -> Result<ContentFindings, PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        let found = proof::prove(&mut made.pool, target, question);
        if proof::remove_added(&mut made.pool, &made.farm, question)? {
            made.shared = std::mem::take(&mut made.shared).renewed(&made.pool, target);
        }
        Ok(found?)
    }

    /// Finds the owners of the names in the query, in a pool that was prepared. `paths` are the
    /// paths that builds of the target have required.
    ///
    /// # Errors
    /// When file lists that are needed cannot be read.
    pub(super) fn owners(
        &mut self,
        questions: &OwnerQuery,
        paths: &BTreeSet<String>,
    ) -> Result<KnownOwners, PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        let asked = questions.capabilities.intersection(paths).cloned().collect();
        let capabilities = made.pool.providing(&questions.capabilities, &asked)?;
        let names = made.pool.named(&questions.names);
        let paths = made.pool.having(&questions.paths);
        Ok(KnownOwners {
            names: owners(names),
            capabilities: owners(capabilities),
            paths: owners(paths),
            ..KnownOwners::default()
        })
    }

    /// For each package of the farm in a lock, the package that the root would have without it, in
    /// a pool that was prepared.
    ///
    /// # Errors
    /// When the root can no longer be solved.
    pub(super) fn taken(
        &mut self,
        target: &Target,
        arch: Arch,
        wanted: &Requirements,
    ) -> Result<Vec<FarmReplacement>, PoolsError> {
        let made = self.made.as_mut().ok_or_else(unprepared)?;
        Ok(lock::taken(&mut made.pool, &mut made.shared, target, arch, wanted)?)
    }

    fn up_to_date(
        &mut self,
        target: &Target,
        arch: Arch,
        content: &PoolContent,
        modules: &ModuleChoice,
        blobs: &Blobs,
    ) -> Result<&mut LoadedPool, PoolsError> {
        // Taken out first, so that a pool that fails half way is not used again.
        let kept = self
            .made
            .take()
            .filter(|made| made.is_of(&content.external) && made.farm.additions <= MAX_ADDITIONS);
        let mut made = match kept {
            Some(made) => made,
            // Otherwise the differences to a pool that no longer exists would count as all
            // packages.
            None if !content.farm.is_whole => return Err(unprepared()),
            None => LoadedPool::new(target, arch, &content.external, modules, &self.cache)?,
        };
        let warnings = &mut self.warnings;
        if made.farm.update(&mut made.pool, arch, &content.farm, blobs, warnings)? {
            made.shared = std::mem::take(&mut made.shared).renewed(&made.pool, target);
        }
        made.pool.prepare()?;
        Ok(self.made.insert(made))
    }
}

impl LoadedPool {
    fn new(
        target: &Target,
        arch: Arch,
        external: &[(Repository, RepoMetadata)],
        choice: &ModuleChoice,
        cache: &SolverCache,
    ) -> Result<Self, PoolsError> {
        let mut pool = Pool::new(arch);
        let mut modules = Vec::new();
        for (repo, metadata) in external {
            pool.load_cached_repository(repo.clone(), &files(metadata), cache)?;
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
            // The farm's packages are visible whatever module they belong to.
            module_hotfixes: true,
            ..Repository::default()
        })?;
        pool.add_repository(Repository {
            id: CONTENTS.to_owned(),
            priority: FARM_PRIORITY,
            module_hotfixes: true,
            ..Repository::default()
        })?;
        Ok(Self {
            pool,
            external: external.iter().map(|(_, metadata)| metadata.clone()).collect(),
            farm: LoadedFarmPackages::default(),
            shared: SharedLayers::default(),
        })
    }

    fn is_of(&self, external: &[(Repository, RepoMetadata)]) -> bool {
        self.external.iter().eq(external.iter().map(|(_, metadata)| metadata))
    }
}

/// The files of a repository, as the solver wants them.
fn files(metadata: &RepoMetadata) -> RepositoryFiles {
    let RepoMetadata { digest, primary, filelists, .. } = metadata.clone();
    RepositoryFiles { digest, primary, filelists }
}

fn owners(held: BTreeMap<String, Vec<PoolPackage>>) -> BTreeMap<String, BTreeSet<Owner>> {
    let owner =
        |PoolPackage { nevra, repository, source }| Owner { source, package: nevra, repository };
    held.into_iter().map(|(what, all)| (what, all.into_iter().map(owner).collect())).collect()
}

/// The modules of a repository.
fn read_modules(repository: &str, path: &Path) -> Result<Modules, LockError> {
    let failed = |why: String| {
        LockError::Metadata(format!("repository `{repository}`: modules.yaml: {why}"))
    };
    let text = text_of(path, MAX_MODULES).map_err(|error| failed(error.to_string()))?;
    Modules::parse(&text).map_err(|error| failed(error.to_string()))
}
