//! Workers with certificates: enrolled, renewed, drained, stopped, revoked in the middle of a
//! build; and tokens that do not count.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpmfarm_lab::farm::{Settings, program};
use serde_json::Value;

use crate::crashes::{build_attempts, wait_until_building};
use crate::{PATIENCE, Scene};

/// Runs `rpmfarm-worker enrol` with a token, keeping the key in a directory; returns its output.
fn enrol(scene: &Scene, token: &str, identity: &Path) -> Result<String, String> {
    let output = program("rpmfarm-worker")
        .args(["enrol", "--coordinator", &scene.farm.tls_address().unwrap(), "--token", token])
        .arg("--identity")
        .arg(identity)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn token(scene: &Scene, worker: &str, valid: &str) -> String {
    let answer = scene.farm.client().json(&["worker", "enrol", worker, "--valid", valid]).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn worker(scene: &Scene, name: &str) -> Value {
    scene.farm.client().json(&["worker", "show", name]).unwrap()
}

fn wait_for(what: &str, patience: Duration, mut until: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < patience, "{what} does not come within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

/// The worker that has, or had, the build's task.
fn builder(build: &Value) -> &str {
    let tasks = build["tasks"].as_array().unwrap();
    let task = tasks.iter().find(|task| task["kind"] == "build").unwrap();
    task["worker"].as_str().unwrap_or_default()
}

/// The errors of calls to the wrong port, or without the farm's CA, name the remedy.
fn wrong_connections_name_their_remedies(scene: &Scene) {
    let secure = scene.farm.tls_address().unwrap();
    let plain = scene.farm.server().to_owned();
    let authority = scene.farm.authority();
    let other = scene.path("other-ca.pem");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"])
        .args(["-keyout", "/dev/null", "-out"])
        .arg(&other)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let ask = |server: &str, ca: &Path| {
        let output = program("rpmfarm")
            .args(["--server", server, "list", "--ca-file"])
            .arg(ca)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{server}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (server, ca, says) in [
        (secure.replace("https://", "http://"), &authority, format!("call {secure}")),
        (plain.replace("http://", "https://"), &authority, plain.clone()),
        (secure.clone(), &other, "tls/ca.pem".to_owned()),
    ] {
        let answer = ask(&server, ca);
        assert!(answer.contains(&says), "{server}: no `{says}`: {answer}");
    }
}

#[test]
fn tokens_count_once_and_a_revoked_worker_is_cut_off_in_the_middle_of_a_build() {
    let mut scene = Scene::with(|settings| {
        settings.tls = true;
        // Set for people on the host; a worker that is enrolled has no use for it.
        settings.environment.push(("RPMFARM_TOKEN_FILE".into(), "/nonexistent/token".into()));
    });
    // All calls of the command go over TLS here, and so do those of the worker.
    scene.farm.client().publish(&["tiny"], PATIENCE).unwrap();
    wrong_connections_name_their_remedies(&scene);
    let identity = scene.farm.identity("worker1").join("worker.json");
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(worker(&scene, "worker1")["enrolled"], true);

    let good = token(&scene, "extra", "1h");
    let output = enrol(&scene, &good, &scene.path("extra")).unwrap();
    assert!(output.contains("this host is worker extra"), "{output}");
    let refused = enrol(&scene, &good, &scene.path("thief")).unwrap_err();
    assert!(
        refused.contains("used already") && refused.contains("worker enrol extra"),
        "{refused}"
    );
    let refused = enrol(&scene, &good, &scene.path("extra")).unwrap_err();
    assert!(refused.contains("already") && refused.contains("--force"), "{refused}");
    let short = token(&scene, "late", "1s");
    std::thread::sleep(Duration::from_millis(1100));
    let refused = enrol(&scene, &short, &scene.path("late")).unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
    let foreign = format!("{}.{}", good.rsplit_once('.').unwrap().0, "0".repeat(64));
    let refused = enrol(&scene, &foreign, &scene.path("foreign")).unwrap_err();
    assert!(refused.contains("does not come from the CA that the token names"), "{refused}");

    // A second worker, drained: it gets nothing, not even after a restart of the coordinator.
    let settings = scene.settings.clone();
    scene.farm.add_worker(&settings).unwrap();
    let client = scene.farm.client();
    wait_for("worker2", PATIENCE, || {
        client.json(&["worker", "show", "worker2"]).is_ok_and(|w| w["liveness"] == "alive")
    });
    let drained = client.json(&["worker", "drain", "worker2", "--reason", "new disk"]).unwrap();
    assert_eq!(
        (&drained["state"], &drained["state_reason"]),
        (&"drained".into(), &"new disk".into())
    );
    let settings = scene.settings.clone();
    scene.farm.restart_coordinator(&settings).unwrap();
    let build = client.build(&["hello"]).unwrap()[0];
    wait_until_building(&scene, build);
    assert_eq!(builder(&client.show(build).unwrap()), "worker1");
    client.json(&["worker", "resume", "worker2"]).unwrap();

    let begun = Instant::now();
    let revoked = client.json(&["worker", "revoke", "worker1", "--reason", "a test"]).unwrap();
    assert_eq!(revoked["state"], "revoked");
    wait_for("its cut", Duration::from_secs(2), || {
        worker(&scene, "worker1")["liveness"] != "alive"
    });
    let log = || std::fs::read_to_string(scene.farm.directory().join("logs/worker1.log")).unwrap();
    wait_for("the end of its build", Duration::from_secs(5), || {
        log().contains("builds are killed")
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!((build_attempts(&shown), builder(&shown)), (2, "worker2"), "{shown:#}");
    let fault = &worker(&scene, "worker1")["faults"][0];
    assert!(fault["message"].as_str().unwrap().contains("revoked (a test)"), "{fault:#}");
    assert!(log().contains("revoked: a test"), "{}", log());
}

#[test]
fn certificates_are_renewed_under_a_build_and_sigterm_lets_it_end_within_its_deadline() {
    let mut scene = Scene::with(|settings| {
        settings.tls = true;
        settings.coordinator_arguments = ["--certificate-seconds", "15"].map(String::from).into();
        settings.worker_arguments = ["--stop-deadline", "200"].map(String::from).into();
    });
    let client = scene.farm.client();
    let fingerprint = |scene: &Scene| {
        let shown = worker(scene, "worker1");
        shown["certificates"][0]["fingerprint"].as_str().unwrap().to_owned()
    };
    let first = fingerprint(&scene);
    let build = client.build(&["hello"]).unwrap()[0];
    wait_for("a renewal", PATIENCE, || fingerprint(&scene) != first);
    let second = fingerprint(&scene);
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!(build_attempts(&shown), 1, "the build did not notice: {shown:#}");
    wait_for("another renewal", PATIENCE, || fingerprint(&scene) != second);
    // By now the first certificate has ended. With its new one the worker connects anew, so for
    // the moment between the two sessions it counts as away.
    wait_for("the session with the new certificate", Duration::from_secs(5), || {
        worker(&scene, "worker1")["liveness"] == "alive"
    });

    // On a request to stop, the worker finishes its attempts, and reports that it takes no new
    // ones.
    let build = client.build(&["xxhash"]).unwrap()[0];
    wait_until_building(&scene, build);
    scene.farm.workers[0].signal(Signal::SIGTERM).unwrap();
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!(build_attempts(&shown), 1, "{shown:#}");
    wait_for("its end", PATIENCE, || scene.farm.workers[0].ended().is_some());
    assert!(scene.farm.workers[0].ended().unwrap().success());

    // With a short deadline it gives the task back at once, as its own fault.
    let settings = Settings {
        worker_arguments: ["--stop-deadline", "1"].map(String::from).into(),
        ..scene.settings.clone()
    };
    scene.farm.restart_worker(&settings, 0).unwrap();
    let build = client.build(&["hello"]).unwrap()[0];
    wait_until_building(&scene, build);
    scene.farm.workers[0].signal(Signal::SIGTERM).unwrap();
    wait_for("its end", Duration::from_secs(15), || scene.farm.workers[0].ended().is_some());
    let fault = worker(&scene, "worker1")["faults"][0].clone();
    assert_eq!(fault["message"], "the worker was shut down", "{fault:#}");
    let shown = client.show(build).unwrap();
    assert_eq!(shown["state"], "queued", "{shown:#}");
    // It gets the task just after a renewal: an attempt that is granted to a session which ends at
    // that moment would be lost with it, which would be one more try.
    assert_eq!(client.run(&["worker", "drain", "worker1"]).unwrap().code, 0);
    let before = fingerprint(&scene);
    scene.farm.restart_worker(&settings, 0).unwrap();
    wait_for("a renewal", PATIENCE, || fingerprint(&scene) != before);
    assert_eq!(client.run(&["worker", "resume", "worker1"]).unwrap().code, 0);
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    let faults = worker(&scene, "worker1")["faults"].clone();
    assert_eq!(build_attempts(&shown), 2, "{faults:#}");
}
