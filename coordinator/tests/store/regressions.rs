//! Bugs of the store that the simulation found: a test for each, on SQLite and PostgreSQL.

use std::time::Duration;

use rpmfarm_coordinator::store::{ChannelChange, NewPackage, NewTask, ReadyQueue, Revision};
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::status::CountedState;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{Arch, Failure, FailureStage, Fault};

use super::common::on_both;
use super::{NOW, US, digest, ready, start};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn down() -> Failure {
    Failure::new(Fault::Farm, FailureStage::Resolve, "repository down")
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_that_a_lost_attempt_found_are_locked_for_the_next_one() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let first = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let (id, epoch) = (first.id, first.epoch);
        store.round_insert(task, id, 0, &["a".into()], NOW).await.unwrap();
        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        assert!(store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty(), "nobody waits for them");

        let second = store.attempt_grant(task, build, "w2", NOW).await.unwrap().expect("granted");
        // This attempt has requested nothing yet, and may need something else, whatever else
        // becomes known of the build.
        let other = NewTask { kind: TaskKind::Build, arch: Arch::Aarch64 };
        store.task_insert(build, &[other], NOW).await.unwrap();
        assert!(store.round_list_to_lock(NOW).await.unwrap().is_empty(), "it has not asked");
        let id = second.id;
        store.round_insert(task, id, 0, &["b".into()], NOW).await.unwrap();
        let rounds = store.round_list_to_lock(NOW).await.unwrap();
        assert_eq!(
            rounds.iter().map(|(task, round)| (task.id, *round)).collect::<Vec<_>>(),
            [(task, 0)]
        );
        assert_eq!(store.round_list(task).await.unwrap(), [["b"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_neither_delays_a_retry_nor_turns_the_order_round() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let late = NOW + DAY;
        let again = Some(late + SECOND);
        assert!(store.failure_insert(build, Some(task), &down(), again, late).await.unwrap());
        assert_eq!(store.ready_task_insert_due(late, 9).await.unwrap(), 0);
        assert!(store.task_list_to_dispatch(9).await.unwrap().is_empty(), "it waits a second");
        assert_eq!(store.ready_task_insert_due(NOW, 9).await.unwrap(), 1);
        assert_eq!(store.task_list_to_dispatch(9).await.unwrap().len(), 1, "not a day");

        assert!(store.build_cancel(build, late).await.unwrap());
        assert!(store.build_retry(build, NOW).await.unwrap());
        let cancelled = store.build_cancelled_at(build).await.unwrap();
        let retried = store.build_retried_at(build).await.unwrap();
        assert!(retried > cancelled, "{retried:?} is after {cancelled:?}");
        assert!(store.failure_list(build, retried).await.unwrap().is_empty());
        let package = Failure::new(Fault::Package, FailureStage::Build, "does not compile");
        assert!(store.failure_insert(build, Some(task), &package, None, NOW).await.unwrap());
        assert_eq!(store.failure_list(build, retried).await.unwrap().len(), 1, "it counts");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clock_that_jumped_back_pauses_are_kept_again() {
    on_both(|store| async move {
        // One failure is from a clock of tomorrow, the next ones are from the right one.
        let (build, task) = ready(&store, TaskKind::Build).await;
        let tomorrow = NOW + DAY;
        let again = Some(tomorrow + SECOND);
        assert!(store.failure_insert(build, Some(task), &down(), again, tomorrow).await.unwrap());
        let again = Some(NOW + 5 * SECOND);
        assert!(store.failure_insert(build, Some(task), &down(), again, NOW).await.unwrap());
        assert_eq!(store.ready_task_insert_due(NOW, 9).await.unwrap(), 0);
        assert!(store.task_list_to_dispatch(9).await.unwrap().is_empty(), "it waits 5 s");
        assert_eq!(store.ready_task_insert_due(NOW + 5 * SECOND, 9).await.unwrap(), 1);
        let head = store.ready_task_list_first(&ReadyQueue::builds("x86_64", ""), 9).await.unwrap();
        assert_eq!(head[0].retry, Some(NOW + 5 * SECOND));

        let build = start(&store, &["hello"], "").await[0];
        let gone = Failure::new(Fault::Farm, FailureStage::Import, "no route");
        let again = Some(tomorrow + SECOND);
        assert!(store.failure_insert(build, None, &gone, again, tomorrow).await.unwrap());
        let again = Some(NOW + 5 * SECOND);
        assert!(store.failure_insert(build, None, &gone, again, NOW).await.unwrap());
        assert!(store.build_list_to_import(NOW).await.unwrap().is_empty(), "it waits 5 s");
        assert_eq!(store.build_list_to_import(NOW + 5 * SECOND).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_make_the_same_files_share_them() {
    on_both(|store| async move {
        let package = NewPackage {
            nevra: "hello-2.12-1.src".parse().unwrap(),
            digest: digest("srpm"),
            size: 5,
            repodata: digest("xml"),
        };
        let file = ResultFile {
            name: "hello-2.12-1.src.rpm".into(),
            kind: ResultKind::Srpm,
            digest: package.digest,
            size: 5,
        };
        let made = Outcome::Succeeded(Success { files: vec![file], ..Success::default() });
        let mut builds = Vec::new();
        for _ in 0..2 {
            let (build, task) = ready(&store, TaskKind::Srpm).await;
            let attempt =
                store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
            let (id, epoch) = (attempt.id, attempt.epoch);
            assert!(store.attempt_end_succeeded(id, epoch, &made, NOW).await.unwrap());
            let mut tx = store.write().await.unwrap();
            assert!(tx.acceptance_insert(task, id, 1, NOW).await.unwrap());
            let all = [package.clone()];
            tx.package_insert("lab", build, task, Arch::X86_64, &all).await.unwrap();
            tx.commit().await.unwrap();
            builds.push(build);
        }
        for build in builds {
            let rows = store.package_list_of_build(build, "k").await.unwrap();
            assert_eq!(rows.len(), 1, "build {build}");
            assert_eq!(rows[0].package.digest, package.digest);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_while_it_was_published_is_not_published() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Build).await;
        let revision = Revision {
            target: "lab".into(),
            channel: "testing".into(),
            revision: 1,
            snapshot: digest("snapshot"),
            packages: 3,
            at: NOW,
        };
        assert!(store.build_cancel(build, NOW).await.unwrap());
        assert!(
            !store
                .revision_insert(&revision, &ChannelChange::nothing_since(0), &[build])
                .await
                .unwrap()
        );
        assert_eq!(
            store.channel_fetch("lab", "testing").await.unwrap(),
            None,
            "nothing is recorded"
        );
        assert_eq!(store.publication_fetch(build).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_was_cancelled_once_and_then_failed_counts_as_failed() {
    on_both(|store| async move {
        let build = start(&store, &["hello"], "").await[0];
        assert!(store.build_cancel(build, NOW).await.unwrap());
        let count = async |state: CountedState| {
            let all = store.build_count_by_state().await.unwrap();
            all.into_iter().find(|(name, _)| *name == state).unwrap().1
        };
        assert_eq!(
            (count(CountedState::Cancelled).await, count(CountedState::Failed).await),
            (1, 0)
        );
        assert!(store.build_retry(build, NOW + US).await.unwrap());
        assert!(store.failure_insert(build, None, &down(), None, NOW + 2 * US).await.unwrap());
        assert_eq!(
            (count(CountedState::Cancelled).await, count(CountedState::Failed).await),
            (0, 1)
        );
    })
    .await;
}
