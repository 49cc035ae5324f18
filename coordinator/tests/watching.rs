//! Which changes wake watchers and passes, the cost of watching for the database, and that each
//! watcher sees all ends. The farms here run no passes, so all statements beside those of the tests
//! are made for watchers.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "common/builds.rs"]
mod builds;
#[path = "common/farms.rs"]
mod farms;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rpmfarm_coordinator::bus::{Bus, BusListener};
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::server;
use rpmfarm_coordinator::store::{NewTask, Store};
use rpmfarm_coordinator::work;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Sha256, Stage, Timestamp};
use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::farm_client::FarmClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;

use self::builds::{import, new_build, planned};

const NOW: Timestamp = Timestamp::from_us(1_000_000);

/// Statements for one page of builds at most.
const OF_A_READ: u64 = 30;

/// A coordinator that serves, and a client of it.
struct Served {
    farm: Parts,
    client: FarmClient<Channel>,
    dir: TempDir,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        TargetFile::lab(NOWHERE).write(&dir.path().join("targets"));
        let farm = farms::open(dir.path(), &[]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(farm.clone(), listener, std::future::pending()));
        let client = FarmClient::connect(address).await.unwrap();
        Self { farm, client, dir }
    }

    /// Builds of one request.
    async fn builds(&self, count: usize) -> Vec<BuildId> {
        let new: Vec<_> = (0..count).map(|n| new_build("lab", &format!("p{n}"))).collect();
        self.farm.store.build_insert(&new, "ann", "", NOW).await.unwrap().ids
    }

    /// A watch of builds, after the first view of each build was received.
    async fn watch(&self, builds: &[BuildId]) -> Streaming<v1::Build> {
        let ids = builds.iter().map(|build| build.0).collect();
        let request = v1::WatchBuildsRequest { ids };
        let mut changes = self.client.clone().watch_builds(request).await.unwrap().into_inner();
        let mut seen = BTreeSet::new();
        while seen.len() < builds.len() {
            seen.insert(changes.message().await.unwrap().unwrap().id);
        }
        changes
    }

    /// Builds go as far as their first task.
    async fn plan(&self, builds: &[BuildId]) {
        for build in builds {
            let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
            planned(&self.farm.store, *build, &import(NOW), task).await;
        }
    }
}

/// The builds that a watch shows as cancelled, until it ends.
async fn cancelled(mut changes: Streaming<v1::Build>) -> BTreeSet<BuildId> {
    let mut ended = BTreeSet::new();
    while let Some(build) = changes.message().await.unwrap() {
        if build.state == "cancelled" {
            ended.insert(BuildId(build.id));
        }
    }
    ended
}

/// The statements while 90 builds with so many watchers make progress, and the time. Afterwards all
/// watchers have seen all ends.
async fn cost(watchers: usize) -> (u64, Duration) {
    let served = Served::start().await;
    let store = &served.farm.store;
    let builds = served.builds(90).await;
    let mut watching = JoinSet::new();
    for _ in 0..watchers {
        watching.spawn(cancelled(served.watch(&builds).await));
    }
    let (before, begun) = (store.statements(), Instant::now());
    served.plan(&builds).await;
    let (statements, took) = (store.statements() - before, begun.elapsed());
    for build in &builds {
        assert!(store.build_cancel(*build, NOW).await.unwrap());
    }
    let ended = watching.join_all().await;
    assert_eq!(ended, vec![builds.iter().copied().collect::<BTreeSet<_>>(); watchers]);
    (statements, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_watchers_cost_what_one_does_and_that_is_little() {
    let (unwatched, _) = cost(0).await;
    assert!(unwatched >= 90 * 10, "{unwatched} statements for 90 builds");
    for watchers in [1, 10] {
        let (statements, took) = cost(watchers).await;
        // With so many builds one read each two seconds, be it ever so much that happens.
        let reads = took.as_secs() / 2 + 2;
        assert!(
            statements <= unwatched + reads * OF_A_READ,
            "{statements} statements in {took:?} with {watchers} watchers, {unwatched} without"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_has_changed_is_read() {
    let served = Served::start().await;
    let store = &served.farm.store;
    let builds = served.builds(600).await;
    let mut changes = served.watch(&builds).await;
    let before = store.statements();
    assert!(store.build_cancel(builds[7], NOW).await.unwrap());
    let change = changes.message().await.unwrap().unwrap();
    assert_eq!((BuildId(change.id), change.state.as_str()), (builds[7], "cancelled"));
    // Six pages would be 180. A page in its turn may have been read beside.
    let statements = store.statements() - before;
    assert!(statements <= 3 * OF_A_READ, "{statements} statements for a change of one build");
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_to_wait_are_told_without_a_fact() {
    let served = Served::start().await;
    let builds = served.builds(1).await;
    let mut changes = served.watch(&builds).await;
    served.farm.waits.set(builds[0], "the git host does not answer");
    let change = changes.message().await.unwrap().unwrap();
    assert_eq!(change.reason, "the git host does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_another_program_wrote_are_told_in_turn() {
    let served = Served::start().await;
    let builds = served.builds(1).await;
    let mut changes = served.watch(&builds).await;
    // It has a bus of its own, as a coordinator whose message got lost.
    let url = format!("sqlite://{}", served.dir.path().join("data/farm.db").display());
    let other = Store::open(&url, Bus::default()).await.unwrap();
    assert!(other.build_cancel(builds[0], NOW).await.unwrap());
    assert_eq!(changes.message().await.unwrap().unwrap().state, "cancelled");
    assert!(changes.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_right_is_not_written_again() {
    let served = Served::start().await;
    let store = &served.farm.store;
    let build = served.builds(1).await[0];
    served.plan(&[build]).await;
    let before = store.statements();
    store.reindex([build], NOW).await.unwrap();
    // A transaction locks the build and reads it with its tasks and index rows.
    assert_eq!(store.statements() - before, 6);
}

/// The stages that were woken since the last call.
fn woken(listeners: &mut [(Stage, BusListener)]) -> Vec<Stage> {
    let mut woken = Vec::new();
    for (stage, listener) in listeners {
        if listener.woken().now_or_never().is_some() {
            woken.push(*stage);
        }
    }
    woken
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_are_woken_by_what_they_get_to_do() {
    let served = Served::start().await;
    let (store, bus) = (&served.farm.store, &served.farm.bus);
    let all = [Stage::Import, Stage::Plan, Stage::Resolve, Stage::Dispatch, Stage::Publish];
    let mut listeners = all.map(|stage| (stage, bus.for_steps(work::steps(stage)).listen()));
    let build = served.builds(1).await[0];
    assert_eq!(woken(&mut listeners), [Stage::Import]);
    store.import_insert(build, &import(NOW)).await.unwrap();
    assert_eq!(woken(&mut listeners), [Stage::Plan]);
    let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
    store.task_insert(build, &[task], NOW).await.unwrap();
    assert_eq!(woken(&mut listeners), [Stage::Resolve]);
    let task = store.task_list(build).await.unwrap()[0].id;
    store.lock_insert(task, 0, Sha256::compute(b"lock"), NOW).await.unwrap();
    assert_eq!(woken(&mut listeners), [Stage::Dispatch]);
    assert!(store.build_cancel(build, NOW).await.unwrap());
    assert_eq!(woken(&mut listeners), all, "others may have waited for it");
}
