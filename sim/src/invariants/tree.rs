//! What the published tree must show: I5, I6 and I7.

use std::collections::BTreeMap;

use rpmfarm_core::snapshot::Snapshot;
use rpmfarm_core::{BuildId, Evr};

use crate::coordinator::signed;
use crate::planted::Invariant;
use crate::repo::KEEP;
use crate::scenario::{CHANNEL, KEY, TARGET};
use crate::trace::note;
use crate::world::World;

/// The versions of each source that a snapshot has.
fn versions(snapshot: &Snapshot) -> BTreeMap<String, Evr> {
    let mut versions = BTreeMap::new();
    for package in snapshot.packages() {
        let newest = versions
            .entry(package.source.name.clone())
            .or_insert_with(|| package.source.evr.clone());
        if package.source.evr > *newest {
            *newest = package.source.evr.clone();
        }
    }
    versions
}

impl World {
    /// I7: recorded revisions go forward and lose nothing that they had.
    pub(super) fn check_revisions(&mut self) {
        let Some(revision) = self.store.channel_fetch(TARGET, CHANNEL) else { return };
        let newest = revision.revision;
        let count = self.store.revisions.len();
        let recorded = self.store.revisions.values().map(|row| row.revision).max().unwrap_or(0);
        let mut wrong = None;
        if newest != self.monitor.revision {
            let before = self
                .store
                .revisions
                .values()
                .find(|row| row.revision == self.monitor.revision)
                .and_then(|row| self.snapshots.get(&row.snapshot));
            let after = self.snapshots.get(&revision.snapshot);
            if let (Some(before), Some(after)) = (before, after) {
                let after = versions(after);
                let lost = versions(before)
                    .into_iter()
                    .find(|(name, evr)| after.get(name).is_none_or(|newer| newer < evr));
                if let Some((name, evr)) = lost {
                    wrong = Some(format!("revision {newest} has lost {name}-{evr}"));
                }
            }
        }
        // A revision that is recorded below the newest one was recorded after it.
        if count != self.monitor.revisions && newest == self.monitor.revision && newest > 0 {
            wrong = Some(format!("a revision was recorded while the channel was at {recorded}"));
        }
        self.monitor.revision = newest;
        self.monitor.revisions = count;
        if let Some(message) = wrong {
            return self.violated(Invariant::I7, message);
        }
        self.check_held();
    }

    /// What was published is in the newest revision, or a newer version of it is.
    fn check_held(&mut self) {
        let Some(newest) = self.store.channel_fetch(TARGET, CHANNEL) else { return };
        let Some(snapshot) = self.snapshots.get(&newest.snapshot) else { return };
        let held = versions(snapshot);
        let lost = self.store.publications.keys().find(|(build, _)| {
            self.store.srpm_fetch(BuildId(*build)).is_some_and(|srpm| {
                held.get(&srpm.nevra.name).is_none_or(|evr| *evr < srpm.nevra.evr)
            })
        });
        if let Some((build, _)) = lost {
            let message =
                format!("build {build} was published and revision {} lacks it", newest.revision);
            self.violated(Invariant::I7, message);
        }
    }

    /// I5 to I7 of what clients see, when the tree has changed. (The proofs are facts, which are
    /// never taken back, but for a rule that is broken on purpose.)
    pub(super) fn check_shown(&mut self, facts_changed: bool) {
        if self.repo.changes == self.monitor.tree && !(facts_changed && self.plant.is_some()) {
            return;
        }
        self.monitor.tree = self.repo.changes;
        let shown = self.repo.shown;
        let Some(number) = shown else { return };
        let Some(generation) = self.repo.generations.get(&number) else {
            let message = format!("generation {number} is shown and does not lie in its place");
            return self.violated(Invariant::I6, message);
        };
        let mut wrong = None;
        if shown < self.monitor.shown {
            let message = format!("generation {number} is shown after {:?}", self.monitor.shown);
            wrong = Some((Invariant::I7, message));
        }
        if !generation.signed {
            wrong = Some((Invariant::I5, format!("generation {number} is not signed")));
        }
        for package in generation.packages.packages() {
            let key = (TARGET.to_owned(), package.nevra.to_string());
            let proved = self.store.packages.get(&key).is_some_and(|(row, task)| {
                let signature = self.store.signatures.get(&(row.digest, KEY.to_owned()));
                signature.is_some_and(|(signature, _)| signature.signed_digest == package.digest)
                    && signed(row.digest) == package.digest
                    && self.store.acceptances.contains_key(task)
            });
            if !proved {
                let message = format!("{} is shown without its proofs", package.nevra);
                wrong = Some((Invariant::I5, message));
            }
        }
        if let Some(message) = self.torn(&generation.packages) {
            wrong = Some((Invariant::I6, message));
        }
        self.monitor.shown = shown;
        if let Some((invariant, message)) = wrong {
            self.violated(invariant, message);
        }
    }

    /// A source of which the snapshot has a part only.
    fn torn(&self, snapshot: &Snapshot) -> Option<String> {
        let mut parts = BTreeMap::<String, usize>::new();
        for package in snapshot.packages() {
            *parts.entry(package.source.to_string()).or_default() += 1;
        }
        parts.into_iter().find_map(|(source, found)| {
            let name = source.split('-').next().unwrap_or_default();
            // The SRPM, and two packages for each architecture.
            let whole = 1 + 2 * self.scenario.source(name).arches.len();
            (found != whole).then(|| format!("{found} of {whole} packages of {source} are shown"))
        })
    }

    /// I6: a reader finds the documents of the generation that it has begun with.
    pub(crate) fn read_documents(&mut self, generation: u64) {
        let shown = self.repo.shown.unwrap_or(0);
        if self.repo.generations.contains_key(&generation) {
            return;
        }
        note!(self, "a reader of generation {generation} finds nothing, {shown} is shown");
        if shown < generation + KEEP {
            let message = format!("the documents of generation {generation} are gone at {shown}");
            self.violated(Invariant::I6, message);
        }
    }
}
