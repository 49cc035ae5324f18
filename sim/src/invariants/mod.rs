//! The invariants of the farm, checked after every step against the facts, the published tree,
//! and the truth of the scenario.

mod facts;
mod stages;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::status::BuildState;
use rpmfarm_core::{BuildId, Sha256, StageEpoch};

use crate::planted::Invariant;
use crate::rules;
use crate::scenario::KEY;
use crate::store::Ended;
use crate::world::World;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken: {}", self.invariant, self.message)
    }
}

/// What was seen before, for what may never change.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    /// The version of the store that was checked last.
    version: u64,
    /// By key of a request: the builds that were answered.
    answers: BTreeMap<String, Vec<BuildId>>,
    /// By build: its retries so far, and its end.
    ends: BTreeMap<i64, (usize, BuildState)>,
    acceptances: BTreeMap<i64, i64>,
    attempt_ends: BTreeMap<i64, Ended>,
    live: BTreeSet<i64>,
    epochs: BTreeMap<i64, i64>,
    attempts: i64,
    failures: usize,
    packages: usize,
    digests: BTreeMap<String, Sha256>,
    revision: i64,
    revisions: usize,
    shown: Option<u64>,
    /// The changes of the tree that were checked.
    tree: u64,
    takes: u64,
    stages: BTreeMap<String, StageLease>,
    /// By stage: the highest epoch under which anything was written.
    written: BTreeMap<&'static str, StageEpoch>,
}

impl Monitor {
    /// A request was committed, whether or not anybody hears of it.
    pub(crate) fn promised(&mut self, key: &str, ids: &[BuildId]) {
        self.answers.entry(key.into()).or_insert_with(|| ids.to_vec());
    }

    /// A request was answered: always with the same builds.
    pub(crate) fn answered(&mut self, key: &str, ids: &[BuildId]) -> Option<Violation> {
        let before = self.answers.entry(key.into()).or_insert_with(|| ids.to_vec());
        (before != ids).then(|| Violation {
            invariant: Invariant::I1,
            message: format!("request `{key}` made {before:?}, and again {ids:?}"),
        })
    }
}

impl World {
    /// Checks everything that a step may have changed.
    pub(crate) fn check(&mut self) {
        self.check_stages();
        let changed = self.store.version != self.monitor.version;
        if changed {
            self.monitor.version = self.store.version;
            self.check_attempts();
            self.check_results();
            self.check_failures();
            self.check_builds();
            self.check_revisions();
        }
        self.check_shown(changed);
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_drained(&self) -> bool {
        self.store.open_builds.is_empty()
            && self.store.live_attempts.is_empty()
            && self.workers.iter().all(|worker| worker.attempts.is_empty())
            && !self.is_ahead()
            && self.acknowledged.len() == self.store.builds.len()
            && !self.is_at_work()
    }

    /// What is left to be done, in a line.
    pub(crate) fn stuck(&self) -> String {
        let builds: Vec<String> = self
            .store
            .open_builds
            .iter()
            .map(|id| format!("{id} is {}", rules::state(&self.store, BuildId(*id), KEY)))
            .collect();
        let held: Vec<String> =
            self.workers
                .iter()
                .flat_map(|worker| {
                    let name = &worker.host.name;
                    worker.attempts.iter().map(move |((id, _), entry)| {
                        format!("{name} has {id} at {:?}", entry.progress)
                    })
                })
                .collect();
        format!(
            "long after the last fault, builds [{}] have not ended; live: {:?}; workers: [{}]",
            builds.join(", "),
            self.store.live_attempts,
            held.join(", ")
        )
    }
}
