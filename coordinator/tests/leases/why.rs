//! The reasons of waiting builds, as the command shows them.

use std::time::{Duration, Instant};

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::{CoordinatorRow, NewTask};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Failure, FailureStage, Fault, Sha256, TaskId};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::farm_client::FarmClient;

use crate::{NOW, Served};

impl Served {
    /// The reasons of the tasks of a build: task, code, text.
    async fn why(&self, build: BuildId) -> Vec<(String, String, String)> {
        let mut client = FarmClient::connect(self.address.clone()).await.unwrap();
        let asked = v1::WhyBuildRequest { id: build.0 };
        let reply = client.why_build(asked).await.unwrap().into_inner();
        reply.reasons.into_iter().map(|reason| (reason.task, reason.code, reason.text)).collect()
    }

    /// A build whose SRPM is made, with tasks for architectures.
    async fn planned(&self, arches: &[Arch]) -> (BuildId, Vec<TaskId>) {
        let (build, srpm) = self.task().await;
        let store = &self.farm.store;
        let attempt = store.attempt_grant(srpm, build, "w1", NOW).await.unwrap().unwrap();
        let (id, epoch) = (attempt.id, attempt.epoch);
        let made = rpmfarm_core::task::Outcome::Succeeded(Default::default());
        assert!(store.attempt_end_succeeded(id, epoch, &made, NOW).await.unwrap());
        let mut tx = store.write().await.unwrap();
        assert!(tx.acceptance_insert(srpm, id, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let new = |arch: &Arch| NewTask { kind: TaskKind::Build, arch: *arch };
        let new: Vec<NewTask> = arches.iter().map(new).collect();
        store.task_insert(build, &new, NOW).await.unwrap();
        let tasks = store.task_list(build).await.unwrap();
        (build, tasks.iter().filter(|task| task.id != srpm).map(|task| task.id).collect())
    }

    async fn lock(&self, task: TaskId) {
        self.farm.store.lock_insert(task, 0, Sha256::compute(b"lock"), NOW).await.unwrap();
    }
}

fn of<'a>(reasons: &'a [(String, String, String)], task: &str) -> Vec<(&'a str, &'a str)> {
    reasons
        .iter()
        .filter(|(of, ..)| of == task)
        .map(|(_, code, text)| (code.as_str(), text.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_says_why_it_waits_whatever_the_others_do() {
    let served = Served::start().await;
    let arches = [Arch::X86_64, Arch::Ppc64le, Arch::Aarch64];
    let (build, tasks) = served.planned(&arches).await;
    served.lock(tasks[0]).await;
    served.lock(tasks[2]).await;
    served.farm.store.attempt_grant(tasks[0], build, "w1", NOW).await.unwrap().unwrap();
    served.farm.waits.set(build, "waits for libfoo, which build 41 (foo) makes; order: requires");
    let why = served.why(build).await;
    assert_eq!(of(&why, "build x86_64")[0].0, "runs", "{why:?}");
    let waits = [("packages", "waits for libfoo, which build 41 (foo) makes; order: requires")];
    assert_eq!(of(&why, "build ppc64le"), waits, "{why:?}");
    let queued = of(&why, "build aarch64");
    assert_eq!((queued.len(), queued[0].0), (1, "no-worker"), "{why:?}");
    served.farm.waits.clear(build);
    let why = served.why(build).await;
    assert_eq!(of(&why, "build ppc64le")[0].0, "lock", "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_the_stage_tells_what_the_one_that_has_it_knows() {
    let served = Served::start().await;
    let (build, _) = served.planned(&[Arch::X86_64]).await;
    let other = CoordinatorRow {
        id: "other".into(),
        address: "http://other".into(),
        base_url: "http://farm".into(),
        version: "1".into(),
        started: NOW,
        beat: 0,
    };
    let store = &served.farm.store;
    store.coordinator_raise_heartbeat(&other).await.unwrap();
    let text = "waits for libfoo, which build 41 (foo) makes; order: requires".to_owned();
    store.peer_snapshot_write("other", &[("wait", build.0.to_string(), Some(text))]).await.unwrap();
    served.farm.peers.heartbeat(store, Instant::now()).await.unwrap();
    let why = served.why(build).await;
    let waits = [("packages", "waits for libfoo, which build 41 (foo) makes; order: requires")];
    assert_eq!(of(&why, "build x86_64"), waits, "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_tells_of_its_own_newest_failure() {
    let served = Served::start().await;
    let (build, tasks) = served.planned(&[Arch::X86_64, Arch::Ppc64le]).await;
    let (store, now) = (&served.farm.store, clock::now());
    served.lock(tasks[0]).await;
    let down = Failure::new(Fault::Farm, FailureStage::Resolve, "no answer of the mirror");
    let later = Some(now + Duration::from_secs(100));
    assert!(store.failure_insert(build, Some(tasks[1]), &down, later, now).await.unwrap());
    // A newer one of another task, which is over.
    let attempt = store.attempt_grant(tasks[0], build, "w1", now).await.unwrap().unwrap();
    let crashed = Failure::new(Fault::Worker, FailureStage::Root, "no space left");
    let (id, epoch) = (attempt.id, attempt.epoch);
    assert!(store.attempt_end_failed(id, epoch, &crashed, Some(now), now.next()).await.unwrap());
    let why = served.why(build).await;
    let [("retry", text)] = of(&why, "build ppc64le")[..] else { panic!("{why:?}") };
    assert!(text.contains("after: no answer of the mirror"), "{text}");
    let [("no-worker", _)] = of(&why, "build x86_64")[..] else { panic!("{why:?}") };
}
