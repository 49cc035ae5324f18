//! Signing packages by the signer against `rpmsign` on the same files, with the same key, in one
//! run. Prints both and the ratio; with `--json` as a list of one measurement.
//!
//!     cargo build --release -p rpmfarm-signer
//!     cargo run --release -p rpmfarm-signer --example bench_sign
//!
//! What is timed on our side is all that the farm does: reading the header from the file, the call
//! to the signer's process with its audit log, a signed copy of the file synced to disk. Nearly all
//! of it is RSA: one signature of 4096 bits takes about 5 ms of one core with ring, OpenSSL 3.0 and
//! AWS-LC alike, and 2 ms with AWS-LC on a processor with AVX-512 IFMA. rpmsign uses one core only;
//! so the ratio falls with the number of cores.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/process.rs"]
mod process;
#[path = "../../rpmfile/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use process::{Signer, put_key, request};
use rpmfarm_core::Sha256;
use rpmfarm_rpmfile::{UnsignedPackage, inspect};
use support::Gpg;
use tokio::sync::Semaphore;

/// Sizes of the packages in KiB, in turn: half of a distribution's packages are below 100 KiB,
/// and some are of several MiB.
const SIZES: [u32; 10] = [10, 20, 30, 50, 80, 120, 250, 500, 1200, 4000];
const BUDGET: f64 = 0.05;
/// As many as the coordinator asks for at once.
const AT_ONCE: usize = 24;

#[derive(Debug, Parser)]
struct Options {
    /// How many packages.
    #[arg(long, default_value_t = 200)]
    packages: u32,
    /// The signer's binary; by default the one beside this one.
    #[arg(long)]
    signer: Option<PathBuf>,
    /// Also write the measurement to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let binary = options.signer.clone().unwrap_or_else(beside);
    let gpg = Gpg::new("rsa4096", "never");
    let built = packages(options.packages);
    let work = built.dir.path();
    let (ours, theirs) = (work.join("ours"), work.join("theirs"));
    let files = copies(built.binary.parent().unwrap(), &ours);
    let total: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    println!("{} packages, {} MiB", files.len(), total >> 20);
    let signed_by_rpm = copies(&ours, &theirs);
    support::run(&mut Command::new("sync"));

    let peer = rpmsign(&gpg, &signed_by_rpm);
    let (time, signed) = sign(&gpg, &binary, &files, work).await;
    check(&signed, &gpg);

    let ratio = time.as_secs_f64() / peer.as_secs_f64();
    let count = files.len() as f64;
    println!("rpmsign  {peer:8.2?}  ({:.1} ms each)", peer.as_secs_f64() * 1e3 / count);
    println!("rpmfarm  {time:8.2?}  ({:.1} ms each)", time.as_secs_f64() * 1e3 / count);
    println!("ratio    1/{:.1} (budget 1/{:.0})", 1.0 / ratio, 1.0 / BUDGET);
    if let Some(path) = options.json {
        let measured = serde_json::json!([{
            "name": "sign.ratio", "value": time.as_secs_f64(), "unit": "s", "budget": BUDGET,
            "peer": peer.as_secs_f64(), "ratio": ratio,
        }]);
        fs::write(path, serde_json::to_string_pretty(&measured).unwrap()).unwrap();
    }
}

fn beside() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let binary = own.ancestors().nth(2).unwrap().join("rpmfarm-signer");
    assert!(binary.exists(), "{} does not exist: build it first", binary.display());
    binary
}

/// That many packages by one rpmbuild.
fn packages(count: u32) -> support::Built {
    let mut spec = String::from(
        "Name: bench\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nSource0: sample.txt\n\
         BuildArch: noarch\n%description\nx\n%install\nmkdir -p %{buildroot}/usr/share/bench\n",
    );
    for (n, size) in (0..count).zip(SIZES.iter().cycle()) {
        spec += &format!("head -c {size}K /dev/urandom > %{{buildroot}}/usr/share/bench/{n}\n");
    }
    for n in 0..count {
        spec += &format!("%package p{n}\nSummary: x\n%description p{n}\nx\n");
        spec += &format!("%files p{n}\n/usr/share/bench/{n}\n");
    }
    support::build_spec(&spec, &[("_binary_payload", "w1.gzdio"), ("_source_payload", "w1.gzdio")])
}

fn copies(from: &Path, to: &Path) -> Vec<PathBuf> {
    fs::create_dir(to).unwrap();
    let paths = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
    let mut copies: Vec<_> = paths
        .map(|path| {
            let copy = to.join(path.file_name().unwrap());
            fs::copy(path, &copy).unwrap();
            copy
        })
        .collect();
    copies.sort();
    copies
}

fn rpmsign(gpg: &Gpg, files: &[PathBuf]) -> Duration {
    let mut command = Command::new("rpmsign");
    command
        .arg("--addsign")
        .arg("--define")
        .arg(format!("_gpg_path {}", gpg.home.path().display()))
        .args(["--define", "_gpg_name test@example.com", "--define", "__gpg /usr/bin/gpg"])
        .args(files)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    assert!(command.status().unwrap().success(), "rpmsign failed");
    start.elapsed()
}

async fn sign(gpg: &Gpg, binary: &Path, files: &[PathBuf], dir: &Path) -> (Duration, Vec<PathBuf>) {
    let secret = support::run(gpg.command().args(["--armor", "--export-secret-keys"])).stdout;
    put_key(dir, "bench", std::str::from_utf8(&secret).unwrap());
    let signer = Signer::start(binary, dir, &[]);
    let client = signer.client().await;
    let out = dir.join("signed");
    fs::create_dir(&out).unwrap();
    // The farm knows the names since it accepted the packages.
    let jobs: Vec<_> = files
        .iter()
        .map(|file| {
            let nevra = inspect(file).unwrap().nevra.to_string();
            let digest = Sha256::compute(&fs::read(file).unwrap());
            (file.clone(), out.join(file.file_name().unwrap()), nevra, digest)
        })
        .collect();
    let signed = jobs.iter().map(|(_, to, ..)| to.clone()).collect();

    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (from, to, nevra, digest) in jobs {
        let (mut client, at_once) = (client.clone(), at_once.clone());
        tasks.spawn(async move {
            let _place = at_once.acquire().await.unwrap();
            let open = move || UnsignedPackage::open_proved(&from, digest).unwrap();
            let unsigned = tokio::task::spawn_blocking(open).await.unwrap();
            let request = request("bench", &nevra, unsigned.header().to_vec());
            let answer = client.sign_header(request).await.unwrap().into_inner();
            let splice = move || unsigned.splice(&to, &answer.signature).unwrap();
            tokio::task::spawn_blocking(splice).await.unwrap();
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    (start.elapsed(), signed)
}

/// All of them, or none is worth a time.
fn check(signed: &[PathBuf], gpg: &Gpg) {
    for path in [signed.first().unwrap(), signed.last().unwrap()] {
        let (good, said) = support::checksig(path, &gpg.public);
        assert!(good && said.contains("RSA/SHA256"), "{said}");
    }
    let certs = rpmfarm_rpmfile::Certs::from_armored(&gpg.public).unwrap();
    for path in signed {
        inspect(path).unwrap();
        rpmfarm_rpmfile::verify_signature(path, &certs, std::time::SystemTime::now()).unwrap();
    }
}
