//! Batches: their plans, their progress, and the changes of whole batches.

use rpmfarm_proto::v1::{BatchDetails, Fault};
use serde_json::Value;

use crate::farm::{Facts, FakeFarm};
use crate::{Ran, TOKEN, facts, home, rpmfarm, run};

fn farm(batches: Vec<BatchDetails>) -> FakeFarm {
    FakeFarm::start(Facts { batches, ..Facts::default() })
}

fn ran(farm: &FakeFarm, args: &[&str]) -> Ran {
    run(rpmfarm(&farm.url(), home(Some(TOKEN)).path()).args(args))
}

#[test]
fn a_plan_builds_nothing_and_says_what_would_be() {
    let farm = farm(Vec::new());
    let build = ["build", "gcc", "glibc@v2", "--target", "lab", "--plan"];
    let planned = ran(&farm, &[&build[..], &["--order", "bootstrap"]].concat());
    assert_eq!((planned.code, planned.stderr.as_str()), (0, ""));
    for says in [
        "plan for lab: 2 builds in 2 components, order: bootstrap\n",
        "  takes 2 min at least: the longest chain 2 min, the work over the slots 1 min\n",
        "  expected to end 2 min after its start\n",
        "  slots: x86_64 2\n",
        "  each build root was solved with the packages that are there now\n",
        "never built, so that nobody knows what they need and make: glibc\n",
    ] {
        assert!(planned.stdout.contains(says), "no `{says}`:\n{}", planned.stdout);
    }
    let json = ran(&farm, &[&build[..], &["--json"]].concat());
    let plan: Value = serde_json::from_str(&json.stdout).expect("one document");
    assert_eq!(plan["components"][1]["needs"], serde_json::json!([0]));
    assert_eq!(plan["least_ms"], 120_000);
    assert_eq!(plan["expected_ms"], 120_000);
    let facts = farm.facts.lock();
    assert!(facts.started.is_empty(), "nothing was asked for");
    let orders: Vec<&str> = facts.planned.iter().map(|asked| asked.order.as_str()).collect();
    assert_eq!(orders, ["bootstrap", ""], "the target's own where none is named");
    assert_eq!(facts.planned[0].packages[1].git_ref, "v2");
}

#[test]
fn builds_are_asked_for_in_an_order() {
    let farm = FakeFarm::start(Facts { builds: vec![facts::building()], ..Facts::default() });
    let build = ["build", "hello", "--target", "lab"];
    assert_eq!(ran(&farm, &[&build[..], &["--order", "none"]].concat()).code, 0);
    assert_eq!(farm.facts.lock().started[0].order, "none");
    let wrong = ran(&farm, &[&build[..], &["--order", "random"]].concat());
    assert_eq!(wrong.code, 2);
    let says = "unknown order `random` (known: requires, bootstrap, none)";
    assert!(wrong.stderr.contains(says), "{}", wrong.stderr);
    let both = ran(&farm, &[&build[..], &["--plan", "--watch"]].concat());
    assert_eq!(both.code, 2, "a plan has nothing to follow");
}

