//! Requests and builds that the farm refuses, with errors that a maintainer understands.

use std::time::{Duration, Instant};

use rpmfarm_lab::distgit::{self, BRANCH, Commit, Entry};
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// A package that fails: the fault, the stage, and the text of its message.
struct Refused {
    package: &'static str,
    fault: &'static str,
    stages: &'static [&'static str],
    says: &'static [&'static str],
}

const fn refused(
    package: &'static str,
    stages: &'static [&'static str],
    says: &'static [&'static str],
) -> Refused {
    Refused { package, fault: "package", stages, says }
}

const REFUSED: &[Refused] = &[
    refused("no-spec", &["import"], &["no spec file"]),
    refused("two-specs", &["import"], &["2 spec files", "remove the others"]),
    refused("wrong-digest", &["import"], &["does not match: expected sha512:", "found sha512:"]),
    refused("missing-source", &["import"], &["is not in any look-aside cache", "(404)"]),
    refused("outside-symlink", &["import"], &["leads out of the repository"]),
    refused("outside-list", &["import"], &["`../../x` is not a plain file name"]),
    // rpmbuild looks for the last part of the name, among the sources.
    refused("outside-source", &["spec"], &["/builddir/build/SOURCES/x: No such file"]),
    refused("needs-nobody", &["resolve"], &["nothing provides `nobody-provides-this >= 2`"]),
    refused("needs-too-many", &["accept"], &["20000", "10000"]),
    refused("includes-host", &["spec"], &["/var/lib/dpkg/status: No such file"]),
    refused("endless-macro", &["spec"], &["Too many levels of recursion"]),
    refused("fails-prep", &["prep"], &["%prep failed: the patch of this package does not apply"]),
    refused("fails-build", &["build"], &["%build failed: broken.c:3:12: error: ", "undeclared"]),
    refused("fails-check", &["check"], &["%check failed: FAIL: 1 of 1 tests"]),
    refused("no-files", &["accept"], &["0 binary packages", "is every %files empty?"]),
    refused("uses-network", &["build"], &["%build failed: ", "192.0.2.1", "is unreachable"]),
    refused("fork-bomb", &["build"], &["%build reached its limit of 200 processes"]),
    refused("fills-disk", &["build"], &["%build filled its 256 MiB of disk space"]),
    refused("sleeps", &["build"], &["%build wrote nothing for 5 seconds: the build was killed"]),
    refused("endless-log", &["build"], &["%build wrote a log of more than 8 MiB"]),
];

