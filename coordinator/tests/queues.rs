//! Queues and the indexes of the stages, the same tests on SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::time::Duration;

use common::builds::{self, import, new_build};
use common::on_both;
use rpmfarm_coordinator::store::{
    Attempt, BatchScope, Grant, NewBuild, NewTask, ReadyQueue, Store,
};
use rpmfarm_core::batch::BatchLine;
use rpmfarm_core::learned_needs::{Forecast, WorkerResources};
use rpmfarm_core::placement::HeldTask;
use rpmfarm_core::queue::{PriorityClass, Rank};
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_core::{
    Arch, BuildId, Epoch, Failure, FailureStage, Fault, Needs, Sha256, TaskId, Timestamp,
};

const NOW: Timestamp = Timestamp::from_us(1_000_000_000_000);
const US: Duration = Duration::from_micros(1);
const X86: &str = "x86_64";
const HAD: WorkerResources = WorkerResources { memory_mib: 4500, disk_mib: 8 };

/// Asks for builds and takes each to a task that waits for a worker.
async fn ready(
    store: &Store,
    submitter: &str,
    class: PriorityClass,
    count: usize,
) -> Vec<(BuildId, TaskId)> {
    let builds: Vec<NewBuild> = (0..count)
        .map(|number| NewBuild { class, ..new_build("lab", &format!("p{number}")) })
        .collect();
    let ids = store.build_insert(&builds, submitter, "", NOW).await.unwrap().ids;
    let mut tasks = Vec::new();
    for build in ids {
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        tasks.push((build, builds::ready(store, build, &import(NOW), task).await));
    }
    tasks
}

/// The tasks of the queue, the next one first.
async fn queue(store: &Store) -> Vec<TaskId> {
    let head = store.ready_task_list_first(&ReadyQueue::builds(X86, ""), 1000).await.unwrap();
    head.into_iter().map(|ready| ready.task).collect()
}

fn grant_of(build: BuildId, task: TaskId, takes_place_of: Option<(TaskId, BuildId)>) -> Grant {
    Grant { task, build, worker: "w".into(), had: HAD, takes_place_of }
}

