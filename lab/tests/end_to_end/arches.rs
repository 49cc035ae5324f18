//! One farm with a worker for each architecture, two of them under emulation: where packages are
//! built, and how packages without an architecture are handled.

use std::collections::BTreeMap;
use std::path::Path;

use rpmfarm_core::Arch;
use rpmfarm_lab::farm::InstallRoot;
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// The architectures and workers of a build's tasks of a kind.
fn tasks(build: &Value, kind: &str) -> BTreeMap<String, String> {
    let text = |task: &Value, key: &str| task[key].as_str().unwrap_or_default().to_owned();
    let tasks = build["tasks"].as_array().unwrap();
    let of_kind = tasks.iter().filter(|task| task["kind"] == kind);
    of_kind.map(|task| (text(task, "arch"), text(task, "worker"))).collect()
}

fn nevras(build: &Value) -> Vec<&str> {
    let artifacts = build["artifacts"].as_array().unwrap();
    artifacts.iter().map(|artifact| artifact["nevra"].as_str().unwrap()).collect()
}

/// The machine that an ELF file is for.
fn machine(path: &Path) -> u16 {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..4], b"\x7fELF");
    u16::from_le_bytes([bytes[18], bytes[19]])
}

#[test]
fn one_farm_builds_for_three_architectures() {
    let scene = Scene::of(&Arch::ALL, |settings| {
        settings.workers = Arch::ALL.len();
        settings.worker_arches = Arch::ALL.into();
    });
    let client = scene.farm.client();
    // All are requested at once, so that each worker always has something to do.
    let packages = ["terms", "tiny", "words", "agrees", "differs", "exclusive"];
    let ids = packages.map(|package| client.build(&[package]).unwrap()[0]);
    let [terms, tiny, words, agrees, differs, exclusive] = ids;

    what_has_one_architecture(&client.wait(exclusive, &["published"], PATIENCE).unwrap());
    let words = client.wait(words, &["published"], PATIENCE).unwrap();
    assert_eq!(tasks(&words, "build").into_keys().collect::<Vec<_>>(), ["x86_64"], "built once");
    let tiny = client.wait(tiny, &["published"], PATIENCE).unwrap();
    let everywhere = ["aarch64", "ppc64le", "x86_64"];
    assert_eq!(tasks(&tiny, "build").into_keys().collect::<Vec<_>>(), everywhere);
    assert_eq!(tasks(&tiny, "srpm").into_keys().collect::<Vec<_>>(), ["x86_64"]);
    for arch in everywhere {
        assert!(nevras(&tiny).contains(&format!("tiny-1.0-1.lab9.{arch}").as_str()), "{tiny:#}");
    }

    differs_is_refused(&client.wait(differs, &["failed"], PATIENCE).unwrap());
    let agrees = client.wait(agrees, &["published"], PATIENCE).unwrap();
    assert_eq!(tasks(&agrees, "build").len(), 3);
    let data = nevras(&agrees).into_iter().filter(|nevra| nevra.ends_with(".noarch"));
    assert_eq!(data.collect::<Vec<_>>(), ["agrees-data-1.0-1.lab9.noarch"], "taken once");
    let dated = "/usr/share/agrees/date of agrees-data-1.0-1.lab9.noarch: content differs";
    assert!(agrees["notes"].to_string().contains(dated), "as Koji takes it: {agrees:#}");

    what_is_said_on_each_architecture(&client.wait(terms, &["published"], PATIENCE).unwrap());
    let uses = client.build(&["uses-terms"]).unwrap()[0];
    let uses = client.wait(uses, &["published"], PATIENCE).unwrap();
    let kept = "uses-terms-1.0-1.lab9.noarch: left out of the repositories of ppc64le, where no \
                package provides `terms`";
    assert!(uses["notes"].to_string().contains(kept), "{uses:#}");

    only_what_was_asked_for(&scene);
    workers_say_what_they_emulate(&scene);
    for (arch, elf) in [(Arch::X86_64, 62), (Arch::Aarch64, 183), (Arch::Ppc64le, 21)] {
        dnf_installs(&scene, arch, elf);
    }
}

fn what_has_one_architecture(build: &Value) {
    assert_eq!(tasks(build, "build").into_keys().collect::<Vec<_>>(), ["x86_64"]);
    assert!(nevras(build).iter().all(|nevra| !nevra.contains("ppc64le")), "{build:#}");
}

