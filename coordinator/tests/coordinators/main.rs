//! Several coordinators and a database that fails: leases of stages, fences, owners of workers,
//! and transactions whose answers get lost.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../common/mod.rs"]
mod common;
mod proxy;

use std::time::{Duration, Instant};

use common::builds::{import, new_build, ready};
use common::{on_both, on_postgres};
use proxy::Proxy;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::peers::{Peers, STAGES, SilenceOwner, heartbeat};
use rpmfarm_coordinator::store::{
    BuildFilter, CoordinatorRow, FencedStore, NewTask, Store, StoreError,
};
use rpmfarm_core::stage_lease::TAKEOVER;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{
    Arch, BuildId, Failure, FailureStage, Fault, Stage, StageEpoch, TaskId, Timestamp,
};

const NOW: Timestamp = Timestamp::from_us(1_000_000);
const US: Duration = Duration::from_micros(1);

fn row(id: &str) -> CoordinatorRow {
    CoordinatorRow {
        id: id.into(),
        address: format!("http://{id}"),
        base_url: "http://farm".into(),
        version: "1".into(),
        started: NOW,
        beat: 0,
    }
}

fn peers(id: &str, now: Instant) -> Peers {
    Peers::new(row(id), None, TAKEOVER, false, now)
}

async fn start(store: &Store, package: &str, key: &str) -> Result<Vec<BuildId>, StoreError> {
    Ok(store.build_insert(&[new_build("lab", package)], "tester", key, NOW).await?.ids)
}

