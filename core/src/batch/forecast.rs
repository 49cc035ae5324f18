//! How a batch will go: its own decisions, played on a copy of the graph.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::decide::{Decided, Decision};
use super::graph::{BatchGraph, Missing, Solution, Task, TaskIx};
use crate::{Arch, BuildId};

/// How many tasks run at once on each architecture.
pub type Slots = BTreeMap<Arch, u32>;

/// Which of the tasks whose turn it is goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one with the highest upward rank, as the farm does.
    #[default]
    CriticalPath,
    /// The task whose turn came first; of equals, the older build.
    FirstCome,
}

/// From when to when, in microseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When the first of its tasks starts.
    pub starts_us: i64,
    /// When the last of its tasks ends.
    pub ends_us: i64,
}

/// How a batch will go, by what is known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// When the last build ends, in microseconds from now. `None` when some build never starts, for
    /// its architecture has no slots.
    pub ends_us: Option<i64>,
    /// The builds that will be built.
    pub builds: BTreeMap<BuildId, Interval>,
    /// The tasks that will be refused, because nothing provides their missing requirements.
    pub refused: Vec<BuildId>,
    /// Microseconds of slots that were busy.
    pub busy_us: i64,
}

/// Simulates a batch to its end. Running tasks are assumed to have just begun; a build without SRPM
/// is assumed to need nothing and to be built on all architectures that have slots; and a build
/// whose requirements nothing provides is assumed to be solvable when its missing requirements are
/// accepted.
#[must_use]
pub fn forecast(graph: &BatchGraph, slots: &Slots, choice: Choice) -> Forecast {
    Run::new(graph, slots, choice).finish()
}

/// The copy of a graph in which everything that can be known has a solution.
pub(super) fn prepared(graph: &BatchGraph, slots: &Slots) -> BatchGraph {
    let mut graph = graph.clone();
    let arches: Vec<Arch> = slots.keys().copied().collect();
    let builds: Vec<BuildId> = graph.open.keys().copied().collect();
    for build in builds {
        graph.set_srpm(build, &arches, []);
    }
    for task in 0..graph.tasks.len() {
        let task = TaskIx::try_from(task).expect("tasks are numbered so");
        if graph.task(task).solution == Solution::Pending {
            graph.assume_solved(task);
        }
    }
    graph
}

/// One play.
struct Run {
    graph: BatchGraph,
    choice: Choice,
    free: Slots,
    /// Tasks that wait for a slot, the next one first.
    queues: BTreeMap<Arch, BTreeSet<(Reverse<i64>, usize, TaskIx)>>,
    /// Tasks that run, by their ends.
    running: BinaryHeap<Reverse<(i64, TaskIx)>>,
    /// How many tasks have been queued.
    queued: usize,
    now_us: i64,
    forecast: Forecast,
}

impl Run {
    fn new(graph: &BatchGraph, slots: &Slots, choice: Choice) -> Self {
        let graph = prepared(graph, slots);
        let locked: Vec<TaskIx> = graph.tasks_of_open().filter(|t| graph.is_locked(*t)).collect();
        let mut run = Self {
            graph,
            choice,
            free: slots.clone(),
            queues: BTreeMap::new(),
            running: BinaryHeap::new(),
            queued: 0,
            now_us: 0,
            forecast: Forecast::default(),
        };
        for task in locked {
            run.enqueue(task);
        }
        run
    }

    fn finish(mut self) -> Forecast {
        self.accept_complete();
        loop {
            while self.take_turns() {}
            self.start();
            if !self.end_next() {
                break;
            }
        }
        if self.graph.is_empty() {
            self.forecast.ends_us = Some(self.now_us);
        }
        self.forecast
    }

    /// Builds that lack nothing but their acceptance.
    fn accept_complete(&mut self) {
        let builds: Vec<BuildId> = self.graph.open.keys().copied().collect();
        for build in builds {
            self.accept_if_complete(build);
        }
    }

    /// Carries out the decisions of the graph. Returns whether there may be more.
    fn take_turns(&mut self) -> bool {
        let mut decided = self.graph.decide();
        if self.choice == Choice::FirstCome {
            decided.sort_by_key(|one| (one.build, one.arch));
        }
        let is_more = decided.iter().any(|one| one.decision != Decision::Lock);
        for one in decided {
            self.take_turn(one);
        }
        is_more
    }

