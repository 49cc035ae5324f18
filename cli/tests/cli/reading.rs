//! Lists and single things, for people and for scripts.

use rpmfarm_proto::v1::{Build, Fault};
use serde_json::{Value, json};

use crate::farm::{Facts, FakeFarm, KEPT};
use crate::{Ran, facts, home, rpmfarm, run};

fn ask(facts: Facts, args: &[&str]) -> Ran {
    let farm = FakeFarm::start(facts);
    run(rpmfarm(&farm.url(), home(None).path()).args(args))
}

fn with(build: Build) -> Facts {
    Facts { builds: vec![build], lock: facts::lock(), ..Facts::default() }
}

fn document(facts: Facts, args: &[&str]) -> Value {
    let ran = ask(facts, args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("one document")
}

#[test]
fn a_list_is_a_table_without_borders() {
    let builds = vec![
        Build { id: 9, ..facts::building() },
        Build { id: 8, ..facts::failed(Fault::Package) },
        facts::published(),
    ];
    let ran = ask(Facts { builds, ..Facts::default() }, &["list"]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let words: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(
        words,
        ["BUILD", "PACKAGE", "VERSION", "TARGET", "PRIORITY", "STATE", "ASKED", "TOOK", "WHAT"]
    );
    assert!(
        lines[1].contains("building") && lines[1].ends_with("x86_64 %check on w1"),
        "{}",
        lines[1]
    );
    assert!(lines[2].ends_with("'foo' undeclared\\x1b[31m (package's fault)"), "{}", lines[2]);
    assert!(lines[3].ends_with("2 min 5 s  in testing, revision 4"), "{}", lines[3]);
    assert_eq!(lines.len(), 4, "no line is broken into two");
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains('|'));
}

#[test]
fn a_long_list_comes_in_pages() {
    let builds = (1..=450).rev().map(|id| Build { id, ..facts::published() }).collect();
    let farm = FakeFarm::start(Facts { builds, ..Facts::default() });
    let ran =
        run(rpmfarm(&farm.url(), home(None).path()).args(["list", "--limit", "401", "--json"]));
    let list: Value = serde_json::from_str(&ran.stdout).expect("one document");
    let ids: Vec<_> =
        list["builds"].as_array().expect("a list").iter().map(|b| b["id"].as_i64()).collect();
    let expected: Vec<_> = (50..=450).rev().map(Some).collect();
    assert_eq!(ids, expected);
    let limits: Vec<_> = farm.facts.lock().lists.iter().map(|r| r.limit).collect();
    assert_eq!(limits, [200, 200, 1]);
}

#[test]
fn a_table_asks_for_its_rows_alone() {
    let builds = (1..=450).rev().map(|id| Build { id, ..facts::published() }).collect();
    let farm = FakeFarm::start(Facts { builds, ..Facts::default() });
    let ran = run(rpmfarm(&farm.url(), home(None).path()).args(["list", "--limit", "401"]));
    assert_eq!(ran.stdout.lines().count(), 402);
    let asked: Vec<_> = farm.facts.lock().lists.iter().map(|r| (r.limit, r.brief)).collect();
    assert_eq!(asked, [(401, true)]);
}

#[test]
fn all_workers_are_listed_page_by_page() {
    let list =
        document(Facts { more_workers: 1200, ..Facts::default() }, &["worker", "list", "--json"]);
    assert_eq!(list["workers"].as_array().expect("a list").len(), 1201);
}

#[test]
fn filters_reach_the_farm() {
    let farm = FakeFarm::start(Facts::default());
    let args = ["list", "--state", "failed", "--package", "hello", "--target", "lab"];
    let ran = run(rpmfarm(&farm.url(), home(None).path()).args(args));
    assert_eq!(ran.stdout, "no builds\n");
    let facts = farm.facts.lock();
    let asked = &facts.lists[0];
    assert_eq!(
        (asked.state.as_str(), asked.package.as_str(), asked.target.as_str()),
        ("failed", "hello", "lab")
    );
}

#[test]
fn a_published_build_shows_all_its_facts() {
    let ran = ask(with(facts::published()), &["show", "7"]);
    let expected = "\
build 7: hello for lab, published
  asked      AGO by alice@desk (2026-01-02 03:04:05 +00:00), batch 3
  took       2 min 5 s in all
  priority   interactive
  reference  c9s
  commit     0123456789abcdef0123456789abcdef01234567
  srpm       hello-2.12-1.lab9.src
  published  testing, revision 4

Stages
STAGE         TOOK  DONE
import      500 ms  2026-01-02 03:04:05 +00:00
srpm         1.5 s  2026-01-02 03:04:07 +00:00
resolve      40 ms  2026-01-02 03:04:07 +00:00
build    1 min 57 s  2026-01-02 03:06:05 +00:00
accept       1.0 s  2026-01-02 03:06:06 +00:00
sign         1.0 s  2026-01-02 03:06:07 +00:00
publish      3.0 s  2026-01-02 03:06:10 +00:00

Tasks
TASK  KIND   ARCH    STATE            TOOK    RPMBUILD  TRIES  WHAT
  11  srpm   x86_64  succeeded       1.0 s                  1  on w1
  12  build  x86_64  succeeded  1 min 57 s  1 min 30 s      2  on w1

Packages
PACKAGE                     SIZE  SIGNED
hello-2.12-1.lab9.x86_64  70 KiB  yes
";
    let asked = ran.stdout.find("asked      ").expect("it was asked for") + "asked      ".len();
    let by = ran.stdout.find(" by alice").expect("by alice");
    let shown = format!("{}AGO{}", &ran.stdout[..asked], &ran.stdout[by..]);
    assert!(ran.stdout[asked..by].ends_with(" ago"), "{}", &ran.stdout[asked..by]);
    let squeeze = |text: &str| {
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(squeeze(&shown), squeeze(expected));
}

#[test]
fn what_lies_before_a_retry_is_told_apart() {
    let mut build = facts::published();
    // Asked for a day before somebody tried it again.
    build.retried_us = build.created_us + 24 * 3600 * 1_000_000;
    build.ended_us = build.retried_us + 65 * 1_000_000;
    let shown = ask(with(build.clone()), &["show", "7"]).stdout;
    assert!(shown.contains("took       1 min 5 s in the last try, 1 d in all\n"), "{shown}");
    assert!(shown.contains("  retried    "), "{shown}");
    let listed = ask(with(build.clone()), &["list"]).stdout;
    assert!(listed.contains("  1 min 5 s  in testing"), "{listed}");
    let found = document(with(build), &["show", "7", "--json"]);
    assert_eq!(found["took_ms"], 86_465_000);
    assert_eq!(found["last_try_ms"], 65_000);
    assert_eq!(found["retried_at"], "2026-01-03T03:04:05Z");
}

#[test]
fn what_came_from_the_farm_and_what_was_taken_back_is_shown() {
    let mut build = facts::published();
    let line = "gcc-14-1.x86_64 (build 12) instead of gcc-13-1.x86_64 of appstream";
    build.from_farm = vec![line.into(); 21];
    build.artifacts[0].withdrawn = "by ann: backdoor".into();
    let shown = ask(with(build), &["show", "7"]).stdout;
    assert_eq!(shown.matches(&format!("  from the farm {line}\n")).count(), 20, "{shown}");
    assert!(shown.contains("  from the farm 1 more package: rpmfarm lock 7\n"), "{shown}");
    assert!(shown.contains("withdrawn"), "{shown}");
}

#[test]
fn a_failed_build_says_what_whose_and_what_next() {
    let ran = ask(with(facts::failed(Fault::Package)), &["show", "7"]);
    assert_eq!(ran.code, 0, "showing it is no failure");
    let expected = "\
failed: hello.c:3: error: 'foo' undeclared\\x1b[31m (package's fault, at build on x86_64)
  | gcc -c hello.c
  | hello.c:3: error: 'foo' undeclared\\x07
  → read the whole log: rpmfarm log 7 --kind build --arch x86_64
  → fix the package in dist-git, then rebuild: rpmfarm build hello@c9s --target lab
";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
    assert!(!ran.stdout.contains("because"), "the reason is not shown twice: {}", ran.stdout);
}

#[test]
fn the_json_of_a_build_is_stable() {
    let mut found = document(with(facts::published()), &["show", "7", "--json"]);
    let stage =
        |stage: &str, at: &str, ms: i64| json!({"stage": stage, "done_at": at, "took_ms": ms});
    let tasks = found["tasks"].take();
    let expected = json!({
        "id": 7, "target": "lab", "package": "hello", "ref": "c9s",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "batch": 3, "submitter": "alice@desk", "priority": "interactive", "arches": [],
        "options": [], "kept_files": 0,
        "state": "published",
        "ended": true, "reason": null,
        "created_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:06:10Z", "took_ms": 125_000, "retried_at": null,
        "last_try_ms": 125_000,
        "srpm": "hello-2.12-1.lab9.src", "cves": [], "warnings": [], "notes": [], "from_farm": [],
        "failure": null,
        "published": {"channel": "testing", "revision": 4},
        "stages": [
            stage("import", "2026-01-02T03:04:05.5Z", 500),
            stage("srpm", "2026-01-02T03:04:07Z", 1500),
            stage("resolve", "2026-01-02T03:04:07.04Z", 40),
            stage("build", "2026-01-02T03:06:05Z", 117_960),
            stage("accept", "2026-01-02T03:06:06Z", 1000),
            stage("sign", "2026-01-02T03:06:07Z", 1000),
            stage("publish", "2026-01-02T03:06:10Z", 3000),
        ],
        "tasks": null,
        "artifacts": [{
            "nevra": "hello-2.12-1.lab9.x86_64", "digest": "a".repeat(64), "size": 71_680,
            "signed_digest": "b".repeat(64), "withdrawn": null,
        }],
    });
    assert_eq!(found, expected);
    let build = json!({
        "id": 12, "kind": "build", "arch": "x86_64", "state": "succeeded", "phase": null,
        "worker": "w1", "started_at": "2026-01-02T03:04:08Z", "ended_at": "2026-01-02T03:06:05Z",
        "took_ms": 117_000, "rpmbuild_ms": 90_500, "attempts": 2, "lock": "c".repeat(64),
        "failure": null, "notes": [],
    });
    assert_eq!(tasks[1], build);
}

#[test]
fn the_json_of_a_failure_has_the_text_as_it_came() {
    let found = document(with(facts::failed(Fault::Worker)), &["show", "7", "--json"]);
    let expected = json!({
        "fault": "worker", "stage": "build",
        "message": "hello.c:3: error: 'foo' undeclared\u{1b}[31m",
        "excerpt": ["gcc -c hello.c", "hello.c:3: error: 'foo' undeclared\u{7}"],
    });
    assert_eq!(found["failure"], expected);
}

#[test]
fn targets() {
    let ran = ask(Facts::default(), &["target", "list"]);
    assert!(
        ran.stdout.contains("lab     x86_64 aarch64  testing stable  .lab9  The lab's own"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("takes no builds: no key"), "{}", ran.stdout);
    let shown = document(Facts::default(), &["target", "show", "lab", "--json"]);
    assert_eq!(shown["definition"], json!({"dist": ".lab9"}));
    let people = ask(Facts::default(), &["target", "show", "lab"]);
    assert!(people.stdout.contains("  \"dist\": \".lab9\"\n"), "{}", people.stdout);
}

#[test]
fn repositories_say_how_dnf_uses_them() {
    let list = ask(Facts::default(), &["repo"]);
    assert!(
        list.stdout.contains("http://farm/repos/lab/testing/lab-testing.repo"),
        "{}",
        list.stdout
    );
    let shown = ask(Facts::default(), &["repo", "show", "testing", "--target", "lab"]);
    for line in [
        "curl -fsSo /etc/yum.repos.d/rpmfarm-lab-testing.repo http://farm/repos/lab/testing/lab-testing.repo",
        "rpm --import http://farm/repos/lab/key.asc",
    ] {
        assert!(shown.stdout.contains(line), "{}", shown.stdout);
    }
    let none = ask(Facts::default(), &["repo", "show", "nightly"]);
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (3, "rpmfarm: there is no channel `nightly` (rpmfarm repo list)\n")
    );
}

#[test]
fn workers() {
    let ran = ask(Facts::default(), &["worker", "list"]);
    let row =
        "w1 alive x86_64, aarch64 (emulated) 1/2 0/1 8 16 GiB 100 GiB just now 0.1.0 7/12 hello";
    let squeezed: Vec<_> = ran.stdout.split_whitespace().collect();
    assert!(squeezed.join(" ").ends_with(row), "{}", ran.stdout);
    let json = document(Facts::default(), &["worker", "list", "--json"]);
    assert_eq!(json["workers"][0]["running"], json!(["7/12 hello"]));
    assert_eq!(json["workers"][0]["labels"], json!(["ssd", "gpu"]));
    let slots = ["slots", "busy", "srpm_slots", "srpm_busy"];
    assert_eq!(slots.map(|name| json["workers"][0][name].as_u64()), [2, 1, 1, 0].map(Some));
}

#[test]
fn a_lock_is_a_table_or_the_stored_bytes() {
    let (bytes, digest) = facts::lock();
    let ran = ask(with(facts::published()), &["lock", "7"]);
    assert!(
        ran.stdout.contains("layer 0  bash-5.2-1.lab9.x86_64  2.0 KiB  baseos"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.ends_with(&format!("1 package, 2.0 KiB, for lab on x86_64; lock {digest}\n")),
        "{}",
        ran.stdout
    );
    let json = ask(with(facts::published()), &["lock", "7", "--json"]);
    assert_eq!(json.stdout.as_bytes(), bytes);
}

#[test]
fn a_lock_may_come_in_another_layout() {
    let (bytes, _) = facts::lock();
    let mut indented = with(facts::published());
    let value: Value = serde_json::from_slice(&bytes).expect("JSON");
    indented.lock.0 = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(ask(indented, &["lock", "7", "--json"]).stdout.as_bytes(), bytes);
}

#[test]
fn a_lock_that_is_not_what_its_name_says_is_refused() {
    let mut other = with(facts::published());
    let text = String::from_utf8(other.lock.0).expect("text");
    other.lock.0 = text.replace("2048", "2049").into();
    let ran = ask(other, &["lock", "7", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""));
    assert!(ran.stderr.contains("has the digest"), "{}", ran.stderr);
}

#[test]
fn what_is_not_there_is_exit_3() {
    for args in [
        &["show", "8"] as &[&str],
        &["watch", "8"],
        &["log", "8"],
        &["lock", "8"],
        &["target", "show", "nosuch"],
    ] {
        let ran = ask(with(facts::published()), args);
        assert_eq!(ran.code, 3, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("rpmfarm: there is no "), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
    }
}

#[test]
fn versions() {
    let json = document(Facts::default(), &["version", "--json"]);
    assert_eq!((&json["client"], &json["coordinator"]), (&json!("0.1.0"), &json!("0.1.0")));
}

#[test]
fn files_of_a_failed_build_are_listed_and_fetched() {
    let failed = || with(Build { kept_files: 3, ..facts::failed(Fault::Package) });
    let id = facts::failed(Fault::Package).id.to_string();
    let shown = ask(failed(), &["show", &id]);
    assert!(shown.stdout.contains(&format!("rpmfarm files {id}")), "{}", shown.stdout);
    let listed = ask(failed(), &["files", &id]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert_eq!(listed.stdout.lines().count(), 4, "{}", listed.stdout);
    let json = document(failed(), &["files", &id, "--json"]);
    assert_eq!(json["files"][2]["path"], "x-1/tests/test-suite.log");
    // Into a pipe it goes byte by byte; of two the newer one.
    let got = ask(failed(), &["files", &id, "--get", "config.log"]);
    assert_eq!(got.stdout, String::from_utf8_lossy(KEPT), "{}", got.stderr);
    assert_eq!(ask(failed(), &["files", &id, "--get", "nothing"]).code, 3);
    let directory = home(None);
    let out = directory.path().join("out");
    let out = out.to_str().expect("UTF-8");
    let written = ask(failed(), &["files", &id, "--out", out]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    for path in ["x86_64-9/x-1/config.log", "x86_64-8/x-1/tests/test-suite.log"] {
        assert_eq!(std::fs::read(format!("{out}/{path}")).expect("is there"), KEPT, "{path}");
    }
}

#[test]
fn a_build_says_why_it_waits_and_when_it_goes_on() {
    let ran = ask(with(facts::building()), &["why", "7"]);
    let expected = "\
build 7: hello for lab, queued
  build x86_64: behind 12 tasks, about 6 min
  build ppc64le: no worker for ppc64le connected since 14:02 UTC
";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, expected));
    let found = document(with(facts::building()), &["why", "7", "--json"]);
    assert_eq!(
        found["reasons"][0],
        json!({
            "code": "queue", "task": "build x86_64", "text": "behind 12 tasks, about 6 min",
            "ahead": 12, "starts_at": "2026-01-02T03:04:05Z",
        })
    );
    assert_eq!(found["reasons"][1]["starts_at"], Value::Null);
    assert_eq!(ask(with(facts::building()), &["why", "8"]).code, 3);
}
