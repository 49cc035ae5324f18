//! Which tasks without a root can still get one, and what is told of those that cannot.
//!
//! A task can be helped when each thing that it lacks is made by a member that itself can be built.
//! What files are named and what rpm finds in them no spec has to say: such a thing may come from
//! anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::graph::{BatchGraph, MemberIx, Task, TaskIx};
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
    /// requires what it makes.
    pub circle: Vec<BuildId>,
}

/// Members that lack what others of them make, so that none can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckCircle {
    /// The members with their packages.
    pub members: Vec<(BuildId, String)>,
    /// What would break it, the best first.
    pub breakers: Vec<Breaker>,
}

/// A member that would begin if it had, or did without, what it lacks of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// The build.
    pub build: BuildId,
    /// Its package.
    pub package: String,
    /// What it lacks of the members of its circle.
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

/// What can still become of the tasks without a root.
#[derive(Debug)]
pub(super) struct Hope {
    /// Of tasks that nobody can help, which things nobody brings.
    hopeless: BTreeMap<TaskIx, BTreeSet<usize>>,
    /// Members that are helped by nobody, or only by chance: by somebody of whom no spec says that he
    /// makes what is missing.
    pub(super) unsure: BTreeSet<MemberIx>,
}

impl Hope {
    pub(super) fn new(graph: &BatchGraph) -> Self {
        let mut search = Search::new(graph, None);
        search.run();
        let unsure = search.stuck.keys().copied().collect();
        search.expect_chance();
        Self { hopeless: search.lacks, unsure }
    }

    /// Each task that nobody can help, with what it lacks.
    pub(super) fn refused(&self, graph: &BatchGraph) -> Vec<(TaskIx, Vec<Lack>)> {
        let refused = self.hopeless.iter().map(|(task, things)| {
            let lacks: Vec<Lack> = things.iter().map(|thing| lack(graph, *task, *thing)).collect();
            (*task, lacks)
        });
        refused.collect()
    }

    /// The members that make what a hopeless member lacks.
    fn circle(&self, graph: &BatchGraph, member: MemberIx, list: &mut Vec<u32>) {
        for task in &graph.member(member).tasks {
            let things = self.hopeless.get(task).into_iter().flatten();
            let missing = things.map(|thing| &graph.task(*task).solution.missing()[*thing]);
            for key in missing.filter_map(|missing| missing.key) {
                list.extend(&graph.makers[key as usize]);
            }
        }
    }
}

/// Looks for members that can be built, from those on that lack nothing.
#[derive(Debug)]
struct Search<'a> {
    graph: &'a BatchGraph,
    /// What a task lacks that nobody brings so far.
    lacks: BTreeMap<TaskIx, BTreeSet<usize>>,
    /// How many tasks of a member are not helped so far.
    stuck: BTreeMap<MemberIx, usize>,
    /// What a stuck member would bring to whom.
    watchers: BTreeMap<MemberIx, Vec<(TaskIx, usize)>>,
    /// Things that somebody brings.
    brought: Vec<(TaskIx, usize)>,
}

impl<'a> Search<'a> {
    /// As if the tasks of `given` had all that they lack.
    fn new(graph: &'a BatchGraph, given: Option<MemberIx>) -> Self {
        let (lacks, stuck) = (BTreeMap::new(), BTreeMap::new());
        let (watchers, brought) = (BTreeMap::new(), Vec::new());
        let mut search = Self { graph, lacks, stuck, watchers, brought };
        for task in &graph.lacking {
            let Task { member, solution, touched, seen, .. } = graph.task(*task);
            // One that is to be solved anew may have what it lacked.
            if touched == seen && Some(*member) != given {
                search.lacks.insert(*task, (0..solution.missing().len()).collect());
                *search.stuck.entry(*member).or_default() += 1;
            }
        }
        let things: Vec<(TaskIx, usize)> = search.things().collect();
        for (task, thing) in things {
            search.ask(task, thing);
        }
        search
    }

    fn things(&self) -> impl Iterator<Item = (TaskIx, usize)> {
        self.lacks.iter().flat_map(|(task, things)| things.iter().map(move |thing| (*task, *thing)))
    }

