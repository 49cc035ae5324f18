//! Leases over the protocol, with a worker that the test plays: repeated, reordered and late
//! messages, and a store that is down. The faults are those of docs/faults.md. Also the placement
//! of tasks, and the reasons of waiting builds.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../common/mod.rs"]
mod common;
mod objects;
mod placing;
mod quarantine;
mod why;

use std::time::{Duration, Instant};

use clap::Parser as _;
use rpmfarm_coordinator::clock::Now;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::logs::LogName;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::store::{Import, NewTask};
use rpmfarm_coordinator::work::LocalPass as _;
use rpmfarm_coordinator::{server, start};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Sha256, TaskId, Timestamp};
use rpmfarm_proto::AUTHORIZATION;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::attempt_report::Progress;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use self::common::builds::{bundle, import, new_build, ready};

const NOW: Timestamp = Timestamp::from_us(1_000_000);
const TARGET: &str = "almalinux-9";

/// A coordinator that serves and whose passes the test runs.
struct Served {
    farm: Parts,
    client: WorkersClient<Channel>,
    address: String,
    token: String,
    _data: TempDir,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with these options.
    async fn start_with(options: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().to_str().unwrap();
        let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/targets");
        let arguments = ["rpmfarm-coordinator", "--data", path, "--targets", targets];
        let short = ["--heartbeat", "200ms", "--lease", "2s"];
        let config = Config::parse_from(arguments.iter().chain(&short).chain(options));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (farm, _words) = start::open(&config, &address).await.unwrap();
        tokio::spawn(server::serve(farm.clone(), listener, std::future::pending()));
        let token = std::fs::read_to_string(data.path().join("token")).unwrap();
        let client = WorkersClient::connect(address.clone()).await.unwrap();
        Self { farm, client, address, token: token.trim().into(), _data: data }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        request
    }

    /// A build whose SRPM task can be given away.
    async fn task(&self) -> (BuildId, TaskId) {
        let store = &self.farm.store;
        let new = [new_build(TARGET, "hello")];
        let build = store.build_insert(&new, "tester", "", NOW).await.unwrap().ids[0];
        let bundle = self.farm.blobs.put(&bundle("hello").to_bytes()).unwrap();
        let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
        let task = ready(store, build, &Import { bundle, ..import(NOW) }, task).await;
        (build, task)
    }

    async fn worker(&self, name: &str) -> Worker<'_> {
        let (sender, receiver) = mpsc::channel(8);
        let mut worker =
            Worker { name: name.into(), sender, answers: None, sequence: 0, served: self };
        worker.say(Vec::new()).await;
        let request = self.request(ReceiverStream::new(receiver));
        let answers = self.client.clone().session(request).await.unwrap().into_inner();
        worker.answers = Some(answers);
        worker.answer().await;
        worker
    }

    async fn dispatch(&self) {
        let now = Now { instant: Instant::now(), time: NOW };
        self.farm.dispatch().pass(&self.farm.store, now).await.unwrap();
    }

    /// Runs the pass of leases each half second for some time.
    async fn let_pass(&self, time: Duration) {
        let (now, step) = (Instant::now(), Duration::from_millis(500));
        let mut at = Duration::ZERO;
        while at <= time {
            let now = Now { instant: now + at, time: NOW };
            self.farm.leases().pass(&self.farm.store, now).await.unwrap();
            at += step;
        }
    }

    async fn upload(&self, query: &v1::UploadQuery, data: &[u8]) -> Result<u64, tonic::Status> {
        let chunk =
            v1::UploadChunk { query: Some(query.clone()), offset: 0, data: data.to_vec().into() };
        let request = self.request(tokio_stream::iter([chunk]));
        Ok(self.client.clone().upload(request).await?.into_inner().have)
    }

    async fn append(&self, assignment: &v1::Assignment, offset: u64, data: &str) -> u64 {
        let chunk = v1::LogChunk {
            attempt: assignment.attempt,
            epoch: assignment.epoch,
            log: "build".into(),
            offset,
            data: data.to_owned().into_bytes().into(),
            last: false,
        };
        self.client.clone().append_log(self.request(chunk)).await.unwrap().into_inner().next
    }
}

/// A worker, as far as the coordinator can tell.
struct Worker<'a> {
    name: String,
    sender: mpsc::Sender<v1::WorkerState>,
    answers: Option<Streaming<v1::DesiredState>>,
    sequence: u64,
    served: &'a Served,
}

