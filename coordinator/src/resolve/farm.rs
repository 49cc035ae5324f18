//! The farm's own packages in the solver's pool: from the moment when their build is accepted.

use std::collections::HashMap;

use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_repodata::{Document, Fragments};
use rpmfarm_solv::{Fragment, Pool};
use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;
use crate::store::{Store, StoreError};

/// Id of the farm's own repository in pools and locks.
pub const FARM: &str = "farm";

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

/// The source of the list of the farm's packages.
pub trait FarmPackages: Sync {
    /// A number that changes whenever a target's packages do.
    fn generation(&self, target: &str) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// All packages of a target, of all architectures.
    fn packages(
        &self,
        target: &str,
    ) -> impl Future<Output = Result<Vec<FarmPackage>, StoreError>> + Send;
}

impl FarmPackages for Store {
    async fn generation(&self, target: &str) -> Result<i64, StoreError> {
        self.pool_fetch_generation(target).await
    }

    async fn packages(&self, target: &str) -> Result<Vec<FarmPackage>, StoreError> {
        let packages = Self::package_list(self, target).await?;
        Ok(packages
            .into_iter()
            .map(|p| FarmPackage { nevra: p.nevra, digest: p.digest, repodata: p.repodata })
            .collect())
    }
}

/// The farm's packages that a pool contains.
#[derive(Debug, Default)]
pub(super) struct LoadedFarmPackages {
    packages: HashMap<Nevra, Sha256>,
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
    /// changed.
    pub(super) fn update(
        &mut self,
        pool: &mut Pool,
        arch: Arch,
        packages: &[FarmPackage],
        blobs: &Blobs,
    ) -> Result<bool, FarmError> {
        let wanted: HashMap<&Nevra, &FarmPackage> = packages
            .iter()
            .filter(|package| arch.accepts(&package.nevra.arch))
            .map(|package| (&package.nevra, package))
            .collect();
        let gone: Vec<Nevra> =
            self.packages.keys().filter(|nevra| !wanted.contains_key(nevra)).cloned().collect();
        pool.remove_packages(FARM, &gone)?;
        for nevra in &gone {
            self.packages.remove(nevra);
        }
        // In the order of their names, so that the solver always gets them in the same order.
        let mut new: Vec<&FarmPackage> = wanted
            .into_values()
            .filter(|package| self.packages.get(&package.nevra) != Some(&package.digest))
            .collect();
        new.sort_by_key(|package| package.nevra.to_string());
        for batch in new.chunks(BATCH) {
            let fragments =
                batch.iter().map(|package| read(package, blobs)).collect::<Result<Vec<_>, _>>()?;
            pool.add_packages(FARM, &fragments)?;
            self.additions += 1;
            self.packages.extend(batch.iter().map(|p| (p.nevra.clone(), p.digest)));
        }
        Ok(!gone.is_empty() || !new.is_empty())
    }
}

fn read(package: &FarmPackage, blobs: &Blobs) -> Result<Fragment, FarmError> {
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
