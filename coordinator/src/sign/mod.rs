//! The sign stage: headers of accepted packages go to the signer, signatures come back and are
//! spliced into copies. The coordinator holds no key.
//!
//! The digest of the file is computed while its header is read, so that exactly the accepted
//! package is signed even if the blob was damaged since. A damaged blob delays its build only.
//!
//! Here are the stage and [`Signing`], which publishing uses, too; `client` is the connection.

mod client;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use parking_lot::Mutex;
use rpmfarm_core::signing::PROTOCOL;
use rpmfarm_core::statement::SignedAcceptance;
use rpmfarm_core::{BuildId, Sha256, Stage, Target, Timestamp};
use rpmfarm_proto::v1::SignHeaderRequest;
use rpmfarm_repodata::{Fragments, PackageFile};
use rpmfarm_rpmfile::{Certs, UnsignedPackage, inspect_hashed, verify_signature};
use tracing::Instrument as _;

pub use client::{SignerClient, logged};

use crate::blobs::{Blobs, FileStamp};
use crate::blocking;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pool_path::{href, href_of_signed};
use crate::store::{Build, FencedStore, Package, Signature, SignedPackage};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, KeyedTaskPool};

/// The beginning of the wait reason of a build that cannot be signed now.
const WAITS: &str = "not signed yet";

/// How many packages of one build are signed at once: enough to keep the signer's cores busy while
/// copies wait for the disk.
const AT_ONCE: usize = 24;

/// Signs the packages of accepted builds, several builds side by side.
#[derive(Clone)]
pub struct SignStage {
    /// Name the key of each target.
    pub targets: Targets,
    pub signing: Signing,
    /// Where the reason is shown why a build is not signed.
    pub waits: LocalWaitReasons,
    /// For the metric of how long it took.
    pub metrics: Metrics,
    /// Signs builds side by side.
    pub signatures: KeyedTaskPool<BuildId>,
    /// Those that wait for nothing but their publication.
    pub signed: SignedBuilds,
}

/// Builds that are signed, each with the key: a pass does not ask for them again. In memory only;
/// cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SignedBuilds(Arc<Mutex<HashMap<BuildId, String>>>);

impl SignedBuilds {
    fn contains(&self, build: BuildId, key: &str) -> bool {
        self.0.lock().get(&build).is_some_and(|signed_with| signed_with == key)
    }

    fn add(&self, build: BuildId, key: &str) {
        self.0.lock().insert(build, key.to_owned());
    }

    /// Forgets all but these.
    fn keep(&self, builds: &[Build]) {
        let builds: HashSet<BuildId> = builds.iter().map(|build| build.id).collect();
        self.0.lock().retain(|build, _| builds.contains(build));
    }
}

impl work::Stage for SignStage {
    const NAME: Stage = Stage::Sign;

    async fn pass(&self, store: &FencedStore, _now: Timestamp) -> anyhow::Result<()> {
        let builds = store.build_list_accepted().await?;
        self.signed.keep(&builds);
        let builds: Vec<Build> =
            builds.into_iter().filter(|build| !self.is_signed(build)).collect();
        let signed = self.find_signed(store, &builds).await?;
        for build in builds {
            if signed.contains(&build.id) {
                self.waits.clear_said(build.id, WAITS);
                continue;
            }
            let (stage, store) = (self.clone(), store.clone());
            let id = build.id;
            let span = tracing::info_span!("sign", build = build.id.0);
            let signing = async move {
                let signed = stage.sign_build(&store, &build).await;
                match &signed {
                    Ok(()) => stage.waits.clear_said(id, WAITS),
                    // Shown by `rpmfarm why`, and logged.
                    Err(error) => stage.waits.set(id, format!("{WAITS}: {error:#}")),
                }
                signed
            };
            self.signatures.spawn(id, signing.instrument(span));
        }
        Ok(())
    }
}

impl SignStage {
    fn is_signed(&self, build: &Build) -> bool {
        let target = self.targets.get(&build.target);
        target.is_ok_and(|target| self.signed.contains(build.id, &target.signing_key))
    }