#[test]
fn what_is_bad_is_refused_with_its_reason_and_the_farm_goes_on() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let ids: Vec<i64> =
        REFUSED.iter().map(|refused| client.build(&[refused.package]).unwrap()[0]).collect();
    let mut wrong = Vec::new();
    for (refused, id) in REFUSED.iter().zip(ids) {
        let build = client.wait(id, &["failed"], PATIENCE).unwrap();
        if let Err(problem) = check(refused, &build) {
            wrong.push(format!("{}: {problem}: {:#}", refused.package, build["failure"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A watcher of a build that failed gets the failure.
    let ids = client.build(&["needs-failed", "fails-build"]).unwrap();
    let build = client.wait(ids[0], &["failed"], PATIENCE).unwrap();
    let says = format!("build {} (fails-build), from the same request", ids[1]);
    let message = build["failure"]["message"].as_str().unwrap();
    let nothing = "no build root for x86_64: nothing provides";
    assert!(message.starts_with(nothing) && message.contains(&says), "{message}");
    what_matters_is_kept(&scene, ids[1]);
    // Nothing of all that reaches the next build.
    client.publish(&["tiny"], PATIENCE).unwrap();
    options_count_for_one_build(&scene);
}

/// The files of a failed build that its maintainer asks for.
fn what_matters_is_kept(scene: &Scene, build: i64) {
    let client = scene.farm.client();
    client.wait(build, &["failed"], PATIENCE).unwrap();
    let id = build.to_string();
    let listed = client.json(&["files", &id]).unwrap();
    let files = listed["files"].as_array().unwrap();
    let paths: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["fails-build-1.0/config.log"], "{listed:#}");
    let got = client.run(&["files", &id, "--get", "config.log"]).unwrap();
    assert_eq!(got.out, "configure: nothing is missing\n", "{}", got.err);
    let out = scene.path("kept");
    let fetched = client.run(&["files", &id, "--out", out.to_str().unwrap()]).unwrap();
    assert_eq!(fetched.code, 0, "{}", fetched.err);
    let attempt = files[0]["attempt"].as_i64().unwrap();
    let path = out.join(format!("x86_64-{attempt}/fails-build-1.0/config.log"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), got.out);
    assert_eq!(client.run(&["files", &id, "--get", "nothing"]).unwrap().code, 3);
}

/// A package whose tests fail is built without them, under another release.
fn options_count_for_one_build(scene: &Scene) {
    let client = scene.farm.client();
    let repository = scene.world.repository();
    let asked = [
        "build",
        "fails-check",
        "--target",
        "lab",
        "--nocheck",
        "--define",
        "dist .lab9.test",
        "--additional-package",
        "xz-utils",
        "--addrepo",
        &repository,
    ];
    let answer = client.json(&asked).unwrap();
    let id = answer["builds"][0]["id"].as_i64().or_else(|| answer[0]["id"].as_i64()).unwrap();
    let build = client.wait(id, &["published"], PATIENCE).unwrap();
    assert!(build["srpm"].as_str().unwrap().contains("-1.lab9.test."), "{build:#}");
    let words = build["options"].to_string();
    for part in ["--nocheck", "--define 'dist .lab9.test'", "--additional-package", "--addrepo"] {
        assert!(words.contains(part), "{words}");
    }
    for kind in ["srpm", "build"] {
        let lock = client.json(&["lock", &id.to_string(), "--kind", kind]).unwrap().to_string();
        assert!(lock.contains("\"nocheck\":true"), "{kind}: {lock}");
    }
    let refused = client.run(&["build", "tiny", "--target", "lab", "--with", "a b"]).unwrap();
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("--with `a b`"), "{}", refused.err);
}

fn check(refused: &Refused, build: &Value) -> Result<(), String> {
    let failure = &build["failure"];
    if failure["fault"] != refused.fault {
        return Err(format!("fault is not {}", refused.fault));
    }
    let stage = failure["stage"].as_str().unwrap_or_default();
    if !refused.stages.contains(&stage) {
        return Err(format!("stage `{stage}` is none of {:?}", refused.stages));
    }
    let message = failure["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.contains('\n') {
        return Err("the message is not one line".into());
    }
    match refused.says.iter().find(|part| !message.contains(**part)) {
        Some(part) => Err(format!("does not say `{part}`")),
        None => Ok(()),
    }
}

/// A number of seconds that no other process sleeps.
const DAEMON: &[u8] = b"sleep\x0027182818\0";

/// Whether the process that `leaves-daemon` starts runs on this host.
fn daemon_runs() -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line == DAEMON)
}

