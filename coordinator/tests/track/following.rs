//! From a push to builds.

use std::time::Duration;

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::{HookHint, Import, NewHook, NewTracked, PolicyOverrideRow};
use rpmfarm_core::{PushId, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::tracking_server::Tracking as _;
use tonic::Request;

use crate::common::builds::{import, new_build};
use crate::scene::Scene;
use crate::upstream::id;

/// A scene with packages that were polled once.
async fn scene(track: &str, packages: &[&str]) -> Scene {
    let scene = Scene::with(track).await;
    for package in packages {
        scene.upstream.push(package, "c9s", &id('a'));
    }
    scene.track(packages).await;
    scene.poll_packages(packages).await;
    scene.upstream.requests();
    scene
}

fn hook(digest: &str) -> NewHook {
    NewHook {
        target: "lab".into(),
        repository: String::new(),
        hints: vec![HookHint { package: "bash".into(), modifies: false, commit: id('b') }],
        digest: digest.into(),
        delivery: String::new(),
        at: clock::now(),
    }
}

fn order(package: &str, word: &str, until: Option<Timestamp>) -> PolicyOverrideRow {
    PolicyOverrideRow {
        package: package.into(),
        word: word.into(),
        reason: "release".into(),
        until,
        who: "me".into(),
        at: clock::now(),
    }
}

#[tokio::test]
async fn the_same_push_seen_five_ways_makes_one_build() {
    let mut scene = scene("", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    let before = scene.tracked("bash").await.polls;
    // Two webhooks, a poll, a poll on demand, and a restart between them all.
    scene.farm.store.hook_insert(&[hook("one")]).await.unwrap();
    scene.wait_for_polls(&["bash"], &[before]).await;
    scene.farm.store.hook_insert(&[hook("two")]).await.unwrap();
    scene.wait_for_polls(&["bash"], &[before + 1]).await;
    scene = scene.restart().await;
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    scene.poll_packages(&["bash"]).await;
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
        (1, Some(builds[0].id), "webhook")
    );
}

#[tokio::test]
async fn what_a_person_built_is_not_built_again() {
    let scene = scene("", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    let by_hand = new_build("lab", "bash");
    let build =
        scene.farm.store.build_insert(&[by_hand], "me", "", clock::now()).await.unwrap().ids[0];
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1, "it waits for that build's commit");
    let import = Import { commit: id('b'), ..import(clock::now()) };
    scene.farm.store.import_insert(build, &import).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    let pushes = scene.pushes().await;
    assert_eq!((pushes[0].verdict.as_str(), pushes[0].build), ("done", Some(build)));
}

#[tokio::test]
async fn pushes_that_come_together_are_one_batch_of_the_newest() {
    let scene = scene("quiet_seconds = 2", &["a", "b"]).await;
    for (package, commit) in [("a", 'b'), ("a", 'c'), ("b", 'b')] {
        scene.upstream.push(package, "c9s", &id(commit));
        scene.poll_packages(&[package]).await;
        scene.decide().await;
    }
    assert!(scene.builds().await.is_empty(), "it is not quiet yet");
    tokio::time::sleep(Duration::from_millis(2100)).await;
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
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert!(scene.builds().await.is_empty());
    let push = scene.pushes().await[0].id;
    scene.farm.store.push_approve(&[push], "me", clock::now()).await.unwrap();
    let end = Some(clock::now() + Duration::from_secs(2));
    scene.farm.store.policy_override_insert("lab", &order("", "freeze", end)).await.unwrap();
    scene.decide().await;
    assert!(scene.builds().await.is_empty(), "a freeze is for everyone");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
}

#[tokio::test]
async fn a_package_on_hold_is_built_when_it_is_released() {
    let scene = scene("", &["a", "b"]).await;
    scene.farm.store.policy_override_insert("lab", &order("a", "hold", None)).await.unwrap();
    for package in ["a", "b"] {
        scene.upstream.push(package, "c9s", &id('b'));
    }
    scene.poll_packages(&["a", "b"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    scene.farm.store.policy_override_insert("lab", &order("a", "default", None)).await.unwrap();
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
    scene.poll_packages(&names[..2]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 2);
    push(&names[2..], 'b');
    scene.poll_packages(&names[2..]).await;
    scene.decide().await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 2, "four more would be six in ten minutes");
    let open = scene.farm.store.push_list_open("lab").await.unwrap();
    assert_eq!(open.len(), 4);
    let storm = open[0].storm.expect("it is held");
    assert!(open.iter().all(|push| push.storm == Some(storm)), "{open:?}");
    let reason = scene.farm.store.storm_fetch(storm).await.unwrap().unwrap().reason;
    assert!(reason.contains("4 builds at once after 2 in the last 600 s"), "{reason}");
    let ids: Vec<PushId> = open.iter().map(|push| push.id).collect();
    scene.farm.store.push_approve(&ids, "me", clock::now()).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 6);
    // Approved pushes do not make the next one a storm.
    push(&names[..1], 'c');
    scene.poll_packages(&names[..1]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 7);
}

/// The pushes that storms hold: storm → packages.
async fn storms(scene: &Scene) -> Vec<(i64, Vec<String>)> {
    let service = scene.farm.tracking_service();
    let request =
        Request::new(v1::PlanPushesRequest { target: "lab".into(), ..Default::default() });
    let reply = service.plan_pushes(request).await.unwrap().into_inner();
    reply.storms.into_iter().map(|storm| (storm.id, storm.packages)).collect()
}

/// Approves a storm as a person does; the packages that follow from it.
async fn approve_storm(scene: &Scene, storm: i64) -> Vec<String> {
    let service = scene.farm.tracking_service();
    let request = v1::ApprovePushesRequest { storm, who: "me".into(), ..Default::default() };
    let reply = service.approve_pushes(Request::new(request)).await.unwrap().into_inner();
    reply.pushes.into_iter().map(|push| push.package).collect()
}

#[tokio::test]
async fn a_storm_that_comes_bit_by_bit_is_one() {
    let names: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = scene("storm_builds = 2\nstorm_seconds = 600", &names).await;
    for name in &names {
        scene.upstream.push(name, "c9s", &id('b'));
    }
    for some in [&names[..2], &names[2..4], &names[4..5], &names[5..]] {
        scene.poll_packages(some).await;
        scene.decide().await;
    }
    assert_eq!(scene.builds().await.len(), 2, "those that came before it was one");
    let storms_now = storms(&scene).await;
    assert_eq!(storms_now.len(), 1, "{storms_now:?}");
    let (storm, held) = &storms_now[0];
    assert_eq!(held[..], names[2..]);
    // One push of it may be built; the storm continues.
    let service = scene.farm.tracking_service();
    let request = v1::ApprovePushesRequest {
        target: "lab".into(),
        packages: vec!["p2".into()],
        ..Default::default()
    };
    service.approve_pushes(Request::new(request)).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 3);
    scene.upstream.push("p0", "c9s", &id('c'));
    scene.poll_packages(&["p0"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 3, "what comes meanwhile is of it");

    let approved = approve_storm(&scene, *storm).await;
    assert_eq!(approved, ["p0", "p3", "p4", "p5", "p6"]);
    scene.decide().await;
    let builds = scene.builds().await;
    assert_eq!(builds.len(), 8);
    assert!(builds[3..].iter().all(|build| build.batch == builds[3].batch), "in order");
    assert!(storms(&scene).await.is_empty());
    let service = scene.farm.tracking_service();
    let request = v1::ApprovePushesRequest { storm: storm + 1, ..Default::default() };
    let refused = service.approve_pushes(Request::new(request)).await.unwrap_err();
    assert!(refused.message().contains("no storm"), "{refused}");
}

#[tokio::test]
async fn another_push_does_not_take_a_package_out_of_its_storm() {
    let names = ["a", "b", "c"];
    // The window is over before the second push comes: there would be room for it.
    let scene = scene("storm_builds = 2\nstorm_seconds = 1", &names).await;
    let push = |names: &[&str], commit| {
        for name in names {
            scene.upstream.push(name, "c9s", &id(commit));
        }
    };
    push(&names, 'b');
    scene.poll_packages(&names).await;
    scene.decide().await;
    let storm = storms(&scene).await[0].0;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    push(&names[..1], 'c');
    scene.poll_packages(&names[..1]).await;
    scene.decide().await;
    assert!(scene.builds().await.is_empty());
    assert_eq!(storms(&scene).await, [(storm, names.map(str::to_owned).to_vec())]);
    assert_eq!(approve_storm(&scene, storm).await, names);
    scene.decide().await;
    let builds = scene.builds().await;
    assert_eq!((builds.len(), builds[0].git_ref.as_str()), (3, id('c').as_str()));
    assert_eq!(scene.farm.store.push_list_open("lab").await.unwrap().len(), 0);
}

/// The pushes of a package in `track show`, oldest first: verdict, build, reason.
async fn shown(scene: &Scene, package: &str) -> Vec<(String, i64, String)> {
    let service = scene.farm.tracking_service();
    let request = v1::GetTrackedRequest { target: "lab".into(), package: package.into() };
    let details = service.get_tracked(Request::new(request)).await.unwrap().into_inner();
    details.pushes.into_iter().rev().map(|push| (push.verdict, push.build, push.reason)).collect()
}

#[tokio::test]
async fn upstream_that_goes_back_is_seen_and_built() {
    let mut scene = scene("", &["bash"]).await;
    // At last to where following began.
    for commit in ['b', 'c', 'b', 'c', 'a'] {
        scene.upstream.push("bash", "c9s", &id(commit));
        scene.poll_packages(&["bash"]).await;
        scene.decide().await;
        let build = scene.builds().await.pop().unwrap();
        let import = Import { commit: build.git_ref.clone(), ..import(clock::now()) };
        assert!(
            scene.farm.store.import_fetch(build.id).await.unwrap().is_none(),
            "a build of its own"
        );
        scene.farm.store.import_insert(build.id, &import).await.unwrap();
    }
    scene = scene.restart().await;
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    let refs: Vec<_> = scene.builds().await.into_iter().map(|build| build.git_ref).collect();
    assert_eq!(refs, ['b', 'c', 'b', 'c', 'a'].map(id));
    let shown = shown(&scene, "bash").await;
    let builds: Vec<_> = shown.iter().map(|(_, build, _)| *build).collect();
    assert_eq!(builds, [1, 2, 3, 4, 5], "each push knows its own build");
    let went_back: Vec<_> = shown.iter().map(|(.., why)| why.contains("went back")).collect();
    assert_eq!(went_back, [false, false, true, true, true], "{shown:?}");
}

#[tokio::test]
async fn what_is_followed_anew_may_be_built_where_it_was() {
    let scene = scene("policy = \"hold\"", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.poll_packages(&["bash"]).await;
    scene.farm.store.tracked_delete("lab", "bash", "me", clock::now()).await.unwrap();
    scene.decide().await;
    scene.farm.store.policy_override_insert("lab", &order("", "automatic", None)).await.unwrap();
    let again = NewTracked {
        package: "bash".into(),
        git_ref: String::new(),
        build_first: true,
        due: Timestamp::ZERO,
    };
    scene.farm.store.tracked_insert("lab", &[again], "me", clock::now()).await.unwrap();
    scene.wait_for_polls(&["bash"], &[0]).await;
    scene.decide().await;
    let refs: Vec<_> = scene.builds().await.into_iter().map(|build| build.git_ref).collect();
    assert_eq!(refs, [id('b')]);
    let verdicts: Vec<_> = shown(&scene, "bash").await.into_iter().map(|push| push.0).collect();
    assert_eq!(verdicts, ["removed", "build"]);
}

#[tokio::test]
async fn a_push_before_the_first_look_is_not_lost() {
    let scene = Scene::new().await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.track(&["bash"]).await;
    scene.farm.store.hook_insert(&[hook("one")]).await.unwrap();
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
}

#[tokio::test]
async fn a_webhook_that_comes_before_the_commit_is_looked_after() {
    let scene = scene("", &["bash"]).await;
    let before = scene.tracked("bash").await.polls;
    scene.farm.store.hook_insert(&[hook("one")]).await.unwrap();
    scene.wait_for_polls(&["bash"], &[before]).await;
    let row = scene.tracked("bash").await;
    assert!(row.hinted_at.is_some() && row.due < clock::now() + Duration::from_secs(5), "{row:?}");
    scene.upstream.push("bash", "c9s", &id('b'));
    // By itself, without a further webhook.
    scene.wait_for_polls(&["bash"], &[row.polls]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
    assert_eq!(scene.tracked("bash").await.hinted_at, None);
}

#[tokio::test]
async fn what_is_followed_no_longer_is_not_built() {
    let scene = scene("policy = \"hold\"", &["bash"]).await;
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.poll_packages(&["bash"]).await;
    scene.farm.store.tracked_delete("lab", "bash", "me", clock::now()).await.unwrap();
    scene.decide().await;
    assert_eq!(scene.pushes().await[0].verdict, "removed");
    assert!(scene.builds().await.is_empty());
}

#[tokio::test]
async fn what_is_followed_and_what_was_pushed_comes_in_pages() {
    let names = ["pa", "pb", "pc"];
    let scene = scene("policy = \"propose\"", &names).await;
    for name in names {
        scene.upstream.push(name, "c9s", &id('b'));
    }
    scene.poll_packages(&names).await;
    scene.decide().await;
    let service = scene.farm.tracking_service();
    let tracked = async |limit, after: &str| {
        let request = v1::ListTrackedRequest { target: "lab".into(), limit, after: after.into() };
        let reply = service.list_tracked(Request::new(request)).await.unwrap().into_inner();
        let names = reply.packages.into_iter().map(|tracked| tracked.package);
        (names.collect::<Vec<_>>(), reply.next)
    };
    assert_eq!(tracked(0, "").await, (names.map(String::from).to_vec(), String::new()));
    assert_eq!(tracked(2, "").await, (vec!["pa".into(), "pb".into()], "lab/pb".into()));
    assert_eq!(tracked(2, "lab/pb").await, (vec!["pc".into()], String::new()));
    let request = v1::ListTrackedRequest { after: "pb".into(), ..Default::default() };
    let refused = service.list_tracked(Request::new(request)).await.unwrap_err();
    assert!(refused.message().contains("`pb` follows no page"), "{refused}");

    let planned = async |limit, after| {
        let request = v1::PlanPushesRequest { target: "lab".into(), limit, after };
        service.plan_pushes(Request::new(request)).await.unwrap().into_inner()
    };
    let all = planned(0, 0).await.pushes;
    assert_eq!(all.len(), 3);
    let first = planned(2, 0).await;
    assert_eq!((first.pushes.len(), first.next), (2, first.pushes[1].id));
    let last = planned(2, first.next).await;
    assert_eq!((last.pushes.len(), last.next), (1, 0));
    let paged: Vec<v1::Push> = first.pushes.into_iter().chain(last.pushes).collect();
    assert!(all.iter().all(|push| paged.contains(push)), "{paged:?}");
}
