//! The content of locks, and the errors when no lock can be made.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use rpmfarm_coordinator::resolve::{AgePolicy, FarmPackage, Requirements, ResolveError};
use rpmfarm_core::{Arch, Fault};

use crate::scene::{Scene, digest, names};

#[tokio::test]
async fn layers_share_what_they_can() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let requires: &[&[&str]] = &[
        &["pkgconfig(lib) >= 2", "rpmlib(CompressedFileNames) <= 3.0.4-1", "shell"],
        &["dynamic", "(manual if no-such)"],
    ];
    let lock = scene.resolve_layers(&resolver, &target, requires).await.unwrap();
    let expected = [
        &["rpm-4", "shell-5"][..],
        &["builder-1", "lib-3", "shell-5"],
        &["lib-devel-3"],
        &["compiler-12", "dynamic-1"],
    ];
    assert_eq!(names(&lock), expected);
    for package in lock.packages() {
        assert_eq!((package.origin.as_str(), package.source.as_str()), ("repo", "set"));
        let file = scene.www("repo").join(&package.location);
        assert_eq!((digest(&file), file.metadata().unwrap().len()), (package.digest, package.size));
    }

    // The same request without the second round has the same layers below, and no server is asked.
    scene.requests();
    let first = scene.resolve_layers(&resolver, &target, &requires[..1]).await.unwrap();
    assert_eq!(first.layer_ids(), lock.layer_ids()[..2]);
    let nothing = scene.resolve(&resolver, &target, &[]).await.unwrap();
    assert_eq!(nothing.layer_ids(), lock.layer_ids()[..1]);
    assert_eq!(scene.requests(), 0);

    // A lock does not depend on earlier requests, nor on the order of requirements.
    let other = scene.resolver();
    let reversed: Vec<&str> = requires[0].iter().rev().copied().collect();
    let again = scene.resolve(&other, &target, &reversed).await.unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn what_is_missing_is_said_in_one_line() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let error = scene.resolve(&resolver, &target, &["broken", "absent"]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Package);
    let line = error.to_string();
    assert!(line.contains("nothing provides `absent`, required by the build"), "{line}");
    assert!(line.contains("`nowhere >= 4`, required by broken-1-1.noarch"), "{line}");
    assert!(!line.contains('\n'));
    assert!(!error.details().is_empty());

    let error = scene.resolve(&resolver, &target, &["a >="]).await.unwrap_err();
    assert!(error.to_string().contains("`a >=` is not a requirement"), "{error}");
    assert_eq!(error.fault(), Fault::Package);

    let mut target = target;
    target.base.push("no-such-package".into());
    let error = scene.resolve(&resolver, &target, &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    let line = error.to_string();
    assert!(line.contains("target t on x86_64: its base root: nothing provides"), "{line}");
}

#[tokio::test]
async fn what_was_just_built_is_used_and_wins() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let before = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();

    scene.build("own", &[("compiler", "11", "Requires: lib"), ("fresh", "1", "")]);
    scene.accept("own");
    let lock = scene.resolve(&resolver, &target, &["compiler", "fresh"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["compiler-11", "fresh-1"]);
    let compiler = lock.packages().find(|p| p.nevra.name == "compiler").unwrap();
    assert_eq!((compiler.origin.as_str(), compiler.location.as_str()), ("farm", ""));
    assert!(scene.blobs.contains(compiler.digest));

    // As built by a coordinator that starts now.
    let other = scene.resolver();
    assert_eq!(scene.resolve(&other, &target, &["compiler", "fresh"]).await.unwrap(), lock);

    // New metadata upstream: the farm's packages are still there.
    scene.build("repo", &[("late", "1", "")]);
    scene.sign_packages("repo", "good");
    scene.index("repo", &[]);
    scene.sign_page("repo", "good");
    assert_eq!(scene.refresh(&resolver, &target, AgePolicy::Refuse).await, Ok(true));
    let lock = scene.resolve(&resolver, &target, &["compiler", "late"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["compiler-11", "late-1"]);

    scene.forget();
    let names_before = names(&before);
    let after = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&after), names_before);
    let error = scene.resolve(&resolver, &target, &["fresh"]).await.unwrap_err();
    assert!(matches!(error, ResolveError::Lock(_)), "{error}");
}

