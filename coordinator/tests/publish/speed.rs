//! The cost of one more package in a large repository, compared with createrepo_c in the same run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpm::signature::pgp::Signer;
use rpmfarm_coordinator::publish::{RepomdSignature, RepomdSigner, SignError};
use rpmfarm_core::signing::RepositoryId;

use crate::farm::{Farm, Gpg, names_in, rpmbuild, run};

const PACKAGES: usize = 10_000;
const PER_SPEC: usize = 500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes 10,000 packages, which takes minutes; measure with --release"]
async fn one_more_package_costs_a_tenth_of_createrepo() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let signer = Signer::from_asc(&farm.signer.secret_key()).unwrap();
    let peer = dir.path().join("peer");
    fs::create_dir(&peer).unwrap();
    let mut packages = Vec::new();
    for start in (0..PACKAGES).step_by(PER_SPEC) {
        let names: Vec<String> = (start..start + PER_SPEC).map(|n| format!("p{n:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for rpm in rpmbuild(dir.path(), &names) {
            if rpm.to_str().unwrap().ends_with(".src.rpm") {
                continue;
            }
            rpm::Package::resign_in_place(&rpm, &signer).unwrap();
            packages.push(farm.admit(&rpm));
            fs::rename(&rpm, peer.join(rpm.file_name().unwrap())).unwrap();
        }
    }
    let added = farm.packages(&["q1", "q2", "q3"]);
    let publisher = farm.publisher();
    let first = time(async {
        publisher.publish(farm.request(&packages), &farm.signer).await.unwrap();
    })
    .await;
    let begin = Instant::now();
    run(&mut createrepo(&peer));
    println!("{PACKAGES} packages: {first:?}, createrepo_c {:?}", begin.elapsed());

    // The best of three each: others use the machine, too.
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for package in &added[..3] {
        packages.push(package.clone());
        let request = farm.request(&packages);
        let signer = Timed { signer: &farm.signer, spent: Mutex::default() };
        let publish = async {
            publisher.publish(request, &signer).await.unwrap();
        };
        ours = ours.min(time(publish).await - *signer.spent.lock());
        let file = peer.join(package.nevra.file_name());
        fs::copy(farm.blobs.path(package.digest), file).unwrap();
        let begin = Instant::now();
        run(createrepo(&peer).arg("--update"));
        theirs = theirs.min(begin.elapsed());
    }
    assert_eq!(names_in(&farm.repository("os")).len(), PACKAGES + 3);
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("one more: {ours:?}, createrepo_c --update {theirs:?}, ratio {ratio:.3}");
    assert!(ratio <= 0.1, "{ours:?} is more than a tenth of {theirs:?}");
}

fn createrepo(dir: &Path) -> Command {
    let mut command = Command::new("createrepo_c");
    command.args(["--quiet", "--no-database"]).arg(dir);
    command
}

/// createrepo_c signs nothing, so the time of gpg does not count.
struct Timed<'a> {
    signer: &'a Gpg,
    spent: Mutex<Duration>,
}

impl RepomdSigner for Timed<'_> {
    async fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> Result<RepomdSignature, SignError> {
        let begin = Instant::now();
        let signature = self.signer.sign(place, repomd).await;
        *self.spent.lock() += begin.elapsed();
        signature
    }
}

async fn time(work: impl Future<Output = ()>) -> Duration {
    let begin = Instant::now();
    work.await;
    begin.elapsed()
}
