//! Following builds: to every end, over restarts, on a terminal, without a reader.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpmfarm_proto::v1::{Build, Fault};
use serde_json::Value;

use crate::farm::{Facts, FakeFarm};
use crate::{Ran, TOKEN, facts, home, rpmfarm, run};

fn changing(changes: Vec<Build>) -> Facts {
    Facts { builds: vec![facts::building()], changes, ..Facts::default() }
}

fn watch(changes: Vec<Build>, args: &[&str]) -> Ran {
    let farm = FakeFarm::start(changing(changes));
    run(rpmfarm(&farm.url(), home(None).path()).args(["watch", "7"]).args(args))
}

#[test]
fn a_line_for_each_change_until_published() {
    let ran = watch(vec![facts::building(), facts::building(), facts::published()], &[]);
    let lines: Vec<_> = ran.stdout.lines().map(str::trim_start).collect();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(lines.len(), 2, "what says nothing new is no line: {lines:?}");
    assert!(lines[0].ends_with("build 7 hello building: x86_64 %check on w1"), "{}", lines[0]);
    assert_eq!(lines[1], "2 min 5 s  build 7 hello published in testing, revision 4");
}

#[test]
fn the_end_decides_on_the_exit_code() {
    for (end, code) in [
        (facts::failed(Fault::Package), 1),
        (facts::failed(Fault::Worker), 5),
        (facts::failed(Fault::Farm), 5),
        (facts::cancelled(), 6),
    ] {
        let ran = watch(vec![facts::building(), end.clone()], &[]);
        assert_eq!(ran.code, code, "{end:?}: {}", ran.stderr);
        assert_eq!(
            ran.stdout.contains("  | gcc -c hello.c\n"),
            end.failure.is_some(),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn several_builds_end_with_a_summary() {
    let other = |build: Build| Build { id: 8, package: "greet".into(), ..build };
    let farm = FakeFarm::start(Facts {
        builds: vec![facts::building(), other(facts::building())],
        changes: vec![
            facts::building(),
            other(facts::building()),
            facts::published(),
            other(facts::failed(Fault::Package)),
        ],
        ..Facts::default()
    });
    let ran = run(rpmfarm(&farm.url(), home(None).path()).args(["watch", "7", "8"]));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    for says in [
        "build 7 hello published in testing, revision 4 (1 of 2 done)\n",
        "(package's fault) (2 of 2 done)\n",
        "2 builds: 1 published, 1 failed\n  build 8 greet failed: hello.c:3: error:",
    ] {
        assert!(ran.stdout.contains(says), "no `{says}`:\n{}", ran.stdout);
    }
    assert!(ran.stdout.ends_with("    → rpmfarm show 8\n"), "{}", ran.stdout);
}

#[test]
fn each_change_is_an_object_for_scripts() {
    let ran = watch(vec![facts::building(), facts::published()], &["--json"]);
    let states: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an object a line")["state"].take())
        .collect();
    assert_eq!(states, ["building", "published"]);
}

#[test]
fn build_with_watch_follows_to_the_end() {
    let farm = FakeFarm::start(changing(vec![facts::building(), facts::failed(Fault::Package)]));
    let args = ["build", "hello", "--target", "lab", "--watch"];
    let ran = run(rpmfarm(&farm.url(), home(Some(TOKEN)).path()).args(args));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("(package's fault, at build on x86_64)"), "{}", ran.stdout);
}

#[test]
fn a_restart_of_the_coordinator_is_survived() {
    let facts = Facts { open_end: true, ..changing(vec![facts::building()]) };
    let mut farm = FakeFarm::start(facts);
    let watching = spawn(&farm, &["watch", "7"], Stdio::piped());
    std::thread::sleep(Duration::from_millis(1500));
    farm.stop();
    std::thread::sleep(Duration::from_millis(700));
    farm.facts.lock().changes = vec![facts::published()];
    farm.facts.lock().open_end = false;
    farm.resume();
    let output = watching.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let notes: Vec<_> = stderr.lines().collect();
    assert_eq!(notes.len(), 2, "{stderr}");
    assert!(notes[0].starts_with("rpmfarm: lost the coordinator at http://127.0.0.1:"), "{stderr}");
    assert_eq!(notes[1], "rpmfarm: connected again");
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("published in testing, revision 4\n")
    );
}

#[test]
fn ctrl_c_ends_the_watching_and_not_the_build() {
    let facts = Facts { open_end: true, ..changing(vec![facts::building()]) };
    let farm = FakeFarm::start(facts);
    let watching = spawn(&farm, &["watch", "7"], Stdio::piped());
    std::thread::sleep(Duration::from_millis(1500));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(watching.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let output = watching.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr, "the build goes on; rpmfarm watch 7 follows, rpmfarm cancel 7 stops\n");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let builds = (1..=2000).rev().map(|id| Build { id, ..facts::published() }).collect();
    let farm = FakeFarm::start(Facts { builds, ..Facts::default() });
    let mut listing = spawn(&farm, &["list", "--limit", "2000"], Stdio::piped());
    drop(listing.stdout.take());
    let output = listing.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_terminal_is_redrawn_in_place() {
    let farm = FakeFarm::start(changing(vec![facts::building(), facts::failed(Fault::Package)]));
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let mut watching = spawn(&farm, &["watch", "7"], Stdio::from(pty.slave));
    let screen = read_all(pty.master);
    assert_eq!(watching.wait().expect("it ends").code(), Some(1));
    assert!(
        screen.contains("\u{1b}[2A\r\u{1b}[J"),
        "a block of two lines is overwritten: {screen:?}"
    );
    assert!(screen.contains("      build  x86_64"), "{screen:?}");
    assert!(screen.contains("\u{1b}[31mfailed    \u{1b}[0m"), "{screen:?}");
    assert!(
        screen.contains("'foo' undeclared\\x1b[31m"),
        "what a build says stays harmless: {screen:?}"
    );
    let too_wide = |line: &str| console::measure_text_width(line) > 80 && line.contains("…");
    assert!(!screen.lines().any(too_wide), "{screen:?}");
}

fn spawn(farm: &FakeFarm, args: &[&str], stdout: Stdio) -> std::process::Child {
    Command::new(assert_cmd::cargo::cargo_bin!("rpmfarm"))
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("TERM", "xterm-256color")
        .env("RPMFARM_SERVER", farm.url())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Reads a terminal until its last writer has closed it.
fn read_all(master: OwnedFd) -> String {
    let mut master = std::fs::File::from(master);
    let (mut screen, mut piece) = (Vec::new(), [0; 4096]);
    let start = Instant::now();
    while let Ok(length @ 1..) = master.read(&mut piece) {
        screen.extend_from_slice(&piece[..length]);
        assert!(start.elapsed() < Duration::from_secs(60), "it does not end");
    }
    String::from_utf8_lossy(&screen).into_owned()
}

#[test]
fn a_published_build_that_nobody_gets_says_so() {
    let warning = "hello 1-1 is not in testing: 2-1 is there, which is newer";
    let hidden = Build { warnings: vec![warning.into()], ..facts::published() };
    for args in [&[] as &[&str], &["--json"]] {
        let ran = watch(vec![facts::building(), hidden.clone()], args);
        assert_eq!(ran.code, 0);
        assert!(ran.stderr.contains(&format!("build 7: {warning}")), "{}", ran.stderr);
    }
}

#[test]
fn more_builds_than_one_call_may_watch_take_several() {
    let builds: Vec<Build> = (1..=2001).map(|id| Build { id, ..facts::published() }).collect();
    let changes = builds.clone();
    let farm = FakeFarm::start(Facts { builds, changes, ..Facts::default() });
    let ids: Vec<String> = (1..=2001).map(|id: i64| id.to_string()).collect();
    let home = home(Some(TOKEN));
    let ran = run(rpmfarm(&farm.url(), home.path()).arg("watch").args(&ids));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(farm.facts.lock().watched, [1000, 1000, 1]);
}
