//! The progress of a batch, the builds that hold it, and its lost builds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::graph::{BatchGraph, MemberIx, Solution, Task};
use crate::{Arch, BuildId};

/// How many builds that hold a batch are named.
const HOLDERS: usize = 5;

/// How far a batch is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Builds that are accepted.
    pub accepted: usize,
    /// Builds that ended without.
    pub lost: usize,
    /// Open builds without SRPM.
    pub without_srpm: usize,
    /// Open builds with a task that has its lock or is done.
    pub building: usize,
    /// Open builds whose tasks all wait.
    pub waiting: usize,
    /// The expected durations of the accepted builds together, in microseconds.
    pub accepted_us: i64,
    /// The expected durations of the tasks of open builds together.
    pub left_us: i64,
    /// The longest chain of builds that wait for each other, from the one that goes first.
    pub critical_path: Vec<(BuildId, String)>,
    /// The duration of that chain.
    pub critical_path_us: i64,
    /// The builds that most others wait for.
    pub holders: Vec<Holder>,
}

/// A build that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The build.
    pub build: BuildId,
    /// Its package.
    pub package: String,
    /// How many builds need it and wait.
    pub holds: usize,
}

/// The builds for which a task waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blockers {
    /// For these members.
    Members(Vec<Blocker>),
    /// For so many SRPMs, because the known specs do not name the missing requirement.
    Srpms(usize),
    /// For any member that ends, because the missing requirement need not be in a spec.
    Anybody,
    /// For no build of the batch.
    Nobody,
}

/// A member that a task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The build.
    pub build: BuildId,
    /// Its package.
    pub package: String,
    /// A name that it makes and that the task's root holds or lacks. `None` when its packages are
    /// known by their source only.
    pub wanted: Option<String>,
}

/// A build that ended without being accepted, and its effect on others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The build.
    pub build: BuildId,
    /// Its package.
    pub package: String,
    /// The builds that were refused for want of it, directly or through others.
    pub took: Vec<BuildId>,
    /// The builds that needed it and continue with the present packages.
    pub without: Vec<BuildId>,
}

impl BatchGraph {
    /// How far the batch is.
    pub fn progress(&mut self) -> Progress {
        self.settle(true);
        let mut progress = Progress {
            accepted: self.accepted,
            lost: self.lost.len(),
            without_srpm: self.unknown,
            accepted_us: self.accepted_us,
            holders: self.holders(),
            ..Progress::default()
        };
        for member in self.open.values() {
            let mut tasks =
                self.member(*member).tasks.iter().map(|task| &self.task(*task).solution);
            let is_building = tasks.any(|one| matches!(one, Solution::Locked | Solution::Done));
            progress.building += usize::from(is_building);
            progress.waiting += usize::from(!is_building && self.member(*member).has_srpm);
            progress.left_us = progress.left_us.saturating_add(self.left_us(*member, None));
        }
        let path = self.critical_path();
        progress.critical_path_us = path.first().map_or(0, |first| self.member(*first).rank_us);
        progress.critical_path = path.into_iter().map(|member| self.named(member)).collect();
        progress
    }

    /// The chain of the highest upward ranks.
    fn critical_path(&self) -> Vec<MemberIx> {
        let rank = |member: &MemberIx| {
            let found = self.member(*member);
            (found.rank_us, Reverse(found.build))
        };
        let mut path: Vec<MemberIx> =
            self.open.values().copied().max_by_key(rank).into_iter().collect();
        while let Some(last) = path.last().copied() {
            let tasks = self.member(last).dependents.iter().map(|task| self.task(*task).member);
            let next = tasks.filter(|other| !self.components.is_one(last, *other)).max_by_key(rank);
            let Some(next) = next else { break };
            path.push(next);
        }
        path
    }

    fn holders(&self) -> Vec<Holder> {
        let held = |member: &MemberIx| {
            let tasks = self.member(*member).dependents.iter().map(|task| self.task(*task));
            let waiting = tasks.filter(|task| !task.solution.moves()).map(|task| task.member);
            let others = waiting.filter(|other| !self.components.is_one(*member, *other));
            others.collect::<BTreeSet<MemberIx>>().len()
        };
        let all = self.open.values().map(|member| (held(member), *member));
        let mut all: Vec<(usize, MemberIx)> = all.filter(|(held, _)| *held > 0).collect();
        all.sort_by_key(|(held, member)| {
            let found = self.member(*member);
            (Reverse(*held), Reverse(found.rank_us), found.build)
        });
        all.truncate(HOLDERS);
        let holder = |(holds, member): (usize, MemberIx)| {
            let (build, package) = self.named(member);
            Holder { build, package, holds }
        };
        all.into_iter().map(holder).collect()
    }

    /// The builds for which a task waits.
    #[must_use]
    pub fn blockers(&self, build: BuildId, arch: Arch) -> Blockers {
        let Some(task) = self.find(build, arch) else { return Blockers::Nobody };
        let Task { member, needs, solution, .. } = self.task(task);
        let lacks = !solution.missing().is_empty();
        // In a circle, only tasks with missing requirements wait for other members of it.
        let is_waited_for = |need: &&MemberIx| {
            lacks || (solution.is_solved() && !self.components.is_one(*member, **need))
        };
        let members = needs.iter().filter(is_waited_for);
        let members: Vec<Blocker> =
            members.map(|need| self.blocker(self.task(task), *need)).collect();
        if !members.is_empty() {
            return Blockers::Members(members);
        }
        match solution.missing() {
            [] => Blockers::Nobody,
            missing if missing.iter().any(|one| one.anybody) => Blockers::Anybody,
            _ if self.unknown > 0 => Blockers::Srpms(self.unknown),
            _ => Blockers::Nobody,
        }
    }

    fn blocker(&self, task: &Task, need: MemberIx) -> Blocker {
        let names = &self.member(need).names;
        let wanted = task.mentions.iter().find(|key| names.binary_search(key).is_ok());
        let wanted = wanted.map(|key| self.keys.text(*key).to_owned());
        let (build, package) = self.named(need);
        Blocker { build, package, wanted }
    }

    /// The builds that ended without being accepted by their own fault, each with the builds that
    /// failed because of it.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let mut taken: BTreeMap<BuildId, Vec<BuildId>> = BTreeMap::new();
        for lost in &self.lost {
            for cause in &lost.because {
                taken.entry(*cause).or_default().push(lost.build);
            }
        }
        let own = self.lost.iter().filter(|lost| lost.because.is_empty());
        let loss = own.map(|lost| Loss {
            build: lost.build,
            package: self.keys.text(lost.source).to_owned(),
            took: reached(lost.build, &taken),
            without: lost.without.clone(),
        });
        loss.collect()
    }
}

/// All that is reached from a build, without itself.
fn reached(from: BuildId, edges: &BTreeMap<BuildId, Vec<BuildId>>) -> Vec<BuildId> {
    let mut found = BTreeSet::new();
    let mut due = vec![from];
    while let Some(build) = due.pop() {
        let next = edges.get(&build).into_iter().flatten().copied();
        due.extend(next.filter(|build| *build != from && found.insert(*build)));
    }
    found.into_iter().collect()
}
