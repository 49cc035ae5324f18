//! Uploads, logs and calls that break on their way.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpmfarm_lab::farm::Settings;
use rpmfarm_lab::net::Proxy;

use super::{
    CANCEL, LARGE, attempts, cancel, proxied, published_once, short, task, uploaded, wait_for,
    wait_for_bytes, wait_for_phase, wait_until_alive,
};
use crate::{PATIENCE, Scene};

/// Faults 11 and 1; I1, I2, I3. The coordinator ends its connections in the middle of an upload,
/// once in peace and once by SIGKILL: the upload goes on where it was, in the same attempt, and
/// the log has each line once.
#[test]
fn an_upload_goes_on_where_it_was() {
    let (mut scene, proxy) = proxied(short);
    let settings = scene.settings.clone();
    let build = scene.farm.client().build(&["large"]).unwrap()[0];
    proxy.slow(4 << 20);
    wait_for_phase(&scene, build, "build", &["upload"]);
    let from = proxy.sent();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        wait_for_bytes(&proxy, 6 << 20);
        scene.farm.coordinator.signal(signal).unwrap();
        wait_for("its end", PATIENCE, || scene.farm.coordinator.ended().is_some());
        scene.farm.restart_coordinator(&settings).unwrap();
    }
    proxy.slow(0);
    published_once(&scene, build);
    assert_eq!(attempts(&scene, build, "build"), 1);
    // What was in buffers is sent again, and no more.
    let sent = proxy.sent() - from;
    assert!(sent < LARGE + LARGE / 2, "{sent} bytes for {LARGE}");
}

