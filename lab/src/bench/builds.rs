//! Times and memory of `rpmfarm build --watch` on a warm farm, as a user sees them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpmfarm_core::Lock;
use serde_json::Value;

use super::checkout::Checkout;
use super::figure::{Figure, Report};
use super::memory::peak_mib;
use super::spread::Spread;
use super::{PACKAGE, PATIENCE};
use crate::farm::{Client, Farm, Settings, TARGET, World};

pub(super) const END_TO_END: &str = "build.end_to_end_overhead";
pub(super) const COORDINATOR: &str = "coordinator.rss";

const RUNS: u32 = 7;
/// After this time, background work has ended and memory is that of an idle process.
const SETTLE: Duration = Duration::from_secs(3);

/// Results of these builds that other measurements use.
pub(super) struct BuildLeftovers {
    /// The lock of the package's root.
    pub(super) lock: Lock,
    /// The peak memory of the worker, in MiB.
    pub(super) worker_mib: f64,
}

/// Starts a farm, builds the package on it, measures, and ends the farm.
pub(super) fn measure(
    directory: &Path,
    world: &World,
    checkout: &mut Checkout,
    report: &mut Report,
) -> anyhow::Result<BuildLeftovers> {
    let settings = Settings::new(directory.join("farm"));
    let farm = Farm::start(&settings, &world.target_text()?)?;
    std::thread::sleep(SETTLE);
    let fresh = rss_mib(&farm)?;
    let client = farm.client();
    // The first build creates roots, fetches packages and loads metadata.
    let first = client.publish(&[PACKAGE], PATIENCE)?;
    let id = first.first().and_then(|build| build["id"].as_i64()).context("no number")?;
    if report.wants(END_TO_END) {
        report.add(end_to_end(&client, checkout)?);
    }
    let lock = client.run(&["--json", "lock", &id.to_string()])?;
    ensure!(lock.code == 0, "no lock of build {id}: {}", lock.err);
    let lock = Lock::from_bytes(lock.out.as_bytes())?;
    std::thread::sleep(SETTLE);
    report.add(coordinator(fresh, rss_mib(&farm)?));
    let worker = farm.workers.first().context("a farm has a worker")?;
    Ok(BuildLeftovers { lock, worker_mib: peak_mib(worker.pid())? })
}

fn rss_mib(farm: &Farm) -> anyhow::Result<f64> {
    Ok(farm.coordinator.rss_kib()? as f64 / 1024.0)
}

fn coordinator(fresh: f64, idle: f64) -> Figure {
    Figure {
        name: COORDINATOR,
        value: idle,
        unit: "MiB",
        budget: 64.0,
        peer: format!("itself just started, before any metadata were loaded: {fresh:.1} MiB"),
        ratio: Some(idle / fresh),
        note: "idle after the builds, the solver's pools included".into(),
    }
}

fn end_to_end(client: &Client, checkout: &mut Checkout) -> anyhow::Result<Figure> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let commit = checkout.release()?;
        runs.push(watched(client, &commit)?);
    }
    let overhead = Spread::of(runs.iter().map(|run| run.wall - run.rpmbuild));
    let rpmbuild = Spread::of(runs.iter().map(|run| run.rpmbuild));
    let last = runs.last().map(|run| run.stages.as_str()).unwrap_or_default();
    Ok(Figure {
        name: END_TO_END,
        value: overhead.median,
        unit: "s",
        budget: 3.0,
        peer: format!("rpmbuild's own time, SRPM and packages: {:.3} s", rpmbuild.median),
        ratio: Some(overhead.median / rpmbuild.median),
        note: format!("overhead {overhead}; the last one's stages: {last}"),
    })
}

/// One build, as its user sees it.
pub(super) struct WatchedBuild {
    /// Seconds of the whole command.
    pub(super) wall: f64,
    /// Seconds of rpmbuild in all tasks.
    pub(super) rpmbuild: f64,
    /// The time of each stage.
    stages: String,
}

/// Builds a commit of the package and watches it to its end.
pub(super) fn watched(client: &Client, commit: &str) -> anyhow::Result<WatchedBuild> {
    let arguments = ["build", PACKAGE, "--target", TARGET, "--ref", commit, "--key", commit];
    let begun = Instant::now();
    let status = client
        .command(&[arguments.as_slice(), &["--watch"]].concat())
        .stdout(Stdio::null())
        .status()
        .context("cannot start rpmfarm")?;
    let wall = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "rpmfarm build ended with {status}");
    // A request with the same key starts nothing new, and returns the number.
    let again = client.json(&arguments)?;
    let id = again["builds"][0]["id"].as_i64().context("no number")?;
    let shown = client.show(id)?;
    ensure!(shown["state"] == "published", "build {id} is {}", shown["state"]);
    Ok(WatchedBuild { wall, rpmbuild: rpmbuild(&shown), stages: stages(&shown) })
}

pub(super) fn rpmbuild(shown: &Value) -> f64 {
    let tasks = shown["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    tasks.iter().filter_map(|task| task["rpmbuild_ms"].as_f64()).sum::<f64>() / 1000.0
}

fn stages(shown: &Value) -> String {
    let stages = shown["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let each = stages
        .iter()
        .map(|stage| format!("{} {} ms", stage["stage"].as_str().unwrap_or("?"), stage["took_ms"]));
    each.collect::<Vec<_>>().join(", ")
}
