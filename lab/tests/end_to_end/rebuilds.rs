//! What the farm is for: from a commit to a signed package that dnf installs.

use std::process::Command;
use std::time::{Duration, Instant};

use rpmfarm_lab::farm::{Farm, InstallRoot, Settings, program};
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// The signed and unsigned digests of a build's packages, by NEVRA.
fn digests(build: &Value) -> Vec<(String, String)> {
    let text = |artifact: &Value, key: &str| artifact[key].as_str().unwrap().to_owned();
    let artifacts = build["artifacts"].as_array().unwrap();
    artifacts.iter().map(|artifact| (text(artifact, "nevra"), text(artifact, "digest"))).collect()
}

#[test]
fn a_commit_becomes_a_signed_package_that_dnf_installs() {
    let mut scene = Scene::new();
    let client = scene.farm.client();
    let builds = client.publish(&["hello"], PATIENCE).unwrap();
    let hello = &builds[0];
    assert_eq!(hello["state"], "published");
    assert!(hello["srpm"].as_str().unwrap().starts_with("hello-"));

    let mut root = InstallRoot::new(scene.path("root"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(&["hello", "bash"]).unwrap();
    assert!(root.run(&["hello"]).unwrap().contains("Hello, world!"));

    // rpm itself, told to accept nothing without a signature.
    let id = hello["id"].as_i64().unwrap();
    verify_with_rpm(&scene, &scene.farm, "hello");

    let log = client.run(&["log", &id.to_string()]).unwrap();
    assert_eq!(log.code, 0, "{}", log.err);
    for part in ["%prep", "%build", "%check", "Wrote:"] {
        assert!(log.out.contains(part), "the log lacks {part}:\n{}", log.out);
    }
    let lock = client.json(&["lock", &id.to_string()]).unwrap();
    assert!(lock.to_string().contains("bash"), "{lock}");
    let again = client.run(&["build", "hello", "--target", "lab", "--watch"]).unwrap();
    assert_eq!(again.code, 0, "the same commit again is the same package: {}", again.err);
    another_key_signs_what_is_there(&mut scene);
    another_address_is_told(&mut scene);
    for log in std::fs::read_dir(scene.farm.directory().join("logs")).unwrap().flatten() {
        let text = std::fs::read(log.path()).unwrap();
        assert!(!text.contains(&0x1b), "{} has codes of colours", log.path().display());
    }
}

/// Until something is so, with what the farm says of itself when it does not become so.
fn until(scene: &Scene, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        let doctor = || scene.farm.client().run(&["doctor"]).unwrap().out;
        assert!(begun.elapsed() < PATIENCE, "{what} does not come:\n{}", doctor());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A target gets another signing key: what says so while the signer lacks it, and that all of the
/// channel is signed with it once the signer has it.
fn another_key_signs_what_is_there(scene: &mut Scene) {
    let directory = scene.farm.directory().to_owned();
    let file = directory.join("targets/lab.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("signing_key = \"lab\"", "signing_key = \"next\"");
    assert_ne!(text, other);
    std::fs::write(&file, other).unwrap();
    let client = scene.farm.client();
    until(scene, "the target's new key", || {
        let doctor = client.run(&["doctor"]).unwrap();
        doctor.code == 5 && doctor.out.contains("key `next` of lab")
    });
    let doctor = client.run(&["doctor"]).unwrap().out;
    assert!(doctor.contains("rpmfarm-signer key new"), "{doctor}");

    // All commands show what a build waits for that is requested meanwhile.
    let id = client.build(&["tiny"]).unwrap()[0];
    client.wait(id, &["signing"], PATIENCE).unwrap();
    let id = id.to_string();
    for asked in [&["why", &id] as &[&str], &["show", &id], &["list"]] {
        until(scene, "the reason", || {
            let output = client.run(asked).unwrap().out;
            output.contains("not signed yet") && output.contains("signing_key `next`")
        });
    }
    let made = program("rpmfarm-signer")
        .args(["key", "new", "next", "--uid", "The next key <next@example.org>", "--keys"])
        .arg(directory.join("keys"))
        .status();
    assert!(made.unwrap().success());
    let before = client.json(&["repo", "list"]).unwrap();
    scene.farm.restart_signer().unwrap();
    let client = scene.farm.client();
    client.wait(id.parse().unwrap(), &["published"], PATIENCE).unwrap();
    assert_ne!(client.json(&["repo", "list"]).unwrap(), before);
    let mut root = InstallRoot::new(scene.path("next"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    // One from before and one from after, with the new key alone.
    root.install(&["hello", "tiny", "bash"]).unwrap();
    assert!(root.run(&["hello"]).unwrap().contains("Hello, world!"));
    let doctor = client.run(&["doctor"]).unwrap();
    assert!(!doctor.out.contains("another key"), "{}", doctor.out);
}

/// The coordinator is started with another address: `.repo` files have it before anything else is
/// published.
fn another_address_is_told(scene: &mut Scene) {
    let other = scene.farm.server().replace("127.0.0.1", "localhost");
    let mut settings = scene.settings.clone();
    settings.coordinator_arguments = vec!["--base-url".into(), other.clone()];
    scene.farm.restart_coordinator(&settings).unwrap();
    let expected = format!("baseurl={other}/repo/lab/testing/");
    until(scene, "the new address", || {
        scene.farm.repo_file("testing").is_ok_and(|file| file.contains(&expected))
    });
}

/// Fetches the published file and has rpmkeys check it, with `_pkgverify_level all`.
fn verify_with_rpm(scene: &Scene, farm: &Farm, package: &str) {
    let database = scene.path("rpmdb");
    let root = InstallRoot::new(scene.path("download"), "x86_64").unwrap();
    let option = format!("--repofrompath=farm,{}", farm.repository("testing", "x86_64"));
    let destination = scene.path("packages");
    std::fs::create_dir_all(&destination).unwrap();
    let url =
        root.dnf(&["-q", &option, "--repo=farm", "repoquery", "--location", package]).unwrap();
    let url = url.lines().find(|line| line.starts_with("http")).unwrap().to_owned();
    let rpm = destination.join("package.rpm");
    let key = destination.join("key");
    for (url, to) in [(url.as_str(), &rpm), (farm.key_url().as_str(), &key)] {
        let status = Command::new("curl").args(["-sSf", "-o"]).arg(to).arg(url).status().unwrap();
        assert!(status.success());
    }
    let rpmkeys = |arguments: &[&str]| {
        let output = Command::new("rpmkeys")
            .arg(format!("--dbpath={}", database.display()))
            .args(["--define", "_pkgverify_level all"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    assert!(rpmkeys(&["--import", key.to_str().unwrap()]).0);
    let (good, text) = rpmkeys(&["--checksig", "-v", rpm.to_str().unwrap()]);
    assert!(good && text.contains("Header V4 RSA/SHA256 Signature"), "{text}");
}

#[test]
fn a_library_and_its_programs_are_built_in_order_each_against_the_one_just_built() {
    let scene = Scene::new();
    let client = scene.farm.client();
    // In the wrong order on purpose. The needs of `finds-lib` are known only during its build, and
    // `found-lib` is not done by then.
    let asked = ["finds-lib", "found-lib", "jshon", "plotnetcfg", "jansson"];
    let builds = client.publish(&asked, PATIENCE).unwrap();
    let of = |package: &str| builds.iter().find(|build| build["package"] == package).unwrap();
    for (library, users) in
        [("jansson", ["jshon", "plotnetcfg"].as_slice()), ("found-lib", &["finds-lib"])]
    {
        let devel = format!("{library}-devel-");
        let (_, digest) = digests(of(library))
            .into_iter()
            .find(|(nevra, _)| nevra.starts_with(&devel))
            .expect("a -devel package");
        for user in users {
            let id = of(user)["id"].as_i64().unwrap().to_string();
            let lock = client.json(&["lock", &id]).unwrap().to_string();
            assert!(lock.contains(&digest), "{user} was not built against {digest}");
        }
    }
    let mut root = InstallRoot::new(scene.path("root"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(&["jshon", "plotnetcfg", "bash", "libc-bin"]).unwrap();
    let count = root.run(&["bash", "-c", "echo '{\"a\":[1,2]}' | jshon -e a -l"]).unwrap();
    assert_eq!(count.trim(), "2");
    // The other one writes JSON with the library: of this host's interfaces, which begin with lo.
    let script = "plotnetcfg -f json | jshon -e namespaces -e 0 -e interfaces -e 0 -e name -u";
    let first = root.run(&["bash", "-c", script]).unwrap();
    assert_eq!(first.trim(), "lo");
}

#[test]
fn every_kind_of_package_and_the_same_lock_gives_the_same_bytes() {
    let scene = Scene::new();
    let packages = ["tiny", "colordiff", "xxhash", "python-toml"];
    let first = scene.farm.client().publish(&packages, PATIENCE).unwrap();
    let names: Vec<String> = first.iter().flat_map(digests).map(|(nevra, _)| nevra).collect();
    let has = |part: &str| names.iter().any(|nevra| nevra.contains(part));
    assert!(has("colordiff-") && has(".noarch"), "{names:?}");
    assert!(has("xxhash-debuginfo-") && has("xxhash-debugsource-"), "{names:?}");
    assert!(has("python3-toml-"), "dynamic build requirements: {names:?}");

    let target = crate::target(&scene.world);
    let Scene { farm, world, settings, directory } = scene;
    drop(farm);
    let again = Settings { directory: directory.path().join("other"), ..settings };
    let farm = Farm::start(&again, &target).unwrap();
    let second = farm.client().publish(&packages, PATIENCE).unwrap();
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(digests(first), digests(second), "{}", first["package"]);
    }
    drop(world);
}
