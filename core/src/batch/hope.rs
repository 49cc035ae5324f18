//! Which tasks without a root can still get one, and the report on those that cannot.
//!
//! A task can be helped when each of its missing requirements is made by a member that itself can
//! be built. A spec need not name the files of a package, nor the provides that rpm finds in them:
//! any member may provide such a requirement.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::graph::{BatchGraph, MemberIx, Missing, TaskIx};
use super::strong;
use crate::BuildId;

/// How many members of a circle are tried as the one that breaks it.
const BREAKERS: usize = 8;

/// Something that a refused task lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The requirement; empty when it is a conflict or the like.
    pub requirement: String,
    /// Members that were to make it and ended without.
    pub lost: Vec<BuildId>,
    /// Members that would make it, and cannot begin either. The build itself is among them when it
    /// requires a package that it makes.
    pub circle: Vec<BuildId>,
}

/// Members with missing requirements that others of them make, so that none can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckCircle {
    /// The members with their packages.
    pub members: Vec<(BuildId, String)>,
    /// The possible breakers, the best first.
    pub breakers: Vec<Breaker>,
}

/// A member that could begin if the missing requirements that others make were available, or not
/// required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// The build.
    pub build: BuildId,
    /// Its package.
    pub package: String,
    /// The missing requirements that other members of its circle make.
    pub requirements: Vec<String>,
    /// How many members of the circle could be built then, itself among them.
    pub frees: usize,
}

impl fmt::Display for StuckCircle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.members.iter().take(5).map(|(_, name)| name.as_str()).collect();
        write!(
            f,
            "{} builds that need each other cannot begin ({}",
            self.members.len(),
            names.join(", ")
        )?;
        f.write_str(if self.members.len() > names.len() { ", …)" } else { ")" })?;
        let Some(best) = self.breakers.first() else { return Ok(()) };
        write!(
            f,
            "; provide `{}` from a repository or from an earlier build, or build {} without it by a \
             bootstrap conditional (--with bootstrap)",
            best.requirements.join("`, `"),
            best.package
        )
    }
}

/// Which tasks without a root can still get one. It is kept, and updated with the tasks that a
/// change concerns.
#[derive(Debug, Clone, Default)]
pub(super) struct Hope {
    /// By the names in specs.
    sure: Help<false>,
    /// Also by chance: a member may provide requirements that a spec need not name.
    chance: Help<true>,
    /// Tasks whose missing requirements, or the makers of these, have changed.
    changed: BTreeSet<TaskIx>,
}

impl Hope {
    /// Records a change for a task that has a missing requirement, or had one before.
    pub(super) fn doubt(&mut self, task: TaskIx) {
        self.changed.insert(task);
    }

    /// Updates it. Returns how many tasks and requirements were visited.
    pub(super) fn update(&mut self, graph: &BatchGraph) -> u64 {
        let changed = std::mem::take(&mut self.changed);
        self.sure.update(graph, &changed) + self.chance.update(graph, &changed)
    }

    /// Whether no member can help a member, or one only by chance.
    pub(super) fn is_unsure(&self, member: MemberIx) -> bool {
        self.sure.stuck.contains_key(&member)
    }

    /// Each task that no member can help, with its missing requirements.
    pub(super) fn refused(&self, graph: &BatchGraph) -> Vec<(TaskIx, Vec<Lack>)> {
        let refused = self.hopeless(graph).map(|task| {
            let lacks = self.lacks(graph, task).map(|missing| lack(graph, missing)).collect();
            (task, lacks)
        });
        refused.collect()
    }

    /// The tasks that no member can help.
    fn hopeless(&self, graph: &BatchGraph) -> impl Iterator<Item = TaskIx> {
        let hopeless =
            if self.is_chance(graph) { &self.chance.hopeless } else { &self.sure.hopeless };
        // A spec that has not been read may name the missing requirement.
        hopeless.iter().copied().filter(|_| graph.unknown == 0)
    }

    /// As long as a member can be built, it may provide requirements that a spec need not name.
    fn is_chance(&self, graph: &BatchGraph) -> bool {
        graph.open.len() > self.sure.stuck.len()
    }

    /// The requirements of a task that no member provides.
    fn lacks<'a>(
        &'a self,
        graph: &'a BatchGraph,
        task: TaskIx,
    ) -> impl Iterator<Item = &'a Missing> {
        let providers =
            if self.is_chance(graph) { &self.chance.providers } else { &self.sure.providers };
        let found = providers.get(&task).into_iter().flatten();
        let missing = graph.task(task).solution.missing().iter().zip(found);
        missing.filter(|(_, by)| **by == Provider::Nobody).map(|(missing, _)| missing)
    }

    /// The members that make the missing requirements of a member that cannot be helped.
    fn circle(&self, graph: &BatchGraph, member: MemberIx, list: &mut Vec<u32>) {
        for task in &graph.member(member).tasks {
            for missing in self.lacks(graph, *task) {
                list.extend(graph.makers_of(missing));
            }
        }
    }
}

