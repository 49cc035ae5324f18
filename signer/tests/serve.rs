//! The signer as a process: rpmkeys and gpg accept its signatures, and it refuses everything else.

#![allow(clippy::unwrap_used)]

#[path = "support/process.rs"]
mod process;
#[path = "../../rpmfile/tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use process::{Signer, put_key, request};
use rpmfarm_core::signing::PROTOCOL;
use rpmfarm_proto::v1::{GetKeyRequest, SignHeaderRequest, SignRepomdRequest};
use rpmfarm_rpmfile::{Certs, header_to_sign, inspect, splice_signature, verify_signature};
use rpmfarm_signer::keys::SigningKeys;
use support::Gpg;
use tonic::Code;

const REPOMD: &[u8] = br#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision></repomd>
"#;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rpmfarm-signer"))
}

fn secret(gpg: &Gpg) -> String {
    let output = support::run(gpg.command().args(["--armor", "--export-secret-keys"]));
    String::from_utf8(output.stdout).unwrap()
}

/// gpg's output for a detached signature.
fn gpg_verify(public: &str, data: &[u8], signature: &[u8]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::write(path("key"), public).unwrap();
    fs::write(path("data"), data).unwrap();
    fs::write(path("data.asc"), signature).unwrap();
    let gpg = || {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--homedir"]).arg(home.path());
        command
    };
    support::run(gpg().arg("--import").arg(path("key")));
    gpg().arg("--verify").arg(path("data.asc")).arg(path("data")).output().unwrap()
}

/// The records of signatures: the log without its first line.
fn log_lines(signer: &Signer) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(&signer.log).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let first: serde_json::Value = lines.next().unwrap();
    assert_eq!(first["kind"], "began");
    lines.collect()
}

fn repomd(data: &[u8]) -> SignRepomdRequest {
    SignRepomdRequest {
        key: "lab".into(),
        target: "lab".into(),
        channel: "testing".into(),
        path: "x86_64/os".into(),
        data: data.to_vec().into(),
        protocol: PROTOCOL,
    }
}

#[tokio::test]
async fn rpm_and_gpg_accept_what_it_signs() {
    let dir = tempfile::tempdir().unwrap();
    // gpg makes a key in a second; the signer needs a minute without optimisation.
    let gpg = Gpg::new("rsa4096", "never");
    put_key(dir.path(), "lab", &secret(&gpg));
    let signer = Signer::start(binary(), dir.path(), &[]);
    let mut client = signer.client().await;

    let key = client.get_key(GetKeyRequest { key: "lab".into() }).await.unwrap().into_inner();
    let certs = Certs::from_armored(&key.armored).unwrap();
    assert_eq!(certs.fingerprints().concat(), key.fingerprint);
    assert!(!key.armored.contains("PRIVATE"));

    let built = support::build("w19.zstdio");
    for path in [&built.binary, &built.source] {
        let found = inspect(path).unwrap();
        let header = header_to_sign(path).unwrap();
        let answer = client.sign_header(request("lab", &found.nevra.to_string(), header)).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.fingerprint, key.fingerprint);
        let signed = built.dir.path().join(format!("signed-{}", found.nevra.file_name()));
        splice_signature(path, &signed, &answer.signature).unwrap();
        let (good, output) = support::checksig(&signed, &key.armored);
        assert!(good && output.contains("Header V4 RSA/SHA256 Signature"), "{output}");
        let now = SystemTime::now();
        assert_eq!(verify_signature(&signed, &certs, now).unwrap().fingerprint, key.fingerprint);

        let line = log_lines(&signer).pop().unwrap();
        assert_eq!(line["nevra"], found.nevra.to_string());
        assert_eq!(line["header"], found.header_sha256.hex());
        assert_eq!((&line["key"], &line["kind"]), (&"lab".into(), &"header".into()));
        assert_eq!((&line["target"], &line["build"]), (&"lab".into(), &1.into()));
        assert_eq!(line["fingerprint"], key.fingerprint);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    let answer = client.sign_repomd(repomd(REPOMD)).await.unwrap().into_inner();
    let output = gpg_verify(&key.armored, REPOMD, &answer.signature);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!gpg_verify(&key.armored, b"other", &answer.signature).status.success());
    let line = log_lines(&signer).pop().unwrap();
    assert_eq!((&line["target"], &line["path"]), (&"lab".into(), &"x86_64/os".into()));
    assert_eq!((&line["channel"], &line["revision"]), (&"testing".into(), &1.into()));
    assert_eq!(line["line"], answer.logged.unwrap().line);
}

