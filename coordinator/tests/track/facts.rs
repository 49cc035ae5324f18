//! What the store keeps, on both databases.

use rpmfarm_coordinator::store::{
    Hint, HookTaken, Import, Looked, NewBuild, NewHook, NewTracked, OrderRow, PushFilter, Store,
};
use rpmfarm_core::queue::Class;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::PushEnd;
use rpmfarm_core::track::poll::RefObservation;
use rpmfarm_core::track::push::{Change, Push};

use crate::common::builds::{import, new_build};
use crate::common::on_both;
use crate::upstream::id;

const NOW: i64 = 1_000_000;

fn new(package: &str, due_us: i64) -> NewTracked {
    NewTracked { package: package.into(), git_ref: String::new(), build_first: false, due_us }
}

fn looked(package: &str, commit: &str, change: Change) -> Looked {
    let push = Push {
        repository: format!("http://h/{package}.git"),
        branch: "c9s".into(),
        commit: commit.into(),
    };
    Looked {
        target: "lab".into(),
        package: package.into(),
        turn: 0,
        began_us: NOW,
        at_us: NOW + 1,
        due_us: NOW + 100,
        interval_us: 100,
        failures: 0,
        problem: String::new(),
        hinted: false,
        saw: vec![RefObservation { push, change, modifies: false, told_by: "poll" }],
    }
}

fn hook(package: &str, digest: &str, delivery: &str, at_us: i64) -> NewHook {
    NewHook {
        target: "lab".into(),
        repository: String::new(),
        hints: vec![Hint { package: package.into(), modifies: false, commit: id('b') }],
        digest: digest.into(),
        delivery: delivery.into(),
        at_us,
    }
}

