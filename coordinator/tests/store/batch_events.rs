//! The events of batches, which say of which builds the facts must be read again; and the facts
//! that are read then.

use rpmfarm_coordinator::store::{BatchMemberRow, BatchScope, NewTask, Store};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BatchId, BuildId, Failure, FailureStage, Fault, TaskId};

use crate::common::builds::{import, srpm};
use crate::common::on_both;
use crate::{NOW, US, digest, start, succeeded};

async fn batch_of(store: &Store, build: BuildId) -> BatchId {
    store.build_fetch(build).await.unwrap().unwrap().batch
}

/// Records the source package of a build, with the task that comes with it.
async fn accept_srpm(store: &Store, build: BuildId) -> TaskId {
    let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
    let mut tx = store.write().await.unwrap();
    tx.srpm_insert(build, &srpm(&format!("p{build}-1-1.src"))).await.unwrap();
    tx.task_insert(build, &[task], NOW).await.unwrap();
    tx.commit().await.unwrap();
    store.task_list(build).await.unwrap()[0].id
}

async fn member(store: &Store, build: BuildId) -> BatchMemberRow {
    store.batch_member_list(BatchScope::Builds(&[build])).await.unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_facts_says_of_which_build() {
    on_both(|store| async move {
        let builds = start(&store, &["a", "b"], "").await;
        let batch = batch_of(&store, builds[0]).await;
        let events = async |after| store.batch_event_list(batch, after).await.unwrap();
        store.import_insert(builds[0], &import(NOW)).await.unwrap();
        assert_eq!(store.batch_head_list().await.unwrap(), [], "the order knows all of that");

        let task = accept_srpm(&store, builds[0]).await;
        assert_eq!(events(0).await, [(1, builds[0])], "one transaction is one event");
        store.lock_insert(task, 0, digest("lock"), NOW).await.unwrap();
        // A transaction that is rolled back writes no event.
        let mut tx = store.write().await.unwrap();
        tx.srpm_insert(builds[1], &srpm("b-1-1.src")).await.unwrap();
        drop(tx);
        assert!(store.build_cancel(builds[1], NOW).await.unwrap());
        assert!(store.build_retry(builds[1], NOW).await.unwrap());
        let all = [(2, builds[0]), (3, builds[1]), (4, builds[1])];
        assert_eq!(events(1).await, all);
        assert_eq!(store.batch_head_list().await.unwrap(), [(batch, 4)]);

        let attempt = store.attempt_grant(task, builds[0], "w", NOW).await.unwrap().unwrap();
        let (id, epoch) = (attempt.id, attempt.epoch);
        assert!(store.attempt_end_succeeded(id, epoch, &succeeded(), NOW).await.unwrap());
        assert_eq!(events(4).await, [], "a lock is all that the order knows of an attempt");
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(task, id, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let gone = Failure::new(Fault::Farm, FailureStage::Resolve, "no route");
        store.failure_insert(builds[1], None, &gone, Some(NOW + US), NOW).await.unwrap();
        assert_eq!(events(4).await, [(5, builds[0]), (6, builds[1])]);

        assert!(!store.batch_event_delete(batch, 5).await.unwrap(), "there is a newer one");
        assert!(store.batch_event_delete(batch, 6).await.unwrap());
        assert_eq!((events(0).await, store.batch_head_fetch(batch).await.unwrap()), (vec![], 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_without_gaps_whoever_writes_beside() {
    on_both(|store| async move {
        let names: Vec<String> = (0..12).map(|at| format!("p{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let builds = start(&store, &names, "").await;
        let batch = batch_of(&store, builds[0]).await;
        let mut works = tokio::task::JoinSet::new();
        for build in builds.clone() {
            let store = store.clone();
            works.spawn(async move { accept_srpm(&store, build).await });
        }
        works.join_all().await;
        let events = store.batch_event_list(batch, 0).await.unwrap();
        let numbers: Vec<i64> = events.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        let mut changed: Vec<BuildId> = events.into_iter().map(|(_, build)| build).collect();
        changed.sort_unstable();
        assert_eq!(changed, builds);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_say_where_members_and_tasks_are() {
    on_both(|store| async move {
        let builds = start(&store, &["a", "b"], "").await;
        let batch = batch_of(&store, builds[0]).await;
        for build in &builds {
            store.import_insert(*build, &import(NOW)).await.unwrap();
        }
        let row = member(&store, builds[0]).await;
        assert!(row.is_open && !row.has_srpm && !row.is_accepted && !row.is_claimed);
        let task = accept_srpm(&store, builds[0]).await;
        assert!(member(&store, builds[0]).await.has_srpm);
        let srpms = store.srpm_list(&builds).await.unwrap();
        assert_eq!(srpms.into_keys().collect::<Vec<_>>(), [builds[0]]);

        let tasks = store.batch_task_list(BatchScope::Whole(batch)).await.unwrap();
        assert_eq!(tasks.len(), 1);
        assert_eq!((tasks[0].task.id, tasks[0].lock, tasks[0].is_accepted), (task, None, false));
        let down = Failure::new(Fault::Farm, FailureStage::Resolve, "no route");
        let again = NOW + 5 * US;
        store.failure_insert(builds[0], Some(task), &down, Some(again), NOW).await.unwrap();
        let tasks = store.batch_task_list(BatchScope::Builds(&builds)).await.unwrap();
        assert_eq!(tasks[0].due, again);

        let nothing = Failure::new(Fault::Package, FailureStage::Resolve, "nothing provides x");
        store.failure_insert(builds[0], Some(task), &nothing, None, again).await.unwrap();
        let row = member(&store, builds[0]).await;
        assert!(!row.is_open && row.is_refused);
        assert!(row.failed >= again && row.retried.known().is_none());
        assert!(store.build_retry(builds[0], again + US).await.unwrap());
        let row = member(&store, builds[0]).await;
        assert!(row.is_open && row.retried > again);
        let whole = store.batch_member_list(BatchScope::Whole(batch)).await.unwrap();
        assert_eq!(whole.iter().map(|row| row.build.id).collect::<Vec<_>>(), builds);
    })
    .await;
}
