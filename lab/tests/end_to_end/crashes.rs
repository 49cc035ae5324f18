//! kill -9 of each process in the middle of a rebuild: it completes, once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// Waits until the build's task runs in a phase of rpmbuild.
pub(crate) fn wait_until_building(scene: &Scene, build: i64) {
    let begun = Instant::now();
    loop {
        let shown = scene.farm.client().show(build).unwrap();
        let tasks = shown["tasks"].as_array().cloned().unwrap_or_default();
        let runs = |task: &Value| {
            let phase = task["phase"].as_str().unwrap_or_default();
            task["kind"] == "build" && ["prep", "build", "check", "install"].contains(&phase)
        };
        if tasks.iter().any(runs) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE && shown["ended"] != true, "not built: {shown:#}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The build is published, by one accepted attempt, and its packages are there once.
fn assert_completes_once(scene: &Scene, build: i64) -> Value {
    let shown = scene.farm.client().wait(build, &["published"], PATIENCE).unwrap();
    let mut names: Vec<&str> = shown["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| artifact["nevra"].as_str().unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(count > 1 && names.len() == count, "{shown:#}");
    assert_eq!(shown["published"]["revision"], 1, "{shown:#}");
    shown
}

pub(crate) fn build_attempts(build: &Value) -> u64 {
    let tasks = build["tasks"].as_array().unwrap();
    tasks.iter().find(|task| task["kind"] == "build").unwrap()["attempts"].as_u64().unwrap()
}

#[test]
fn the_coordinator_dies_and_the_build_goes_on_beneath_it() {
    let mut scene = Scene::new();
    let build = scene.farm.client().build(&["hello"]).unwrap()[0];
    wait_until_building(&scene, build);
    scene.farm.coordinator.kill();
    let settings = scene.settings.clone();
    scene.farm.restart_coordinator(&settings).unwrap();
    let shown = assert_completes_once(&scene, build);
    assert_eq!(build_attempts(&shown), 1, "the worker kept what it had: {shown:#}");
}

#[test]
fn the_worker_dies_and_the_task_is_tried_again() {
    let mut scene = Scene::new();
    let build = scene.farm.client().build(&["hello"]).unwrap()[0];
    wait_until_building(&scene, build);
    let settings = scene.settings.clone();
    scene.farm.restart_worker(&settings, 0).unwrap();
    let shown = assert_completes_once(&scene, build);
    assert_eq!(build_attempts(&shown), 2, "{shown:#}");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("rpmfarm-lab/worker"), "mounts are left:\n{mounts}");
}

/// Results come while the acceptor is gone: they wait for it, and say so.
#[test]
fn the_acceptor_dies_and_results_wait_until_it_is_back() {
    let mut scene = Scene::new();
    let client = scene.farm.client();
    let build = client.build(&["hello"]).unwrap()[0];
    wait_until_building(&scene, build);
    scene.farm.acceptor.kill();
    let begun = Instant::now();
    loop {
        let reasons = client.run(&["why", &build.to_string()]).unwrap().out;
        if reasons.contains("not accepted yet") && reasons.contains("acceptor") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is not said: {reasons}");
        std::thread::sleep(Duration::from_millis(100));
    }
    scene.farm.restart_acceptor().unwrap();
    assert_completes_once(&scene, build);
}

/// Fault 22; I5. The signer is killed when it has signed some of a build's packages and not all.
#[test]
fn the_signer_dies_while_it_signs_and_nothing_is_published_until_it_is_back() {
    // A signature takes two milliseconds: on a loaded machine all may be done at once.
    assert!((0..5).any(|_| signer_dies_in_the_middle()), "never in the middle of a batch");
}

/// Whether the signer was killed in the middle; then all was as it must be.
fn signer_dies_in_the_middle() -> bool {
    let mut scene = Scene::new();
    let client = scene.farm.client();
    let audit = scene.farm.directory().join("signer-audit.jsonl");
    let signatures = || {
        let log = std::fs::read_to_string(&audit).unwrap_or_default();
        log.matches("\"kind\":\"header\"").count()
    };
    // The source package and five others.
    let build = client.build(&["xxhash"]).unwrap()[0];
    wait_until_building(&scene, build);
    // It is stopped before the request, and then continues step by step.
    scene.farm.signer.signal(Signal::SIGSTOP).unwrap();
    let asked = client.wait(build, &["signing"], PATIENCE).unwrap();
    let begun = Instant::now();
    while signatures() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing is signed");
        scene.farm.signer.signal(Signal::SIGCONT).unwrap();
        std::thread::sleep(Duration::from_micros(500));
        scene.farm.signer.signal(Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    scene.farm.signer.kill();
    let packages = asked["artifacts"].as_array().unwrap().len();
    if signatures() >= packages {
        return false;
    }
    std::thread::sleep(Duration::from_secs(2));
    let shown = client.show(build).unwrap();
    assert_eq!(shown["state"], "signing", "{shown:#}");
    let channels = scene.farm.directory().join("coordinator/repos/lab/testing/current");
    assert!(!channels.exists(), "something is published");
    scene.farm.restart_signer().unwrap();
    assert_completes_once(&scene, build);
    true
}
