//! The farm's own packages in the solver's pool: from the moment when their build is accepted.

use std::collections::{HashMap, HashSet};

pub use rpmfarm_core::lock::FARM;
use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_repodata::{Document, Fragments};
use rpmfarm_solv::{Fragment, Pool, PoolError, Twin};
use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;
use crate::store::{PoolPackage, PoolUpdate, Store, StoreError};

/// The largest fragments of a package's metadata, in bytes: some kilobytes for most, about 10 MB
/// for a package with 100,000 files.
const MAX_FRAGMENTS: u64 = 256 << 20;
/// How many packages are read before they are given to the solver.
const BATCH: usize = 256;

/// One of the farm's own packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarmPackage {
    pub nevra: Nevra,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// The digest of the blob of its metadata (`rpmfarm_repodata::Fragments`).
    pub repodata: Sha256,
}

/// The changes of the farm's packages in the pools of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarmUpdate {
    /// The version that it leads to.
    pub version: i64,
    /// Whether `present` is all that there is, and all else goes; otherwise it is what has come.
    pub is_whole: bool,
    /// Packages of all architectures. One that a pool has already stays.
    pub present: Vec<FarmPackage>,
    /// The removed packages. A pool need not have had them.
    pub gone: Vec<Nevra>,
}

/// The source of the list of the farm's packages.
pub trait FarmPackages: Sync {
    /// A number that changes whenever a target's packages do.
    fn generation(&self, target: &str) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// The changes from a version of a pool to the target's present packages; all packages when the
    /// pool has no version, or when the changes since that version are not known.
    fn update(
        &self,
        target: &str,
        since: Option<i64>,
    ) -> impl Future<Output = Result<FarmUpdate, StoreError>> + Send;
}

impl FarmPackages for Store {
    async fn generation(&self, target: &str) -> Result<i64, StoreError> {
        self.pool_fetch_generation(target).await
    }

    async fn update(&self, target: &str, since: Option<i64>) -> Result<FarmUpdate, StoreError> {
        let PoolUpdate { version, is_whole, present, gone } =
            self.pool_fetch_update(target, since).await?;
        let package = |package: PoolPackage| {
            let PoolPackage { nevra, digest, repodata } = package;
            FarmPackage { nevra, digest, repodata }
        };
        let present = present.into_iter().map(package).collect();
        Ok(FarmUpdate { version, is_whole, present, gone })
    }
}

/// The farm's packages that a pool contains.
#[derive(Debug, Default)]
pub(super) struct LoadedFarmPackages {
    packages: HashMap<Nevra, Sha256>,
    /// Those of them that the pool does not take, as others have their checksums.
    left_out: HashMap<Nevra, FarmPackage>,
    /// How often packages were added: each time makes every later solve a little slower.
    pub(super) additions: usize,
}

/// Why the farm's packages cannot be given to the solver.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum FarmError {
    /// The metadata of a package cannot be read.
    #[error("metadata of {package}, blob {blob}: {reason}")]
    Fragments { package: String, blob: Sha256, reason: String },
    /// The solver refuses them.
    #[error(transparent)]
    Pool(#[from] rpmfarm_solv::PoolError),
}

