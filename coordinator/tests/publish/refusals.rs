//! Content that must never be shown to clients, each with an error that names the package.

use std::fs;

use rpmfarm_coordinator::publish::{PublishRequest, PublishedPackage};
use rpmfarm_core::{Arch, Sha256};

use crate::farm::{Farm, Gpg, Page, names_in, rpmbuild};

/// Makes a request that must be refused, and returns the reason. The shown generation stays.
async fn refused(farm: &Farm, request: PublishRequest) -> String {
    let error = farm.publisher().publish(request, &farm.signer).await.unwrap_err().to_string();
    assert_eq!(names_in(&farm.repository("os")), ["good"], "{error}");
    error
}

async fn farm(dir: &std::path::Path) -> (Farm, Vec<PublishedPackage>) {
    let farm = Farm::new(dir);
    let packages = farm.packages(&["good", "other", "native.x86_64"]);
    let request = farm.request(&packages[..1]);
    farm.publisher().publish(request, &farm.signer).await.unwrap();
    (farm, packages)
}

fn with(good: &[PublishedPackage], more: PublishedPackage) -> Vec<PublishedPackage> {
    [&good[..1], &[more]].concat()
}

#[tokio::test]
async fn files_that_are_gone_changed_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let blob = farm.blobs.path(packages[1].digest);
    let request = || farm.request(&packages[..2]);
    let whole = fs::read(&blob).unwrap();

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&blob, &flipped).unwrap();
    let error = refused(&farm, request()).await;
    assert!(error.starts_with("other-1-1.noarch: its file has sha256 "), "{error}");
    assert!(error.contains(&Sha256::compute(&flipped).hex()), "{error}");

    fs::write(&blob, &whole[..whole.len() - 1]).unwrap();
    let error = refused(&farm, request()).await;
    assert!(error.contains(&format!("{} bytes instead of {}", whole.len() - 1, whole.len())));

    fs::remove_file(&blob).unwrap();
    let error = refused(&farm, request()).await;
    assert!(error.starts_with("other-1-1.noarch: its file is gone"), "{error}");
}

#[tokio::test]
async fn files_that_rot_in_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let pooled = farm.repos().join("lab/pool/noarch/g/good-1-1.noarch.rpm");
    let mut bytes = fs::read(&pooled).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&pooled, &bytes).unwrap();
    let request = PublishRequest { prove_all: true, ..farm.request(&packages[..2]) };
    let error = farm.publisher().publish(request, &farm.signer).await.unwrap_err().to_string();
    assert!(error.starts_with("good-1-1.noarch: its file has sha256 "), "{error}");
    // The same is found where nothing is new.
    let request = PublishRequest { prove_all: true, ..farm.request(&packages[..1]) };
    assert!(farm.publisher().publish(request, &farm.signer).await.is_err());
    fs::remove_file(&pooled).unwrap();
    let request = farm.request(&packages[..2]);
    let error = farm.publisher().publish(request, &farm.signer).await.unwrap_err().to_string();
    assert!(error.starts_with("good-1-1.noarch: its file is gone"), "{error}");
}

#[tokio::test]
async fn signatures_of_nobody_or_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let rpms = rpmbuild(dir.path(), &["unsigned"]);
    let request = farm.request(&with(&packages, farm.admit(&rpms[0])));
    let error = refused(&farm, request).await;
    assert!(error.starts_with("unsigned-1-1.noarch: its signature"), "{error}");

    let stranger = Gpg::generate(&dir.path().join("stranger"));
    let rpms = rpmbuild(dir.path(), &["strange"]);
    stranger.rpmsign(&rpms);
    let request = farm.request(&with(&packages, farm.admit(&rpms[0])));
    let error = refused(&farm, request).await;
    assert!(error.starts_with("strange-1-1.noarch: its signature"), "{error}");
    assert!(error.contains("key of lab"), "{error}");

    // repomd.xml signed by a key that is not the target's.
    let request = farm.request(&packages[..2]);
    let error = farm.publisher().publish(request, &stranger).await.unwrap_err().to_string();
    assert!(error.starts_with("repomd.xml of lab/testing/x86_64/os was not signed"), "{error}");

    let request = PublishRequest { public_key: "no key".into(), ..farm.request(&packages[..2]) };
    let error = refused(&farm, request).await;
    assert!(error.starts_with("the public key of lab cannot be used"), "{error}");
}

