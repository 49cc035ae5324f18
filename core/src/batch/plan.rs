//! The plan of a batch, as people see it before and while it runs.

use std::collections::{BTreeMap, BTreeSet};

use super::forecast::{Choice, Forecast, Interval, Slots, forecast, prepared};
use super::graph::{BatchGraph, MemberIx, Solution};
use super::hope::StuckCircle;
use super::mode::OrderMode;
use crate::{Arch, BuildId};

/// The plan of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which needs count.
    pub mode: OrderMode,
    /// The components in an order in which they can be built.
    pub components: Vec<PlannedComponent>,
    /// The time that no order can beat.
    pub bound: Bound,
    /// How it will go.
    pub forecast: Forecast,
    /// Circles that nothing can begin: these builds will be refused.
    pub stuck: Vec<StuckCircle>,
    /// Builds whose needs and names are unknown.
    pub unknown: Vec<BuildId>,
}

/// Builds that need each other, or one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedComponent {
    /// Its builds with their packages, the highest upward rank first.
    pub members: Vec<(BuildId, String)>,
    /// The components that it waits for, by their places in the plan; all are smaller than its own.
    pub needs: Vec<usize>,
    /// The total duration of its tasks, in microseconds.
    pub work_us: i64,
    /// When it is built; `None` when none of its builds is.
    pub interval: Option<Interval>,
}

/// The least that a batch takes, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bound {
    /// The work divided by the slots, on the architecture where that is most; 0 without slots.
    pub work_us: i64,
    /// The critical path: the longest chain of builds that wait for each other.
    pub path_us: i64,
}

impl Bound {
    /// The larger one.
    #[must_use]
    pub fn least_us(self) -> i64 {
        self.work_us.max(self.path_us)
    }
}

/// More builds in one request than the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asked} builds in one batch are more than this farm takes ({limit}); ask for fewer, or raise \
     the limit of the coordinator"
)]
pub struct TooLarge {
    /// The number of requested builds.
    pub asked: usize,
    /// How many are allowed.
    pub limit: usize,
}

/// Checks how many builds a batch is to have.
///
/// # Errors
/// When they are more than the limit.
pub const fn check_size(asked: usize, limit: usize) -> Result<(), TooLarge> {
    if asked > limit { Err(TooLarge { asked, limit }) } else { Ok(()) }
}

/// Plans the remaining builds of a batch.
#[must_use]
pub fn plan(graph: &BatchGraph, slots: &Slots) -> Plan {
    let is_unknown = |member: &&MemberIx| !graph.member(**member).has_srpm;
    let unknown = graph.open.values().filter(is_unknown);
    let unknown = unknown.map(|member| graph.member(*member).build).collect();
    let forecast = forecast(graph, slots, Choice::CriticalPath);
    let mut graph = prepared(graph, slots);
    graph.settle(true);
    Plan {
        mode: graph.mode,
        components: graph.planned(&forecast),
        bound: graph.bound(slots),
        stuck: graph.stuck_circles(),
        unknown,
        forecast,
    }
}

impl BatchGraph {
    fn planned(&self, forecast: &Forecast) -> Vec<PlannedComponent> {
        let list = self.components.list();
        let place: BTreeMap<MemberIx, usize> = list
            .iter()
            .enumerate()
            .flat_map(|(at, members)| members.iter().map(move |member| (*member, at)))
            .collect();
        let planned = |(at, members): (usize, &Vec<MemberIx>)| {
            let needs = self.needs_of(members).into_iter().map(|need| place[&need]);
            let needs: BTreeSet<usize> = needs.filter(|need| *need != at).collect();
            self.component(members, needs.into_iter().collect(), forecast)
        };
        list.iter().enumerate().map(planned).collect()
    }

    fn needs_of(&self, members: &[MemberIx]) -> BTreeSet<MemberIx> {
        let tasks = members.iter().flat_map(|member| &self.member(*member).tasks);
        tasks.flat_map(|task| &self.task(*task).needs).copied().collect()
    }

    fn component(
        &self,
        members: &[MemberIx],
        needs: Vec<usize>,
        forecast: &Forecast,
    ) -> PlannedComponent {
        let mut members = members.to_vec();
        members.sort_by_key(|member| {
            let member = self.member(*member);
            (std::cmp::Reverse(member.rank_us), member.build)
        });
        let named: Vec<(BuildId, String)> =
            members.iter().map(|member| self.named(*member)).collect();
        let intervals = named.iter().filter_map(|(build, _)| forecast.builds.get(build)).copied();
        let interval = intervals.reduce(|a, b| Interval {
            starts_us: a.starts_us.min(b.starts_us),
            ends_us: a.ends_us.max(b.ends_us),
        });
        let work_us = members.iter().map(|member| self.left_us(*member, None));
        let work_us = work_us.fold(0, i64::saturating_add);
        PlannedComponent { members: named, needs, work_us, interval }
    }

    /// The remaining duration of a member's tasks that are not done, on one architecture or on all.
    pub(super) fn left_us(&self, member: MemberIx, arch: Option<Arch>) -> i64 {
        let found = self.member(member);
        let tasks = found.tasks.iter().map(|task| self.task(*task));
        let left = tasks
            .filter(|task| task.solution != Solution::Done)
            .filter(|task| arch.is_none_or(|arch| task.arch == arch));
        left.map(|_| found.takes_us).fold(0, i64::saturating_add)
    }

    fn bound(&self, slots: &Slots) -> Bound {
        let members = || self.open.values();
        let work_us = |(arch, slots): (&Arch, &u32)| {
            let work = members().map(|member| self.left_us(*member, Some(*arch)));
            let work = work.fold(0, i64::saturating_add);
            if *slots == 0 {
                0
            } else {
                work.saturating_add(i64::from(*slots) - 1) / i64::from(*slots)
            }
        };
        Bound {
            work_us: slots.iter().map(work_us).max().unwrap_or(0),
            path_us: members().map(|member| self.member(*member).rank_us).max().unwrap_or(0),
        }
    }
}
