//! A server that accepts connections and never answers: only work that needs it waits.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "common/builds.rs"]
mod builds;
#[path = "common/farms.rs"]
mod farms;

use std::time::Duration;

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::import::ImportStage;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::resolve::{ResolveStage, ResolveWork};
use rpmfarm_coordinator::store::NewTask;
use rpmfarm_coordinator::work::KeyedTaskPool;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Sha256};
use rpmfarm_lab::fixtures::TargetFile;
use sqlx::ConnectOptions as _;
use sqlx::any::AnyConnectOptions;
use tokio::net::{TcpListener, TcpSocket};

use builds::new_build;

/// Builds whose server hangs: more than there are slots.
const HANGING: usize = 40;

/// The time limit for another target's build. The timeouts of hanging work are longer.
const PATIENCE: Duration = Duration::from_secs(50);

struct Scene {
    farm: Parts,
    dir: tempfile::TempDir,
    _servers: (TcpListener, TcpSocket),
}

impl Scene {
    /// A farm with the targets `hangs`, whose servers hang, and `fails`, whose servers are not
    /// there.
    async fn new() -> Self {
        let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The port is reserved, so that no other server gets it, and it refuses connections.
        let gone = TcpSocket::new_v4().unwrap();
        gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, address) in
            [("hangs", hangs.local_addr().unwrap()), ("fails", gone.local_addr().unwrap())]
        {
            let file = TargetFile::small(&address.to_string()).named(name).unsigned();
            file.write(&dir.path().join("targets"));
        }
        let farm = farms::open(dir.path(), &[]).await;
        Self { farm, dir, _servers: (hangs, gone) }
    }

    /// Builds of a target, each in a request of its own.
    async fn builds(&self, target: &str, count: usize) -> Vec<BuildId> {
        let mut builds = Vec::new();
        for number in 0..count {
            let new = new_build(target, &format!("p{number}"));
            let started =
                self.farm.store.build_insert(&[new], "ann", "", clock::now()).await.unwrap();
            builds.extend(started.ids);
        }
        builds
    }

    /// Their tasks of a kind, which lack their locks.
    async fn tasks(&self, builds: &[BuildId], kind: TaskKind) {
        let store = &self.farm.store;
        let import = builds::import(clock::now());
        let database = format!("sqlite://{}", self.dir.path().join("data/farm.db").display());
        let mut connection =
            database.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap();
        for build in builds {
            store.import_insert(*build, &import).await.unwrap();
            let srpm = "INSERT INTO srpms
                (build, digest, size, nevra, requires, conflicts, predicts, dynamic)
                VALUES ($1, $2, 1, 'p-1-1.src', '[]', '[]', '[]', 0)";
            let insert = sqlx::query(srpm).bind(build.0).bind(Sha256::compute(b"srpm").hex());
            insert.execute(&mut connection).await.unwrap();
            let task = NewTask { kind, arch: Arch::X86_64 };
            store.task_insert(*build, &[task], clock::now()).await.unwrap();
        }
    }

    /// Runs a pass until a build has failed, as it must, and those that hang have not.
    async fn until_failed(
        &self,
        build: BuildId,
        hanging: &[BuildId],
        pass: impl AsyncFn() -> anyhow::Result<()>,
    ) {
        let store = &self.farm.store;
        let failed = async {
            while store.failure_list(build, None).await.unwrap().is_empty() {
                pass().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let failed = tokio::time::timeout(PATIENCE, failed).await;
        assert!(failed.is_ok(), "it waits for a server of others");
        for build in hanging {
            assert_eq!(store.failure_list(*build, None).await.unwrap(), []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_host_keeps_no_build_from_another_host_waiting() {
    let scene = Scene::new().await;
    let hanging = scene.builds("hangs", HANGING).await;
    let fails = scene.builds("fails", 1).await[0];
    let pool = KeyedTaskPool::new("import", 16, Bus::default());
    let stage = ImportStage { imports: pool.clone(), ..scene.farm.import() };
    let runner = scene.farm.runner();
    let pass = async || runner.pass(&stage).await;
    scene.until_failed(fails, &hanging, pass).await;
    assert!(pool.busy() >= 8, "the others are being asked for: {}", pool.busy());
    // A coordinator that stops ends them, and that is no failure of theirs.
    scene.farm.importer.stop();
    let ended = async {
        while pool.busy() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("imports end when they are stopped");
    for build in hanging {
        assert_eq!(scene.farm.store.failure_list(build, None).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_keeps_no_other_target_waiting() {
    for kind in [TaskKind::Srpm, TaskKind::Build] {
        let scene = Scene::new().await;
        let hanging = scene.builds("hangs", HANGING).await;
        scene.tasks(&hanging, kind).await;
        let fails = scene.builds("fails", 1).await;
        scene.tasks(&fails, kind).await;
        let work = ResolveWork::new(KeyedTaskPool::new("resolve", 8, Bus::default()));
        let stage = ResolveStage { work, ..scene.farm.resolve() };
        let runner = scene.farm.runner();
        let pass = async || runner.pass(&stage).await;
        scene.until_failed(fails[0], &hanging, pass).await;
    }
}
