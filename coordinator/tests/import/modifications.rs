//! What modifications change at import, what is left for the cage, and what is previewed.

use rpmfarm_coordinator::import::{ActionState, ImportRequest};
use rpmfarm_core::Fault;
use rpmfarm_sources::modify::{ScriptPlan, Step};

use crate::Scene;
use crate::upstream::{Serve, sha512};

const SPEC: &str = "\
Name: hello
Version: 1
Release: 2%{?dist}
Source0: hello-1.tar.gz
Source1: old.cer
BuildRequires: upstream-logos

%prep
%autosetup

%changelog
* Mon Jan 01 2024 A <a@example.org> - 1-2
- Begun
";

const CONFIG: &str = r#"
actions:
  - replace:
    - {target: spec, find: upstream-logos, replace: farm-logos, count: 1}
  - delete_files:
    - {file_name: old.cer}
  - add_files:
    - {type: patch, name: 1000-farm.patch, number: 1000}
  - modify_release:
    - {suffix: .alma.1}
  - changelog_entry:
    - {name: F, email: f@example.org, line: [Debrand]}
"#;

async fn scene() -> Scene {
    let mut scene = Scene::new().await;
    scene.target = scene.upstream.modified_target().target();
    let hash = sha512(b"tarball");
    scene.upstream.serve(&hash, Serve::Whole(b"tarball".to_vec()));
    scene.upstream.commit(&[
        ("hello.spec", SPEC),
        ("old.cer", "certificate"),
        ("sources", &format!("SHA512 (hello-1.tar.gz) = {hash}\n")),
    ]);
    scene
}

#[tokio::test]
async fn modifications_are_in_the_bundle_and_in_the_record() {
    let scene = scene().await;
    let files = [("config.yaml", CONFIG), ("files/1000-farm.patch", "a patch")];
    let commit = scene.upstream.modify("a1", &files);
    let imported = scene.import(None).await.unwrap();
    let spec = scene.text(&imported, "hello.spec");
    for line in [
        "Release: 2%{?dist}.alma.1\n",
        "BuildRequires: farm-logos\n",
        "# AlmaLinux Patch\nPatch1000: 1000-farm.patch\n",
        "* Sat Feb 03 2024 F <f@example.org> - 1-2.alma.1\n- Debrand\n\n* Mon Jan 01",
    ] {
        assert!(spec.contains(line), "{line:?} is not in\n{spec}");
    }
    let names: Vec<_> = imported.bundle.sources.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["1000-farm.patch", "hello-1.tar.gz"]);
    let modification = imported.bundle.modification.as_ref().unwrap();
    assert_eq!(
        (modification.commit.as_str(), modification.config.as_str()),
        (&*commit, "config.yaml")
    );
    assert_eq!(imported.bundle.plan, None);
    assert_eq!(imported.record.modification_subject, "Debrand");
    let from: Vec<_> =
        imported.record.files.iter().map(|f| (f.name.as_str(), f.from.as_str())).collect();
    assert_eq!(from[0], ("1000-farm.patch", "modifications"));
    assert!(from[1].1.starts_with("http://127.0.0.1:"), "{from:?}");
    assert!(imported.record.files[1].checksum.starts_with("sha512:"));
    assert_eq!(from[2], ("hello.spec", "modifications"));
    // From the cache, and it is still known where it once came from.
    scene.upstream.requests();
    let again = scene.import(None).await.unwrap();
    assert_eq!(again, imported, "the pair of commits decides what comes out");
    assert!(scene.upstream.requests().iter().all(|request| !request.contains("hello-1.tar.gz")));
}

#[tokio::test]
async fn a_package_without_modifications_is_as_upstream_has_it() {
    let mut scene = scene().await;
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.bundle.modification, None, "no repository");
    assert_eq!(scene.text(&imported, "hello.spec"), SPEC);
    scene.upstream.modify("a2", &[("config.yaml", CONFIG)]);
    assert_eq!(scene.import(None).await.unwrap(), imported, "no branch");
    scene.upstream.modify("a1", &[("config.yaml", CONFIG)]);
    let file = scene.upstream.modified_target().with("packages.hello.unmodified = true");
    scene.target = file.target();
    assert_eq!(scene.import(None).await.unwrap(), imported, "not wanted");
}

#[tokio::test]
async fn modifications_that_are_refused_fail_the_build() {
    let scene = scene().await;
    let files = [("config.yaml", CONFIG), ("files/1000-farm.patch", "a patch")];
    let commit = scene.upstream.modify("a1", &files);
    for status in [401, 403] {
        scene.upstream.refuse_modifications(Some(status));
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Farm, "{message}");
        let words = format!(
            "are refused (status {status}); make them readable, or set packages.hello.unmodified = true"
        );
        assert!(message.starts_with("the modifications at http://127.0.0.1:"), "{message}");
        assert!(message.contains("/git/autopatch-hello.git"), "{message}");
        assert!(message.contains(&words), "{message}");
    }
    // A package that is built for a commit of them has some, whatever the server says now.
    let order = || ImportRequest {
        modification_ref: Some(&commit),
        ..ImportRequest::new(&scene.target, "hello")
    };
    for status in [403, 404] {
        scene.upstream.refuse_modifications(Some(status));
        let error = scene.importer.import_as(order()).await.unwrap_err();
        assert!(error.to_string().contains(&format!("(status {status})")), "{error}");
    }
    scene.upstream.refuse_modifications(None);
    scene.importer.import_as(order()).await.unwrap();
    scene.upstream.modify("a1", &[("config.yaml", "actions: []\n")]);
    let imported = scene.importer.import_as(order()).await.unwrap();
    assert_eq!(imported.bundle.modification.unwrap().commit, commit, "not what the branch has");
    // Nobody answers 404 for what is only not there.
    scene.upstream.refuse_modifications(Some(404));
    assert_eq!(scene.import(None).await.unwrap().bundle.modification, None);
}

