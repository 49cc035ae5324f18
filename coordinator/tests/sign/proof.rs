//! Problems that a build would bring the users of a channel: it is held back, and others go on.

use std::time::Duration;

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::AcceptedProblemRow;
use rpmfarm_core::proof::{AcceptedProblem, ProblemKind};
use rpmfarm_core::{Arch, BuildId};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::proofs_server::Proofs as _;
use tonic::{Code, Request, Status};

use super::scene::{Scene, built};
use super::signer::Signer;
use super::support::{Built, build_spec};
use super::{TAGS, accepted, data, publish_all, revision};

/// A package with one file at any path.
fn with_file(name: &str, release: u32, path: &str, content: &str) -> Built {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: {release}\nSummary: x\nLicense: x\n\
         Source0: sample.txt\nBuildArch: noarch\n%description\nx\n%install\n\
         mkdir -p $(dirname %{{buildroot}}{path})\n\
         echo '{content}' > %{{buildroot}}{path}\n%files\n{path}\n"
    );
    build_spec(&spec, &[])
}

async fn is_published(scene: &Scene, build: BuildId) -> bool {
    scene.farm.store.publication_fetch(build).await.unwrap().is_some()
}

async fn accept_problem(scene: &Scene, kind: ProblemKind, package: &str) {
    let row = AcceptedProblemRow {
        accepted: AcceptedProblem {
            kind,
            package: package.into(),
            what: String::new(),
            until: Some(clock::now() + Duration::from_secs(3600)),
        },
        who: "ann".into(),
        reason: "it is rebuilt tomorrow".into(),
        at: clock::now(),
    };
    scene.farm.store.problem_accept_insert("lab", "testing", &row).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_a_provider_away_waits_and_says_why() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let provides = format!("{TAGS}\nProvides: engine = 1");
    accepted(&scene, &built("lib", &provides, "x"), "lib").await;
    let requires = format!("{TAGS}\nRequires: engine = 1");
    accepted(&scene, &built("app", &requires, "x"), "app").await;
    publish_all(farm).await;
    assert_eq!(revision(farm), 1);

    let without = TAGS.replace("Release: 1", "Release: 2");
    let bad = accepted(&scene, &built("lib", &without, "x"), "lib").await;
    let good = accepted(&scene, &built("other", TAGS, "x"), "other").await;
    publish_all(farm).await;
    assert!(is_published(&scene, good.id).await, "others go on");
    assert!(!is_published(&scene, bad.id).await);
    let reason = farm.waits.reason(bad.id);
    for part in [
        "not published yet: app-1-1.noarch requires `engine = 1`",
        "lib-1-1.noarch, which provided it, would be gone",
        "lib-1-1.noarch provides engine = 1",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let proof = farm.store.proof_fetch("lab", "testing").await.unwrap().expect("it is recorded");
    assert_eq!((proof.total, proof.unproven.as_str()), (1, ""));
    assert_eq!(proof.problems[0].kind, ProblemKind::Lost);
    let before = revision(farm);
    publish_all(farm).await;
    assert_eq!(revision(farm), before, "nothing changes while it waits");

    accept_problem(&scene, ProblemKind::Files, "app").await;
    publish_all(farm).await;
    assert!(!is_published(&scene, bad.id).await, "another kind of problem was accepted");
    let asked = accept_by_call(&scene, "lost", "app", "engine = 1").await.unwrap();
    assert_eq!((asked.who.as_str(), asked.until_us), ("ann", 0));
    publish_all(farm).await;
    assert!(is_published(&scene, bad.id).await);
}

/// As `rpmfarm channel accept-problem`.
async fn accept_by_call(
    scene: &Scene,
    kind: &str,
    package: &str,
    what: &str,
) -> Result<v1::AcceptedProblem, Status> {
    let request = v1::AcceptProblemRequest {
        target: "lab".into(),
        channel: "testing".into(),
        kind: kind.into(),
        package: package.into(),
        what: what.into(),
        until_us: 0,
        who: "ann".into(),
        reason: "it is rebuilt tomorrow".into(),
    };
    let reply = scene.farm.proof_service().accept_problem(Request::new(request)).await?;
    Ok(reply.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_show_problems_and_refuse_what_they_cannot_know() {
    let scene = Scene::new().await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let problems = async |channel: &str| {
        let (target, channel) = ("lab".into(), channel.into());
        let request = Request::new(v1::GetProblemsRequest { target, channel });
        farm.proof_service().get_problems(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(problems("testing").await.unwrap().proved_us, 0, "nothing was published");
    assert_eq!(problems("nowhere").await.unwrap_err().code(), Code::NotFound);
    let requires = format!("{TAGS}\nRequires: nowhere >= 2");
    let build = accepted(&scene, &built("app", &requires, "x"), "app").await;
    publish_all(farm).await;
    assert!(!is_published(&scene, build.id).await);
    let found = problems("testing").await.unwrap();
    assert_eq!((found.rule.as_str(), found.total), ("refuse", 1));
    let v1::Problem { kind, package, what, accepted, .. } = &found.problems[0];
    assert_eq!((kind.as_str(), package.as_str()), ("requires", "app-1-1.noarch"));
    assert_eq!((what.as_str(), *accepted), ("nowhere >= 2", false));

    for (kind, package) in [("odd", "app"), ("requires", ""), ("requires", "app-1-1.noarch")] {
        let refused = accept_by_call(&scene, kind, package, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{kind} {package}: {refused}");
    }
    accept_by_call(&scene, "requires", "app", "").await.unwrap();
    let found = problems("testing").await.unwrap();
    assert!(found.problems[0].accepted);
    assert_eq!(found.accepted[0].reason, "it is rebuilt tomorrow");
    publish_all(farm).await;
    assert!(is_published(&scene, build.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_package_has_with_other_content_is_refused() {
    let scene = Scene::new().await;
    let (path, in_base) = ("/usr/share/common/data", "/usr/share/base/data");
    scene.distribution(&[&with_file("base-files", 1, in_base, "of the distribution")]);
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    accepted(&scene, &with_file("one", 1, path, "same"), "one").await;
    let same = accepted(&scene, &with_file("same", 1, path, "same"), "same").await;
    let other = accepted(&scene, &with_file("other", 1, path, "different"), "other").await;
    let base = accepted(&scene, &with_file("taker", 1, in_base, "of the farm"), "taker").await;
    publish_all(farm).await;
    assert!(is_published(&scene, same.id).await, "rpm installs both");
    for (build, parts) in [
        (&other, ["other-1-1.noarch", path, "with different content"]),
        (&base, ["base-files-1-1.noarch", in_base, "with different content"]),
    ] {
        assert!(!is_published(&scene, build.id).await);
        let reason = farm.waits.reason(build.id);
        for part in parts {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }
    // A conflict that is there does not hold back the next version.
    accept_problem(&scene, ProblemKind::Files, "other").await;
    publish_all(farm).await;
    let published = is_published(&scene, other.id).await;
    assert!(published, "{}", farm.waits.reason(other.id));
    let next = accepted(&scene, &with_file("one", 2, path, "newer"), "one").await;
    publish_all(farm).await;
    let reason = farm.waits.reason(next.id);
    assert!(reason.contains("same-1-1.noarch") && !reason.contains("other-1-1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_warns_publishes_and_shows_the_problems() {
    let scene = Scene::with("proof.closure = \"warn\"").await;
    let farm = &scene.farm;
    let _signer = Signer::start(&data(farm), &[]);
    let requires = format!("{TAGS}\nRequires: nowhere");
    let build = accepted(&scene, &built("app", &requires, "x"), "app").await;
    publish_all(farm).await;
    assert!(is_published(&scene, build.id).await);
    let proof = farm.store.proof_fetch("lab", "testing").await.unwrap().expect("it is recorded");
    assert_eq!((proof.problems[0].kind, proof.total), (ProblemKind::Requires, 1));
    assert_eq!(proof.problems[0].arches, [Arch::X86_64]);
}