#[tokio::test]
async fn makes_a_key_at_first_start_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let create = ["--create", "lab=Lab <lab@example.com>"];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let signer = Signer::start(binary(), dir.path(), &create);
        let mut client = signer.client().await;
        let key = client.get_key(GetKeyRequest { key: "lab".into() }).await.unwrap();
        keys.push(key.into_inner());
    }
    assert_eq!(keys[0], keys[1]);
    let path = dir.path().join("keys/lab.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(dir.path().join("keys")).unwrap().permissions().mode() & 0o777, 0o700);

    let signer = Signer::start(binary(), dir.path(), &create);
    let built = support::build("w9.gzdio");
    let nevra = inspect(&built.binary).unwrap().nevra.to_string();
    let header = header_to_sign(&built.binary).unwrap();
    let answer = signer.client().await.sign_header(request("lab", &nevra, header)).await.unwrap();
    let signed = built.dir.path().join("signed.rpm");
    splice_signature(&built.binary, &signed, &answer.into_inner().signature).unwrap();
    let (good, output) = support::checksig(&signed, &keys[0].armored);
    assert!(good, "{output}");

    let key = dir.path().join("keys");
    let again = rpmfarm_signer::keys::store(&key, "lab", "x").unwrap_err().to_string();
    assert!(again.contains("never replaced"), "{again}");
    assert!(rpmfarm_signer::keys::store(&key, "../lab", "x").is_err());
}

