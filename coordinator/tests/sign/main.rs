//! Signing and publishing with the real signer: files of a store that was tampered with, the
//! reasons while it does not sign, and the continuity of revisions and log.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../common/acceptor.rs"]
mod acceptor;
#[path = "../common/builds.rs"]
mod builds;
#[path = "../common/farms.rs"]
mod farms;
mod proof;
#[path = "../accept/scene.rs"]
#[allow(dead_code, reason = "the tests of acceptance use all of it")]
mod scene;
mod signer;
#[path = "../../../rpmfile/tests/support/mod.rs"]
mod support;
mod together;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use rpmfarm_coordinator::accept::AcceptorClient;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::publish::PublishStage;
use rpmfarm_coordinator::sign::SignStage;
use rpmfarm_coordinator::store::Build;
use rpmfarm_coordinator::work::KeyedTaskPool;
use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::{BuildId, Stage};
use rpmfarm_guarded::key::SigningKey;
use rpmfarm_proto::v1::Check;
use rpmfarm_rpmfile::{Certs, verify_detached, verify_signature};

use self::acceptor::Acceptor;
use self::scene::{Scene, built};
use self::signer::Signer;
use self::support::Built;

const TAGS: &str = "Release: 1\nBuildArch: noarch";

fn data(farm: &Parts) -> PathBuf {
    farm.blobs.root().parent().unwrap().to_owned()
}

/// A build of that package that is accepted.
async fn accepted(scene: &Scene, of: &Built, name: &str) -> Build {
    let build = scene.build(name).await;
    scene.srpm(build, of).await.unwrap();
    scene.binary(build, of).await.unwrap();
    let waiting = scene.farm.store.build_list_accepted().await.unwrap();
    waiting.into_iter().find(|waiting| waiting.id == build).expect("it is to be signed")
}

/// Where the blob of a build's package lies whose name ends so.
async fn blob(farm: &Parts, build: BuildId, end: &str) -> PathBuf {
    let rows = farm.store.package_list_of_build(build, "lab").await.unwrap();
    let row = rows.iter().find(|row| row.package.nevra.to_string().ends_with(end)).unwrap();
    farm.blobs.path(row.package.digest)
}

async fn signed(farm: &Parts, build: BuildId) -> usize {
    let rows = farm.store.package_list_of_build(build, "lab").await.unwrap();
    rows.iter().filter(|row| row.signature.is_some()).count()
}

async fn sign_build(farm: &Parts, build: &Build) -> anyhow::Result<()> {
    let store = farm.fenced(Stage::Sign).expect("there is no other coordinator");
    farm.sign().sign_build(&store, build).await
}

/// Publishes all builds that are due.
async fn publish(farm: &Parts, stage: &PublishStage) {
    let store = farm.fenced(Stage::Publish).expect("there is no other coordinator");
    stage.publish_all(&store).await.unwrap();
}

/// Signs and publishes all that waits.
async fn publish_all(farm: &Parts) {
    for build in farm.store.build_list_accepted().await.unwrap() {
        sign_build(farm, &build).await.unwrap();
    }
    publish(farm, &farm.publish()).await;
}

fn repodata(farm: &Parts) -> PathBuf {
    farm.repos.join("lab/testing/x86_64/os/repodata")
}

fn revision(farm: &Parts) -> u64 {
    farm.publisher.shown("lab", "testing").unwrap().unwrap()
}

async fn checks(farm: &Parts, name: &str) -> Vec<Check> {
    let all = farm.doctor().checks().await;
    all.into_iter().filter(|check| check.name == name && check.level != "ok").collect()
}

