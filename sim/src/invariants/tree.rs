//! Invariants I5, I6 and I7, on the published tree.

use std::collections::BTreeMap;

use rpmfarm_core::{Evr, Nevra, Sha256};

use crate::planted_bugs::Invariant;
use crate::trace::note;
use crate::tree::KEEP;
use crate::world::World;

/// The newest version of each source in a list of packages.
fn versions<'a>(packages: impl Iterator<Item = &'a Nevra>) -> BTreeMap<String, Evr> {
    let mut versions = BTreeMap::new();
    for nevra in packages {
        // All packages of a source have its name in the simulation.
        let newest = versions.entry(nevra.name.clone()).or_insert_with(|| nevra.evr.clone());
        if nevra.evr > *newest {
            *newest = nevra.evr.clone();
        }
    }
    versions
}

impl World {
    /// I7 for the records: revisions only rise, and each published package, or a newer version of
    /// it, is in the newest generation.
    pub(super) fn check_revisions(&mut self) {
        let newest = self.facts.revision();
        let count = self.facts.revisions.len();
        let late = count != self.monitor.revisions && newest == self.monitor.revision && newest > 0;
        let (shown, was) = (self.tree.shown_generation().unwrap_or(0), self.monitor.revision);
        (self.monitor.revision, self.monitor.revisions) = (newest, count);
        if late {
            let message = format!("a revision was recorded while the channel was at {newest}");
            return self.violated(Invariant::I7, message);
        }
        if newest == was || shown.cast_signed() < newest {
            return;
        }
        let Some(packages) = self.tree.packages(shown) else { return };
        let held = versions(packages.iter().map(|(nevra, _)| nevra));
        let lost = self.facts.publications.keys().find_map(|build| {
            let (nevra, _) = self.facts.srpms.get(build)?;
            let nevra: Nevra = nevra.parse().ok()?;
            let is_held = held.get(&nevra.name).is_some_and(|evr| *evr >= nevra.evr);
            (!is_held).then_some((*build, nevra))
        });
        if let Some((build, nevra)) = lost {
            let message = format!("build {build} was published, and {shown} has lost {nevra}");
            self.violated(Invariant::I7, message);
        }
    }

    /// I5 to I7 for the files that clients read.
    pub(super) fn check_shown(&mut self) {
        let seen = self.outside.lock().shown_damage.take();
        if let Some(message) = seen.or_else(|| self.tree.find_damage()) {
            return self.violated(Invariant::I6, message);
        }
        let shown = self.tree.shown_generation();
        if shown == self.monitor.shown.last().copied() {
            return;
        }
        let Some(number) = shown else { return };
        let packages = self.tree.packages(number).unwrap_or_default();
        note!(self, "generation {number} is shown, with {} packages", packages.len());
        let mut wrong = None;
        if let Some(before) = self.monitor.shown.last().filter(|before| **before > number) {
            let message = format!("generation {number} is shown after {before}");
            wrong = Some((Invariant::I7, message));
        }
        if let Some((nevra, _)) = packages.iter().find(|package| !self.is_proved(package)) {
            wrong = Some((Invariant::I5, format!("{nevra} is shown without its proofs")));
        }
        if let Some(message) = self.torn(&packages) {
            wrong = Some((Invariant::I6, message));
        }
        self.monitor.shown.push(number);
        if let Some((invariant, message)) = wrong {
            self.violated(invariant, message);
        }
    }

    fn is_proved(&self, (nevra, digest): &(Nevra, Sha256)) -> bool {
        self.facts.packages.get(&nevra.to_string()).is_some_and(|package| {
            self.facts.signatures.get(&package.digest) == Some(&digest.hex())
                && self.facts.acceptances.contains_key(&package.task)
        })
    }

    /// A source of which a generation has only some packages.
    fn torn(&self, packages: &[(Nevra, Sha256)]) -> Option<String> {
        let mut parts = BTreeMap::<String, (usize, String)>::new();
        for (nevra, _) in packages {
            let source = format!("{}-{}", nevra.name, nevra.evr);
            parts.entry(source).or_insert_with(|| (0, nevra.name.clone())).0 += 1;
        }
        let truth = self.outside.lock();
        parts.into_iter().find_map(|(source, (found, name))| {
            // The SRPM, and a package for each architecture.
            let whole = 1 + truth.scenario.source(&name).arches.len();
            (found != whole).then(|| format!("{found} of {whole} packages of {source} are shown"))
        })
    }

    /// I6: a reader finds the documents of the generation with which it began.
    pub(crate) fn read_documents(&mut self, generation: u64) {
        if self.tree.has_generation(generation) {
            return;
        }
        let newer = self.monitor.shown.iter().filter(|shown| **shown > generation).count();
        note!(self, "a reader of generation {generation} finds nothing, {newer} came since");
        if newer < KEEP {
            let message = format!("the documents of generation {generation} are gone too early");
            self.violated(Invariant::I6, message);
        }
    }
}