/// The provider of a missing requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Nobody,
    Chance,
    Member(MemberIx),
}

/// Which tasks can be helped, starting from members that lack nothing. No member helps another one
/// that has to help it first: a provider counts only when it can be built already.
#[derive(Debug, Clone, Default)]
struct Help<const BY_CHANCE: bool> {
    /// The providers of the missing requirements of each task that has any.
    providers: BTreeMap<TaskIx, Vec<Provider>>,
    /// The tasks with a requirement that no member provides.
    hopeless: BTreeSet<TaskIx>,
    /// How many of these a member has; only members that have some.
    stuck: BTreeMap<MemberIx, usize>,
}

/// The remaining work of an update.
#[derive(Debug, Default)]
struct Work {
    /// Members that can no longer be built.
    stuck: Vec<MemberIx>,
    /// Members that can be built now.
    freed: Vec<MemberIx>,
    /// Tasks that lost a provider.
    asked: BTreeSet<TaskIx>,
    visits: u64,
}

impl<const BY_CHANCE: bool> Help<BY_CHANCE> {
    fn update(&mut self, graph: &BatchGraph, changed: &BTreeSet<TaskIx>) -> u64 {
        let mut work = Work::default();
        for task in changed {
            self.begin(graph, *task, &mut work);
        }
        while let Some(member) = work.stuck.pop() {
            self.withdraw(graph, member, &mut work);
        }
        for task in std::mem::take(&mut work.asked) {
            self.ask(graph, task, &mut work);
        }
        self.spread(graph, &mut work);
        work.visits
    }

    /// Forgets the providers for a task.
    fn begin(&mut self, graph: &BatchGraph, task: TaskIx, work: &mut Work) {
        let found = graph.task(task);
        // A task that must be solved again may have its missing requirement now.
        if found.solution.missing().is_empty() || found.is_touched() {
            return self.give(found.member, task, work);
        }
        self.providers.insert(task, vec![Provider::Nobody; found.solution.missing().len()]);
        self.set_hopeless(found.member, task, work);
    }

    /// Records that a task has no missing requirement.
    fn give(&mut self, member: MemberIx, task: TaskIx, work: &mut Work) {
        self.providers.remove(&task);
        self.set_helped(member, task, work);
    }

    /// Records that a member provides nothing any more.
    fn withdraw(&mut self, graph: &BatchGraph, member: MemberIx, work: &mut Work) {
        for task in &graph.member(member).dependents {
            let Some(providers) = self.providers.get_mut(task) else { continue };
            work.visits += 1 + providers.len() as u64;
            let mut is_lost = false;
            for by in providers.iter_mut().filter(|by| **by == Provider::Member(member)) {
                (*by, is_lost) = (Provider::Nobody, true);
            }
            if is_lost {
                self.set_hopeless(graph.task(*task).member, *task, work);
            }
        }
    }

    /// Finds providers for the requirements of a task that have none yet.
    fn ask(&mut self, graph: &BatchGraph, task: TaskIx, work: &mut Work) {
        let Some(mut providers) = self.providers.remove(&task) else { return };
        let found = graph.task(task);
        work.visits += 1 + providers.len() as u64;
        for (by, missing) in providers.iter_mut().zip(found.solution.missing()) {
            if *by == Provider::Nobody {
                *by = self.provider(graph, missing);
            }
        }
        if !providers.contains(&Provider::Nobody) {
            self.set_helped(found.member, task, work);
        }
        self.providers.insert(task, providers);
    }

    /// The member itself is no provider: it cannot be built as long as its task has a missing
    /// requirement.
    fn provider(&self, graph: &BatchGraph, missing: &Missing) -> Provider {
        if BY_CHANCE && missing.anybody {
            return Provider::Chance;
        }
        let mut makers = graph.makers_of(missing);
        let free = makers.find(|maker| !self.stuck.contains_key(maker));
        free.map_or(Provider::Nobody, Provider::Member)
    }

    /// Members that can be built now provide the missing requirements of others.
    fn spread(&mut self, graph: &BatchGraph, work: &mut Work) {
        while let Some(member) = work.freed.pop() {
            for task in &graph.member(member).dependents {
                if self.hopeless.contains(task) {
                    self.ask(graph, *task, work);
                }
            }
        }
    }

