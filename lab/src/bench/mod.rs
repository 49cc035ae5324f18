//! `rpmfarm-lab bench`: the figures that rpmfarm must reach, each beside a comparison in the same
//! run.
//!
//! Owns what is measured and how it is shown. It runs programs as any user can, and must not know
//! their insides.
#![allow(clippy::print_stdout, reason = "it is told to a person")]

mod bare;
mod batch_cost;
mod builds;
mod checkout;
mod cpu;
mod dispatch;
mod figure;
mod files;
mod following;
mod history;
mod link;
mod machine;
mod mass;
mod memory;
mod once;
mod pools;
mod proof;
mod publish;
mod scrape;
mod sign;
mod solve;
mod spread;
mod task;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_core::Arch;

use crate::farm::World;
use bare::BareRoot;
use checkout::Checkout;
use figure::{Figure, Report};

/// The package to build: one file of C.
const PACKAGE: &str = "tiny";
/// What its spec requires.
const REQUIRES: [&str; 1] = ["gcc"];
const WORKER: &str = "worker.rss";

/// The longest that one build may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to measure, and the files to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The JSON file of the figures.
    pub out: PathBuf,
    /// The SVG file of the chart of dispatch latency over queue length.
    pub chart: PathBuf,
    /// Measures only figures whose names have this prefix.
    pub only: Option<String>,
    /// How many packages `mass.lab` builds.
    pub packages: usize,
}

/// Measures in a directory. A missed budget is printed, and is not an error.
///
/// # Errors
/// When a measurement fails.
pub fn run(directory: &Path, options: &Options) -> anyhow::Result<()> {
    println!("{}\n", machine::Machine::here());
    let mut report = Report::new(options.only.clone());
    let measured = measure(directory, options, &mut report);
    if let (Ok(()), Some(only), true) = (&measured, &options.only, report.is_empty()) {
        anyhow::bail!(
            "no figure's name begins with `{only}`; `bench` alone measures and names all"
        );
    }
    report.write(&options.out)?;
    measured?;
    let missed = report.missed();
    if !missed.is_empty() {
        println!("\nMISSED: {}", missed.join(", "));
    }
    println!("\nwritten to {}", options.out.display());
    Ok(())
}

fn measure(directory: &Path, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let around_builds = [task::WARM, task::COLD, builds::END_TO_END, WORKER, builds::COORDINATOR];
    let follows = report.wants_any(&following::ALL);
    let history = report.wants_any(&history::ALL);
    let batches = report.wants_any(&batch_cost::ALL);
    if report.wants_any(&around_builds)
        || report.wants_any(&[solve::ROOT, solve::CHILD])
        || report.wants(link::FALSE_DEATHS)
        || report.wants_any(&mass::lab::ALL)
        || follows
        || history
        || batches
        || report.wants(pools::POOLS)
    {
        let outside = directory.join("world");
        let world = World::make(&outside, Arch::X86_64)?;
        let repository = outside.join("distro").join(Arch::X86_64.as_str()).join("repo");
        if report.wants_any(&around_builds) {
            measure_builds(directory, &world, &repository, report)?;
        }
        if follows {
            let mut checkout = Checkout::clone(&world, &directory.join("followed"))?;
            following::measure(directory, &world, &mut checkout, report)?;
        }
        if history {
            let mut checkout = Checkout::clone(&world, &directory.join("later"))?;
            let at = directory.join("history");
            history::measure(&at, &world, &mut checkout, report).context("history")?;
        }
        if batches {
            let at = directory.join("batches");
            batch_cost::measure(&at, &world, report).context("batch.cost")?;
        }
        if report.wants_any(&[solve::ROOT, solve::CHILD]) {
            solve::measure(&world.target()?, &REQUIRES, &repository, directory, report)
                .context(solve::ROOT)?;
        }
        if report.wants(pools::POOLS) {
            pools::measure(directory, &world, report).context(pools::POOLS)?;
        }
        if report.wants_any(&mass::lab::ALL) {
            let inside = directory.join("mass");
            mass::lab::measure(&inside, &world, &repository, options.packages, report)
                .context("mass.lab")?;
        }
        if report.wants(link::FALSE_DEATHS) {
            link::measure(directory, &world, report).context(link::FALSE_DEATHS)?;
        }
    }
    if report.wants_any(&dispatch::ALL) {
        dispatch::measure(directory, &options.chart, report).context("dispatch")?;
    }
    if report.wants(files::FILES) {
        files::measure(&directory.join("files"), report).context(files::FILES)?;
    }
    if report.wants_any(&proof::ALL) {
        proof::measure(&directory.join("proof"), report).context("proof")?;
    }
    if report.wants_any(&publish::ALL) {
        publish::measure(&directory.join("publish"), report).context("publish")?;
    }
    if report.wants(sign::RATIO) {
        sign::measure(directory, report).context(sign::RATIO)?;
    }
    if report.wants_any(&mass::ALL) {
        mass::measure(report).context("mass")?;
    }
    Ok(())
}

fn measure_builds(
    directory: &Path,
    world: &World,
    repository: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut checkout = Checkout::clone(world, &directory.join("checkout"))?;
    let spec = checkout.flat(&directory.join("spec"))?;
    let built = builds::measure(directory, world, &mut checkout, report)?;
    if !report.wants_any(&[task::WARM, task::COLD, WORKER]) {
        return Ok(());
    }
    let bare = BareRoot::install(&directory.join("bare"), &built.lock, repository)?;
    report.add(Figure {
        name: WORKER,
        value: built.worker_mib,
        unit: "MiB",
        budget: 64.0,
        peer: format!("dnf making the same root: {:.1} MiB", bare.peak_mib),
        ratio: Some(built.worker_mib / bare.peak_mib),
        note: "the worker process's peak over making roots and all builds".into(),
    });
    if report.wants_any(&[task::WARM, task::COLD]) {
        let lock = &built.lock;
        task::Bench { directory, lock, packages: repository, spec: &spec, bare: &bare }
            .measure(report)?;
    }
    Ok(())
}
