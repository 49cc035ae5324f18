//! The builds of one request as a whole: plans, pauses, losses, retries.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{PATIENCE, Scene};

/// A batch as the command shows it.
fn batch(scene: &Scene, id: &str) -> Value {
    scene.farm.client().json(&["batch", "show", id]).unwrap()
}

/// The number of the batch of a build.
fn batch_of(scene: &Scene, build: i64) -> String {
    scene.farm.client().show(build).unwrap()["batch"].to_string()
}

/// The place of a package in a plan.
fn place(plan: &Value, package: &str) -> usize {
    let components = plan["components"].as_array().unwrap();
    let has = |component: &Value| {
        component["packages"].as_array().unwrap().contains(&Value::from(package))
    };
    components.iter().position(has).unwrap()
}

#[test]
fn a_batch_is_planned_paused_and_built_in_its_order() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let packages = ["words", "uses-words"];
    let plan = [&["build", "--target", "lab", "--plan"], &packages[..]].concat();
    let planned = client.json(&plan).unwrap();
    assert_eq!(planned["unknown"], serde_json::json!(packages), "{planned:#}");
    assert_eq!(
        client.json(&["list"]).unwrap()["builds"],
        serde_json::json!([]),
        "nothing is built"
    );

    let ids = client.build(&packages).unwrap();
    let id = batch_of(&scene, ids[0]);
    assert_eq!(client.run(&["batch", "pause", &id]).unwrap().code, 0);
    let begun = Instant::now();
    let is_idle = |worker: &Value| worker["busy"] == 0;
    while !client.json(&["worker", "list"]).unwrap()["workers"]
        .as_array()
        .unwrap()
        .iter()
        .all(is_idle)
    {
        assert!(begun.elapsed() < PATIENCE, "what runs does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let paused = batch(&scene, &id);
    assert_eq!(paused["state"], "paused");
    assert_eq!(paused["builds"], 2);
    let why = client.json(&["why", &ids[1].to_string()]).unwrap();
    assert_eq!(why["reasons"][0]["code"], "paused", "{why:#}");

    assert_eq!(client.run(&["batch", "resume", &id]).unwrap().code, 0);
    let watched = client.run(&["batch", "watch", &id]).unwrap();
    assert_eq!(watched.code, 0, "{}", watched.err);
    assert!(watched.out.contains("2 builds: 2 published; took "), "{}", watched.out);
    let ended = batch(&scene, &id);
    assert_eq!(ended["state"], "ended");
    assert_eq!(ended["published"], 2);
    assert!(ended["work_ms"].as_i64().unwrap() > 0, "{ended:#}");

    // Now their needs and names are known.
    let planned = client.json(&plan).unwrap();
    assert_eq!(planned["unknown"], serde_json::json!([]), "{planned:#}");
    let needs = &planned["components"][place(&planned, "uses-words")]["needs"];
    assert_eq!(*needs, serde_json::json!([place(&planned, "words")]), "{planned:#}");
    assert!(planned["expected_ms"].as_i64() >= planned["least_ms"].as_i64(), "{planned:#}");
    let text = client.run(&plan).unwrap().out;
    assert!(
        text.starts_with("plan for lab: 2 builds in 2 components, order: requires\n"),
        "{text}"
    );
}

#[test]
fn a_batch_says_what_a_lost_build_took_with_it_and_is_tried_again() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let ids = client.build(&["needs-failed", "fails-build"]).unwrap();
    for id in &ids {
        client.wait(*id, &["failed"], PATIENCE).unwrap();
    }
    let id = batch_of(&scene, ids[0]);
    let lost = batch(&scene, &id);
    assert_eq!(lost["failed_by_package"], 2, "{lost:#}");
    let losses = lost["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{lost:#}");
    assert_eq!(losses[0]["package"], "fails-build");
    assert_eq!(losses[0]["took"][0]["package"], "needs-failed");
    assert_eq!(client.run(&["batch", "pause", &id]).unwrap().code, 2, "it has ended");

    assert_eq!(client.json(&["batch", "retry", &id]).unwrap()["builds"], 2);
    let cancelled = client.json(&["batch", "cancel", &id]).unwrap();
    assert!(cancelled["builds"].as_i64() >= Some(1), "{cancelled:#}");
    let ended = batch(&scene, &id);
    let count = |word: &str| ended[word].as_i64().unwrap();
    assert_eq!(count("failed") + count("cancelled"), 2, "{ended:#}");
    assert_eq!(ended["state"], "ended");
    assert_eq!(ended["paused_at"], Value::Null);
    let watched = client.run(&["batch", "watch", &id]).unwrap();
    assert!([1, 6].contains(&watched.code), "{}: {}", watched.code, watched.out);
    assert_eq!(client.run(&["batch", "cancel", &id]).unwrap().code, 2);
}
