//! The coordinator from the view of an operator: the cost of lists, the messages for builds without
//! a log, the start beside a database that is down, and the end.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "common/mod.rs"]
#[allow(dead_code, reason = "these tests start databases of their own")]
mod common;

use std::fmt::Debug;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::server;
use rpmfarm_coordinator::store::{
    Build, BuildFilter, ChannelChange, NewTask, Revision, Store, explain,
};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Failure, FailureStage, Fault, Sha256, Timestamp};
use rpmfarm_lab::farm::Postgres;
use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};
use rpmfarm_proto::AUTHORIZATION;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::farm_client::FarmClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use self::common::builds::{add_srpm, import, new_build, planned, srpm};
use self::common::farms;

const NOW: Timestamp = Timestamp::from_us(1_000_000);
const US: Duration = Duration::from_micros(1);

/// A farm for the lab's target, whose upstream is at a port without a server.
async fn farm(dir: &Path) -> Parts {
    TargetFile::lab(NOWHERE).write(&dir.join("targets"));
    farms::open(dir, &[]).await
}

/// Builds of one package, each published in a version of its own.
async fn published(store: &Store, count: usize) -> Vec<Build> {
    for number in 1..=count {
        let new = [new_build("lab", "hello")];
        let build = store.build_insert(&new, "ann", "", NOW).await.unwrap().ids[0];
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        planned(store, build, &import(NOW), task).await;
        add_srpm(store, build, &srpm(&format!("hello-{number}-1.lab9.src"))).await;
        let newest =
            store.channel_fetch("lab", "testing").await.unwrap().map_or(0, |row| row.revision);
        let revision = Revision {
            target: "lab".into(),
            channel: "testing".into(),
            revision: newest + 1,
            snapshot: Sha256::compute(b"snapshot"),
            packages: 1,
            at: NOW,
        };
        assert!(
            store
                .revision_insert(&revision, &ChannelChange::nothing_since(newest), &[build])
                .await
                .unwrap()
        );
    }
    let filter = BuildFilter { limit: 1000, ..BuildFilter::default() };
    store.build_list(&filter).await.unwrap()
}

/// Counts the statements that the database is given, without pragmas: checkpoints and new
/// connections of the pool run those at moments of their own.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicUsize>);

/// Whether a statement that sqlx logs is a pragma.
#[derive(Default)]
struct Pragma(bool);

