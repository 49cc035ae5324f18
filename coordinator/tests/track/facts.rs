//! The facts of tracking, on both databases.

use std::time::Duration;

use rpmfarm_coordinator::store::{
    HookHint, HookResult, Import, NewBuild, NewHook, NewTracked, PolicyOverrideRow, PollResult,
    PushFilter, Store,
};
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::PushEnd;
use rpmfarm_core::track::poll::RefObservation;
use rpmfarm_core::track::push::{Push, RefChange};
use rpmfarm_core::{PushId, StormId, Timestamp};

use crate::common::builds::{import, new_build};
use crate::common::on_both;
use crate::upstream::id;

const NOW: Timestamp = Timestamp::from_us(1_000_000);
const US: Duration = Duration::from_micros(1);

/// When a package is due that is looked at, at once.
const AT_ONCE: Timestamp = Timestamp::ZERO;

fn new(package: &str, due: Timestamp) -> NewTracked {
    NewTracked { package: package.into(), git_ref: String::new(), build_first: false, due }
}

fn polled(package: &str, commit: &str, change: RefChange) -> PollResult {
    let push = Push {
        repository: format!("http://h/{package}.git"),
        branch: "c9s".into(),
        commit: commit.into(),
    };
    PollResult {
        target: "lab".into(),
        package: package.into(),
        sequence: 0,
        began: NOW,
        at: NOW + US,
        due: NOW + 100 * US,
        interval: 100 * US,
        failures: 0,
        problem: String::new(),
        hinted: false,
        observations: vec![RefObservation { push, change, modifies: false, told_by: "poll" }],
    }
}

fn hook(package: &str, digest: &str, delivery: &str, at: Timestamp) -> NewHook {
    NewHook {
        target: "lab".into(),
        repository: String::new(),
        hints: vec![HookHint { package: package.into(), modifies: false, commit: id('b') }],
        digest: digest.into(),
        delivery: delivery.into(),
        at,
    }
}

