//! Packages of external repositories on their way into the blob store.

use std::fs;
use std::time::SystemTime;

use rpmfarm_core::target::Target;
use rpmfarm_core::{Lock, Nevra};

use crate::scene::{Fault, Scene, digest};

async fn fetch(scene: &Scene, target: &Target, lock: &Lock) -> Result<(), String> {
    let result = scene.resolver().fetch(target, lock, SystemTime::now()).await;
    result.map_err(|error| error.to_string())
}

/// A lock of everything that `builder` and `lib-devel` need.
async fn lock(scene: &Scene, target: &Target) -> Lock {
    scene.resolve(&scene.resolver(), target, &["lib-devel"]).await.unwrap()
}

#[tokio::test]
async fn packages_come_once_and_stay() {
    let scene = Scene::new().await;
    let target = scene.target();
    let lock = lock(&scene, &target).await;
    scene.requests();
    scene.faults.lock().push((".rpm", Fault::Unavailable(2)));
    let (resolver, now) = (scene.resolver(), SystemTime::now());
    let (a, b) =
        tokio::join!(resolver.fetch(&target, &lock, now), resolver.fetch(&target, &lock, now));
    a.and(b).unwrap();
    for package in lock.packages() {
        assert_eq!(scene.blobs.verify(package.digest).unwrap(), package.size);
    }
    let different: std::collections::HashSet<_> = lock.packages().map(|p| p.digest).collect();
    assert_eq!(scene.requests(), different.len() + 2, "each once, and two that failed first");

    // Stored packages do not need their repository any more.
    scene.stop();
    fetch(&scene, &target, &lock).await.unwrap();
    fetch(&scene, &scene.other_target(), &lock).await.unwrap();
}

#[tokio::test]
async fn changed_cut_and_missing_packages_are_refused() {
    let scene = Scene::new().await;
    let target = scene.target();
    let lock = lock(&scene, &target).await;
    let path = scene.rpms("repo").into_iter().find(|p| p.to_string_lossy().contains("lib-devel"));
    let path = path.unwrap();
    let good = fs::read(&path).unwrap();

    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, &bad).unwrap();
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains("lib-devel-3-1.noarch of repository `repo`: http://"), "{error}");

    fs::write(&path, &good[..good.len() - 9]).unwrap();
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains(&format!("expected {} bytes, found", good.len())), "{error}");

    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains(&format!("longer than {} bytes", good.len())), "{error}");

    fs::remove_file(&path).unwrap();
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains("the server answered 404"), "{error}");
    assert!(!scene.blobs.contains(digest_of(&lock, "lib-devel")));

    fs::write(&path, &good).unwrap();
    fetch(&scene, &target, &lock).await.unwrap();
    assert_eq!(digest(&path), digest_of(&lock, "lib-devel"));
}

fn digest_of(lock: &Lock, name: &str) -> rpmfarm_core::Sha256 {
    lock.packages().find(|package| package.nevra.name == name).unwrap().digest
}

#[tokio::test]
async fn unsigned_and_strange_signatures_are_refused() {
    let scene = Scene::new().await;
    scene.key("evil");
    // The metadata are correct, but their packages are unsigned, or signed by somebody else.
    scene.build("repo", &[("lib", "4", "")]);
    scene.build("repo", &[("lib-devel", "5", "")]);
    let sign_again = |scene: &Scene| {
        scene.index("repo", &[]);
        scene.sign_page("repo", "good");
    };
    sign_again(&scene);
    let target = scene.target();
    let error = fetch(&scene, &target, &lock(&scene, &target).await).await.unwrap_err();
    assert!(error.contains("not signed"), "{error}");

    scene.sign_packages("repo", "evil");
    sign_again(&scene);
    fs::remove_dir_all(scene.cache()).unwrap();
    let error = fetch(&scene, &target, &lock(&scene, &target).await).await.unwrap_err();
    assert!(error.contains("signature by key"), "{error}");

    // A repository that need not be signed.
    let target = scene
        .target_of(&[("repo", "gpgcheck = false\nrepo_gpgcheck = true\nkeys = [\"good.asc\"]")]);
    fetch(&scene, &target, &lock(&scene, &target).await).await.unwrap();
}

#[tokio::test]
async fn a_package_under_another_name_is_refused() {
    let scene = Scene::new().await;
    let target = scene.target();
    let mut lock = lock(&scene, &target).await;
    let mut packages = lock.bootstrap.packages().to_vec();
    packages[0].nevra = "rpm-9-1.noarch".parse::<Nevra>().unwrap();
    lock.bootstrap = rpmfarm_core::lock::Layer::new(packages);
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains("rpm-9-1.noarch of repository"), "{error}");
    assert!(error.contains("it is rpm-4-1.noarch"), "{error}");
}

#[tokio::test]
async fn a_package_that_no_one_has_is_named() {
    let scene = Scene::new().await;
    let target = scene.target();
    let lock = lock(&scene, &target).await;
    let error = fetch(&scene, &scene.other_target(), &lock).await.unwrap_err();
    assert!(error.contains("the target no longer has this repository"), "{error}");

    scene.build("own", &[("fresh", "1", "")]);
    scene.accept("own");
    let lock = scene.resolve(&scene.resolver(), &target, &["fresh"]).await.unwrap();
    fs::remove_file(scene.blobs.path(digest_of(&lock, "fresh"))).unwrap();
    let error = fetch(&scene, &target, &lock).await.unwrap_err();
    assert!(error.contains("was built here, so it cannot be fetched"), "{error}");
}