/// Fault 19; I5. A byte that is flipped on its way is found by its digest; the file is sent
/// again, and the build completes at its first attempt.
#[test]
fn a_flipped_byte_is_found_and_sent_again() {
    let (scene, proxy) = proxied(short);
    let build = scene.farm.client().build(&["large"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["install", "package", "upload"]);
    let from = proxy.sent();
    proxy.flip_one();
    published_once(&scene, build);
    assert!(!proxy.is_to_flip(), "no byte was flipped");
    assert!(proxy.sent() - from > 2 * LARGE, "{} bytes were sent", proxy.sent() - from);
    assert_eq!(attempts(&scene, build, "build"), 1);
}

/// Fault 3; I2, I3. The worker is killed when its results are there and their end is not told:
/// the task is tried again, and one attempt is accepted.
#[test]
fn a_worker_dies_between_upload_and_completion() {
    let (mut scene, proxy) = proxied(short);
    let settings = scene.settings.clone();
    let build = scene.farm.client().build(&["large"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["prep", "install", "package", "upload"]);
    proxy.stall_oldest();
    wait_for("the results", PATIENCE, || uploaded(&scene).is_some());
    scene.farm.restart_worker(&settings, 0).unwrap();
    published_once(&scene, build);
    assert_eq!(attempts(&scene, build, "build"), 2);
}

/// Fault 6; I2, I4. The session hangs until the lease is over and the task is with another; then
/// the first worker comes back with its result. It is recorded, shown, and not applied.
#[test]
fn a_late_result_is_recorded_and_not_applied() {
    let (mut scene, proxy) = proxied(short);
    let build = scene.farm.client().build(&["lingers"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["prep", "build"]);
    // Only now, lest it gets the first attempt.
    let second = Settings { worker_server: None, ..scene.settings.clone() };
    scene.farm.add_worker(&second).unwrap();
    wait_until_alive(&scene, "worker2");
    let log = || scene.farm.client().run(&["log", &build.to_string()]).unwrap().out;
    wait_for("most of the build", PATIENCE, || log().contains("line 14 of 20"));
    // The worker hears nothing and is not heard. Its build ends, and its results go through.
    proxy.stall_oldest();
    proxy.refuse(true);
    wait_for("another attempt", PATIENCE, || attempts(&scene, build, "build") == 2);
    proxy.refuse(false);
    let shown = published_once(&scene, build);
    let task = task(&scene, build, "build").unwrap();
    assert_eq!(task["worker"], "worker2", "{shown:#}");
    let notes = task["notes"].to_string();
    assert!(notes.contains("worker1") && notes.contains("not applied"), "{shown:#}");
    let text = scene.farm.client().run(&["show", &build.to_string()]).unwrap().out;
    assert!(text.contains("not applied"), "{text}");
}

/// Fault 7; I2, I4. The worker stands still until its lease is over and the task is with another,
/// and its build ends meanwhile. When it goes on, it comes with the result under the old epoch:
/// that is recorded, shown, and not applied.
#[test]
fn the_result_of_a_worker_that_stood_still_is_not_applied() {
    let terms = ["--heartbeat", "500ms", "--lease", "6s"];
    let (mut scene, proxy) =
        proxied(|settings| settings.coordinator_arguments = terms.map(str::to_owned).into());
    let build = scene.farm.client().build(&["lingers"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["prep", "build"]);
    // Only now, lest it gets the first attempt.
    let second = Settings { worker_server: None, ..scene.settings.clone() };
    scene.farm.add_worker(&second).unwrap();
    let log = || scene.farm.client().run(&["log", &build.to_string()]).unwrap().out;
    wait_for("most of the build", PATIENCE, || log().contains("line 10 of 20"));
    scene.farm.workers[0].signal(Signal::SIGSTOP).unwrap();
    // It comes with its result before it is told that nobody wants it: the connection for results
    // is there, that for work hangs.
    proxy.stall_oldest();
    proxy.refuse(true);
    wait_for("another attempt", PATIENCE, || attempts(&scene, build, "build") == 2);
    scene.farm.workers[0].signal(Signal::SIGCONT).unwrap();
    let notes = || task(&scene, build, "build").unwrap()["notes"].to_string();
    wait_for("the late result", PATIENCE, || {
        notes().contains("on worker1 (uploads lingers-") && notes().contains("not applied")
    });
    proxy.refuse(false);
    let shown = published_once(&scene, build);
    let task = task(&scene, build, "build").unwrap();
    assert_eq!((&task["worker"], &task["attempts"]), (&"worker2".into(), &2.into()), "{shown:#}");
}

/// Fault 14; I1. The answer to a request gets lost after its commit: the command asks again with
/// the same key, and there is one build.
#[test]
fn a_lost_answer_makes_no_second_build() {
    let scene = Scene::with(|settings| settings.workers = 0);
    let server = scene.farm.server().trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy::start(server).unwrap();
    proxy.mute();
    let token = scene.farm.directory().join("coordinator/token");
    let mut command = rpmfarm_lab::farm::program("rpmfarm");
    command.args(["--server", &proxy.url(), "--json", "--token-file"]).arg(token);
    command.args(["build", "tiny", "--target", "lab", "--key", "once"]);
    command.stdout(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let list = || scene.farm.client().json(&["list"]).unwrap()["builds"].clone();
    wait_for("the commit", PATIENCE, || list().as_array().is_some_and(|list| !list.is_empty()));
    proxy.cut();
    proxy.heal();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let builds = list();
    assert_eq!(builds.as_array().unwrap().len(), 1, "{builds:#}");
    assert_eq!(answer["builds"][0]["id"], builds[0]["id"], "{answer:#}");
}

/// `cancel` ends an attempt within two seconds in every phase: while it fetches, makes its root,
/// builds (see `network`), and uploads. I1.
#[test]
fn cancel_is_quick_in_every_phase() {
    let (scene, proxy) = proxied(|settings| {
        short(settings);
        // A root of its own, to be made.
        settings.worker_data = None;
        settings.directory =
            PathBuf::from("/var/lib").join(format!("rpmfarm-test-{}", std::process::id()));
    });
    let _gone = Removed(scene.farm.directory().to_path_buf());
    let attempts = scene.farm.worker_data(&scene.settings, 0).join("attempts");
    let idle = || std::fs::read_dir(&attempts).is_ok_and(|mut entries| entries.next().is_none());
    let limit = CANCEL + Duration::from_millis(300);

    // No file comes through.
    proxy.stall_new(true);
    let build = scene.farm.client().build(&["large"]).unwrap()[0];
    wait_for_phase(&scene, build, "srpm", &["fetch"]);
    std::thread::sleep(Duration::from_millis(500));
    let took = cancel(&scene, build, idle);
    assert!(took < limit, "fetch: {took:?}");
    proxy.stall_new(false);

    for (kind, phase) in [("srpm", "root"), ("build", "upload")] {
        proxy.slow(if phase == "upload" { 1 << 20 } else { 0 });
        let build = scene.farm.client().build(&["large"]).unwrap()[0];
        wait_for_phase(&scene, build, kind, &[phase]);
        std::thread::sleep(Duration::from_millis(700));
        let took = cancel(&scene, build, idle);
        assert!(took < limit, "{phase}: {took:?}");
    }
}

/// A directory that goes when the test ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let begun = Instant::now();
        // The worker may still unmount.
        while std::fs::remove_dir_all(&self.0).is_err() && begun.elapsed().as_secs() < 5 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
