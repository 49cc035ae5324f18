//! Calls that change something: their requests, tokens, retries.

use rpmfarm_proto::v1::Fault;
use serde_json::Value;

use crate::farm::{Facts, FakeFarm};
use crate::{TOKEN, facts, home, rpmfarm, run};

fn farm() -> FakeFarm {
    FakeFarm::start(Facts { builds: vec![facts::building()], ..Facts::default() })
}

#[test]
fn a_build_is_asked_for_with_everything() {
    let farm = farm();
    let home = home(Some(TOKEN));
    let args = ["build", "hello", "zlib@v1", "--ref", "c9s", "--target", "lab"];
    let ran = run(rpmfarm(&farm.url(), home.path()).args(args));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "build 7: hello@c9s for lab, building\nfollow with: rpmfarm watch 7\n");
    let facts = farm.facts.lock();
    let asked = &facts.started[0];
    let packages: Vec<_> =
        asked.packages.iter().map(|p| (p.package.as_str(), p.git_ref.as_str())).collect();
    assert_eq!(packages, [("hello", "c9s"), ("zlib", "v1")]);
    assert_eq!(asked.target, "lab");
    assert!(asked.submitter.contains('@') && asked.idempotency_key.len() == 36, "{asked:?}");
    assert!(asked.arches.is_empty(), "{asked:?}");
}

