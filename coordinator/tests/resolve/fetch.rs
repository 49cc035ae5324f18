//! Packages of external repositories on their way into the blob store.

use std::fs;
use std::time::SystemTime;

use rpmfarm_core::target::Target;
use rpmfarm_core::{Lock, Nevra};

use crate::world::{Fault, World, digest};

async fn fetch(world: &World, target: &Target, lock: &Lock) -> Result<(), String> {
    let result = world.resolver().fetch(target, lock, SystemTime::now()).await;
    result.map_err(|error| error.to_string())
}

/// A lock of everything that `builder` and `lib-devel` need.
async fn lock(world: &World, target: &Target) -> Lock {
    world.resolve(&world.resolver(), target, &["lib-devel"]).await.unwrap()
}

#[tokio::test]
async fn packages_come_once_and_stay() {
    let world = World::new().await;
    let target = world.target();
    let lock = lock(&world, &target).await;
    world.requests();
    world.faults.lock().unwrap().push((".rpm", Fault::Unavailable(2)));
    let (resolver, now) = (world.resolver(), SystemTime::now());
    let (a, b) =
        tokio::join!(resolver.fetch(&target, &lock, now), resolver.fetch(&target, &lock, now));
    a.and(b).unwrap();
    for package in lock.packages() {
        assert_eq!(world.blobs.verify(package.digest).unwrap(), package.size);
    }
    let different: std::collections::HashSet<_> = lock.packages().map(|p| p.digest).collect();
    assert_eq!(world.requests(), different.len() + 2, "each once, and two that failed first");

    // What is kept does not need its repository any more.
    world.stop();
    fetch(&world, &target, &lock).await.unwrap();
    fetch(&world, &world.other_target(), &lock).await.unwrap();
}

#[tokio::test]
async fn changed_cut_and_missing_packages_are_refused() {
    let world = World::new().await;
    let target = world.target();
    let lock = lock(&world, &target).await;
    let path = world.rpms("repo").into_iter().find(|p| p.to_string_lossy().contains("lib-devel"));
    let path = path.unwrap();
    let good = fs::read(&path).unwrap();

    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, &bad).unwrap();
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains("lib-devel-3-1.noarch of repository `repo`: http://"), "{error}");

    fs::write(&path, &good[..good.len() - 9]).unwrap();
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains(&format!("expected {} bytes, found", good.len())), "{error}");

    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains(&format!("longer than {} bytes", good.len())), "{error}");

    fs::remove_file(&path).unwrap();
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains("the server answered 404"), "{error}");
    assert!(!world.blobs.contains(digest_of(&lock, "lib-devel")));

    fs::write(&path, &good).unwrap();
    fetch(&world, &target, &lock).await.unwrap();
    assert_eq!(digest(&path), digest_of(&lock, "lib-devel"));
}

fn digest_of(lock: &Lock, name: &str) -> rpmfarm_core::Sha256 {
    lock.packages().find(|package| package.nevra.name == name).unwrap().digest
}

#[tokio::test]
async fn unsigned_and_strange_signatures_are_refused() {
    let world = World::new().await;
    world.key("evil");
    // Metadata are good; what they name is not signed, or by someone else.
    world.build("repo", &[("lib", "4", "")]);
    world.build("repo", &[("lib-devel", "5", "")]);
    let sign_again = |world: &World| {
        world.index("repo", &[]);
        world.sign_page("repo", "good");
    };
    sign_again(&world);
    let target = world.target();
    let error = fetch(&world, &target, &lock(&world, &target).await).await.unwrap_err();
    assert!(error.contains("not signed"), "{error}");

    world.sign_packages("repo", "evil");
    sign_again(&world);
    fs::remove_dir_all(world.cache()).unwrap();
    let error = fetch(&world, &target, &lock(&world, &target).await).await.unwrap_err();
    assert!(error.contains("signature by key"), "{error}");

    // A repository that need not be signed.
    let target = world
        .target_of(&[("repo", "gpgcheck = false\nrepo_gpgcheck = true\nkeys = [\"good.asc\"]")]);
    fetch(&world, &target, &lock(&world, &target).await).await.unwrap();
}

#[tokio::test]
async fn a_package_under_another_name_is_refused() {
    let world = World::new().await;
    let target = world.target();
    let mut lock = lock(&world, &target).await;
    let mut packages = lock.bootstrap.packages().to_vec();
    packages[0].nevra = "rpm-9-1.noarch".parse::<Nevra>().unwrap();
    lock.bootstrap = rpmfarm_core::lock::Layer::new(packages);
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains("rpm-9-1.noarch of repository"), "{error}");
    assert!(error.contains("it is rpm-4-1.noarch"), "{error}");
}

#[tokio::test]
async fn a_package_that_no_one_has_is_named() {
    let world = World::new().await;
    let target = world.target();
    let lock = lock(&world, &target).await;
    let error = fetch(&world, &world.other_target(), &lock).await.unwrap_err();
    assert!(error.contains("the target has no such repository any more"), "{error}");

    world.build("own", &[("fresh", "1", "")]);
    world.accept("own");
    let lock = world.resolve(&world.resolver(), &target, &["fresh"]).await.unwrap();
    fs::remove_file(world.blobs.path(digest_of(&lock, "fresh"))).unwrap();
    let error = fetch(&world, &target, &lock).await.unwrap_err();
    assert!(error.contains("was built here, so it cannot be fetched"), "{error}");
}
