//! What is imported: branches, tags, commits, both layouts.

use rpmfarm_core::source::SourceBundle;

use crate::Scene;
use crate::upstream::{Serve, sha512};

#[tokio::test]
async fn a_branch_with_patches_and_a_tarball() {
    let scene = Scene::new().await;
    let hash = sha512(b"tarball");
    scene.upstream.serve(&hash, Serve::Whole(b"tarball".to_vec()));
    let commit = scene.upstream.commit(&[
        ("hello.spec", "Name: hello\n"),
        ("fix.patch", "a patch"),
        ("sources", &format!("SHA512 (hello-1.tar.gz) = {hash}\n")),
        ("tests/run", "not a source"),
    ]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.bundle.commit, commit);
    assert_eq!(imported.bundle.package, "hello");
    assert_eq!(imported.git_ref, "lab1");
    assert_eq!(imported.subject, "Rebuild it");
    assert_eq!(imported.committed_at, 1_706_933_106);
    let names: Vec<_> = imported.bundle.sources.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["fix.patch", "hello-1.tar.gz"]);
    assert_eq!(scene.text(&imported, "hello.spec"), "Name: hello\n");
    assert_eq!(scene.text(&imported, "fix.patch"), "a patch");
    assert_eq!(scene.text(&imported, "hello-1.tar.gz"), "tarball");
    let stored = scene.blobs.read_small(imported.digest, 1 << 20).unwrap();
    assert_eq!(SourceBundle::from_bytes(&stored).unwrap(), imported.bundle);
}

