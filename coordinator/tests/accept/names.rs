//! One NEVRA has one content, and one file name has one package; but a build that never ended
//! successfully reserves no name.

use rpmfarm_coordinator::clock;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{BuildOptions, Failure, FailureStage, Fault};

use crate::scene::{Scene, built};

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_failed_can_be_mended_without_another_release() {
    let scene = Scene::new().await;
    let broken = built("hello", "Release: 1", "broken");
    let mended = built("hello", "Release: 1", "mended");
    let late = built("hello", "Release: 1", "late");

    let first = scene.build("hello").await;
    scene.srpm(first, &broken).await.unwrap();
    let tasks = scene.farm.store.task_list(first).await.unwrap();
    let task = tasks.iter().find(|task| task.kind == TaskKind::Build).unwrap().id;
    let failure = Failure::new(Fault::Package, FailureStage::Build, "%build failed");
    let ended =
        scene.farm.store.failure_insert(first, Some(task), &failure, None, clock::now()).await;
    assert!(ended.unwrap());
    assert!(scene.packages(first).await.is_empty());

    let second = scene.build("hello").await;
    scene.srpm(second, &mended).await.expect("the name is free");
    scene.binary(second, &mended).await.unwrap();
    assert_eq!(scene.packages(second).await, ["hello-1-1.src", "hello-1-1.x86_64"]);

    // From now on the name is taken: for a third one at once, for the first one when it is retried.
    let third = scene.build("hello").await;
    let refused = scene.srpm(third, &late).await.unwrap_err();
    let says = format!("hello-1-1.src exists already in lab, built by build {second}");
    assert!(refused.message.contains(&says), "{refused}");
    assert_eq!(refused.fault, Fault::Package);
    assert!(scene.farm.store.build_retry(first, clock::now()).await.unwrap());
    let refused = scene.binary(first, &broken).await.unwrap_err();
    assert!(refused.message.contains("exists already in lab"), "{refused}");
    assert_eq!(scene.packages(second).await, ["hello-1-1.src", "hello-1-1.x86_64"]);

    // The same once more is the same.
    let again = scene.build("hello").await;
    scene.srpm(again, &mended).await.unwrap();
    scene.binary(again, &mended).await.unwrap();
    assert_eq!(scene.packages(again).await, ["hello-1-1.src", "hello-1-1.x86_64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_with_different_options_cannot_have_one_name() {
    let scene = Scene::new().await;
    let without = |name: &str| BuildOptions { without: vec![name.into()], ..Default::default() };
    let made = built("hello", "Release: 1", "one");
    let first = scene.build("hello").await;
    scene.srpm(first, &made).await.unwrap();
    scene.binary(first, &made).await.unwrap();

    // The same sources with other options would give other packages.
    let second = scene.build_with("hello", "", without("tests")).await;
    let refused = scene.srpm(second, &made).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Package);
    let says = format!(
        "built by build {first} with no options; this one was requested with --without tests"
    );
    assert!(refused.message.contains(&says), "{refused}");
    assert!(refused.message.contains("--bump"), "{refused}");

    // With a name of its own it is a build like others, and that name is taken for plain ones.
    let other = built("hello", "Release: 1.test", "one");
    let third = scene.build_with("hello", "", without("tests")).await;
    scene.srpm(third, &other).await.unwrap();
    scene.binary(third, &other).await.unwrap();
    let fourth = scene.build("hello").await;
    let refused = scene.srpm(fourth, &other).await.unwrap_err();
    let says = format!(
        "built by build {third} with --without tests; this one was requested with no options"
    );
    assert!(refused.message.contains(&says), "{refused}");
    let fifth = scene.build_with("hello", "", without("tests")).await;
    scene.srpm(fifth, &other).await.expect("the same again");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_epoch_alone_is_no_other_name() {
    let scene = Scene::new().await;
    let first = scene.build("hello").await;
    let made = built("hello", "Release: 1", "one");
    scene.srpm(first, &made).await.unwrap();
    scene.binary(first, &made).await.unwrap();
    let second = scene.build("hello").await;
    let refused = scene.srpm(second, &built("hello", "Release: 1\nEpoch: 1", "two")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.fault, Fault::Package);
    let says = "hello-1:1-1.src would have the same file name as hello-1-1.src";
    assert!(refused.message.contains(says), "{refused}");
    let third = scene.build("hello").await;
    scene.srpm(third, &built("hello", "Release: 2\nEpoch: 1", "two")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_architecture_that_stays_is_the_later_builds_too() {
    let scene = Scene::new().await;
    // The same content, but headers with other bytes.
    let tags = "Release: 1\nBuildArch: noarch";
    let one = built("hello", &format!("{tags}\n%define _buildhost one"), "hi");
    let two = built("hello", &format!("{tags}\n%define _buildhost two"), "hi");
    assert_ne!(std::fs::read(&one.binary).unwrap(), std::fs::read(&two.binary).unwrap());
    let first = scene.build("hello").await;
    scene.srpm(first, &one).await.unwrap();
    scene.binary(first, &one).await.unwrap();
    assert!(scene.farm.store.build_cancel(first, clock::now()).await.unwrap());

    let second = scene.build("hello").await;
    scene.srpm(second, &one).await.unwrap();
    scene.binary(second, &two).await.unwrap();
    assert_eq!(scene.packages(second).await, ["hello-1-1.noarch", "hello-1-1.src"]);
}
