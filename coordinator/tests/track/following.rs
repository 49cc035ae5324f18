//! From a push to builds.

use rpmfarm_coordinator::clock::now_us;
use rpmfarm_coordinator::store::{Import, NewBuild, NewHook, OrderRow};
use rpmfarm_core::Sha256;
use rpmfarm_core::queue::Class;

use crate::scene::Scene;
use crate::upstream::id;

/// A scene with packages that were looked at once.
async fn scene(track: &str, packages: &[&str]) -> Scene {
    let scene = Scene::with(track).await;
    for package in packages {
        scene.upstream.push(package, "c9s", &id('a'));
    }
    scene.track(packages).await;
    scene.look(packages).await;
    scene.upstream.requests();
    scene
}

fn hook(digest: &str) -> NewHook {
    NewHook {
        target: "lab".into(),
        package: "bash".into(),
        modifies: false,
        commit: id('b'),
        digest: digest.into(),
        delivery: String::new(),
        at_us: now_us(),
    }
}

fn order(package: &str, word: &str, until_us: i64) -> OrderRow {
    OrderRow {
        package: package.into(),
        word: word.into(),
        reason: "release".into(),
        until_us,
        who: "me".into(),
        at_us: now_us(),
    }
}

#[tokio::test]
async fn the_same_push_seen_five_ways_makes_one_build() {
    let mut scene = scene("", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    let before = scene.tracked("bash").await.looks;
    // Two webhooks, a poll, a look on demand, and a restart between them all.
    scene.farm.store.take_hooks(&[hook("one")]).await.unwrap();
    scene.wait_for_looks(&["bash"], &[before]).await;
    scene.farm.store.take_hooks(&[hook("two")]).await.unwrap();
    scene.wait_for_looks(&["bash"], &[before + 1]).await;
    scene = scene.restart().await;
    scene.look(&["bash"]).await;
    scene.decide().await;
    scene.look(&["bash"]).await;
    scene.decide().await;
    scene = scene.restart().await;
    scene.decide().await;
    let builds = scene.builds().await;
    assert_eq!(builds.len(), 1);
    assert_eq!(
        (builds[0].git_ref.as_str(), builds[0].submitter.as_str()),
        (id('b').as_str(), "track")
    );
    let pushes = scene.pushes().await;
    assert_eq!(
        (pushes.len(), pushes[0].build, pushes[0].told_by.as_str()),
        (1, builds[0].id, "webhook")
    );
}

#[tokio::test]
async fn what_a_person_built_is_not_built_again() {
    let scene = scene("", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    let by_hand = NewBuild {
        target: "lab".into(),
        package: "bash".into(),
        git_ref: String::new(),
        modification_ref: String::new(),
        class: Class::default(),
        arches: Vec::new(),
    };
    let build = scene.farm.store.start_builds(&[by_hand], "me", "", now_us()).await.unwrap().ids[0];
    scene.look(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1, "it waits for that build's commit");
    let import = Import {
        url: "x".into(),
        commit: id('b'),
        subject: "x".into(),
        bundle: Sha256::of(b"x"),
        at_us: now_us(),
    };
    scene.farm.store.add_import(build, &import).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    let pushes = scene.pushes().await;
    assert_eq!((pushes[0].verdict.as_str(), pushes[0].build), ("done", build.0));
}

#[tokio::test]
async fn pushes_that_come_together_are_one_batch_of_the_newest() {
    let scene = scene("quiet_seconds = 2", &["a", "b"]).await;
    for (package, commit) in [("a", 'b'), ("a", 'c'), ("b", 'b')] {
        scene.upstream.push(package, "c9s", &id(commit));
        scene.look(&[package]).await;
        scene.decide().await;
    }
    assert!(scene.builds().await.is_empty(), "it is not quiet yet");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    scene.decide().await;
    let builds = scene.builds().await;
    let short: Vec<_> = builds.iter().map(|b| (b.package.as_str(), b.git_ref.as_str())).collect();
    assert_eq!(short, [("a", id('c').as_str()), ("b", id('b').as_str())]);
    assert_eq!(builds[0].batch, builds[1].batch, "what needs each other is built in order");
    let verdicts: Vec<_> = scene.pushes().await.into_iter().map(|p| p.verdict).collect();
    assert_eq!(verdicts, ["superseded", "build", "build"]);
}

#[tokio::test]
async fn a_proposal_waits_for_approval_and_a_freeze_for_its_end() {
    let scene = scene("policy = \"propose\"", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.look(&["bash"]).await;
    scene.decide().await;
    assert!(scene.builds().await.is_empty());
    let push = scene.pushes().await[0].id;
    scene.farm.store.approve(&[push], "me", now_us()).await.unwrap();
    let end = now_us() + 2_000_000;
    scene.farm.store.add_track_order("lab", &order("", "freeze", end)).await.unwrap();
    scene.decide().await;
    assert!(scene.builds().await.is_empty(), "a freeze is for everyone");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
}

#[tokio::test]
async fn a_package_on_hold_is_built_when_it_is_released() {
    let scene = scene("", &["a", "b"]).await;
    scene.farm.store.add_track_order("lab", &order("a", "hold", 0)).await.unwrap();
    for package in ["a", "b"] {
        scene.upstream.push(package, "c9s", &id('b'));
    }
    scene.look(&["a", "b"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    scene.farm.store.add_track_order("lab", &order("a", "default", 0)).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 2);
}

#[tokio::test]
async fn a_storm_is_held_whole_until_approved() {
    let names: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = scene("storm_builds = 3\nstorm_seconds = 600", &names).await;
    let push = |names: &[&str], commit| {
        for name in names {
            scene.upstream.push(name, "c9s", &id(commit));
        }
    };
    push(&names[..2], 'b');
    scene.look(&names[..2]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 2);
    push(&names[2..], 'b');
    scene.look(&names[2..]).await;
    scene.decide().await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 2, "four more would be six in ten minutes");
    let open = scene.farm.store.open_pushes("lab").await.unwrap();
    assert_eq!(open.len(), 4);
    let storm = open[0].storm;
    assert!(storm != 0 && open.iter().all(|push| push.storm == storm), "{open:?}");
    let reason = scene.farm.store.storm(storm).await.unwrap().unwrap().reason;
    assert!(reason.contains("4 builds at once after 2 in the last 600 s"), "{reason}");
    let ids: Vec<i64> = open.iter().map(|push| push.id).collect();
    scene.farm.store.approve(&ids, "me", now_us()).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 6);
    // What was approved does not make the next one a storm.
    push(&names[..1], 'c');
    scene.look(&names[..1]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 7);
}

#[tokio::test]
async fn a_push_before_the_first_look_is_not_lost() {
    let scene = Scene::new().await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.track(&["bash"]).await;
    scene.farm.store.take_hooks(&[hook("one")]).await.unwrap();
    scene.look(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
}

#[tokio::test]
async fn a_webhook_that_comes_before_the_commit_is_looked_after() {
    let scene = scene("", &["bash"]).await;
    let before = scene.tracked("bash").await.looks;
    scene.farm.store.take_hooks(&[hook("one")]).await.unwrap();
    scene.wait_for_looks(&["bash"], &[before]).await;
    let row = scene.tracked("bash").await;
    assert!(row.hint_us != 0 && row.due_us < now_us() + 5_000_000, "{row:?}");
    scene.upstream.push("bash", "c9s", &id('b'));
    // By itself, without being told again.
    scene.wait_for_looks(&["bash"], &[row.looks]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    assert_eq!(scene.tracked("bash").await.hint_us, 0);
}

#[tokio::test]
async fn what_is_followed_no_longer_is_not_built() {
    let scene = scene("policy = \"hold\"", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.look(&["bash"]).await;
    scene.farm.store.untrack("lab", "bash", "me", now_us()).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.pushes().await[0].verdict, "removed");
    assert!(scene.builds().await.is_empty());
}
