//! The invariants of the farm, checked after every step against the facts, the published tree, and
//! the true state of the scenario.

mod facts;
mod order;
mod stages;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::status::BuildState;
use rpmfarm_core::{AttemptId, BuildId, Epoch, StageEpoch, TaskId};

use crate::facts::AttemptEnd;
use crate::planted_bugs::Invariant;
use crate::world::World;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The finding.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken: {}", self.invariant, self.message)
    }
}

/// Earlier observations, for what must never change.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    /// The builds of each answered request, by its key.
    answers: BTreeMap<String, Vec<BuildId>>,
    /// By build: its retries so far, and its end.
    ends: BTreeMap<BuildId, (usize, BuildState)>,
    acceptances: BTreeMap<TaskId, AttemptId>,
    attempt_ends: BTreeMap<AttemptId, AttemptEnd>,
    live: BTreeSet<AttemptId>,
    /// The locks: task and round.
    locks: BTreeSet<(TaskId, i64)>,
    epochs: BTreeMap<TaskId, Epoch>,
    /// The newest attempt.
    attempts: Option<AttemptId>,
    failures: usize,
    digests: BTreeMap<String, String>,
    revision: i64,
    revisions: usize,
    /// The published generations, in order.
    shown: Vec<u64>,
    stages: BTreeMap<String, StageLease>,
    /// By stage: the highest epoch under which anything was written.
    written: BTreeMap<&'static str, StageEpoch>,
}

impl Monitor {
    /// Records the answer to a request: it must always be the same builds.
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
        let changed = std::mem::take(&mut self.has_changed);
        if changed {
            let facts = self.database.changed_facts();
            let is_new = facts.is_some();
            if let Some(facts) = facts {
                self.facts = facts;
            }
            self.check_stages();
            if is_new {
                self.check_facts();
            }
        }
        if std::mem::take(&mut self.disk_used) || changed {
            self.check_shown();
        }
    }

    fn check_facts(&mut self) {
        self.check_order();
        self.check_attempts();
        self.check_results();
        self.check_failures();
        self.check_builds();
        self.check_revisions();
    }

    /// Whether no work is left.
    pub(crate) fn is_drained(&self) -> bool {
        self.facts.open.is_empty()
            && self.facts.live.is_empty()
            && self.wanted.is_empty()
            && self.workers.iter().all(|worker| worker.attempts.is_empty())
            && !self.is_ahead()
    }

    /// Whether clients see a generation that is not recorded.
    fn is_ahead(&self) -> bool {
        self.tree
            .shown_generation()
            .is_some_and(|shown| shown.cast_signed() > self.facts.revision())
    }

    /// The open work, in one line.
    pub(crate) fn stuck(&self) -> String {
        let open = self.facts.open.iter();
        let builds: Vec<String> =
            open.map(|id| format!("{id} is {}", self.facts.state(*id))).collect();
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
            "long after the last fault, builds [{}] have not ended; live: {:?}; workers: [{}]; \
             not answered: {:?}; ahead: {}",
            builds.join(", "),
            self.facts.live,
            held.join(", "),
            self.wanted,
            self.is_ahead()
        )
    }
}