/// A process that a build leaves behind, in a session of its own, has ended before the end of the
/// build is reported.
#[test]
fn a_daemon_does_not_outlive_its_build() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let build = client.build(&["leaves-daemon"]).unwrap()[0];
    let begun = Instant::now();
    while !daemon_runs() {
        let shown = client.show(build).unwrap();
        assert!(begun.elapsed() < PATIENCE && shown["ended"] != true, "no daemon: {shown:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.wait(build, &["published"], PATIENCE).unwrap();
    assert!(!daemon_runs(), "the daemon outlives its build");
}

#[test]
fn what_cannot_be_asked_for_is_refused_at_once() {
    let scene = Scene::with(|settings| settings.workers = 0);
    let client = scene.farm.client();
    let run = |arguments: &[&str]| client.run(arguments).unwrap();

    let answer = run(&["build", "hello", "--target", "nothing"]);
    assert_eq!(answer.code, 3, "{}", answer.err);
    assert!(answer.err.contains("unknown target `nothing` (known: lab)"), "{}", answer.err);
    for package in ["../hello", "-x", "a b"] {
        let answer = run(&["build", "--target", "lab", "--", package]);
        assert_eq!(answer.code, 2, "{package}: {}", answer.err);
    }
    assert!(run(&["build", "hello", "--target", "lba"]).err.contains("did you mean lab?"));
    // A package that upstream does not have is refused, with those that the farm knows and that
    // are named much like it; of one that is there the others are not started either.
    let known = client.build(&["tiny"]).unwrap()[0];
    client.wait(known, &["queued", "waiting", "srpm"], PATIENCE).unwrap();
    let before = client.json(&["list"]).unwrap()["builds"].as_array().unwrap().len();
    let answer = run(&["build", "tinny", "hello", "nowhere", "--target", "lab"]);
    assert_eq!(answer.code, 3, "{}", answer.err);
    for says in ["no package `tinny`", "404", "did you mean tiny?", "no package `nowhere`"] {
        assert!(answer.err.contains(says), "no {says}: {}", answer.err);
    }
    assert!(!answer.err.contains("`hello`") && !answer.err.contains("\\x0a"), "{}", answer.err);
    let after = client.json(&["list"]).unwrap()["builds"].as_array().unwrap().len();
    assert_eq!(before, after, "nothing was started");
    let answer = run(&["list", "--package", "tinny"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "no builds\n"));
    assert!(answer.err.contains("did you mean tiny?"), "{}", answer.err);
    assert_eq!(run(&["list", "--target", "lba"]).code, 3);
    let answer = run(&["build", "hello", "--arch", "ppc64le", "--target", "lab"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    assert!(
        answer.err.contains("does not build for ppc64le (it does for x86_64)"),
        "{}",
        answer.err
    );
    let answer = run(&["build", "hello", "--ref", "--upload-pack=x", "--target", "lab"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    let answer = run(&["show", "4711"]);
    assert_eq!(answer.code, 3, "{}", answer.err);
    assert!(answer.err.contains("4711"), "{}", answer.err);

    // A missing ref is found when its repository is polled.
    let answer = client.json(&["build", "hello", "--ref", "nosuch", "--target", "lab"]).unwrap();
    let id = answer["builds"][0]["id"].as_i64().or_else(|| answer[0]["id"].as_i64()).unwrap();
    let build = client.wait(id, &["failed"], PATIENCE).unwrap();
    assert!(build["failure"]["message"].as_str().unwrap().contains("nosuch"), "{build:#}");
}

/// Invariant I8: one NEVRA in one target has one digest.
#[test]
fn a_change_without_a_new_release_is_refused_and_what_is_published_stays() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let first = client.publish(&["tiny"], PATIENCE).unwrap().remove(0);

    let spec = include_bytes!("../../distgit/tiny/SPECS/tiny.spec");
    let source = include_str!("../../distgit/tiny/SOURCES/tiny.c");
    let changed = format!("/* Changed. */\n{source}");
    let tree = [
        ("SPECS/tiny.spec", Entry::File(spec)),
        ("SOURCES/tiny.c", Entry::File(changed.as_bytes())),
    ];
    let commit = Commit { message: "Changed, with the same release", tree: tree.into() };
    distgit::append(&scene.world.repository_of("tiny"), BRANCH, &commit).unwrap();

    let id = client.build(&["tiny"]).unwrap()[0];
    let second = client.wait(id, &["failed"], PATIENCE).unwrap();
    let failure = &second["failure"];
    assert_eq!(
        (failure["fault"].as_str(), failure["stage"].as_str()),
        (Some("package"), Some("accept")),
        "{failure:#}"
    );
    let message = failure["message"].as_str().unwrap();
    for part in ["tiny-1.0-1", "exists already", "raise the release"] {
        assert!(message.contains(part), "{message}");
    }
    // The published packages are untouched.
    let shown = client.show(first["id"].as_i64().unwrap()).unwrap();
    assert_eq!(shown["artifacts"], first["artifacts"]);
    let channels = client.json(&["repo"]).unwrap();
    assert!(channels.to_string().contains("\"revision\":1"), "{channels:#}");
}