#[tokio::test]
async fn an_exploded_srpm() {
    let scene = Scene::new().await;
    let hash = hex::encode(<sha1::Sha1 as sha1::Digest>::digest(b"old"));
    scene.upstream.serve(&hash, Serve::Whole(b"old".to_vec()));
    scene.upstream.commit(&[
        ("SPECS/hello.spec", "Name: hello\n"),
        ("SOURCES/real.patch", "text"),
        ("SOURCES/link.patch", "-> real.patch"),
        (".hello.metadata", &format!("{hash} SOURCES/hello-1.tar.gz\n")),
    ]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(scene.text(&imported, "hello-1.tar.gz"), "old");
    assert_eq!(scene.text(&imported, "link.patch"), "text");
    assert_eq!(imported.bundle.sources.len(), 3);
}

#[tokio::test]
async fn modes_are_those_of_git() {
    let mut scene = Scene::new().await;
    let commit = scene.upstream.commit(&[
        ("hello.spec", "Name: hello\nSource0: run\n"),
        ("run", "#!/bin/sh\n"),
        ("text", "text"),
        ("link", "-> tools/deep"),
        ("tools/deep", "#!/bin/sh\n"),
    ]);
    let programs = |imported: &rpmfarm_coordinator::import::ImportedCommit| -> Vec<(String, bool)> {
        let files = imported.bundle.sources.iter();
        files.map(|file| (file.name.clone(), file.executable)).collect()
    };
    let expected = [("link", true), ("run", true), ("text", false)];
    let expected = expected.map(|(name, executable)| (name.to_owned(), executable));
    let imported = scene.import(Some(&commit)).await.unwrap();
    assert_eq!(programs(&imported), expected);
    assert!(!imported.bundle.spec.executable);

    // Modifications keep the modes of what they change, and bring their own.
    scene.target = scene.upstream.modified_target().target();
    let config = "actions:\n  - replace:\n    - {target: run, find: sh, replace: bash}\n  \
                  - add_files:\n    - {type: source, name: new, number: 9}\n";
    scene.upstream.modify("a1", &[("config.yaml", config), ("files/new", "#!/bin/sh\n")]);
    let imported = scene.import(None).await.unwrap();
    let mut expected = expected.to_vec();
    expected.insert(1, ("new".to_owned(), true));
    assert_eq!(programs(&imported), expected);
}

#[tokio::test]
async fn tags_and_commits() {
    let scene = Scene::new().await;
    let first = scene.upstream.commit(&[("hello.spec", "1")]);
    scene.upstream.git(&["tag", "light"]);
    scene.upstream.git(&["tag", "-a", "imports/lab1/hello-1", "-m", "annotated"]);
    let second = scene.upstream.commit(&[("hello.spec", "2")]);
    let bare = scene.upstream.bare();
    scene.upstream.git(&["push", "-q", "--tags", bare.to_str().unwrap()]);
    for (git_ref, commit, text) in [
        ("imports/lab1/hello-1", &first, "1"),
        ("lab1", &second, "2"),
        ("light", &first, "1"),
        (second.as_str(), &second, "2"),
    ] {
        let imported = scene.import(Some(git_ref)).await.unwrap();
        assert_eq!(imported.bundle.commit, *commit, "{git_ref}");
        assert_eq!(scene.text(&imported, "hello.spec"), text, "{git_ref}");
    }
}

#[tokio::test]
async fn of_a_pattern_the_newest_tag_is_imported() {
    let mut scene = Scene::new().await;
    let file = scene.upstream.target().with("upstream.ref = \"imports/lab1/{nvr}\"");
    scene.target = file.target();
    let (_, message) = {
        scene.upstream.commit(&[("hello.spec", "0")]);
        scene.refusal(None).await
    };
    assert!(message.contains("has no branch or tag `imports/lab1/{nvr}`"), "{message}");
    for tag in ["hello-1-10.lab1", "hello-1-9.lab1", "hello-more-2-1.lab1", "hello-0-99.lab1"] {
        scene.upstream.commit(&[("hello.spec", tag)]);
        scene.upstream.git(&["tag", "-a", &format!("imports/lab1/{tag}"), "-m", "x"]);
    }
    let bare = scene.upstream.bare();
    scene.upstream.git(&["push", "-q", "--tags", bare.to_str().unwrap()]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(scene.text(&imported, "hello.spec"), "hello-1-10.lab1");
    assert_eq!(imported.git_ref, "imports/lab1/hello-1-10.lab1");
    assert_eq!(imported.record.git_ref, "imports/lab1/hello-1-10.lab1");
    let older = scene.import(Some("imports/lab1/hello-1-9.lab1")).await.unwrap();
    assert_eq!(scene.text(&older, "hello.spec"), "hello-1-9.lab1");
}

#[tokio::test]
async fn a_file_that_is_committed_and_listed_is_there_once_if_it_is_the_same() {
    let scene = Scene::new().await;
    let (tarball, key) = (sha512(b"tarball"), sha512(b"a key"));
    scene.upstream.serve(&tarball, Serve::Whole(b"tarball".to_vec()));
    let list = format!("SHA512 (hello.asc) = {key}\nSHA512 (hello-1.tar) = {tarball}\n");
    scene.upstream.commit(&[("hello.spec", "x"), ("hello.asc", "a key"), ("sources", &list)]);
    let imported = scene.import(None).await.unwrap();
    let names: Vec<_> = imported.bundle.sources.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["hello-1.tar", "hello.asc"]);
    let origin = imported.record.files.iter().find(|file| file.name == "hello.asc").unwrap();
    assert_eq!(origin.from, "git", "it is not fetched");
    scene.upstream.commit(&[("hello.spec", "x"), ("hello.asc", "another"), ("sources", &list)]);
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, rpmfarm_core::Fault::Package);
    let expected = format!(
        "hello.asc exists twice with different content: hello.asc is committed with sha512:{}, sources \
         says sha512:{key}; remove one",
        sha512(b"another")
    );
    assert_eq!(message, expected);
}

#[tokio::test]
async fn cves_of_the_whole_message() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    assert!(scene.import(None).await.unwrap().cves.is_empty());
    let message = "Rebase\n\nResolves: CVE-2024-1111\n\n* and cve-2024-22222, see\nFixes: RHEL-1";
    scene.upstream.git(&["commit", "-q", "--allow-empty", "-m", message]);
    let bare = scene.upstream.bare();
    scene.upstream.git(&["push", "-q", bare.to_str().unwrap(), "HEAD:refs/heads/lab1"]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.subject, "Rebase");
    let cves: Vec<_> = imported.cves.into_iter().collect();
    assert_eq!(cves, ["CVE-2024-1111", "CVE-2024-22222"]);
}

#[tokio::test]
async fn a_commit_that_is_no_tip_is_fetched_by_its_id() {
    let scene = Scene::new().await;
    scene.upstream.give_by_id();
    let first = scene.upstream.commit(&[("hello.spec", "1")]);
    scene.upstream.commit(&[("hello.spec", "2")]);
    let imported = scene.import(Some(&first)).await.unwrap();
    assert_eq!(scene.text(&imported, "hello.spec"), "1");
}

