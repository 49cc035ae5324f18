//! Real faults on farms of real processes. Each test names the faults of `docs/faults.md` that it
//! makes, and the invariants of ARCHITECTURE.md that it checks.

mod clock;
mod network;
mod processes;
mod quarantine;
mod space;
mod transfers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rpmfarm_lab::farm::Settings;
use rpmfarm_lab::net::Proxy;
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// The terms of these farms, so that a silence of seconds is one of leases.
const LEASE: Duration = Duration::from_secs(3);

/// What the farm may take to see that a lease is over, and to tell.
const SLACK: Duration = Duration::from_secs(4);

/// How long a build may go on after it was cancelled.
const CANCEL: Duration = Duration::from_secs(2);

/// Short leases.
fn short(settings: &mut Settings) {
    let arguments = ["--heartbeat", "300ms", "--lease", "3s"];
    settings.coordinator_arguments.extend(arguments.map(str::to_owned));
}

/// Waits for something to be so.
fn wait_for(what: &str, patience: Duration, mut is: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

/// The task of a kind, once there is one.
fn task(scene: &Scene, build: i64, kind: &str) -> Option<Value> {
    let shown = scene.farm.client().show(build).ok()?;
    let tasks = shown["tasks"].as_array()?;
    tasks.iter().find(|task| task["kind"] == kind).cloned()
}

/// Waits until a task of a build is in one of these phases.
fn wait_for_phase(scene: &Scene, build: i64, kind: &str, phases: &[&str]) {
    wait_for(&format!("build {build} in {phases:?}"), PATIENCE, || {
        let shown = scene.farm.client().show(build);
        let ended = shown.as_ref().is_ok_and(|shown| shown["ended"] == true);
        assert!(!ended, "it ended: {:#}", shown.unwrap_or_default());
        task(scene, build, kind).is_some_and(|task| {
            task["state"] == "running" && phases.contains(&task["phase"].as_str().unwrap_or(""))
        })
    });
}

/// How often a task was tried.
fn attempts(scene: &Scene, build: i64, kind: &str) -> u64 {
    task(scene, build, kind).and_then(|task| task["attempts"].as_u64()).unwrap_or(0)
}

/// The build is published, by one acceptance, each package once.
fn published_once(scene: &Scene, build: i64) -> Value {
    let shown = scene.farm.client().wait(build, &["published"], PATIENCE).unwrap();
    let artifacts = shown["artifacts"].as_array().unwrap();
    let mut names: Vec<&str> =
        artifacts.iter().map(|artifact| artifact["nevra"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(count > 1 && names.len() == count, "{shown:#}");
    shown
}

/// Whether a process of the package `ticks` runs on this host.
fn ticking() -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line == b"sleep\x000.3141\0")
}

/// Waits until the build of `ticks` runs, as the host sees it.
fn wait_until_ticking() {
    wait_for("the build ticks", PATIENCE, ticking);
}

/// Nothing ticks for some time: between two ticks there is nothing to be seen.
fn silent() -> bool {
    (0..20).all(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !ticking()
    })
}

/// Cancels a build, and answers how long it went on.
fn cancel(scene: &Scene, build: i64, gone: impl FnMut() -> bool) -> Duration {
    let answer = scene.farm.client().run(&["cancel", &build.to_string()]).unwrap();
    assert_eq!(answer.code, 0, "{}", answer.err);
    wait_for("the end of a cancelled build", PATIENCE, gone)
}

/// The liveness of a worker, as the farm sees it.
fn liveness(scene: &Scene, worker: &str) -> String {
    worker_document(scene, worker)["liveness"].as_str().unwrap_or_default().to_owned()
}

/// What `rpmfarm worker list` says of a worker.
fn worker_document(scene: &Scene, worker: &str) -> Value {
    let list = scene.farm.client().json(&["worker", "list"]).unwrap_or_default();
    let workers = list["workers"].as_array().cloned().unwrap_or_default();
    workers.into_iter().find(|document| document["name"] == worker).unwrap_or_default()
}

/// Waits until a worker is connected.
fn wait_until_alive(scene: &Scene, worker: &str) {
    wait_for(&format!("{worker} is alive"), PATIENCE, || liveness(scene, worker) == "alive");
}

/// A failure of the infrastructure is not the package's (I4).
fn assert_not_the_packages_fault(scene: &Scene, build: i64) {
    for task in scene.farm.client().show(build).unwrap()["tasks"].as_array().unwrap() {
        assert_ne!(task["failure"]["fault"], "package", "{task:#}");
    }
}

/// What the package `large` has at least, in bytes.
const LARGE: u64 = 24 << 20;

/// A farm whose worker reaches it through a proxy.
fn proxied(change: impl FnOnce(&mut Settings)) -> (Scene, Proxy) {
    let mut scene = Scene::with(|settings| {
        settings.workers = 0;
        change(settings);
    });
    let server = scene.farm.server().trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy::start(server).unwrap();
    scene.settings.worker_server = Some(proxy.url());
    let settings = scene.settings.clone();
    scene.farm.add_worker(&settings).unwrap();
    wait_until_alive(&scene, "worker1");
    (scene, proxy)
}

/// The large package, once it is a blob of the coordinator.
fn uploaded(scene: &Scene) -> Option<PathBuf> {
    let blobs = scene.farm.directory().join("coordinator/blobs");
    for shelf in std::fs::read_dir(blobs).unwrap().flatten() {
        if shelf.file_name().len() != 2 {
            continue;
        }
        for blob in std::fs::read_dir(shelf.path()).unwrap().flatten() {
            if blob.metadata().is_ok_and(|metadata| metadata.len() > LARGE) {
                return Some(blob.path());
            }
        }
    }
    None
}

/// Waits until so many bytes more have gone through.
fn wait_for_bytes(proxy: &Proxy, more: u64) {
    let from = proxy.sent();
    wait_for("an upload under way", PATIENCE, || proxy.sent() - from > more);
}
