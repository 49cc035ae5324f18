//! The time of publications: targets are published side by side, and builds that end together get
//! one revision; and the recorded rows.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::publish::{PublishStage, PublishStep, shown_files};
use rpmfarm_coordinator::store::{Build, NewBuild};
use rpmfarm_core::{Arch, BuildId, Sha256, Snapshot, Timestamp};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::builds::new_build;
use super::scene::{Scene, built};
use super::signer::Signer;
use super::{TAGS, accepted, data, publish, publish_all, sign_build, signed};

fn new(target: &str, package: &str) -> NewBuild {
    NewBuild { arches: vec![Arch::X86_64], ..new_build(target, package) }
}

/// Accepts the packages of a build.
async fn accept(scene: &Scene, build: BuildId, name: &str) -> Build {
    let of = built(name, TAGS, "x");
    scene.srpm(build, &of).await.unwrap();
    scene.binary(build, &of).await.unwrap();
    scene.farm.store.build_fetch(build).await.unwrap().unwrap()
}

/// A signed build of a target.
async fn signed_in(scene: &Scene, target: &str, name: &str) {
    let build = scene.start_batch(&[new(target, name)]).await[0];
    let build = accept(scene, build, name).await;
    sign_build(&scene.farm, &build).await.unwrap();
}

/// Stops the first publication after its packages are proved, until the sender is dropped. The
/// receiver gets a message when it stops.
fn hold_first(farm: &mut Parts) -> (mpsc::Sender<()>, UnboundedReceiver<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (arrival, arrived) = unbounded_channel();
    let held = Mutex::new(Some(held));
    farm.publisher = farm.publisher.clone().on_step(move |step| {
        if step != PublishStep::Pooled {
            return;
        }
        // Not locked while it stands still.
        let first = held.lock().take();
        if let Some(first) = first {
            arrival.send(()).unwrap();
            assert!(first.recv().is_err(), "the sender is dropped");
        }
    });
    (release, arrived)
}

