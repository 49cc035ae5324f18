//! `rpmfarm-sim`: runs seeds of the simulation, or shows one.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rpmfarm_sim::planted::PlantedBug;
use rpmfarm_sim::{SEEDS, replay, report, run};

/// Simulates the farm from seeds and checks its invariants after every step.
///
/// Examples:
///   rpmfarm-sim --seeds 100000        looks for a violation among so many seeds
///   rpmfarm-sim --seed 4711           shows every event of one
///   rpmfarm-sim --plant late-report   breaks a rule on purpose and looks who notices
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Options {
    /// Seeds to run.
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run one seed only, and show what happens.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Do not stop at the first violation: count them, with the first seed of each kind.
    #[arg(long, conflicts_with = "seed")]
    all: bool,
    /// Break this rule on purpose.
    #[arg(long, value_name = "RULE")]
    plant: Option<PlantedBug>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        let outcome = replay(seed, options.plant);
        for line in outcome.trace.lines() {
            println!("{line}");
        }
        println!(
            "seed {seed} ({}): {} steps, {} of {} builds published",
            outcome.profile, outcome.steps, outcome.published, outcome.builds
        );
        return if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let start = Instant::now();
    let (mut steps, mut builds, mut published) = (0, 0, 0);
    let mut broken = BTreeMap::<String, (u64, u64, String)>::new();
    for seed in options.from..options.from + options.seeds {
        let outcome = run(seed, options.plant);
        if let Some(violation) = outcome.violation {
            if !options.all {
                print!("{}", report(seed, options.plant));
                return ExitCode::FAILURE;
            }
            let kind = format!("{} ({})", violation.invariant, outcome.profile);
            broken.entry(kind).or_insert((0, seed, violation.message)).0 += 1;
        }
        steps += outcome.steps;
        builds += outcome.builds;
        published += outcome.published;
    }
    for (kind, (count, seed, message)) in &broken {
        println!("{kind}: {count} seeds, the first is {seed}: {message}");
    }
    if !broken.is_empty() {
        return ExitCode::FAILURE;
    }
    println!(
        "{} seeds hold: {steps} steps, {published} of {builds} builds published, {:.1} s",
        options.seeds,
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