/// Requirements of one architecture alone, firmware for one machine as a noarch package, and a pass
/// for `noarch`.
fn what_is_said_on_each_architecture(build: &Value) {
    assert_eq!(tasks(build, "build").into_keys().collect::<Vec<_>>(), ["aarch64", "x86_64"]);
    assert_eq!(tasks(build, "noarch").into_keys().collect::<Vec<_>>(), ["x86_64"], "native");
    let noarch = nevras(build).into_iter().filter(|nevra| nevra.ends_with(".noarch"));
    let all = ["aarch64", "doc", "x86_64"].map(|name| format!("terms-{name}-1.0-1.lab9.noarch"));
    assert_eq!(noarch.collect::<Vec<_>>(), all);
    let notes = build["notes"].to_string();
    assert!(notes.contains("not in the repositories of ppc64le, by ExclusiveArch"), "{build:#}");
}

/// The farm says which file differs, and has nothing of the package.
fn differs_is_refused(build: &Value) {
    let failure = &build["failure"];
    assert_eq!(
        (failure["fault"].as_str(), failure["stage"].as_str()),
        (Some("package"), Some("accept"))
    );
    let message = failure["message"].as_str().unwrap();
    // x86_64 is done first; whichever of the emulated ones comes next differs from it.
    let file = "/usr/share/differs/x86_64 of differs-data-1.0-1.lab9.noarch";
    assert!(message.contains(file), "{message}");
    assert!(message.contains("noarch_may_differ = true"), "{message}");
    assert!(!message.contains("constant"), "what is the same is not named: {message}");
    assert!(failure["excerpt"].to_string().contains("is on x86_64 and not on"), "{failure}");
    assert!(nevras(build).is_empty(), "nothing of it is the farm's: {build:#}");
}

/// `--arch` builds for those architectures alone, and gives the bytes that a build for all gave.
fn only_what_was_asked_for(scene: &Scene) {
    let client = scene.farm.client();
    let build = |package: &str, arch: &str| {
        let answer = client.json(&["build", package, "--target", "lab", "--arch", arch]).unwrap();
        answer["builds"][0]["id"].as_i64().unwrap()
    };
    let [aarch64, words, nowhere] =
        [build("tiny", "aarch64"), build("words", "ppc64le"), build("exclusive", "aarch64")];
    let shown = client.wait(aarch64, &["published"], PATIENCE).unwrap();
    assert_eq!(shown["arches"], serde_json::json!(["aarch64"]));
    assert_eq!(tasks(&shown, "build").into_keys().collect::<Vec<_>>(), ["aarch64"]);
    let shown = client.wait(words, &["published"], PATIENCE).unwrap();
    assert_eq!(tasks(&shown, "build").into_keys().collect::<Vec<_>>(), ["ppc64le"]);
    let shown = client.wait(nowhere, &["failed"], PATIENCE).unwrap();
    let message = shown["failure"]["message"].as_str().unwrap();
    assert!(message.contains("ExclusiveArch") && message.contains("aarch64"), "{message}");
}

fn workers_say_what_they_emulate(scene: &Scene) {
    let workers = scene.farm.client().json(&["worker", "list"]).unwrap();
    let workers = workers["workers"].as_array().unwrap();
    let emulated: Vec<_> = workers.iter().map(|worker| worker["emulated"].to_string()).collect();
    assert_eq!(emulated, ["[]", "[\"aarch64\"]", "[\"ppc64le\"]"]);
}

/// Real dnf installs the packages of an architecture by the channel's own `.repo` file, and they
/// run.
fn dnf_installs(scene: &Scene, arch: Arch, elf: u16) {
    let mut root = InstallRoot::new(scene.path(&format!("root-{arch}")), arch.as_str()).unwrap();
    root.repository("lab", &scene.world.repository_for(arch), &scene.world.key_url()).unwrap();
    root.add_file("farm", &scene.farm.repo_file("testing").unwrap()).unwrap();
    // A noarch package is where its source package wants it, and where it can be installed.
    let both = ["terms-doc", "terms-x86_64", "terms-aarch64", "uses-terms"];
    let mut packages = vec!["tiny", "words", "agrees", "agrees-data", "bash", "coreutils"];
    if arch != Arch::Ppc64le {
        packages.extend(both);
    }
    let text = root.install(&packages).unwrap();
    assert_eq!(machine(&root.path().join("usr/bin/tiny")), elf, "{text}");
    assert_eq!(root.run(&["tiny"]).unwrap().trim(), "tiny");
    assert_eq!(root.run(&["words"]).unwrap().trim(), "words");
    let built_on = root.run(&["cat", "/usr/lib64/agrees/machine"]).unwrap();
    assert_eq!(built_on.trim(), arch.as_str());
    let absent: &[&str] = if arch == Arch::Ppc64le { &both } else { &[] };
    for name in absent.iter().chain(&["differs-data"]) {
        let refused = root.command(&["install", "-y", name]).output().unwrap();
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && text.contains("Unable to find a match"), "{text}");
    }
}
