//! The signer as a process, with requests of anybody who reaches its socket: earlier signatures,
//! key bindings and operators' decisions limit what it signs, also after it was killed and started
//! again.

#![allow(clippy::unwrap_used)]

#[path = "support/process.rs"]
mod process;
#[path = "../../rpmfile/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use process::{Signer, put_key, request};
use rpmfarm_core::signing::PROTOCOL;
use rpmfarm_core::statement::{Acceptance, SignedAcceptance};
use rpmfarm_core::{AttemptId, BuildId, Sha256};
use rpmfarm_guarded::key::{SigningKey, public_pem};
use rpmfarm_proto::v1::log_check::Finding;
use rpmfarm_proto::v1::signer_client::SignerClient;
use rpmfarm_proto::v1::{
    GetRevisionRequest, GetSignerStatusRequest, SignHeaderRequest, SignRepomdRequest, SignerStatus,
};
use rpmfarm_rpmfile::{header_to_sign, inspect};
use support::{Built, Gpg};
use tonic::Status;
use tonic::transport::Channel;

struct Scene {
    dir: tempfile::TempDir,
    _gpg: Gpg,
}

impl Scene {
    /// A signer's directory with the keys `lab` and `prod`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gpg = Gpg::new("rsa2048", "never");
        let secret = support::run(gpg.command().args(["--armor", "--export-secret-keys"])).stdout;
        for name in ["lab", "prod"] {
            put_key(dir.path(), name, std::str::from_utf8(&secret).unwrap());
        }
        Self { dir, _gpg: gpg }
    }

    fn start(&self, options: &[&str]) -> Signer {
        let bound = ["--bind", "lab=lab,lab-next", "--bind", "prod=prod"];
        Signer::start(binary(), self.dir.path(), &[&bound[..], options].concat())
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    /// Runs a command of an operator.
    fn operate(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--keys").arg(self.dir.path().join("keys"));
        command.arg("--audit-log").arg(self.log()).output().unwrap()
    }

    fn operated(&self, words: &[&str]) -> String {
        let output = self.operate(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn logged(&self, kind: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.log()).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rpmfarm-signer"))
}

fn header(of: &Path) -> SignHeaderRequest {
    let nevra = inspect(of).unwrap().nevra.to_string();
    let artifact_digest = Sha256::compute(&fs::read(of).unwrap()).hex();
    SignHeaderRequest { artifact_digest, ..request("lab", &nevra, header_to_sign(of).unwrap()) }
}

/// The same package with another content.
fn built(content: &str) -> Built {
    let spec = format!(
        "Name: swapme\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nSource0: sample.txt\n\
         BuildArch: noarch\n%description\n{content}\n%install\nmkdir -p %{{buildroot}}/usr/share\n\
         echo {content} > %{{buildroot}}/usr/share/swapme\n%files\n/usr/share/swapme\n"
    );
    support::build_spec(&spec, &[])
}

fn page(revision: u64, text: &str) -> SignRepomdRequest {
    let data = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd \
         xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>{revision}</revision>\
         <data type=\"{text}\"/></repomd>\n"
    );
    SignRepomdRequest {
        key: "lab".into(),
        target: "lab".into(),
        channel: "testing".into(),
        path: "x86_64/os".into(),
        data: data.into_bytes().into(),
        protocol: PROTOCOL,
    }
}

type Client = SignerClient<Channel>;

async fn refused_page(client: &mut Client, request: SignRepomdRequest, why: &str) {
    assert_message(client.sign_repomd(request).await.unwrap_err(), why);
}

fn assert_message(status: Status, why: &str) {
    assert!(status.message().contains(why), "{why}: {status}");
}

async fn status(client: &mut Client) -> SignerStatus {
    client.get_status(GetSignerStatusRequest {}).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_key_signs_for_its_targets_only() {
    let scene = Scene::new();
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    let built = built("one");
    let good = header(&built.binary);
    let why = "the key `lab` does not sign for the target `prod`: it is bound to lab, lab-next";
    for _ in 0..2 {
        let foreign = SignHeaderRequest { target: "prod".into(), ..good.clone() };
        assert_message(client.sign_header(foreign).await.unwrap_err(), why);
        let foreign = SignRepomdRequest { target: "prod".into(), ..page(1, "x") };
        refused_page(&mut client, foreign, why).await;
    }
    let logged = scene.logged("refused");
    assert_eq!(logged.len(), 2, "each once: {logged:?}");
    assert_eq!((&logged[0]["key"], &logged[0]["reason"]), (&"lab".into(), &why.into()));
    client.sign_header(good.clone()).await.unwrap();
    client.sign_header(SignHeaderRequest { target: "lab-next".into(), ..good }).await.unwrap();

    let keys = status(&mut client).await.keys;
    let bound: Vec<_> = keys.iter().map(|key| (key.bound, key.targets.join(","))).collect();
    assert_eq!(bound, [(true, "lab,lab-next".into()), (true, "prod".into())]);
    drop(signer);
    let mut unknown = Command::new(binary());
    unknown.args(["serve", "--bind", "lap=lab", "--keys"]).arg(scene.dir.path().join("keys"));
    unknown.arg("--audit-log").arg(scene.log()).arg("--socket").arg(scene.dir.path().join("s"));
    let output = unknown.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no key `lap`"), "{text}");
}

#[tokio::test]
async fn a_target_has_one_package_of_a_nevra_over_restarts() {
    let scene = Scene::new();
    let (one, other) = (built("one"), built("other"));
    let (one, other) = (header(&one.binary), header(&other.binary));
    assert_eq!(one.nevra, other.nevra);
    let mut signer = scene.start(&[]);
    signer.client().await.sign_header(one.clone()).await.unwrap();
    let elsewhere = SignHeaderRequest { target: "lab-next".into(), ..other.clone() };
    signer.client().await.sign_header(elsewhere).await.unwrap();
    for _ in 0..2 {
        let mut client = signer.client().await;
        let why = "lab has another package swapme-1-1.noarch";
        assert_message(client.sign_header(other.clone()).await.unwrap_err(), why);
        // The same again is the same.
        client.sign_header(one.clone()).await.unwrap();
        // Killed, not stopped.
        drop(signer);
        signer = scene.start(&[]);
    }
    let shown = scene.operated(&["package", "show", "swapme-1-1.noarch", "--target", "lab"]);
    assert_eq!(shown.trim(), one.header_digest);
    let forget =
        ["package", "forget", "swapme-1-1.noarch", "--target", "lab", "--reason", "withdrawn"];
    let output = scene.operate(&forget);
    assert!(String::from_utf8_lossy(&output.stderr).contains("stop it first"), "{output:?}");
    drop(signer);
    scene.operated(&forget);
    assert_eq!(scene.logged("forgot")[0]["reason"], "withdrawn");
    let signer = scene.start(&[]);
    signer.client().await.sign_header(other).await.unwrap();
}

#[tokio::test]
async fn repositories_go_only_forward_over_restarts() {
    let scene = Scene::new();
    let mut signer = scene.start(&[]);
    for revision in [4, 5] {
        signer.client().await.sign_repomd(page(revision, "x")).await.unwrap();
    }
    for _ in 0..2 {
        let mut client = signer.client().await;
        let why = "revision 4 is older than revision 5, which was signed already";
        refused_page(&mut client, page(4, "x"), why).await;
        refused_page(&mut client, page(4, "new"), why).await;
        refused_page(&mut client, page(5, "other"), "was signed already with another content")
            .await;
        // Under the name of another channel or architecture the page is refused, too.
        for request in [
            SignRepomdRequest { channel: "stable".into(), ..page(4, "x") },
            SignRepomdRequest { path: "aarch64/os".into(), ..page(4, "x") },
            SignRepomdRequest { target: "lab-next".into(), ..page(5, "x") },
        ] {
            refused_page(&mut client, request, "this very page was signed as revision").await;
        }
        client.sign_repomd(page(5, "x")).await.unwrap();
        let asked = GetRevisionRequest { target: "lab".into(), channel: "testing".into() };
        assert_eq!(client.get_revision(asked).await.unwrap().into_inner().revision, 5);
        drop(signer);
        signer = scene.start(&[]);
    }
    let shown = scene.operated(&["revision", "show", "lab/testing"]);
    assert!(shown.starts_with("lab/testing/x86_64/os\t5\t"), "{shown}");
    assert_eq!(scene.operated(&["revision", "show", "lab/test"]), "");
    let reset = ["revision", "reset", "lab/testing", "--to", "2", "--reason", "a backup of May"];
    assert!(!scene.operate(&reset).status.success(), "a signer runs");
    drop(signer);
    scene.operated(&reset);
    let event = &scene.logged("reset")[0];
    assert_eq!((&event["to"], &event["reason"]), (&2.into(), &"a backup of May".into()));
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    refused_page(&mut client, page(2, "x"), "is not above 2").await;
    client.sign_repomd(page(3, "x")).await.unwrap();
    refused_page(&mut client, page(2, "x"), "older than revision 3").await;
}

/// Of many simultaneous requests for different pages of one revision, one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_pages_of_one_revision_one_is_signed() {
    let scene = Scene::new();
    let signer = scene.start(&[]);
    let client = signer.client().await;
    let asks = (0..16).map(|n| {
        let mut client = client.clone();
        tokio::spawn(async move { client.sign_repomd(page(7, &format!("p{n}"))).await.is_ok() })
    });
    let mut good = 0;
    for ask in asks.collect::<Vec<_>>() {
        good += u32::from(ask.await.unwrap());
    }
    assert_eq!(good, 1);
}

#[tokio::test]
async fn the_signer_reads_the_file_itself_where_it_may() {
    let scene = Scene::new();
    let blobs = scene.dir.path().join("blobs");
    let place = |digest: &str| {
        fs::create_dir_all(blobs.join(&digest[..2])).unwrap();
        blobs.join(&digest[..2]).join(digest)
    };
    let (one, other) = (built("one"), built("other"));
    let (good, foreign) = (header(&one.binary), header(&other.binary));
    let signer = scene.start(&["--blobs", blobs.to_str().unwrap()]);
    let mut client = signer.client().await;
    assert!(status(&mut client).await.reads_files);
    assert_message(client.sign_header(good.clone()).await.unwrap_err(), "No such file");
    // Another package of the same NEVRA in its place.
    fs::copy(&other.binary, place(&good.artifact_digest)).unwrap();
    assert_message(
        client.sign_header(good.clone()).await.unwrap_err(),
        "another file: its SHA-256 is",
    );
    // The other's header with the digest of a file that is as it should be.
    fs::copy(&one.binary, place(&good.artifact_digest)).unwrap();
    let mixed = SignHeaderRequest { artifact_digest: good.artifact_digest.clone(), ..foreign };
    assert_message(client.sign_header(mixed).await.unwrap_err(), "its header is not the one");
    client.sign_header(good.clone()).await.unwrap();
    assert_eq!(scene.logged("header")[0]["file_read"], true);
    assert_eq!(scene.logged("refused").len(), 3);
    // Nothing that is led elsewhere or waits for somebody.
    let path = place(&good.artifact_digest);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&one.binary, &path).unwrap();
    assert!(client.sign_header(good.clone()).await.is_err());
    fs::remove_file(&path).unwrap();
    support::run(Command::new("mkfifo").arg(&path));
    assert_message(client.sign_header(good).await.unwrap_err(), "not a regular file");
}

