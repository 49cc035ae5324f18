//! A fleet of workers that build nothing, for benchmarks of dispatch. Each is a connection and a
//! session of its own, as a real worker's is.
//!
//! It reads commands on its standard input, a line each: `hold MS` (attempts that are assigned from
//! now on are reported as failed by the package after about so long; `never`), `release` (the
//! attempts that are held are reported as failed now), `drop NAME` (the worker's connection breaks,
//! and the worker does not come back), `retry BUILD` (asks the farm to try a build again). It
//! writes a line of JSON for each event, with the time in microseconds since 1970.
#![allow(clippy::print_stdout, reason = "what it measures is read there")]

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rpmfarm_core::lease::next_heartbeat;
use rpmfarm_daemon::now_us;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use rpmfarm_proto::{AUTHORIZATION, WORKER, v1};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// `hold never`.
const NEVER: u64 = u64::MAX;

/// Pause before a worker connects again after its connection broke.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Parser)]
struct Options {
    /// The coordinator's address.
    #[arg(long)]
    server: String,
    /// The file of its token.
    #[arg(long)]
    token_file: PathBuf,
    /// Workers, as ARCH=COUNT; may be repeated.
    #[arg(long = "workers", value_name = "ARCH=COUNT")]
    workers: Vec<String>,
    /// How long workers hold the attempts that they get at first.
    #[arg(long, default_value = "never")]
    hold: String,
    /// How often workers send their state, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    heartbeat_ms: u64,
}

/// What all workers share.
struct Fleet {
    options: Options,
    token: String,
    hold_ms: AtomicU64,
    release: Notify,
}

fn parse_hold(text: &str) -> anyhow::Result<u64> {
    if text == "never" { Ok(NEVER) } else { text.parse().context("a time in milliseconds") }
}

/// Writes a line in one piece.
fn say(line: &serde_json::Value) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let token = std::fs::read_to_string(&options.token_file)?.trim().to_owned();
    let hold_ms = AtomicU64::new(parse_hold(&options.hold)?);
    let fleet = Arc::new(Fleet { options, token, hold_ms, release: Notify::new() });
    let mut drops = BTreeMap::new();
    for words in &fleet.options.workers {
        let (arch, count) = words.split_once('=').context("ARCH=COUNT")?;
        for _ in 0..count.parse::<u32>()? {
            let name = format!("w{:04}", drops.len() + 1);
            let gone = Arc::new(Notify::new());
            drops.insert(name.clone(), gone.clone());
            tokio::spawn(exist(fleet.clone(), name, arch.to_owned(), gone));
        }
    }
    let (lines, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let channel = Endpoint::from_shared(fleet.options.server.clone())?.connect_lazy();
    while let Some(line) = orders.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("hold", ms) => fleet.hold_ms.store(parse_hold(ms)?, Ordering::Relaxed),
            ("release", _) => fleet.release.notify_waiters(),
            ("drop", name) => drops.get(name).context("no such worker")?.notify_one(),
            ("retry", build) => {
                tokio::spawn(retry(fleet.clone(), channel.clone(), build.parse()?));
            }
            _ => anyhow::bail!("unknown order `{line}`"),
        }
    }
    Ok(())
}

async fn retry(fleet: Arc<Fleet>, channel: Channel, id: i64) {
    let at = now_us();
    let request = authorized(&fleet, v1::RetryBuildRequest { id });
    let answer = FarmClient::new(channel).retry_build(request).await;
    let error = answer.err().map(|status| status.to_string());
    say(&json!({"event": "retried", "at": at, "build": id, "error": error}));
}

fn authorized<T>(fleet: &Fleet, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(value) = format!("Bearer {}", fleet.token).parse() {
        request.metadata_mut().insert(AUTHORIZATION, value);
    }
    request
}

/// A worker's own record of an attempt.
struct Mine {
    epoch: i64,
    /// When the attempt is reported as failed; `None` when never.
    ends: Option<Instant>,
    ended: bool,
}

/// A worker, until its connection is broken.
async fn exist(fleet: Arc<Fleet>, name: String, arch: String, gone: Arc<Notify>) {
    tokio::select! {
        () = live(&fleet, &name, &arch) => {}
        () = gone.notified() => say(&json!({"event": "dropped", "at": now_us(), "worker": name})),
    }
}