    fn take_turn(&mut self, Decided { build, arch, decision, .. }: Decided) {
        let Some(task) = self.graph.find(build, arch) else { return };
        match decision {
            Decision::Solve { .. } if self.graph.task(task).solution.is_solved() => {
                self.graph.confirm(task);
            }
            Decision::Solve { .. } => self.graph.assume_provided(task),
            Decision::Lock => {
                self.graph.set_locked(build, arch);
                self.enqueue(task);
            }
            Decision::Refuse(_) => {
                self.graph.lose(build);
                self.forecast.builds.remove(&build);
                self.forecast.refused.push(build);
            }
        }
    }

    fn enqueue(&mut self, task: TaskIx) {
        let found = self.graph.task(task);
        let rank_us = match self.choice {
            Choice::CriticalPath => self.graph.member(found.member).rank_us,
            Choice::FirstCome => 0,
        };
        let place = (Reverse(rank_us), self.queued, task);
        self.queued += 1;
        self.queues.entry(found.arch).or_default().insert(place);
    }

    /// Fills the free slots.
    fn start(&mut self) {
        let Self { graph, free, queues, running, forecast, now_us, .. } = self;
        for (arch, queue) in queues {
            let Some(free) = free.get_mut(arch) else { continue };
            while *free > 0
                && let Some((_, _, task)) = queue.pop_first()
            {
                if !graph.is_locked(task) {
                    continue;
                }
                let member = graph.member(graph.task(task).member);
                let ends_us = now_us.saturating_add(member.takes_us);
                *free -= 1;
                running.push(Reverse((ends_us, task)));
                let interval = Interval { starts_us: *now_us, ends_us };
                let known = forecast.builds.entry(member.build).or_insert(interval);
                known.ends_us = known.ends_us.max(ends_us);
                forecast.busy_us = forecast.busy_us.saturating_add(member.takes_us);
            }
        }
    }

    /// Goes to the next end, and ends all that end then. Returns whether something ran.
    fn end_next(&mut self) -> bool {
        let Some(Reverse((now_us, _))) = self.running.peek().copied() else { return false };
        self.now_us = now_us;
        while let Some(Reverse((ends_us, task))) = self.running.peek().copied()
            && ends_us == now_us
        {
            self.running.pop();
            let (arch, member) = (self.graph.task(task).arch, self.graph.task(task).member);
            if let Some(free) = self.free.get_mut(&arch) {
                *free += 1;
            }
            if self.graph.is_locked(task) {
                let build = self.graph.member(member).build;
                self.graph.set_done(build, arch);
                self.accept_if_complete(build);
            }
        }
        true
    }

    fn accept_if_complete(&mut self, build: BuildId) {
        if !self.graph.is_complete(build) {
            return;
        }
        self.graph.accept(build, []);
        // For requirements that no spec names the provider is unknown: the first member that ends
        // may be it.
        let by_chance = self.graph.lacking.iter().copied();
        let by_chance = by_chance.filter(|task| self.graph.task(*task).needs.is_empty());
        for task in by_chance.collect::<Vec<_>>() {
            self.graph.touch(task);
        }
    }
}

impl BatchGraph {
    pub(super) fn tasks_of_open(&self) -> impl Iterator<Item = TaskIx> {
        self.open.values().flat_map(|member| &self.member(*member).tasks).copied()
    }

    /// Assumes that the missing requirements of a task are available, except those that an open
    /// member will make.
    fn assume_provided(&mut self, task: TaskIx) {
        let Task { member, solution, .. } = self.task(task);
        let is_open = |missing: &&Missing| self.makers_of(missing).any(|maker| maker != *member);
        let left: Vec<Missing> = solution.missing().iter().filter(is_open).cloned().collect();
        let keys = left.iter().filter_map(|missing| missing.key).collect();
        let solution = if left.is_empty() { Solution::Solved } else { Solution::Lacking(left) };
        self.solve(task, self.clock, keys, solution);
    }

    pub(super) fn is_locked(&self, task: TaskIx) -> bool {
        self.task(task).solution == Solution::Locked
    }

    /// Whether an open member has its SRPM and all its tasks are done.
    fn is_complete(&self, build: BuildId) -> bool {
        let Some(member) = self.open.get(&build).map(|member| self.member(*member)) else {
            return false;
        };
        let is_done = |task: &TaskIx| self.task(*task).solution == Solution::Done;
        member.has_srpm && member.tasks.iter().all(is_done)
    }
}