/// The request with the acceptance of its package by a key, after a change of it.
fn accepted(
    request: &SignHeaderRequest,
    key: &SigningKey,
    change: impl FnOnce(&mut Acceptance),
) -> SignHeaderRequest {
    let mut acceptance = Acceptance {
        target: request.target.clone(),
        build: BuildId(1),
        attempt: AttemptId(5),
        worker: "w1".into(),
        nevra: request.nevra.clone(),
        file: request.artifact_digest.parse().unwrap(),
        header: request.header_digest.parse().unwrap(),
        time: 7,
    };
    change(&mut acceptance);
    let text = acceptance.to_text();
    let signature = key.sign(text.as_bytes());
    let acceptance = Some((&SignedAcceptance { text, signature }).into());
    SignHeaderRequest { acceptance, ..request.clone() }
}

#[tokio::test]
async fn with_an_acceptor_only_what_it_accepted_is_signed() {
    let scene = Scene::new();
    let key = |name: &str| SigningKey::load_or_make(&scene.dir.path().join(name)).unwrap();
    let (acceptor, foreign) = (key("acceptor"), key("foreign"));
    let public = scene.dir.path().join("acceptor.pub");
    fs::write(&public, public_pem(&acceptor.public())).unwrap();
    let (one, before) = (built("one"), built("before"));
    let (good, before) = (header(&one.binary), header(&before.binary));
    // Signed while the signer had no acceptor.
    let elsewhere = SignHeaderRequest { target: "lab-next".into(), ..before };
    let mut signer = scene.start(&[]);
    let mut client = signer.client().await;
    assert_eq!(status(&mut client).await.acceptors, 0);
    client.sign_header(elsewhere.clone()).await.unwrap();
    drop(signer);

    let options = ["--acceptor", public.to_str().unwrap()];
    signer = scene.start(&options);
    let mut client = signer.client().await;
    assert_eq!(status(&mut client).await.acceptors, 1);
    let other = Sha256::compute(b"other");
    for (request, why) in [
        (good.clone(), "the acceptor has not accepted it"),
        (accepted(&good, &foreign, |_| ()), "signed by none of the --acceptor keys"),
        (accepted(&good, &acceptor, |it| it.target = "prod".into()), "of another target: prod"),
        (accepted(&good, &acceptor, |it| it.nevra = "a-1-1.src".into()), "package: a-1-1.src"),
        (accepted(&good, &acceptor, |it| it.file = other), "of another file"),
        (accepted(&good, &acceptor, |it| it.header = other), "of another header"),
    ] {
        for _ in 0..2 {
            assert_message(client.sign_header(request.clone()).await.unwrap_err(), why);
        }
    }
    assert_eq!(scene.logged("refused").len(), 6, "each once: {:?}", scene.logged("refused"));
    // A worker's statement is not an acceptance, whatever key signed it.
    let mut text = accepted(&good, &acceptor, |_| ());
    let statement = "rpmfarm statement of a worker 1\n".to_owned();
    let signature = acceptor.sign(statement.as_bytes());
    text.acceptance = Some((&SignedAcceptance { text: statement, signature }).into());
    assert_message(client.sign_header(text).await.unwrap_err(), "not an acceptance of a package");

    client.sign_header(accepted(&good, &acceptor, |_| ())).await.unwrap();
    let line = scene.logged("header").pop().unwrap();
    let by = &line["accepted"];
    assert_eq!((&by["worker"], &by["attempt"]), (&"w1".into(), &5.into()), "{line}");
    // A header that was signed before needs no acceptance, also after restarts.
    client.sign_header(elsewhere.clone()).await.unwrap();
    drop(signer);
    signer = scene.start(&options);
    let mut client = signer.client().await;
    client.sign_header(good.clone()).await.unwrap();
    client.sign_header(elsewhere).await.unwrap();
    drop(signer);
    fs::write(&public, "no key").unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "--keys"]).arg(scene.dir.path().join("keys")).args(options);
    command.arg("--audit-log").arg(scene.log()).arg("--socket").arg(scene.dir.path().join("s"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("is no public key"), "{text}");
}