    /// Who brings a thing?
    fn ask(&mut self, task: TaskIx, thing: usize) {
        let Task { member, solution, .. } = self.graph.task(task);
        let missing = &solution.missing()[thing];
        let makers = missing.key.map_or(&[][..], |key| self.graph.makers[key as usize].as_slice());
        let others: Vec<MemberIx> =
            makers.iter().copied().filter(|maker| maker != member).collect();
        // A spec that nobody has read may name it.
        if self.graph.unknown > 0 || others.iter().any(|maker| !self.stuck.contains_key(maker)) {
            self.brought.push((task, thing));
            return;
        }
        for maker in others {
            self.watchers.entry(maker).or_default().push((task, thing));
        }
    }

    fn run(&mut self) {
        while let Some((task, thing)) = self.brought.pop() {
            let Some(lacks) = self.lacks.get_mut(&task) else { continue };
            lacks.remove(&thing);
            if lacks.is_empty() {
                self.lacks.remove(&task);
                self.help(self.graph.task(task).member);
            }
        }
    }

    /// One more task of a member can get its root.
    fn help(&mut self, member: MemberIx) {
        let Some(left) = self.stuck.get_mut(&member) else { return };
        *left -= 1;
        if *left == 0 {
            self.stuck.remove(&member);
            self.brought.extend(self.watchers.remove(&member).unwrap_or_default());
        }
    }

    /// As long as somebody can be built, it may bring what no spec has to name.
    fn expect_chance(&mut self) {
        if self.graph.open.len() <= self.stuck.len() {
            return;
        }
        let graph = self.graph;
        let chance: Vec<(TaskIx, usize)> = self
            .things()
            .filter(|(task, thing)| graph.task(*task).solution.missing()[*thing].anybody)
            .collect();
        self.brought.extend(chance);
        self.run();
    }
}

fn lack(graph: &BatchGraph, task: TaskIx, thing: usize) -> Lack {
    let missing = &graph.task(task).solution.missing()[thing];
    let lost = missing.key.and_then(|key| graph.lost_makers.get(&key)).cloned().unwrap_or_default();
    let makers = missing.key.map_or(&[][..], |key| graph.makers[key as usize].as_slice());
    let circle = makers.iter().map(|maker| graph.member(*maker).build).collect();
    Lack { requirement: missing.requirement.clone(), lost, circle }
}

impl BatchGraph {
    /// The circles that nothing can begin: each member lacks what another one makes. Those that only
    /// hang on such a circle are not in it.
    #[must_use]
    pub fn stuck_circles(&self) -> Vec<StuckCircle> {
        let hope = Hope::new(self);
        let tasks = hope.hopeless.keys().map(|task| self.task(*task).member);
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
            let mut search = Search::new(self, Some(*member));
            search.run();
            search.expect_chance();
            let is_free = |member: &&MemberIx| !search.stuck.contains_key(*member);
            breaker.frees = members.iter().filter(is_free).count();
        }
        let mut breakers: Vec<Breaker> = breakers.into_iter().map(|(_, breaker)| breaker).collect();
        breakers.sort_by_key(|one| std::cmp::Reverse(one.frees));
        StuckCircle { members: named, breakers }
    }

    /// What a member lacks of these.
    fn breaker(&self, hope: &Hope, member: MemberIx, circle: &BTreeSet<MemberIx>) -> Breaker {
        let mut requirements = BTreeSet::new();
        for task in &self.member(member).tasks {
            for thing in hope.hopeless.get(task).into_iter().flatten() {
                let missing = &self.task(*task).solution.missing()[*thing];
                let makers =
                    missing.key.map_or(&[][..], |key| self.makers[key as usize].as_slice());
                if makers.iter().any(|maker| circle.contains(maker)) {
                    requirements.insert(missing.requirement.clone());
                }
            }
        }
        let (build, package) = self.named(member);
        Breaker { build, package, requirements: requirements.into_iter().collect(), frees: 0 }
    }

    /// A member as people know it.
    pub(super) fn named(&self, member: MemberIx) -> (BuildId, String) {
        let found = self.member(member);
        (found.build, self.keys.text(found.source).to_owned())
    }
}
