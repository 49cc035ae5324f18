//! A farm with an acceptor: results that a worker has signed are accepted by coordinator and
//! acceptor, and wait when the acceptor is away.

use std::path::PathBuf;

use rpmfarm_coordinator::accept::AcceptorClient;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_core::statement::{Acceptance, Proof};
use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::{BuildId, Fault, Sha256};
use rpmfarm_guarded::key::SigningKey;

use crate::acceptor::{self, Acceptor};
use crate::scene::{Scene, built, file};

const TAGS: &str = "Release: 1\nBuildArch: noarch";

fn data(farm: &Parts) -> PathBuf {
    farm.blobs.root().parent().unwrap().to_owned()
}

/// A farm with an acceptor that does not run yet, and with workers that sign.
async fn scene() -> Scene {
    let mut scene = Scene::new().await;
    let data = data(&scene.farm);
    scene.farm.acceptor = Some(AcceptorClient::new(&acceptor::socket(&data)));
    scene.key = Some(SigningKey::load_or_make(&data.join("w.key")).unwrap());
    scene
}

/// The acceptances that the acceptor has signed for the packages of a build.
async fn acceptances(farm: &Parts, build: BuildId) -> Vec<Acceptance> {
    let mut all = Vec::new();
    for row in farm.store.package_list_of_build(build, "lab").await.unwrap() {
        let file = row.package.digest;
        let signed = farm.store.signed_acceptance_list("lab", &[file]).await.unwrap();
        let acceptance = Acceptance::parse(&signed[&file].text).unwrap();
        assert_eq!(acceptance.file, row.package.digest);
        assert_eq!(acceptance.nevra, row.package.nevra.to_string());
        all.push(acceptance);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_acceptor_signs_is_stored_with_the_packages() {
    let scene = scene().await;
    let _acceptor = Acceptor::start(&data(&scene.farm));
    let build = scene.made("one", &built("one", TAGS, "x")).await;
    let found = acceptances(&scene.farm, build).await;
    let names: Vec<_> = found.iter().map(|one| (one.nevra.as_str(), one.build)).collect();
    assert_eq!(names, [("one-1-1.noarch", build), ("one-1-1.src", build)]);
    assert!(found.iter().all(|one| one.worker == "w" && one.target == "lab"), "{found:?}");
    let status = scene.farm.acceptor.as_ref().unwrap().status().await.unwrap();
    assert_eq!((status.accepted, status.workers), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_the_worker_has_not_signed_are_its_fault() {
    let mut scene = scene().await;
    let _acceptor = Acceptor::start(&data(&scene.farm));
    let package = built("one", TAGS, "x");
    let key = scene.key.take();
    let build = scene.build("one").await;
    let failure = scene.srpm(build, &package).await.unwrap_err();
    assert_eq!(failure.fault, Fault::Worker);
    assert!(failure.message.contains("update rpmfarm-worker"), "{failure}");
    // It has signed something else.
    let key = key.unwrap();
    let (input, signature) = (Sha256::compute(b"sources"), key.sign(b"another statement"));
    let proof = Some(Box::new(Proof { key: key.public(), input, signature }));
    let stale = Success { proof, ..Success::default() };
    scene.key = Some(key);
    let of = (TaskKind::Srpm, None);
    let failure = scene.report_on(build, of, &[file(&package.source)], stale).await.unwrap_err();
    assert_eq!(failure.fault, Fault::Worker);
    assert!(failure.message.contains("the signature of worker w"), "{failure}");
    scene.srpm(build, &package).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn results_wait_for_the_acceptor_and_for_its_operator() {
    let mut scene = scene().await;
    let data = data(&scene.farm);
    let package = built("one", TAGS, "x");
    let build = scene.build("one").await;
    let files = [file(&package.source)];
    let of = (TaskKind::Srpm, None);
    let ended = scene.ended("w", build, of, &files, Success::default()).await;
    let waits = |why: &str| {
        let reason = scene.farm.waits.reason(build);
        assert!(reason.starts_with("not accepted yet: ") && reason.contains(why), "{reason}");
    };
    scene.accept(&ended.0).await.unwrap_err();
    waits("the acceptor does not answer");
    let _acceptor = Acceptor::start(&data);
    scene.accept(&ended.0).await.unwrap();
    assert_eq!(scene.farm.waits.reason(build), "");

    // The worker was set up anew.
    scene.key = Some(SigningKey::load_or_make(&data.join("new.key")).unwrap());
    let of = (TaskKind::Build, None);
    let files = [file(&package.binary)];
    let ended = scene.ended("w", build, of, &files, Success::default()).await;
    for _ in 0..2 {
        scene.accept(&ended.0).await.unwrap_err();
    }
    let reason = scene.farm.waits.reason(build);
    assert!(reason.contains("rpmfarm-acceptor worker trust w"), "{reason}");
    acceptor::operate(&data, &["worker", "trust", "w"]);
    scene.accept(&ended.0).await.unwrap();
    assert_eq!(acceptances(&scene.farm, build).await.len(), 2);
}
