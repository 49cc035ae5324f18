//! Pushes to modifications: they lead to builds as pushes to packages do, and pushes to both lead
//! to one build.

use std::time::Duration;

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::{HookHint, Import, NewHook};
use rpmfarm_core::source::{Modification, SourceRecord};
use rpmfarm_core::{BuildId, Timestamp};

use crate::common::builds::{import, new_build};
use crate::scene::Scene;
use crate::upstream::{Serve, id};

const CHANGES: &str = "autopatch-bash";

/// `bash` at `a` with modifications at `1`, polled once.
async fn scene(track: &str) -> Scene {
    let scene = Scene::modified(track).await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.upstream.push(CHANGES, "a9", &id('1'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert!(scene.pushes().await.is_empty(), "where following begins is no push");
    scene
}

#[tokio::test]
async fn a_push_to_modifications_is_built_once_with_what_upstream_has() {
    let mut scene = scene("").await;
    scene.upstream.requests();
    scene.upstream.push(CHANGES, "a9", &id('2'));
    scene.poll_packages(&["bash"]).await;
    let requests = scene.upstream.requests();
    assert_eq!(requests.len(), 2, "one for each repository: {requests:?}");
    scene.decide().await;
    scene.poll_packages(&["bash"]).await;
    scene = scene.restart().await;
    scene.decide().await;
    assert_eq!(scene.pairs().await, [(id('a'), id('2'))]);
    let pushes = scene.pushes().await;
    assert_eq!((pushes.len(), pushes[0].modifies, pushes[0].branch.as_str()), (1, true, "a9"));
    assert_eq!(
        (pushes[0].build, pushes[0].before_id.as_str()),
        (Some(BuildId(1)), id('1').as_str())
    );
    // And the next of upstream with them.
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await[1..], [(id('b'), id('2'))]);
}

#[tokio::test]
async fn what_is_pushed_to_both_within_the_quiet_time_is_one_build() {
    let scene = scene("quiet_seconds = 2\nstorm_builds = 1\nstorm_seconds = 600").await;
    scene.upstream.push(CHANGES, "a9", &id('2'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    for (commit, modification) in [('b', '2'), ('c', '3')] {
        scene.upstream.push("bash", "c9s", &id(commit));
        scene.upstream.push(CHANGES, "a9", &id(modification));
        scene.poll_packages(&["bash"]).await;
        scene.decide().await;
    }
    assert!(scene.builds().await.is_empty(), "it is not quiet yet");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    scene.decide().await;
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await, [(id('c'), id('3'))]);
    let mut verdicts: Vec<_> = scene.pushes().await.into_iter().map(|p| p.verdict).collect();
    verdicts.sort();
    assert_eq!(verdicts, ["build", "build", "superseded", "superseded"]);
    assert_eq!(
        scene.farm.store.push_count_built_since("lab", Timestamp::ZERO).await.unwrap(),
        1,
        "one build"
    );
}

#[tokio::test]
async fn the_pair_is_the_identity_of_what_was_built() {
    let scene = scene("").await;
    let build = |modification: char| {
        let store = scene.farm.store.clone();
        async move {
            let new = new_build("lab", "bash");
            let id_of = store.build_insert(&[new], "me", "", clock::now()).await.unwrap().ids[0];
            let import = Import { commit: id('a'), ..import(clock::now()) };
            let modification = Modification {
                url: "x".into(),
                commit: id(modification),
                config: "config.yaml".into(),
            };
            let record =
                SourceRecord { modification: Some(modification), ..SourceRecord::default() };
            store.import_insert_with_record(id_of, &import, &record).await.unwrap();
        }
    };
    // A person built upstream's commit with the modifications of before, and then with the new.
    build('1').await;
    scene.upstream.push(CHANGES, "a9", &id('2'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await[1..], [(id('a'), id('2'))], "another pair");
    build('3').await;
    scene.upstream.push(CHANGES, "a9", &id('3'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    let open = scene.farm.store.push_list_open("lab").await.unwrap();
    // The build of before has no sources yet, but it is of another commit of the modifications.
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(scene.pushes().await[1].verdict, "done");
    assert_eq!(scene.pairs().await.len(), 3);
}

#[tokio::test]
async fn modifications_that_come_later_are_a_push_and_those_that_go_are_told() {
    let scene = Scene::modified("").await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    let row = scene.tracked("bash").await;
    assert_eq!((row.failures, row.problem.as_str()), (0, ""), "a package may have none");
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await, [(id('b'), String::new())]);
    let build = scene.builds().await[0].id;
    scene.farm.store.build_cancel(build, clock::now()).await.unwrap();

    scene.upstream.push(CHANGES, "a9", &id('1'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await[1..], [(id('b'), id('1'))]);

    scene.upstream.serve(CHANGES, Serve::Status(404, None));
    scene.upstream.push("bash", "c9s", &id('c'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    let problem = scene.tracked("bash").await.problem;
    assert!(problem.contains("had a branch `a9` and has none now"), "{problem}");
    assert_eq!(scene.pairs().await[2..], [(id('c'), id('1'))], "it does not lose its changes");
}

#[tokio::test]
async fn modifications_that_are_refused_are_not_none() {
    let scene = scene("").await;
    for status in [401, 403, 500] {
        scene.upstream.serve(CHANGES, Serve::Status(status, None));
        scene.poll_packages(&["bash"]).await;
        let problem = scene.tracked("bash").await.problem;
        assert!(problem.starts_with("modifications: "), "{problem}");
        assert!(problem.contains(&format!("answered {status}")), "{problem}");
    }
    // Upstream's pushes are found all the same, and built with the last known modifications.
    scene.upstream.push("bash", "c9s", &id('b'));
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    assert_eq!(scene.pairs().await, [(id('b'), id('1'))]);
    scene.upstream.serve(CHANGES, Serve::Well);
    scene.poll_packages(&["bash"]).await;
    assert_eq!(scene.tracked("bash").await.problem, "");
}

#[tokio::test]
async fn a_webhook_of_modifications_is_looked_after_until_it_is_seen() {
    let scene = scene("").await;
    let hook = |digest: &str, modifies, commit| NewHook {
        target: "lab".into(),
        repository: String::new(),
        hints: vec![HookHint { package: "bash".into(), modifies, commit: id(commit) }],
        digest: digest.into(),
        delivery: String::new(),
        at: clock::now(),
    };
    let polls_before = scene.tracked("bash").await.polls;
    scene.upstream.push("bash", "c9s", &id('b'));
    let hooks = [hook("1", true, '2'), hook("2", false, 'b')];
    scene.farm.store.hook_insert(&hooks).await.unwrap();
    scene.wait_for_polls(&["bash"], &[polls_before]).await;
    let row = scene.tracked("bash").await;
    assert!(row.hinted_at.is_some() && row.due < clock::now() + Duration::from_secs(5), "{row:?}");
    scene.upstream.push(CHANGES, "a9", &id('2'));
    scene.wait_for_polls(&["bash"], &[row.polls]).await;
    let row = scene.tracked("bash").await;
    assert_eq!(
        (row.hinted_at, row.hint_commit.as_str(), row.hint_modification.as_str()),
        (None, "", "")
    );
    scene.decide().await;
    assert_eq!(scene.pairs().await, [(id('b'), id('2'))]);
    assert!(scene.pushes().await.iter().all(|push| push.told_by == "webhook"));
}
