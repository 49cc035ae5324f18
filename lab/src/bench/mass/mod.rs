//! A simulated mass rebuild of a whole distribution: the farm's own order of a batch on the graph
//! of Debian's release. It is compared with the theoretical bound, with first come, first served,
//! and with the way of OBS.
//!
//! Nothing is built. The graph is Debian's, because Debian has tens of thousands of source packages
//! with real circles, unlike the lab; for build requirements and their dependencies, RPM and Debian
//! have the same rules. Where apt has no lists of Debian, a graph with the same numbers is
//! generated, and the figures say so.
//!
//! `lab` really builds some hundreds of packages.

mod debian;
mod distribution;
mod generated;
pub(super) mod lab;
mod numbers;
mod packages;
mod takes;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use rpmfarm_core::batch::{
    BatchGraph, Choice, Decided, Decision, Forecast, Needed, OrderMode, Plan, Slots, forecast, plan,
};
use rpmfarm_core::{Arch, BuildId};

use super::figure::{Figure, Report};
use distribution::Distribution;

/// Figures by slots, with their budgets. On 256 slots some are idle in any order, because the
/// critical path is then as long as the work over the slots.
const SIM: [(&str, u32, f64); 3] =
    [("mass.sim.16", 16, 1.05), ("mass.sim.64", 64, 1.05), ("mass.sim.256", 256, 1.25)];
const LOOK: &str = "mass.look";

/// The names of all figures of this module.
pub(super) const ALL: [&str; 4] = [SIM[0].0, SIM[1].0, SIM[2].0, LOOK];

/// The number of builds in the batch whose examinations are timed.
const EXAMINED: usize = 3_000;
const ARCH: Arch = Arch::X86_64;
const HOUR: f64 = 3_600e6;

/// Simulates the rebuild.
pub(super) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let distribution = Distribution::open().context("the graph of Debian")?;
    if report.wants_any(&[SIM[0].0, SIM[1].0, SIM[2].0]) {
        simulate(&distribution, report)?;
    }
    if report.wants(LOOK) {
        report.add(examinations(&distribution)?);
    }
    Ok(())
}

fn simulate(distribution: &Distribution, report: &mut Report) -> anyhow::Result<()> {
    // With the base root the circles are largest, and the order matters most.
    let whole = graph(distribution, OrderMode::Bootstrap, distribution.sources.len());
    let beyond = graph(distribution, OrderMode::Requires, distribution.sources.len());
    for (name, slots, budget) in SIM {
        if report.wants(name) {
            let slots = Slots::from([(ARCH, slots)]);
            report.add(figure((name, budget), &slots, distribution, &whole, &beyond)?);
        }
    }
    Ok(())
}

