//! A short run of all fuzz targets: mutations of good inputs, the same each time.
//!
//! Each reader is a test of its own, and runs until it has had [`RUNS`] inputs or [`SECONDS`] are
//! over. `RPMFARM_FUZZ_RUNS` or `RPMFARM_FUZZ_SECONDS` set another limit, which is then the only
//! one. An input at which a reader fails is kept in a file, whose name is printed;
//! `RPMFARM_FUZZ_INPUT` names a file that the tests run instead of all other inputs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends there, and says where")]

#[path = "../../../rpmfile/tests/support/forge.rs"]
mod forge;
mod mutate;
mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rpmfarm_fuzz_targets::ALL;

/// Inputs of each reader.
const RUNS: u64 = 4_000;

/// Seconds of each reader.
const SECONDS: u64 = 2;

/// No reader takes longer for one input.
const PATIENCE: Duration = Duration::from_secs(20);

/// No reader takes more memory, in KiB.
const MEMORY: u64 = 2 << 20;

/// The number that a watched run has when it is over.
const OVER: u64 = u64::MAX;

macro_rules! readers {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*
    };
}

readers! {
    sources metadata webhook refs forge spec rpm_header autopatch modules hook_body tree pack
    package contents nevra keys signature fragments signed_header repomd metalink href page
    relation requirement primary pool lock bundle plan records target worker_state desired_state
    options csr build_log terms rpm_said audit_log journal words tags kept
}

#[test]
fn every_reader_is_tested() {
    let all: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(TESTED, all);
}

/// Writes them into the directory that `RPMFARM_FUZZ_CORPUS` names, where cargo-fuzz begins.
#[test]
fn every_reader_has_seeds() {
    let corpus = env::var_os("RPMFARM_FUZZ_CORPUS").map(PathBuf::from);
    for (name, _) in ALL {
        let seeds = seeds::seeds_of(name);
        assert!(seeds.iter().all(|seed| !seed.is_empty()) && !seeds.is_empty(), "{name}");
        let Some(corpus) = &corpus else { continue };
        fs::create_dir_all(corpus.join(name)).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(name).join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

fn run(name: &str) {
    let (_, fuzz) = ALL.iter().find(|(known, _)| *known == name).expect("it is one of all");
    if let Some(file) = env::var_os("RPMFARM_FUZZ_INPUT") {
        return fuzz(&fs::read(file).unwrap());
    }
    let seeds = seeds::seeds_of(name);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Printed before, because an input may end the whole process.
    println!("{name}: the input that is run is in {}", file.display());
    let watched = Watched::new(name, &file);
    let begun = Instant::now();
    let (runs, time) = limits();
    for number in (0..runs).take_while(|_| begun.elapsed() < time) {
        let data = input(&seeds, number);
        fs::write(&file, &data).unwrap();
        watched.0.store(number, Ordering::Relaxed);
        let ended = catch_unwind(AssertUnwindSafe(|| fuzz(&data)));
        let about = || format!("{name}, input {number}, which is kept in {}", file.display());
        assert!(ended.is_ok(), "{}: {:?}", about(), String::from_utf8_lossy(&data));
        assert!(memory() <= MEMORY, "{}: it took more than {MEMORY} KiB", about());
    }
    fs::remove_file(file).unwrap();
}

/// The good inputs first, then the empty one, then mutations of the good ones.
fn input(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    match usize::try_from(number).ok().filter(|number| *number <= seeds.len()) {
        Some(number) => seeds.get(number).cloned().unwrap_or_default(),
        None => mutate::mutated(seeds, number),
    }
}

/// How many inputs, and how long.
fn limits() -> (u64, Duration) {
    let asked = |name: &str| Some(env::var(name).ok()?.parse::<u64>().expect("it is a number"));
    let (runs, seconds) = (asked("RPMFARM_FUZZ_RUNS"), asked("RPMFARM_FUZZ_SECONDS"));
    match (runs, seconds) {
        (None, None) => (RUNS, Duration::from_secs(SECONDS)),
        (runs, seconds) => {
            (runs.unwrap_or(u64::MAX), seconds.map_or(Duration::MAX, Duration::from_secs))
        }
    }
}

/// The most memory that the process has had, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The number of the input that is run. The parent process reads it and ends this one when it stays
/// the same for too long.
struct Watched(Arc<AtomicU64>);

impl Watched {
    fn new(name: &str, file: &Path) -> Self {
        let number = Arc::new(AtomicU64::new(0));
        let (seen, name, file) = (Arc::clone(&number), name.to_owned(), file.to_owned());
        thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            loop {
                thread::sleep(Duration::from_millis(500));
                match seen.load(Ordering::Relaxed) {
                    OVER => return,
                    now if now != last => (last, since) = (now, Instant::now()),
                    now if since.elapsed() > PATIENCE => {
                        let file = file.display();
                        eprintln!(
                            "{name}, input {now}, which is kept in {file}: over {PATIENCE:?}"
                        );
                        std::process::abort();
                    }
                    _ => {}
                }
            }
        });
        Self(number)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
}

#[test]
fn good_inputs_are_read() {
    use rpmfarm_core::track::Forge;
    use rpmfarm_core::track::hook::{HookEvent, read};
    let seed = |name: &str| seeds::seeds_of(name).remove(0);
    let body = seed("webhook");
    assert!(matches!(read(Forge::Github, "push", &body).unwrap().event, HookEvent::Push(_)));
    let question = rpmfarm_core::track::refs::RefQuery::name("c9s");
    let mut reader = rpmfarm_core::track::refs::RefReader::new(&question);
    reader.feed(&seed("refs")).unwrap();
    assert!(reader.end().unwrap().is_some());
    let rpm = seed("rpm_header");
    assert!(rpmfarm_rpmfile::Headers::read(&mut rpm.as_slice()).is_ok());
    rpmfarm_core::Lock::from_bytes(&seed("lock")).unwrap();
    rpmfarm_core::source::SourceBundle::from_bytes(&seed("bundle")).unwrap();
    rpmfarm_sources::modify::ScriptPlan::from_bytes(&seed("plan")).unwrap();
    assert_eq!(rpmfarm_signer::repomd::revision(&seed("page")), Ok(1_700_000_000));
    rpmfarm_coordinator::resolve::repomd::Repomd::parse(&seed("repomd")).unwrap();
    let text = String::from_utf8(seed("metalink")).unwrap();
    assert_eq!(rpmfarm_coordinator::resolve::metalink(&text).unwrap().0.len(), 2);
    let dir = tempfile::tempdir().unwrap();
    for rpm in seeds::seeds_of("contents") {
        let path = dir.path().join("a.rpm");
        fs::write(&path, rpm).unwrap();
        rpmfarm_rpmfile::inspect(&path).unwrap();
        assert_eq!(rpmfarm_rpmfile::check_contents(&path).unwrap().contents.files, 5);
    }
}
