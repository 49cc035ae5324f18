//! Batches: their order modes, pausing, cancelling and retrying them as a whole, and their counts.

use std::time::Duration;

use rpmfarm_coordinator::store::{
    BatchBuildChange, BatchCounts, BuildRequest, ChannelChange, NewBuild, NewTask, ReadyQueue,
    Revision, Store, WorkLeft,
};
use rpmfarm_core::batch::OrderMode;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BatchId, BuildId, Failure, FailureStage, Fault};

use crate::common::builds::{add_srpm, import, new_build, planned, ready, srpm};
use crate::common::on_both;
use crate::{NOW, US, digest, start, succeeded};

const BUILD: NewTask = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };

async fn batch_of(store: &Store, build: BuildId) -> BatchId {
    store.build_fetch(build).await.unwrap().expect("it is there").batch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_several_builds_is_a_batch_with_its_order() {
    on_both(|store| async move {
        let builds: Vec<NewBuild> = ["a", "b"].map(|package| new_build("lab", package)).into();
        let order = OrderMode::Bootstrap;
        let request =
            BuildRequest { builds: &builds, submitter: "ann", key: "k", bump: false, order };
        let first = store.build_insert_request(&request, NOW).await.unwrap();
        let again = store.build_insert_request(&request, NOW + US).await.unwrap();
        assert_eq!((again.new, &again.ids), (false, &first.ids), "the same key, the same batch");
        let batch = batch_of(&store, first.ids[0]).await;
        let known = store.batch_fetch(batch).await.unwrap().expect("it is there");
        assert_eq!((known.id, known.order, known.paused), (batch, order, None));
        assert_eq!((&*known.submitter, &*known.target, known.created), ("ann", "lab", NOW));
        assert_eq!(store.batch_order_mode(batch).await.unwrap(), order);

        let single = start(&store, &["c"], "").await[0];
        let single = batch_of(&store, single).await;
        assert_eq!(store.batch_order_mode(single).await.unwrap(), OrderMode::Requires);
        assert!(store.batch_fetch(single).await.unwrap().is_some(), "read from its build");
        let second = start(&store, &["d", "e"], "").await[0];
        let second = batch_of(&store, second).await;
        let listed = async |before, limit| {
            let batches = store.batch_list(before, limit).await.unwrap();
            batches.into_iter().map(|batch| batch.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(None, 9).await, [second, batch], "without the single build");
        assert_eq!(listed(None, 1).await, [second]);
        assert_eq!(listed(Some(second), 9).await, [batch]);
        assert_eq!(store.batch_fetch(BatchId(99)).await.unwrap(), None);
        assert_eq!(store.batch_order_mode(BatchId(99)).await.unwrap(), OrderMode::Requires);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_paused_batch_nothing_begins_and_what_runs_ends() {
    on_both(|store| async move {
        let ids = start(&store, &["a", "b", "c", "d", "e"], "").await;
        let batch = batch_of(&store, ids[0]).await;
        planned(&store, ids[1], &import(NOW), BUILD).await;
        let queued = ready(&store, ids[2], &import(NOW), BUILD).await;
        let running = ready(&store, ids[3], &import(NOW), BUILD).await;
        planned(&store, ids[4], &import(NOW), NewTask { kind: TaskKind::Srpm, ..BUILD }).await;
        let attempt = store.attempt_grant(running, ids[3], "w", NOW).await.unwrap().unwrap();
        let queue = ReadyQueue::builds("x86_64", "");
        let seen = async || {
            (
                store.build_list_to_import(NOW).await.unwrap().len(),
                store.batch_list_to_order(NOW).await.unwrap().len(),
                store.task_list_srpms_to_lock(NOW, 9).await.unwrap().len(),
                store.ready_task_list_first(&queue, 9).await.unwrap().len(),
                store.batch_head_list().await.unwrap().len(),
            )
        };
        assert_eq!(seen().await, (1, 1, 1, 1, 1));
        assert!(store.batch_pause(batch, NOW + US).await.unwrap());
        assert!(!store.batch_pause(batch, NOW + 2 * US).await.unwrap(), "it is paused");
        let paused = store.batch_fetch(batch).await.unwrap().unwrap().paused;
        assert_eq!(paused, Some(NOW + US));
        assert_eq!(seen().await, (0, 0, 0, 0, 0));
        // Whoever has read the queue before gets nothing either.
        assert!(store.attempt_grant(queued, ids[2], "w", NOW).await.unwrap().is_none());
        let (id, epoch) = (attempt.id, attempt.epoch);
        assert!(store.attempt_end_succeeded(id, epoch, &succeeded(), NOW).await.unwrap());
        assert_eq!(store.attempt_list_to_accept(NOW).await.unwrap().len(), 1);

        // Another batch is not affected.
        let other = start(&store, &["x"], "").await[0];
        assert_eq!(seen().await, (1, 0, 0, 0, 0));
        let other = batch_of(&store, other).await;
        assert!(store.batch_pause(other, NOW).await.unwrap(), "one without a row of its own");
        assert_eq!(seen().await, (0, 0, 0, 0, 0));

        assert!(store.batch_resume(batch).await.unwrap());
        assert!(!store.batch_resume(batch).await.unwrap(), "it goes on");
        assert_eq!(seen().await, (1, 1, 1, 1, 1));
        assert!(store.attempt_grant(queued, ids[2], "w", NOW).await.unwrap().is_some());
        assert!(!store.batch_pause(BatchId(99), NOW).await.unwrap(), "there is no such batch");
        assert!(!store.batch_resume(BatchId(99)).await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_cancelled_and_tried_again_page_by_page() {
    on_both(|store| async move {
        let ids = start(&store, &["a", "b", "c", "d"], "").await;
        let batch = batch_of(&store, ids[0]).await;
        let task = ready(&store, ids[0], &import(NOW), BUILD).await;
        store.attempt_grant(task, ids[0], "w", NOW).await.unwrap().unwrap();
        let live = store.batch_list_live_attempts(batch).await.unwrap();
        assert_eq!(live.iter().map(|(worker, _)| worker.as_str()).collect::<Vec<_>>(), ["w"]);
        let (revision, change, published) = (revision(), ChannelChange::default(), ids[3]);
        assert!(store.revision_insert(&revision, &change, &[published]).await.unwrap());

        let page =
            |change, after, limit, now| store.batch_change_page(batch, change, after, limit, now);
        let (cancel, retry) = (BatchBuildChange::Cancel, BatchBuildChange::Retry);
        let first = page(cancel, BuildId(0), 2, NOW).await.unwrap();
        assert_eq!(first, Some((2, ids[1])));
        let second = page(cancel, ids[1], 2, NOW).await.unwrap();
        assert_eq!(second, Some((1, ids[2])), "published builds are not cancelled");
        assert_eq!(page(cancel, ids[2], 2, NOW).await.unwrap(), None);
        assert!(store.batch_list_live_attempts(batch).await.unwrap().is_empty());
        for id in &ids {
            assert!(!store.build_is_open(*id).await.unwrap());
        }

        let first = page(retry, BuildId(0), 2, NOW + US).await.unwrap();
        assert_eq!(first, Some((2, ids[1])));
        let second = page(retry, ids[1], 9, NOW + US).await.unwrap();
        assert_eq!(second, Some((1, ids[2])));
        assert_eq!(page(retry, ids[2], 9, NOW + US).await.unwrap(), None);
        assert!(store.build_is_open(ids[0]).await.unwrap());
        assert!(!store.build_is_open(published).await.unwrap());
    })
    .await;
}

fn revision() -> Revision {
    Revision {
        target: "lab".into(),
        channel: "testing".into(),
        revision: 1,
        snapshot: digest("snapshot"),
        packages: 1,
        at: NOW,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_build_of_a_batch_is_counted_in_one_place() {
    on_both(|store| async move {
        let ids = start(&store, &["a", "b", "c", "d", "e", "f"], "").await;
        let batch = batch_of(&store, ids[0]).await;
        for build in [ids[1], ids[2]] {
            add_srpm(&store, build, &srpm("p-1-1.src")).await;
        }
        planned(&store, ids[1], &import(NOW), BUILD).await;
        ready(&store, ids[2], &import(NOW), BUILD).await;
        let failure = Failure::new(Fault::Package, FailureStage::Import, "no spec");
        assert!(store.failure_insert(ids[3], None, &failure, None, NOW).await.unwrap());
        assert!(store.build_cancel(ids[4], NOW + US).await.unwrap());
        assert!(
            store.revision_insert(&revision(), &ChannelChange::default(), &[ids[5]]).await.unwrap()
        );

        let counts = BatchCounts {
            builds: 6,
            without_srpm: 1,
            waiting: 1,
            building: 1,
            finishing: 0,
            published: 1,
            failed: 1,
            cancelled: 1,
        };
        let counted = store.batch_count_builds(&[batch, BatchId(99)]).await.unwrap();
        assert_eq!(counted, [(batch, counts)]);
        assert_eq!(counts.open(), 3);
        let lost = store.batch_list_lost(batch, 9).await.unwrap();
        let lost: Vec<_> =
            lost.into_iter().map(|lost| (lost.build, lost.at, lost.failure)).collect();
        assert_eq!(lost, [(ids[3], NOW, Some(failure)), (ids[4], NOW + US, None)]);
        assert_eq!(store.batch_list_lost(batch, 1).await.unwrap().len(), 1);
        assert_eq!(store.batch_fetch_last_end(batch).await.unwrap(), Some(NOW + US));
        let left = WorkLeft { known: Duration::ZERO, unknown: 3 };
        assert_eq!(store.batch_fetch_work_left(batch).await.unwrap(), left);
        assert_eq!(store.batch_fetch_work_done(batch).await.unwrap(), Duration::ZERO);
        assert_eq!(store.batch_fetch_last_end(BatchId(99)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_srpm_of_each_package_is_found() {
    on_both(|store| async move {
        let mut made = Vec::new();
        for (package, nevra) in
            [("a", "a-1-1.src"), ("a", "a-2-1.src"), ("b", "b-1-1.src"), ("a", "")]
        {
            let build = start(&store, &[package], "").await[0];
            if !nevra.is_empty() {
                add_srpm(&store, build, &srpm(nevra)).await;
            }
            made.push(build);
        }
        let newest = store.srpm_list_newest("lab", &["a", "b", "c"]).await.unwrap();
        let mut found: Vec<_> = newest
            .iter()
            .map(|(package, srpm)| (package.as_str(), srpm.nevra.to_string()))
            .collect();
        found.sort();
        assert_eq!(found, [("a", "a-2-1.src".to_owned()), ("b", "b-1-1.src".to_owned())]);
        assert!(store.srpm_list_newest("other", &["a"]).await.unwrap().is_empty());
        let listed = store.srpm_list(&made).await.unwrap();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed[&made[0]].nevra.to_string(), "a-1-1.src");
        assert!(store.srpm_list(&[]).await.unwrap().is_empty());
    })
    .await;
}
