//! A farm from before members of a batch exchanged their places, and before SRPMs had queues of their own:
//! what waits for a worker is sorted into these.

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{ReadyQueue, Store};
use sqlx::Connection as _;

use super::keys::{older, on_empty, run};

/// A migration before there were urgencies.
const BEFORE_URGENCIES: i64 = 38;

/// Builds 1 and 2 are of one batch, 3 is alone. Of the first, the SRPM waits.
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
