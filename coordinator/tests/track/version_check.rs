//! Following real repositories, served by git's own http-backend: pairs of commits as they are
//! imported, and pushes whose version would not be above the published one.

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::{Build, ChannelChange, Import, NewBuild, Revision};
use rpmfarm_core::{BuildId, Evr, Failure, FailureStage, Fault, Nevra, Sha256};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::tracking_server::Tracking as _;
use tonic::Request;

use crate::common::builds::{self, add_srpm, new_build, srpm};
use crate::git;
use crate::scene::Scene;
use crate::upstream::Upstream;

fn spec(release: &str) -> String {
    format!(
        "%global rel {release}\nName: hello\nVersion: 1\nRelease: %{{rel}}%{{?dist}}\n\n%description\n"
    )
}

/// `hello` at release 1, polled once.
async fn scene(git: &git::Upstream) -> Scene {
    git.commit(&[("hello.spec", &spec("1"))]);
    let file = git.modified_target().with("track.spacing_seconds = 0");
    let scene = Scene::of(Upstream::start().await, |_| file.clone()).await;
    scene.track(&["hello"]).await;
    scene.poll_packages(&["hello"]).await;
    assert_eq!(scene.tracked("hello").await.problem, "");
    scene
}

/// Polls, decides and imports; the build that follows.
async fn follow(scene: &Scene) -> Build {
    let before = scene.builds().await.len();
    scene.poll_packages(&["hello"]).await;
    scene.decide().await;
    let mut builds = scene.builds().await;
    assert_eq!(builds.len(), before + 1);
    let build = builds.pop().unwrap();
    scene.import(&build).await.unwrap();
    build
}

/// Publishes a version of `hello`, as if it had been built.
async fn publish(scene: &Scene, evr: Evr) {
    let store = &scene.farm.store;
    let new = NewBuild { git_ref: "published".into(), ..new_build("lab", "hello") };
    let build = store.build_insert(&[new], "me", "", clock::now()).await.unwrap().ids[0];
    let source = Import { commit: "published".into(), ..builds::import(clock::now()) };
    store.import_insert(build, &source).await.unwrap();
    publish_build(scene, build, evr).await;
}

/// Publishes a build, as if it had gone the whole way.
async fn publish_build(scene: &Scene, build: BuildId, evr: Evr) {
    let store = &scene.farm.store;
    let nevra = Nevra::new("hello", evr, "src").to_string();
    add_srpm(store, build, &srpm(&nevra)).await;
    let newest = store.channel_fetch("lab", "testing").await.unwrap().map_or(0, |r| r.revision);
    let revision = Revision {
        target: "lab".into(),
        channel: "testing".into(),
        revision: newest + 1,
        snapshot: Sha256::compute(b"y"),
        packages: 1,
        at: clock::now(),
    };
    assert!(
        store
            .revision_insert(&revision, &ChannelChange::nothing_since(newest), &[build])
            .await
            .unwrap()
    );
}

async fn failure(scene: &Scene, build: &Build) -> String {
    let failures = scene.farm.store.failure_list(build.id, None).await.unwrap();
    failures.first().map(|row| row.failure.to_string()).unwrap_or_default()
}