fn figure(
    (name, budget): (&'static str, f64),
    slots: &Slots,
    distribution: &Distribution,
    whole: &BatchGraph,
    beyond: &BatchGraph,
) -> anyhow::Result<Figure> {
    let ours = plan(whole, slots);
    let took = hours(&ours.forecast)?;
    let bound = ours.bound.least_us() as f64 / HOUR;
    let first_come = hours(&forecast(whole, slots, Choice::FirstCome))?;
    let fan_out = hours(&forecast(&twice(distribution, &ours), slots, Choice::FirstCome))?;
    let requires = plan(beyond, slots);
    Ok(Figure {
        name,
        value: took / bound,
        unit: "x",
        budget,
        peer: format!(
            "first come, first served: {first_come:.1} h; OBS's fan-out, circles twice: {fan_out:.1} h"
        ),
        ratio: Some(took / first_come),
        note: format!(
            "{}: {took:.1} h of a bound of {bound:.1} h; {}; beyond the base root {:.1} h of {:.1} h; {}",
            distribution.title,
            shown(&ours),
            hours(&requires.forecast)?,
            requires.bound.least_us() as f64 / HOUR,
            shown(&requires),
        ),
    })
}

/// `34288 builds, the largest circle 5241, critical path 6.9 h`.
fn shown(plan: &Plan) -> String {
    let sizes = || plan.components.iter().map(|component| component.members.len());
    format!(
        "{} builds, the largest circle {}, critical path {:.1} h",
        sizes().sum::<usize>(),
        sizes().max().unwrap_or(0),
        plan.bound.path_us as f64 / HOUR
    )
}

fn hours(forecast: &Forecast) -> anyhow::Result<f64> {
    let ends_us = forecast.ends_us.context("some builds never end")?;
    Ok(ends_us as f64 / HOUR)
}

/// The first `count` sources as a batch, each solved as if all packages existed.
fn graph(distribution: &Distribution, mode: OrderMode, count: usize) -> BatchGraph {
    let mut graph = BatchGraph::new(mode);
    for (at, source) in distribution.sources[..count].iter().enumerate() {
        let needs: Vec<&str> = names(distribution, at, mode);
        add(&mut graph, build(at), &source.name, source.takes_us, &needs);
    }
    graph
}

fn names(distribution: &Distribution, at: usize, mode: OrderMode) -> Vec<&str> {
    distribution.needs(at, mode).map(|need| distribution.name(need)).collect()
}

/// The same batch as OBS builds it: a member of a circle is built a second time after the others of
/// its circle, whose packages are in its root, and members outside wait for the second build.
fn twice(distribution: &Distribution, plan: &Plan) -> BatchGraph {
    let circle: HashMap<BuildId, usize> = plan
        .components
        .iter()
        .enumerate()
        .filter(|(_, component)| component.members.len() > 1)
        .flat_map(|(at, component)| component.members.iter().map(move |(build, _)| (*build, at)))
        .collect();
    let again = |at: usize| format!("{} again", distribution.name(at));
    let mut graph = BatchGraph::new(OrderMode::Bootstrap);
    for (at, source) in distribution.sources.iter().enumerate() {
        let own = circle.get(&build(at));
        let needs = distribution.needs(at, OrderMode::Bootstrap).filter(|need| *need != at);
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            needs.partition(|need| own.is_some() && circle.get(&build(*need)) == own);
        let last = |need: &usize| match circle.get(&build(*need)) {
            Some(_) => again(*need),
            None => distribution.name(*need).to_owned(),
        };
        let outside: Vec<String> = outside.iter().map(last).collect();
        let outside: Vec<&str> = outside.iter().map(String::as_str).collect();
        add(&mut graph, build(at), &source.name, source.takes_us, &outside);
        if own.is_some() {
            let firsts = inside.iter().chain([&at]).map(|need| distribution.name(*need));
            let second = build(distribution.sources.len() + at);
            add(&mut graph, second, &again(at), source.takes_us, &firsts.collect::<Vec<_>>());
        }
    }
    graph
}

fn build(at: usize) -> BuildId {
    BuildId(i64::try_from(at + 1).expect("a number of a source package"))
}

fn add(graph: &mut BatchGraph, build: BuildId, package: &str, takes_us: i64, needs: &[&str]) {
    graph.add_member(build, package, takes_us);
    graph.set_srpm(build, &[ARCH], []);
    solve(graph, build, 0, needs.to_vec());
}

fn solve(graph: &mut BatchGraph, build: BuildId, seen: u32, sources: Vec<&str>) {
    let needed = Needed { sources, ..Needed::default() };
    graph.set_solved(build, ARCH, seen, &needed);
}

/// Carries out a decision: every root can be solved, always with the same packages.
fn carry(
    distribution: &Distribution,
    graph: &mut BatchGraph,
    Decided { build, arch, decision, .. }: Decided,
    running: &mut BTreeSet<BuildId>,
) -> anyhow::Result<()> {
    match decision {
        Decision::Lock => {
            graph.set_locked(build, arch);
            running.insert(build);
        }
        Decision::Solve { seen } => {
            let at = usize::try_from(build.0 - 1)?;
            solve(graph, build, seen, names(distribution, at, OrderMode::Bootstrap));
        }
        Decision::Refuse(_) => bail!("build {build} is refused"),
    }
    Ok(())
}

/// The slowest examination of a batch while it is built.
fn examinations(distribution: &Distribution) -> anyhow::Result<Figure> {
    let count = EXAMINED.min(distribution.sources.len());
    let mut graph = graph(distribution, OrderMode::Bootstrap, count);
    let (mut first_ms, mut slowest_ms, mut count_done) = (0.0, 0.0_f64, 0_u32);
    let mut running = BTreeSet::new();
    loop {
        let begun = Instant::now();
        let decided = graph.decide();
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        if count_done == 0 {
            first_ms = ms;
        }
        (slowest_ms, count_done) = (slowest_ms.max(ms), count_done + 1);
        let is_solved = decided.iter().all(|one| one.decision == Decision::Lock);
        for one in decided {
            carry(distribution, &mut graph, one, &mut running)?;
        }
        if !is_solved {
            continue;
        }
        let Some(ended) = running.pop_first() else { break };
        graph.accept(ended, []);
    }
    ensure!(graph.is_empty(), "the batch hangs");
    Ok(Figure {
        name: LOOK,
        value: slowest_ms,
        unit: "ms",
        budget: 100.0,
        peer: format!("the first examination, of all {count} builds: {first_ms:.1} ms"),
        ratio: Some(slowest_ms / first_ms),
        note: format!(
            "{}: the slowest of {count_done} examinations, one after each acceptance",
            distribution.title
        ),
    })
}