#[test]
fn a_batch_is_shown_and_listed() {
    let farm = farm(vec![facts::batch()]);
    let shown = ran(&farm, &["batch", "show", "3"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    for says in [
        "batch 3: 5 builds for lab, running\n",
        "  longest chain, 9 min: gcc (5) → glibc (6)\n",
        "  build 7 hello failed: hello.c:3: error: 'foo' undeclared\\x1b[31m (package's fault)\n",
        "    took with it: greet (8)\n",
    ] {
        assert!(shown.stdout.contains(says), "no `{says}`:\n{}", shown.stdout);
    }
    let json = ran(&farm, &["batch", "show", "3", "--json"]);
    let document: Value = serde_json::from_str(&json.stdout).expect("one document");
    assert_eq!(document["id"], 3);
    assert_eq!(document["state"], "running");
    assert_eq!(document["losses"][0]["took"][0]["package"], "greet");
    assert_eq!(document["critical_path_ms"], 500_000);
    assert_eq!(document["ended_at"], Value::Null);
    assert_eq!(ran(&farm, &["batch", "show", "9"]).code, 3);

    for list in [&["batch"][..], &["batch", "list"]] {
        let listed = ran(&farm, list);
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        let row = listed.stdout.lines().nth(1).unwrap_or_default();
        let fields: Vec<&str> = row.split_whitespace().take(7).collect();
        assert_eq!(fields, ["3", "lab", "requires", "running", "5", "1", "2"]);
    }
    let none = ran(&farm, &["batch", "list", "--before", "3"]);
    assert_eq!(none.stdout, "no batches of several builds\n");
    let json = ran(&farm, &["batch", "list", "--json"]);
    let list: Value = serde_json::from_str(&json.stdout).expect("one document");
    assert_eq!(list["batches"][0]["published"], 1);
}

#[test]
fn a_batch_is_paused_resumed_cancelled_and_tried_again() {
    let farm = farm(vec![facts::batch()]);
    for (word, says) in [
        ("pause", "batch 3: paused; running tasks continue, and no more tasks of it begin\n"),
        ("resume", "batch 3: resumed\n"),
        ("cancel", "batch 3: 2 builds cancelled\n"),
        ("retry", "batch 3: 2 builds retried\n"),
    ] {
        let done = ran(&farm, &["batch", word, "3"]);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, says, ""));
        let json = ran(&farm, &["batch", word, "3", "--json"]);
        let document: Value = serde_json::from_str(&json.stdout).expect("one document");
        assert_eq!(document["builds"], 2);
        assert_eq!(document["batch"]["id"], 3);
        let other = ran(&farm, &["batch", word, "4"]);
        assert_eq!(
            (other.code, other.stderr.as_str()),
            (3, "rpmfarm: no batch 4 (rpmfarm batch list)\n")
        );
        let bad = home(Some("bad-token"));
        let mut command = rpmfarm(&farm.url(), bad.path());
        assert_eq!(run(command.args(["batch", word, "3"])).code, 4, "{word} needs the token");
        assert_eq!(ran(&farm, &["batch", word, "0"]).code, 2);
    }
    let changed = farm.facts.lock().changed.clone();
    assert_eq!(changed.len(), 8);
    assert_eq!((changed[0].as_str(), changed[7].as_str()), ("pause 3", "retry 3"));
}

#[test]
fn a_batch_is_followed_to_its_end_and_summed_up() {
    let batches = vec![facts::batch(), facts::batch(), facts::ended_batch()];
    let farm = farm(batches);
    let watched = ran(&farm, &["batch", "watch", "3"]);
    assert_eq!(watched.code, 1, "{}", watched.stderr);
    let expected = "\
batch 3: 3 of 5 done, 2 failed, 1 building, 1 waiting
batch 3: 5 of 5 done, 2 failed
5 builds: 3 published, 2 failed; took 1 h, for 2 h of work
lost:
  build 7 hello failed: hello.c:3: error: 'foo' undeclared\\x1b[31m (package's fault)
    took with it: greet (8)
";
    assert_eq!(watched.stdout, expected, "what says nothing new is no line");
    let farm = self::farm(vec![facts::batch(), facts::ended_batch()]);
    let json = ran(&farm, &["batch", "watch", "3", "--json"]);
    let states: Vec<Value> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an object a line")["state"].take())
        .collect();
    assert_eq!(states, ["running", "ended"]);
    assert_eq!(ran(&farm, &["batch", "watch", "9"]).code, 3);
}

#[test]
fn the_summary_of_builds_says_what_a_lost_one_took_with_it() {
    let other = |build| rpmfarm_proto::v1::Build { id: 8, package: "greet".into(), ..build };
    let builds = vec![facts::building(), other(facts::building())];
    let changes = vec![facts::failed(Fault::Package), other(facts::cancelled())];
    let farm = FakeFarm::start(Facts {
        builds,
        changes,
        batches: vec![facts::ended_batch()],
        ..Facts::default()
    });
    let args = ["build", "hello", "greet", "--target", "lab", "--watch"];
    let watched = ran(&farm, &args);
    assert_eq!(watched.code, 1, "{}", watched.stderr);
    assert!(watched.stdout.contains("2 builds: 1 failed, 1 cancelled\n"), "{}", watched.stdout);
    assert!(watched.stdout.ends_with("    took with it: greet (8)\n"), "{}", watched.stdout);
    let json = ran(&farm, &[&args[..], &["--json"]].concat());
    let last = json.stdout.lines().last().unwrap_or_default();
    assert!(last.contains("\"package\":"), "each line is a build: {last}");
    // An older coordinator does not know of batches.
    farm.facts.lock().batches.clear();
    let watched = ran(&farm, &args);
    assert_eq!((watched.code, watched.stderr.as_str()), (1, ""));
}

#[test]
fn many_builds_are_followed_as_a_batch() {
    let builds = (1..=21).map(|id| rpmfarm_proto::v1::Build { id, ..facts::building() }).collect();
    let farm = FakeFarm::start(Facts { builds, ..Facts::default() });
    let started = ran(&farm, &["build", "hello", "--target", "lab"]);
    assert!(started.stdout.ends_with("follow with: rpmfarm batch watch 3\n"), "{}", started.stdout);
}
