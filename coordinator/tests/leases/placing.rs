//! Which worker gets which task: passes over a real store, with workers that are connected to a
//! real fleet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_coordinator::clock::Now;
use rpmfarm_coordinator::fleet::WorkerSession;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::rpc::fleet;
use rpmfarm_coordinator::store::{Grant, NewBuild, NewTask, Store};
use rpmfarm_coordinator::work::LocalPass as _;
use rpmfarm_core::learned_needs::WorkerResources;
use rpmfarm_core::task::{TaskKind, WorkerState};
use rpmfarm_core::{Arch, BuildId, Failure, FailureStage, Fault, Needs, Sha256, TaskId, Timestamp};
use rpmfarm_lab::fixtures::{NOWHERE, TargetFile, worker};
use tempfile::TempDir;

use crate::common::builds::{import, new_build, planned};
use crate::common::{farms, on_both};

pub(crate) const NOW: Timestamp = Timestamp::from_us(1_000_000_000_000);
const US: Duration = Duration::from_micros(1);

/// A farm whose passes the test runs, with a target that lets emulating workers build (`lenient`)
/// and one that does not (`strict`).
pub(crate) struct Scene {
    pub(crate) farm: Parts,
    sessions: Vec<WorkerSession>,
    _dir: TempDir,
}