#[tokio::test]
async fn a_server_that_gives_no_commits_by_their_ids_gives_branches() {
    let scene = Scene::new().await;
    let commits = ["1", "2", "3", "4"].map(|text| scene.upstream.commit(&[("hello.spec", text)]));
    // What followed a push asks for the id of the tip.
    let imported = scene.import(Some(&commits[3])).await.unwrap();
    assert_eq!(scene.text(&imported, "hello.spec"), "4");
    assert_eq!(imported.bundle.commit, commits[3]);
    // One that has been overtaken, also below what is there without its history.
    for (commit, text) in commits.iter().zip(["1", "2", "3"]) {
        let imported = scene.import(Some(commit)).await.unwrap();
        assert_eq!(scene.text(&imported, "hello.spec"), text);
    }
    scene.upstream.git(&["tag", "-a", "-m", "a tag", "signed", &commits[1]]);
    let bare = scene.upstream.bare();
    scene.upstream.git(&["push", "-q", bare.to_str().unwrap(), "signed"]);
    let imported = scene.import(Some("signed")).await.unwrap();
    assert_eq!(imported.bundle.commit, commits[1]);
    // One that is nowhere.
    let (fault, message) = scene.refusal(Some(&"c0ffee".repeat(7)[..40])).await;
    assert_eq!(fault, rpmfarm_core::Fault::Package);
    assert!(message.contains("no branch has it"), "{message}");
}

#[tokio::test]
async fn nothing_is_fetched_twice_and_no_history() {
    let scene = Scene::new().await;
    let hash = sha512(b"tarball");
    scene.upstream.serve(&hash, Serve::Whole(b"tarball".to_vec()));
    let sources = format!("SHA512 (hello-1.tar.gz) = {hash}\n");
    let old = "only in the first commit, and long".repeat(50);
    scene.upstream.commit(&[("hello.spec", "1"), ("old", &old)]);
    scene.upstream.commit(&[("hello.spec", "2"), ("sources", &sources)]);
    let first = scene.import(None).await.unwrap();
    scene.upstream.requests();

    // The same commit again: its refs are read, and that is all.
    assert_eq!(scene.import(None).await.unwrap(), first);
    let requests = scene.upstream.requests();
    assert_eq!(requests, ["GET /hello.git/info/refs"], "{requests:?}");
    // By its id not even that.
    let again = scene.import(Some(&first.bundle.commit)).await.unwrap();
    assert_eq!(again.digest, first.digest);
    assert!(scene.upstream.requests().is_empty());

    // A new commit with the same tarball.
    scene.upstream.commit(&[("hello.spec", "3"), ("sources", &sources)]);
    let third = scene.import(None).await.unwrap();
    assert_eq!(scene.text(&third, "hello.spec"), "3");
    assert_eq!(scene.text(&third, "hello-1.tar.gz"), "tarball");
    let requests = scene.upstream.requests();
    assert!(requests.iter().all(|r| !r.contains("tar.gz")), "{requests:?}");

    // The cached repository has no object of the first commit.
    let caches: Vec<_> = std::fs::read_dir(scene.dir.path().join("git")).unwrap().collect();
    let cache = caches[0].as_ref().unwrap().path();
    let objects = scene.upstream.git(&[
        &format!("--git-dir={}", cache.display()),
        "cat-file",
        "--batch-check=%(objectname)",
        "--batch-all-objects",
    ]);
    let old = scene.upstream.git(&["rev-parse", "HEAD~2:old"]);
    assert!(!objects.contains(&old));
    // Two commits, two trees, two specs and one list.
    assert_eq!(objects.lines().count(), 7, "{objects}");
}

#[tokio::test]
async fn a_broken_cache_is_made_anew() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    scene.import(None).await.unwrap();
    for cache in std::fs::read_dir(scene.dir.path().join("git")).unwrap() {
        let packs = cache.unwrap().path().join("objects/pack");
        for pack in std::fs::read_dir(packs).unwrap() {
            std::fs::write(pack.unwrap().path(), "rubbish").unwrap();
        }
    }
    scene.upstream.commit(&[("hello.spec", "2")]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(scene.text(&imported, "hello.spec"), "2");
}

#[tokio::test]
async fn several_packages_at_once() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    let bare = scene.upstream.bare();
    let names: Vec<_> = (0..12).map(|n| format!("copy-{n}")).collect();
    for name in &names {
        std::os::unix::fs::symlink(&bare, bare.with_file_name(format!("{name}.git"))).unwrap();
    }
    let imports = names.iter().map(|name| scene.importer.import(&scene.target, name, None));
    for (name, imported) in names.iter().zip(futures_util::future::join_all(imports).await) {
        assert_eq!(imported.unwrap().bundle.package, *name);
    }
}

