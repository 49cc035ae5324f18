//! Databases of older versions: open work gets into the indexes of its stages, and no recorded fact
//! is lost.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{BatchScope, PushFilter, Store};
use rpmfarm_core::batch::OrderMode;
use rpmfarm_core::{BatchId, PushId, Timestamp};
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _};

/// The last migration before there were queues.
const BEFORE_QUEUES: i64 = 3;

/// The last migration before batches had rows.
const BEFORE_BATCHES: i64 = 38;

/// The last migration before a branch could come back to a commit.
const BEFORE_RETURNS: i64 = 9;

async fn run(connection: &mut AnyConnection, statement: &'static str) {
    sqlx::query(statement).execute(connection).await.expect(statement);
}

/// Builds 1 to 8, each at another stage; 9 has ended.
const FACTS: &[&str] = &[
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
     INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key, created_us)
     SELECT i, i, 'lab', 'p' || i, '', 'ann', '', i FROM n",
    "INSERT INTO open_builds (build) SELECT id FROM builds WHERE id < 9",
    "INSERT INTO imports (build, url, commit_id, subject, bundle, at_us)
     SELECT id, 'u', 'c', 's', 'b', 1 FROM builds WHERE id > 1",
    "INSERT INTO tasks (id, build, kind, arch, created_us)
     SELECT id, id, CASE WHEN id = 3 THEN 'srpm' ELSE 'build' END, 'x86_64', 1
     FROM builds WHERE id > 2",
    "INSERT INTO locks (task, round, digest, at_us)
     SELECT id, 0, '0000000000000000000000000000000000000000000000000000000000000000', 1
     FROM tasks WHERE id > 4",
    "INSERT INTO attempts (id, task, epoch, worker, started_us)
     SELECT id, id, 1, 'w', 1 FROM tasks WHERE id IN (6, 7, 8)",
    "INSERT INTO live_attempts (task, attempt, worker) VALUES (6, 6, 'w')",
    "INSERT INTO attempt_ends (attempt, outcome, report, at_us) SELECT id, 'succeeded',
     '{\"Succeeded\":{\"files\":[],\"predicts\":[],\"rpmbuild_ms\":1}}', 2
     FROM attempts WHERE id IN (7, 8)",
    "INSERT INTO acceptances (task, attempt, rpmbuild_ms, at_us) VALUES (8, 8, 1, 3)",
    "INSERT INTO srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic)
     VALUES (8, '0000000000000000000000000000000000000000000000000000000000000000', 1, 'p8-1-1.src',
     '[\"gcc\"]', '[]', '[\"p8\"]', 0)",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_found_by_its_stage() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("farm.db").display());
    sqlx::any::install_default_drivers();
    let mut connection = url.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::migrate!("./migrations").run_to(BEFORE_QUEUES, &mut connection).await.unwrap();
    for statement in FACTS {
        run(&mut connection, statement).await;
    }
    drop(connection);

    let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
    let now = Timestamp::from_us(1_000_000);
    assert_eq!(store.ready_task_insert_due(now, 99).await.unwrap(), 1);
    let builds = |builds: Vec<rpmfarm_coordinator::store::Build>| {
        builds.into_iter().map(|build| build.id.0).collect::<Vec<_>>()
    };
    let tasks = |tasks: Vec<rpmfarm_coordinator::store::Task>| {
        tasks.into_iter().map(|task| task.id.0).collect::<Vec<_>>()
    };
    assert_eq!(builds(store.build_list_to_import(now).await.unwrap()), [1]);
    assert_eq!(builds(store.build_list_to_plan().await.unwrap()), [2]);
    assert_eq!(tasks(store.task_list_srpms_to_lock(now, 9).await.unwrap()), [3]);
    let (batch, _) = store.batch_list_to_order(now).await.unwrap()[0];
    let of_batch = store.batch_task_list(BatchScope::Whole(batch)).await.unwrap().into_iter();
    let waiting = of_batch.filter(|row| row.lock.is_none() && !row.is_accepted);
    assert_eq!(tasks(waiting.map(|row| row.task).collect()), [4]);
    assert!(store.batch_head_list().await.unwrap().contains(&(batch, 0)), "it is open");
    assert_eq!(tasks(store.task_list_to_dispatch(9).await.unwrap()), [5]);
    let ended = store.attempt_list_to_accept(now).await.unwrap();
    assert_eq!(ended.iter().map(|ended| ended.build.0).collect::<Vec<_>>(), [7]);
    assert_eq!(builds(store.build_list_accepted().await.unwrap()), [8]);
    let srpm = store.srpm_fetch(rpmfarm_core::BuildId(8)).await.unwrap().unwrap();
    assert_eq!(srpm.requires_on(rpmfarm_core::Arch::Aarch64), ["gcc"], "the header's, everywhere");
    assert_eq!(
        store.build_fetch(rpmfarm_core::BuildId(1)).await.unwrap().unwrap().priority,
        "interactive"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("farm.db").display());
    sqlx::any::install_default_drivers();
    let mut connection = url.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::migrate!("./migrations").run_to(BEFORE_RETURNS, &mut connection).await.unwrap();
    let push = "INSERT INTO pushes (id, target, package, repository, branch, commit_id, before_id,
                told_by, seen_us, modifies) VALUES (1, 'lab', 'a', 'r', 'm', 'c1', 'c0', 'poll', 5, 1)";
    run(&mut connection, push).await;
    drop(connection);

    let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
    let filter = PushFilter { limit: 9, ..PushFilter::default() };
    let rows = store.push_list(&filter).await.unwrap();
    let row = &rows[0];
    assert_eq!((rows.len(), row.id, row.modifies), (1, PushId(1), true));
    assert_eq!(row.seen_at, Timestamp::from_us(5));
    assert_eq!((&*row.branch, &*row.commit_id, &*row.before_id), ("m", "c1", "c0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_on_in_the_order_that_there_was() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("farm.db").display());
    sqlx::any::install_default_drivers();
    let mut connection = url.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::migrate!("./migrations").run_to(BEFORE_BATCHES, &mut connection).await.unwrap();
    let builds = "INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key,
                  created_us, priority)
                  VALUES (1, 1, 'lab', 'a', '', 'ann', '', 5, 'mass'),
                  (2, 1, 'lab', 'b', '', 'ann', '', 5, 'mass'),
                  (3, 2, 'lab', 'a', '', 'bob', '', 6, 'mass')";
    run(&mut connection, builds).await;
    drop(connection);

    let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
    let listed = store.batch_list(None, 9).await.unwrap();
    let [batch] = &listed[..] else { panic!("one has several builds: {listed:?}") };
    assert_eq!((batch.id, batch.order, batch.paused), (BatchId(1), OrderMode::Requires, None));
    assert_eq!((&*batch.submitter, batch.created), ("ann", Timestamp::from_us(5)));
    // A request to a coordinator of the version before has no row meanwhile.
    assert!(store.batch_pause(BatchId(2), Timestamp::from_us(7)).await.unwrap());
    let paused = store.batch_fetch(BatchId(2)).await.unwrap().expect("it is there");
    assert_eq!((paused.paused, &*paused.submitter), (Some(Timestamp::from_us(7)), "bob"));
}
