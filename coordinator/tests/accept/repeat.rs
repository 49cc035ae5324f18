//! Builds that another worker repeats: equal packages are accepted, and different ones wait for a
//! person.

use std::time::Instant;

use rpmfarm_coordinator::claims::DecisionOutcome;
use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::fleet::WorkerSession;
use rpmfarm_coordinator::store::ReadyQueue;
use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::{BuildId, Failure};
use rpmfarm_lab::fixtures::worker;

use crate::scene::{Scene, built, file, spec};
use crate::support::{Built, build_spec};

/// A farm that repeats each build.
async fn scene() -> Scene {
    Scene::with("repeat_percent = 100").await
}

impl Scene {
    /// A worker that is connected while the session lives.
    fn worker(&self, name: &str) -> WorkerSession {
        let session = self.farm.fleet.connect(worker(name), Instant::now(), clock::now());
        assert!(session.settle());
        session
    }

    async fn repeated(&self, build: BuildId, of: &Built) -> Result<(), Failure> {
        let kind = (TaskKind::Repeat, None);
        let files = [file(&of.binary)];
        self.report_of("other", build, kind, &files, Success::default()).await
    }

    async fn kinds(&self, build: BuildId) -> Vec<TaskKind> {
        self.farm.store.task_list(build).await.unwrap().iter().map(|task| task.kind).collect()
    }
}

const BOTH: [TaskKind; 3] = [TaskKind::Srpm, TaskKind::Build, TaskKind::Repeat];

#[tokio::test(flavor = "multi_thread")]
async fn what_two_workers_make_alike_is_accepted() {
    let scene = scene().await;
    let _sessions = [scene.worker("w"), scene.worker("other")];
    let tiny = built("tiny", "Release: 1", "tiny");
    let build = scene.made("tiny", &tiny).await;
    assert_eq!(scene.kinds(build).await, BOTH);
    assert!(scene.packages(build).await.is_empty(), "nothing is in the pool before");

    // In the same root, and not by the same worker.
    let store = &scene.farm.store;
    let tasks = store.task_list(build).await.unwrap();
    let locks = [
        store.lock_fetch(tasks[1].id).await.unwrap(),
        store.lock_fetch(tasks[2].id).await.unwrap(),
    ];
    assert_eq!(locks[0].unwrap().digest, locks[1].unwrap().digest);
    let waiting = store.ready_task_list_first(&ReadyQueue::builds("x86_64", ""), 9).await.unwrap();
    let excepted: Vec<&str> = waiting.iter().map(|ready| ready.except.as_str()).collect();
    assert_eq!(excepted, ["w"]);

    // Built again: other bytes, as on another host, and the same content.
    let text = spec("tiny", "Release: 1", "tiny");
    let again = build_spec(&text, &[("_buildhost", "other.example.org")]);
    assert_ne!(file(&again.binary).1, file(&tiny.binary).1);
    scene.repeated(build, &again).await.unwrap();
    assert!(store.claim_list_open(build).await.unwrap().is_empty());
    assert_eq!(scene.packages(build).await, ["tiny-1-1.src", "tiny-1-1.x86_64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_waits_for_a_person_and_neither_is_in_the_pool() {
    let scene = scene().await;
    let _sessions = [scene.worker("w"), scene.worker("other")];
    let build = scene.made("tiny", &built("tiny", "Release: 1", "tiny")).await;
    scene.repeated(build, &built("tiny", "Release: 1", "a back door")).await.unwrap();
    assert!(scene.packages(build).await.is_empty());
    let claims = scene.farm.store.claim_list_open(build).await.unwrap();
    let text = claims[0].to_string();
    for part in ["differs when it is repeated", "/usr/share/tiny", "tiny-1-1.x86_64", "(w, other)"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let row = scene.farm.store.build_fetch(build).await.unwrap().unwrap();
    let farm = &scene.farm;
    let decided_by = ("ann", "the time is in it");
    let decided = farm.claims().approve(&farm.store, &row, decided_by).await.unwrap();
    assert_eq!(decided, DecisionOutcome::Done);
    assert_eq!(scene.packages(build).await, ["tiny-1-1.src", "tiny-1-1.x86_64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_worker_nothing_is_repeated() {
    let scene = scene().await;
    let _session = scene.worker("w");
    let build = scene.made("tiny", &built("tiny", "Release: 1", "tiny")).await;
    assert_eq!(scene.kinds(build).await, BOTH[..2]);
    assert_eq!(scene.packages(build).await, ["tiny-1-1.src", "tiny-1-1.x86_64"]);
}
