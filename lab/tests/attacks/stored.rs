//! An attacker who writes to the coordinator's disk, and is not the signer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Attack, NOTHING, PATIENCE, Scene};

fn blob(scene: &Scene, digest: &str) -> PathBuf {
    scene.farm.directory().join("coordinator/blobs").join(&digest[..2]).join(digest)
}

/// The digest of the accepted file of a build's one binary package.
pub(crate) fn binary(shown: &Value) -> String {
    let artifacts = shown["artifacts"].as_array().unwrap();
    let is_binary = |artifact: &&Value| {
        artifact["nevra"].as_str().is_some_and(|nevra| !nevra.ends_with(".src"))
    };
    artifacts.iter().find(is_binary).unwrap()["digest"].as_str().unwrap().to_owned()
}

/// A package that was accepted is replaced on the disk, by one that is whole, before it is signed.
#[test]
fn a_package_that_was_replaced_after_acceptance_is_not_signed() {
    let mut scene = Scene::new();
    let client = scene.farm.client();
    let other = &client.publish(&["words"], PATIENCE).unwrap()[0];
    let foreign = fs::read(blob(&scene, &binary(other))).unwrap();
    scene.push(&Attack { name: "honest", ..NOTHING });
    scene.farm.signer.signal(Signal::SIGSTOP).unwrap();
    let id = client.build(&["honest"]).unwrap()[0];
    let shown = client.wait(id, &["signing"], PATIENCE).unwrap();
    let path = blob(&scene, &binary(&shown));
    let own = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &foreign).unwrap();
    scene.farm.signer.signal(Signal::SIGCONT).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let shown = client.show(id).unwrap();
    assert_eq!(shown["state"], "signing", "{shown:#}");
    // Others are signed meanwhile, and it is, too, when its file is back.
    scene.goes_on();
    fs::remove_file(&path).unwrap();
    fs::write(&path, own).unwrap();
    client.wait(id, &["published"], PATIENCE).unwrap();
    scene.goes_on();
    others_read_what_is_published_alone(&scene);
}

/// Users of the host outside of the farm can read neither its database nor its secrets.
fn others_read_what_is_published_alone(scene: &Scene) {
    let mode = |name: &str| {
        let path = scene.farm.directory().join(name);
        fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode()
    };
    for name in ["farm.db", "token", "blobs", "logs", "git"] {
        let name = format!("coordinator/{name}");
        assert_eq!(mode(&name) & 0o077, 0, "{name}: {:o}", mode(&name));
    }
    for name in ["keys", "keys/lab.key"] {
        assert_eq!(mode(name) & 0o077, 0, "{name}: {:o}", mode(name));
    }
    assert_eq!(mode("signer.sock") & 0o007, 0, "{:o}", mode("signer.sock"));
    let page = "coordinator/repos/lab/testing/x86_64/os/repodata/repomd.xml";
    assert_eq!(mode(page) & 0o777, 0o644);
}

/// A log of the signer that somebody moved away stops signing until a person has decided.
#[test]
#[ignore = "slow: make attack"]
fn a_log_that_was_moved_stops_signing() {
    let mut scene = Scene::new();
    let client = scene.farm.client();
    client.publish(&["words"], PATIENCE).unwrap();
    let log = scene.farm.directory().join("signer-audit.jsonl");
    let aside = log.with_extension("moved");
    fs::rename(&log, &aside).unwrap();
    let id = client.build(&["tiny"]).unwrap()[0];
    client.wait(id, &["signing"], PATIENCE).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let shown = client.show(id).unwrap();
    assert_eq!(shown["state"], "signing", "{shown:#}");
    let output = client.run(&["doctor"]).unwrap().out;
    assert!(output.contains("it was moved or removed"), "{output}");
    fs::rename(&aside, &log).unwrap();
    scene.farm.restart_signer().unwrap();
    client.wait(id, &["published"], PATIENCE).unwrap();
    scene.goes_on();
}