async fn due(store: &Store, now: Timestamp) -> Vec<String> {
    let due = store.tracked_list_due("lab", now, 10).await.unwrap();
    due.into_iter().map(|row| row.package).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_packages_come_due_in_order() {
    on_both(|store| async move {
        let packages = [new("a", NOW + 2 * US), new("b", NOW), new("c", NOW + 9 * US)];
        assert_eq!(
            store.tracked_insert("lab", &packages, "me", NOW).await.unwrap(),
            ["a", "b", "c"]
        );
        assert!(store.tracked_insert("lab", &packages[..1], "me", NOW).await.unwrap().is_empty());
        assert_eq!(due(&store, NOW + 5 * US).await, ["b", "a"]);
        assert_eq!(store.tracked_list_due("lab", NOW + 5 * US, 1).await.unwrap().len(), 1);
        assert!(store.tracked_poll_now("lab", "c").await.unwrap());
        assert!(!store.tracked_poll_now("lab", "x").await.unwrap());
        assert_eq!(due(&store, NOW + 5 * US).await, ["c", "b", "a"]);
        assert!(store.tracked_delete("lab", "c", "me", NOW + US).await.unwrap());
        assert!(!store.tracked_delete("lab", "c", "me", NOW + US).await.unwrap());
        let words: Vec<String> = store
            .policy_override_list_history("lab", "c")
            .await
            .unwrap()
            .into_iter()
            .map(|o| o.word)
            .collect();
        assert_eq!(words, ["remove", "add"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_recorded_once() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", AT_ONCE)], "me", NOW).await.unwrap();
        let (a, b) = (id('a'), id('b'));
        assert_eq!(store.poll_record(&[polled("a", &a, RefChange::Begin)]).await.unwrap(), 0);
        let pushed = |turn| PollResult { sequence: turn, ..polled("a", &b, RefChange::Pushed) };
        assert_eq!(store.poll_record(&[pushed(1), pushed(2)]).await.unwrap(), 1);
        assert_eq!(store.poll_record(&[pushed(3)]).await.unwrap(), 0);
        assert_eq!(store.track_ref_list("lab", "a").await.unwrap()[0].commit_id, b);
        let open = store.push_list_open("lab").await.unwrap();
        assert_eq!((open.len(), open[0].commit_id.as_str()), (1, b.as_str()));
        assert_eq!((open[0].before_id.as_str(), open[0].followed), (a.as_str(), true));
        // The package is not tracked: nothing is recorded.
        assert_eq!(store.poll_record(&[polled("x", &b, RefChange::Pushed)]).await.unwrap(), 0);
        assert_eq!(store.push_list_targets().await.unwrap(), ["lab"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_may_come_back_but_not_by_an_old_look() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", AT_ONCE)], "me", NOW).await.unwrap();
        let poll = |turn, commit: char, change| {
            let polled = PollResult { sequence: turn, ..polled("a", &id(commit), change) };
            let store = store.clone();
            async move { store.poll_record(&[polled]).await.unwrap() }
        };
        poll(0, 'a', RefChange::Begin).await;
        assert_eq!(poll(1, 'b', RefChange::Pushed).await, 1);
        // It began before b was recorded, and ended after it.
        assert_eq!(poll(1, 'a', RefChange::Pushed).await, 0);
        assert_eq!(store.track_ref_list("lab", "a").await.unwrap()[0].commit_id, id('b'));
        assert_eq!(due(&store, NOW).await, ["a"], "it is polled again");
        assert_eq!(poll(3, 'a', RefChange::Pushed).await, 1);
        assert_eq!(poll(4, 'b', RefChange::Pushed).await, 1);
        let open = store.push_list_open("lab").await.unwrap();
        let short: Vec<_> = open
            .iter()
            .map(|push| (push.commit_id.clone(), push.before_id.clone(), push.left_by))
            .collect();
        let (a, b) = (id('a'), id('b'));
        let expected = [
            (b.clone(), a.clone(), None),
            (a.clone(), b.clone(), Some(open[0].id)),
            (b, a, Some(open[1].id)),
        ];
        assert_eq!(short, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_that_look_at_once_make_one_push() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", AT_ONCE)], "me", NOW).await.unwrap();
        store.poll_record(&[polled("a", &id('a'), RefChange::Begin)]).await.unwrap();
        let poll = || {
            let polled = PollResult { sequence: 1, ..polled("a", &id('b'), RefChange::Pushed) };
            let store = store.clone();
            tokio::spawn(async move { store.poll_record(&[polled]).await.unwrap() })
        };
        let polls: Vec<_> = (0..8).map(|_| poll()).collect();
        let mut pushes = 0;
        for poll in polls {
            pushes += poll.await.unwrap();
        }
        assert_eq!((pushes, store.push_list_open("lab").await.unwrap().len()), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_taken_once_and_not_lost_to_a_look_under_way() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", NOW + 50 * US)], "me", NOW).await.unwrap();
        let hooks = [
            hook("a", "d1", "1", NOW + 5 * US),
            hook("a", "d1", "2", NOW + 5 * US),
            hook("a", "d2", "1", NOW + 5 * US),
            hook("a", "d3", "", NOW + 5 * US),
            hook("a", "d4", "", NOW + 5 * US),
        ];
        let taken = store.hook_insert(&hooks).await.unwrap();
        use HookResult::{Again, New, Often};
        assert_eq!(taken, [New, New, New, New, New], "content and delivery make one together");
        assert_eq!(store.hook_insert(&hooks).await.unwrap(), [Again; 5]);
        assert_eq!(due(&store, NOW).await, ["a"]);
        // A poll that began before the webhook came.
        store.poll_record(&[polled("a", &id('a'), RefChange::Begin)]).await.unwrap();
        let row = store.tracked_fetch("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.due, row.hinted_at, row.polls), (AT_ONCE, Some(NOW + 5 * US), 1));
        let later = PollResult {
            sequence: 1,
            began: NOW + 6 * US,
            ..polled("a", &id('b'), RefChange::Pushed)
        };
        store.poll_record(&[later]).await.unwrap();
        let row = store.tracked_fetch("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.due, row.hinted_at, row.polls), (NOW + 100 * US, None, 2));
        // After a time, the same may come again.
        store.hook_delete_before(NOW + 6 * US).await.unwrap();
        assert_eq!(store.hook_insert(&hooks[..1]).await.unwrap(), [New]);
        // The same under more and more names is believed for some times.
        let copies: Vec<_> = (0..9)
            .map(|n| hook("a", "d9", &n.to_string(), NOW + Duration::from_secs(600)))
            .collect();
        let taken = store.hook_insert(&copies).await.unwrap();
        assert_eq!((&taken[..8], taken[8]), (&[New; 8][..], Often));
        let later = hook("a", "d9", "9", NOW + Duration::from_secs(1_200) + US);
        assert_eq!(store.hook_insert(&[later]).await.unwrap(), [New]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifications_are_seen_and_told_of_beside_the_package() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", AT_ONCE)], "me", NOW).await.unwrap();
        let hooks = [
            NewHook {
                hints: vec![HookHint { package: "a".into(), modifies: true, commit: id('2') }],
                ..hook("a", "d1", "", NOW - 5 * US)
            },
            hook("a", "d2", "", NOW - 5 * US),
        ];
        store.hook_insert(&hooks).await.unwrap();
        let row = store.tracked_fetch("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.hint_commit, row.hint_modification), (id('b'), id('2')));
        let mut both = polled("a", &id('b'), RefChange::Pushed);
        let push = Push {
            repository: "http://h/autopatch/a.git".into(),
            branch: "a9".into(),
            commit: id('2'),
        };
        both.observations.push(RefObservation {
            push,
            change: RefChange::Pushed,
            modifies: true,
            told_by: "webhook",
        });
        assert_eq!(store.poll_record(&[both]).await.unwrap(), 2);
        let row = store.tracked_fetch("lab", "a").await.unwrap().unwrap();
        assert_eq!(
            (row.hinted_at, row.hint_commit, row.hint_modification),
            (None, "".into(), "".into())
        );
        let open = store.push_list_open("lab").await.unwrap();
        let short: Vec<_> = open.iter().map(|push| (push.modifies, &*push.told_by)).collect();
        assert_eq!(short, [(false, "poll"), (true, "webhook")]);
        assert_eq!(store.track_ref_list_of_pushed("lab").await.unwrap().len(), 2);
        let pair = Some(PushPair { git_ref: id('b'), modification: id('2') });
        let end = |n: usize| {
            let (push, pair) = (open[n].id, pair.clone());
            PushEnd { push, verdict: PushVerdict::Build, build: None, pair }
        };
        store.push_end(&[end(0), end(1)], "key", NOW).await.unwrap();
        assert_eq!(
            store.push_count_built_since("lab", AT_ONCE).await.unwrap(),
            1,
            "it is one build"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_end_once_and_know_their_builds() {
    on_both(|store| async move {
        store
            .tracked_insert("lab", &[new("a", AT_ONCE), new("b", AT_ONCE)], "me", NOW)
            .await
            .unwrap();
        let polls =
            [polled("a", &id('a'), RefChange::Pushed), polled("b", &id('b'), RefChange::Pushed)];
        assert_eq!(store.poll_record(&polls).await.unwrap(), 2);
        let open = store.push_list_open("lab").await.unwrap();
        assert_eq!(store.push_approve(&[open[0].id], "me", NOW).await.unwrap(), 1);
        assert_eq!(store.push_approve(&[open[0].id], "me", NOW).await.unwrap(), 0);
        assert_eq!(store.push_list_open("lab").await.unwrap()[0].approved_at, Some(NOW));

        let end = |n: usize| PushEnd {
            push: open[n].id,
            verdict: PushVerdict::Build,
            build: None,
            pair: None,
        };
        let pair = PushPair { git_ref: id('a'), modification: id('1') };
        let first = PushEnd { pair: Some(pair.clone()), ..end(0) };
        store.push_end(&[first, end(1)], "key", NOW + 2 * US).await.unwrap();
        // A second coordinator decided the same.
        store.push_end(&[end(1)], "other", NOW + 3 * US).await.unwrap();
        assert_eq!(store.push_request_list().await.unwrap(), ["key"]);
        let pushes = store.push_list_of_request("key").await.unwrap();
        let plain = PushPair { git_ref: id('b'), modification: String::new() };
        let pairs: Vec<_> = pushes.into_iter().map(|(_, package, pair)| (package, pair)).collect();
        assert_eq!(pairs, [("a".to_owned(), pair), ("b".to_owned(), plain)]);
        assert!(store.push_list_open("lab").await.unwrap().is_empty());
        // Approved pushes do not count for the guard.
        assert_eq!(store.push_count_built_since("lab", NOW + US).await.unwrap(), 1);
        assert_eq!(store.push_count_built_since("lab", NOW + 2 * US).await.unwrap(), 0);

        let build = NewBuild {
            git_ref: id('a'),
            modification_ref: id('1'),
            class: PriorityClass::Tracking,
            ..new_build("lab", "a")
        };
        let ids = store.build_insert(&[build], "track", "key", NOW).await.unwrap().ids;
        assert_eq!(store.build_fetch_modification_ref(ids[0]).await.unwrap(), Some(id('1')));
        store.push_request_finish("key").await.unwrap();
        assert!(store.push_request_list().await.unwrap().is_empty());
        let filter = PushFilter { package: "a".into(), limit: 5, ..Default::default() };
        let rows = store.push_list(&filter).await.unwrap();
        assert_eq!((rows[0].build, rows[0].verdict.as_str()), (Some(ids[0]), "build"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_built_is_known() {
    on_both(|store| async move {
        store.tracked_insert("lab", &[new("a", AT_ONCE)], "me", NOW).await.unwrap();
        store.poll_record(&[polled("a", &id('a'), RefChange::Pushed)]).await.unwrap();
        let build = |git_ref: &str| NewBuild { git_ref: git_ref.into(), ..new_build("lab", "a") };
        let known = || async {
            let builds = store.push_list_builds("lab").await.unwrap();
            builds.into_iter().map(|b| (b.id, b.git_ref, b.commit_id)).collect::<Vec<_>>()
        };
        let by_hand = store.build_insert(&[build("")], "me", "", NOW).await.unwrap().ids[0];
        assert_eq!(known().await, [(by_hand, String::new(), String::new())]);
        let import = Import { commit: id('a'), ..import(NOW) };
        store.import_insert(by_hand, &import).await.unwrap();
        assert_eq!(known().await, [(by_hand, String::new(), id('a'))]);
        // Cancelled, it is as if it never was.
        store.build_cancel(by_hand, NOW).await.unwrap();
        assert_eq!(known().await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_order_counts() {
    on_both(|store| async move {
        for (package, word) in [("", "hold"), ("a", "add"), ("a", "propose"), ("a", "default")] {
            let row = PolicyOverrideRow {
                package: package.into(),
                word: word.into(),
                reason: "why".into(),
                until: Some(Timestamp::from_us(7)),
                who: "me".into(),
                at: NOW,
            };
            store.policy_override_insert("lab", &row).await.unwrap();
        }
        let mut rows = store.policy_override_list("lab").await.unwrap();
        rows.sort_by(|a, b| a.package.cmp(&b.package));
        let words: Vec<_> = rows.iter().map(|r| (r.package.as_str(), r.word.as_str())).collect();
        assert_eq!(words, [("", "hold"), ("a", "default")]);
        store
            .tracked_insert("lab", &[new("a", AT_ONCE), new("b", AT_ONCE)], "me", NOW)
            .await
            .unwrap();
        let polls =
            [polled("a", &id('a'), RefChange::Pushed), polled("b", &id('b'), RefChange::Pushed)];
        assert_eq!(store.poll_record(&polls).await.unwrap(), 2);
        let storm = store.storm_insert("lab", "too many", &[1, 2].map(PushId), NOW).await.unwrap();
        assert_eq!(store.storm_fetch(storm).await.unwrap().unwrap().reason, "too many");
        assert!(store.storm_fetch(StormId(storm.0 + 1)).await.unwrap().is_none());
    })
    .await;
}