#[tokio::test]
async fn what_does_not_fit_is_the_packages_fault_and_names_the_place() {
    let scene = scene().await;
    let action = "actions:\n  - replace:\n    - {target: spec, find: 'BuildRequires: upstream-logo5', replace: x}\n";
    for (files, words) in [
        (
            vec![("config.yaml", action)],
            "config.yaml: actions[0].replace[0]: `BuildRequires: upstream-logo5` is not in \
             hello.spec; nearest lines: 6: `BuildRequires: upstream-logos`",
        ),
        (vec![("config.yaml", "actions:\n  - replase: []\n")], "replase"),
        (vec![("config.yaml", CONFIG)], "files/1000-farm.patch is not in the modifications"),
        (vec![("config-x.yaml", CONFIG)], "has no config.yaml; it has config-x.yaml"),
        (vec![("README", "")], "it has no configuration at all"),
        (
            vec![("config.yaml", "actions:\n  - run_script:\n    - {script: ../x}\n")],
            "not a plain file name",
        ),
    ] {
        scene.upstream.modify("a1", &files);
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Package, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn scripts_are_left_for_the_cage() {
    let scene = scene().await;
    let config = format!(
        "{CONFIG}  - run_script:\n    - {{script: x.sh}}\n  - delete_line:\n    - {{target: spec, lines: [made]}}\n"
    );
    scene.upstream.modify(
        "a1",
        &[
            ("config.yaml", &config),
            ("files/1000-farm.patch", "a patch"),
            ("scripts/x.sh", "touch /tmp/it-ran; echo made >> hello.spec\n"),
            ("link", "-> config.yaml"),
        ],
    );
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.record.scripts, ["x.sh"]);
    let plan = imported.bundle.plan.as_ref().unwrap();
    let plan =
        ScriptPlan::from_bytes(&scene.blobs.read_small(plan.digest, plan.size).unwrap()).unwrap();
    assert!(matches!(&plan.steps[..], [Step::Script(_), Step::Changes(_)]), "{:?}", plan.steps);
    let paths: Vec<_> = plan.tree.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["1000-farm.patch", "hello.spec", "sources"]);
    let paths: Vec<_> = plan.modifications.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["config.yaml", "files/1000-farm.patch", "link", "scripts/x.sh"]);
    assert_eq!(plan.lookaside[0].0.name, "hello-1.tar.gz");
    assert_eq!(plan.context.time, 1_706_933_106);
    assert!(!std::path::Path::new("/tmp/it-ran").exists());
}

#[tokio::test]
async fn a_rebuild_without_a_change_gets_a_higher_release() {
    let scene = scene().await;
    for (built, release) in
        [(vec![], "2%{?dist}.1"), (vec!["1-2.lab1", "1-2.lab1.1"], "2%{?dist}.2")]
    {
        let built = built.into_iter().map(str::to_owned).collect();
        let order =
            ImportRequest { bump: true, built, ..ImportRequest::new(&scene.target, "hello") };
        let imported = scene.importer.import_as(order).await.unwrap();
        let spec = scene.text(&imported, "hello.spec");
        assert!(spec.contains(&format!("Release: {release}\n")), "{spec}");
        assert!(imported.record.bump);
    }
}

#[tokio::test]
async fn a_preview_shows_each_action_and_what_changes() {
    let scene = scene().await;
    let order = || ImportRequest::new(&scene.target, "hello");
    let preview = scene.importer.preview(order()).await.unwrap();
    assert_eq!((preview.modification, preview.diffs.len()), (None, 0));

    let config = format!(
        "{CONFIG}  - run_script:\n    - {{script: x.sh}}\n  - delete_line:\n    - {{target: spec, lines: [made]}}\n"
    );
    let files =
        [("config.yaml", &*config), ("files/1000-farm.patch", "P\n"), ("scripts/x.sh", "exit\n")];
    scene.upstream.modify("a1", &files);
    scene.upstream.requests();
    let preview = scene.importer.preview(order()).await.unwrap();
    assert!(!scene.upstream.requests().iter().any(|r| r.contains("tar.gz")), "nothing is fetched");
    let states: Vec<_> = preview.actions.iter().map(|action| action.state).collect();
    use ActionState::{AfterScript, Applied, Failed, NotTried, Sandbox};
    assert_eq!(states, [Applied, Applied, Applied, Applied, Applied, Sandbox, AfterScript]);
    let paths: Vec<_> = preview.diffs.iter().map(|d| (&*d.path, &*d.change)).collect();
    assert_eq!(
        paths,
        [("1000-farm.patch", "added"), ("hello.spec", "changed"), ("old.cer", "removed")]
    );
    let diff = &preview.diffs[1].diff;
    for line in ["\n-BuildRequires: upstream-logos\n", "\n+BuildRequires: farm-logos\n"] {
        assert!(diff.contains(line), "{diff}");
    }

    let config = CONFIG.replace("upstream-logos", "nothing-like-it");
    scene.upstream.modify("a3", &[("config.yaml", &config)]);
    let order = ImportRequest { modification_ref: Some("a3"), ..order() };
    let preview = scene.importer.preview(order).await.unwrap();
    assert_eq!((preview.actions[0].state, preview.actions[1].state), (Failed, NotTried));
    assert!(preview.actions[0].message.contains("is not in hello.spec"));
}
