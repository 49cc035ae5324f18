//! A worker that breaks, and says why it gets no more work.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::{
    assert_not_the_packages_fault, published_once, short, wait_for, wait_until_alive,
    worker_document,
};
use crate::{PATIENCE, Scene};

/// A program that stands before crun, whole or broken.
fn put_crun(path: &Path, line: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// What a build waits for, as the command tells it.
fn why(scene: &Scene, build: i64) -> Vec<Value> {
    let answer = scene.farm.client().json(&["why", &build.to_string()]).unwrap();
    answer["reasons"].as_array().cloned().unwrap_or_default()
}

/// Fault 26; I4, I9. A worker whose container runtime has broken fails whatever it gets, for its
/// own reasons: the work is done by another one, it is quarantined and says why, and what waits
/// says so, too. Mended and let in again, it builds.
#[test]
fn a_worker_that_fails_different_packages_is_quarantined_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let crun = directory.path().join("crun");
    put_crun(&crun, "exec crun \"$@\"");
    let mut scene = Scene::with(|settings| {
        short(settings);
        settings.worker_arguments.extend(["--crun".to_owned(), crun.display().to_string()]);
    });
    wait_until_alive(&scene, "worker1");
    put_crun(&crun, "echo 'crun: it is broken' >&2; exit 1");
    let mut whole = scene.settings.clone();
    whole.worker_arguments.clear();
    scene.farm.add_worker(&whole).unwrap();
    wait_until_alive(&scene, "worker2");

    let client = scene.farm.client();
    let builds = client.build(&["tiny", "lingers", "colordiff", "hello"]).unwrap();
    wait_for("its quarantine", PATIENCE, || {
        worker_document(&scene, "worker1")["state"] == "quarantined"
    });
    for build in builds {
        published_once(&scene, build);
        assert_not_the_packages_fault(&scene, build);
    }
    let broken = worker_document(&scene, "worker1");
    let reason = broken["state_reason"].as_str().unwrap();
    assert!(
        reason.contains("one after the other for reasons of its own")
            && reason.contains("it is broken"),
        "{broken:#}"
    );

    client.json(&["worker", "drain", "worker2", "--reason", "a new disk"]).unwrap();
    let build = client.build(&["ticks"]).unwrap()[0];
    let mut last = Vec::new();
    wait_for("the reason why it waits", PATIENCE, || {
        last = why(&scene, build);
        last.iter().any(|reason| reason["code"] == "no-worker-takes-work")
    });
    let text = last[0]["text"].as_str().unwrap();
    assert!(
        text.contains("worker1 is quarantined") && text.contains("worker2 is drained: a new disk"),
        "{last:#?}"
    );

    put_crun(&crun, "exec crun \"$@\"");
    let resumed = client.json(&["worker", "resume", "worker1"]).unwrap();
    assert_eq!(resumed["state"], "active", "{resumed:#}");
    wait_for("it builds again", PATIENCE, || {
        why(&scene, build).iter().any(|reason| {
            reason["text"].as_str().is_some_and(|text| text.contains("runs on worker1"))
        })
    });
    client.json(&["cancel", &build.to_string()]).unwrap();
}