    fn set_hopeless(&mut self, member: MemberIx, task: TaskIx, work: &mut Work) {
        work.asked.insert(task);
        if !self.hopeless.insert(task) {
            return;
        }
        let stuck = self.stuck.entry(member).or_default();
        *stuck += 1;
        if *stuck == 1 {
            work.stuck.push(member);
        }
    }

    fn set_helped(&mut self, member: MemberIx, task: TaskIx, work: &mut Work) {
        if !self.hopeless.remove(&task) {
            return;
        }
        let Some(stuck) = self.stuck.get_mut(&member) else { return };
        *stuck -= 1;
        if *stuck == 0 {
            self.stuck.remove(&member);
            work.freed.push(member);
        }
    }

    /// How many of these members can be built if one of them lacks nothing.
    fn frees(&self, graph: &BatchGraph, one: MemberIx, members: &[MemberIx]) -> usize {
        let (mut help, mut work) = (self.clone(), Work::default());
        for task in &graph.member(one).tasks {
            help.give(one, *task, &mut work);
        }
        help.spread(graph, &mut work);
        members.iter().filter(|member| !help.stuck.contains_key(*member)).count()
    }
}

fn lack(graph: &BatchGraph, missing: &Missing) -> Lack {
    let lost = missing.key.and_then(|key| graph.lost_makers.get(&key)).cloned().unwrap_or_default();
    let circle = graph.makers_of(missing).map(|maker| graph.member(maker).build).collect();
    Lack { requirement: missing.requirement.clone(), lost, circle }
}

impl BatchGraph {
    /// The circles that nothing can begin: each member has a missing requirement that another one
    /// makes. Members that only need a member of such a circle are not in it.
    #[must_use]
    pub fn stuck_circles(&self) -> Vec<StuckCircle> {
        let mut hope = self.hope.clone();
        hope.update(self);
        let tasks = hope.hopeless(self).map(|task| self.task(task).member);
        let members: BTreeSet<MemberIx> = tasks.collect();
        let roots: Vec<MemberIx> = members.into_iter().collect();
        let needs = |member: u32, list: &mut Vec<u32>| hope.circle(self, member, list);
        let found = strong::Search::default().run(&roots, needs).components;
        let circles = found.iter().filter(|members| self.is_circle(&hope, members));
        circles.map(|members| self.circle(&hope, members)).collect()
    }

    fn is_circle(&self, hope: &Hope, members: &[MemberIx]) -> bool {
        let mut list = Vec::new();
        hope.circle(self, members[0], &mut list);
        members.len() > 1 || list.contains(&members[0])
    }

    fn circle(&self, hope: &Hope, members: &[MemberIx]) -> StuckCircle {
        let mut named: Vec<(BuildId, String)> =
            members.iter().map(|member| self.named(*member)).collect();
        named.sort();
        let circle: BTreeSet<MemberIx> = members.iter().copied().collect();
        let mut breakers: Vec<(MemberIx, Breaker)> =
            circle.iter().map(|member| (*member, self.breaker(hope, *member, &circle))).collect();
        breakers.sort_by_key(|(_, breaker)| (breaker.requirements.len(), breaker.build));
        breakers.truncate(BREAKERS);
        for (member, breaker) in &mut breakers {
            // A member that can be built may by chance provide the missing requirements of others.
            breaker.frees = hope.chance.frees(self, *member, members);
        }
        let mut breakers: Vec<Breaker> = breakers.into_iter().map(|(_, breaker)| breaker).collect();
        breakers.sort_by_key(|one| std::cmp::Reverse(one.frees));
        StuckCircle { members: named, breakers }
    }

    /// A member as a breaker of a circle.
    fn breaker(&self, hope: &Hope, member: MemberIx, circle: &BTreeSet<MemberIx>) -> Breaker {
        let tasks = self.member(member).tasks.iter();
        let missing = tasks.flat_map(|task| hope.lacks(self, *task));
        let of_circle =
            missing.filter(|one| self.makers_of(one).any(|maker| circle.contains(&maker)));
        let requirements: BTreeSet<String> =
            of_circle.map(|missing| missing.requirement.clone()).collect();
        let (build, package) = self.named(member);
        Breaker { build, package, requirements: requirements.into_iter().collect(), frees: 0 }
    }

    /// The open members that make a missing requirement.
    pub(super) fn makers_of(&self, missing: &Missing) -> impl Iterator<Item = MemberIx> {
        missing.key.into_iter().flat_map(|key| &self.makers[key as usize]).copied()
    }

    /// A member as it is shown to people.
    pub(super) fn named(&self, member: MemberIx) -> (BuildId, String) {
        let found = self.member(member);
        (found.build, self.keys.text(found.source).to_owned())
    }
}
