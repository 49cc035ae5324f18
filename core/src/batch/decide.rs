//! The next decisions on the tasks of a batch.

use std::cmp::Reverse;

use super::graph::{BatchGraph, Solution, Task, TaskIx};
use super::hope::Lack;
use crate::{Arch, BuildId};

/// What is to be done with a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Solve its root, for the first time or again after changes.
    Solve {
        /// The count to pass with the result: it shows which changes had come when solving began.
        seen: u32,
    },
    /// Lock the root that was solved: it is the task's turn.
    Lock,
    /// Refuse it: nothing provides these requirements, and nothing will.
    Refuse(Vec<Lack>),
}

/// A decision, and for which task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The build.
    pub build: BuildId,
    /// The architecture.
    pub arch: Arch,
    /// Its upward rank in microseconds: of two whose turn it is, the higher one goes first.
    pub rank_us: i64,
    /// What is to be done.
    pub decision: Decision,
}

impl BatchGraph {
    /// The work to do now, the highest upward rank first. A decision is repeated until the graph
    /// gets its result. Tasks that are not in the list wait: [`Self::blockers`] shows for which
    /// builds.
    pub fn decide(&mut self) -> Vec<Decided> {
        self.settle(false);
        let turns = self.ready.iter().map(|task| self.decided(*task, self.turn(*task)));
        let refused = self.hope.refused(self).into_iter();
        let refused = refused.map(|(task, lacks)| self.decided(task, Decision::Refuse(lacks)));
        let mut decided: Vec<Decided> = turns.chain(refused).collect();
        if decided.is_empty() && self.moving == 0 && self.unknown == 0 {
            decided = self.unblocked();
        }
        self.visits += decided.len() as u64;
        decided.sort_by_key(|one| (Reverse(one.rank_us), one.build, one.arch));
        decided
    }

    /// The count to pass with the result of a task whose solving begins now.
    #[must_use]
    pub const fn seen(&self) -> u32 {
        self.clock
    }

    /// Whether a task has its turn, and its root as it was solved can be locked. For one task this
    /// is cheaper than [`Self::decide`]. It leaves out tasks that have their turn only because no
    /// member makes progress.
    pub fn may_lock(&mut self, build: BuildId, arch: Arch) -> bool {
        self.settle(false);
        let Some(task) = self.find(build, arch) else { return false };
        self.ready.contains(&task) && self.turn(task) == Decision::Lock
    }

    /// The upward rank of a build in microseconds; 0 of one that is no open member.
    pub fn rank_us(&mut self, build: BuildId) -> i64 {
        self.settle(false);
        self.open.get(&build).map_or(0, |member| self.member(*member).rank_us)
    }

    fn decided(&self, task: TaskIx, decision: Decision) -> Decided {
        let Task { member, arch, .. } = self.task(task);
        let member = self.member(*member);
        Decided { build: member.build, arch: *arch, rank_us: member.rank_us, decision }
    }

    /// The decision on a task whose turn it is.
    fn turn(&self, task: TaskIx) -> Decision {
        let found = self.task(task);
        match found.solution {
            Solution::Solved if !found.is_touched() => Decision::Lock,
            _ => Decision::Solve { seen: self.clock },
        }
    }

    /// When no member makes progress, no task waits for members that might help only by chance:
    /// these may be waiting for the very task that waits for them.
    fn unblocked(&self) -> Vec<Decided> {
        let members = self.open.values().flat_map(|member| &self.member(*member).tasks).copied();
        let is_unblocked = |task: &TaskIx| {
            let Task { member, needs, solution, .. } = self.task(*task);
            let is_no_matter =
                |need: &u32| self.components.is_one(*member, *need) || self.hope.is_unsure(*need);
            solution.is_solved() && needs.iter().all(is_no_matter)
        };
        members.filter(is_unblocked).map(|task| self.decided(task, self.turn(task))).collect()
    }
}