/// A build with a task that waits for a worker.
async fn waiting(store: &Store) -> (BuildId, TaskId) {
    let build = start(store, "hello", "").await.unwrap()[0];
    let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
    (build, ready(store, build, &import(NOW), task).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_go_to_another_when_their_holder_is_dead_and_it_can_write_nothing_more() {
    on_both(|store| async move {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let (a, b) = (peers("a", began), peers("b", began));
        heartbeat::begin(&a, &store, at(0)).await.unwrap();
        heartbeat::begin(&b, &store, at(0)).await.unwrap();
        assert_eq!(a.stages(at(0)), STAGES);
        assert!(b.stages(at(0)).is_empty() && b.has_others(at(0)));

        // While it beats it keeps them, however long that is.
        for second in 1..10 {
            assert!(!b.heartbeat(&store, at(second)).await.unwrap());
            a.heartbeat(&store, at(second)).await.unwrap();
        }
        assert_eq!(a.stages(at(9)), STAGES);
        let build = start(&store, "hello", "").await.unwrap()[0];
        let old = a.fenced(&store, Stage::Import, at(9)).unwrap();
        old.check_fence().await.unwrap();

        // It stands still: half a takeover later it begins nothing new, after a whole one the
        // other has everything.
        assert!(a.fence(Stage::Import, at(12)).is_none());
        b.heartbeat(&store, at(10)).await.unwrap();
        assert!(!b.heartbeat(&store, at(15)).await.unwrap());
        assert!(b.heartbeat(&store, at(16)).await.unwrap());
        assert_eq!(b.stages(at(16)), STAGES);
        let new = b.fence(Stage::Import, at(16)).unwrap();
        assert_eq!(new.epoch(), StageEpoch(2));

        // The work that the old coordinator has under way is fenced, above all a failure that would
        // end the build.
        let failure = Failure::new(Fault::Package, FailureStage::Import, "too late");
        let fenced = |error| {
            matches!(error, StoreError::Fenced { stage: Stage::Import, epoch: StageEpoch(1) })
        };
        assert!(fenced(old.check_fence().await.unwrap_err()));
        assert!(fenced(old.import_insert(build, &import(NOW)).await.unwrap_err()));
        let late = old.failure_insert(build, None, &failure, None, NOW).await;
        assert!(fenced(late.unwrap_err()));
        assert!(store.build_is_open(build).await.unwrap());
        FencedStore::new(&store, new).import_insert(build, &import(NOW)).await.unwrap();
        assert!(store.import_fetch(build).await.unwrap().is_some());

        // It wakes: it sees that it has lost them, and may begin nothing.
        a.heartbeat(&store, at(17)).await.unwrap();
        assert!(a.stages(at(17)).is_empty());
        // A good-bye needs no waiting.
        heartbeat::end(&b, &store).await.unwrap();
        assert!(a.heartbeat(&store, at(18)).await.unwrap());
        assert_eq!(a.fence(Stage::Sign, at(18)).unwrap().epoch(), StageEpoch(3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_has_its_stages_at_once_under_a_new_epoch() {
    on_both(|store| async move {
        let began = Instant::now();
        let first = peers("a", began);
        heartbeat::begin(&first, &store, began).await.unwrap();
        let old = first.fenced(&store, Stage::Publish, began).unwrap();
        let second = peers("a", began);
        heartbeat::begin(&second, &store, began).await.unwrap();
        assert_eq!(second.fence(Stage::Publish, began).unwrap().epoch(), StageEpoch(2));
        assert!(matches!(old.check_fence().await, Err(StoreError::Fenced { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_a_stage_one_has_it() {
    on_both(|store| async move {
        let began = Instant::now();
        let dead = peers("dead", began);
        heartbeat::begin(&dead, &store, began).await.unwrap();
        let all: Vec<Peers> = (0..4).map(|n| peers(&format!("c{n}"), began)).collect();
        for one in &all {
            one.heartbeat(&store, began).await.unwrap();
        }
        let later = began + TAKEOVER;
        let heartbeats = all.iter().map(|one| one.heartbeat(&store, later));
        futures_util::future::try_join_all(heartbeats).await.unwrap();
        for stage in STAGES {
            let holders = all.iter().filter(|one| one.fence(stage, later).is_some()).count();
            assert_eq!(holders, 1, "{stage}");
        }
        assert!(
            store
                .stage_lease_list()
                .await
                .unwrap()
                .iter()
                .all(|(_, lease)| lease.epoch == StageEpoch(2))
        );
    })
    .await;
}

/// Stopped in the middle of a transaction, a coordinator keeps the locks of its stage and build;
/// the database takes them from it.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_in_mid_transaction_keeps_nobody_from_its_stage() {
    on_postgres(async |_, store| {
        let began = Instant::now();
        let (a, b) = (peers("a", began), peers("b", began));
        heartbeat::begin(&a, &store, began).await.unwrap();
        heartbeat::begin(&b, &store, began).await.unwrap();
        let build = start(&store, "hello", "").await.unwrap()[0];
        let mut stopped = a.fenced(&store, Stage::Accept, began).unwrap().write().await.unwrap();
        assert!(stopped.build_lock_open(build).await.unwrap());

        let later = began + TAKEOVER;
        let waited = Instant::now();
        while b.fence(Stage::Accept, later).is_none() {
            b.heartbeat(&store, later).await.unwrap();
            assert!(waited.elapsed() < Duration::from_secs(15), "the stage is not to be had");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(b.stages(later), STAGES);
        let new = b.fenced(&store, Stage::Accept, later).unwrap();
        let failure = Failure::new(Fault::Farm, FailureStage::Accept, "tried again");
        assert!(new.failure_insert(build, None, &failure, Some(NOW + US), NOW).await.unwrap());
        let late = stopped.commit().await.unwrap_err();
        assert!(late.is_outage(), "what it had begun has not happened: {late}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_judged_by_its_own_coordinator_and_by_others_when_that_is_dead() {
    on_both(|store| async move {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let (a, b) = (peers("a", began), peers("b", began));
        a.heartbeat(&store, at(0)).await.unwrap();
        b.heartbeat(&store, at(0)).await.unwrap();
        a.heartbeat(&store, at(1)).await.unwrap();
        let first = store.worker_owner_upsert("w", "a").await.unwrap();
        let owners = store.worker_owner_list().await.unwrap();
        let owner = Some(owners[0].coordinator.as_str());
        assert_eq!((owner, first.session), (Some("a"), 1));
        assert_eq!(a.silence_owner(owner, at(1)), SilenceOwner::Local);
        assert_eq!(b.silence_owner(owner, at(1)), SilenceOwner::Peer);
        assert_eq!(b.silence_owner(None, at(1)), SilenceOwner::Local, "it is connected nowhere");

        b.heartbeat(&store, at(7)).await.unwrap();
        b.heartbeat(&store, at(13)).await.unwrap();
        assert_eq!(b.silence_owner(owner, at(15)), SilenceOwner::Dead(Duration::from_secs(2)));
        let second = store.worker_owner_upsert("w", "b").await.unwrap();
        assert_eq!(second.session, 2);
        assert_eq!(store.worker_owner_list().await.unwrap()[0].coordinator, "b");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_connects_knows_which_attempts_came_before() {
    on_both(|store| async move {
        let (build, task) = waiting(&store).await;
        let before = store.worker_owner_upsert("w", "a").await.unwrap().newest_attempt;
        let attempt = store.attempt_grant(task, build, "w", NOW).await.unwrap().unwrap();
        assert!(attempt.id > before);
        let after = store.worker_owner_upsert("w", "b").await.unwrap().newest_attempt;
        assert_eq!(after, attempt.id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_others_are_read_and_go_with_them() {
    on_both(|store| async move {
        let note = |text: &str| [("wait", "7".to_owned(), Some(text.to_owned()))];
        store.coordinator_raise_heartbeat(&row("a")).await.unwrap();
        store.peer_snapshot_write("a", &note("waits for libfoo")).await.unwrap();
        store.peer_snapshot_write("a", &note("waits for libbar")).await.unwrap();
        assert!(
            store.peer_snapshot_list("wait", "a").await.unwrap().is_empty(),
            "one's own are known"
        );
        assert_eq!(
            store.peer_snapshot_list_of("wait", "7", "b").await.unwrap()[0].text,
            "waits for libbar"
        );
        store.peer_snapshot_write("a", &[("wait", "7".into(), None)]).await.unwrap();
        assert!(store.peer_snapshot_list("wait", "b").await.unwrap().is_empty());
        store.peer_snapshot_write("a", &note("again")).await.unwrap();
        store.coordinator_delete("a").await.unwrap();
        assert!(store.peer_snapshot_list("wait", "b").await.unwrap().is_empty());
        assert!(store.coordinator_list().await.unwrap().is_empty());
    })
    .await;
}

/// Fault 14: the commit is done and its answer lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_was_lost_is_recorded_once() {
    on_postgres(async |postgres, _| {
        let proxy = Proxy::before(postgres.socket());
        let url = postgres.database("lossy").unwrap();
        let through = Store::open(&proxy.url(&url), Bus::default()).await.unwrap();
        assert_eq!(start(&through, "first", "key-0").await.unwrap().len(), 1);

        proxy.lose_next_commit();
        let ids = start(&through, "hello", "key-1").await.unwrap();
        assert_eq!(proxy.lost(), 1, "the fault has happened");
        assert_eq!(start(&through, "hello", "key-1").await.unwrap(), ids);
        let filter = BuildFilter { package: "hello".into(), limit: 10, ..Default::default() };
        assert_eq!(through.build_list(&filter).await.unwrap().len(), 1);

        // Without an idempotency key the result is unknown, and the error says so.
        proxy.lose_next_commit();
        let error = start(&through, "hello", "").await.unwrap_err();
        assert!(matches!(error, StoreError::Unanswered(_)) && error.is_outage(), "{error}");
        assert_eq!(proxy.lost(), 2);
    })
    .await;
}

/// Fault 13: of two transactions that wait for each other the database breaks one; it is run
/// again, whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_survived() {
    on_postgres(async |postgres, store| {
        let (build, task) = waiting(&store).await;

        // Takes the two locks of a grant in the other order: the second one when the grant waits
        // for the first.
        let grant_waits =
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP
                           PERFORM pg_sleep(0.01); END LOOP; END $$";
        let other = postgres.background(
            "farm",
            &[
                "BEGIN",
                "UPDATE counters SET value = value WHERE name = 'attempt'",
                grant_waits,
                "UPDATE open_builds SET build = build",
                "COMMIT",
            ],
        );
        let mut other = other.unwrap();
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'";
        while postgres.sql("farm", waiting).unwrap().trim() != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let granted = store.attempt_grant(task, build, "w", NOW).await.unwrap();
        assert!(granted.is_some());
        assert!(other.wait().unwrap().success(), "the grant was the one to be broken");
        assert_eq!(store.attempt_list_live(None).await.unwrap().len(), 1);
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'farm'";
        // The server counts with a little delay.
        let counted = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            postgres.sql("farm", deadlocks).unwrap().trim() == "1"
        });
        assert!(counted, "the fault has happened");
    })
    .await;
}

/// Fault 12: the server is restarted between and under transactions.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_cut_are_made_anew() {
    on_postgres(async |postgres, store| {
        let first = start(&store, "hello", "key").await.unwrap();
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = 'farm' AND pid <> pg_backend_pid()";
        postgres.sql("postgres", cut).unwrap();
        assert_eq!(start(&store, "hello", "key").await.unwrap(), first);
        let mut tx = store.write().await.unwrap();
        postgres.sql("postgres", cut).unwrap();
        let broken = tx.build_lock_open(first[0]).await.unwrap_err();
        assert!(broken.is_outage() && broken.rolled_back(), "{broken:?}");
        drop(tx);
        assert!(store.build_is_open(first[0]).await.unwrap());
        assert!(store.build_cancel(first[0], NOW).await.unwrap());
    })
    .await;
}
