//! The repositories that the packages of a snapshot are in, by the rules of a target.
//!
//! `core` has the rules (`published_repositories`); this applies them to what is to be published.

use std::collections::HashMap;

use rpmfarm_core::published_repositories::{PlacementRules, UnplacedPackage};
use rpmfarm_core::snapshot::{Snapshot, SnapshotPackage};
use rpmfarm_core::{Nevra, Target};

/// In which repository of a channel each of its packages is.
pub(super) struct Placement {
    /// Their places in the target's list; `None` for a target whose channels are one repository.
    places: Option<HashMap<Nevra, usize>>,
    /// The packages that are in none, because no rule names them.
    pub(super) unplaced: Vec<UnplacedPackage>,
}

impl Placement {
    /// The places of all packages of a snapshot.
    pub(super) fn new(target: &Target, snapshot: &Snapshot) -> Self {
        let rules = &target.published_repositories;
        if rules.is_empty() {
            return Self { places: None, unplaced: Vec::new() };
        }
        let packages = snapshot.packages();
        let (mut places, mut unplaced) = (HashMap::new(), Vec::new());
        for (package, place) in packages.iter().zip(PlacementRules::new(rules).place(packages)) {
            let SnapshotPackage { nevra, source, .. } = package;
            match place {
                Some(place) => {
                    places.insert(nevra.clone(), place);
                }
                None => {
                    unplaced.push(UnplacedPackage { nevra: nevra.clone(), source: source.clone() });
                }
            }
        }
        Self { places: Some(places), unplaced }
    }

    /// The packages of the same snapshot that clients can see.
    pub(super) fn placed(&self, snapshot: &Snapshot) -> Snapshot {
        let unplaced = self.unplaced.iter();
        let unplaced = unplaced.map(|package| (package.nevra.clone(), package.source.clone()));
        snapshot.clone().without(&unplaced.collect())
    }

    /// The place of a package's repository in the list; 0 where a channel is one repository, and
    /// `None` for a package that is in none.
    pub(super) fn of(&self, nevra: &Nevra) -> Option<usize> {
        match &self.places {
            None => Some(0),
            Some(places) => places.get(nevra).copied(),
        }
    }
}