#[tokio::test]
async fn a_solver_gets_all_packages_once_and_then_what_has_changed() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["compiler-12"]);
    assert_eq!(scene.wholes(), 1);
    scene.build("own", &[("fresh", "1", "")]);
    scene.accept("own");
    scene.build("more", &[("compiler", "11", "Requires: fresh")]);
    scene.accept("more");
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["compiler-11", "fresh-1"]);
    scene.forget();
    let after = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&after)[2], ["compiler-12"]);
    // A package that was accepted again is the same.
    scene.accept("own");
    scene.accept("more");
    assert_eq!(scene.resolve(&resolver, &target, &["compiler"]).await.unwrap(), lock);
    assert_eq!(scene.wholes(), 0);
}

#[tokio::test]
async fn two_rows_of_one_checksum_keep_nothing_else_from_being_used() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    scene.build("own", &[("addon", "1", ""), ("fresh", "1", "")]);
    scene.accept("own");
    {
        // The same package once more, by another name: a row that a damaged database could have.
        let mut farm = scene.farm.packages.lock();
        let addon = farm.1.iter().find(|package| package.nevra.name == "addon").unwrap();
        let twin = FarmPackage { nevra: "twin-1-1.noarch".parse().unwrap(), ..addon.clone() };
        farm.1.push(twin);
    }
    let lock = scene.resolve(&resolver, &target, &["addon", "fresh"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["addon-1", "fresh-1"]);
    // Packages that are accepted later are visible, too, and the pool is not made again for them.
    scene.build("more", &[("later", "1", "")]);
    scene.accept("more");
    let lock = scene.resolve(&resolver, &target, &["addon", "later"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["addon-1", "later-1"]);
    // Without the first package, the second one keeps the name that the metadata give it: `addon`.
    {
        let mut farm = scene.farm.packages.lock();
        farm.0 += 1;
        farm.1.retain(|package| package.nevra.name != "addon");
    }
    let lock = scene.resolve(&resolver, &target, &["addon", "later"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["addon-1", "later-1"]);
}

/// The solver data that are kept.
fn solver_data(scene: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(scene.cache().join("solver")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn solver_data_are_made_once_and_again_when_they_are_damaged() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let lock = scene.resolve(&resolver, &target, &["lib-devel"]).await.unwrap();
    let made = solver_data(&scene);
    assert_eq!(made.len(), 1, "{:?}", made.keys());
    // Another target with the same repository has them, too; so has a coordinator that starts now.
    let mut other = target.clone();
    other.name = "other".into();
    let found = scene.resolve(&resolver, &other, &["lib-devel"]).await.unwrap();
    assert_eq!(found.layers, lock.layers);
    assert_eq!(solver_data(&scene), made);
    // Damaged files do no harm.
    for (path, bytes) in &made {
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    assert_eq!(scene.resolve(&scene.resolver(), &target, &["lib-devel"]).await.unwrap(), lock);
    assert_eq!(solver_data(&scene), made);
    // New metadata have their own.
    scene.build("repo", &[("late", "1", "")]);
    scene.sign_packages("repo", "good");
    scene.index("repo", &[]);
    scene.sign_page("repo", "good");
    assert_eq!(scene.refresh(&resolver, &target, AgePolicy::Refuse).await, Ok(true));
    scene.resolve(&resolver, &target, &["late"]).await.unwrap();
    assert_eq!(solver_data(&scene).len(), 2);
}

#[tokio::test]
async fn a_base_that_is_in_the_way_is_made_anew() {
    let scene = Scene::new().await;
    let (resolver, mut target) = (scene.resolver(), scene.target());
    target.base_from_farm.push("set".into());
    // The base takes the farm's old library; the build wants the new one.
    scene.build("own", &[("lib", "2", "")]);
    scene.accept("own");
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&lock)[1], ["builder-1", "lib-2", "shell-5"]);
    let lock = scene.resolve(&resolver, &target, &["lib-devel"]).await.unwrap();
    assert_eq!(lock.layers.len(), 1);
    assert_eq!(names(&lock)[1], ["builder-1", "lib-3", "lib-devel-3", "shell-5"]);
    // The error for a requirement that nothing provides does not mention the base root.
    let error = scene.resolve(&resolver, &target, &["lib-devel", "lib < 3"]).await.unwrap_err();
    assert!(error.to_string().contains("lib-3-1.noarch"), "{error}");
}

#[tokio::test]
async fn bootstrap_and_base_are_the_distributions() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let before = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    // Another rpm that provides a requirement of every root, and one that replaces a package.
    let own = [
        ("rpm", "99", ""),
        ("lib", "99", ""),
        ("evil", "1", "Provides: shell = 99\nProvides: builder = 99"),
    ];
    scene.build("own", &own);
    scene.accept("own");
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(lock.bootstrap, before.bootstrap);
    assert_eq!(lock.layers[0], before.layers[0]);
    // Requirements of a build are still fulfilled by the farm's packages, also on a base root that
    // was solved before.
    scene.build("more", &[("compiler", "11", "Requires: lib")]);
    scene.accept("more");
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(names(&lock)[2], ["compiler-11"]);
    assert_eq!(lock.layers[0], before.layers[0]);

    // The target may name a source package, or all of them.
    for word in ["set", "*"] {
        let mut target = target.clone();
        target.base_from_farm.push(word.into());
        let lock = scene.resolve(&resolver, &target, &[]).await.unwrap();
        assert_eq!(names(&lock)[0], ["rpm-99"], "{word}");
    }
    let mut other = target.clone();
    other.base_from_farm.push("other".into());
    assert_eq!(scene.resolve(&resolver, &other, &[]).await.unwrap().layers, before.layers[..1]);
}

#[tokio::test]
async fn a_base_takes_from_the_farm_what_nobody_else_has() {
    let scene = Scene::new().await;
    let (resolver, mut target) = (scene.resolver(), scene.target());
    target.base.push("release".into());
    let error = scene.resolve(&resolver, &target, &[]).await.unwrap_err();
    assert!(error.to_string().contains("`release`"), "{error}");
    scene.build(
        "own",
        &[
            ("release", "1", "Requires: release-data\nRequires: shell"),
            ("release-data", "1", ""),
            ("shell", "99", ""),
        ],
    );
    scene.accept("own");
    let lock = scene.resolve(&resolver, &target, &[]).await.unwrap();
    let expected = ["builder-1", "lib-3", "release-1", "release-data-1", "shell-5"];
    assert_eq!(names(&lock)[1], expected);
}

#[tokio::test]
async fn what_a_root_takes_from_the_farm_is_told() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let own = [
        ("compiler", "11", "Requires: lib"),
        ("cc", "1", "Provides: dynamic = 9"),
        ("fresh", "1", ""),
    ];
    scene.build("own", &own);
    scene.accept("own");
    let layers = vec![["compiler", "dynamic", "fresh"].map(str::to_owned).to_vec()];
    let wanted = Requirements { layers, ..Requirements::default() };
    let (arch, now) = (Arch::X86_64, SystemTime::now());
    let taken = resolver.taken(&target, arch, &scene.farm, wanted, now).await.unwrap();
    let replaced: Vec<String> = taken
        .iter()
        .map(|one| match &one.instead {
            Some((nevra, repository)) => format!("{} for {nevra} of {repository}", one.package),
            None => one.package.to_string(),
        })
        .collect();
    assert_eq!(
        replaced,
        [
            "cc-1-1.noarch for dynamic-1-1.noarch of repo",
            "compiler-11-1.noarch for compiler-12-1.noarch of repo",
            "fresh-1-1.noarch",
        ]
    );
}