impl Worker<'_> {
    /// Says how far attempts are.
    async fn say(&mut self, attempts: Vec<v1::AttemptReport>) {
        self.sequence += 1;
        let state = v1::WorkerState {
            name: self.name.clone(),
            version: "1".into(),
            protocol: rpmfarm_core::worker_standing::PROTOCOL,
            arches: vec!["x86_64".into()],
            slots: 1,
            cpus: 1,
            memory_mib: 4096,
            disk_free_mib: 100_000,
            attempts,
            sequence: self.sequence,
            ..Default::default()
        };
        self.sender.send(state).await.unwrap();
    }

    /// The answer to the last state.
    async fn answer(&mut self) -> v1::DesiredState {
        loop {
            let answer = self.hear().await;
            assert!(answer.heard <= self.sequence);
            if answer.heard == self.sequence {
                return answer;
            }
        }
    }

    async fn hear(&mut self) -> v1::DesiredState {
        let answers = self.answers.as_mut().unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.message());
        answer.await.expect("an answer in time").unwrap().expect("the stream goes on")
    }

    /// The assignment that it is given.
    async fn assignment(&mut self) -> v1::Assignment {
        self.served.dispatch().await;
        loop {
            if let [assignment] = self.hear().await.assignments.as_slice() {
                return assignment.clone();
            }
        }
    }
}

fn succeeded(assignment: &v1::Assignment) -> v1::AttemptReport {
    v1::AttemptReport {
        attempt: assignment.attempt,
        epoch: assignment.epoch,
        progress: Some(Progress::Succeeded(v1::Success::default())),
    }
}

/// Fault 8; I2, I3. A completion and an upload that come twice change nothing the second time.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_counts_once() {
    let served = Served::start().await;
    let (_, task) = served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    let file = v1::FileRef {
        name: "hello-1-1.src.rpm".into(),
        digest: Sha256::compute(b"content").hex(),
        size: 7,
        ..Default::default()
    };
    let query = v1::UploadQuery {
        attempt: assignment.attempt,
        epoch: assignment.epoch,
        file: Some(file),
        ..Default::default()
    };
    assert_eq!(served.upload(&query, b"content").await.unwrap(), 7);
    assert_eq!(served.upload(&query, b"content").await.unwrap(), 7);

    for _ in 0..2 {
        worker.say(vec![succeeded(&assignment)]).await;
        assert!(worker.answer().await.assignments.is_empty(), "it may forget it");
    }
    let store = &served.farm.store;
    assert_eq!(store.attempt_list_to_accept(NOW).await.unwrap().len(), 1);
    assert_eq!(store.late_result_list(task).await.unwrap(), [], "it was no late result");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_files_are_what_a_live_attempt_uploaded_and_nothing_else() {
    let served = Served::start().await;
    let (build, _) = served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    let request = |path: &str, content: &[u8], epoch: i64| v1::KeepFilesRequest {
        attempt: assignment.attempt,
        epoch,
        files: vec![v1::KeptUpload {
            path: path.into(),
            digest: Sha256::compute(content).hex(),
            size: content.len() as u64,
        }],
    };
    let keep = async |request: v1::KeepFilesRequest| {
        served.client.clone().keep_files(served.request(request)).await.map(drop)
    };
    let code = |answer: Result<(), tonic::Status>| answer.unwrap_err().code();
    let epoch = assignment.epoch;
    let refused = keep(request("x-1/config.log", b"content", epoch)).await;
    assert_eq!(code(refused), tonic::Code::FailedPrecondition, "it was not uploaded");

    let file = v1::FileRef {
        name: "kept-0".into(),
        digest: Sha256::compute(b"content").hex(),
        size: 7,
        ..Default::default()
    };
    let query = v1::UploadQuery {
        attempt: assignment.attempt,
        epoch,
        file: Some(file),
        ..Default::default()
    };
    assert_eq!(served.upload(&query, b"content").await.unwrap(), 7);
    for path in ["../x", "/etc/passwd", "a//b", ""] {
        let refused = keep(request(path, b"content", epoch)).await;
        assert_eq!(code(refused), tonic::Code::InvalidArgument, "{path:?}");
    }
    assert!(keep(request("x-1/config.log", b"content", epoch + 1)).await.is_err(), "another epoch");
    let kept = || async { served.farm.store.kept_file_list(build).await.unwrap() };
    assert!(kept().await.is_empty());
    keep(request("x-1/config.log", b"content", epoch)).await.unwrap();
    // Later requests add nothing: the first one counts.
    keep(request("x-1/other.log", b"content", epoch)).await.unwrap();
    let paths: Vec<_> = kept().await.into_iter().map(|row| row.file.path).collect();
    assert_eq!(paths, ["x-1/config.log"]);
    assert_eq!(served.farm.store.kept_file_count(build).await.unwrap(), 1);
}

/// An upload that was whole when the coordinator died is checked before it counts; I5.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_whole_but_unchecked_is_checked() {
    let served = Served::start().await;
    served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    let query = |content: &[u8]| v1::UploadQuery {
        attempt: assignment.attempt,
        epoch: assignment.epoch,
        file: Some(v1::FileRef {
            name: "hello-1-1.src.rpm".into(),
            digest: Sha256::compute(content).hex(),
            size: content.len() as u64,
            ..Default::default()
        }),
        ..Default::default()
    };
    let offset = async |query| {
        let request = served.request(query);
        served.client.clone().upload_offset(request).await.map(|reply| reply.into_inner().have)
    };
    let blobs = &served.farm.blobs;
    blobs.upload_chunk(Sha256::compute(b"right"), 5, 0, b"right").unwrap();
    assert_eq!(offset(query(b"right")).await.unwrap(), 5);
    assert!(blobs.contains(Sha256::compute(b"right")), "it is a blob now");
    blobs.upload_chunk(Sha256::compute(b"wrong"), 5, 0, b"wr0ng").unwrap();
    assert!(offset(query(b"wrong")).await.is_err());
    assert_eq!(offset(query(b"wrong")).await.unwrap(), 0, "it starts again");
}