#[tokio::test]
async fn a_log_that_is_moved_or_cut_stops_signing() {
    let scene = Scene::new();
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    let first = client.sign_repomd(page(1, "x")).await.unwrap().into_inner().logged.unwrap();
    let found = client.check_log(first.clone()).await.unwrap().into_inner();
    assert_eq!(found.finding(), Finding::Continues, "{found:?}");
    let aside = scene.dir.path().join("moved");
    fs::rename(scene.log(), &aside).unwrap();
    for revision in [2, 3] {
        let status = client.sign_repomd(page(revision, "x")).await.unwrap_err();
        for part in ["it was moved or removed", "audit verify", "audit restart --reason"] {
            assert_message(status.clone(), part);
        }
    }
    assert!(status(&mut client).await.stopped.contains("moved"));
    let found = client.check_log(first.clone()).await.unwrap().into_inner();
    assert_eq!(found.finding(), Finding::Broken, "{found:?}");
    drop(signer);

    // Nor does it start without it, or with less of it.
    let refuses = |why: &str| {
        let mut command = Command::new(binary());
        command.args(["serve", "--keys"]).arg(scene.dir.path().join("keys"));
        command.arg("--audit-log").arg(scene.log());
        command.arg("--socket").arg(scene.dir.path().join("signer.sock"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{why}: {text}");
    };
    refuses("it is not there, and was written to before");
    let good = fs::read(&aside).unwrap();
    fs::write(scene.log(), &good[..good.len() - 20]).unwrap();
    refuses("it was cut off or replaced");

    // An operator lets the signer continue: the chain continues, and the record of signatures
    // stays.
    assert!(!scene.operate(&["audit", "restart", "--reason", " "]).status.success());
    scene.operated(&["audit", "restart", "--reason", "a disk was full"]);
    let event = &scene.logged("restarted")[0];
    assert_eq!(event["reason"], "a disk was full");
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    refused_page(&mut client, page(1, "other"), "was signed already").await;
    let second = client.sign_repomd(page(4, "x")).await.unwrap().into_inner().logged.unwrap();
    assert_eq!(second.log, first.log);
    let found = client.check_log(first).await.unwrap().into_inner();
    assert_eq!(found.finding(), Finding::Elsewhere, "{found:?}");
    let found = client.check_log(second).await.unwrap().into_inner();
    assert_eq!(found.finding(), Finding::Continues, "{found:?}");
    let verify = |path: &Path| {
        let mut command = Command::new(binary());
        command.args(["audit", "verify"]).arg(path).output().unwrap()
    };
    let output = verify(&scene.log());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("follows\t2\t"), "{text}");
    assert!(verify(&aside).status.success());
    let changed = String::from_utf8(good).unwrap().replace("\"revision\":1", "\"revision\":9");
    fs::write(&aside, changed + &fs::read_to_string(scene.log()).unwrap()).unwrap();
    let output = verify(&aside);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("line 3 does not follow"), "{text}");
}

