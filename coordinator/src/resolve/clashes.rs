//! What rpm would refuse when it installs a root, found before a worker is asked to: two packages
//! that want different files at one path, and packages of modules that no active stream has.
//!
//! Metadata do not say what is in a file, so the headers of the packages are read once they are
//! here. Owns what is remembered of them; the rules themselves are `rpmfarm_rpmfile`'s.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{Fault, Lock, Sha256};
use rpmfarm_rpmfile::{Claim, Claims, claims, path_of_claim};

use super::farm::FARM;
use crate::blobs::Blobs;

/// Files whose claims are remembered; each takes 24 bytes.
const MAX_FILES: usize = 4 << 20;
/// Layers of roots that are remembered as free of conflicts.
const MAX_LAYERS: usize = 100_000;

/// Why rpm would not install a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootProblem {
    /// Two packages conflict in a file.
    #[error(
        "{first} and {second} both have {path}, and not the same one: rpm installs only one of these packages; require one of them only, or hide the other by `excludes` of its repository"
    )]
    Conflict {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The path.
        path: String,
        /// Whether the target's own list of packages leads to both.
        in_base: bool,
    },
    /// A package says that it is of a module, and no active stream has it.
    #[error(
        "{package} of repository `{repository}` is of the module {label}, and no active module stream lists it: dnf would not install it; is modules.yaml of the repository complete? (module_hotfixes = true takes its packages as they are)"
    )]
    NoModule {
        /// The package.
        package: String,
        /// Its repository.
        repository: String,
        /// Its `ModularityLabel`.
        label: String,
    },
}

impl RootProblem {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Conflict { in_base: false, .. } => Fault::Package,
            Self::Conflict { .. } | Self::NoModule { .. } => Fault::Farm,
        }
    }
}

/// What has been read of packages and found of roots.
#[derive(Debug, Default)]
pub(super) struct Clashes {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    claims: HashMap<Sha256, Arc<Claims>>,
    files: usize,
    /// Ids of layers that, with all below them, are free of conflicts.
    good: HashSet<Sha256>,
}

impl Clashes {
    /// Looks for what rpm would refuse. `is_masked` says of which repositories' packages an active
    /// stream must have those that are of a module. Reads files.
    ///
    /// # Errors
    /// The first problem.
    pub(super) fn check(
        &self,
        lock: &Lock,
        blobs: &Blobs,
        is_masked: impl Fn(&str) -> bool,
    ) -> Result<(), RootProblem> {
        let ids = lock.layer_ids();
        let good = {
            let known = self.lock();
            ids.iter().rposition(|id| known.good.contains(id)).map_or(0, |at| at + 1)
        };
        let mut owners: HashMap<u64, (Claim, &LockedPackage)> = HashMap::new();
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
                return Err(RootProblem::NoModule {
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

    /// What a package wants. What cannot be read is left to rpm.
    fn claims(&self, package: &LockedPackage, blobs: &Blobs) -> Option<Arc<Claims>> {
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

    fn lock(&self) -> parking_lot::MutexGuard<'_, Known> {
        self.known.lock()
    }
}

fn conflict(
    blobs: &Blobs,
    first: &LockedPackage,
    second: &LockedPackage,
    path: u64,
    in_base: bool,
) -> RootProblem {
    let named = path_of_claim(&blobs.path(second.digest), path).ok().flatten();
    RootProblem::Conflict {
        first: first.nevra.to_string(),
        second: second.nevra.to_string(),
        path: named.unwrap_or_else(|| "one path".to_owned()),
        in_base,
    }
}
