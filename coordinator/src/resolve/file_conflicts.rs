//! Finds what rpm would refuse when it installs a root, before a worker tries it: two packages with
//! different files at one path, and packages of modules without an active stream.
//!
//! Repository metadata do not describe the contents of files, so the headers of the packages are
//! read when they have been fetched. Owns the cache of these; the rules are in `rpmfarm_rpmfile`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{Fault, Lock, Sha256};
use rpmfarm_rpmfile::{FileClaim, PackageClaims, claims, path_of_claim};

use super::farm::FARM;
use crate::blobs::Blobs;

/// How many files are cached; each takes 24 bytes.
const MAX_FILES: usize = 4 << 20;
/// How many layers of roots are remembered as free of conflicts.
const MAX_LAYERS: usize = 100_000;

/// Why rpm would not install a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Two packages conflict in a file.
    #[error(
        "{first} and {second} both have {path}, with different content: rpm installs only one of these packages; require one of them only, or hide the other by `excludes` of its repository"
    )]
    Conflict {
        first: String,
        second: String,
        path: String,
        /// Whether the target's own list of packages requires both.
        in_base: bool,
    },
    /// A package belongs to a module, and no active stream lists it.
    #[error(
        "{package} of repository `{repository}` is of the module {label}, and no active module stream lists it: dnf would not install it; is modules.yaml of the repository complete? (module_hotfixes = true takes its packages as they are)"
    )]
    NoModule {
        package: String,
        repository: String,
        /// Its `ModularityLabel`.
        label: String,
    },
}

impl RootError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Conflict { in_base: false, .. } => Fault::Package,
            Self::Conflict { .. } | Self::NoModule { .. } => Fault::Farm,
        }
    }
}

/// The headers that were read, and the roots that were checked.
#[derive(Debug, Default)]
pub(super) struct FileConflicts {
    known: Mutex<ConflictCache>,
}

#[derive(Debug, Default)]
struct ConflictCache {
    claims: HashMap<Sha256, Arc<PackageClaims>>,
    files: usize,
    /// Ids of layers that, with all below them, are free of conflicts.
    good: HashSet<Sha256>,
}

impl FileConflicts {
    /// Finds what rpm would refuse. `is_masked` says for which repositories an active stream must
    /// list the packages of modules. Reads files.
    ///
    /// # Errors
    /// The first problem.
    pub(super) fn check(
        &self,
        lock: &Lock,
        blobs: &Blobs,
        is_masked: impl Fn(&str) -> bool,
    ) -> Result<(), RootError> {
        let ids = lock.layer_ids();
        let good = {
            let known = self.lock();
            ids.iter().rposition(|id| known.good.contains(id)).map_or(0, |at| at + 1)
        };
        let mut owners: HashMap<u64, (FileClaim, &LockedPackage)> = HashMap::new();
        for (number, layer) in lock.layers.iter().enumerate() {
            if good == ids.len() {
                break;
            }
            for package in layer.packages() {
                let Some(claims) = self.claims(package, blobs) else { continue };
                for claim in &claims.files {
                    let (before, owner) = *owners.entry(claim.path).or_insert((*claim, package));
                    let is_other = !std::ptr::eq(owner, package);
                    if number >= good && is_other && before.conflicts_with(claim) {
                        return Err(conflict(blobs, owner, package, claim.path, number == 0));
                    }
                }
            }
        }
        for package in lock.packages().filter(|package| package.module.is_empty()) {
            if package.origin == FARM || !is_masked(&package.origin) {
                continue;
            }
            if let Some(label) = self.claims(package, blobs).and_then(|c| c.module.clone()) {
                return Err(RootError::NoModule {
                    package: package.nevra.to_string(),
                    repository: package.origin.clone(),
                    label: rpmfarm_core::name::shown(&label),
                });
            }
        }
        let mut known = self.lock();
        if known.good.len() > MAX_LAYERS {
            known.good.clear();
        }
        known.good.extend(ids);
        Ok(())
    }

    /// The files in a package's header. A header that cannot be read is left to rpm.
    fn claims(&self, package: &LockedPackage, blobs: &Blobs) -> Option<Arc<PackageClaims>> {
        if let Some(known) = self.lock().claims.get(&package.digest) {
            return Some(Arc::clone(known));
        }
        let found = claims(&blobs.path(package.digest))
            .inspect_err(|error| tracing::warn!(package = %package.nevra, %error, "unread files"))
            .ok()?;
        let found = Arc::new(found);
        let mut known = self.lock();
        known.files += found.files.len();
        if known.files > MAX_FILES {
            known.claims.clear();
            known.files = found.files.len();
        }
        known.claims.insert(package.digest, Arc::clone(&found));
        Some(found)
    }

    fn lock(&self) -> MutexGuard<'_, ConflictCache> {
        self.known.lock()
    }
}

fn conflict(
    blobs: &Blobs,
    first: &LockedPackage,
    second: &LockedPackage,
    path: u64,
    in_base: bool,
) -> RootError {
    let named = path_of_claim(&blobs.path(second.digest), path).ok().flatten();
    RootError::Conflict {
        first: first.nevra.to_string(),
        second: second.nevra.to_string(),
        path: named.unwrap_or_else(|| "one path".to_owned()),
        in_base,
    }
}