#[tokio::test]
async fn packages_that_are_called_otherwise_or_described_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let renamed = dir.path().join("better-1-1.noarch.rpm");
    fs::copy(farm.blobs.path(packages[1].digest), &renamed).unwrap();
    let request = farm.request(&with(&packages, farm.admit(&renamed)));
    let error = refused(&farm, request).await;
    assert_eq!(error, "better-1-1.noarch: its header says that it is other-1-1.noarch");

    let described = PublishedPackage { repodata: packages[0].repodata, ..packages[1].clone() };
    let request = farm.request(&with(&packages, described));
    let error = refused(&farm, request).await;
    assert!(error.starts_with("other-1-1.noarch: its repodata"), "{error}");
}

#[tokio::test]
async fn packages_of_other_architectures_and_names_that_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let native = packages.iter().find(|p| p.nevra.arch == "x86_64").unwrap().clone();
    let mut request = farm.request(&with(&packages, native));
    request.arches = vec![Arch::Aarch64, Arch::Ppc64le];
    let error = refused(&farm, request).await;
    assert!(error.starts_with("native-1-1.x86_64: its architecture"), "{error}");
    assert!(error.contains("(aarch64, ppc64le)"), "{error}");

    // The same name with another content, as a rebuild without a new release makes it.
    let rpms = rpmbuild(dir.path(), &["good", "more"]);
    farm.signer.rpmsign(&rpms[..1]);
    let again = farm.admit(&rpms[0]);
    assert_ne!(again.digest, packages[0].digest);
    let error = refused(&farm, farm.request(std::slice::from_ref(&again))).await;
    assert!(error.starts_with("good-1-1.noarch: its file has"), "{error}");
    assert!(error.contains("pool/noarch/g/good-1-1.noarch.rpm"), "{error}");
    let error = refused(&farm, farm.request(&with(&packages, again))).await;
    assert!(error.contains("two packages of one request"), "{error}");
}

#[tokio::test]
async fn names_that_would_lead_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    for (target, channel) in [("..", "testing"), ("lab", "../../x"), ("lab", "pool"), ("", "")] {
        let request = PublishRequest {
            target: target.into(),
            channel: channel.into(),
            ..farm.request(&packages[..1])
        };
        let error = refused(&farm, request).await;
        assert!(error.contains("cannot be the name of"), "{error}");
    }
}

/// A change of a file that its file system does not show is noticed when the file is read
/// (docs/decisions/0029).
#[tokio::test]
async fn a_proof_that_is_kept_spares_reading_the_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (farm, packages) = farm(dir.path()).await;
    let proved = |package: PublishedPackage| {
        let stamp = farm.blobs.stamp(package.digest).expect("it is stored");
        PublishedPackage { proved: Some(stamp), ..package }
    };
    let other = proved(packages[1].clone());
    let blob = farm.blobs.path(other.digest);
    let before = fs::metadata(&blob).unwrap().modified().unwrap();
    let mut flipped = fs::read(&blob).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&blob, &flipped).unwrap();
    let error = refused(&farm, farm.request(&with(&packages, other.clone()))).await;
    assert!(error.starts_with("other-1-1.noarch: its file has sha256 "), "{error}");

    let rpms = rpmbuild(dir.path(), &["unsigned"]);
    let unsigned = proved(farm.admit(&rpms[0]));
    let error = refused(&farm, farm.request(&with(&packages, unsigned))).await;
    assert!(error.starts_with("unsigned-1-1.noarch: its signature"), "{error}");

    // Somebody gives the file the time that it had.
    fs::File::options().write(true).open(&blob).unwrap().set_modified(before).unwrap();
    let request = farm.request(&with(&packages, other));
    let all = PublishRequest { prove_all: true, ..request.clone() };
    let error = refused(&farm, all).await;
    assert!(error.starts_with("other-1-1.noarch: its file has sha256 "), "{error}");
    farm.publisher().publish(request, &farm.signer).await.unwrap();
    let error = Page::read(&farm.repository("os")).unwrap().follow().unwrap_err();
    assert!(error.ends_with("is not what is said of it"), "a client refuses it: {error}");
}