#[tokio::test]
async fn refuses_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let gpg = Gpg::new("rsa2048", "never");
    put_key(dir.path(), "lab", &secret(&gpg));
    put_key(dir.path(), "other", &secret(&gpg));
    let signer = Signer::start(binary(), dir.path(), &[]);
    let mut client = signer.client().await;
    let built = support::build("w9.gzdio");
    let nevra = inspect(&built.binary).unwrap().nevra.to_string();
    let header = header_to_sign(&built.binary).unwrap();
    let good = request("lab", &nevra, header.clone());

    let mut flipped = header.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let with = |change: fn(&mut SignHeaderRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let other_release = nevra.replace("-3.el9", "-4.el9");
    let other_epoch = nevra.replace("-2:", "-1:");
    let cases = [
        (with(|r| r.build = 0), Code::FailedPrecondition, "no build"),
        (with(|r| r.target = String::new()), Code::FailedPrecondition, "is not the name of"),
        (with(|r| r.target = "a\nb".into()), Code::FailedPrecondition, "is not the name of"),
        (with(|r| r.protocol = 0), Code::FailedPrecondition, "speaks protocol 0"),
        (with(|r| r.key = "prod".into()), Code::NotFound, "no key `prod` (there are: lab, other)"),
        (with(|r| r.key = "../lab".into()), Code::NotFound, "no key"),
        (with(|r| r.nevra = "x".into()), Code::InvalidArgument, "`x` is not a NEVRA"),
        (with(|r| r.header_digest = "00".into()), Code::InvalidArgument, "header_digest"),
        (with(|r| r.artifact_digest = String::new()), Code::InvalidArgument, "artifact_digest"),
        (
            with(|r| r.header = b"changed".as_slice().into()),
            Code::FailedPrecondition,
            "has SHA-256",
        ),
        (request("lab", &nevra, b"no header".to_vec()), Code::FailedPrecondition, "main header"),
        (request("lab", &nevra, Vec::new()), Code::FailedPrecondition, "truncated"),
        (request("lab", &nevra, flipped), Code::FailedPrecondition, "immutable region"),
        (
            request("lab", &nevra, [header.as_slice(), b"x"].concat()),
            Code::FailedPrecondition,
            "trailing",
        ),
        (
            request("lab", &other_release, header.clone()),
            Code::FailedPrecondition,
            "the request says",
        ),
        (
            request("lab", &other_epoch, header.clone()),
            Code::FailedPrecondition,
            "the request says",
        ),
        (
            request("lab", &nevra.replace("x86_64", "noarch"), header.clone()),
            Code::FailedPrecondition,
            "the request says",
        ),
    ];
    for (request, code, text) in cases {
        let status = client.sign_header(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{text}: {status}");
        assert!(status.message().contains(text), "{text}: {status}");
    }
    // A package's header as a "file" would be a package's signature.
    for data in [&header, &b"<?xml version=\"1.0\"?> <repomd </repomd>"[..]] {
        let status = client.sign_repomd(repomd(data)).await.unwrap_err();
        assert!(status.message().contains("not a repomd.xml"), "{status}");
    }
    let elsewhere = SignRepomdRequest { path: "../x".into(), ..repomd(REPOMD) };
    let status = client.sign_repomd(elsewhere).await.unwrap_err();
    assert!(status.message().contains("not a plain name"), "{status}");

    assert!(log_lines(&signer).is_empty(), "nothing was signed");
    client.sign_header(good).await.unwrap();
    assert_eq!(log_lines(&signer).len(), 1);
}

/// Changes the entry of a header's index that has a tag: tag, type, offset and count of four bytes
/// each, behind an intro of 16.
fn with_entry(header: &[u8], tag: u32, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = header.to_vec();
    let count = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let mut entries = bytes[16..16 * (count + 1)].chunks_exact_mut(16);
    let entry = entries.find(|entry| entry[..4] == tag.to_be_bytes()).expect("it has the tag");
    change(entry);
    bytes
}

/// Headers that no rpmbuild makes, each with its own digest in the request.
#[tokio::test]
async fn refuses_headers_that_were_tampered_with() {
    const VERSION: u32 = 1001;
    const BUILDHOST: u32 = 1007;
    const PAYLOADDIGEST: u32 = 5092;
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "lab", &secret(&Gpg::new("rsa2048", "never")));
    let signer = Signer::start(binary(), dir.path(), &[]);
    let mut client = signer.client().await;
    let built = support::build("w9.gzdio");
    let nevra = inspect(&built.binary).unwrap().nevra.to_string();
    let header = header_to_sign(&built.binary).unwrap();
    let with_word = |at: usize, word: u32| {
        let mut bytes = header.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        bytes
    };
    let tag = |tag: u32| move |entry: &mut [u8]| entry[..4].copy_from_slice(&tag.to_be_bytes());
    let end = |from: usize| move |entry: &mut [u8]| entry[from..from + 4].fill(0xff);
    let cases = [
        ("as many entries as can be", with_word(8, u32::MAX), "entries, more than"),
        ("as much data as can be", with_word(12, u32::MAX), "that are accepted"),
        ("an offset beyond the data", with_entry(&header, VERSION, end(8)), "beyond the data"),
        ("as many items as can be", with_entry(&header, VERSION, end(12)), "beyond the data"),
        ("two names", with_entry(&header, BUILDHOST, tag(1000)), "tag 1000 occurs twice"),
        (
            "no digest of the payload",
            with_entry(&header, PAYLOADDIGEST, tag(0x00ff_ffff)),
            "no SHA-256 digest of the payload",
        ),
        ("40 MiB of nothing", vec![0; 40 << 20], "no header magic"),
    ];
    for (what, changed, says) in cases {
        let status = client.sign_header(request("lab", &nevra, changed)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{what}: {status}");
        assert!(status.message().contains(says), "{what}: {status}");
    }
    let status = client.sign_repomd(repomd(&vec![b' '; 40 << 20])).await.unwrap_err();
    assert!(status.message().contains("are more than the"), "{status}");
    assert!(log_lines(&signer).is_empty(), "nothing was signed");
    client.sign_header(request("lab", &nevra, header)).await.unwrap();
}

#[test]
fn refuses_keys_that_others_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let gpg = Gpg::new("rsa2048", "never");
    let path = put_key(dir.path(), "lab", &secret(&gpg));
    let list = || {
        let mut command = Command::new(binary());
        command.args(["key", "list", "--keys"]).arg(dir.path().join("keys")).output().unwrap()
    };
    assert!(list().status.success());
    for (target, mode) in [(&path, 0o640), (&path, 0o604), (&dir.path().join("keys"), 0o750)] {
        let before = fs::metadata(target).unwrap().permissions();
        fs::set_permissions(target, fs::Permissions::from_mode(mode)).unwrap();
        let output = String::from_utf8(list().stderr).unwrap();
        assert!(
            output.contains(&format!("mode {mode:04o}")) && output.contains("chmod"),
            "{output}"
        );
        fs::set_permissions(target, before).unwrap();
    }
    for bad in ["", "hello", &gpg.public] {
        fs::write(&path, bad).unwrap();
        assert!(!list().status.success());
    }
}

