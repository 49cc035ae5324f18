//! Claims on names, and withdrawals.

use rpmfarm_lab::farm::{Client, InstallRoot};
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// Has a package built until it waits for a person; answers its number and its claims.
fn claimed(client: &Client, package: &str) -> (i64, Vec<String>) {
    let id = client.build(&[package]).unwrap()[0];
    let shown = client.wait(id, &["claimed"], PATIENCE).unwrap();
    assert_eq!(shown["artifacts"], Value::Array(Vec::new()), "nothing of it is in the pool");
    let details = client.json(&["claim", "show", &id.to_string()]).unwrap();
    let text = |claim: &Value, key: &str| claim[key].as_str().unwrap().to_owned();
    let claims = details["claims"].as_array().unwrap();
    (id, claims.iter().map(|one| format!("{} {}", text(one, "kind"), text(one, "what"))).collect())
}

fn output_of(client: &Client, arguments: &[&str]) -> String {
    let answer = client.run(arguments).unwrap();
    assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.err);
    answer.out
}

fn installed(scene: &Scene, name: &str, packages: &[&str]) -> InstallRoot {
    let mut root = InstallRoot::new(scene.path(name), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(packages).unwrap();
    root
}

#[test]
fn a_package_that_takes_names_of_others_reaches_no_root() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let (provides, claims) = claimed(&client, "evil-provides");
    for claim in ["provides gcc", "name bash"] {
        assert!(claims.iter().any(|one| one == claim), "{claims:?}");
    }
    let (boot, claims) = claimed(&client, "evil-boot");
    for claim in ["name rpm", "file /usr/bin/rpm"] {
        assert!(claims.iter().any(|one| one == claim), "{claims:?}");
    }
    let (_, claims) = claimed(&client, "evil-macros");
    assert!(claims.iter().any(|one| one == "name rpmfarm-lab-macros"), "{claims:?}");

    // All commands show what they wait for.
    let id = provides.to_string();
    for asked in [&["why", &id] as &[&str], &["show", &id]] {
        let out = output_of(&client, asked);
        assert!(out.contains("waits for a person") && out.contains("rpmfarm claim"), "{out}");
    }
    let list = output_of(&client, &["claim", "list"]);
    assert!(list.contains("evil-boot") && list.contains("evil-macros"), "{list}");

    // Others are built as if they were not there, with the distribution's own packages.
    let tiny = &client.publish(&["tiny"], PATIENCE).unwrap()[0];
    let lock = client.json(&["lock", &tiny["id"].to_string()]).unwrap().to_string();
    assert!(!lock.contains("\"farm\""), "{lock}");
    let root = installed(&scene, "root", &["tiny", "bash"]);
    assert_eq!(root.run(&["tiny"]).unwrap().trim(), "tiny");

    // The effect: tiny's root contains the claimed packages.
    let effect = output_of(&client, &["claim", "show", &boot.to_string()]);
    assert!(effect.contains("tiny (build"), "{effect}");
    let reason = "nobody knows why";
    let refused = client.run(&["claim", "refuse", &id, "--reason", reason]).unwrap();
    assert_eq!(refused.code, 0, "{}", refused.err);
    let shown = client.wait(provides, &["failed"], PATIENCE).unwrap();
    assert_eq!(shown["failure"]["fault"], "package");
    assert!(shown["failure"]["message"].as_str().unwrap().contains(reason), "{shown}");
}

#[test]
fn an_approved_takeover_and_its_way_back() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let first = client.publish(&["words", "uses-words"], PATIENCE).unwrap();
    let words = first[0]["id"].as_i64().unwrap();
    let root = installed(&scene, "first", &["words", "uses-words", "bash"]);
    assert_eq!(root.run(&["words"]).unwrap().trim(), "words");
    let shown = client.show(first[1]["id"].as_i64().unwrap()).unwrap();
    let from = shown["from_farm"][0].as_str().unwrap();
    assert!(from.starts_with("words-1.0-1.lab9.noarch (build "), "{from}");

    // Another source continues with the name.
    let (renamed, claims) = claimed(&client, "renamed");
    assert_eq!(claims, ["file /usr/bin/words", "name words"]);
    output_of(&client, &["claim", "approve", &renamed.to_string(), "--reason", "words has moved"]);
    client.wait(renamed, &["published"], PATIENCE).unwrap();
    let second = client.build(&["uses-words", "--bump"]).unwrap()[0];
    client.wait(second, &["published"], PATIENCE).unwrap();
    let read = ["cat", "/usr/share/uses-words/said"];
    let root = installed(&scene, "second", &["words", "uses-words", "coreutils", "bash"]);
    assert_eq!(root.run(&read).unwrap().trim(), "renamed");

    // It was a mistake.
    let before = output_of(&client, &["repo", "list", "--json"]);
    let id = renamed.to_string();
    let out = output_of(&client, &["package", "withdraw", &id, "--reason", "it was a mistake"]);
    assert!(out.contains("withdrawn from lab: words-2.0-1.lab9.noarch"), "{out}");
    assert!(out.contains(&second.to_string()) && out.contains("uses-words"), "{out}");
    let shown = output_of(&client, &["show", &id]);
    assert!(shown.contains("withdrawn by") && shown.contains("it was a mistake"), "{shown}");
    let marked = output_of(&client, &["show", &second.to_string()]);
    assert!(marked.contains("made with words-2.0-1.lab9.noarch, which was withdrawn"), "{marked}");
    let begun = std::time::Instant::now();
    while output_of(&client, &["repo", "list", "--json"]) == before {
        assert!(begun.elapsed() < PATIENCE, "the channel is not published without it");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let root = installed(&scene, "third", &["words", "bash"]);
    assert_eq!(root.run(&["words"]).unwrap().trim(), "words", "the one before is there");

    // The builds that were made with it are made again, with the present packages.
    let again = client.json(&["package", "impact", &id, "--rebuild"]).unwrap();
    let again = again["builds"][0]["id"].as_i64().unwrap();
    client.wait(again, &["published"], PATIENCE).unwrap();
    let root = installed(&scene, "fourth", &["uses-words", "coreutils", "bash"]);
    assert_eq!(root.run(&read).unwrap().trim(), "words");
    let refused = client.run(&["package", "withdraw", &id, "--reason", "again"]).unwrap();
    assert_eq!(refused.code, 2, "{}", refused.err);

    output_of(&client, &["package", "restore", &id, "--reason", "it was none"]);
    let shown = client.show(renamed).unwrap();
    assert_eq!(shown["artifacts"].as_array().unwrap().len(), 2);
    assert_eq!(words, first[0]["id"].as_i64().unwrap());
}