impl Visit for Pragma {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 |= field.name() == "summary" && value.starts_with("PRAGMA");
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut pragma = Pragma::default();
        event.record(&mut pragma);
        if !pragma.0 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Statements {
    fn taken(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_list_costs_as_many_statements_as_one_build() {
    let statements = Statements::default();
    let subscriber = tracing_subscriber::registry().with(statements.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let farm = farm(dir.path()).await;
    let builds = published(&farm.store, 60).await;
    assert_eq!(builds.len(), 60);
    // The first one loads the target and opens connections.
    farm.views().builds(&builds[..1]).await.unwrap();
    statements.taken();
    let one = farm.views().builds(&builds[..1]).await.unwrap();
    let for_one = statements.taken();
    let all = farm.views().builds(&builds).await.unwrap();
    let for_all = statements.taken();
    assert!((1..=30).contains(&for_one), "{for_one} statements for one build");
    assert_eq!(for_one, for_all, "statements for one build and for 60");
    assert_eq!(all[0], one[0]);
    assert_eq!((all[0].state.as_str(), all[0].revision), ("published", 60));
    // The newest build is shown without warnings; each older one names the version that replaced
    // it.
    assert_eq!(all[0].warnings, [""; 0]);
    assert_eq!(
        all[59].warnings,
        ["hello 1-1.lab9 is not in testing: 60-1.lab9 is there, which is newer"]
    );
}

/// A farm that serves, and a client with its token.
struct Served {
    farm: Parts,
    client: FarmClient<Channel>,
    token: String,
    _dir: TempDir,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let farm = farm(dir.path()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(farm.clone(), listener, std::future::pending()));
        let token = std::fs::read_to_string(dir.path().join("data/token")).unwrap();
        let client = FarmClient::connect(address).await.unwrap();
        Self { farm, client, token: token.trim().into(), _dir: dir }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        request
    }

    async fn failed_at_import(&self) -> BuildId {
        let store = &self.farm.store;
        let new = [new_build("lab", "hello")];
        let build = store.build_insert(&new, "ann", "", NOW).await.unwrap().ids[0];
        let mut failure =
            Failure::new(Fault::Package, FailureStage::Import, "no spec file".to_owned());
        failure.excerpt = vec!["found: README".to_owned()];
        assert!(store.failure_insert(build, None, &failure, None, NOW + 5 * US).await.unwrap());
        build
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_what_failed_at_import_is_its_failure() {
    let mut served = Served::start().await;
    let build = served.failed_at_import().await;
    for follow in [false, true] {
        let asked = v1::ReadLogRequest {
            build: build.0,
            log: "build".into(),
            follow,
            ..v1::ReadLogRequest::default()
        };
        let status = served.client.read_log(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let message = status.message();
        for says in ["failed at import", "no spec file (package's fault)", "| found: README"] {
            assert!(message.contains(says), "no `{says}`: {message}");
        }
    }
    let none = v1::ReadLogRequest { build: 4711, log: "build".into(), ..Default::default() };
    let status = served.client.read_log(none).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no build 4711"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_begins_a_time_of_its_own() {
    let mut served = Served::start().await;
    let build = served.failed_at_import().await;
    assert!(served.farm.store.build_retry(build, NOW + 100 * US).await.unwrap());
    let shown = served.client.get_build(v1::GetBuildRequest { id: build.0 }).await.unwrap();
    let shown = shown.into_inner();
    let retried = NOW + 100 * US;
    assert_eq!((shown.created_us, shown.retried_us), (NOW.as_us(), retried.as_us()));
    // One that is tried again by itself counts from then.
    let failure = Failure::new(Fault::Farm, FailureStage::Import, "the host is away".to_owned());
    let at = NOW + 200 * US;
    let store = &served.farm.store;
    assert!(store.failure_insert(build, None, &failure, Some(NOW + 300 * US), at).await.unwrap());
    let shown = served.client.get_build(v1::GetBuildRequest { id: build.0 }).await.unwrap();
    assert_eq!(shown.into_inner().retried_us, (NOW + 300 * US).as_us());
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_are_taken_with_a_warning_while_upstream_is_away() {
    let mut served = Served::start().await;
    let asked = v1::StartBuildsRequest {
        target: "lab".into(),
        packages: vec![v1::PackageRef { package: "hello".into(), git_ref: String::new() }],
        ..v1::StartBuildsRequest::default()
    };
    let begun = Instant::now();
    let request = served.request(asked);
    let reply = served.client.start_builds(request).await.unwrap().into_inner();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(reply.builds.len(), 1);
    let warning = &reply.warnings[0];
    assert!(warning.contains("whether upstream has hello is not known yet"), "{warning}");
}

/// The coordinator's program, with a database.
fn program(dir: &Path, database: &str) -> Child {
    let targets = dir.join("targets");
    std::fs::create_dir_all(&targets).unwrap();
    Command::new(env!("CARGO_BIN_EXE_rpmfarm-coordinator"))
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--targets")
        .arg(&targets)
        .args(["--listen", "127.0.0.1:0", "--database", database])
        .stderr(Stdio::from(std::fs::File::create(dir.join("log")).unwrap()))
        .spawn()
        .unwrap()
}

/// Waits for the end of a program; `None` when it does not come.
fn ended(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    None
}

#[test]
fn a_coordinator_that_waits_for_its_database_ends_when_it_is_told_to() {
    // One address without a server, and one whose server never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    for place in ["127.0.0.1:1".to_owned(), silent.to_string()] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = program(dir.path(), &format!("postgres://rpmfarm:geheim@{place}/farm"));
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(child.try_wait().unwrap(), None, "it waits");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let status = ended(&mut child, Duration::from_secs(5));
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(status.is_some_and(|status| status.success()), "{place}: {status:?}\n{log}");
        assert!(!log.contains('\u{1b}'), "no colours in a file: {log}");
        assert!(!log.contains("geheim"), "{log}");
    }
}

#[test]
fn a_coordinator_whose_database_went_away_ends_when_it_is_told_to() {
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut child = program(dir.path(), &url);
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    let begun = Instant::now();
    while !log().contains("coordinator started") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    postgres.stop().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = ended(&mut child, Duration::from_secs(12));
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_of_a_database_names_its_remedy() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let explained = async |url: &str| {
        let error = Store::open(url, Bus::default()).await.unwrap_err();
        let explained = explain(&error, url);
        assert!(!explained.contains("geheim"), "{explained}");
        explained
    };
    let missing = explained(&url.replace("/farm?", "/fram?")).await;
    assert!(missing.contains("no database fram") && missing.contains("createdb"), "{missing}");

    // Passwords count for this one user alone.
    postgres.sql("farm", "CREATE ROLE nobody LOGIN PASSWORD 'right'").unwrap();
    let file = postgres.sql("farm", "SHOW hba_file").unwrap();
    let rules = std::fs::read_to_string(file.trim()).unwrap();
    std::fs::write(file.trim(), format!("local all nobody scram-sha-256\n{rules}")).unwrap();
    postgres.sql("farm", "SELECT pg_reload_conf()").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let password = explained(&url.replace("//rpmfarm@", "//nobody:geheim@")).await;
    assert!(password.contains("refuses the user or the password"), "{password}");
    let right = explained(&url.replace("//rpmfarm@", "//nobody:right@")).await;
    assert!(right.contains("may not make tables") && right.contains("OWNER"), "{right}");

    let store = Store::open(&url, Bus::default()).await.unwrap();
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success,
                 checksum, execution_time) VALUES (9999, 'later', now(), true, '\\x00', 1)";
    postgres.sql("farm", newer).unwrap();
    let newer = explained(&url).await;
    assert!(newer.contains("newer rpmfarm") && newer.contains("9999"), "{newer}");

    let away = explained("postgres://rpmfarm:geheim@127.0.0.1:1/farm").await;
    assert!(away.contains("does not answer") && away.contains("127.0.0.1:1"), "{away}");
    let file = explained("sqlite:///nowhere/at/all/farm.db").await;
    assert!(file.contains("cannot be opened") && file.contains("/nowhere/at/all"), "{file}");
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("farm.db");
    std::fs::write(&other, "this is no database, whatever its name is".repeat(100)).unwrap();
    let other = explained(&format!("sqlite://{}", other.display())).await;
    assert!(other.contains("is not an SQLite database"), "{other}");
}