/// A worker, session after session.
async fn live(fleet: &Fleet, name: &str, arch: &str) {
    let mut mine = HashMap::new();
    loop {
        if let Err(error) = session(fleet, name, arch, &mut mine).await {
            let error = format!("{error:#}");
            say(&json!({"event": "broken", "at": now_us(), "worker": name, "error": error}));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn session(
    fleet: &Fleet,
    name: &str,
    arch: &str,
    mine: &mut HashMap<i64, Mine>,
) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(fleet.options.server.clone())?.tcp_nodelay(true);
    let channel = endpoint.connect().await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(state(name, arch, mine)).await?;
    let mut request = authorized(fleet, ReceiverStream::new(receiver));
    request.metadata_mut().insert(WORKER, name.parse()?);
    let mut answers = WorkersClient::new(channel).session(request).await?.into_inner();
    say(&json!({"event": "connected", "at": now_us(), "worker": name}));
    let heartbeat = Duration::from_millis(fleet.options.heartbeat_ms);
    let mut beat = Instant::now() + next_heartbeat(heartbeat, true, rand::random());
    loop {
        let next = mine.values().filter(|one| !one.ended).filter_map(|one| one.ends).min();
        tokio::select! {
            answer = answers.message() => {
                let desired = answer?.context("the session ended")?;
                if !follow(fleet, name, &desired, mine) {
                    continue;
                }
            }
            () = until(next) => end(name, mine, |one, now| one.ends.is_some_and(|ends| ends <= now)),
            () = fleet.release.notified() => end(name, mine, |_, _| true),
            () = tokio::time::sleep_until(beat) => {}
        }
        beat = Instant::now() + next_heartbeat(heartbeat, false, rand::random());
        sender.send(state(name, arch, mine)).await?;
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn end(name: &str, mine: &mut HashMap<i64, Mine>, which: impl Fn(&Mine, Instant) -> bool) {
    let now = Instant::now();
    for (id, one) in mine.iter_mut() {
        if !one.ended && which(one, now) {
            one.ended = true;
            say(&json!({"event": "ended", "at": now_us(), "worker": name, "attempt": id}));
        }
    }
}

/// Takes over the state that the worker should have. True when it has an attempt that the worker
/// did not have before.
fn follow(
    fleet: &Fleet,
    name: &str,
    desired: &v1::DesiredState,
    mine: &mut HashMap<i64, Mine>,
) -> bool {
    mine.retain(|id, _| desired.assignments.iter().any(|wanted| wanted.attempt == *id));
    let mut new = false;
    for wanted in &desired.assignments {
        if mine.contains_key(&wanted.attempt) {
            continue;
        }
        new = true;
        say(&json!({
            "event": "assigned", "at": now_us(), "worker": name,
            "attempt": wanted.attempt, "task": wanted.task, "build": wanted.build,
        }));
        let hold_ms = fleet.hold_ms.load(Ordering::Relaxed);
        // Between half and one and a half of the time, by the attempt's number, so that the ends
        // are spread.
        let spread = wanted.attempt.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let ends = (hold_ms != NEVER)
            .then(|| Instant::now() + Duration::from_millis(hold_ms / 2 + hold_ms * spread / 1024));
        mine.insert(wanted.attempt, Mine { epoch: wanted.epoch, ends, ended: false });
    }
    new
}

fn state(name: &str, arch: &str, mine: &HashMap<i64, Mine>) -> v1::WorkerState {
    let report = |(id, one): (&i64, &Mine)| {
        use v1::attempt_report::Progress;
        let progress = if one.ended {
            Progress::Failed(v1::Failure {
                fault: v1::Fault::Package.into(),
                stage: "build".into(),
                message: "it builds nothing".into(),
                excerpt: Vec::new(),
                typed_stage: v1::FailureStage::Build.into(),
            })
        } else {
            Progress::Phase("build".into())
        };
        v1::AttemptReport { attempt: *id, epoch: one.epoch, progress: Some(progress) }
    };
    v1::WorkerState {
        name: name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        protocol: rpmfarm_core::worker_standing::PROTOCOL,
        arches: vec![arch.into()],
        slots: 1,
        cpus: 4,
        memory_mib: 16 << 10,
        disk_free_mib: 100 << 10,
        attempts: mine.iter().map(report).collect(),
        ..v1::WorkerState::default()
    }
}