#[tokio::test]
async fn an_operator_pauses_it() {
    let scene = Scene::new();
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    client.sign_repomd(page(1, "x")).await.unwrap();
    scene.operated(&["pause", "--reason", "the key moves to a token"]);
    for _ in 0..2 {
        refused_page(&mut client, page(2, "x"), ": the key moves to a token").await;
    }
    assert!(status(&mut client).await.paused.contains("the key moves"));
    drop(signer);
    // Over restarts.
    let signer = scene.start(&[]);
    let mut client = signer.client().await;
    let built = built("one");
    assert_message(
        client.sign_header(header(&built.binary)).await.unwrap_err(),
        "rpmfarm-signer resume",
    );
    assert_eq!(scene.operated(&["resume"]).trim(), "resumed");
    client.sign_repomd(page(2, "x")).await.unwrap();
    assert_eq!(status(&mut client).await.paused, "");
    assert_eq!(scene.operated(&["resume"]).trim(), "it was not paused");
    assert_eq!(scene.logged("paused")[0]["reason"], "the key moves to a token");
    assert_eq!(scene.logged("resumed").len(), 1);
    assert!(!scene.operate(&["pause", "--reason", ""]).status.success());
}

#[tokio::test]
async fn so_many_signatures_in_a_minute() {
    let scene = Scene::new();
    let signer = scene.start(&["--per-minute", "3"]);
    let mut client = signer.client().await;
    for revision in 1..4 {
        client.sign_repomd(page(revision, "x")).await.unwrap();
    }
    refused_page(&mut client, page(4, "x"), "more than 3 signatures a minute").await;
    assert_eq!(scene.logged("repomd").len(), 3);
}
