//! Attempts: granted, fenced, accepted once, with their rounds and their announced files.

use rpmfarm_coordinator::store::{BatchScope, NewTask};
use rpmfarm_core::announce::AnnounceError;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, Epoch, Failure, FailureStage, Fault};

use crate::common::on_both;
use crate::{NOW, US, digest, ready, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_granted_once_and_its_epoch_only_rises() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        assert_eq!(store.task_list_to_dispatch(9).await.unwrap().len(), 1);
        let first = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        assert!(store.attempt_grant(task, build, "w2", NOW).await.unwrap().is_none(), "held by w1");
        assert!(store.task_list_to_dispatch(9).await.unwrap().is_empty());
        let live = store.attempt_list_live(Some("w1")).await.unwrap();
        assert_eq!((live.len(), live[0].id, live[0].build), (1, first.id, build));

        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        let (id, epoch) = (first.id, first.epoch);
        assert!(store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        let second =
            store.attempt_grant(task, build, "w2", NOW).await.unwrap().expect("granted again");
        assert!(second.epoch > first.epoch);

        // Reports of the first worker are fenced now, whichever epoch they name.
        for epoch in [first.epoch, second.epoch] {
            assert!(!store.attempt_end_succeeded(id, epoch, &succeeded(), NOW).await.unwrap());
        }
        let id = second.id;
        assert_eq!(store.lease_fetch_worker(id, first.epoch).await.unwrap(), None);
        let holder = store.lease_fetch_worker(id, second.epoch).await.unwrap();
        assert_eq!(holder, Some(("w2".to_owned(), build)));
        let former = store.attempt_fetch_worker(first.id).await.unwrap();
        assert_eq!(former.as_deref(), Some("w1"));
        let faults = store.worker_fault_list("w1", 5).await.unwrap();
        assert_eq!((faults.len(), faults[0].package.as_str()), (1, "hello"));
        assert_eq!(faults[0].failure, lost);
        assert!(store.worker_fault_list("w2", 5).await.unwrap().is_empty());
        assert!(store.attempt_end_succeeded(id, second.epoch, &succeeded(), NOW).await.unwrap());
        assert!(!store.attempt_end_succeeded(id, second.epoch, &succeeded(), NOW).await.unwrap());
        assert_eq!(store.attempt_list_to_accept(NOW).await.unwrap().len(), 1);
        assert!(
            store.task_list_to_dispatch(9).await.unwrap().is_empty(),
            "it waits for acceptance"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_is_accepted_and_nothing_after() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = attempt.id;
        store.attempt_end_succeeded(id, attempt.epoch, &succeeded(), NOW).await.unwrap();

        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(task, id, 1200, NOW).await.unwrap());
        drop(tx);
        assert!(
            store.acceptance_fetch(task).await.unwrap().is_none(),
            "not committed, not happened"
        );
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(task, id, 1200, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(!tx.acceptance_insert(task, AttemptId(77), 1, NOW).await.unwrap());
        drop(tx);
        assert_eq!(store.acceptance_fetch(task).await.unwrap(), Some((id, 1200, NOW)));
        assert!(store.attempt_grant(task, build, "w2", NOW).await.unwrap().is_none());
        assert!(store.attempt_list_to_accept(NOW).await.unwrap().is_empty());
        assert_eq!(store.build_list_accepted().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_takes_attempts_from_workers() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        assert!(store.build_cancel(build, NOW + US).await.unwrap());
        assert!(store.attempt_list_live(None).await.unwrap().is_empty());
        let id = attempt.id;
        assert!(!store.attempt_end_succeeded(id, attempt.epoch, &succeeded(), NOW).await.unwrap());
        assert!(store.attempt_grant(task, build, "w1", NOW).await.unwrap().is_none());
        assert_eq!(store.build_cancelled_at(build).await.unwrap(), Some(NOW + US));
        let attempts = store.attempt_list(task).await.unwrap();
        assert!(attempts[0].1.as_ref().is_some_and(|end| end.outcome.is_none()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_announces_its_files_within_bounds() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = attempt.id;
        let announce = async |text: &str, size| {
            store.upload_announce(id, (digest(text), size), 10, NOW).await.unwrap()
        };
        assert_eq!(announce("a", 6).await, Ok(()));
        assert_eq!(announce("a", 6).await, Ok(()), "the same again");
        assert_eq!(announce("b", 5).await, Err(AnnounceError::TooLarge { sum: 11, limit: 10 }));
        assert_eq!(announce("a", 7).await, Err(AnnounceError::Size { before: 6, now: 7 }));
        assert_eq!(announce("c", 4).await, Ok(()));
        assert_eq!(store.upload_list(id).await.unwrap().len(), 2);
        assert!(store.upload_list(AttemptId(attempt.id.0 + 1)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_requirements_wait_for_their_lock() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = attempt.id;
        let requires = vec!["python3dist(wheel)".to_owned()];
        for _ in 0..2 {
            store.round_insert(task, id, 0, &requires, NOW).await.unwrap();
        }
        store.round_insert(task, AttemptId(99), 1, &requires, NOW).await.unwrap();
        let rounds = store.round_list_to_lock(NOW).await.unwrap();
        assert_eq!((rounds.len(), rounds[0].1), (1, 0));
        assert_eq!(store.round_list(task).await.unwrap(), [requires]);
        store.lock_insert(task, 1, digest("wider"), NOW).await.unwrap();
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty());
        let lock = store.lock_fetch(task).await.unwrap().expect("a lock");
        assert_eq!((lock.round, lock.digest), (1, digest("wider")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_nobody_answered_is_taken_over_by_the_next_attempt() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let first = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let (id, epoch) = (first.id, first.epoch);
        store.round_insert(task, id, 0, &["a".into()], NOW).await.unwrap();
        assert_eq!(store.round_list_to_lock(NOW).await.unwrap().len(), 1);
        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap();
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty(), "nobody waits for it");

        let second =
            store.attempt_grant(task, build, "w2", NOW).await.unwrap().expect("granted again");
        let id = second.id;
        store.round_insert(task, id, 0, &["b".into()], NOW).await.unwrap();
        assert_eq!(
            store.round_list_to_lock(NOW).await.unwrap().len(),
            1,
            "the second waits for it"
        );
        assert_eq!(store.round_list(task).await.unwrap(), [["b"]]);
        // An answered round stays answered.
        store.lock_insert(task, 1, digest("wider"), NOW).await.unwrap();
        store.round_insert(task, id, 0, &["c".into()], NOW).await.unwrap();
        assert_eq!(store.round_list(task).await.unwrap(), [["b"]]);
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_repeats_the_architectures_that_failed() {
    on_both(|store| async move {
        let (build, first) = ready(&store, TaskKind::Build).await;
        let other = NewTask { kind: TaskKind::Build, arch: Arch::Aarch64 };
        store.task_insert(build, &[other], NOW).await.unwrap();
        let second = store.task_list(build).await.unwrap()[1].id;
        store.lock_insert(second, 0, digest("lock"), NOW).await.unwrap();
        let mut attempts = Vec::new();
        for (task, worker) in [(first, "w1"), (second, "w2")] {
            let attempt =
                store.attempt_grant(task, build, worker, NOW).await.unwrap().expect("granted");
            attempts.push((attempt.id, attempt.epoch));
        }
        let [(accepted, epoch), (failed, other)] = [attempts[0], attempts[1]];
        store.attempt_end_succeeded(accepted, epoch, &succeeded(), NOW).await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(first, accepted, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let failure = Failure::new(Fault::Package, FailureStage::Check, "1 test failed");
        assert!(store.attempt_end_failed(failed, other, &failure, None, NOW).await.unwrap());
        assert!(!store.build_is_open(build).await.unwrap());

        assert!(store.build_retry(build, NOW + US).await.unwrap());
        assert_eq!(store.acceptance_fetch(first).await.unwrap().map(|row| row.0), Some(accepted));
        assert!(
            store.attempt_grant(first, build, "w1", NOW + US).await.unwrap().is_none(),
            "it stays"
        );
        let again =
            store.attempt_grant(second, build, "w2", NOW + US).await.unwrap().expect("again");
        assert_eq!(again.epoch, Epoch(2));
        assert!(store.attempt_list_to_accept(NOW + US).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_findings_wait_for_the_batch_is_taken_back() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let task = store.task_fetch(task).await.unwrap().expect("there");
        let first = store.attempt_grant(task.id, build, "w1", NOW).await.unwrap().expect("granted");
        let id = first.id;
        assert!(!store.attempt_postpone(&task, 0, NOW).await.unwrap(), "it has found nothing");
        store.round_insert(task.id, id, 0, &["lib-devel".into()], NOW).await.unwrap();
        assert!(!store.attempt_postpone(&task, 1, NOW).await.unwrap(), "not in that round");

        assert!(store.attempt_postpone(&task, 0, NOW).await.unwrap());
        assert!(!store.attempt_postpone(&task, 0, NOW).await.unwrap(), "once");
        assert!(store.attempt_list_live(None).await.unwrap().is_empty(), "its place is free");
        assert_eq!(
            store.lock_fetch(task.id).await.unwrap(),
            None,
            "its lock does not count any more"
        );
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty());
        assert!(store.task_list_to_dispatch(9).await.unwrap().is_empty());
        assert!(store.failure_list(build, None).await.unwrap().is_empty(), "nobody failed");
        // The task waits for its turn in the batch, with the requirements that were found.
        let batch = store.batch_list_to_order(NOW).await.unwrap()[0].0;
        let row = async || store.batch_task_list(BatchScope::Whole(batch)).await.unwrap().remove(0);
        let waits = row().await;
        assert_eq!((waits.task.id, waits.lock, waits.rounds), (task.id, None, 1));
        assert_eq!(store.round_list(task.id).await.unwrap(), [["lib-devel"]]);

        // Its turn has come: the next attempt begins with the wider root.
        store.lock_insert(task.id, 1, digest("wider"), NOW).await.unwrap();
        assert_eq!(row().await.lock, Some(digest("wider")), "it waits no more");
        let second =
            store.attempt_grant(task.id, build, "w2", NOW).await.unwrap().expect("granted");
        let lock = store.lock_fetch(task.id).await.unwrap().expect("a lock");
        assert_eq!((lock.round, lock.digest), (1, digest("wider")));
        // A round with a lock is not requested again, whatever a worker reports.
        let id = second.id;
        for round in [0, 7] {
            store.round_insert(task.id, id, round, &["x".into()], NOW).await.unwrap();
        }
        assert_eq!(store.round_list(task.id).await.unwrap(), [["lib-devel"]]);
    })
    .await;
}
