//! `noarch` packages of several architectures, which are compared as Koji compares them, and the
//! pass for `noarch`.

use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::terms::Terms;
use rpmfarm_core::{Arch, Failure, Fault};

use crate::scene::{Scene, file};
use crate::support::{Built, build_spec};

const TWO: &str = "arches = [\"x86_64\", \"aarch64\"]";

async fn two_arches() -> Scene {
    Scene::with(TWO).await
}

/// A package whose one subpackage is noarch, as one architecture makes it.
fn made(tags: &str, install: &str, name: &str, of_package: &str) -> Built {
    build_spec(
        &format!(
            "Name: parts\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nSource0: sample.txt\n\
             {tags}\n%define debug_package %{{nil}}\n%description\nx\n%package {name}\n\
             Summary: x\nBuildArch: noarch\n{of_package}\n%description {name}\nx\n%install\n\
             mkdir -p %{{buildroot}}/usr/share/parts\n{install}\n%files {name}\n/usr/share/parts\n"
        ),
        &[],
    )
}

async fn both(
    scene: &Scene,
    x86_64: &Built,
    aarch64: &Built,
) -> (rpmfarm_core::BuildId, Result<(), Failure>) {
    let build = scene.build_everywhere("parts").await;
    scene.srpm(build, x86_64).await.unwrap();
    let report = |arch, of: &Built| {
        let files = [file(&of.binary)];
        async move {
            let task = (TaskKind::Build, Some(arch));
            scene.report_on(build, task, &files, Success::default()).await
        }
    };
    report(Arch::X86_64, x86_64).await.unwrap();
    (build, report(Arch::Aarch64, aarch64).await)
}

const DATED: &str = "echo DATE > %{buildroot}/usr/share/parts/doc";

#[tokio::test(flavor = "multi_thread")]
async fn what_koji_takes_is_taken_with_a_note() {
    let scene = two_arches().await;
    let of = |date: &str| made("", &DATED.replace("DATE", date), "data", "");
    let (build, accepted) = both(&scene, &of("monday"), &of("tuesday")).await;
    accepted.unwrap();
    assert_eq!(scene.packages(build).await, ["parts-1-1.src", "parts-data-1-1.noarch"]);
    let notes = scene.farm.store.build_note_list(build).await.unwrap();
    let note = "/usr/share/parts/doc of parts-data-1-1.noarch: content differs (x86_64, aarch64)";
    assert_eq!(notes, [note]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_architecture_alone_makes_is_taken() {
    let scene = two_arches().await;
    let of = |name: &str| made("", &DATED.replace("DATE", name), name, "");
    let (build, accepted) = both(&scene, &of("x64"), &of("aa64")).await;
    accepted.unwrap();
    let all = ["parts-1-1.src", "parts-aa64-1-1.noarch", "parts-x64-1-1.noarch"];
    assert_eq!(scene.packages(build).await, all);
    assert_eq!(scene.farm.store.build_note_list(build).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_koji_refuses_is_refused_with_the_remedy() {
    let scene = two_arches().await;
    let plain = || made("", DATED, "data", "");
    let more = "echo > %{buildroot}/usr/share/parts/lib64";
    let cases = [
        (made("", more, "data", ""), "/usr/share/parts/lib64 of parts-data-1-1.noarch"),
        (
            made("", &format!("{DATED}; chmod 755 %{{buildroot}}/usr/share/parts/doc"), "data", ""),
            "/usr/share/parts/doc of parts-data-1-1.noarch",
        ),
        (made("", DATED, "data", "Requires: lib64"), "requires `lib64` of parts-data-1-1.noarch"),
        (made("", DATED, "data", "URL: http://x"), "url of parts-data-1-1.noarch"),
        (
            made("", DATED, "data", "Requires(post): bash"),
            "requires `bash` of parts-data-1-1.noarch",
        ),
    ];
    for (other, what) in cases {
        let (build, refused) = both(&scene, &plain(), &other).await;
        let failure = refused.expect_err(what);
        assert_eq!(
            (failure.fault, failure.stage.as_str()),
            (Fault::Package, "accept"),
            "{failure}"
        );
        assert!(failure.message.contains(what), "{failure}");
        let remedy = "`noarch_may_differ = true` in [packages.parts]";
        assert!(failure.message.contains(remedy), "{failure}");
        assert!(scene.packages(build).await.is_empty());
    }

    let scene = Scene::with(&format!("{TWO}\npackages.parts.noarch_may_differ = true\n")).await;
    let (build, accepted) = both(&scene, &plain(), &made("", more, "data", "")).await;
    accepted.unwrap();
    assert_eq!(scene.packages(build).await.len(), 2);
    assert!(!scene.farm.store.build_note_list(build).await.unwrap().is_empty());
}

/// The source package has `ExclusiveArch: noarch x86_64`, and the worker reports rpm's answers for
/// `noarch`.
#[tokio::test(flavor = "multi_thread")]
async fn the_pass_for_noarch_is_a_task_of_its_own() {
    let scene = two_arches().await;
    let tags = "ExclusiveArch: noarch x86_64";
    let data = made(tags, DATED, "data", "");
    let doc = made(tags, DATED, "doc", "");
    let build = scene.build_everywhere("parts").await;
    let with = |names: &[&str], requires: &[&str]| Terms {
        predicts: names.iter().map(|name| (*name).to_owned()).collect(),
        requires: requires.iter().map(|name| (*name).to_owned()).collect(),
        exclusive: vec!["noarch".into(), "x86_64".into()],
        ..Terms::default()
    };
    let success = Success {
        predicts: vec!["parts-data".into()],
        terms: [
            ("aarch64".to_owned(), with(&["parts-data"], &["gcc(aarch-64)"])),
            ("noarch".into(), with(&["parts-data", "parts-doc"], &["sphinx"])),
        ]
        .into(),
        ..Success::default()
    };
    let srpm = [file(&data.source)];
    scene.report_on(build, (TaskKind::Srpm, None), &srpm, success).await.unwrap();
    let tasks = scene.farm.store.task_list(build).await.unwrap();
    let tasks: Vec<_> = tasks.iter().map(|task| (task.kind, task.arch)).collect();
    let x86_64 = Arch::X86_64;
    let planned = [TaskKind::Srpm, TaskKind::Build, TaskKind::Noarch].map(|kind| (kind, x86_64));
    assert_eq!(tasks, planned);
    let srpm = scene.farm.store.srpm_fetch(build).await.unwrap().unwrap();
    assert_eq!(srpm.requires_with("noarch"), ["sphinx"]);
    assert_eq!(srpm.requires_on(Arch::X86_64), srpm.requires, "neither sphinx nor aarch64's gcc");

    scene.report(build, TaskKind::Build, &[file(&data.binary)]).await.unwrap();
    assert!(scene.packages(build).await.is_empty(), "the pass is still to come");
    scene.report(build, TaskKind::Noarch, &[file(&doc.binary)]).await.unwrap();
    let all = ["parts-1-1.src", "parts-data-1-1.noarch", "parts-doc-1-1.noarch"];
    assert_eq!(scene.packages(build).await, all);
}
