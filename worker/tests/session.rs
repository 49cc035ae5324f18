//! The worker's program against a coordinator of the test, which drops connections, loses messages,
//! and falls silent.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{FINDS_OWNERS, ID_COUNT, Scene, UID_BASE, WORKER, has_own_ids, owner, spec};
use parking_lot::Mutex;
use rpmfarm_core::limits::Limits;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::statement::Statement;
use rpmfarm_core::task::{
    Assignment, AttemptReport, DesiredState, Outcome, Progress, Success, TaskInput, TaskKind,
    WorkerState,
};
use rpmfarm_core::{Arch, AttemptId, BuildId, Epoch, FailureStage, Fault, Sha256, TaskId};
use rpmfarm_guarded::key::verify;
use rpmfarm_proto::v1::blobs_server::{Blobs, BlobsServer};
use rpmfarm_proto::v1::workers_server::{Workers, WorkersServer};
use rpmfarm_proto::{AUTHORIZATION, WORKER as WORKER_NAME, v1};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// The state of the test's coordinator.
#[derive(Default)]
struct CoordinatorState {
    blobs: HashMap<String, PathBuf>,
    desired: Vec<Assignment>,
    states: Vec<WorkerState>,
    logs: HashMap<String, Vec<u8>>,
    finished_logs: Vec<String>,
    uploads: HashMap<String, Vec<u8>>,
    /// Each of the first calls of bulk fails so often.
    faults: u32,
    /// Answers nothing any more.
    silent: bool,
}

#[derive(Clone, Default)]
struct Coordinator(Arc<Mutex<CoordinatorState>>);

const LEASE: u64 = 1500;

impl Coordinator {
    fn with<T>(&self, work: impl FnOnce(&mut CoordinatorState) -> T) -> T {
        work(&mut self.0.lock())
    }

    fn desired(&self) -> Option<v1::DesiredState> {
        self.with(|known| {
            let assignments = known.desired.clone();
            let state = DesiredState {
                assignments,
                heartbeat_ms: 300,
                lease_ms: LEASE,
                notice: String::new(),
                probe: 0,
            };
            (!known.silent).then(|| (&state).into())
        })
    }

    /// The first calls break: a worker tries again.
    fn fault(&self) -> Result<(), Status> {
        self.with(|known| match known.faults {
            0 => Ok(()),
            _ => {
                known.faults -= 1;
                Err(Status::unavailable("a fault of the test"))
            }
        })
    }

    fn progress(&self, attempt: AttemptId) -> Option<Progress> {
        self.with(|known| {
            let reports = &known.states.last()?.attempts;
            let is = |report: &&AttemptReport| report.attempt == attempt;
            reports.iter().find(is).map(|report| report.progress.clone())
        })
    }
}

fn authorized<T>(request: &Request<T>) {
    assert_eq!(request.metadata().get(AUTHORIZATION).unwrap(), "Bearer secret");
    assert_eq!(request.metadata().get(WORKER_NAME).unwrap(), "w1");
}