async fn due(store: &Store, now_us: i64) -> Vec<String> {
    let due = store.tracked_due("lab", now_us, 10).await.unwrap();
    due.into_iter().map(|row| row.package).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_packages_come_due_in_order() {
    on_both(|store| async move {
        let packages = [new("a", NOW + 2), new("b", NOW), new("c", NOW + 9)];
        assert_eq!(store.track("lab", &packages, "me", NOW).await.unwrap(), ["a", "b", "c"]);
        assert!(store.track("lab", &packages[..1], "me", NOW).await.unwrap().is_empty());
        assert_eq!(due(&store, NOW + 5).await, ["b", "a"]);
        assert_eq!(store.tracked_due("lab", NOW + 5, 1).await.unwrap().len(), 1);
        assert!(store.look_now("lab", "c").await.unwrap());
        assert!(!store.look_now("lab", "x").await.unwrap());
        assert_eq!(due(&store, NOW + 5).await, ["c", "b", "a"]);
        assert!(store.untrack("lab", "c", "me", NOW + 1).await.unwrap());
        assert!(!store.untrack("lab", "c", "me", NOW + 1).await.unwrap());
        let words: Vec<String> =
            store.track_history("lab", "c").await.unwrap().into_iter().map(|o| o.word).collect();
        assert_eq!(words, ["remove", "add"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_recorded_once() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0)], "me", NOW).await.unwrap();
        let (a, b) = (id('a'), id('b'));
        assert_eq!(store.record_looks(&[looked("a", &a, Change::Begin)]).await.unwrap(), 0);
        let pushed = |turn| Looked { turn, ..looked("a", &b, Change::Pushed) };
        assert_eq!(store.record_looks(&[pushed(1), pushed(2)]).await.unwrap(), 1);
        assert_eq!(store.record_looks(&[pushed(3)]).await.unwrap(), 0);
        assert_eq!(store.seen("lab", "a").await.unwrap()[0].commit_id, b);
        let open = store.open_pushes("lab").await.unwrap();
        assert_eq!((open.len(), open[0].commit_id.as_str()), (1, b.as_str()));
        assert_eq!((open[0].before_id.as_str(), open[0].followed), (a.as_str(), true));
        // Nobody follows it: nothing is recorded.
        assert_eq!(store.record_looks(&[looked("x", &b, Change::Pushed)]).await.unwrap(), 0);
        assert_eq!(store.targets_pushed().await.unwrap(), ["lab"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_may_come_back_but_not_by_an_old_look() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0)], "me", NOW).await.unwrap();
        let look = |turn, commit: char, change| {
            let looked = Looked { turn, ..looked("a", &id(commit), change) };
            let store = store.clone();
            async move { store.record_looks(&[looked]).await.unwrap() }
        };
        look(0, 'a', Change::Begin).await;
        assert_eq!(look(1, 'b', Change::Pushed).await, 1);
        // It began before b was recorded, and ended after it.
        assert_eq!(look(1, 'a', Change::Pushed).await, 0);
        assert_eq!(store.seen("lab", "a").await.unwrap()[0].commit_id, id('b'));
        assert_eq!(due(&store, NOW).await, ["a"], "it is looked at again");
        assert_eq!(look(3, 'a', Change::Pushed).await, 1);
        assert_eq!(look(4, 'b', Change::Pushed).await, 1);
        let open = store.open_pushes("lab").await.unwrap();
        let short: Vec<_> = open
            .iter()
            .map(|push| (push.commit_id.clone(), push.before_id.clone(), push.left_by))
            .collect();
        let (a, b) = (id('a'), id('b'));
        let expected =
            [(b.clone(), a.clone(), 0), (a.clone(), b.clone(), open[0].id), (b, a, open[1].id)];
        assert_eq!(short, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_that_look_at_once_make_one_push() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0)], "me", NOW).await.unwrap();
        store.record_looks(&[looked("a", &id('a'), Change::Begin)]).await.unwrap();
        let look = || {
            let looked = Looked { turn: 1, ..looked("a", &id('b'), Change::Pushed) };
            let store = store.clone();
            tokio::spawn(async move { store.record_looks(&[looked]).await.unwrap() })
        };
        let looks: Vec<_> = (0..8).map(|_| look()).collect();
        let mut pushes = 0;
        for look in looks {
            pushes += look.await.unwrap();
        }
        assert_eq!((pushes, store.open_pushes("lab").await.unwrap().len()), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_taken_once_and_not_lost_to_a_look_under_way() {
    on_both(|store| async move {
        store.track("lab", &[new("a", NOW + 50)], "me", NOW).await.unwrap();
        let hooks = [
            hook("a", "d1", "1", NOW + 5),
            hook("a", "d1", "2", NOW + 5),
            hook("a", "d2", "1", NOW + 5),
            hook("a", "d3", "", NOW + 5),
            hook("a", "d4", "", NOW + 5),
        ];
        let taken = store.take_hooks(&hooks).await.unwrap();
        use HookTaken::{Again, New, Often};
        assert_eq!(taken, [New, New, New, New, New], "content and delivery make one together");
        assert_eq!(store.take_hooks(&hooks).await.unwrap(), [Again; 5]);
        assert_eq!(due(&store, NOW).await, ["a"]);
        // A look that began before the webhook came.
        store.record_looks(&[looked("a", &id('a'), Change::Begin)]).await.unwrap();
        let row = store.tracked("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.due_us, row.hint_us, row.looks), (0, NOW + 5, 1));
        let later = Looked { turn: 1, began_us: NOW + 6, ..looked("a", &id('b'), Change::Pushed) };
        store.record_looks(&[later]).await.unwrap();
        let row = store.tracked("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.due_us, row.hint_us, row.looks), (NOW + 100, 0, 2));
        // After a time, the same may come again.
        store.forget_hooks(NOW + 6).await.unwrap();
        assert_eq!(store.take_hooks(&hooks[..1]).await.unwrap(), [New]);
        // The same under more and more names is believed for some times.
        let copies: Vec<_> =
            (0..9).map(|n| hook("a", "d9", &n.to_string(), NOW + 600_000_000)).collect();
        let taken = store.take_hooks(&copies).await.unwrap();
        assert_eq!((&taken[..8], taken[8]), (&[New; 8][..], Often));
        let later = hook("a", "d9", "9", NOW + 1_200_000_001);
        assert_eq!(store.take_hooks(&[later]).await.unwrap(), [New]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifications_are_seen_and_told_of_beside_the_package() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0)], "me", NOW).await.unwrap();
        let hooks = [
            NewHook {
                hints: vec![Hint { package: "a".into(), modifies: true, commit: id('2') }],
                ..hook("a", "d1", "", NOW - 5)
            },
            hook("a", "d2", "", NOW - 5),
        ];
        store.take_hooks(&hooks).await.unwrap();
        let row = store.tracked("lab", "a").await.unwrap().unwrap();
        assert_eq!((row.hint_commit, row.hint_modification), (id('b'), id('2')));
        let mut both = looked("a", &id('b'), Change::Pushed);
        let push = Push {
            repository: "http://h/autopatch/a.git".into(),
            branch: "a9".into(),
            commit: id('2'),
        };
        both.saw.push(RefObservation {
            push,
            change: Change::Pushed,
            modifies: true,
            told_by: "webhook",
        });
        assert_eq!(store.record_looks(&[both]).await.unwrap(), 2);
        let row = store.tracked("lab", "a").await.unwrap().unwrap();
        assert_eq!(
            (row.hint_us, row.hint_commit, row.hint_modification),
            (0, "".into(), "".into())
        );
        let open = store.open_pushes("lab").await.unwrap();
        let short: Vec<_> = open.iter().map(|push| (push.modifies, &*push.told_by)).collect();
        assert_eq!(short, [(false, "poll"), (true, "webhook")]);
        assert_eq!(store.seen_of_pushed("lab").await.unwrap().len(), 2);
        let pair = Some(PushPair { git_ref: id('b'), modification: id('2') });
        let end = |n: usize| {
            let (push, pair) = (open[n].id, pair.clone());
            PushEnd { push, verdict: PushVerdict::Build, build: 0, pair }
        };
        store.end_pushes(&[end(0), end(1)], "key", NOW).await.unwrap();
        assert_eq!(store.pushes_built_since("lab", 0).await.unwrap(), 1, "it is one build");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_end_once_and_know_their_builds() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0), new("b", 0)], "me", NOW).await.unwrap();
        let looks = [looked("a", &id('a'), Change::Pushed), looked("b", &id('b'), Change::Pushed)];
        assert_eq!(store.record_looks(&looks).await.unwrap(), 2);
        let open = store.open_pushes("lab").await.unwrap();
        assert_eq!(store.approve(&[open[0].id], "me", NOW).await.unwrap(), 1);
        assert_eq!(store.approve(&[open[0].id], "me", NOW).await.unwrap(), 0);
        assert_eq!(store.open_pushes("lab").await.unwrap()[0].approved_us, NOW);

        let end = |n: usize| PushEnd {
            push: open[n].id,
            verdict: PushVerdict::Build,
            build: 0,
            pair: None,
        };
        let pair = PushPair { git_ref: id('a'), modification: id('1') };
        let first = PushEnd { pair: Some(pair.clone()), ..end(0) };
        store.end_pushes(&[first, end(1)], "key", NOW + 2).await.unwrap();
        // A second coordinator decided the same.
        store.end_pushes(&[end(1)], "other", NOW + 3).await.unwrap();
        assert_eq!(store.push_requests().await.unwrap(), ["key"]);
        let pushes = store.pushes_of("key").await.unwrap();
        let plain = PushPair { git_ref: id('b'), modification: String::new() };
        let pairs: Vec<_> = pushes.into_iter().map(|(_, package, pair)| (package, pair)).collect();
        assert_eq!(pairs, [("a".to_owned(), pair), ("b".to_owned(), plain)]);
        assert!(store.open_pushes("lab").await.unwrap().is_empty());
        // What was approved does not count for the guard.
        assert_eq!(store.pushes_built_since("lab", NOW + 1).await.unwrap(), 1);
        assert_eq!(store.pushes_built_since("lab", NOW + 2).await.unwrap(), 0);

        let build = NewBuild {
            git_ref: id('a'),
            modification_ref: id('1'),
            class: Class::Tracking,
            ..new_build("lab", "a")
        };
        let ids = store.start_builds(&[build], "track", "key", NOW).await.unwrap().ids;
        assert_eq!(store.modification_ref(ids[0]).await.unwrap(), Some(id('1')));
        store.push_request_made("key").await.unwrap();
        assert!(store.push_requests().await.unwrap().is_empty());
        let filter = PushFilter { package: "a".into(), limit: 5, ..Default::default() };
        let rows = store.pushes(&filter).await.unwrap();
        assert_eq!((rows[0].build, rows[0].verdict.as_str()), (ids[0].0, "build"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_built_is_known() {
    on_both(|store| async move {
        store.track("lab", &[new("a", 0)], "me", NOW).await.unwrap();
        store.record_looks(&[looked("a", &id('a'), Change::Pushed)]).await.unwrap();
        let build = |git_ref: &str| NewBuild { git_ref: git_ref.into(), ..new_build("lab", "a") };
        let known = || async {
            let builds = store.builds_of_pushed("lab").await.unwrap();
            builds.into_iter().map(|b| (b.id, b.git_ref, b.commit_id)).collect::<Vec<_>>()
        };
        let by_hand = store.start_builds(&[build("")], "me", "", NOW).await.unwrap().ids[0];
        assert_eq!(known().await, [(by_hand.0, String::new(), String::new())]);
        let import = Import { commit: id('a'), ..import(NOW) };
        store.add_import(by_hand, &import).await.unwrap();
        assert_eq!(known().await, [(by_hand.0, String::new(), id('a'))]);
        // Cancelled, it is as if it never was.
        store.cancel_build(by_hand, NOW).await.unwrap();
        assert_eq!(known().await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_order_counts() {
    on_both(|store| async move {
        for (package, word) in [("", "hold"), ("a", "add"), ("a", "propose"), ("a", "default")] {
            let row = OrderRow {
                package: package.into(),
                word: word.into(),
                reason: "why".into(),
                until_us: 7,
                who: "me".into(),
                at_us: NOW,
            };
            store.add_track_order("lab", &row).await.unwrap();
        }
        let mut rows = store.track_orders("lab").await.unwrap();
        rows.sort_by(|a, b| a.package.cmp(&b.package));
        let words: Vec<_> = rows.iter().map(|r| (r.package.as_str(), r.word.as_str())).collect();
        assert_eq!(words, [("", "hold"), ("a", "default")]);
        store.track("lab", &[new("a", 0), new("b", 0)], "me", NOW).await.unwrap();
        let looks = [looked("a", &id('a'), Change::Pushed), looked("b", &id('b'), Change::Pushed)];
        assert_eq!(store.record_looks(&looks).await.unwrap(), 2);
        let storm = store.add_storm("lab", "too many", &[1, 2], NOW).await.unwrap();
        assert_eq!(store.storm(storm).await.unwrap().unwrap().reason, "too many");
        assert!(store.storm(storm + 1).await.unwrap().is_none());
    })
    .await;
}
