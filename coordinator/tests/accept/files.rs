//! Wrong files are refused, each with its error.

use rpmfarm_core::Fault;
use rpmfarm_core::task::TaskKind;

use crate::scene::{File, Scene, built, file};
use crate::support::query;

/// A case: the uploaded files, the fault, and the text of the refusal.
type Case = (&'static str, Vec<File>, Fault, &'static str);

fn changed(of: &File, change: impl FnOnce(&mut Vec<u8>)) -> Vec<File> {
    let (name, mut bytes) = of.clone();
    change(&mut bytes);
    vec![(name, bytes)]
}

async fn refuses(scene: &Scene, package: &str, srpm: Option<&File>, cases: Vec<Case>) {
    for (what, files, fault, says) in cases {
        let build = scene.build(package).await;
        let mut kind = TaskKind::Srpm;
        if let Some(srpm) = srpm {
            scene.report(build, kind, std::slice::from_ref(srpm)).await.unwrap();
            kind = TaskKind::Build;
        }
        let failure = scene.report(build, kind, &files).await.expect_err(what);
        assert_eq!(failure.fault, fault, "{what}: {failure}");
        assert_eq!(failure.stage.as_str(), "accept", "{what}: {failure}");
        assert!(failure.message.contains(says), "{what}: {failure}");
        assert!(scene.packages(build).await.is_empty(), "{what}: nothing of it is the farm's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_package_that_is_not_what_was_asked_for() {
    let scene = Scene::new().await;
    let made = built("hello", "Release: 1", "hi");
    let (source, binary) = (file(&made.source), file(&made.binary));
    let renamed = vec![("hello-2-1.src.rpm".to_owned(), source.1.clone())];
    let twice = vec![source.clone(), ("other-1-1.src.rpm".into(), source.1.clone())];
    let cases = vec![
        ("cut off", changed(&source, |all| all.truncate(all.len() - 7)), Fault::Worker, "bytes"),
        ("goes on", changed(&source, |all| all.extend(b"more")), Fault::Worker, "4 trailing bytes"),
        ("no RPM", changed(&source, |all| all[..4].fill(0)), Fault::Worker, "hello-1-1.src.rpm"),
        ("renamed", renamed, Fault::Worker, "expected a file named `hello-1-1.src.rpm`"),
        ("a binary package", vec![binary], Fault::Package, "is not a source package"),
        ("two", twice, Fault::Package, "expected one source package"),
        ("none", Vec::new(), Fault::Package, "expected one source package"),
    ];
    refuses(&scene, "hello", None, cases).await;
    let other = ("another package", vec![source], Fault::Package, "`bye` was requested");
    refuses(&scene, "bye", None, vec![other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_are_not_what_the_source_makes() {
    let scene = Scene::new().await;
    let made = built("hello", "Release: 1", "hi");
    let (source, binary) = (file(&made.source), file(&made.binary));
    let foreign = built("foreign", "Release: 1", "hi");
    let other_arch = built("hello", "Release: 1\n%define _target_cpu ppc64le", "hi");
    let other_arch = match query(&other_arch.binary, "%{arch}").as_str() {
        "ppc64le" => file(&other_arch.binary),
        // rpmbuild writes the architecture of this machine, so the header is changed there.
        arch => panic!("rpmbuild made {arch}"),
    };
    let renamed = vec![("hello-1-2.x86_64.rpm".to_owned(), binary.1.clone())];
    let twice = vec![binary.clone(), binary.clone()];
    let outside = vec![("../hello-1-1.x86_64.rpm".to_owned(), binary.1.clone())];
    let payload = |all: &mut Vec<u8>| {
        let at = all.len() - 20;
        all[at] ^= 1;
    };
    let cases = vec![
        ("cut off", changed(&binary, |all| all.truncate(all.len() - 7)), Fault::Worker, "bytes"),
        ("goes on", changed(&binary, |all| all.extend(b"more")), Fault::Worker, "4 trailing bytes"),
        ("a bit of the payload", changed(&binary, payload), Fault::Worker, "does not match"),
        ("renamed", renamed, Fault::Worker, "expected a file named `hello-1-1.x86_64.rpm`"),
        ("twice", twice, Fault::Worker, "two result files are named"),
        ("a path", outside, Fault::Worker, "../hello"),
        ("none", Vec::new(), Fault::Package, "is every %files empty?"),
        ("of another source", vec![file(&foreign.binary)], Fault::Package, "foreign-1-1.src.rpm"),
        ("for another machine", vec![other_arch], Fault::Package, "is not a package for x86_64"),
        ("a source package", vec![source.clone()], Fault::Package, "x86_64"),
    ];
    refuses(&scene, "hello", Some(&source), cases).await;

    let build = scene.build("hello").await;
    scene.srpm(build, &made).await.unwrap();
    scene.binary(build, &made).await.unwrap();
    assert_eq!(scene.packages(build).await, ["hello-1-1.src", "hello-1-1.x86_64"]);
}

/// Matching digests prove that rpmbuild made a file as it is: a refusal is then the package's
/// fault, after one try.
#[tokio::test(flavor = "multi_thread")]
async fn what_rpmbuild_wrote_is_the_packages() {
    let scene = Scene::new().await;
    let odd = built("hello", "Release: 1%{nowhere}", "hi");
    let build = scene.build("hello").await;
    let refused = scene.report(build, TaskKind::Srpm, &[file(&odd.source)]).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Package, "{refused}");
    for says in ["hello-1-1%{nowhere}.src.rpm: tag RELEASE", "the macro %{nowhere} is not defined"]
    {
        assert!(refused.message.contains(says), "{refused}");
    }

    // A file that is not whole is a worker's.
    let made = built("hello", "Release: 1", "hi");
    let cut = changed(&file(&made.source), |all| all.truncate(all.len() - 7));
    let build = scene.build("hello").await;
    let refused = scene.report(build, TaskKind::Srpm, &cut).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Worker, "{refused}");
    let says = "(it is damaged: its own digests do not match)";
    assert!(refused.message.ends_with(says), "{refused}");
}

/// Names and texts in another encoding are taken as they are.
#[tokio::test(flavor = "multi_thread")]
async fn file_names_that_are_not_utf8_are_taken() {
    let scene = Scene::new().await;
    let tags = "Release: 1\nBuildArch: noarch\n%global _invalid_encoding_terminates_build 0";
    let spec = crate::scene::spec("hello", tags, "hi");
    let spec = spec
        .replace("%files", "touch \"$(printf '%%{buildroot}/usr/share/hello/caf\\351')\"\n%files");
    let made = crate::support::build_spec(&spec.replace("%%{", "%{"), &[]);
    let build = scene.build("hello").await;
    scene.srpm(build, &made).await.unwrap();
    scene.binary(build, &made).await.unwrap();
    assert_eq!(scene.packages(build).await, ["hello-1-1.noarch", "hello-1-1.src"]);
}

#[tokio::test]
async fn a_source_package_with_another_file_is_the_workers_fault() {
    let scene = Scene::new().await;
    let (honest, other) =
        (built("hello", "Release: 1", "ours"), built("hello", "Release: 1", "evil"));
    scene.imports(&honest.source);
    let build = scene.build("hello").await;
    let failure = scene.srpm(build, &other).await.unwrap_err();
    assert_eq!((failure.fault, failure.stage.as_str()), (Fault::Worker, "accept"));
    let words = "`sample.spec` is not the file that was imported from dist-git";
    assert!(failure.message.contains(words), "{failure:?}");
    let again = scene.build("hello").await;
    scene.srpm(again, &honest).await.unwrap();
}

#[tokio::test]
async fn macros_left_in_dependencies_are_noted() {
    let scene = Scene::new().await;
    let tags = "Release: 1\nProvides: hello(%{nowhere})\nBuildArch: noarch";
    let package = built("hello", tags, "x");
    let build = scene.build("hello").await;
    scene.srpm(build, &package).await.unwrap();
    scene.binary(build, &package).await.unwrap();
    let notes = scene.farm.store.build_note_list(build).await.unwrap();
    let words = "Provides is `hello(%{nowhere})`: the macro %{nowhere} is not defined";
    assert!(notes.iter().any(|note| note.contains(words)), "{notes:?}");
}

#[tokio::test]
async fn a_dependency_nested_too_deep_is_the_packages_fault() {
    let scene = Scene::new().await;
    let deep = format!("{}a{}", "(".repeat(100), " or b)".repeat(100));
    let package = built("hello", &format!("Release: 1\nRequires: {deep}"), "x");
    let build = scene.build("hello").await;
    scene.srpm(build, &package).await.unwrap();
    let failure = scene.binary(build, &package).await.unwrap_err();
    assert_eq!(failure.fault, Fault::Package);
    assert!(failure.message.contains("has 65 levels of parentheses"), "{failure:?}");
}

/// The limits of a target count over all packages of a task; the error names the key of the limit.
#[tokio::test(flavor = "multi_thread")]
async fn packages_that_hold_too_much_unpacked() {
    let second =
        "\n%package more\nSummary: x\n%description more\nx\n%files more\n%dir /usr/share\n";
    let many =
        crate::support::build_spec(&(crate::scene::spec("many", "Release: 1", "x") + second), &[]);
    let rpms: Vec<File> = std::fs::read_dir(many.binary.parent().unwrap())
        .unwrap()
        .map(|entry| file(&entry.unwrap().path()))
        .collect();
    assert_eq!(rpms.len(), 2);
    let large = crate::scene::spec("large", "Release: 1", "x")
        .replace("%files", "truncate -s 3M %{buildroot}/usr/share/large/zeros\n%files");
    let large = crate::support::build_spec(&large, &[]);
    for (made, name, files, limit, says) in [
        (
            &many,
            "many",
            rpms.clone(),
            "limits.results_files = 2",
            "3 files, at most 2 are accepted (limit `results_files`)",
        ),
        (
            &large,
            "large",
            vec![file(&large.binary)],
            "limits.results_unpacked_mib = 2",
            "at most 2 are accepted (limit `results_unpacked_mib`)",
        ),
    ] {
        let scene = Scene::with(limit).await;
        let build = scene.build(name).await;
        scene.srpm(build, made).await.unwrap();
        let refused = scene.report(build, TaskKind::Build, &files).await.unwrap_err();
        assert_eq!(refused.fault, Fault::Package, "{refused}");
        assert!(refused.message.contains(says), "{refused}");
    }
    let scene = Scene::with("limits.results_files = 3\nlimits.results_unpacked_mib = 4").await;
    let build = scene.build("many").await;
    scene.srpm(build, &many).await.unwrap();
    scene.report(build, TaskKind::Build, &rpms).await.unwrap();
}
