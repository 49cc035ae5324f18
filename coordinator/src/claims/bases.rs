//! The files of base roots, read once for each root: a target has one at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::owners::{Owner, merged};
use rpmfarm_core::{Lock, Sha256};

use super::files_of;
use crate::blobs::Blobs;

/// Roots whose files are remembered; a base root of Enterprise Linux has about 30,000 files.
const MAX_ROOTS: usize = 12;

/// Who has each file of a root.
pub(super) type Shared = Arc<HashMap<String, BTreeSet<Owner>>>;

/// What was read of roots. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bases(Arc<Mutex<Vec<(Sha256, Shared)>>>);

impl Bases {
    /// Who has the files of a root whose packages are all here. Reads their headers.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn of(&self, lock: &Lock, blobs: &Blobs) -> anyhow::Result<Shared> {
        let id = lock.layer_ids().last().copied().unwrap_or_else(|| lock.bootstrap_id());
        if let Some((_, known)) = self.lock().iter().find(|(known, _)| *known == id) {
            return Ok(Arc::clone(known));
        }
        let mut files = HashMap::<String, BTreeSet<Owner>>::new();
        for package in lock.packages() {
            let owner = owner(package);
            for path in files_of(&blobs.path(package.digest))? {
                files.entry(merged(&path)).or_default().insert(owner.clone());
            }
        }
        let files = Arc::new(files);
        let mut known = self.lock();
        if known.len() >= MAX_ROOTS {
            known.remove(0);
        }
        known.push((id, Arc::clone(&files)));
        Ok(files)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Sha256, Shared)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owner(package: &LockedPackage) -> Owner {
    let source = if package.source.is_empty() { &package.nevra.name } else { &package.source };
    Owner {
        source: source.clone(),
        package: package.nevra.clone(),
        repository: package.origin.clone(),
    }
}
