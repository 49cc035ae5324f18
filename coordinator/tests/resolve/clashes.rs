//! Roots that rpm would refuse are found before a worker gets them. rpm itself is the reference.

use std::process::Command;
use std::time::SystemTime;

use rpmfarm_coordinator::resolve::RootError;
use rpmfarm_core::{Fault, Lock};

use crate::scene::{Scene, UPSTREAM};

/// Packages that all have `/usr/share/thing` or a directory of that name, with different
/// attributes.
const FILES: &[(&str, &str, &str)] = &[
    ("one", "echo 1 > %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("two", "echo 2 > %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("same", "echo 1 > %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("mode", "echo 1 > %{buildroot}/usr/share/thing", "%attr(0600,-,-) /usr/share/thing"),
    ("owner", "echo 1 > %{buildroot}/usr/share/thing", "%attr(-,daemon,-) /usr/share/thing"),
    ("config", "echo 3 > %{buildroot}/usr/share/thing", "%config(noreplace) /usr/share/thing"),
    ("ghost", "echo 4 > %{buildroot}/usr/share/thing", "%ghost /usr/share/thing"),
    ("link", "ln -s other %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("link-same", "ln -s other %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("link-else", "ln -s else %{buildroot}/usr/share/thing", "/usr/share/thing"),
    ("directory", "mkdir %{buildroot}/usr/share/thing", "%dir /usr/share/thing"),
    ("directory-same", "mkdir %{buildroot}/usr/share/thing", "%dir /usr/share/thing"),
    (
        "directory-mode",
        "mkdir %{buildroot}/usr/share/thing",
        "%dir %attr(0700,-,-) /usr/share/thing",
    ),
];

async fn scene() -> Scene {
    let scene = Scene::empty().await;
    scene.build("repo", UPSTREAM);
    for (name, install, files) in FILES {
        scene.build_spec(
            "repo",
            &format!(
                "Name: {name}\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
                 %description\nd\n%install\nmkdir -p %{{buildroot}}/usr/share\n{install}\n%files\n{files}\n"
            ),
        );
    }
    scene.index("repo", &[]);
    scene
}

/// Whether rpm refuses to install two packages together; nothing is installed.
fn rpm_refuses(scene: &Scene, pair: [&str; 2]) -> bool {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| scene.www("repo").join(format!("noarch/{name}-1-1.noarch.rpm"));
    let output = Command::new("rpm")
        .args(["--test", "-i", "--nodeps", "--root"])
        .arg(root.path())
        .args(pair.map(file))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let conflict = errors.contains("conflicts between attempted installs");
    assert!(conflict || output.status.success(), "{pair:?}: {errors}");
    conflict
}

#[tokio::test]
async fn conflicts_are_those_of_rpm() {
    let scene = scene().await;
    let (resolver, target) = (scene.resolver(), scene.unsigned_target());
    let mut conflicts = 0;
    for (number, (first, ..)) in FILES.iter().enumerate() {
        for (second, ..) in &FILES[number + 1..] {
            let lock = scene.resolve(&resolver, &target, &[first, second]).await.unwrap();
            resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();
            let found = resolver.check_root(&target, &lock).await;
            let refuses = rpm_refuses(&scene, [first, second]);
            conflicts += usize::from(refuses);
            assert_eq!(found.is_err(), refuses, "{first} {second}: {found:?}");
            if let Err(problem) = found {
                let text = problem.to_string();
                assert_eq!(problem.fault(), Fault::Package);
                for part in [*first, *second, "/usr/share/thing"] {
                    assert!(text.contains(part), "{text}");
                }
            }
        }
    }
    assert!(conflicts > 20, "{conflicts}");
}

#[tokio::test]
async fn a_conflict_is_found_across_layers_and_again() {
    let scene = scene().await;
    let (resolver, target) = (scene.resolver(), scene.unsigned_target());
    let check = async |lock: &Lock| {
        resolver.fetch(&target, lock, SystemTime::now()).await.unwrap();
        resolver.check_root(&target, lock).await
    };
    let good = scene.resolve_layers(&resolver, &target, &[&["one"], &["same"]]).await.unwrap();
    let bad = scene.resolve_layers(&resolver, &target, &[&["one"], &["two"]]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(check(&good).await, Ok(()));
        let problem = check(&bad).await.unwrap_err();
        let RootError::Conflict { first, second, path, in_base: false } = problem else {
            panic!("{problem}");
        };
        assert_eq!((first.as_str(), second.as_str()), ("one-1-1.noarch", "two-1-1.noarch"));
        assert_eq!(path, "/usr/share/thing");
    }
    let mut target = target.clone();
    target.base.extend(["one".to_owned(), "two".to_owned()]);
    let lock = scene.resolve(&resolver, &target, &[]).await.unwrap();
    resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();
    let problem = resolver.check_root(&target, &lock).await.unwrap_err();
    assert_eq!(problem.fault(), Fault::Farm);
}

#[tokio::test]
async fn packages_of_modules_need_modules() {
    let scene = Scene::empty().await;
    scene.build("repo", UPSTREAM);
    scene.build("repo", &[("modular", "1", "ModularityLabel: m:1:2:c")]);
    scene.index("repo", &[]);
    let (resolver, mut target) = (scene.resolver(), scene.unsigned_target());
    let lock = scene.resolve(&resolver, &target, &["modular"]).await.unwrap();
    resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();
    let problem = resolver.check_root(&target, &lock).await.unwrap_err();
    assert!(problem.to_string().contains("is of the module m:1:2:c"), "{problem}");
    assert_eq!(problem.fault(), Fault::Farm);
    target.repositories[0].module_hotfixes = true;
    assert_eq!(resolver.check_root(&target, &lock).await, Ok(()));
}
