//! The urgencies of tasks in their batches. When a farm is upgraded whose version had no exchange
//! of places, and no queues of their own for SRPMs, the waiting tasks are put into the new queues.

use std::time::Duration;

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{NewLock, NewTask, ReadyQueue, Store};
use rpmfarm_core::Arch;
use rpmfarm_core::task::TaskKind;
use sqlx::Connection as _;

use super::common::builds::{import, planned};
use super::common::on_both;
use super::keys::{older, on_empty, run};
use super::{NOW, digest, start};

/// A migration before there were urgencies.
const BEFORE_URGENCIES: i64 = 38;

/// Builds 1 and 2 are of one batch, 3 is alone. The SRPM of build 1 waits.
const WAITING: &str = "
    INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key, created_us)
    VALUES (1, 7, 'lab', 'a', '', 'ann', '', 1), (2, 7, 'lab', 'b', '', 'ann', '', 1),
           (3, 8, 'lab', 'c', '', 'ann', '', 1);
    INSERT INTO open_builds (build) VALUES (1), (2), (3);
    INSERT INTO tasks (id, build, kind, arch, created_us)
    VALUES (1, 1, 'srpm', 'x86_64', 1), (2, 2, 'build', 'x86_64', 1), (3, 3, 'build', 'x86_64', 1);
    INSERT INTO ready_tasks (task, build, arch, needs, class, rank)
    VALUES (1, 1, 'x86_64', '', 'mass', 1), (2, 2, 'x86_64', '', 'mass', 2),
           (3, 3, 'x86_64', '', 'mass', 3);
    INSERT INTO ready_queues (arch, needs) VALUES ('x86_64', '');
";

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_before_is_in_its_batch_and_srpms_are_by_themselves() {
    on_empty(async |url| {
        let mut connection = older(&url, BEFORE_URGENCIES).await;
        run(&mut connection, WAITING.to_owned()).await;
        connection.close().await.unwrap();

        let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
        let builds = ReadyQueue::builds("x86_64", "");
        let srpms = ReadyQueue { srpm: true, ..builds.clone() };
        assert_eq!(store.ready_queue_list().await.unwrap(), [builds.clone(), srpms.clone()]);
        let waiting = async |queue: &ReadyQueue| -> Vec<(i64, Option<i64>)> {
            let head = store.ready_task_list_first(queue, 9).await.unwrap();
            head.iter().map(|one| (one.task.0, one.batch.map(|batch| batch.0))).collect()
        };
        assert_eq!(waiting(&srpms).await, [(1, Some(7))]);
        assert_eq!(waiting(&builds).await, [(2, Some(7)), (3, None)]);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_comes_with_the_urgency_of_its_task() {
    on_both(|store| async move {
        let builds = start(&store, &["a", "b"], "").await;
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        let task = planned(&store, builds[0], &import(NOW), task).await;
        let urgency = Duration::from_secs(90);
        let lock = NewLock {
            task,
            round: 0,
            digest: digest("lock"),
            target: "lab",
            own: &[],
            urgency: Some(urgency),
        };
        assert!(store.lock_insert_if_current(lock, NOW).await.unwrap());
        let queue = ReadyQueue::builds("x86_64", "");
        let known = async || {
            let head = store.ready_task_list_first(&queue, 9).await.unwrap();
            head.iter().map(|one| (one.task, one.urgency)).collect::<Vec<_>>()
        };
        assert_eq!(known().await, [(task, urgency)]);
        // The index is written again without the urgency, as after a failure.
        store.reindex([builds[0]], NOW).await.unwrap();
        assert_eq!(known().await, [(task, urgency)]);
    })
    .await;
}