    /// The builds whose packages are all signed, by one query for each target. A target that cannot
    /// be used is reported where its builds are signed.
    async fn find_signed(
        &self,
        store: &FencedStore,
        builds: &[Build],
    ) -> anyhow::Result<BTreeSet<BuildId>> {
        let mut by_target = BTreeMap::<&str, Vec<BuildId>>::new();
        for build in builds {
            by_target.entry(&build.target).or_default().push(build.id);
        }
        let mut signed = BTreeSet::new();
        for (name, ids) in by_target {
            let Ok(target) = self.targets.get(name) else { continue };
            let key = &target.signing_key;
            let packages = store.package_list_of_builds(name, &ids, key).await?;
            let is_signed =
                |rows: &Vec<SignedPackage>| rows.iter().all(|row| row.signature.is_some());
            for (build, _) in packages.iter().filter(|(_, rows)| is_signed(rows)) {
                self.signed.add(*build, key);
                signed.insert(*build);
            }
        }
        Ok(signed)
    }

    /// Signs the unsigned packages of a build. Earlier signatures stay, so a signer that dies half
    /// way costs only time.
    ///
    /// # Errors
    /// When the signer refuses or does not answer; then nothing is published.
    pub async fn sign_build(&self, store: &FencedStore, build: &Build) -> anyhow::Result<()> {
        let begun = self.signing.clock.instant();
        let target = self.targets.get(&build.target)?;
        let key = &target.signing_key;
        let packages = store.package_list_of_build(build.id, key).await?;
        let unsigned: Vec<Package> = packages
            .into_iter()
            .filter(|row| row.signature.is_none())
            .map(|row| row.package)
            .collect();
        if unsigned.is_empty() {
            self.signed.add(build.id, key);
            return Ok(());
        }
        let signed = self.signing.sign_all(store, &target, unsigned).await?;
        self.signed.add(build.id, key);
        self.metrics.worked(Stage::Sign.as_str(), self.signing.clock.instant() - begun);
        tracing::info!(build = build.id.0, packages = signed, "packages signed");
        Ok(())
    }
}

/// Signs packages, for the stages `sign` and `publish`. Cheap to clone.
#[derive(Clone)]
pub struct Signing {
    /// The packages, and their signed copies.
    pub blobs: Blobs,
    /// The connection to the signer.
    pub signer: SignerClient,
    /// The clock for the times of signatures.
    pub clock: Clock,
}

