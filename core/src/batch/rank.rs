//! Upward ranks: how long it takes from a member's start to the end of all that needs it.

use std::collections::BTreeSet;

use super::graph::{BatchGraph, MemberIx};

impl BatchGraph {
    /// Updates components, the counts that depend on them, ranks and hope. With `all`, also the
    /// components in which no member waits. As long as a spec is not read, no member is without
    /// hope.
    pub(super) fn settle(&mut self, all: bool) {
        let mut components = std::mem::take(&mut self.components);
        let settled = components.settle(&*self, all);
        self.components = components;
        self.visits += settled.visits;
        for member in settled.moved {
            self.recount(member);
        }
        self.rank();
        if self.unknown == 0 {
            let mut hope = std::mem::take(&mut self.hope);
            self.visits += hope.update(self);
            self.hope = hope;
        }
    }

    /// A member is in another component: other needs of it are outside of that.
    fn recount(&mut self, member: MemberIx) {
        self.unranked.insert(member);
        for task in self.member(member).tasks.clone() {
            let needs = &self.tasks[task as usize].needs;
            let outside = needs.iter().filter(|need| !self.components.is_one(member, **need));
            let outside = outside.count();
            self.unranked.extend(needs);
            self.visits += 1 + needs.len() as u64;
            self.tasks[task as usize].outside = outside;
            self.review(task);
        }
    }

    /// Ranks the members that something changed for, the last in the sequence first: a rank follows
    /// from those of members that stand behind.
    fn rank(&mut self) {
        let unranked = std::mem::take(&mut self.unranked);
        let mut due: BTreeSet<(usize, MemberIx)> =
            unranked.into_iter().map(|member| (self.components.place(member), member)).collect();
        while let Some((_, member)) = due.pop_last() {
            let rank_us = self.upward_rank(member);
            let before = std::mem::replace(&mut self.members[member as usize].rank_us, rank_us);
            if before == rank_us {
                continue;
            }
            for task in &self.member(member).tasks {
                let needs = self.task(*task).needs.iter().copied();
                let outside = needs.filter(|need| !self.components.is_one(member, *need));
                due.extend(outside.map(|need| (self.components.place(need), need)));
            }
        }
    }

    fn upward_rank(&mut self, member: MemberIx) -> i64 {
        let found = self.member(member);
        let tasks = found.dependents.iter().map(|task| self.task(*task).member);
        let outside = tasks.filter(|other| !self.components.is_one(member, *other));
        let longest = outside.map(|other| self.member(other).rank_us).max().unwrap_or(0);
        let rank_us = longest.saturating_add(found.takes_us);
        self.visits += 1 + found.dependents.len() as u64;
        rank_us
    }
}