/// Fault 6; I2. The result of an attempt whose lease is over is recorded, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_result_is_recorded_and_never_applied() {
    let served = Served::start().await;
    let (build, task) = served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    served.let_pass(Duration::from_secs(3)).await;
    let store = &served.farm.store;
    assert_eq!(store.attempt_list_live(None).await.unwrap(), [], "the lease is over");

    let file = v1::FileRef {
        name: "a.rpm".into(),
        digest: Sha256::compute(b"a").hex(),
        size: 1,
        ..Default::default()
    };
    let query = v1::UploadQuery {
        attempt: assignment.attempt,
        epoch: assignment.epoch,
        file: Some(file),
        ..Default::default()
    };
    let refused = served.upload(&query, b"a").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(!served.farm.blobs.contains(Sha256::compute(b"a")));
    worker.say(vec![succeeded(&assignment)]).await;
    assert!(worker.answer().await.assignments.is_empty());
    let late = store.late_result_list(task).await.unwrap();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((late[0].worker.as_str(), late[0].said.as_str()), ("w1", "uploads a.rpm"));
    assert_eq!(store.attempt_list_to_accept(NOW).await.unwrap(), []);
    assert!(store.build_is_open(build).await.unwrap());

    // A worker that reports on an attempt which never was its own is disconnected, and the report
    // is not recorded.
    let mut other = served.worker("w2").await;
    other.say(vec![succeeded(&assignment)]).await;
    let answers = other.answers.as_mut().unwrap();
    let refused = loop {
        match answers.message().await {
            Ok(answer) => assert!(answer.is_some(), "the stream ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    assert_eq!(store.late_result_list(task).await.unwrap().len(), 1);
}

/// Fault 9. Chunks of a log that come out of order are put in order by their offsets.
#[tokio::test(flavor = "multi_thread")]
async fn a_reordered_log_is_in_order() {
    let served = Served::start().await;
    served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    assert_eq!(served.append(&assignment, 6, "three ").await, 0, "what comes too early waits");
    assert_eq!(served.append(&assignment, 0, "one ").await, 4);
    assert_eq!(served.append(&assignment, 4, "two ").await, 8);
    assert_eq!(served.append(&assignment, 0, "one ").await, 8, "what is repeated is known");
    assert_eq!(served.append(&assignment, 6, "o three").await, 13);
    let attempt = AttemptId(assignment.attempt);
    let read = served.farm.logs.reader(attempt, LogName::Build, 0).next(100);
    assert_eq!(read.unwrap().unwrap().0, b"one two three");
}

/// The worker's half of fault 15; I9. While the store is down, workers keep their attempts, each
/// state is answered, and a new session gets no work.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_a_coordinator_tells_workers_to_hold_on() {
    let served = Served::start().await;
    served.task().await;
    let mut worker = served.worker("w1").await;
    let assignment = worker.assignment().await;
    served.farm.store.close().await;
    let before = Instant::now();
    for _ in 0..2 {
        worker.say(vec![succeeded(&assignment)]).await;
        assert!(worker.answer().await.hold);
    }
    let mut other = served.worker("w2").await;
    other.say(Vec::new()).await;
    assert!(other.answer().await.hold);
    let workers = served.farm.fleet.workers(Instant::now());
    assert_eq!(workers["w2"].liveness.as_str(), "stale");
    assert_eq!(served.farm.fleet.workers(before)["w1"].liveness.as_str(), "alive");
}

/// Each worker's name is a label of metrics: another caller must not add one, nor values for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_counts_is_taken_under_its_own_name_only() {
    let served = Served::start().await;
    let state = |name: &str, root_hits| v1::WorkerState {
        name: name.into(),
        version: "1".into(),
        protocol: rpmfarm_core::worker_standing::PROTOCOL,
        arches: vec!["x86_64".into()],
        root_hits,
        ..Default::default()
    };
    for (name, hits) in [("w1", 7), ("other", 8)] {
        let mut request = served.request(tokio_stream::iter([state(name, hits)]));
        request.metadata_mut().insert(rpmfarm_proto::WORKER, "w1".parse().unwrap());
        let mut answers = served.client.clone().session(request).await.unwrap().into_inner();
        let answer = answers.message().await;
        assert_eq!(answer.is_ok(), name == "w1", "{answer:?}");
    }
    let text = served.farm.metrics.text();
    assert!(text.contains("rpmfarm_worker_root_hits{worker=\"w1\"} 7"), "{text}");
    assert!(!text.contains("worker=\"other\""), "{text}");
}
