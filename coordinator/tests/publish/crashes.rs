//! A publisher that is killed at each of its steps: readers see the old or the new, and the next
//! one finishes the work and leaves nothing of the first behind.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpmfarm_coordinator::publish::{
    PublishStep, PublishedPackage, RepomdSignature, RepomdSigner, SignError,
};
use rpmfarm_core::signing::RepositoryId;

use crate::farm::{Farm, names_in};

const DIR: &str = "PUBLISH_TEST_DIR";
const KILL_AT: &str = "PUBLISH_TEST_KILL_AT";

fn packages(dir: &Path) -> Vec<PublishedPackage> {
    serde_json::from_slice(&fs::read(dir.join("packages.json")).unwrap()).unwrap()
}

/// The publisher that is killed; run in a process of its own by the test below.
#[tokio::test]
#[ignore = "it kills itself; the next test runs it"]
async fn victim() {
    let dir = std::env::var_os(DIR).expect("set by the test that runs this one");
    let kill_at = std::env::var(KILL_AT).unwrap();
    let dir = Path::new(&dir);
    let farm = Farm::open(dir);
    let publisher = farm.publisher().on_step(move |step| {
        if format!("{step:?}") == kill_at {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
    });
    publisher.publish(farm.request(&packages(dir)), &farm.signer).await.unwrap();
}

#[tokio::test]
async fn killed_at_any_step_readers_see_old_or_new() {
    for step in [
        PublishStep::Pooled,
        PublishStep::Written,
        PublishStep::Signed,
        PublishStep::Placed,
        PublishStep::Shown,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let farm = Farm::new(dir.path());
        let all = farm.packages(&["a", "b"]);
        fs::write(dir.path().join("packages.json"), serde_json::to_vec(&all).unwrap()).unwrap();
        let publisher = farm.publisher();
        publisher.publish(farm.request(&all[..1]), &farm.signer).await.unwrap();

        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashes::victim", "--ignored"])
            .env(DIR, dir.path())
            .env(KILL_AT, format!("{step:?}"))
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), Some(9), "{step:?}: {output:?}");

        let is_new = step == PublishStep::Shown;
        let seen: &[&str] = if is_new { &["a", "b"] } else { &["a"] };
        assert_eq!(names_in(&farm.repository("os")), seen, "{step:?}");
        let published = publisher.publish(farm.request(&all), &farm.signer).await.unwrap();
        assert_eq!((published.generation, published.is_new), (2, !is_new), "{step:?}");
        assert_eq!(names_in(&farm.repository("os")), ["a", "b"], "{step:?}");
        assert_eq!(generations(&farm), ["1", "2"], "{step:?}");
    }
}

struct Refuses;

impl RepomdSigner for Refuses {
    async fn sign(&self, _: &RepositoryId, _: &[u8]) -> Result<RepomdSignature, SignError> {
        Err("the signer is gone".into())
    }
}

#[tokio::test]
async fn without_a_signature_nothing_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b"]);
    let publisher = farm.publisher();
    publisher.publish(farm.request(&packages[..1]), &farm.signer).await.unwrap();
    let error = publisher.publish(farm.request(&packages), &Refuses).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("lab/testing/x86_64/os"), "{error}");
    assert!(error.contains("the signer is gone"), "{error}");
    assert_eq!(names_in(&farm.repository("os")), ["a"]);
    assert_eq!(generations(&farm), ["1"]);
}

fn generations(farm: &Farm) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(farm.channel().join(".generations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