#[tokio::test]
async fn a_release_and_a_changelog_out_of_the_history() {
    let scene = Scene::new().await;
    let spec = |version: &str| {
        format!("Version: {version}\nRelease: %autorelease\n%changelog\n%autochangelog\n")
    };
    scene.upstream.commit(&[("hello.spec", &spec("1"))]);
    for extra in ["a", "b", "c"] {
        scene.upstream.commit(&[("hello.spec", &spec("2")), ("x.patch", extra)]);
    }
    let imported = scene.import(None).await.unwrap();
    let text = scene.text(&imported, "hello.spec");
    assert!(text.contains("%{lua:print(3 + "), "{text}");
    let headers: Vec<_> = text.lines().filter(|line| line.starts_with('*')).collect();
    let header = |evr: &str| format!("* Sat Feb 03 2024 Lab <lab@example.org> - {evr}");
    assert_eq!(headers, ["2-3", "2-2", "2-1", "1-1"].map(header));
    assert_eq!(text.matches("\n- Rebuild it").count(), 4, "{text}");

    // The new commits are added to the stored ones.
    scene.upstream.commit(&[("hello.spec", &spec("2")), ("x.patch", "d")]);
    let again = scene.import(None).await.unwrap();
    assert!(scene.text(&again, "hello.spec").contains("%{lua:print(4 + "));
    let by_id = scene.import(Some(&imported.bundle.commit)).await.unwrap();
    assert_eq!(scene.text(&by_id, "hello.spec"), text);
}

/// rpm's result for a spec: its release and the number of its changelog entries.
fn asked_of_rpm(spec: &str, included: &str) -> (String, usize) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.spec"), spec).unwrap();
    std::fs::write(dir.path().join("rel.inc"), included).unwrap();
    let format = "%{release}\n[%{changelogname}\n]";
    let output = std::process::Command::new("rpmspec")
        .args(["-q", "--srpm", "--define", "dist .lab9", "--qf", format, "--define"])
        .arg(format!("_sourcedir {}", dir.path().display()))
        .arg(dir.path().join("x.spec"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{spec}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    (lines.next().unwrap().to_owned(), lines.filter(|line| !line.is_empty()).count())
}

#[tokio::test]
async fn both_macros_wherever_they_are() {
    let scene = Scene::new().await;
    let own = "%changelog\n%autochangelog";
    for (version, (head, release, changelog, included)) in [
        ("%define rel %autorelease", "%{rel}", own, ""),
        ("%define rel %autorelease -e rc1 -n", "%{rel}%{?dist}", "%autochangelog", ""),
        ("%global baserelease %{autorelease -n}", "%{baserelease}%{?dist}", own, ""),
        (
            "%{!?rel:%global rel %{?autorelease}}",
            "%{rel}",
            "%changelog\n# x\n%{?autochangelog}",
            "",
        ),
        ("%if 1\n%define rel %autorelease\n%else\n%define rel 1\n%endif", "%{?rel}", "", ""),
        ("%{lua:rpm.define('rel ' .. rpm.expand('%autorelease'))}", "%{rel}", own, ""),
        ("%define log %autochangelog", "%autorelease", "%changelog\n%{log}", ""),
        ("%include %{_sourcedir}/rel.inc", "%{rel}", own, "%define rel %autorelease\n"),
        (
            "%{load:%{_sourcedir}/rel.inc}",
            "%{rel}",
            "%changelog\n%{log}",
            "%rel %autorelease\n%log %autochangelog\n",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = format!(
            "{head}\nName: hello\nVersion: {version}\nRelease: {release}\nSummary: x\nLicense: x\n\
             %description\nx\n{changelog}\n"
        );
        let files = [("hello.spec", spec.as_str()), ("rel.inc", included)];
        scene.upstream.commit(&files);
        scene.upstream.commit(&[files[0], files[1], ("x.patch", "x")]);
        let imported = scene.import(None).await.unwrap();
        let text = scene.text(&imported, "hello.spec");
        let wanted = if head.contains("rc1") { "2.rc1.lab9" } else { "2.lab9" };
        // Everything before is in the history too.
        assert_eq!(asked_of_rpm(&text, included), (wanted.to_owned(), 2 * version + 2), "{text}");
    }
}
