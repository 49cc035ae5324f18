//! The proof of a channel's next content in the solver pools: the question, and what goes in and
//! out of the pool for it.
//!
//! The pool of a target and architecture has the present packages of the farm, with what channels
//! show. A content may have others, as after a rollback: these are added for the time of the proof.
//! Which problems count is decided elsewhere.

use std::collections::HashSet;

use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::proof::Problem;
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, Nevra};
use rpmfarm_solv::{Pool, PoolError, ProofQuestion, SharedFiles};
use serde::{Deserialize, Serialize};

use super::farm::{FARM, FarmError, FarmPackage, LoadedFarmPackages, read_fragment};
use super::lock::{LockError, locked};
use crate::blobs::Blobs;

/// The repository of packages that are in a pool only for a proof. No target's repository can have
/// this id.
pub(super) const CONTENTS: &str = "contents of channels";

/// Two contents of a channel on one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentProof {
    /// The packages that clients see now.
    pub before: HashSet<Nevra>,
    /// Those that they would see.
    pub after: HashSet<Nevra>,
    /// The packages of both.
    pub packages: Vec<FarmPackage>,
    /// Whether the external repositories have all that packages may require beside the channel's.
    pub is_closed: bool,
}

/// What the solver found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentFindings {
    /// Problems of the content before, to compare with.
    pub before: Vec<Problem>,
    /// Problems of the next content.
    pub after: Vec<Problem>,
    /// Pairs of packages with a path in common.
    pub shared: Vec<SharedPath>,
}

/// A new package and another one that have a path in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPath {
    pub package: Nevra,
    pub other: Nevra,
    /// The other one, when it is of an external repository.
    pub external: Option<LockedPackage>,
}

/// Adds the packages to a pool that it lacks for a proof. Returns whether there were any.
pub(super) fn add_lacking(
    pool: &mut Pool,
    farm: &LoadedFarmPackages,
    arch: Arch,
    question: &ContentProof,
    blobs: &Blobs,
) -> Result<bool, FarmError> {
    let of_arch = question.packages.iter().filter(|package| arch.accepts(&package.nevra.arch));
    let lacking: Vec<&FarmPackage> = of_arch.filter(|package| !farm.has(&package.nevra)).collect();
    let fragments = lacking
        .iter()
        .map(|package| read_fragment(package, blobs))
        .collect::<Result<Vec<_>, _>>()?;
    pool.add_packages(CONTENTS, &fragments)?;
    Ok(!lacking.is_empty())
}

/// Removes them again. Returns whether there were any.
pub(super) fn remove_added(
    pool: &mut Pool,
    farm: &LoadedFarmPackages,
    question: &ContentProof,
) -> Result<bool, PoolError> {
    let all = question.packages.iter().map(|package| &package.nevra);
    let added: Vec<Nevra> = all.filter(|nevra| !farm.has(nevra)).cloned().collect();
    pool.remove_packages(CONTENTS, &added)?;
    Ok(!added.is_empty())
}

/// Compares the contents in a pool that has their packages.
pub(super) fn prove(
    pool: &mut Pool,
    target: &Target,
    question: &ContentProof,
) -> Result<ContentFindings, LockError> {
    let ContentProof { before, after, is_closed, .. } = question;
    let (repositories, is_closed) = (&[FARM, CONTENTS][..], *is_closed);
    let found = pool
        .prove(&ProofQuestion { repositories, before, after, is_closed })
        .map_err(|error| LockError::Metadata(error.to_string()))?;
    let shared = found.shared.into_iter().map(|one| shared_path(target, one));
    let shared = shared.collect::<Result<Vec<_>, LockError>>()?;
    Ok(ContentFindings { before: found.before, after: found.after, shared })
}

fn shared_path(target: &Target, shared: SharedFiles) -> Result<SharedPath, LockError> {
    let SharedFiles { package, other, external } = shared;
    let external = external.map(|package| locked(target, &package)).transpose()?;
    Ok(SharedPath { package, other, external })
}