/// Runs passes until a target is shown: work that failed for the moment is asked for again, as a
/// farm's does.
async fn until_shown(farm: &Parts, stage: &PublishStage, target: &str) {
    while farm.publisher.shown(target, "testing").unwrap().is_none() {
        farm.runner().pass(stage).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_waits_for_no_other() {
    let mut scene = Scene::new().await;
    scene.add_target("other");
    let _signer = Signer::start_as(&data(&scene.farm), &["--bind", "lab=lab,other"]);
    let (release, mut arrived) = hold_first(&mut scene.farm);
    let farm = &scene.farm;
    let stage = farm.publish();
    signed_in(&scene, "lab", "large").await;
    farm.runner().pass(&stage).await.unwrap();
    arrived.recv().await.unwrap();

    signed_in(&scene, "other", "small").await;
    until_shown(farm, &stage, "other").await;
    assert_eq!(farm.publisher.shown("lab", "testing").unwrap(), None, "it stands still");
    drop(release);
    until_shown(farm, &stage, "lab").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_end_together_are_published_together() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let stage = farm.publish();
    let ids = scene.start_batch(&[new("lab", "one"), new("lab", "two")]).await;
    let (one, two) = (accept(&scene, ids[0], "one").await, accept(&scene, ids[1], "two").await);
    sign_build(farm, &one).await.unwrap();
    publish(farm, &stage).await;
    assert_eq!(
        farm.publisher.shown("lab", "testing").unwrap(),
        None,
        "the other one is being signed"
    );
    // A publication does not wait for a build of another request.
    let other = accepted(&scene, &built("other", TAGS, "x"), "other").await;
    sign_build(farm, &two).await.unwrap();
    publish(farm, &stage).await;
    for build in [&one, &two] {
        let publication = farm.store.publication_fetch(build.id).await.unwrap().unwrap();
        assert_eq!(publication.revision, 1);
    }
    assert_eq!(farm.store.publication_fetch(other.id).await.unwrap(), None);
    assert_eq!(signed(farm, other.id).await, 0);
}

/// Compares the rows of the newest revision with the recorded ones and with those that clients see,
/// and returns their number.
async fn rows(farm: &Parts) -> usize {
    let newest = farm.store.channel_fetch("lab", "testing").await.unwrap().unwrap();
    let head = farm.store.channel_fetch_head("lab", "testing").await.unwrap().unwrap();
    assert_eq!((head.revision, head.snapshot), (newest.revision, newest.snapshot));
    let packages = farm.store.channel_list_packages("lab", "testing", head.revision).await.unwrap();
    let snapshot = Snapshot::from_packages(packages).unwrap();
    let bytes = serde_json::to_vec(&snapshot).unwrap();
    assert_eq!(Sha256::compute(&bytes), newest.snapshot);
    let of = snapshot.packages().iter().map(|package| package.digest);
    let shown = shown_files(&farm.repos).unwrap().into_iter().map(|(_, digest)| digest);
    assert_eq!(of.collect::<BTreeSet<_>>(), shown.collect::<BTreeSet<_>>(), "clients see these");
    snapshot.packages().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_rows_and_the_first_is_stored_whole() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("one", TAGS, "x"), "one").await;
    publish_all(farm).await;
    assert_eq!(rows(farm).await, 2);
    let first = farm.store.channel_fetch("lab", "testing").await.unwrap().unwrap();
    assert!(farm.blobs.path(first.snapshot).exists());
    accepted(&scene, &built("two", TAGS, "x"), "two").await;
    publish_all(farm).await;
    assert_eq!(rows(farm).await, 4);
    let second = farm.store.channel_fetch("lab", "testing").await.unwrap().unwrap();
    assert!(!farm.blobs.path(second.snapshot).exists(), "it is not stored whole");
}

/// As the version before left it: a revision that is a blob, and no rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_from_before_there_were_rows_goes_on() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &built("one", TAGS, "x"), "one").await;
    publish_all(farm).await;
    let url = format!("sqlite://{}", scene.database().display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    for table in ["channel_heads", "channel_packages"] {
        let query = sqlx::AssertSqlSafe(format!("DELETE FROM {table}"));
        assert!(sqlx::query(query).execute(&mut database).await.unwrap().rows_affected() > 0);
    }
    database.close().await.unwrap();

    accepted(&scene, &built("two", TAGS, "x"), "two").await;
    publish_all(farm).await;
    assert_eq!(rows(farm).await, 4);
}

/// A build that waits for its publication gives the stage that signs nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_build_is_not_asked_for_again() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let build = accepted(&scene, &built("one", TAGS, "x"), "one").await;
    let stage = farm.sign();
    farm.runner().pass(&stage).await.unwrap();
    while stage.signatures.busy() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(signed(farm, build.id).await, 2);
    farm.runner().pass(&stage).await.unwrap();
    assert_eq!(stage.signatures.busy(), 0);
}

/// A signed package is proved when it is stored, and the proof is kept for its publication.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_copy_is_stored_with_its_proof() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let build = accepted(&scene, &built("one", TAGS, "x"), "one").await;
    sign_build(farm, &build).await.unwrap();
    let rows = farm.store.package_list_of_build(build.id, "lab").await.unwrap();
    let copies: BTreeSet<Sha256> =
        rows.iter().map(|row| row.signature.unwrap().signed_digest).collect();
    let proofs = farm.store.blob_proof_list(&copies, Timestamp::ZERO).await.unwrap();
    for copy in &copies {
        assert_eq!(farm.blobs.verify(*copy).unwrap(), proofs[copy].size);
        assert_eq!(proofs.get(copy).copied(), farm.blobs.stamp(*copy));
    }
    let later = clock::now() + Duration::from_secs(60);
    assert!(farm.store.blob_proof_list(&copies, later).await.unwrap().is_empty());
}