#[tonic::async_trait]
impl Workers for Coordinator {
    type SessionStream = ReceiverStream<Result<v1::DesiredState, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerState>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        authorized(&request);
        let (sender, receiver) = mpsc::channel(4);
        let (coordinator, mut states) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(state)) = states.next().await {
                let state = WorkerState::try_from(state).unwrap();
                coordinator.with(|known| known.states.push(state));
                if let Some(desired) = coordinator.desired()
                    && sender.send(Ok(desired)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn append_log(
        &self,
        request: Request<v1::LogChunk>,
    ) -> Result<Response<v1::LogOffset>, Status> {
        authorized(&request);
        self.fault()?;
        let chunk = request.into_inner();
        let next = self.with(|known| {
            let log = known.logs.entry(chunk.log.clone()).or_default();
            let offset = usize::try_from(chunk.offset).unwrap();
            if offset <= log.len() {
                log.truncate(offset);
                log.extend_from_slice(&chunk.data);
            }
            if chunk.last {
                known.finished_logs.push(chunk.log);
            }
            log.len() as u64
        });
        Ok(Response::new(v1::LogOffset { next }))
    }

    async fn keep_files(
        &self,
        request: Request<v1::KeepFilesRequest>,
    ) -> Result<Response<v1::KeepFilesReply>, Status> {
        authorized(&request);
        Ok(Response::new(v1::KeepFilesReply {}))
    }

    async fn upload_offset(
        &self,
        request: Request<v1::UploadQuery>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        authorized(&request);
        let name = request.into_inner().file.unwrap().name;
        let have = self.with(|known| known.uploads.entry(name).or_default().len() as u64);
        Ok(Response::new(v1::UploadReply { have, ..Default::default() }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        authorized(&request);
        let mut chunks = request.into_inner();
        let first = chunks.next().await.unwrap()?;
        let name = first.query.clone().unwrap().file.unwrap().name;
        let have = self.with(|known| {
            let upload = known.uploads.get_mut(&name).unwrap();
            assert_eq!(upload.len() as u64, first.offset, "it goes on where it ended");
            // The first try of each file breaks in the middle of a chunk.
            if upload.is_empty() {
                upload.extend_from_slice(&first.data[..first.data.len() / 2]);
                return None;
            }
            upload.extend_from_slice(&first.data);
            Some(upload.len() as u64)
        });
        match have {
            Some(have) => Ok(Response::new(v1::UploadReply { have, ..Default::default() })),
            None => Err(Status::unavailable("a fault of the test")),
        }
    }
}

#[tonic::async_trait]
impl Blobs for Coordinator {
    type FetchStream = ReceiverStream<Result<v1::BlobChunk, Status>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        authorized(&request);
        let v1::FetchRequest { digest, offset, .. } = request.into_inner();
        let path = self.with(|known| known.blobs.get(&digest).cloned());
        let path = path.ok_or_else(|| Status::not_found(format!("no blob {digest}")))?;
        let content = std::fs::read(path).unwrap();
        let broken = self.fault().is_err();
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let size = content.len() as u64;
            for chunk in content[usize::try_from(offset).unwrap()..].chunks(200_000) {
                let data = chunk.to_vec().into();
                if sender
                    .send(Ok(v1::BlobChunk { data, size, ..Default::default() }))
                    .await
                    .is_err()
                    || broken
                {
                    break;
                }
            }
            if broken {
                let _ = sender.send(Err(Status::unavailable("a fault of the test"))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A coordinator that serves, and a worker that works for it.
struct Pair {
    coordinator: Coordinator,
    worker: Child,
    _runtime: tokio::runtime::Runtime,
}

impl Pair {
    fn start(scene: &Scene, blobs: HashMap<String, PathBuf>, faults: u32) -> Self {
        Self::start_with(scene, blobs, faults, &[])
    }

    /// The same by a worker with these options.
    fn start_with(
        scene: &Scene,
        blobs: HashMap<String, PathBuf>,
        faults: u32,
        options: &[&str],
    ) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let coordinator = Coordinator::default();
        coordinator.with(|known| (known.blobs, known.faults) = (blobs, faults));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(WorkersServer::new(coordinator.clone()))
            .add_service(BlobsServer::new(coordinator.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        let token = scene.dir.path().join("token");
        std::fs::write(&token, "secret\n").unwrap();
        let worker = Command::new(WORKER)
            .args(["run", "--name", "w1", "--coordinator", &format!("http://{address}")])
            .args(options)
            .args(["--drain-time", "5", "--data-dir"])
            .arg(&scene.data)
            .arg("--token-file")
            .arg(token)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { coordinator, worker, _runtime: runtime }
    }

    fn want(&self, assignments: &[Assignment]) {
        self.coordinator.with(|known| known.desired = assignments.to_vec());
    }

    fn wait<T>(&self, what: &str, mut until: impl FnMut(&Coordinator) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = until(&self.coordinator) {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(90), "{what} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ended(&self, attempt: i64) -> Outcome {
        self.wait("the end", |coordinator| match coordinator.progress(AttemptId(attempt)) {
            Some(Progress::Ended(outcome)) => Some(outcome),
            _ => None,
        })
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.worker.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn assignment(scene: &Scene, srpm: &Path, attempt: i64) -> Assignment {
    let content = std::fs::read(srpm).unwrap();
    let name = srpm.file_name().unwrap().to_string_lossy().into_owned();
    let (digest, size) = (Sha256::compute(&content), content.len() as u64);
    Assignment {
        attempt: AttemptId(attempt),
        task: TaskId(1),
        build: BuildId(1),
        epoch: Epoch(7),
        input: TaskInput::Srpm {
            file: SourceFile { name, digest, size, executable: false },
            dynamic_requires: false,
            noarch: false,
        },
        package: "p".into(),
        target: "lab".into(),
        arch: Arch::X86_64,
        lock: Sha256::compute(&scene.lock().to_bytes()),
        round: 0,
        macros: "%dist .lab9\n".into(),
        nocheck: false,
        keep: Vec::new(),
        limits: Limits { disk_mib: 2048, ..Limits::default() },
        allow: rpmfarm_core::Allowed::new(),
    }
}

/// A number of seconds that no test of another file sleeps: those run at the same time on the same
/// host, as the lab's `leaves-daemon` with its 27182818 seconds does.
const SLEEP: &str = "16180339";

/// The processes of builds of this file's tests that sleep.
fn sleepers() -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let sleeps = |process: &PathBuf| {
        std::fs::read(process.join("cmdline"))
            .is_ok_and(|line| line == format!("sleep\0{SLEEP}\0").as_bytes())
    };
    processes.filter(sleeps).collect()
}

fn sleeps() -> bool {
    !sleepers().is_empty()
}

/// The host's ids of a build's process: that of root in its namespace, and its own.
fn ids_of(process: &Path) -> (u32, u32) {
    let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap();
    let number = |text: &str, field: usize| -> u32 {
        text.split_whitespace().nth(field).unwrap().parse().unwrap()
    };
    let status = read("status");
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    (number(&read("uid_map"), 1), number(uid, 1))
}

/// Checks that the worker's key has signed the files of this very attempt, and its input.
fn signs_what_it_made(wanted: &Assignment, success: &Success) {
    let proof = success.proof.as_deref().expect("it is signed");
    let statement = Statement {
        worker: "w1",
        target: &wanted.target,
        build: wanted.build,
        task: wanted.task,
        attempt: wanted.attempt,
        kind: TaskKind::Build,
        package: &wanted.package,
        arch: wanted.arch,
        input: proof.input,
        files: &success.files,
    };
    let TaskInput::Srpm { file, .. } = &wanted.input else { panic!("{:?}", wanted.input) };
    assert_eq!(proof.input, file.digest);
    assert!(verify(&proof.key, &statement.to_bytes(), &proof.signature));
    let other = Statement { attempt: AttemptId(2), ..statement };
    assert!(!verify(&proof.key, &other.to_bytes(), &proof.signature));
}

#[test]
fn a_build_comes_through_faults_whole() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("whole", &spec("whole", "seq 100000"), &[]);
    let pair = Pair::start(&scene, scene.blobs(&srpm), 5);
    let wanted = assignment(&scene, &srpm, 1);
    pair.want(std::slice::from_ref(&wanted));
    let Outcome::Succeeded(success) = pair.ended(1) else { panic!("{:?}", pair.ended(1)) };
    assert_eq!(success.files.len(), 1);
    signs_what_it_made(&wanted, &success);
    pair.coordinator.with(|known| {
        let file = &success.files[0];
        assert_eq!(Sha256::compute(&known.uploads[&file.name]), file.digest);
        let log = String::from_utf8(known.logs["build"].clone()).unwrap();
        assert!(log.contains("\n99999\n100000\n"), "no line is lost");
        assert_eq!(log.matches("\n50000\n").count(), 1, "no line is doubled");
        assert!(log.trim_end().ends_with(".rpm"), "{}", &log[log.len() - 300..]);
        let mut finished = known.finished_logs.clone();
        finished.sort();
        assert_eq!(finished, ["build", "root"]);
    });
    // It is reported until it is no longer wanted.
    std::thread::sleep(Duration::from_secs(1));
    assert!(pair.coordinator.progress(AttemptId(1)).is_some());
    pair.want(&[]);
    pair.wait("being forgotten", |coordinator| {
        coordinator.with(|known| known.states.last()?.attempts.is_empty().then_some(()))
    });
}

/// Two builds of one worker at once: no process of one has an id of the other or of a file on disk.
/// The layers that the first build's cages have made serve the second one, too, with the same
/// owners, and files that both write have the ids of files on disk.
#[test]
fn builds_at_once_have_ids_of_their_own() {
    if !has_own_ids() {
        return;
    }
    let scene = Scene::new(&[]);
    let script = format!("{FINDS_OWNERS}sleep {SLEEP}");
    let srpm = scene.srpm("apart", &spec("apart", &script), &[]);
    scene.add_owners();
    let pair = Pair::start_with(&scene, scene.blobs(&srpm), 0, &["--slots", "2"]);
    let first = assignment(&scene, &srpm, 1);
    let second = Assignment { task: TaskId(2), ..assignment(&scene, &srpm, 2) };
    let sleeping = |count: usize, attempt: i64| {
        pair.wait("the build", |coordinator| {
            if let Some(Progress::Ended(outcome)) = coordinator.progress(AttemptId(attempt)) {
                panic!("{outcome:?}");
            }
            (sleepers().len() == count).then_some(())
        });
    };
    pair.want(std::slice::from_ref(&first));
    sleeping(1, 1);
    pair.want(&[first, second]);
    sleeping(2, 2);

    let mut ids: Vec<(u32, u32)> = sleepers().iter().map(|process| ids_of(process)).collect();
    ids.sort_unstable();
    let (low, high) = (UID_BASE + ID_COUNT, UID_BASE + 2 * ID_COUNT);
    assert_eq!(ids, [(low, low + 1000), (high, high + 1000)]);
    assert_eq!(scene.on_disk("var/lib/owned"), (UID_BASE + 60_000, UID_BASE + 60_001, 0o6755));
    // Scratch space is mounted where only the worker sees it.
    let seen = PathBuf::from(format!("/proc/{}/root", pair.worker.id()));
    let scratch = seen.join(scene.data.strip_prefix("/").unwrap()).join("scratch");
    let made: Vec<(u32, u32, u32)> = std::fs::read_dir(scratch)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("upper/builddir/made"))
        .filter(|path| path.exists())
        .map(|path| owner(&path))
        .collect();
    assert_eq!(made, [(UID_BASE + 1000, UID_BASE + 1000, 0o644); 2]);
}

/// A change on the coordinator's disk changes no build.
#[test]
fn a_source_that_was_changed_is_found_by_its_digest() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("given", &spec("given", "true"), &[]);
    let good = std::fs::read(&srpm).unwrap();
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = scene.dir.path().join("changed.rpm");
    std::fs::write(&changed, &bytes).unwrap();
    let mut blobs = scene.blobs(&srpm);
    blobs.insert(Sha256::compute(&good).hex(), changed);
    let pair = Pair::start(&scene, blobs, 0);
    pair.want(&[assignment(&scene, &srpm, 1)]);
    let Outcome::Failed(failure) = pair.ended(1) else { panic!("it was built") };
    assert_eq!((failure.fault, failure.stage.as_str()), (Fault::Farm, "fetch"), "{failure}");
    assert!(failure.message.contains(&Sha256::compute(&bytes).hex()), "{failure}");
}

#[test]
fn generated_requirements_go_round() {
    let scene = Scene::new(&[]);
    let dynamic = spec("round", "true")
        .replace("%build", "%generate_buildrequires\necho 'zlib1g-dev'\n%build");
    let srpm = scene.srpm("round", &dynamic, &[]);
    let narrow = assignment(&scene, &srpm, 1);
    let lock = scene.add_lock(&[&["zlib1g-dev"]]);
    let wide = Assignment { round: 1, lock, ..narrow.clone() };
    let pair = Pair::start(&scene, scene.blobs(&srpm), 0);
    pair.want(std::slice::from_ref(&narrow));
    let requires = pair.wait("the list", |coordinator| match coordinator.progress(AttemptId(1)) {
        Some(Progress::NeedsRequires { round: 0, requires }) => Some(requires),
        Some(Progress::Ended(outcome)) => panic!("{outcome:?}"),
        _ => None,
    });
    assert_eq!(requires, ["zlib1g-dev"]);
    pair.want(&[wide]);
    assert!(matches!(pair.ended(1), Outcome::Succeeded(_)), "{:?}", pair.ended(1));
}

#[test]
fn without_the_coordinator_builds_end() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("lost", &spec("lost", &format!("sleep {SLEEP}")), &[]);
    let pair = Pair::start(&scene, scene.blobs(&srpm), 0);
    pair.want(&[assignment(&scene, &srpm, 1)]);
    pair.wait("the build", |_| sleeps().then_some(()));
    pair.coordinator.with(|known| known.silent = true);
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(LEASE));
    assert!(sleeps(), "one lease is no reason");
    pair.wait("the end of the build", |_| (!sleeps()).then_some(()));
    assert!(begin.elapsed() < Duration::from_millis(LEASE * 2 + 3000), "{:?}", begin.elapsed());
    // It comes back by itself, without the attempt, and takes it up anew.
    pair.coordinator.with(|known| known.silent = false);
    pair.wait("the build again", |_| sleeps().then_some(()));
    // An attempt that is not wanted any more is killed.
    pair.want(&[]);
    pair.wait("the end of the build", |_| (!sleeps()).then_some(()));
}

#[test]
fn a_shutdown_tells_how_builds_ended() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("down", &spec("down", &format!("sleep {SLEEP}")), &[]);
    let mut pair = Pair::start(&scene, scene.blobs(&srpm), 0);
    pair.want(&[assignment(&scene, &srpm, 1)]);
    pair.wait("the build", |_| sleeps().then_some(()));
    pair.signal(nix::sys::signal::Signal::SIGTERM);
    pair.wait("draining", |coordinator| {
        coordinator.with(|known| known.states.last()?.draining.then_some(()))
    });
    assert!(sleeps(), "what runs may end");
    // A task that comes now is given back at once.
    pair.want(&[assignment(&scene, &srpm, 1), assignment(&scene, &srpm, 2)]);
    let Outcome::Failed(failure) = pair.ended(2) else { panic!("it was taken") };
    assert_eq!(failure.fault, Fault::Worker);
    assert!(failure.message.contains("was shutting down"), "{failure}");
    assert_eq!(failure.stage, FailureStage::Shutdown, "{failure}");
    pair.signal(nix::sys::signal::Signal::SIGTERM);
    let Outcome::Failed(failure) = pair.ended(1) else { panic!("it cannot have succeeded") };
    assert_eq!(
        (failure.fault, failure.stage, failure.message.as_str()),
        (Fault::Worker, FailureStage::Shutdown, "the worker was shut down")
    );
    pair.want(&[]);
    assert!(pair.worker.wait().unwrap().success());
    assert!(!sleeps());
}
