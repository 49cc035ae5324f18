//! Builds: requested, failed, retried, cancelled, published.

use std::time::Duration;

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{
    BuildEnd, BuildFilter, ChannelChange, EndedFilter, NewBuild, Revision, Store,
};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, BuildOptions, Failure, FailureStage, Fault};
use sqlx::{Connection as _, SqliteConnection};

use crate::common::builds::new_build;
use crate::common::on_both;
use crate::{NOW, US, digest, ready, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_recorded_once() {
    on_both(|store| async move {
        let ids = start(&store, &["a", "b"], "key-1").await;
        assert_eq!(start(&store, &["a", "b"], "key-1").await, ids, "the same key, the same builds");
        assert_ne!(start(&store, &["a"], "key-2").await[0], ids[0]);

        let all = store.build_list(&BuildFilter { limit: 10, ..Default::default() }).await.unwrap();
        assert_eq!(all.len(), 3);
        assert!(all[0].id > all[1].id, "newest first");
        assert_eq!(all[1].batch, all[2].batch);
        let filter = BuildFilter { package: "b".into(), limit: 10, ..Default::default() };
        assert_eq!(store.build_list(&filter).await.unwrap().len(), 1);
        assert_eq!(store.build_list_to_import(NOW).await.unwrap().len(), 3);
        assert!(store.build_fetch(BuildId(99)).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_keeps_the_architectures_that_it_was_asked_for() {
    on_both(|store| async move {
        let new =
            |arches: &[Arch]| NewBuild { arches: arches.to_vec(), ..new_build("lab", "hello") };
        let asked = [Arch::Ppc64le, Arch::Aarch64];
        let builds = [new(&asked), new(&[])];
        let ids = store.build_insert(&builds, "tester", "", NOW).await.unwrap().ids;
        assert_eq!(store.build_fetch_arches(ids[0]).await.unwrap(), [Arch::Aarch64, Arch::Ppc64le]);
        assert!(store.build_fetch_arches(ids[1]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_keeps_its_options_through_failures_and_retries() {
    on_both(|store| async move {
        let options = BuildOptions {
            without: vec!["tests".into()],
            define: vec![("dist".into(), ".test".into())],
            nocheck: true,
            ..BuildOptions::default()
        };
        let builds = [NewBuild { options: options.clone(), ..new_build("lab", "a") }];
        let with = store.build_insert(&builds, "tester", "", NOW).await.unwrap().ids[0];
        let plain = start(&store, &["b"], "").await[0];
        let failure = Failure::new(Fault::Package, FailureStage::Import, "no spec");
        assert!(store.failure_insert(with, None, &failure, None, NOW).await.unwrap());
        assert!(store.build_retry(with, NOW + US).await.unwrap());
        assert_eq!(store.build_fetch_options(with).await.unwrap(), options);
        assert!(store.build_fetch_options(plain).await.unwrap().is_nothing());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_a_build_or_wait_and_retries_open_it_again() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let farm = Failure::new(Fault::Farm, FailureStage::Resolve, "repository down");
        assert!(
            store.failure_insert(build, Some(task), &farm, Some(NOW + 50 * US), NOW).await.unwrap()
        );
        assert!(store.task_list_to_dispatch(9).await.unwrap().is_empty());
        assert_eq!(store.ready_task_insert_due(NOW + 49 * US, 9).await.unwrap(), 0);
        assert!(
            store.attempt_grant(task, build, "w1", NOW).await.unwrap().is_none(),
            "it is not time"
        );
        assert_eq!(store.ready_task_insert_due(NOW + 50 * US, 9).await.unwrap(), 1);
        assert_eq!(store.task_list_to_dispatch(9).await.unwrap().len(), 1);

        let attempt =
            store.attempt_grant(task, build, "w1", NOW + 50 * US).await.unwrap().expect("granted");
        let package = Failure::new(Fault::Package, FailureStage::Build, "does not compile");
        let (id, epoch) = (attempt.id, attempt.epoch);
        assert!(store.attempt_end_failed(id, epoch, &package, None, NOW + 60 * US).await.unwrap());
        assert!(!store.build_is_open(build).await.unwrap());
        assert!(!store.failure_insert(build, None, &package, None, NOW + 61 * US).await.unwrap());
        assert!(!store.build_cancel(build, NOW + 62 * US).await.unwrap(), "it has ended");
        assert_eq!(store.failure_list(build, None).await.unwrap().len(), 2);

        assert!(store.build_retry(build, NOW + 70 * US).await.unwrap());
        assert!(!store.build_retry(build, NOW + 71 * US).await.unwrap(), "it is open");
        assert!(store.failure_list(build, Some(NOW + 70 * US)).await.unwrap().is_empty());
        assert_eq!(store.task_list_to_dispatch(9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_in_their_order_whatever_the_clock_does() {
    const DAY: Duration = Duration::from_secs(86_400);
    on_both(|store| async move {
        let build = start(&store, &["hello"], "").await[0];
        let failure = Failure::new(Fault::Farm, FailureStage::Import, "no answer");
        // A day ahead it fails for good and is retried; then the clock is set right.
        assert!(store.failure_insert(build, None, &failure, None, NOW + DAY).await.unwrap());
        assert!(store.build_retry(build, NOW + DAY).await.unwrap());
        assert!(store.failure_insert(build, None, &failure, Some(NOW + US), NOW).await.unwrap());
        assert!(
            store.failure_insert(build, None, &failure, Some(NOW + 2 * US), NOW).await.unwrap()
        );
        let since = store.build_retried_at(build).await.unwrap();
        assert_eq!(store.failure_list(build, since).await.unwrap().len(), 2, "they are after it");
        // A retry that waits for a time of a clock that was one day ahead is due now.
        let later = Some(NOW + DAY + Duration::from_secs(2));
        assert!(store.failure_insert(build, None, &failure, later, NOW + DAY).await.unwrap());
        assert_eq!(store.build_list_to_import(NOW + DAY).await.unwrap().len(), 0, "it waits 2 s");
        assert_eq!(store.build_list_to_import(NOW).await.unwrap().len(), 1);
        assert!(store.build_cancel(build, NOW).await.unwrap());
        assert!(store.build_cancelled_at(build).await.unwrap() > since);
        assert!(store.build_retry(build, NOW).await.unwrap());
        let retried = store.build_retried_at(build).await.unwrap();
        assert!(retried > store.build_cancelled_at(build).await.unwrap());
        assert_eq!(store.failure_list(build, retried).await.unwrap().len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_only_go_forward() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Build).await;
        let revision = |number| Revision {
            target: "lab".into(),
            channel: "testing".into(),
            revision: number,
            snapshot: digest("snapshot"),
            packages: 3,
            at: NOW,
        };
        let since = ChannelChange::nothing_since;
        assert!(store.revision_insert(&revision(1), &since(0), &[build]).await.unwrap());
        let same = start(&store, &["same"], "").await[0];
        assert!(
            store.revision_insert(&revision(1), &since(1), &[same]).await.unwrap(),
            "it held this already"
        );
        assert!(!store.build_is_open(same).await.unwrap());
        assert!(store.revision_insert(&revision(2), &since(1), &[]).await.unwrap());
        assert!(!store.revision_insert(&revision(1), &since(2), &[]).await.unwrap(), "never back");
        assert_eq!(store.channel_fetch("lab", "testing").await.unwrap(), Some(revision(2)));
        assert_eq!(store.publication_fetch(build).await.unwrap().map(|row| row.revision), Some(1));
        assert!(!store.build_is_open(build).await.unwrap());
        assert!(!store.build_retry(build, NOW).await.unwrap(), "what is published stays");

        let (waits, given_up) =
            (start(&store, &["w"], "").await[0], start(&store, &["c"], "").await[0]);
        store.build_cancel(given_up, NOW).await.unwrap();
        let of = async |ended| {
            let filter = BuildFilter { ended, limit: 10, ..Default::default() };
            let builds = store.build_list(&filter).await.unwrap();
            builds.iter().map(|build| build.id).collect::<Vec<_>>()
        };
        assert_eq!(of(EndedFilter::Open).await, [waits]);
        assert_eq!(of(EndedFilter::Ended(BuildEnd::Published)).await, [same, build]);
        assert_eq!(of(EndedFilter::Ended(BuildEnd::Cancelled)).await, [given_up]);
        assert_eq!(of(EndedFilter::Ended(BuildEnd::Failed)).await, []);
        assert_eq!(of(EndedFilter::Any).await.len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_listed_by_target_and_package_and_go_with_a_retry() {
    on_both(|store| async move {
        let builds = start(&store, &["a", "b", "a"], "").await;
        for build in &builds {
            store.build_cancel(*build, NOW).await.unwrap();
        }
        let of = async |target: &str, package: &str| {
            let ended = EndedFilter::Ended(BuildEnd::Cancelled);
            let (target, package) = (target.to_owned(), package.to_owned());
            let filter = BuildFilter { target, package, ended, limit: 10, ..Default::default() };
            let found = store.build_list(&filter).await.unwrap();
            found.iter().map(|build| build.id).collect::<Vec<_>>()
        };
        assert_eq!(of("", "").await, [builds[2], builds[1], builds[0]]);
        assert_eq!(of("lab", "").await.len(), 3);
        assert_eq!(of("other", "").await.len(), 0);
        assert_eq!(of("", "a").await, [builds[2], builds[0]]);
        assert_eq!(of("lab", "b").await, [builds[1]]);
        assert!(store.build_retry(builds[2], NOW).await.unwrap());
        assert_eq!(of("", "a").await, [builds[0]]);
        let counts = store.build_end_count().await.unwrap();
        assert!(counts.contains(&(BuildEnd::Cancelled, 2)), "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_an_older_coordinator_did_not_record_are_found_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    let store = Store::open(&url, Bus::default()).await.unwrap();
    let builds = start(&store, &["a", "b", "c"], "").await;
    for build in &builds[..2] {
        store.build_cancel(*build, NOW).await.unwrap();
    }
    store.close().await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let older = "DELETE FROM build_ends WHERE build = (SELECT MIN(build) FROM build_ends);
                 UPDATE counters SET value = value - 1 WHERE name = 'ended_cancelled'";
    sqlx::raw_sql(older).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = Store::open(&url, Bus::default()).await.unwrap();
    let ended = EndedFilter::Ended(BuildEnd::Cancelled);
    let filter = BuildFilter { ended, limit: 10, ..Default::default() };
    let found = store.build_list(&filter).await.unwrap();
    assert_eq!(found.iter().map(|build| build.id).collect::<Vec<_>>(), [builds[1], builds[0]]);
    assert!(store.build_end_count().await.unwrap().contains(&(BuildEnd::Cancelled, 2)));
    store.close().await;
}