/// Runs a command of the signer's operator.
fn operate(farm: &Parts, words: &[&str]) {
    signer::operate(&data(farm), words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_swapped_is_never_signed() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let (honest, foreign) = (built("swapme", TAGS, "honest"), built("swapme", TAGS, "backdoor"));
    let build = accepted(&scene, &honest, "swapme").await;
    let path = blob(farm, build.id, ".noarch").await;
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [fs::read(&foreign.binary).unwrap(), flipped, good[..200].to_vec()] {
        fs::write(&path, bad).unwrap();
        let error = sign_build(farm, &build).await.unwrap_err();
        let text = format!("{error:#}");
        for part in ["signing swapme-1-1.noarch", "the store is damaged", path.to_str().unwrap()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The source package is whole.
        assert_eq!(signed(farm, build.id).await, 1);
    }
    let log = fs::read_to_string(signer::log(&data(farm))).unwrap();
    assert!(!log.contains("swapme-1-1.noarch"), "the signer was asked: {log}");
    publish(farm, &farm.publish()).await;
    assert!(!repodata(farm).exists(), "it is kept back");

    fs::write(&path, good).unwrap();
    publish_all(farm).await;
    assert_eq!(signed(farm, build.id).await, 2);
    assert!(repodata(farm).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_gets_its_repositories_by_the_rules_of_its_target() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("first", TAGS, "1"), "first").await;
    publish_all(farm).await;
    assert!(repodata(farm).exists());

    let base = "[[published_repositories]]\nname = \"BaseOS\"\nsources = [\"first\"]\n";
    scene.change_target(base);
    let second = accepted(&scene, &built("second", TAGS, "2"), "second").await;
    publish_all(farm).await;
    assert_eq!(revision(farm), 2);
    let channel = farm.repos.join("lab/testing");
    assert!(channel.join("BaseOS/x86_64/os/repodata/repomd.xml.asc").exists());
    assert!(!repodata(farm).exists(), "the channel is not one repository any more");
    let listed = || {
        let text = fs::read_to_string(channel.join("current/packages")).unwrap();
        let of = |line: &str| {
            let (name, rest) = line.split_once(' ').unwrap();
            format!("{name} {}", rest.split_once(" @").unwrap().1)
        };
        text.lines().map(of).collect::<Vec<_>>()
    };
    assert_eq!(listed(), ["first-1-1.noarch BaseOS", "first-1-1.src BaseOS"]);
    let unplaced = async || {
        let rows = farm.store.unplaced_list("lab", "testing").await.unwrap();
        rows.into_iter().map(|row| row.package.nevra.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(unplaced().await, ["second-1-1.noarch", "second-1-1.src"]);
    let rows = farm.store.build_list_details(&[second.id]).await.unwrap();
    assert_eq!(rows[&second.id].unplaced.len(), 2);

    // A new rule is applied although no build is published.
    scene.change_target(&format!(
        "{base}[[published_repositories]]\nname = \"AppStream\"\nrest = true\n"
    ));
    publish(farm, &farm.publish()).await;
    publish(farm, &farm.publish()).await;
    assert_eq!(revision(farm), 3);
    let second = ["second-1-1.noarch AppStream", "second-1-1.src AppStream"];
    assert_eq!(listed()[2..], second);
    assert!(unplaced().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_say_why_the_signer_does_not_sign() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    operate(farm, &["pause", "--reason", "the key moves to a token"]);
    let build = accepted(&scene, &built("waits", TAGS, "x"), "waits").await;
    let stage =
        SignStage { signatures: KeyedTaskPool::new("sign", 1, farm.bus.clone()), ..farm.sign() };
    farm.runner().pass(&stage).await.unwrap();
    while farm.waits.reason(build.id).is_empty() {
        tokio::task::yield_now().await;
    }
    let reason = farm.waits.reason(build.id);
    assert!(reason.starts_with("not signed yet: ") && reason.contains("it is paused"), "{reason}");
    assert!(reason.contains("the key moves to a token"), "{reason}");
    let found = checks(farm, "signer").await;
    assert!(found.iter().any(|check| check.message.contains("the key moves")), "{found:?}");
    operate(farm, &["resume"]);
    publish_all(farm).await;
    assert!(checks(farm, "signer").await.is_empty());
}

/// Another process has had a page signed that was never shown, as a process that died before its
/// rename.
#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_above_all_that_were_signed() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("one", TAGS, "x"), "one").await;
    publish_all(farm).await;
    assert_eq!(revision(farm), 1);
    let page = fs::read_to_string(repodata(farm).join("repomd.xml")).unwrap();
    let place = RepositoryId::new("lab", "testing", "x86_64/os").unwrap();
    let of = |revision: u64| {
        let found = format!("<revision>{revision}</revision>");
        page.replace("<revision>1</revision>", &found).into_bytes()
    };
    farm.signer.sign_repomd("lab", &place, of(5)).await.unwrap();
    // Neither an older page, nor another page with the same revision.
    for stale in [of(1), of(4), [of(5), b"\n".to_vec()].concat()] {
        let error = farm.signer.sign_repomd("lab", &place, stale).await.unwrap_err().to_string();
        assert!(error.contains("signed already"), "{error}");
    }
    drop(signer);
    let _signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("two", TAGS, "x"), "two").await;
    publish_all(farm).await;
    assert_eq!(revision(farm), 6);
    let shown = farm.store.channel_fetch("lab", "testing").await.unwrap().unwrap();
    assert_eq!(shown.revision, 6);
    // A client that has read revision 1 still finds its documents.
    let document = page.split("href=\"repodata/").nth(1).unwrap().split('"').next().unwrap();
    assert!(repodata(farm).join(document).exists(), "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_published_and_compared() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("one", TAGS, "x"), "one").await;
    publish_all(farm).await;
    let text = fs::read_to_string(repodata(farm).join("signer-log.json")).unwrap();
    let logged = farm.publisher.logged("lab", "testing").unwrap().unwrap();
    assert!(text.contains(&logged.log), "{text}");
    assert!(checks(farm, "signer log").await.is_empty());

    // An attacker with the signer's directories restores an older log.
    drop(signer);
    let log = signer::log(&data(farm));
    let good = fs::read_to_string(&log).unwrap();
    let kept: String = good.split_inclusive('\n').take(2).collect();
    fs::write(&log, kept).unwrap();
    let state = data(farm).join("keys/state.jsonl");
    let good_state = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    let signer = Signer::start(&data(farm), &[]);
    let found = checks(farm, "signer log").await;
    assert_eq!((found.len(), found[0].level.as_str()), (1, "error"), "{found:?}");
    assert!(found[0].message.contains("was published, and the log ends with"), "{found:?}");
    drop(signer);
    // One line is changed.
    fs::write(&state, good_state).unwrap();
    fs::write(&log, good.replace("\"build\":1", "\"build\":2")).unwrap();
    let signer = Signer::start(&data(farm), &[]);
    let found = checks(farm, "signer log").await;
    assert!(found[0].level == "error" && found[0].message.contains("follow"), "{found:?}");
    drop(signer);
    fs::write(&log, good).unwrap();
    // An operator starts a new log: doctor reports that the published head is in the old one.
    operate(farm, &["audit", "restart", "--reason", "rotated"]);
    let _signer = Signer::start(&data(farm), &[]);
    let found = checks(farm, "signer log").await;
    assert_eq!((found.len(), found[0].level.as_str()), (1, "warning"), "{found:?}");
    accepted(&scene, &built("two", TAGS, "x"), "two").await;
    publish_all(farm).await;
    assert!(checks(farm, "signer log").await.is_empty());
}

/// An attacker with the coordinator cannot have a package signed that no acceptor has accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_with_an_acceptor_signs_only_what_it_accepted() {
    let mut scene = Scene::new().await;
    let data = data(&scene.farm);
    let _acceptor = Acceptor::start(&data);
    let key = acceptor::state(&data).join("acceptor.pub");
    let signer = Signer::start(&data, &["--acceptor", key.to_str().unwrap()]);
    let alone = accepted(&scene, &built("alone", TAGS, "x"), "alone").await;
    let error = format!("{:#}", sign_build(&scene.farm, &alone).await.unwrap_err());
    assert!(error.contains("the acceptor has not accepted it"), "{error}");
    let found = checks(&scene.farm, "acceptor").await;
    assert_eq!((found.len(), found[0].level.as_str()), (1, "error"), "{found:?}");

    scene.farm.acceptor = Some(AcceptorClient::new(&acceptor::socket(&data)));
    scene.key = Some(SigningKey::load_or_make(&data.join("w.key")).unwrap());
    assert!(checks(&scene.farm, "acceptor").await.is_empty());
    let both = accepted(&scene, &built("both", TAGS, "x"), "both").await;
    sign_build(&scene.farm, &both).await.unwrap();
    assert_eq!(signed(&scene.farm, both.id).await, 2);
    assert_eq!(signed(&scene.farm, alone.id).await, 0);
    let log = fs::read_to_string(signer::log(&data)).unwrap();
    assert!(
        log.contains("\"accepted\":{\"attempt\":") && log.contains("\"worker\":\"w\""),
        "{log}"
    );

    // Packages that were accepted before are signed by a signer without acceptors.
    drop(signer);
    let _signer = Signer::start(&data, &[]);
    sign_build(&scene.farm, &alone).await.unwrap();
    let found = checks(&scene.farm, "acceptor").await;
    assert_eq!((found.len(), found[0].level.as_str()), (1, "warning"), "{found:?}");
}

/// The files that the channel shows, with the ids of the keys that have signed them.
fn shown_keys(farm: &Parts) -> BTreeMap<String, String> {
    let key_file = fs::read_to_string(farm.repos.join("lab/RPM-GPG-KEY-lab")).unwrap();
    let certs = Certs::from_armored(&key_file).unwrap();
    let generation = farm.repos.join("lab/testing/current/packages");
    let lines = fs::read_to_string(generation).unwrap();
    let signed = lines.lines().map(|line| {
        let mut words = line.split(' ');
        let (name, digest) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        let verified = verify_signature(&farm.blobs.path(digest), &certs, SystemTime::now());
        (name.to_owned(), verified.unwrap().fingerprint)
    });
    signed.collect()
}

/// How many keys have signed the shown `repomd.xml`, and how many are published.
fn keys_of_metadata(farm: &Parts) -> (usize, usize) {
    let key_file = fs::read_to_string(farm.repos.join("lab/RPM-GPG-KEY-lab")).unwrap();
    let page = fs::read(repodata(farm).join("repomd.xml")).unwrap();
    let armored = fs::read_to_string(repodata(farm).join("repomd.xml.asc")).unwrap();
    let blocks: Vec<&str> =
        key_file.split_inclusive("-----END PGP PUBLIC KEY BLOCK-----").collect();
    let keys = blocks.iter().filter_map(|block| Certs::from_armored(block).ok());
    let keys: Vec<Certs> = keys.collect();
    let signs = |key: &&Certs| verify_detached(&page, &armored, key, SystemTime::now()).is_ok();
    (keys.iter().filter(signs).count(), keys.len())
}

/// A build is published at once while the key of its target changes, and what the earlier key has
/// signed follows; then the earlier key is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_changes_while_builds_are_published() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let options = ["--create", "next=Next <next@example.org>", "--bind", "next=lab"];
    let _signer = Signer::start(&data(farm), &options);
    accepted(&scene, &built("one", TAGS, "x"), "one").await;
    publish_all(farm).await;
    let old = shown_keys(farm);
    assert_eq!((old.len(), keys_of_metadata(farm)), (2, (1, 1)));
    let old_key = old.values().next().unwrap().clone();

    scene.change_target("signing_key = \"next\"\nprevious_keys = [\"lab\"]");
    accepted(&scene, &built("two", TAGS, "x"), "two").await;
    let stage = farm.publish();
    for build in farm.store.build_list_accepted().await.unwrap() {
        sign_build(farm, &build).await.unwrap();
    }
    publish(farm, &stage).await;
    assert_eq!(keys_of_metadata(farm), (2, 2));
    let mixed = shown_keys(farm);
    for (name, key) in &mixed {
        assert_eq!(*key == old_key, name.starts_with("one-"), "{mixed:?}");
    }
    // That pass has signed the others again as well; the next one publishes them.
    let before = revision(farm);
    publish(farm, &stage).await;
    assert!(revision(farm) > before);
    let new = shown_keys(farm);
    assert!(new.len() == 4 && new.values().all(|key| *key != old_key), "{new:?}");
    let found = checks(farm, "target lab").await;
    assert!(found.is_empty(), "{found:?}");
    let done = revision(farm);
    publish(farm, &stage).await;
    assert_eq!(revision(farm), done, "there is nothing left to do");

    scene.change_target("signing_key = \"next\"");
    publish(farm, &stage).await;
    assert_eq!((keys_of_metadata(farm), shown_keys(farm)), ((1, 1), new));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_whose_a_key_is() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    for (bind, level, text) in [
        (None, "warning", "signs for any"),
        (Some("lab=other"), "error", "it is bound to other"),
        (Some("lab=lab,other"), "", ""),
    ] {
        let options = bind.map_or(vec![], |bind| vec!["--bind", bind]);
        let _signer = Signer::start_as(&data(farm), &options);
        let found = checks(farm, "signer").await;
        let is_it = |check: &Check| check.level == level && check.message.contains(text);
        assert!(found.iter().all(is_it) && found.is_empty() == level.is_empty(), "{found:?}");
    }
    let _signer = Signer::start_as(&data(farm), &["--bind", "lab=other"]);
    let build = accepted(&scene, &built("one", TAGS, "x"), "one").await;
    let error = format!("{:#}", sign_build(farm, &build).await.unwrap_err());
    assert!(error.contains("the key `lab` does not sign for the target `lab`"), "{error}");
}
