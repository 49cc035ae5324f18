//! When a worker is quarantined: over a real store, with workers that are connected to a real
//! fleet.

use std::time::Instant;

use rpmfarm_coordinator::clock::Now;
use rpmfarm_coordinator::dispatch::quarantine;
use rpmfarm_coordinator::store::Grant;
use rpmfarm_core::learned_needs::WorkerResources;
use rpmfarm_core::task::{Outcome, Success};
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_core::{Arch, BuildId, Failure, FailureStage, Fault, Needs, TaskId, Timestamp};

use super::placing::{NOW, Scene};
use crate::common::on_both;

fn now() -> Now {
    Now { instant: Instant::now(), time: NOW }
}

fn grant(worker: &str, task: TaskId, build: BuildId) -> Grant {
    let (worker, had) = (worker.to_owned(), WorkerResources::default());
    Grant { task, build, worker, had, takes_place_of: None }
}

impl Scene {
    /// A worker builds a task, and its results are accepted.
    async fn build(&self, worker: &str, (build, task): (BuildId, TaskId)) {
        let store = &self.farm.store;
        let attempt =
            store.attempt_grant_all(&[grant(worker, task, build)], NOW).await.unwrap().remove(0);
        let (id, epoch) = (attempt.id, attempt.epoch);
        let outcome = Outcome::Succeeded(Success::default());
        assert!(store.attempt_end_succeeded(id, epoch, &outcome, NOW).await.unwrap());
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(task, id, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let fleet = &self.farm.fleet;
        quarantine::after_acceptance(store, fleet, task, worker, now()).await.unwrap();
    }

    async fn standing(&self, worker: &str) -> Standing {
        let row = self.farm.store.standing_fetch(worker).await.unwrap();
        row.map_or(Standing::Active, |row| row.standing)
    }

    async fn workers_check(&self) -> (String, String) {
        let checks = self.farm.doctor().checks().await;
        let check = checks.into_iter().find(|check| check.name == "workers").unwrap();
        (check.level, check.message)
    }
}

/// Packages that fail on every worker take no worker from the farm; a success of another worker
/// shows whose fault a failure was; and the last worker of an architecture is never quarantined.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_another_worker_built_is_held_against_one_and_the_last_one_stays() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        scene.connect("w1", |_| {});
        scene.connect("w2", |_| {});
        let tasks = scene.tasks("lenient", Arch::X86_64, &Needs::default(), 8).await;
        // Four packages that fail on every worker, and are retried.
        for worker in ["w1", "w2"] {
            scene.fail(worker, &tasks[..4]).await;
            let farm = &scene.farm;
            quarantine::check(&farm.store, &farm.fleet, worker, now()).await.unwrap();
            assert_eq!(scene.standing(worker).await, Standing::Active, "nobody built them");
        }
        scene.build("w1", tasks[4]).await;

        scene.fail("w1", &tasks[5..]).await;
        for (task, expected) in
            tasks[5..].iter().zip([Standing::Active, Standing::Active, Standing::Quarantined])
        {
            scene.build("w2", *task).await;
            assert_eq!(scene.standing("w1").await, expected);
        }
        assert_eq!(scene.standing("w2").await, Standing::Active);
        let (level, message) = scene.workers_check().await;
        assert_eq!(level, "ok", "{message}");
        assert!(message.starts_with("1 of 2 known workers take work"), "{message}");
        assert!(message.contains("w1 is quarantined: it failed"), "{message}");

        // Now w2 fails tasks that a worker built which has left since: w2 is the last one, and
        // stays.
        let tasks = scene.tasks("lenient", Arch::X86_64, &Needs::default(), 4).await;
        scene.fail("w2", &tasks).await;
        for task in &tasks[..3] {
            scene.build("w0", *task).await;
        }
        assert_eq!(scene.standing("w2").await, Standing::Active);
        // With another one beside it, the next proof counts.
        scene.connect("w3", |_| {});
        scene.build("w3", tasks[3]).await;
        assert_eq!(scene.standing("w2").await, Standing::Quarantined);
        scene.farm.store.standing_set("w3", Standing::Drained, "", NOW).await.unwrap().unwrap();
        let (level, message) = scene.workers_check().await;
        assert_eq!(level, "error", "{message}");
        assert!(message.starts_with("0 of 3 known workers take work"), "{message}");
    })
    .await;
}

/// The last two are not taken by two decisions that are made at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_decisions_at_once_leave_a_worker() {
    on_both(|store| async move {
        let others = |name: &str| [vec![name.to_owned()]];
        assert!(store.standing_set_quarantined("a", &others("b"), "it failed", NOW).await.unwrap());
        assert!(
            !store.standing_set_quarantined("b", &others("a"), "it failed", NOW).await.unwrap()
        );
        assert!(store.standing_set_quarantined("b", &others("c"), "it failed", NOW).await.unwrap());
        assert!(!store.standing_set_quarantined("b", &others("c"), "again", NOW).await.unwrap());
    })
    .await;
}

/// A root that rpm refuses is tried by a second worker, and then it is the package's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_cannot_be_made_is_tried_twice() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        for name in ["w1", "w2", "w3"] {
            scene.connect(name, |_| {});
        }
        let (build, task) = scene.tasks("lenient", Arch::X86_64, &Needs::default(), 1).await[0];
        let cause = "the scriptlet %pre of a-1-1.noarch failed, exit status 1";
        let outcome =
            Outcome::Failed(Failure::new(Fault::Worker, FailureStage::Transaction, cause));
        let store = &scene.farm.store;
        for (worker, tries) in [("w1", true), ("w2", false)] {
            // The pause after earlier tries is over.
            store.ready_task_insert_due(Timestamp::from_us(i64::MAX / 2), 9).await.unwrap();
            let grants = [grant(worker, task, build)];
            assert_eq!(store.attempt_grant_all(&grants, NOW).await.unwrap().len(), 1);
            let live = store.attempt_list_live(Some(worker)).await.unwrap().remove(0);
            scene.farm.reports().end(store, &live, &outcome, NOW).await.unwrap();
            let last = store.failure_list(build, None).await.unwrap().pop().unwrap();
            assert_eq!(last.retry.is_some(), tries, "{:?}", last.failure);
            let fault = if tries { Fault::Worker } else { Fault::Package };
            assert_eq!(last.failure.fault, fault);
            assert!(last.failure.message.starts_with(cause), "{}", last.failure.message);
        }
    })
    .await;
}
