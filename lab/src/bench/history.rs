//! What must cost what is open or shown, and not what ever was: lists, metrics, and a build of a
//! package, with little history and with much.
//!
//! The history is written by SQL (`bench_history`), for packages and a channel that are not built
//! here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::builds::watched;
use super::checkout::Checkout;
use super::figure::{Figure, Report};
use super::scrape;
use super::spread::Spread;
use super::{PACKAGE, PATIENCE};
use crate::farm::{Client, Farm, Settings, TARGET, World, programs};
use crate::tool;

const LIST: &str = "history.list";
const OF_PACKAGE: &str = "history.list_package";
const FAILED: &str = "history.list_failed";
const REPO: &str = "history.repo";
const METRICS: &str = "history.metrics";
const BUILD: &str = "history.build";

/// All figures of this kind.
pub(super) const ALL: [&str; 6] = [LIST, OF_PACKAGE, FAILED, REPO, METRICS, BUILD];

/// Builds of the past, the most last.
const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];

/// Commands, by the names of their figures.
const COMMANDS: [(&str, &[&str]); 4] = [
    (LIST, &["list", "--limit", "1000"]),
    (OF_PACKAGE, &["list", "--package", "old7"]),
    (FAILED, &["list", "--state", "failed"]),
    (REPO, &["repo"]),
];

/// How often each is measured.
const RUNS: u32 = 7;

/// The most that a list may take, in milliseconds.
const BUDGET_MS: f64 = 50.0;

/// What was measured with one history, in milliseconds.
struct Measured {
    builds: u32,
    values: Vec<(&'static str, f64)>,
}

impl Measured {
    fn of(&self, name: &str) -> f64 {
        let found = self.values.iter().find(|(of, _)| *of == name);
        found.map_or(f64::NAN, |(_, value)| *value)
    }
}

/// Measures on a farm for each size.
pub(super) fn measure(
    directory: &Path,
    world: &World,
    checkout: &mut Checkout,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for builds in SIZES {
        let at = directory.join(builds.to_string());
        let worker_data = Some(directory.join("worker"));
        let settings = Settings { worker_data, ..Settings::new(at) };
        all.push(with_history(&settings, world, checkout, builds, report)?);
    }
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(()) };
    for name in ALL {
        report.add(figure(name, first, last, &all));
    }
    Ok(())
}

fn figure(name: &'static str, first: &Measured, last: &Measured, all: &[Measured]) -> Figure {
    let each: Vec<String> =
        all.iter().map(|one| format!("{}: {:.1} ms", one.builds, one.of(name))).collect();
    // A build takes what its package takes: it may take as long as with little history.
    let budget = if name == BUILD { first.of(name) * 1.2 } else { BUDGET_MS };
    Figure {
        name,
        value: last.of(name),
        unit: "ms",
        budget,
        peer: format!("itself with {} builds: {:.1} ms", first.builds, first.of(name)),
        ratio: Some(last.of(name) / first.of(name)),
        note: format!("with {} builds that have ended; {}", last.builds, each.join(", ")),
    }
}

fn with_history(
    settings: &Settings,
    world: &World,
    checkout: &mut Checkout,
    builds: u32,
    report: &Report,
) -> anyhow::Result<Measured> {
    let data = settings.directory.join("coordinator");
    std::fs::create_dir_all(&data)?;
    let mut seed = Command::new(programs().join("examples/bench_history"));
    seed.args(["--database", &format!("sqlite://{}", data.join("farm.db").display())]);
    seed.args(["--target", TARGET, "--builds", &builds.to_string()]);
    tool::output(&mut seed)?;
    let farm = Farm::start(settings, &world.target_text()?)?;
    let client = farm.client();
    let mut values = Vec::new();
    for (name, arguments) in COMMANDS {
        if report.wants(name) {
            values.push((name, command(&client, arguments)?));
        }
    }
    if report.wants(METRICS) {
        let begun = Instant::now();
        let text = scrape::text(&farm)?;
        values.push((METRICS, begun.elapsed().as_secs_f64() * 1000.0));
        ensure!(text.contains("rpmfarm_builds{"), "builds are not counted");
    }
    if report.wants(BUILD) {
        values.push((BUILD, build(&client, checkout)?));
    }
    Ok(Measured { builds, values })
}

/// What a command takes as a whole, the program's own start included.
fn command(client: &Client, arguments: &[&str]) -> anyhow::Result<f64> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let status = client.command(arguments).stdout(Stdio::null()).status()?;
        runs.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(status.success(), "rpmfarm {arguments:?} ended with {status}");
    }
    Ok(Spread::of(runs).median)
}

/// What a build takes from the call to its publication beyond rpmbuild's own time.
fn build(client: &Client, checkout: &mut Checkout) -> anyhow::Result<f64> {
    // The first build creates roots, fetches packages and loads metadata.
    client.publish(&[PACKAGE], PATIENCE).context("the first build")?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let commit = checkout.release()?;
        let run = watched(client, &commit)?;
        runs.push((run.wall - run.rpmbuild) * 1000.0);
    }
    Ok(Spread::of(runs).median)
}
