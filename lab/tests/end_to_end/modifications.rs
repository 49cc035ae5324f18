//! A distribution's modifications: shown before a build, and there in the installed package.

use rpmfarm_lab::distgit::{self, Commit, Entry, MODIFIED_BRANCH};
use rpmfarm_lab::farm::InstallRoot;

use crate::{PATIENCE, Scene};

#[test]
fn a_vendors_name_is_taken_out_by_actions_and_a_script_in_the_cage() {
    let scene = Scene::new();
    let client = scene.farm.client();
    let modify = |what: &str, package: &str| {
        client.run(&["modify", what, package, "--target", "lab"]).unwrap()
    };
    let shown = modify("show", "branded");
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("run the script banner.sh: runs in the sandbox"), "{}", shown.out);
    let diff = modify("diff", "branded").out;
    assert!(
        diff.contains("\n-echo \"This is Upstream Linux\"\n+echo \"This is Farm Linux\"\n"),
        "{diff}"
    );
    assert!(modify("check", "hello").out.contains("no modifications"));

    let builds = client.publish(&["branded"], PATIENCE).unwrap();
    let srpm = builds[0]["srpm"].as_str().unwrap();
    assert_eq!(srpm, "branded-1.0-1.lab9.farm.1.src");
    let id = builds[0]["id"].as_i64().unwrap().to_string();
    let log = client.run(&["log", &id, "--kind", "srpm"]).unwrap().out;
    for line in ["modifications: script banner.sh\n", "the script has run\n"] {
        assert!(log.contains(line), "{log}");
    }

    let mut root = InstallRoot::new(scene.path("root"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(&["branded", "bash", "coreutils"]).unwrap();
    let output = root.run(&["branded"]).unwrap();
    assert_eq!(output, "This is Farm Linux\nThe farm's banner\nRebuilt by the farm\n");
    assert_eq!(root.run(&["cat", "/usr/share/branded/about"]).unwrap(), "Rebuilt by the farm\n");

    let source = client.json(&["source", "show", &id]).unwrap();
    assert_eq!(source["scripts"][0], "banner.sh");
    assert_eq!(source["modification"]["config"], "config.yaml");
    assert_eq!(source["modification"]["commit"].as_str().unwrap().len(), 40);

    // A rebuild of the same pair of commits, with a higher release than the replaced one.
    let answer = client.json(&["build", "branded", "--target", "lab", "--bump"]).unwrap();
    let again = answer["builds"][0]["id"].as_i64().unwrap();
    let again = client.wait(again, &["published"], PATIENCE).unwrap();
    assert_eq!(again["srpm"], "branded-1.0-1.lab9.farm.1.1.src");
    root.dnf(&["-y", "--refresh", "upgrade", "branded"]).unwrap();
    assert!(root.dnf(&["list", "--installed", "branded"]).unwrap().contains("1.0-1.lab9.farm.1.1"));

    // An action that no longer fits is reported before and by the build, with its place.
    let config =
        b"actions:\n  - replace:\n    - {target: spec, find: Upstream Linus, replace: x}\n";
    let tree = [("config.yaml", Entry::File(config))].into();
    let commit = Commit { message: "Misspell it", tree };
    let repository = scene.world.modifications_of("branded");
    distgit::append(&repository, MODIFIED_BRANCH, &commit).unwrap();
    let checked = modify("check", "branded");
    assert_eq!(checked.code, 1, "{}{}", checked.out, checked.err);
    let build = client.build(&["branded"]).unwrap()[0];
    let failed = client.wait(build, &["failed"], PATIENCE).unwrap();
    let message = failed["failure"]["message"].as_str().unwrap();
    for text in [checked.out.as_str(), message] {
        assert!(text.contains("config.yaml: actions[0].replace[0]"), "{text}");
        assert!(
            text.contains("nearest lines: 5: `Summary:        Says that it is Upstream Linux`"),
            "{text}"
        );
    }
}
