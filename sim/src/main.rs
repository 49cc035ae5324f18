//! `rpmfarm-sim`: runs seeds of the simulation, or shows one.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use parking_lot::Mutex;
use rpmfarm_sim::planted_bugs::PlantedBug;
use rpmfarm_sim::{SEEDS, replay, report, run};

/// Simulates the farm from seeds and checks its invariants after every step.
///
/// Examples:
///   rpmfarm-sim --seeds 20000         looks for a violation among so many seeds
///   rpmfarm-sim --seed 4711           shows every event of one
///   rpmfarm-sim --plant late-report   breaks a rule on purpose and reports what notices
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Options {
    /// Number of seeds to run.
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds to run in parallel; by default one for each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run only this seed, and show its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Do not stop at the first violation: count them, with the first seed of each kind.
    #[arg(long, conflicts_with = "seed")]
    all: bool,
    /// Break this rule on purpose.
    #[arg(long, value_name = "RULE")]
    plant: Option<PlantedBug>,
}

/// The results of all seeds.
#[derive(Default)]
struct SeedTotals {
    steps: u64,
    builds: usize,
    published: usize,
    /// By kind: how many violations, and the first seed with its message.
    broken: BTreeMap<String, (u64, u64, String)>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.seed {
        Some(seed) => show(seed, options.plant),
        None => run_all(&options),
    }
}

fn show(seed: u64, plant: Option<PlantedBug>) -> ExitCode {
    let outcome = replay(seed, plant);
    for line in outcome.trace.lines() {
        println!("{line}");
    }
    println!(
        "seed {seed} ({}): {} steps, {} of {} builds published",
        outcome.profile, outcome.steps, outcome.published, outcome.builds
    );
    if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_all(options: &Options) -> ExitCode {
    let start = Instant::now();
    let (next, stop) = (AtomicU64::new(options.from), AtomicBool::new(false));
    let tally = Mutex::new(SeedTotals::default());
    let jobs = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| work(options, &next, &stop, &tally));
        }
    });
    let tally = tally.into_inner();
    let first = tally.broken.values().map(|(_, seed, _)| *seed).min();
    if let (Some(seed), false) = (first, options.all) {
        print!("{}", report(seed, options.plant));
        return ExitCode::FAILURE;
    }
    for (kind, (count, seed, message)) in &tally.broken {
        println!("{kind}: {count} seeds, the first is {seed}: {message}");
    }
    if first.is_some() {
        return ExitCode::FAILURE;
    }
    println!(
        "{} seeds hold: {} steps, {} of {} builds published, {:.1} s",
        options.seeds,
        tally.steps,
        tally.published,
        tally.builds,
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Runs seeds until all are taken.
fn work(options: &Options, next: &AtomicU64, stop: &AtomicBool, tally: &Mutex<SeedTotals>) {
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= options.from + options.seeds {
            return;
        }
        let outcome = run(seed, options.plant);
        let mut tally = tally.lock();
        tally.steps += outcome.steps;
        tally.builds += outcome.builds;
        tally.published += outcome.published;
        if let Some(violation) = outcome.violation {
            let kind = format!("{} ({})", violation.invariant, outcome.profile);
            let known = tally.broken.entry(kind).or_insert((0, seed, violation.message.clone()));
            known.0 += 1;
            if seed < known.1 {
                (known.1, known.2) = (seed, violation.message);
            }
            stop.store(!options.all, Ordering::Relaxed);
        }
    }
}