#[test]
fn a_build_for_some_architectures_says_which() {
    let farm = farm();
    let home = home(Some(TOKEN));
    let build = ["build", "hello", "--target", "lab"];
    let ran = run(rpmfarm(&farm.url(), home.path())
        .args(build)
        .args(["--arch", "aarch64", "--arch", "ppc64le"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(farm.facts.lock().started[0].arches, ["aarch64", "ppc64le"]);
    let ran = run(rpmfarm(&farm.url(), home.path()).args(build).args(["--arch", "sparc"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("unknown architecture `sparc`"), "{}", ran.stderr);
}

#[test]
fn a_build_has_the_options_that_mock_has() {
    let farm = farm();
    let home = home(Some(TOKEN));
    let key = home.path().join("key.asc");
    std::fs::write(&key, "a key").expect("writes");
    let build = ["build", "hello", "--target", "lab"];
    let ran = run(rpmfarm(&farm.url(), home.path()).args(build).args([
        "--with",
        "gui",
        "--without",
        "tests",
        "--define",
        "dist .x",
        "-D",
        "%abc 1 2",
        "--nocheck",
        "--additional-package",
        "bc >= 1",
        "--addrepo",
        "https://example.org/$basearch",
        "--addrepo-key",
        key.to_str().expect("UTF-8"),
    ]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let asked = farm.facts.lock().started[0].options.clone().expect("options");
    assert_eq!((asked.with, asked.without), (vec!["gui".to_owned()], vec!["tests".to_owned()]));
    let define: Vec<_> =
        asked.define.iter().map(|define| (define.name.as_str(), define.body.as_str())).collect();
    assert_eq!(define, [("dist", ".x"), ("abc", "1 2")]);
    assert!(asked.nocheck);
    assert_eq!(asked.additional_packages, ["bc >= 1"]);
    assert_eq!(asked.repositories[0].baseurl, "https://example.org/$basearch");
    assert_eq!(asked.repositories[0].keys, ["a key"]);

    assert_eq!(run(rpmfarm(&farm.url(), home.path()).args(build)).code, 0);
    assert_eq!(farm.facts.lock().started[1].options, None, "a plain build");
    for wrong in [["--define", "dist"], ["--addrepo-key", "/nonexistent"]] {
        let ran = run(rpmfarm(&farm.url(), home.path()).args(build).args(wrong));
        assert_eq!(ran.code, 2, "{wrong:?}: {}", ran.stderr);
    }
}

#[test]
fn a_build_is_as_urgent_as_it_is_said_to_be() {
    let farm = farm();
    let home = home(Some(TOKEN));
    for (words, class) in [(vec![], "interactive"), (vec!["--priority", "security"], "security")] {
        let args = [vec!["build", "hello", "--target", "lab"], words].concat();
        assert_eq!(run(rpmfarm(&farm.url(), home.path()).args(args)).code, 0);
        let facts = farm.facts.lock();
        assert_eq!(facts.started.last().map(|asked| asked.priority.as_str()), Some(class));
    }
    let args = ["priority", "mass", "7", "--json"];
    let ran = run(rpmfarm(&farm.url(), home.path()).args(args));
    let list: Value = serde_json::from_str(&ran.stdout).expect("one document");
    assert_eq!(list["builds"][0]["priority"], "mass");
    let bad = run(rpmfarm(&farm.url(), home.path()).args(["priority", "urgent", "7"]));
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("known: security, interactive, tracking, mass"), "{}", bad.stderr);
}

#[test]
fn a_lost_answer_makes_no_second_build() {
    let farm = farm();
    farm.facts.lock().lose_answers = 2;
    let ran =
        run(rpmfarm(&farm.url(), home(Some(TOKEN)).path())
            .args(["build", "hello", "--target", "lab"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let facts = farm.facts.lock();
    let keys: Vec<_> = facts.started.iter().map(|asked| &asked.idempotency_key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[test]
fn of_several_coordinators_the_first_that_answers_is_asked() {
    let farm = farm();
    let home = home(Some(TOKEN));
    let mut gone = self::farm();
    let dead = gone.url();
    gone.stop();
    let both = format!("{dead}, {}", farm.url());
    let ran = run(rpmfarm(&both, home.path()).args(["build", "hello", "--target", "lab"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(farm.facts.lock().started.len(), 1);

    let none = run(rpmfarm(&format!("{dead},{dead}"), home.path()).args(["show", "7"]));
    assert_eq!(none.code, 4);
    assert!(none.stderr.contains("cannot reach any coordinator"), "{}", none.stderr);
    let bad = run(rpmfarm(&format!("{},nonsense", farm.url()), home.path()).args(["show", "7"]));
    assert_eq!(bad.code, 2, "a bad address is told although the first answers");
    assert!(bad.stderr.contains("`nonsense` is not the address"), "{}", bad.stderr);
}

#[test]
fn two_calls_are_two_requests() {
    let farm = farm();
    let home = home(Some(TOKEN));
    for _ in 0..2 {
        assert_eq!(
            run(rpmfarm(&farm.url(), home.path()).args(["build", "hello", "--target", "lab"])).code,
            0
        );
    }
    let facts = farm.facts.lock();
    assert_ne!(facts.started[0].idempotency_key, facts.started[1].idempotency_key);
}

#[test]
fn the_target_comes_from_option_environment_or_file_or_is_the_only_one() {
    let farm = farm();
    let home = home(Some(TOKEN));
    let none = run(rpmfarm(&farm.url(), home.path()).args(["build", "hello"]));
    assert_eq!(none.code, 2);
    let expected =
        "rpmfarm: no target: name one of lab, broken with --target, RPMFARM_TARGET or `target`";
    assert!(none.stderr.starts_with(expected), "{}", none.stderr);
    farm.facts.lock().lone_target = true;
    assert_eq!(run(rpmfarm(&farm.url(), home.path()).args(["build", "hello"])).code, 0);
    std::fs::write(home.path().join(".config/rpmfarm/config.toml"), "target = \"file\"\n")
        .expect("a file");
    assert_eq!(run(rpmfarm(&farm.url(), home.path()).args(["build", "hello"])).code, 0);
    let mut command = rpmfarm(&farm.url(), home.path());
    assert_eq!(run(command.env("RPMFARM_TARGET", "env").args(["build", "hello"])).code, 0);
    let facts = farm.facts.lock();
    let targets: Vec<_> = facts.started.iter().map(|asked| asked.target.as_str()).collect();
    assert_eq!(targets, ["lab", "file", "env"]);
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let home = home(None);
    std::fs::write(home.path().join(".config/rpmfarm/config.toml"), "\nservr = \"x\"\n")
        .expect("a file");
    let ran = run(rpmfarm(&farm().url(), home.path()).arg("list"));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("config.toml line 2: unknown field `servr`"), "{}", ran.stderr);
}

#[test]
fn a_wrong_token_is_exit_4_and_named() {
    let farm = farm();
    let home = home(Some("bad-token"));
    for args in
        [&["build", "hello", "--target", "lab"] as &[&str], &["cancel", "7"], &["retry", "7"]]
    {
        let ran = run(rpmfarm(&farm.url(), home.path()).args(args));
        assert_eq!(ran.code, 4, "{args:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("refused the token from ") && ran.stderr.contains("rpmfarm/token"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("bad-token"), "a token is never printed");
    }
}

#[test]
fn tokens_are_found_where_they_are_said_to_be() {
    let farm = farm();
    let bare = home(None);
    let file = bare.path().join("elsewhere");
    std::fs::write(&file, TOKEN).expect("a file");
    let cancel = || {
        let mut command = rpmfarm(&farm.url(), bare.path());
        command.args(["cancel", "7"]);
        command
    };
    assert_eq!(run(cancel().env("RPMFARM_TOKEN", TOKEN)).code, 0);
    assert_eq!(run(cancel().env("RPMFARM_TOKEN_FILE", &file)).code, 0);
    assert_eq!(run(cancel().env("RPMFARM_TOKEN", "bad").arg("--token-file").arg(&file)).code, 0);
    let missing = run(cancel().args(["--token-file", "/nonexistent/token"]));
    assert_eq!(
        (missing.code, missing.stderr.as_str()),
        (4, "rpmfarm: there is no token file /nonexistent/token\n")
    );
}

#[test]
fn reading_needs_no_token() {
    assert_eq!(run(rpmfarm(&farm().url(), home(None).path()).args(["show", "7"])).code, 0);
}

#[test]
fn cancel_and_retry_show_the_builds() {
    let farm =
        FakeFarm::start(Facts { builds: vec![facts::failed(Fault::Farm)], ..Facts::default() });
    let home = home(Some(TOKEN));
    let cancelled = run(rpmfarm(&farm.url(), home.path()).args(["cancel", "7"]));
    assert_eq!((cancelled.code, cancelled.stdout.as_str()), (0, "build 7: hello, cancelled\n"));
    let retried = run(rpmfarm(&farm.url(), home.path()).args(["retry", "7", "--json"]));
    let json: Value = serde_json::from_str(&retried.stdout).expect("one document");
    assert_eq!(json["builds"][0]["state"], "queued");
}

#[test]
fn what_the_farm_refuses_is_exit_2() {
    let farm = FakeFarm::start(Facts { builds: vec![facts::published()], ..Facts::default() });
    let ran = run(rpmfarm(&farm.url(), home(Some(TOKEN)).path()).args(["cancel", "7"]));
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (2, "rpmfarm: build 7 is published, it cannot be cancelled\n")
    );
}

#[test]
fn wrong_usage_is_exit_2_before_anybody_is_called() {
    for args in [
        &["build", "../x", "--target", "lab"] as &[&str],
        &["build", "hello@--upload-pack=x", "--target", "lab"],
        &["build", "--target", "lab"],
        &["show", "seven"],
        &["show", "0"],
        &["list", "--state", "odd"],
        &["nosuch"],
        &["list", "--server", "farm:7878"],
    ] {
        let ran = run(rpmfarm("http://127.0.0.1:1", home(None).path()).args(args));
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn where_reading_needs_the_token_it_is_sent_and_its_lack_explained() {
    let private = Facts { private: true, builds: vec![facts::published()], ..Facts::default() };
    let farm = FakeFarm::start(private);
    let with = home(Some(TOKEN));
    let id = facts::published().id.to_string();
    for args in [&["list"][..], &["show", &id], &["worker", "show", "w1"], &["doctor"]] {
        let ran = run(rpmfarm(&farm.url(), with.path()).args(args));
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        let without = home(None);
        let mut command = rpmfarm(&farm.url(), without.path());
        // This host's own token must not help.
        let ran = run(command.args(["--token-file", "/nonexistent/token"]).args(args));
        assert_eq!(ran.code, 4, "{args:?}: {}", ran.stderr);
        let output = format!("{}{}", ran.stdout, ran.stderr);
        assert!(output.contains("there is no token file /nonexistent/token"), "{args:?}: {output}");
    }
    let wrong = home(Some("bad-token"));
    let ran = run(rpmfarm(&farm.url(), wrong.path()).arg("list"));
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("refused the token from ") && ran.stderr.contains("--token-file"));
}