async fn pair(scene: &Scene, build: BuildId) -> (String, String) {
    let import = scene.farm.store.import_fetch(build).await.unwrap().unwrap();
    let record = scene.farm.store.source_record_fetch(build).await.unwrap().unwrap();
    (import.commit, record.modification.map(|m| m.commit).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_are_imported_as_they_were_pushed() {
    let git = git::Upstream::start().await;
    let scene = scene(&git).await;
    let first = git.commit(&[("hello.spec", &spec("2"))]);
    let build = follow(&scene).await;
    assert_eq!(pair(&scene, build.id).await, (first.clone(), String::new()));
    // Modifications come, and upstream moves on before they are imported.
    let config = "actions:\n  - modify_release:\n    - {suffix: .farm.1}\n";
    let modification = git.modify("a1", &[("config.yaml", config)]);
    scene.poll_packages(&["hello"]).await;
    scene.decide().await;
    let second = git.commit(&[("hello.spec", &spec("3"))]);
    let build = scene.builds().await.pop().unwrap();
    scene.import(&build).await.unwrap();
    assert_eq!(pair(&scene, build.id).await, (first, modification.clone()));
    let build = follow(&scene).await;
    assert_eq!(pair(&scene, build.id).await, (second, modification));
    scene.poll_packages(&["hello"]).await;
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 3, "each pair once");
    assert_eq!(scene.tracked("hello").await.problem, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_above_the_channel_is_refused_before_it_is_built() {
    let git = git::Upstream::start().await;
    let scene = scene(&git).await;
    publish(&scene, Evr::new(0, "1", "9.lab1")).await;
    publish(&scene, Evr::new(0, "1", "10.lab1")).await;
    for (release, words) in [
        ("9", "hello would be 1-9.lab1, which is below 1-10.lab1 in testing"),
        ("9", "modify_release"),
        ("10", "hello would be 1-10.lab1, which is the same as 1-10.lab1 in testing"),
        ("10", "rpmfarm build hello --bump"),
    ] {
        git.commit(&[("hello.spec", &spec(release)), ("why", words)]);
        let build = follow(&scene).await;
        let message = failure(&scene, &build).await;
        assert!(message.contains(words), "{message}");
        assert!(scene.farm.store.import_fetch(build.id).await.unwrap().is_none());
        assert!(!scene.farm.store.build_is_open(build.id).await.unwrap(), "it is not tried again");
    }
    // What the text does not tell is left for the SRPM.
    for release in ["11", "%(echo 1)"] {
        git.commit(&[("hello.spec", &spec(release))]);
        let build = follow(&scene).await;
        assert_eq!(failure(&scene, &build).await, "");
        assert!(scene.farm.store.import_fetch(build.id).await.unwrap().is_some());
    }
    // A person may build what they want.
    git.commit(&[("hello.spec", &spec("8"))]);
    let new = new_build("lab", "hello");
    let store = &scene.farm.store;
    let id = store.build_insert(&[new], "me", "", clock::now()).await.unwrap().ids[0];
    let build = store.build_fetch(id).await.unwrap().unwrap();
    scene.import(&build).await.unwrap();
    assert!(store.import_fetch(id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_that_goes_back_below_the_channel_is_told() {
    let git = git::Upstream::start().await;
    let scene = scene(&git).await;
    let older = git.commit(&[("hello.spec", &spec("2"))]);
    let build = follow(&scene).await;
    publish_build(&scene, build.id, Evr::new(0, "1", "2.lab1")).await;
    git.commit(&[("hello.spec", &spec("3"))]);
    let build = follow(&scene).await;
    publish_build(&scene, build.id, Evr::new(0, "1", "3.lab1")).await;

    let back = format!("{older}:refs/heads/lab1");
    git.git(&["push", "-q", "-f", git.bare().to_str().unwrap(), &back]);
    let build = follow(&scene).await;
    assert_eq!(build.git_ref, older);
    assert!(scene.farm.store.import_fetch(build.id).await.unwrap().is_none());
    let service = scene.farm.tracking_service();
    let request = v1::GetTrackedRequest { target: "lab".into(), package: "hello".into() };
    let details = service.get_tracked(Request::new(request)).await.unwrap().into_inner();
    let push = &details.pushes[0];
    assert_eq!((push.verdict.as_str(), push.build), ("build", build.id.0));
    for words in
        ["hello would be 1-2.lab1, which is below 1-3.lab1 in testing", "the branch went back"]
    {
        assert!(push.reason.contains(words), "{}", push.reason);
    }
    // And above what is published it is built.
    git.commit(&[("hello.spec", &spec("4"))]);
    let build = follow(&scene).await;
    assert_eq!(failure(&scene, &build).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_failed_to_build_is_brought_by_what_repairs_it() {
    let git = git::Upstream::start().await;
    let scene = scene(&git).await;
    let store = &scene.farm.store;
    let mut changelog = String::new();
    let mut push = |release: &str, entry: &str| {
        changelog = format!("* Mon Jan 01 2024 A <a@b> - 1-{release}\n- {entry}\n\n{changelog}");
        let text = format!("{}x\n%changelog\n{changelog}", spec(release));
        git.commit(&[("hello.spec", &text)]);
    };
    let marks = async |build: &Build| {
        let row = store.build_fetch(build.id).await.unwrap().unwrap();
        (store.cve_list(build.id).await.unwrap(), row.priority)
    };
    let security = |ids: &[&str]| {
        (ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), "security".to_owned())
    };
    let none = (Vec::new(), "tracking".to_owned());
    push("2", "Rebuild");
    let build = follow(&scene).await;
    assert_eq!(marks(&build).await, none);
    publish_build(&scene, build.id, Evr::new(0, "1", "2.lab1")).await;

    push("3", "Fix CVE-2024-1111");
    let build = follow(&scene).await;
    assert_eq!(marks(&build).await, security(&["CVE-2024-1111"]), "and its priority is raised");
    let broken = Failure::new(Fault::Package, FailureStage::Build, "%build failed");
    assert!(store.failure_insert(build.id, None, &broken, None, clock::now()).await.unwrap());

    push("4", "Make it compile");
    let build = follow(&scene).await;
    assert_eq!(marks(&build).await, security(&["CVE-2024-1111"]));
    // It may fail as well.
    push("5", "Fix CVE-2024-2222");
    let build = follow(&scene).await;
    assert_eq!(marks(&build).await, security(&["CVE-2024-1111", "CVE-2024-2222"]));
    publish_build(&scene, build.id, Evr::new(0, "1", "5.lab1")).await;
    push("6", "Rebuild");
    let build = follow(&scene).await;
    assert_eq!(marks(&build).await, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_since_it_was_decided_on_is_not_built_as_that() {
    let git = git::Upstream::start().await;
    let tag = |release: &str, name: &str| {
        let commit = git.commit(&[("hello.spec", &spec(release))]);
        git.git(&["tag", "-f", name]);
        let bare = git.bare();
        git.git(&["push", "-q", "-f", bare.to_str().unwrap(), &format!("refs/tags/{name}")]);
        commit
    };
    tag("1", "imports/c9/hello-1-1");
    let lines = "upstream.ref = \"imports/c9/{nvr}\"\ntrack.spacing_seconds = 0\n";
    let file = git.target().with(lines);
    let scene = Scene::of(Upstream::start().await, |_| file.clone()).await;
    scene.track(&["hello"]).await;
    scene.poll_packages(&["hello"]).await;
    assert_eq!(scene.tracked("hello").await.problem, "");

    let decided = tag("2", "imports/c9/hello-1-2");
    scene.poll_packages(&["hello"]).await;
    scene.decide().await;
    let moved = tag("2", "imports/c9/hello-1-2");
    let build = scene.builds().await.pop().unwrap();
    scene.import(&build).await.unwrap();
    let message = failure(&scene, &build).await;
    let says = format!("was to be built at commit {decided}, and has been moved to {moved} since");
    assert!(message.contains(&says), "{message}");
    assert!(scene.farm.store.import_fetch(build.id).await.unwrap().is_none());
    // Where it points to now is a push of its own.
    let build = follow(&scene).await;
    assert_eq!(failure(&scene, &build).await, "");
    assert_eq!(pair(&scene, build.id).await.0, moved);
}