impl LoadedFarmPackages {
    /// Adds new packages to the pool and removes those that are gone. Returns whether anything
    /// changed. Of two packages with one checksum the second is left out, and `warnings` names it.
    pub(super) fn update(
        &mut self,
        pool: &mut Pool,
        arch: Arch,
        update: &FarmUpdate,
        blobs: &Blobs,
        warnings: &mut Vec<String>,
    ) -> Result<bool, FarmError> {
        let wanted: HashMap<&Nevra, &FarmPackage> = update
            .present
            .iter()
            .filter(|package| arch.accepts(&package.nevra.arch))
            .map(|package| (&package.nevra, package))
            .collect();
        let gone = self.gone(update, &wanted);
        pool.remove_packages(FARM, &gone)?;
        for nevra in &gone {
            self.packages.remove(nevra);
            self.left_out.remove(nevra);
        }
        // The package with which a removed package shared its checksum can be added now.
        let again = if gone.is_empty() { Vec::new() } else { self.take_left_out() };
        let mut all: HashMap<&Nevra, &FarmPackage> = wanted;
        for package in &again {
            all.entry(&package.nevra).or_insert(package);
        }
        // In the order of their names, so that the solver always gets them in the same order.
        let mut new: Vec<&FarmPackage> = all
            .into_values()
            .filter(|package| self.packages.get(&package.nevra) != Some(&package.digest))
            .collect();
        new.sort_by_key(|package| package.nevra.to_string());
        for batch in new.chunks(BATCH) {
            let fragments = batch
                .iter()
                .map(|package| read_fragment(package, blobs))
                .collect::<Result<Vec<_>, _>>()?;
            self.add(pool, batch, fragments, warnings)?;
            self.additions += 1;
            self.packages.extend(batch.iter().map(|p| (p.nevra.clone(), p.digest)));
        }
        Ok(!gone.is_empty() || !new.is_empty())
    }

    /// Whether the pool has a package.
    pub(super) fn has(&self, nevra: &Nevra) -> bool {
        self.packages.contains_key(nevra) && !self.left_out.contains_key(nevra)
    }

    /// The packages of the pool that it must no longer have.
    fn gone(&self, update: &FarmUpdate, wanted: &HashMap<&Nevra, &FarmPackage>) -> Vec<Nevra> {
        if update.is_whole {
            let is_gone = |nevra: &&Nevra| !wanted.contains_key(*nevra);
            return self.packages.keys().filter(is_gone).cloned().collect();
        }
        let is_there = |nevra: &&Nevra| self.packages.contains_key(*nevra);
        update.gone.iter().filter(is_there).cloned().collect()
    }

    /// The packages that were left out, which are to be added once more.
    fn take_left_out(&mut self) -> Vec<FarmPackage> {
        let again: Vec<FarmPackage> = self.left_out.drain().map(|(_, package)| package).collect();
        for package in &again {
            self.packages.remove(&package.nevra);
        }
        again
    }

    /// Adds a batch to the pool, without those that have the checksum of another one: one bad row
    /// of the database must not keep all others from being solved with.
    fn add(
        &mut self,
        pool: &mut Pool,
        batch: &[&FarmPackage],
        fragments: Vec<Fragment>,
        warnings: &mut Vec<String>,
    ) -> Result<(), FarmError> {
        for package in batch {
            self.left_out.remove(&package.nevra);
        }
        let twins = match pool.add_packages(FARM, &fragments) {
            Err(PoolError::SameChecksum { twins, .. }) => twins,
            added => return Ok(added?),
        };
        let mut left_out = HashSet::new();
        for Twin { place, other, checksum, .. } in twins {
            let Some(package) = batch.get(place) else { continue };
            let nevra = &package.nevra;
            warnings.push(format!(
                "{nevra} is left out of the solver's pool: {other} has the same checksum, {checksum}"
            ));
            left_out.insert(place);
            self.left_out.insert(nevra.clone(), (*package).clone());
        }
        let others = fragments.into_iter().enumerate();
        let others: Vec<Fragment> = others
            .filter_map(|(place, fragment)| (!left_out.contains(&place)).then_some(fragment))
            .collect();
        Ok(pool.add_packages(FARM, &others)?)
    }
}

/// The metadata of a package.
///
/// # Errors
/// When they cannot be read.
pub(super) fn read_fragment(package: &FarmPackage, blobs: &Blobs) -> Result<Fragment, FarmError> {
    let failed = |reason: String| FarmError::Fragments {
        package: package.nevra.to_string(),
        blob: package.repodata,
        reason,
    };
    let bytes =
        blobs.read_small(package.repodata, MAX_FRAGMENTS).map_err(|e| failed(e.to_string()))?;
    let fragments = Fragments::from_bytes(&bytes).map_err(|error| failed(error.to_string()))?;
    let text = |document| {
        String::from_utf8(fragments.get(document).to_vec())
            .map_err(|error| failed(error.to_string()))
    };
    Ok(Fragment { primary: text(Document::Primary)?, filelists: text(Document::Filelists)? })
}
