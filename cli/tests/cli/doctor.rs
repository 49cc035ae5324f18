//! The findings of `doctor`, and its exit codes.

use rpmfarm_proto::v1::{Check, Info};
use serde_json::Value;

use crate::farm::{Facts, FakeFarm};
use crate::{TOKEN, facts, home, rpmfarm, run};

fn doctor(info: Info, token: Option<&str>) -> (i32, Value) {
    let farm = FakeFarm::start(Facts { info: Some(info), ..Facts::default() });
    let ran = run(rpmfarm(&farm.url(), home(token).path()).args(["doctor", "--json"]));
    (ran.code, serde_json::from_str(&ran.stdout).expect("one document"))
}

fn level<'a>(found: &'a Value, place: &str, name: &str) -> &'a str {
    let checks = found["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["where"] == place && check["name"] == name);
    check.and_then(|check| check["level"].as_str()).unwrap_or("absent")
}

#[test]
fn a_farm_that_is_well() {
    let (code, found) = doctor(facts::info(), Some(TOKEN));
    assert_eq!(code, 0, "{found:#}");
    for name in ["coordinator", "version", "clock", "token"] {
        assert_eq!(level(&found, "here", name), "ok", "{name}: {found:#}");
    }
    assert_eq!(level(&found, "coordinator", "signer"), "ok");
}

#[test]
fn clocks_versions_and_tokens_are_judged() {
    let mut info = facts::info();
    info.now_us += 5_000_000;
    info.version = "9.9.9".into();
    let (code, found) = doctor(info, Some("bad-token"));
    assert_eq!(code, 4, "a refused token is an error");
    assert_eq!(level(&found, "here", "clock"), "warning");
    assert_eq!(level(&found, "here", "version"), "warning");
    assert_eq!(level(&found, "here", "token"), "error");
}

#[test]
fn without_a_token_one_can_still_read() {
    let farm = FakeFarm::start(Facts::default());
    let bare = home(None);
    let mut command = rpmfarm(&farm.url(), bare.path());
    command.args(["doctor", "--json", "--token-file", "/nonexistent/token"]);
    let ran = run(&mut command);
    let found: Value = serde_json::from_str(&ran.stdout).expect("one document");
    assert_eq!((ran.code, level(&found, "here", "token")), (0, "warning"), "{found:#}");
}

#[test]
fn an_ill_farm_is_exit_5() {
    let mut info = facts::info();
    info.checks.push(Check {
        name: "blobs".into(),
        level: "error".into(),
        message: "full".into(),
        remedy: String::new(),
    });
    let (code, found) = doctor(info, Some(TOKEN));
    assert_eq!((code, &found["ok"]), (5, &Value::Bool(false)));
}

#[test]
fn a_worker_host_is_checked_when_asked() {
    let farm = FakeFarm::start(Facts::default());
    let home = home(Some(TOKEN));
    let mut command = rpmfarm(&farm.url(), home.path());
    let ran = run(command.args(["doctor", "--worker", "--worker-dir", "/nonexistent/deep/dir"]));
    for name in ["overlayfs", "user namespaces", "cgroups", "crun", "space"] {
        assert!(ran.stdout.contains(&format!("here         {name}")), "{name}: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("free for /nonexistent/deep/dir"), "{}", ran.stdout);
}

#[test]
fn without_a_coordinator_it_says_so_and_goes_on() {
    let ran = run(rpmfarm("http://127.0.0.1:1", home(None).path()).args(["doctor", "--worker"]));
    assert_eq!(ran.code, 4);
    assert!(
        ran.stdout.contains("connection refused") && ran.stdout.contains("overlayfs"),
        "{}",
        ran.stdout
    );
}
