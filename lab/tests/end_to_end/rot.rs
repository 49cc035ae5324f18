//! A file that rots in the store is found before it is published, and keeps back its own build
//! only. Fault 20 of `docs/faults.md`; invariants I5 and I6.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{PATIENCE, Scene};

/// Waits until every package of a build is signed, and returns it as it is shown.
fn signed(scene: &Scene, build: i64) -> Value {
    let begun = Instant::now();
    loop {
        let shown = scene.farm.client().show(build).unwrap();
        let artifacts = shown["artifacts"].as_array().cloned().unwrap_or_default();
        let is_signed = |artifact: &Value| artifact["signed_digest"].is_string();
        if !artifacts.is_empty() && artifacts.iter().all(is_signed) {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE && shown["ended"] != true, "not signed: {shown:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The signed file of a build's binary package.
fn blob(scene: &Scene, build: &Value) -> PathBuf {
    let artifacts = build["artifacts"].as_array().unwrap();
    let is_binary = |artifact: &&Value| {
        artifact["nevra"].as_str().is_some_and(|nevra| !nevra.ends_with(".src"))
    };
    let digest =
        artifacts.iter().find(is_binary).unwrap_or_else(|| panic!("{build:#}"))["signed_digest"]
            .as_str()
            .unwrap();
    scene.farm.directory().join("coordinator/blobs").join(&digest[..2]).join(digest)
}

fn flip(path: &PathBuf) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() - 40;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn bit_rot_keeps_back_its_own_build_until_it_is_mended() {
    let scene = Scene::new();
    // Somebody else publishes, for as long as it takes.
    let tree = scene.farm.directory().join("coordinator/repos/lab");
    std::fs::create_dir_all(&tree).unwrap();
    let lock = File::create(tree.join(".lock")).unwrap();
    lock.lock().unwrap();
    let builds = scene.farm.client().build(&["tiny", "hello"]).unwrap();
    let (tiny, hello) = (signed(&scene, builds[0]), signed(&scene, builds[1]));
    assert!(tiny["published"].is_null() && hello["published"].is_null(), "{tiny:#}");
    let rotten = blob(&scene, &tiny);
    flip(&rotten);
    lock.unlock().unwrap();

    scene.farm.client().wait(builds[1], &["published"], PATIENCE).unwrap();
    let begun = Instant::now();
    loop {
        let shown = scene.farm.client().show(builds[0]).unwrap();
        let says = shown.to_string();
        if says.contains("not published yet: tiny-") && says.contains("has sha256") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE && shown["ended"] != true, "not found: {shown:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
    flip(&rotten);
    scene.farm.client().wait(builds[0], &["published"], PATIENCE).unwrap();
}