#[test]
fn refuses_keys_of_the_wrong_kind() {
    let dir = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        put_key(dir.path(), "lab", text);
        SigningKeys::load(&dir.path().join("keys"), SystemTime::now())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(load(&secret(&Gpg::new("ed25519", "never"))).contains("RSA key of version 4"));
    assert!(load(&secret(&Gpg::new("rsa1024", "never"))).contains("1024 bits"));
    let locked = Gpg::new("rsa2048", "never");
    let mut export = locked.command();
    let id = String::from_utf8(
        support::run(locked.command().args(["--with-colons", "--list-keys"])).stdout,
    )
    .unwrap();
    let id = id.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
    let id = id.trim_end_matches(':').to_owned();
    let script = locked.home.path().join("passphrase");
    fs::write(&script, "secret\n").unwrap();
    // There is no old passphrase to ask for, so this sets one.
    support::run(
        Command::new("gpg")
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--homedir"])
            .arg(locked.home.path())
            .arg("--passphrase-file")
            .arg(&script)
            .args(["--change-passphrase", &id]),
    );
    let text = support::run(
        export.args(["--armor", "--passphrase-file"]).arg(&script).args(["--export-secret-keys"]),
    );
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(load(&text).contains("locked with a passphrase"));
}

#[test]
fn refuses_keys_that_nobody_would_believe() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "lab", &secret(&Gpg::new("rsa2048", "2d")));
    let load = |days: u64| {
        let now = SystemTime::now() + Duration::from_secs(days * 86400);
        SigningKeys::load(&dir.path().join("keys"), now)
    };
    load(0).unwrap();
    assert!(load(3).unwrap_err().to_string().contains("has expired"));
}

/// A user who is not allowed gets no answer at all.
#[test]
fn turns_others_away() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "lab", &secret(&Gpg::new("rsa2048", "never")));
    let signer = Signer::start(binary(), dir.path(), &["--allow-uid", "1234"]);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&signer.socket, fs::Permissions::from_mode(0o666)).unwrap();
    let greeted = |uid: u32| {
        let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\n\
                      s.connect(sys.argv[1])\ns.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n')\n\
                      sys.exit(0 if s.recv(9) else 3)";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(&signer.socket).uid(uid).gid(65534);
        let output = python.output().unwrap();
        output.status.success()
    };
    assert!(greeted(0) && greeted(1234));
    assert!(!greeted(65534));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "lab", &secret(&Gpg::new("rsa2048", "never")));
    let mut signer = Signer::start(binary(), dir.path(), &[]);
    let mut client = signer.client().await;
    client.get_key(GetKeyRequest { key: "lab".into() }).await.unwrap();
    support::run(Command::new("kill").arg(signer.child.id().to_string()));
    let start = std::time::Instant::now();
    let status = tokio::task::block_in_place(|| signer.child.wait().unwrap());
    assert!(status.success() && start.elapsed() < Duration::from_secs(20), "{status}");
    assert!(!signer.socket.exists());
}

#[test]
fn the_process_keeps_its_memory_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "lab", &secret(&Gpg::new("rsa2048", "never")));
    let signer = Signer::start(binary(), dir.path(), &[]);
    let proc = Path::new("/proc").join(signer.child.id().to_string());
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let mode = fs::metadata(&signer.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}
