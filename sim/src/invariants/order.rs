//! The invariant of the order of batches: I11.

use std::collections::BTreeSet;

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{BuildId, TaskId};

use crate::planted_bugs::Invariant;
use crate::scenario::Source;
use crate::world::World;

impl World {
    /// I11: a task that gets a lock needs no other build of its batch that is still to be accepted,
    /// unless that one needs it, too, directly or through others. Which packages need each other
    /// comes from the scenario, which no coordinator knows.
    pub(super) fn check_order(&mut self) {
        let before = std::mem::replace(&mut self.monitor.locks, self.facts.locks.clone());
        let mut new = self.facts.locks.difference(&before);
        if let Some(message) = new.find_map(|(task, round)| self.find_awaited(*task, *round)) {
            self.violated(Invariant::I11, message);
        }
    }

    /// The build that a task should have waited for with the lock of a round.
    fn find_awaited(&self, task: TaskId, round: i64) -> Option<String> {
        let row = self.facts.tasks.get(&task)?;
        let makes_packages = matches!(row.kind, TaskKind::Build | TaskKind::Noarch);
        let found = usize::try_from(round).ok().filter(|_| makes_packages)?;
        let needed = self.needed(row.build, found);
        let awaited = needed.into_iter().find(|other| {
            self.is_awaited(*other) && !self.needs_through_others(*other, row.build)
        })?;
        Some(format!(
            "task {task} of build {} has a lock of round {round}, and build {awaited} that it needs \
             is not accepted",
            row.build
        ))
    }

    /// The other builds of a build's batch that it needs, by its spec and its first rounds.
    fn needed(&self, build: BuildId, rounds: usize) -> Vec<BuildId> {
        let Some(own) = self.facts.builds.get(&build) else { return Vec::new() };
        let names = {
            let truth = self.outside.lock();
            let Source { requires, dynamic, .. } = truth.scenario.source(&own.package);
            let names = requires.iter().chain(dynamic.iter().take(rounds));
            names.cloned().collect::<BTreeSet<String>>()
        };
        let others = self.facts.builds.iter().filter(|(id, other)| {
            **id != build && other.batch == own.batch && names.contains(&other.package)
        });
        others.map(|(id, _)| *id).collect()
    }

    /// Whether a build is still to be accepted. One that was retried may have been lost when others
    /// of its batch had their turns.
    fn is_awaited(&self, build: BuildId) -> bool {
        let (retries, _) = self.facts.retried(build);
        retries == 0 && self.facts.open.contains(&build) && !self.facts.is_accepted(build)
    }

    /// Whether a build needs another one of its batch, be it through builds that are accepted by
    /// now.
    fn needs_through_others(&self, from: BuildId, to: BuildId) -> bool {
        let (mut seen, mut due) = (BTreeSet::from([from]), vec![from]);
        while let Some(build) = due.pop() {
            if build == to {
                return true;
            }
            let needed = self.needed(build, usize::MAX).into_iter();
            due.extend(needed.filter(|other| seen.insert(*other)));
        }
        false
    }
}