async fn grant(store: &Store, tasks: &[(BuildId, TaskId)]) -> Vec<Attempt> {
    let grants: Vec<Grant> =
        tasks.iter().map(|(build, task)| grant_of(*build, *task, None)).collect();
    store.attempt_grant_all(&grants, NOW).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_tasks_go_first_and_submitters_take_turns() {
    on_both(|store| async move {
        let mass = ready(&store, "robot", PriorityClass::Mass, 3).await;
        let of_ann = ready(&store, "ann", PriorityClass::Interactive, 2).await;
        let of_bob = ready(&store, "bob", PriorityClass::Interactive, 2).await;
        let security = ready(&store, "bob", PriorityClass::Security, 1).await;
        let order: Vec<TaskId> =
            [security[0], of_ann[0], of_bob[0], of_ann[1], of_bob[1], mass[0], mass[1], mass[2]]
                .iter()
                .map(|(_, task)| *task)
                .collect();
        assert_eq!(queue(&store).await, order);
        assert_eq!(store.build_fetch(security[0].0).await.unwrap().unwrap().priority, "security");
        let counted = store.queue_list().await.unwrap();
        let counted: Vec<_> = counted
            .iter()
            .map(|queue| (queue.arch.as_str(), queue.priority.as_str(), queue.tasks))
            .collect();
        let expected = [(X86, "interactive", 4), (X86, "mass", 3), (X86, "security", 1)];
        assert_eq!(counted, expected);
        assert!(store.queue_list().await.unwrap().iter().all(|queue| queue.oldest == NOW));
        assert_eq!(store.ready_queue_list().await.unwrap(), [ReadyQueue::builds(X86, "")]);
        let head = store.ready_task_list_first(&ReadyQueue::builds(X86, ""), 2).await.unwrap();
        assert_eq!(head.len(), 2);
        assert_eq!(head[1].target, "lab");
        let next = store
            .ready_task_list_after(
                &ReadyQueue::builds(X86, ""),
                Some((head[1].rank, head[1].task)),
                2,
            )
            .await
            .unwrap();
        assert_eq!(next.iter().map(|ready| ready.task).collect::<Vec<_>>(), [order[2], order[3]]);
        let last = store
            .ready_task_list_first(&ReadyQueue::builds(X86, ""), 99)
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert!(
            store
                .ready_task_list_after(
                    &ReadyQueue::builds(X86, ""),
                    Some((last.rank, last.task)),
                    2
                )
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

/// Says how urgent tasks are, in seconds.
async fn set_urgencies(store: &Store, tasks: &[(BuildId, TaskId)], seconds: &[u64]) {
    let mut tx = store.write().await.unwrap();
    for ((_, task), seconds) in tasks.iter().zip(seconds) {
        tx.task_set_urgency(*task, Duration::from_secs(*seconds)).await.unwrap();
    }
    tx.commit().await.unwrap();
    store.reindex(tasks.iter().map(|(build, _)| *build), NOW).await.unwrap();
}

/// The tasks of the queue with their places, the next one first.
async fn places(store: &Store) -> Vec<(TaskId, Rank)> {
    let head = store.ready_task_list_first(&ReadyQueue::builds(X86, ""), 1000).await.unwrap();
    head.into_iter().map(|ready| (ready.task, ready.rank)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_urgent_of_a_batch_are_found_and_those_of_another_class_are_not_among_them() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Mass, 5).await;
        let alone = ready(&store, "ann", PriorityClass::Mass, 1).await;
        set_urgencies(&store, &tasks, &[1, 7, 3, 7, 9]).await;
        let raised = tasks[4].0;
        assert!(store.build_set_priority(raised, PriorityClass::Security, NOW + US).await.unwrap());
        let queue = ReadyQueue::builds(X86, "");
        let head = store.ready_task_list_first(&queue, 9).await.unwrap();
        let batch = store.build_fetch(tasks[0].0).await.unwrap().unwrap().batch;
        let line = |class| Some(BatchLine { batch, class });
        let of = |task: TaskId| head.iter().find(|ready| ready.task == task).unwrap();
        assert_eq!(of(tasks[4].1).line().unwrap(), line(PriorityClass::Security));
        assert_eq!(of(tasks[0].1).line().unwrap(), line(PriorityClass::Mass));
        assert_eq!(of(alone[0].1).line().unwrap(), None);
        assert_eq!(of(tasks[2].1).urgency, Duration::from_secs(3));
        let line = line(PriorityClass::Mass).unwrap();
        let urgent = store.ready_task_list_urgent(&queue, line, 3).await.unwrap();
        let urgent: Vec<TaskId> = urgent.into_iter().map(|ready| ready.task).collect();
        assert_eq!(urgent, [1, 3, 2].map(|index: usize| tasks[index].1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_batch_swap_their_places_and_keep_them_over_tries() {
    on_both(|store| async move {
        let ann = ready(&store, "ann", PriorityClass::Interactive, 3).await;
        let bob = ready(&store, "bob", PriorityClass::Interactive, 3).await;
        let before = places(&store).await;
        let rank = |task: TaskId| before.iter().find(|(known, _)| *known == task).unwrap().1;
        let order = [ann[0].1, bob[0].1, ann[1].1, bob[1].1, ann[2].1, bob[2].1];
        assert_eq!(before, order.map(|task| (task, rank(task))));

        let (build, task) = ann[2];
        let swap = grant_of(build, task, Some((ann[0].1, ann[0].0)));
        let attempts = store.attempt_grant_all(&[swap], NOW).await.unwrap();
        assert_eq!(attempts.len(), 1);
        let own = |task| (task, rank(task));
        let mut after = vec![
            own(bob[0].1),
            own(ann[1].1),
            own(bob[1].1),
            (ann[0].1, rank(task)),
            own(bob[2].1),
        ];
        assert_eq!(
            places(&store).await,
            after,
            "the other one has its place, and nobody else moved"
        );

        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        let (id, epoch) = (attempts[0].id, attempts[0].epoch);
        assert!(store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        store.reindex([ann[0].0], NOW).await.unwrap();
        after.insert(0, (task, rank(ann[0].1)));
        assert_eq!(places(&store).await, after);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_keeps_its_place_when_the_other_one_is_gone() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Interactive, 4).await;
        let before = places(&store).await;
        assert!(store.build_cancel(tasks[0].0, NOW).await.unwrap());
        let takes = |index: usize, of: usize| {
            grant_of(tasks[index].0, tasks[index].1, Some((tasks[of].1, tasks[of].0)))
        };
        // One task of the first pair is gone, one of the second pair stays.
        let grants = [takes(1, 0), takes(3, 2)];
        assert_eq!(store.attempt_grant_all(&grants, NOW).await.unwrap().len(), 2);
        assert_eq!(places(&store).await, [(tasks[2].1, before[3].1)]);
        for attempt in store.attempt_list_live(None).await.unwrap() {
            let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
            let (id, epoch) = (attempt.id, attempt.epoch);
            assert!(store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        }
        let expected =
            [(tasks[1].1, before[1].1), (tasks[3].1, before[2].1), (tasks[2].1, before[3].1)];
        assert_eq!(places(&store).await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_was_worked_off_is_nobodys_debt() {
    on_both(|store| async move {
        let mass = ready(&store, "robot", PriorityClass::Interactive, 6).await;
        assert_eq!(grant(&store, &mass[..4]).await.len(), 4);
        // A new submitter begins at the queue's present position, not at its beginning.
        let fresh = ready(&store, "ann", PriorityClass::Interactive, 2).await;
        let order = [mass[4].1, fresh[0].1, mass[5].1, fresh[1].1];
        let mut got = queue(&store).await;
        // The line of `robot` stands one share further than the newcomer's start.
        got[..2].sort_unstable();
        got[2..].sort_unstable();
        assert_eq!(got, {
            let mut order = order;
            order[..2].sort_unstable();
            order[2..].sort_unstable();
            order
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_grants_are_one_transaction_with_the_fence_of_each() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Interactive, 5).await;
        assert!(store.build_cancel(tasks[1].0, NOW).await.unwrap());
        // One is cancelled, one is named twice, one is not there.
        let mut wanted = tasks.clone();
        wanted.push(tasks[0]);
        wanted.push((tasks[0].0, TaskId(999)));
        let attempts = grant(&store, &wanted).await;
        let granted: Vec<TaskId> = attempts.iter().map(|attempt| attempt.task).collect();
        let expected = [0, 2, 3, 4].map(|index: usize| tasks[index].1);
        assert_eq!(granted, expected);
        assert!(attempts.iter().all(|attempt| attempt.epoch == Epoch(1)));
        assert!(grant(&store, &tasks).await.is_empty(), "all are held");
        assert!(queue(&store).await.is_empty());
        assert_eq!(store.lease_list().await.unwrap().len(), 4);
        assert_eq!(store.worker_list_with_leases().await.unwrap(), ["w"]);

        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        let (id, epoch) = (attempts[0].id, attempts[0].epoch);
        assert!(store.attempt_end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        assert_eq!(queue(&store).await, [tasks[0].1]);
        assert_eq!(store.worker_list_failed_task(tasks[0].1).await.unwrap(), ["w"]);
        let again = grant(&store, &tasks).await;
        assert_eq!((again.len(), again[0].epoch), (1, Epoch(2)));
        assert!(again[0].id > attempts[3].id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_keeps_its_place_over_tries() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Interactive, 3).await;
        let rank =
            store.ready_task_list_first(&ReadyQueue::builds(X86, ""), 1).await.unwrap()[0].rank;
        let attempt = grant(&store, &tasks[..1]).await.remove(0);
        let lost = Failure::new(Fault::Worker, FailureStage::Lease, "not heard");
        let (id, epoch) = (attempt.id, attempt.epoch);
        store.attempt_end_failed(id, epoch, &lost, Some(NOW + 9 * US), NOW + 9 * US).await.unwrap();
        let head = store.ready_task_list_first(&ReadyQueue::builds(X86, ""), 1).await.unwrap();
        assert_eq!((head[0].task, head[0].rank, head[0].tries), (tasks[0].1, rank, 1));
    })
    .await;
}

/// Whatever happens, a build is with the stages that its facts say, and with no other.
#[tokio::test(flavor = "multi_thread")]
async fn every_stage_sees_its_work_and_no_more() {
    on_both(|store| async move {
        let seen = async |now: Timestamp| {
            (
                store.build_list_to_import(now).await.unwrap().len(),
                store.build_list_to_plan().await.unwrap().len(),
                store.batch_list_to_order(now).await.unwrap().len(),
                store.task_list_to_dispatch(9).await.unwrap().len(),
                store.attempt_list_to_accept(now).await.unwrap().len(),
                store.build_list_accepted().await.unwrap().len(),
            )
        };
        let build =
            store.build_insert(&[new_build("lab", "a")], "ann", "", NOW).await.unwrap().ids[0];
        assert_eq!(seen(NOW).await, (1, 0, 0, 0, 0, 0));
        let down = Failure::new(Fault::Farm, FailureStage::Import, "no route");
        store.failure_insert(build, None, &down, Some(NOW + 5 * US), NOW).await.unwrap();
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 0, 0));
        assert_eq!(seen(NOW + 5 * US).await, (1, 0, 0, 0, 0, 0));
        store.import_insert(build, &import(NOW)).await.unwrap();
        assert_eq!(seen(NOW).await, (0, 1, 0, 0, 0, 0));
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        store.task_insert(build, &[task], NOW).await.unwrap();
        assert_eq!(seen(NOW).await, (0, 0, 1, 0, 0, 0));
        let task = store.task_list(build).await.unwrap()[0].id;
        store.lock_insert(task, 0, Sha256::compute(b"l"), NOW).await.unwrap();
        assert_eq!(seen(NOW).await, (0, 0, 0, 1, 0, 0));
        let attempt = store.attempt_grant(task, build, "w", NOW).await.unwrap().expect("granted");
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 0, 0));
        let id = attempt.id;
        store.round_insert(task, id, 0, &["x".into()], NOW).await.unwrap();
        assert_eq!(store.round_list_to_lock(NOW).await.unwrap().len(), 1);
        store.lock_insert(task, 1, Sha256::compute(b"m"), NOW).await.unwrap();
        assert_eq!(store.round_list_to_lock(NOW).await.unwrap().len(), 0);
        let outcome = Outcome::Succeeded(Success::default());
        assert!(store.attempt_end_succeeded(id, attempt.epoch, &outcome, NOW).await.unwrap());
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 1, 0));
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(task, id, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 0, 1));
        let scope = BatchScope::Builds(&[build]);
        let row = store.batch_member_list(scope).await.unwrap().remove(0);
        assert_eq!((row.is_open, row.is_accepted), (true, true), "nobody waits for it any more");
        assert!(store.build_cancel(build, NOW).await.unwrap());
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 0, 0));
        assert!(store.build_retry(build, NOW + US).await.unwrap());
        assert_eq!(seen(NOW).await, (0, 0, 0, 0, 0, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_made_urgent_overtakes() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Mass, 3).await;
        let (build, task) = tasks[2];
        assert!(store.build_set_priority(build, PriorityClass::Security, NOW + US).await.unwrap());
        assert_eq!(queue(&store).await, [task, tasks[0].1, tasks[1].1]);
        assert_eq!(store.build_fetch(build).await.unwrap().unwrap().priority, "security");
        let place = store.queue_position_fetch(tasks[1].1).await.unwrap().expect("it waits");
        assert_eq!((place.arch, place.ahead, place.known), (Arch::X86_64, 2, 0));
        store.build_cancel(build, NOW + 2 * US).await.unwrap();
        assert!(
            !store.build_set_priority(build, PriorityClass::Mass, NOW + 3 * US).await.unwrap(),
            "it has ended"
        );
        assert!(store.queue_position_fetch(task).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_have_a_queue_of_their_own_and_are_learned() {
    on_both(|store| async move {
        let tasks = ready(&store, "ann", PriorityClass::Interactive, 2).await;
        let needs = Needs { memory_mib: 32 << 10, label: "ssd".into(), ..Needs::default() };
        store.task_set_needs(tasks[0].1, &needs, NOW).await.unwrap();
        assert_eq!(queue(&store).await, [tasks[1].1]);
        let queues = store.ready_queue_list().await.unwrap();
        assert_eq!(queues[1], ReadyQueue::builds(X86, &needs.to_string()));
        let head = store
            .ready_task_list_first(&ReadyQueue::builds(X86, &needs.to_string()), 9)
            .await
            .unwrap();
        assert_eq!(head[0].task, tasks[0].1);

        let attempt = grant(&store, &tasks[..1]).await.remove(0);
        assert_eq!(
            store.lease_list().await.unwrap(),
            [("w".to_owned(), attempt.id, HeldTask { needs: needs.clone(), srpm: false })]
        );
        let success = Success { memory_mib: 4000, disk_mib: 1, ..Success::default() };
        let (id, epoch) = (attempt.id, attempt.epoch);
        let outcome = Outcome::Succeeded(success);
        let took = Duration::from_secs(7);
        assert!(store.attempt_end_succeeded(id, epoch, &outcome, NOW + took).await.unwrap());
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(tasks[0].1, id, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let learned =
            store.learned_fetch("lab", "p0", Arch::X86_64, TaskKind::Build).await.unwrap();
        let enough = WorkerResources { memory_mib: 4500, disk_mib: 7 };
        let expected = Forecast { took, memory_mib: 5000, disk_mib: 1, enough };
        assert_eq!(learned, expected);
        let none = store.learned_fetch("lab", "p1", Arch::X86_64, TaskKind::Build).await.unwrap();
        assert_eq!(none, Forecast::default());
        let known = store.learned_list_took("lab", &["p0", "p1"]).await.unwrap();
        assert_eq!(known, [("p0".to_owned(), took)].into());

        // A build of the same package waits again, and the tasks before it are known.
        let next = ready(&store, "ann", PriorityClass::Interactive, 2).await;
        let place = store.queue_position_fetch(next[1].1).await.unwrap().expect("it waits");
        assert_eq!((place.ahead, place.known, place.known_take), (2, 1, took));
        assert!(store.lease_list_running().await.unwrap().is_empty());
        let ends = store.attempt_list_ends_of_worker("w", Timestamp::ZERO, 9).await.unwrap();
        assert_eq!((ends.len(), ends[0].package.as_str()), (1, "p0"));
        assert!(!ends[0].built_elsewhere, "it is the one that built it");
        assert!(
            store
                .attempt_list_ends_of_worker("w", NOW + Duration::from_secs(8), 9)
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_and_an_admission_are_one_question_each() {
    on_both(|store| async move {
        let (_, task) = ready(&store, "ann", PriorityClass::Interactive, 1).await[0];
        store.lock_insert(task, 1, Sha256::compute(b"a second round"), NOW + US).await.unwrap();
        let assigned = store.assignment_fetch(task).await.unwrap().unwrap();
        assert_eq!((assigned.kind, assigned.arch), (TaskKind::Build, Arch::X86_64));
        assert_eq!((assigned.target.as_str(), assigned.package.as_str()), ("lab", "p0"));
        assert_eq!(assigned.lock.round, 1);
        assert_eq!(assigned.lock.digest, Sha256::compute(b"a second round"));
        assert_eq!((assigned.srpm, assigned.dynamic), (None, false));
        assert_eq!(store.assignment_fetch(TaskId(999)).await.unwrap(), None);

        assert_eq!(store.worker_fetch_admission("w").await.unwrap(), (None, Vec::new()));
        for (standing, reason) in [(Standing::Drained, "disk"), (Standing::Active, "mended")] {
            store.standing_set("w", standing, reason, NOW).await.unwrap().unwrap();
        }
        let (row, enrolled) = store.worker_fetch_admission("w").await.unwrap();
        assert_eq!(row, store.standing_fetch("w").await.unwrap());
        assert_eq!(row.unwrap().reason, "mended");
        assert!(enrolled.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_builds_of_one_target_hide_none_of_another() {
    on_both(|store| async move {
        let many: Vec<NewBuild> =
            (0..600).map(|number| new_build("el8", &format!("p{number}"))).collect();
        let many = store.build_insert(&many, "ann", "", NOW).await.unwrap().ids;
        let (late, early) = ([new_build("el9", "p0")], [new_build("el10", "p0")]);
        let late = store.build_insert(&late, "bob", "", NOW + 9 * US).await.unwrap().ids[0];
        let early = store.build_insert(&early, "bob", "", NOW - 9 * US).await.unwrap().ids[0];
        let found = store.build_list_to_import(NOW + 10 * US).await.unwrap();
        let found: Vec<BuildId> = found.iter().map(|build| build.id).collect();
        assert_eq!(found.first(), Some(&early), "the oldest of all comes first");
        assert_eq!(found.last(), Some(&late));
        let inner = &found[1..found.len() - 1];
        assert!(many.starts_with(inner) && (100..500).contains(&inner.len()), "{}", inner.len());
    })
    .await;
}