impl Scene {
    pub(crate) async fn new(store: Store) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, emulation) in [("lenient", "emulation = true"), ("strict", "emulation = false")]
        {
            let file = TargetFile::lab(NOWHERE).named(name).with(emulation);
            file.write(&dir.path().join("targets"));
        }
        let farm = farms::open(dir.path(), &[]).await;
        for (name, emulation) in [("lenient", true), ("strict", false)] {
            assert_eq!(farm.targets.get(name).unwrap().emulation, emulation);
        }
        Self { farm: Parts { store, ..farm }, sessions: Vec::new(), _dir: dir }
    }

    /// A worker with free slots; a second word of it replaces the first.
    pub(crate) fn connect(&mut self, name: &str, change: impl FnOnce(&mut WorkerState)) {
        let mut state = worker(name);
        change(&mut state);
        let session = self.farm.fleet.connect(state, Instant::now(), NOW);
        assert!(session.settle());
        self.sessions.push(session);
    }

    /// Tasks of builds of one batch that wait, in this order.
    pub(crate) async fn tasks(
        &self,
        target: &str,
        arch: Arch,
        needs: &Needs,
        count: usize,
    ) -> Vec<(BuildId, TaskId)> {
        self.tasks_of(TaskKind::Build, target, arch, needs, count).await
    }

    async fn tasks_of(
        &self,
        kind: TaskKind,
        target: &str,
        arch: Arch,
        needs: &Needs,
        count: usize,
    ) -> Vec<(BuildId, TaskId)> {
        let store = &self.farm.store;
        let builds: Vec<NewBuild> =
            (0..count).map(|number| new_build(target, &format!("p{number}"))).collect();
        let mut tasks = Vec::new();
        for build in store.build_insert(&builds, "ann", "", NOW).await.unwrap().ids {
            let task = NewTask { kind, arch };
            let task = planned(store, build, &import(NOW), task).await;
            if !needs.is_nothing() {
                store.task_set_needs(task, needs, NOW).await.unwrap();
            }
            store.lock_insert(task, 0, Sha256::compute(b"lock"), NOW).await.unwrap();
            tasks.push((build, task));
        }
        tasks
    }

    /// Says how urgent a task is, in seconds.
    async fn set_urgency(&self, (build, task): (BuildId, TaskId), seconds: u64) {
        let mut tx = self.farm.store.write().await.unwrap();
        tx.task_set_urgency(task, Duration::from_secs(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        self.farm.store.reindex([build], NOW).await.unwrap();
    }

    /// A worker takes tasks and fails them for its own reasons; they wait again.
    pub(crate) async fn fail(&self, worker: &str, tasks: &[(BuildId, TaskId)]) {
        let store = &self.farm.store;
        let grant = |(build, task): &(BuildId, TaskId)| Grant {
            task: *task,
            build: *build,
            worker: worker.into(),
            had: WorkerResources::default(),
            takes_place_of: None,
        };
        let grants: Vec<Grant> = tasks.iter().map(grant).collect();
        let attempts = store.attempt_grant_all(&grants, NOW).await.unwrap();
        assert_eq!(attempts.len(), tasks.len());
        let crashed = Failure::new(Fault::Worker, FailureStage::Root, "no space left");
        for attempt in attempts {
            let (id, epoch) = (attempt.id, attempt.epoch);
            assert!(store.attempt_end_failed(id, epoch, &crashed, Some(NOW), NOW).await.unwrap());
        }
    }

    /// Runs one pass. Returns the worker of each granted task.
    async fn pass(&self) -> BTreeMap<TaskId, String> {
        let now = Now { instant: Instant::now(), time: NOW };
        self.farm.dispatch().pass(&self.farm.store, now).await.unwrap();
        let live = self.farm.store.attempt_list_live(None).await.unwrap();
        live.into_iter().map(|attempt| (attempt.task, attempt.worker)).collect()
    }
}

fn held(expected: &[(TaskId, &str)]) -> BTreeMap<TaskId, String> {
    expected.iter().map(|(task, worker)| (*task, (*worker).to_owned())).collect()
}

fn emulates(state: &mut WorkerState) {
    state.arches = vec![Arch::X86_64, Arch::Ppc64le];
    state.emulated = vec![Arch::Ppc64le];
}

fn memory(gib: u64) -> Needs {
    Needs { memory_mib: gib << 10, ..Needs::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_only_native_workers_may_take_hide_none_from_an_emulating_one() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let none = Needs::default();
        let strict = scene.tasks("strict", Arch::Ppc64le, &none, 40).await;
        let lenient = scene.tasks("lenient", Arch::Ppc64le, &none, 1).await;
        scene.connect("emulates", emulates);
        assert_eq!(scene.pass().await, held(&[(lenient[0].1, "emulates")]));
        // A worker that runs the architecture natively gets the first task.
        scene.connect("native", |state| state.arches = vec![Arch::Ppc64le]);
        let both = held(&[(lenient[0].1, "emulates"), (strict[0].1, "native")]);
        assert_eq!(scene.pass().await, both);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_far_behind_those_is_reached_by_several_looks_at_the_same_cost() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let none = Needs::default();
        scene.tasks("strict", Arch::Ppc64le, &none, 700).await;
        let lenient = scene.tasks("lenient", Arch::Ppc64le, &none, 2).await;
        scene.connect("emulates", emulates);
        let mut passes = 1;
        while scene.pass().await.is_empty() {
            passes += 1;
            assert!(passes < 4, "it is out of reach");
        }
        assert!(passes > 1, "a pass reads the whole queue");
        assert_eq!(scene.pass().await, held(&[(lenient[0].1, "emulates")]));
        // The tasks at the front of the queue are read again.
        scene.connect("also", emulates);
        while scene.pass().await.len() < 2 {
            passes += 1;
            assert!(passes < 9, "it is out of reach");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_the_free_worker_failed_hide_none_from_it() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let none = Needs::default();
        let failed = scene.tasks("strict", Arch::X86_64, &none, 40).await;
        scene.fail("bad", &failed).await;
        let fresh = scene.tasks("strict", Arch::X86_64, &none, 2).await;
        scene.connect("good", |_| {});
        scene.connect("bad", |_| {});
        // The good worker gets the first task; the bad one gets a task that it has not failed.
        let expected = held(&[(failed[0].1, "good"), (fresh[0].1, "bad")]);
        assert_eq!(scene.pass().await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_failed_a_task_gets_it_when_no_other_could_ever_take_it() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let failed = scene.tasks("strict", Arch::X86_64, &memory(7), 1).await;
        scene.fail("only", &failed).await;
        scene.connect("only", |_| {});
        scene.connect("small", |state| state.memory_mib = 4 << 10);
        assert_eq!(scene.pass().await, held(&[(failed[0].1, "only")]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_urgent_of_a_batch_goes_first_wherever_it_lies() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let none = Needs::default();
        let batch = scene.tasks("strict", Arch::X86_64, &none, 60).await;
        let other = scene.tasks("strict", Arch::X86_64, &none, 2).await;
        scene.set_urgency(batch[59], 9).await;
        scene.set_urgency(batch[30], 5).await;
        scene.set_urgency(other[1], 99).await;
        let mut expected = Vec::new();
        // The first two have swapped their places with the ones that went, and are not so urgent.
        for (worker, task) in [("w1", batch[59]), ("w2", batch[30]), ("w3", batch[2])] {
            scene.connect(worker, |_| {});
            expected.push((task.1, worker));
            assert_eq!(scene.pass().await, held(&expected), "of its batch, the most urgent");
        }
        // All at once: the other batch has its turns after the first, and its own order.
        scene.connect("many", |state| state.slots = 58);
        let all = scene.pass().await;
        assert_eq!(all.len(), 61);
        assert!(all.contains_key(&other[1].1) && !all.contains_key(&other[0].1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_task_that_the_free_worker_failed_lets_others_of_its_batch_go() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let first = scene.tasks("strict", Arch::X86_64, &Needs::default(), 1).await;
        scene.connect("good", |_| {});
        assert_eq!(scene.pass().await, held(&[(first[0].1, "good")]));
        let batch = scene.tasks("strict", Arch::X86_64, &Needs::default(), 2).await;
        scene.set_urgency(batch[1], 9).await;
        scene.fail("bad", &batch[1..]).await;
        scene.connect("bad", |_| {});
        let expected = held(&[(first[0].1, "good"), (batch[0].1, "bad")]);
        assert_eq!(scene.pass().await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srpms_go_ahead_in_slots_of_their_own() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let none = Needs::default();
        let builds = scene.tasks("strict", Arch::X86_64, &none, 400).await;
        let srpms = scene.tasks_of(TaskKind::Srpm, "strict", Arch::X86_64, &none, 4).await;
        scene.connect("new", |state| state.srpm_slots = 2);
        scene.connect("old", |_| {});
        let first = [(builds[0].1, "new"), (builds[1].1, "old")];
        let ahead = [(srpms[0].1, "new"), (srpms[1].1, "new")];
        assert_eq!(scene.pass().await, held(&[first, ahead].concat()));
        // The slots of builds are taken, and an SRPM ends.
        let store = &scene.farm.store;
        let live = store.attempt_list_live(Some("new")).await.unwrap();
        let ended = live.iter().find(|attempt| attempt.task == srpms[0].1).unwrap();
        let crashed = Failure::new(Fault::Worker, FailureStage::Root, "no space left");
        let (id, epoch, later) = (ended.id, ended.epoch, Some(NOW + Duration::from_secs(60)));
        assert!(store.attempt_end_failed(id, epoch, &crashed, later, NOW).await.unwrap());
        scene.farm.fleet.live_leases().ended("new", id);
        let next = [(srpms[1].1, "new"), (srpms[2].1, "new")];
        assert_eq!(scene.pass().await, held(&[first, next].concat()));
        assert!(store.queue_position_fetch(srpms[3].1).await.unwrap().is_some_and(|it| it.srpm));
        let shown = fleet::all(store, &scene.farm.fleet, Instant::now()).await.unwrap();
        let slots = |name: &str| {
            let worker = &shown[name];
            (worker.busy, worker.slots, worker.srpm_busy, worker.srpm_slots)
        };
        assert_eq!((slots("new"), slots("old")), ((1, 1, 2, 2), (1, 1, 0, 0)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_and_labels_decide_who_gets_a_task() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let ssd = Needs { label: "ssd".into(), ..Needs::default() };
        let disk = Needs { disk_mib: 500 << 10, ..Needs::default() };
        let big = scene.tasks("strict", Arch::X86_64, &memory(30), 1).await[0].1;
        let labelled = scene.tasks("strict", Arch::X86_64, &ssd, 2).await;
        let wide = scene.tasks("strict", Arch::X86_64, &disk, 1).await[0].1;
        let plain = scene.tasks("strict", Arch::X86_64, &Needs::default(), 2).await;
        scene.connect("ssd", |state| state.labels = vec!["ssd".into()]);
        scene.connect("big", |state| state.memory_mib = 64 << 10);
        scene.connect("plain", |_| {});
        let expected = held(&[(big, "big"), (labelled[0].1, "ssd"), (plain[0].1, "plain")]);
        assert_eq!(scene.pass().await, expected, "nobody has so much disk");
        scene.connect("wide", |state| state.disk_free_mib = 1 << 20);
        let held = scene.pass().await;
        assert_eq!((held.len(), held[&wide].as_str()), (4, "wide"));
        assert_eq!(scene.pass().await.len(), 4, "all slots are taken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_kept_for_a_big_task_while_small_ones_go_elsewhere() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let first = scene.tasks("strict", Arch::X86_64, &memory(40), 1).await;
        let two = |state: &mut WorkerState| (state.slots, state.memory_mib) = (2, 64 << 10);
        scene.connect("big", two);
        assert_eq!(scene.pass().await, held(&[(first[0].1, "big")]));
        let again = scene.tasks("strict", Arch::X86_64, &memory(32), 1).await;
        let small = scene.tasks("strict", Arch::X86_64, &Needs::default(), 60).await;
        scene.connect("small", |_| {});
        let expected = held(&[(first[0].1, "big"), (small[0].1, "small")]);
        assert_eq!(scene.pass().await, expected, "one slot of the big one is kept");
        let live = scene.farm.store.attempt_list_live(Some("big")).await.unwrap();
        let (id, epoch) = (live[0].id, live[0].epoch);
        let crashed = Failure::new(Fault::Worker, FailureStage::Root, "no space left");
        scene
            .farm
            .store
            .attempt_end_failed(id, epoch, &crashed, Some(NOW + US), NOW)
            .await
            .unwrap();
        scene.farm.fleet.live_leases().ended("big", id);
        let held = scene.pass().await;
        assert_eq!(held.get(&again[0].1).map(String::as_str), Some("big"), "it fits now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learned_fits_the_worker_that_built_it() {
    on_both(|store| async move {
        let mut scene = Scene::new(store).await;
        let first = scene.tasks("strict", Arch::X86_64, &Needs::default(), 1).await;
        // The memory that a host of 8 GiB really has.
        scene.connect("small", |state| state.memory_mib = 7900);
        assert_eq!(scene.pass().await.len(), 1);
        let store = &scene.farm.store;
        let live = store.attempt_list_live(None).await.unwrap();
        let (id, epoch) = (live[0].id, live[0].epoch);
        let made = rpmfarm_core::task::Success { memory_mib: 5325, ..Default::default() };
        let outcome = rpmfarm_core::task::Outcome::Succeeded(made);
        assert!(store.attempt_end_succeeded(id, epoch, &outcome, NOW + US).await.unwrap());
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(first[0].1, id, 1, NOW + US).await.unwrap());
        tx.commit().await.unwrap();
        scene.farm.fleet.live_leases().ended("small", id);

        let learned =
            store.learned_fetch("strict", "p0", Arch::X86_64, TaskKind::Build).await.unwrap();
        let needs = rpmfarm_core::learned_needs::needs(&Needs::default(), &learned);
        assert!(needs.memory_mib > 5325, "{needs:?}");
        let second = scene.tasks("strict", Arch::X86_64, &needs, 1).await;
        assert_eq!(scene.pass().await, held(&[(second[0].1, "small")]));
    })
    .await;
}