impl Signing {
    /// Signs packages with the key of their target and records the signatures; returns how many
    /// there were. A package that another key has signed before gets a path of its own among the
    /// published files: the older file stays where clients with older repodata find it.
    ///
    /// # Errors
    /// When the signer refuses or does not answer, or has no such key, or a blob is damaged.
    /// Signatures that were made before are recorded.
    pub async fn sign_all(
        &self,
        store: &FencedStore,
        target: &Target,
        packages: Vec<Package>,
    ) -> anyhow::Result<usize> {
        use futures_util::StreamExt as _;
        let key = &target.signing_key;
        let public = self.signer.public_key(key).await;
        let public =
            public.with_context(|| format!("signing_key `{key}` of target {}", target.name))?;
        let certs = Certs::from_armored(&public.armored)?;
        let digests: Vec<Sha256> = packages.iter().map(|package| package.digest).collect();
        let known = store.package_list_signed_otherwise(&digests, key).await?;
        let acceptances = store.signed_acceptance_list(&target.name, &digests).await?;
        let builds: BTreeSet<BuildId> = packages.iter().map(|package| package.build).collect();
        let all: Vec<anyhow::Result<SignedCopy>> = futures_util::stream::iter(packages)
            .map(|package| {
                let anew = known.contains(&package.digest);
                let acceptance = acceptances.get(&package.digest).cloned();
                self.sign(target, &certs, package, acceptance, anew)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut signed = Vec::new();
        let mut result = Ok(());
        for one in all {
            match one {
                Ok(one) => signed.push(one),
                Err(error) => result = result.and(Err(error)),
            }
        }
        let now = self.clock.time();
        let proofs: Vec<(Sha256, FileStamp)> =
            signed.iter().filter_map(SignedCopy::proof).collect();
        let signatures: Vec<(Sha256, Signature)> =
            signed.iter().map(|copy| (copy.unsigned, copy.signature)).collect();
        store.signature_insert(key, &signatures, &proofs, now).await?;
        store.tell_changed(builds);
        result.map(|()| signed.len())
    }

    async fn sign(
        &self,
        target: &Target,
        certs: &Certs,
        package: Package,
        acceptance: Option<SignedAcceptance>,
        anew: bool,
    ) -> anyhow::Result<SignedCopy> {
        let name = package.nevra.to_string();
        let signing = || format!("signing {name}");
        let (blobs, digest) = (self.blobs.clone(), package.digest);
        let unsigned = blocking::run(move || open(&blobs, digest)).await?;
        let unsigned = unsigned.with_context(signing)?;
        let header = unsigned.header().to_vec();
        let request = SignHeaderRequest {
            key: target.signing_key.clone(),
            nevra: name.clone(),
            header_digest: Sha256::compute(&header).hex(),
            header: header.into(),
            artifact_digest: digest.hex(),
            target: target.name.clone(),
            build: package.build.0.unsigned_abs(),
            acceptance: acceptance.as_ref().map(Into::into),
            protocol: PROTOCOL,
        };
        let answer = self.signer.sign_header(request).await.with_context(signing)?;
        let (blobs, certs) = (self.blobs.clone(), certs.clone());
        let now = self.clock.system();
        let splice =
            move || splice(&blobs, &certs, now, &package, unsigned, &answer.signature, anew);
        blocking::run(splice).await?.with_context(signing)
    }
}

/// A signed copy of a package, in the blob store.
struct SignedCopy {
    /// The package as it was accepted.
    unsigned: Sha256,
    signature: Signature,
    /// The properties of the copy's file when it was proved; `None` when another file with this
    /// content existed.
    stamp: Option<FileStamp>,
}

impl SignedCopy {
    fn proof(&self) -> Option<(Sha256, FileStamp)> {
        Some((self.signature.signed_digest, self.stamp?))
    }
}

/// Opens an accepted file, and proves that its content has not changed.
fn open(blobs: &Blobs, digest: Sha256) -> anyhow::Result<UnsignedPackage> {
    let path = blobs.path(digest);
    UnsignedPackage::open_proved(&path, digest).with_context(|| {
        format!(
            "the store is damaged: {} is not the file that was accepted; put it back from a \
             backup, or build a new release",
            path.display()
        )
    })
}

/// Makes the signed copy, proves it, and stores it with its repodata.
fn splice(
    blobs: &Blobs,
    certs: &Certs,
    now: SystemTime,
    package: &Package,
    unsigned: UnsignedPackage,
    signature: &[u8],
    anew: bool,
) -> anyhow::Result<SignedCopy> {
    let scratch = blobs.scratch()?;
    let copy = scratch.path().join(package.nevra.file_name());
    unsigned.splice(&copy, signature)?;
    verify_signature(&copy, certs, now)?;
    // The signature covers the header, which has the payload's digest, so this proves that the copy
    // has the content that was opened. The copy is read once, after its metadata are taken.
    let mut file = File::open(&copy)?;
    let stamp = FileStamp::from_metadata(&file.metadata()?);
    let (inspected, signed_digest) = inspect_hashed(&mut file)?;
    anyhow::ensure!(
        inspected.nevra == package.nevra,
        "the signed copy says it is {}",
        inspected.nevra
    );
    let signed_size = inspected.size;
    blobs.adopt(&copy, signed_digest)?;
    let stamp = blobs.stamp(signed_digest).filter(|stored| *stored == stamp);
    let href =
        if anew { href_of_signed(&package.nevra, signed_digest) } else { href(&package.nevra) };
    let file = PackageFile { digest: signed_digest, size: signed_size, href };
    let fragments = Fragments::of_rpm(&blobs.path(signed_digest), &file)?;
    let repodata = blobs.put(&fragments.to_bytes())?;
    let signature = Signature { signed_digest, signed_size, repodata };
    Ok(SignedCopy { unsigned: package.digest, signature, stamp })
}
