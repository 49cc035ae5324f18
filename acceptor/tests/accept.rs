//! The acceptor as a process, with requests of anybody who reaches its socket and packages of
//! rpmbuild: only results that a known worker has signed are accepted.

#![allow(clippy::unwrap_used)]

#[path = "../../rpmfile/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rpmfarm_core::limits::Limits;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::statement::{
    Acceptance, PROTOCOL, Proof, PublicKey, SignedAcceptance, Statement,
};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Sha256, TaskId};
use rpmfarm_guarded::key::{SigningKey, read_public, verify};
use rpmfarm_proto::v1::accept_reply::Verdict;
use rpmfarm_proto::v1::acceptor_client::AcceptorClient;
use rpmfarm_proto::v1::{self, AcceptRequest, GetAcceptorStatusRequest};
use rpmfarm_rpmfile::inspect;
use support::Built;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// An acceptor with a blob store and the key of a worker `w1`. It ends with this.
struct Scene {
    dir: tempfile::TempDir,
    worker: SigningKey,
    process: Option<Child>,
}

impl Scene {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let worker = SigningKey::load_or_make(&dir.path().join("w1.key")).unwrap();
        let mut scene = Self { dir, worker, process: None };
        scene.restart(options);
        scene
    }

    /// Kills it, where it runs, and starts it.
    fn restart(&mut self, options: &[&str]) {
        self.kill();
        let socket = self.path("acceptor.sock");
        let mut command = Command::new(binary());
        command.arg("serve").arg("--state").arg(self.path("state")).arg("--socket").arg(&socket);
        command.arg("--blobs").arg(self.path("blobs")).args(options).stdin(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the acceptor does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn client(&self) -> AcceptorClient<Channel> {
        let socket = self.path("acceptor.sock");
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://acceptor");
        AcceptorClient::new(endpoint.connect_with_connector(connector).await.unwrap())
    }

    /// Runs a command of an operator.
    fn operate(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--state").arg(self.path("state")).output().unwrap()
    }

    fn operated(&self, words: &[&str]) -> String {
        let output = self.operate(words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn logged(&self, kind: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path("state/acceptances.jsonl")).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }

    /// Puts a file into the blob store.
    fn put(&self, path: &Path) -> Sha256 {
        let bytes = fs::read(path).unwrap();
        let digest = Sha256::compute(&bytes);
        fs::create_dir_all(self.blob(digest).parent().unwrap()).unwrap();
        fs::write(self.blob(digest), bytes).unwrap();
        digest
    }

    fn blob(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.path("blobs").join(&hex[..2]).join(hex)
    }

    fn file(&self, path: &Path, kind: ResultKind) -> ResultFile {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let size = fs::metadata(path).unwrap().len();
        ResultFile { name, kind, digest: self.put(path), size }
    }

    /// The coordinator's request after `w1` has built a package.
    fn asked(&self, of: &Built) -> AcceptRequest {
        let input = self.put(&of.source);
        self.signed(
            &self.worker,
            5,
            TaskKind::Build,
            input,
            &[self.file(&of.binary, ResultKind::Rpm)],
        )
    }

    /// The same after an attempt of `w1` made these files.
    fn signed(
        &self,
        key: &SigningKey,
        attempt: i64,
        kind: TaskKind,
        input: Sha256,
        files: &[ResultFile],
    ) -> AcceptRequest {
        let statement = Statement {
            worker: "w1",
            target: "lab",
            build: BuildId(3),
            task: TaskId(4),
            attempt: AttemptId(attempt),
            kind,
            package: "swapme",
            arch: Arch::X86_64,
            input,
            files,
        };
        let signature = key.sign(&statement.to_bytes());
        let proof = Proof { key: key.public(), input, signature };
        AcceptRequest {
            target: "lab".into(),
            build: 3,
            task: 4,
            attempt,
            kind: kind.as_str().into(),
            arch: "x86_64".into(),
            package: "swapme".into(),
            worker: "w1".into(),
            proof: Some((&proof).into()),
            files: files.iter().map(Into::into).collect(),
            limits: Some((&Limits::default()).into()),
            protocol: PROTOCOL,
        }
    }

    fn other_key(&self) -> SigningKey {
        SigningKey::load_or_make(&self.path("other.key")).unwrap()
    }

    /// The signed acceptances, checked with the acceptor's public key as the signer does.
    async fn accepted(&self, request: AcceptRequest) -> Vec<Acceptance> {
        let key: PublicKey = read_public(&self.path("state/acceptor.pub")).unwrap();
        let acceptances = match self.verdict(request).await {
            Verdict::Accepted(accepted) => accepted.acceptances,
            other => panic!("{other:?}"),
        };
        let read = |wire: v1::SignedAcceptance| {
            let SignedAcceptance { text, signature } = wire.try_into().unwrap();
            assert!(verify(&key, text.as_bytes(), &signature));
            Acceptance::parse(&text).unwrap()
        };
        acceptances.into_iter().map(read).collect()
    }

    async fn verdict(&self, request: AcceptRequest) -> Verdict {
        self.client().await.accept(request).await.unwrap().into_inner().verdict.unwrap()
    }

    /// It is refused for good, as somebody's fault.
    async fn refused(&self, request: AcceptRequest, fault: v1::Fault, why: &str) {
        match self.verdict(request).await {
            Verdict::Refused(failure) => {
                assert!(failure.message.contains(why), "{why}: {failure:?}");
                assert_eq!((failure.fault(), failure.stage.as_str()), (fault, "accept"));
            }
            other => panic!("{why}: {other:?}"),
        }
    }

    /// It waits for somebody.
    async fn waits(&self, request: AcceptRequest, why: &str) {
        match self.verdict(request).await {
            Verdict::Waits(message) => assert!(message.contains(why), "{why}: {message}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rpmfarm-acceptor"))
}

/// A package of this name and content.
fn built(name: &str, content: &str) -> Built {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nSource0: sample.txt\n\
         BuildArch: noarch\n%description\n{content}\n%install\nmkdir -p %{{buildroot}}/usr/share\n\
         echo {content} > %{{buildroot}}/usr/share/{name}\n%files\n/usr/share/{name}\n"
    );
    support::build_spec(&spec, &[])
}

#[tokio::test]
async fn what_a_worker_signed_is_accepted_and_the_same_again_is_the_same() {
    let mut scene = Scene::start(&[]);
    let built = built("swapme", "one");
    let request = scene.asked(&built);
    let first = scene.accepted(request.clone()).await;
    let inspected = inspect(&built.binary).unwrap();
    let expected = Acceptance {
        target: "lab".into(),
        build: BuildId(3),
        attempt: AttemptId(5),
        worker: "w1".into(),
        nevra: "swapme-1-1.noarch".into(),
        file: Sha256::compute(&fs::read(&built.binary).unwrap()),
        header: inspected.header_sha256,
        time: first[0].time,
    };
    assert_eq!(first, [expected]);
    // Killed, not stopped: the time is that of the first.
    for _ in 0..2 {
        assert_eq!(scene.accepted(request.clone()).await, first);
        scene.restart(&[]);
    }
    assert_eq!((scene.logged("attempt").len(), scene.logged("package").len()), (1, 1));
    assert_eq!(scene.logged("package")[0]["nevra"], "swapme-1-1.noarch");
    assert_eq!(scene.logged("worker")[0]["by_hand"], false);

    let source = scene.file(&built.source, ResultKind::Srpm);
    let input = Sha256::compute(b"a list of sources");
    let request = scene.signed(&scene.worker, 6, TaskKind::Srpm, input, &[source]);
    assert_eq!(scene.accepted(request).await[0].nevra, "swapme-1-1.src");
    let status = scene.client().await.get_status(GetAcceptorStatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!((status.workers, status.accepted, status.only_known), (1, 2, false));
    let key = read_public(&scene.path("state/acceptor.pub")).unwrap();
    assert_eq!(status.key, key.to_string());
    let printed = scene.operated(&["key"]);
    assert_eq!(printed, fs::read_to_string(scene.path("state/acceptor.pub")).unwrap());
}

#[tokio::test]
async fn what_the_worker_did_not_sign_is_refused() {
    let scene = Scene::start(&[]);
    let (one, other) = (built("swapme", "one"), built("swapme", "other"));
    let good = scene.asked(&one);
    let foreign = scene.asked(&other);
    let why = "the signature of worker w1";
    for request in [
        AcceptRequest { target: "prod".into(), ..good.clone() },
        AcceptRequest { worker: "w2".into(), ..good.clone() },
        AcceptRequest { build: 4, ..good.clone() },
        AcceptRequest { task: 5, ..good.clone() },
        AcceptRequest { attempt: 6, ..good.clone() },
        AcceptRequest { arch: "aarch64".into(), ..good.clone() },
        AcceptRequest { kind: "noarch".into(), ..good.clone() },
        AcceptRequest { files: foreign.files.clone(), ..good.clone() },
        AcceptRequest { proof: foreign.proof.clone(), ..good.clone() },
    ] {
        let why = if request.worker == "w1" { why } else { "the signature of worker w2" };
        scene.refused(request, v1::Fault::Worker, why).await;
    }
    assert_eq!(scene.logged("denied").len(), 3, "each once: {:?}", scene.logged("denied"));
    scene.accepted(good.clone()).await;

    let mut client = scene.client().await;
    for (request, why) in [
        (AcceptRequest { proof: None, ..good.clone() }, "lacks its proof"),
        (AcceptRequest { kind: "repeat".into(), ..good.clone() }, "never accepted"),
        (AcceptRequest { files: Vec::new(), ..good.clone() }, "expected 1 to"),
        (AcceptRequest { worker: "../w1".into(), ..good.clone() }, "worker"),
        (AcceptRequest { protocol: 0, ..good.clone() }, "update rpmfarm-coordinator"),
    ] {
        let status = client.accept(request).await.unwrap_err();
        assert!(status.message().contains(why), "{why}: {status}");
    }
}

#[tokio::test]
async fn another_key_of_a_worker_waits_for_an_operator() {
    let mut scene = Scene::start(&[]);
    let one = built("swapme", "one");
    scene.accepted(scene.asked(&one)).await;
    let file = scene.file(&one.binary, ResultKind::Rpm);
    let input = scene.put(&one.source);
    let request = scene.signed(&scene.other_key(), 6, TaskKind::Build, input, &[file]);
    for _ in 0..2 {
        scene.waits(request.clone(), "rpmfarm-acceptor worker trust w1").await;
        scene.restart(&[]);
    }
    assert!(scene.operated(&["worker", "list"]).contains("waits for"));
    assert!(!scene.operate(&["worker", "trust", "w2"]).status.success());
    // While it runs.
    scene.operated(&["worker", "trust", "w1"]);
    scene.accepted(request).await;
    let by_hand: Vec<_> =
        scene.logged("worker").iter().map(|line| line["by_hand"].clone()).collect();
    assert_eq!(by_hand, [false, true]);
    // Forgotten, the next one is the first again.
    scene.operated(&["worker", "forget", "w1"]);
    let file = scene.file(&one.binary, ResultKind::Rpm);
    let request = scene.signed(&scene.worker, 7, TaskKind::Build, input, &[file]);
    scene.accepted(request.clone()).await;

    scene.operated(&["worker", "forget", "w1"]);
    scene.restart(&["--only-known"]);
    scene.waits(request.clone(), "worker w1").await;
    let status = scene.client().await.get_status(GetAcceptorStatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!((status.only_known, status.waiting), (true, vec!["w1".to_owned()]));
    scene.operated(&["worker", "trust", "w1"]);
    scene.accepted(request).await;
}

#[tokio::test]
async fn a_blob_that_is_not_what_was_signed_waits() {
    let scene = Scene::start(&[]);
    let (one, other) = (built("swapme", "one"), built("swapme", "other"));
    let request = scene.asked(&one);
    let digest = Sha256::compute(&fs::read(&one.binary).unwrap());
    let good = fs::read(scene.blob(digest)).unwrap();
    for bad in [fs::read(&other.binary).unwrap(), good[..good.len() / 2].to_vec()] {
        fs::write(scene.blob(digest), bad).unwrap();
        scene.waits(request.clone(), "another file: its SHA-256 is").await;
    }
    fs::remove_file(scene.blob(digest)).unwrap();
    scene.waits(request.clone(), "No such file").await;
    std::os::unix::fs::symlink(&one.binary, scene.blob(digest)).unwrap();
    scene.waits(request.clone(), "").await;
    fs::remove_file(scene.blob(digest)).unwrap();
    fs::write(scene.blob(digest), good).unwrap();
    scene.accepted(request).await;
}

#[tokio::test]
async fn what_is_no_result_of_the_task_is_refused() {
    let scene = Scene::start(&[]);
    let (one, foreign) = (built("swapme", "one"), built("foreign", "one"));
    let (input, foreign_input) = (scene.put(&one.source), scene.put(&foreign.source));
    let rpm = |path: &Path| scene.file(path, ResultKind::Rpm);
    let sign = |kind, input, file: ResultFile| scene.signed(&scene.worker, 5, kind, input, &[file]);
    let (package, worker) = (v1::Fault::Package, v1::Fault::Worker);
    let request = sign(TaskKind::Build, input, rpm(&foreign.binary));
    scene.refused(request, package, "says it was built from").await;
    let request = sign(TaskKind::Build, foreign_input, rpm(&foreign.binary));
    scene.refused(request, package, "the spec makes the package `foreign`").await;
    let request = sign(TaskKind::Srpm, input, rpm(&one.binary));
    scene.refused(request, package, "expected one source package").await;
    let srpm = scene.file(&foreign.source, ResultKind::Srpm);
    scene.refused(sign(TaskKind::Srpm, input, srpm), package, "`swapme` was requested").await;
    let renamed = ResultFile { name: "swapme-2-1.noarch.rpm".into(), ..rpm(&one.binary) };
    let request = sign(TaskKind::Build, input, renamed);
    scene.refused(request, worker, "holds the package swapme-1-1.noarch").await;
    let longer = ResultFile { size: 1, ..rpm(&one.binary) };
    scene.refused(sign(TaskKind::Build, input, longer), worker, "bytes, the worker says 1").await;
    let text = scene.path("swapme-1-1.noarch.rpm");
    fs::write(&text, "no package").unwrap();
    scene.refused(sign(TaskKind::Build, input, rpm(&text)), worker, "not an RPM file").await;
    let little = AcceptRequest {
        limits: Some((&Limits { results_files: 1, ..Limits::default() }).into()),
        ..sign(TaskKind::Build, input, rpm(&built_with_two().binary))
    };
    scene.refused(little, package, "at most 1 are accepted").await;
    assert!(scene.logged("attempt").is_empty() && scene.logged("worker").is_empty());
}

/// The package with two files.
fn built_with_two() -> Built {
    let spec = "Name: swapme\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\n\
         Source0: sample.txt\nBuildArch: noarch\n%description\nx\n%install\n\
         mkdir -p %{buildroot}/usr/share\ntouch %{buildroot}/usr/share/a %{buildroot}/usr/share/b\n\
         %files\n/usr/share/a\n/usr/share/b\n";
    support::build_spec(spec, &[])
}

#[tokio::test]
async fn an_attempt_is_accepted_with_one_set_of_files() {
    let mut scene = Scene::start(&[]);
    let (one, other) = (built("swapme", "one"), built("swapme", "other"));
    let first = scene.asked(&one);
    scene.accepted(first.clone()).await;
    let replayed = scene.asked(&other);
    for _ in 0..2 {
        scene.waits(replayed.clone(), "attempt 5 was accepted already, with other files").await;
        scene.restart(&[]);
    }
    // The coordinator has refused the first, and another attempt made it.
    let input = scene.put(&other.source);
    let file = scene.file(&other.binary, ResultKind::Rpm);
    let again = scene.signed(&scene.worker, 6, TaskKind::Build, input, &[file]);
    scene.accepted(again.clone()).await;
    scene.waits(first, "attempt 6 of task 4 was accepted already").await;
    // Numbers come again after a backup was put back.
    let forget = ["attempts", "forget", "--from", "5", "--reason", "a backup of May"];
    assert!(!scene.operate(&forget).status.success(), "an acceptor runs");
    scene.kill();
    assert!(
        !scene.operate(&["attempts", "forget", "--from", "5", "--reason", " "]).status.success()
    );
    scene.operated(&forget);
    assert_eq!(scene.logged("forgot")[0]["reason"], "a backup of May");
    scene.restart(&[]);
    scene.accepted(replayed).await;
}
