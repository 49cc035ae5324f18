//! Changes of the packages that targets have, for the orders of batches.
//!
//! Owns the position up to which the changes were read. It must not know how an order uses them.

use std::collections::{BTreeSet, HashMap};

use rpm::PackageMetadata;

use crate::blobs::Blobs;
use crate::store::PoolUpdate;

/// Up to where the packages of targets were read.
#[derive(Debug, Default)]
pub(super) struct KnownPools {
    /// By target.
    pools: HashMap<String, KnownPool>,
    /// Whether they were read at all: a target that is not among them then had no packages.
    is_read: bool,
}

/// A state of a target's packages.
#[derive(Debug, Clone, Copy, Default)]
struct KnownPool {
    /// Changes whenever they do.
    changes: i64,
    /// The version of the pools.
    version: i64,
}

impl KnownPools {
    /// Of the states of all targets those that have changed: the target, its number of changes, and
    /// the version up to which it was read. The first states are where it begins.
    pub(super) fn changed(&mut self, states: Vec<(String, i64, i64)>) -> Vec<(String, i64, i64)> {
        if !std::mem::replace(&mut self.is_read, true) {
            for (target, changes, version) in states {
                self.set(target, changes, version);
            }
            return Vec::new();
        }
        let changed = states.into_iter().filter_map(|(target, changes, _)| {
            let known = self.pools.get(&target).copied().unwrap_or_default();
            (known.changes != changes).then_some((target, changes, known.version))
        });
        changed.collect()
    }

    /// The packages of a target were read in this state.
    pub(super) fn set(&mut self, target: String, changes: i64, version: i64) {
        self.pools.insert(target, KnownPool { changes, version });
    }
}

/// The names of packages that have come or left, and of what those that came provide.
pub(super) fn names(blobs: &Blobs, update: &PoolUpdate) -> Result<Vec<String>, rpm::Error> {
    let mut names: BTreeSet<String> = update.gone.iter().map(|nevra| nevra.name.clone()).collect();
    for package in &update.present {
        names.insert(package.nevra.name.clone());
        let metadata = PackageMetadata::open(blobs.path(package.digest))?;
        // A header without the tag provides nothing.
        let provides = metadata.get_provides().unwrap_or_default();
        names.extend(provides.into_iter().map(|provide| provide.name));
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_states_are_no_news_and_a_new_target_begins_with_nothing() {
        let state = |target: &str, changes, version| (target.to_owned(), changes, version);
        let mut known = KnownPools::default();
        assert_eq!(known.changed(vec![state("a", 7, 3)]), []);
        assert_eq!(known.changed(vec![state("a", 7, 4)]), [], "what was superseded has left");
        let news = known.changed(vec![state("a", 9, 5), state("b", 1, 1)]);
        assert_eq!(news, [state("a", 9, 3), state("b", 1, 0)]);
        known.set("a".into(), 9, 5);
        known.set("b".into(), 1, 1);
        assert_eq!(known.changed(vec![state("a", 9, 5), state("b", 1, 1)]), []);
    }
}
