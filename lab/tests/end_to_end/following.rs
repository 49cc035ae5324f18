//! Somebody pushes, and the update is there: by webhook, by polling, and once however it was
//! heard of.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rpmfarm_core::track::{Forge, Policy};
use rpmfarm_core::{Arch, Target};
use rpmfarm_lab::distgit::{self, BRANCH, Commit, Entry, MODIFIED_BRANCH, append};
use rpmfarm_lab::farm::{Client, Farm, Hook, InstallRoot, Settings, World};
use serde_json::Value;

use crate::{PATIENCE, Scene, target, warm_roots};

const PACKAGE: &str = "tiny";

/// A scene whose target is followed as this says.
fn scene(change: impl FnOnce(&mut Target)) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let world = World::make(&directory.path().join("world"), Arch::X86_64).unwrap();
    let mut settings = Settings::new(directory.path().join("farm"));
    settings.worker_data = Some(warm_roots());
    let mut target = Target::parse("lab.toml", &target(&world)).unwrap();
    target.track.spacing_seconds = 0;
    change(&mut target);
    let farm = Farm::start(&settings, &toml::to_string_pretty(&target).unwrap()).unwrap();
    Scene { world, farm, settings, directory }
}

/// Pushes the next release of the package: the new commit.
fn push(world: &World, release: u32) -> String {
    let repository = world.repository_of(PACKAGE);
    let paths = git(&repository, &["ls-tree", "-r", "--name-only", BRANCH]);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for path in paths.lines() {
        let content = git(&repository, &["cat-file", "blob", &format!("{BRANCH}:{path}")]);
        files.insert(path.to_owned(), content.into_bytes());
    }
    let spec = files.get_mut("SPECS/tiny.spec").unwrap();
    let text = String::from_utf8(spec.clone()).unwrap();
    let next = text.replacen(
        &format!(" {}%{{?dist}}\n", release - 1),
        &format!(" {release}%{{?dist}}\n"),
        1,
    );
    assert_ne!(next, text);
    *spec = next.into_bytes();
    let tree = files.iter().map(|(path, content)| (path.as_str(), Entry::File(content))).collect();
    let message = format!("Release {release}, for CVE-2026-{:04}", 1000 + release);
    append(&repository, BRANCH, &Commit { message: &message, tree }).unwrap()
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new("git").arg("--git-dir").arg(repository).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn hook(commit: &str, delivery: &str) -> Hook {
    Hook {
        repository: format!("rpms/{PACKAGE}"),
        branch: BRANCH.into(),
        commit: commit.into(),
        delivery: delivery.into(),
    }
}

/// Follows the package, and waits until it was polled.
fn follow(client: &Client) {
    let added = client.json(&["track", "add", PACKAGE, "--target", "lab"]).unwrap();
    assert_eq!(added["added"][0], PACKAGE);
    wait(|| {
        let shown = client.json(&["track", "show", PACKAGE, "--target", "lab"]).unwrap();
        (!shown["tracked"]["commit"].is_null()).then_some(())
    });
}

/// Waits until something is there.
fn wait<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Builds of the package, newest first.
fn builds(client: &Client) -> Vec<Value> {
    let list = client.json(&["list", "--package", PACKAGE]).unwrap();
    list["builds"].as_array().unwrap().clone()
}

/// Waits until this commit is published: the build.
fn published(client: &Client, commit: &str) -> Value {
    let has = |build: &Value| build["ref"] == commit || build["commit"] == commit;
    let build = wait(|| builds(client).into_iter().find(has));
    client.wait(build["id"].as_i64().unwrap(), &["published"], PATIENCE).unwrap()
}

/// Installs or updates the package with dnf: its release.
fn installed(root: &InstallRoot, verb: &str) -> String {
    root.dnf(&[verb, "-y", PACKAGE]).unwrap();
    // By dnf, for its database is the host's, not where the root's own rpm looks.
    let query = ["-q", "repoquery", "--installed", "--qf", "%{release}", PACKAGE];
    let output = root.dnf(&query).unwrap();
    let release = output.lines().find(|line| line.contains(".lab9")).expect("it is installed");
    release.trim().split('.').next().unwrap().to_owned()
}

fn install_root(scene: &Scene) -> InstallRoot {
    let mut root = InstallRoot::new(scene.path("root"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(&["rpm", "bash"]).unwrap();
    root
}

#[test]
fn a_push_with_a_webhook_is_an_update_that_dnf_installs() {
    // Without the webhook there would be no poll for an hour.
    let scene = scene(|target| {
        target.track.poll_seconds = 3600;
        target.track.poll_longest_seconds = 3600;
    });
    let client = scene.farm.client();
    let forge = scene.farm.forge().unwrap();
    follow(&client);
    client.publish(&[PACKAGE], PATIENCE).unwrap();
    let root = install_root(&scene);
    assert_eq!(installed(&root, "install"), "1");

    let commit = push(&scene.world, 2);
    let (status, answer) = forge.send(&hook(&commit, "1")).unwrap();
    assert_eq!(status, 202, "{answer}");
    let build = published(&client, &commit);
    assert_eq!(
        (build["submitter"].as_str(), build["commit"].as_str()),
        (Some("track"), Some(commit.as_str()))
    );
    assert_eq!(build["cves"][0], "CVE-2026-1002", "{build:#}");
    assert_eq!(installed(&root, "update"), "2");
}

#[test]
fn a_push_to_modifications_is_an_update_of_the_same_commit() {
    let scene = scene(|target| {
        target.track.poll_seconds = 1;
        target.track.poll_longest_seconds = 2;
    });
    let client = scene.farm.client();
    follow(&client);
    client.publish(&[PACKAGE], PATIENCE).unwrap();
    let first = builds(&client).remove(0);
    // It has none so far: the repository itself comes with the first push.
    let config = b"actions:\n  - modify_release:\n    - {suffix: .farm.1}\n";
    let tree = [("config.yaml", Entry::File(config))].into();
    let commit = Commit { message: "Above upstream's", tree };
    let repository = scene.world.modifications_of(PACKAGE);
    distgit::create(&repository, MODIFIED_BRANCH, &[commit]).unwrap();
    let build = wait(|| builds(&client).into_iter().find(|build| build["submitter"] == "track"));
    let build = client.wait(build["id"].as_i64().unwrap(), &["published"], PATIENCE).unwrap();
    assert_eq!(build["commit"], first["commit"]);
    assert!(build["srpm"].as_str().unwrap().contains(".farm.1"), "{build:#}");

    // A push that raises nothing is refused before it is built.
    let tree = [("config.yaml", Entry::File(config)), ("README", Entry::File(b"why"))].into();
    distgit::append(&repository, MODIFIED_BRANCH, &Commit { message: "Say why", tree }).unwrap();
    let known = build["id"].as_i64();
    let build = wait(|| builds(&client).into_iter().find(|build| build["id"].as_i64() > known));
    let build = client.wait(build["id"].as_i64().unwrap(), &["failed"], PATIENCE).unwrap();
    let message = build["failure"]["message"].as_str().unwrap();
    assert!(message.contains("which is the same as"), "{message}");
    assert_eq!(build["srpm"], Value::Null, "nothing was built");
}

#[test]
fn without_a_webhook_the_farm_finds_the_push_itself() {
    let scene = scene(|target| {
        target.track.poll_seconds = 1;
        target.track.poll_longest_seconds = 2;
    });
    let client = scene.farm.client();
    follow(&client);
    client.publish(&[PACKAGE], PATIENCE).unwrap();
    let root = install_root(&scene);
    assert_eq!(installed(&root, "install"), "1");
    let commit = push(&scene.world, 2);
    published(&client, &commit);
    assert_eq!(installed(&root, "update"), "2");
}

#[test]
fn the_same_push_seen_five_ways_is_built_once_and_a_restart_loses_nothing() {
    let mut scene = scene(|target| {
        target.track.poll_seconds = 1;
        target.track.poll_longest_seconds = 1;
    });
    let client = scene.farm.client();
    let forge = scene.farm.forge().unwrap();
    follow(&client);
    let commit = push(&scene.world, 2);
    // Two webhooks, a manual request, a poll on demand, and a regular poll.
    assert_eq!(forge.send(&hook(&commit, "1")).unwrap().0, 202);
    assert_eq!(forge.send(&hook(&commit, "1")).unwrap().0, 200);
    assert_eq!(forge.send(&hook(&commit, "2")).unwrap().0, 202);
    scene.farm.coordinator.kill();
    scene.farm.restart_coordinator(&scene.settings).unwrap();
    client.run(&["track", "look", PACKAGE, "--target", "lab"]).unwrap();
    let build = published(&client, &commit);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(builds(&client).len(), 1, "{:#?}", builds(&client));
    let shown = client.json(&["track", "show", PACKAGE, "--target", "lab"]).unwrap();
    assert_eq!(shown["pushes"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!(shown["pushes"][0]["build"], build["id"]);

    // A webhook that came just before a power cut.
    let commit = push(&scene.world, 3);
    assert_eq!(forge.send(&hook(&commit, "3")).unwrap().0, 202);
    scene.farm.coordinator.kill();
    scene.farm.restart_coordinator(&scene.settings).unwrap();
    published(&client, &commit);
    assert_eq!(builds(&client).len(), 2);
}

#[test]
fn packages_of_a_forge_are_followed_and_proposals_wait_for_a_word() {
    let scene = scene(|target| {
        let address = target.upstream.url.as_str().split("/git/").next().unwrap().to_owned();
        for forge in Forge::ALL {
            target.track.forges.insert(forge, format!("{address}/forge"));
        }
        target.track.policy = Policy::Propose;
        target.track.poll_seconds = 1;
        target.track.poll_longest_seconds = 1;
    });
    let client = scene.farm.client();
    for (forge, known) in [("github", 0), ("gitlab", 1), ("gitea", 1), ("pagure", 1)] {
        let namespace = format!("{forge}:rpms");
        let reply =
            client.json(&["track", "add", "--namespace", &namespace, "--target", "lab"]).unwrap();
        let followed = reply["already_followed"].as_i64().unwrap();
        assert_eq!(followed > 0, known > 0, "{forge}: {reply}");
    }
    let none = client.run(&["track", "add", "--namespace", "github:nobody", "--target", "lab"]);
    let none = none.unwrap();
    assert_eq!(none.code, 3, "{}", none.err);
    let list = client.json(&["track", "list", "--target", "lab"]).unwrap();
    let names: Vec<&str> = list["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["package"].as_str().unwrap())
        .collect();
    assert!(names.contains(&PACKAGE) && names.contains(&"hello"), "{names:?}");
    wait(|| {
        let shown = client.json(&["track", "show", PACKAGE, "--target", "lab"]).unwrap();
        (!shown["tracked"]["commit"].is_null()).then_some(())
    });
    let commit = push(&scene.world, 2);
    let plan = wait(|| {
        let plan = client.json(&["track", "--dry-run", "--target", "lab"]).unwrap();
        (!plan["pushes"].as_array().unwrap().is_empty()).then_some(plan)
    });
    let push = &plan["pushes"][0];
    assert_eq!(
        (push["package"].as_str(), push["commit"].as_str()),
        (Some(PACKAGE), Some(commit.as_str()))
    );
    assert_eq!(
        (push["verdict"].as_str(), push["reason"].as_str()),
        (Some("proposed"), Some("waits for approval"))
    );
    std::thread::sleep(Duration::from_secs(2));
    assert!(builds(&client).is_empty());
    let frozen = client.run(&[
        "track",
        "freeze",
        PACKAGE,
        "--until",
        "2000-01-01",
        "--reason",
        "x",
        "--target",
        "lab",
    ]);
    assert_eq!(frozen.unwrap().code, 2, "an end that is past");
    client.json(&["track", "approve", PACKAGE, "--target", "lab"]).unwrap();
    wait(|| (builds(&client).len() == 1).then_some(()));
    let again = client.run(&["track", "approve", PACKAGE, "--target", "lab"]).unwrap();
    assert_eq!(again.code, 3, "{}", again.err);
}
