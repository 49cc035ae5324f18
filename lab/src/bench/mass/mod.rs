//! A mass rebuild of a whole distribution, played by the farm's own order on the graph of Debian's
//! release: how far from the bound it stays, beside first-come-first-served and OBS's way.
//!
//! Nothing is built for it. The graph is that of Debian because its source packages, unlike those
//! of the lab, are tens of thousands with real circles among them; rules of RPM and of Debian do
//! not differ in what counts here: build requirements, and what they pull in. Where apt has no
//! lists of Debian, the graph is a generated one with its numbers, and the figures say so.
//!
//! `lab` has some hundreds of packages really built.

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

/// Figures by slots, with their budgets. On 256 slots some stand idle in any order that packs tasks
/// without knowing the end: the critical path is as long as the work then.
const SIM: [(&str, u32, f64); 3] =
    [("mass.sim.16", 16, 1.05), ("mass.sim.64", 64, 1.05), ("mass.sim.256", 256, 1.25)];
const LOOK: &str = "mass.look";

/// All figures of this kind.
pub(super) const ALL: [&str; 4] = [SIM[0].0, SIM[1].0, SIM[2].0, LOOK];

/// How many builds the batch has whose examinations are timed.
const LOOKED_AT: usize = 3_000;
const ARCH: Arch = Arch::X86_64;
const HOUR: f64 = 3_600e6;

/// Plays the rebuild.
pub(super) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let distribution = Distribution::open().context("the graph of Debian")?;
    if report.wants_any(&[SIM[0].0, SIM[1].0, SIM[2].0]) {
        simulate(&distribution, report)?;
    }
    if report.wants(LOOK) {
        report.add(look(&distribution)?);
    }
    Ok(())
}

fn simulate(distribution: &Distribution, report: &mut Report) -> anyhow::Result<()> {
    // With the base root the circles are largest, and the order is worth most.
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

/// The first `count` sources as a batch, each solved as if all packages were there.
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

/// The same batch as OBS builds it: a member of a circle is built once more after the others of its
/// circle, of which something came anew into its root, and who is outside waits for that.
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

/// Carries out a decision: every root can be solved, and has what it had at first.
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
fn look(distribution: &Distribution) -> anyhow::Result<Figure> {
    let count = LOOKED_AT.min(distribution.sources.len());
    let mut graph = graph(distribution, OrderMode::Bootstrap, count);
    let (mut first_ms, mut slowest_ms, mut looks) = (0.0, 0.0_f64, 0_u32);
    let mut running = BTreeSet::new();
    loop {
        let begun = Instant::now();
        let decided = graph.decide();
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        if looks == 0 {
            first_ms = ms;
        }
        (slowest_ms, looks) = (slowest_ms.max(ms), looks + 1);
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
        peer: format!("the first look, at all {count} builds: {first_ms:.1} ms"),
        ratio: Some(slowest_ms / first_ms),
        note: format!(
            "{}: the slowest of {looks} looks, one after each acceptance",
            distribution.title
        ),
    })
}
