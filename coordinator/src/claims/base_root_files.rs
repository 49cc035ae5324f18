//! The files of base roots, read once for each root. A target has one base root at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::owners::{Owner, merged};
use rpmfarm_core::{Lock, Sha256};

use super::files::files_of;
use crate::blobs::Blobs;

/// How many roots are remembered; a base root of Enterprise Linux has about 30,000 files.
const MAX_ROOTS: usize = 12;

/// The packages that own each file of a root.
#[derive(Debug, Default)]
pub(super) struct RootFileOwners {
    owners: Vec<Owner>,
    /// Path → places in `owners`. Nearly all files have one, and there are tens of thousands.
    files: HashMap<Box<str>, FileOwners>,
}

#[derive(Debug)]
enum FileOwners {
    One(u32),
    Many(Box<[u32]>),
}

impl RootFileOwners {
    /// The packages that own a path, in the form that [`merged`] gives it.
    pub(super) fn get(&self, path: &str) -> Option<BTreeSet<Owner>> {
        let places = match self.files.get(path)? {
            FileOwners::One(place) => std::slice::from_ref(place),
            FileOwners::Many(places) => places,
        };
        Some(places.iter().map(|place| self.owners[*place as usize].clone()).collect())
    }

    fn add(&mut self, path: &str, place: u32) {
        use std::collections::hash_map::Entry;
        match self.files.entry(merged(path).into()) {
            Entry::Vacant(free) => {
                free.insert(FileOwners::One(place));
            }
            Entry::Occupied(mut held) => {
                let mut all = match held.get() {
                    FileOwners::One(first) => vec![*first],
                    FileOwners::Many(all) => all.to_vec(),
                };
                all.push(place);
                held.insert(FileOwners::Many(all.into()));
            }
        }
    }
}

pub(super) type SharedRootFileOwners = Arc<RootFileOwners>;

/// The files of the roots that were read last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct BaseRootFileOwners(Arc<Mutex<Vec<(Sha256, SharedRootFileOwners)>>>);

impl BaseRootFileOwners {
    /// The owners of the files of a root whose packages are all in the blob store. Reads their
    /// headers.
    ///
    /// # Errors
    /// When a header cannot be read.
    pub(super) fn for_lock(
        &self,
        lock: &Lock,
        blobs: &Blobs,
    ) -> anyhow::Result<SharedRootFileOwners> {
        let id = lock.layer_ids().last().copied().unwrap_or_else(|| lock.bootstrap_id());
        if let Some((_, known)) = self.lock().iter().find(|(known, _)| *known == id) {
            return Ok(Arc::clone(known));
        }
        let mut base = RootFileOwners::default();
        for (place, package) in (0..).zip(lock.packages()) {
            base.owners.push(owner(package));
            for path in files_of(&blobs.path(package.digest))? {
                base.add(&path, place);
            }
        }
        base.files.shrink_to_fit();
        let files = Arc::new(base);
        let mut known = self.lock();
        if known.len() >= MAX_ROOTS {
            known.remove(0);
        }
        known.push((id, Arc::clone(&files)));
        Ok(files)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Sha256, SharedRootFileOwners)>> {
        self.0.lock()
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
