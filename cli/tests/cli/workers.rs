//! `rpmfarm worker`: lists, invitations and decisions.

use serde_json::Value;

use crate::farm::{Facts, FakeFarm};
use crate::{TOKEN, home, rpmfarm, run};

#[test]
fn a_worker_is_invited_with_everything() {
    let farm = FakeFarm::start(Facts::default());
    let home = home(Some(TOKEN));
    let args = ["worker", "enrol", "w9", "--arch", "aarch64,x86_64", "--valid", "15m"];
    let ran = run(rpmfarm(&farm.url(), home.path()).args(args));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let line =
        "rpmfarm-worker enrol --coordinator https://farm.example.org:7879 --token rpmfarm1.aa.bb";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    let ran = run(rpmfarm(&farm.url(), home.path()).args(args).arg("--json"));
    let json: Value = serde_json::from_str(&ran.stdout).expect("one document");
    assert_eq!((&json["command"], &json["token"]), (&line.into(), &"rpmfarm1.aa.bb".into()));
    let facts = farm.facts.lock();
    let asked = &facts.invited[0];
    assert_eq!((asked.worker.as_str(), asked.valid_seconds), ("w9", 900));
    assert_eq!(asked.arches, ["aarch64", "x86_64"]);
}

#[test]
fn a_worker_is_shown_whole_and_harmless() {
    let farm = FakeFarm::start(Facts::default());
    let shown = run(rpmfarm(&farm.url(), home(None).path()).args(["worker", "show", "w1"]));
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    for part in [
        "w1: alive",
        "enrolled for",
        "labels       ssd gpu",
        "ends in 19 d 23 h",
        "7/12 hello",
        "no space left",
    ] {
        assert!(shown.stdout.contains(part), "lacks {part}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'));
    let json =
        run(rpmfarm(&farm.url(), home(None).path()).args(["worker", "show", "w1", "--json"]));
    let json: Value = serde_json::from_str(&json.stdout).expect("one document");
    assert_eq!(json["faults"][0]["stage"], "root");
    assert_eq!(
        (&json["state"], &json["certificates"][0]["serial"]),
        (&"active".into(), &"07".into())
    );
    let none = run(rpmfarm(&farm.url(), home(None).path()).args(["worker", "show", "w2"]));
    assert_eq!((none.code, none.stderr.as_str()), (3, "rpmfarm: no worker w2\n"));
}

#[test]
fn decisions_carry_their_reason_and_need_the_token() {
    let farm = FakeFarm::start(Facts::default());
    let home_with = home(Some(TOKEN));
    let ran = |args: &[&str]| run(rpmfarm(&farm.url(), home_with.path()).args(args));
    let drained = ran(&["worker", "drain", "w1", "--reason", "new disk"]);
    assert_eq!(
        (drained.code, drained.stdout.as_str()),
        (0, "worker w1: drained, still runs 7/12 hello\n")
    );
    assert_eq!(ran(&["worker", "resume", "w1"]).code, 0);
    assert_eq!(ran(&["worker", "revoke", "w1"]).code, 2, "a reason is needed");
    assert_eq!(ran(&["worker", "revoke", "w1", "--reason", "stolen"]).code, 0);
    let bad = home(Some("bad-token"));
    let refused = run(rpmfarm(&farm.url(), bad.path()).args(["worker", "drain", "w1"]));
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let facts = farm.facts.lock();
    let decided: Vec<_> =
        facts.decided.iter().map(|asked| (asked.state.as_str(), asked.reason.as_str())).collect();
    assert_eq!(decided[0], ("drained", "new disk"));
    assert_eq!(decided[1].0, "active");
    assert_eq!(decided[2], ("revoked", "stolen"));
}
