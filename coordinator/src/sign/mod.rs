//! The stage that has accepted packages signed: headers go to the signer, signatures come back
//! and are spliced into copies. The coordinator holds no key.

mod client;

use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use rpmfarm_core::{BuildId, Sha256};
use rpmfarm_proto::v1::SignHeaderRequest;
use rpmfarm_repodata::{Fragments, PackageFile};
use rpmfarm_rpmfile::{Certs, header_to_sign, inspect, splice_signature, verify_signature};
use tracing::Instrument as _;

pub use client::SignerClient;

use crate::blobs::Blobs;
use crate::clock::now_us;
use crate::farm::Farm;
use crate::store::{Build, Package, Signature};
use crate::work::Crew;

/// Packages of one build that are signed at once: enough that the signer's cores have work while
/// copies wait for the disk.
const AT_ONCE: usize = 24;

/// One look: every build whose packages are accepted and not signed gets them signed.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, crew: &Crew<BuildId>) -> anyhow::Result<()> {
    for build in farm.store.builds_accepted().await? {
        let farm = farm.clone();
        let span = tracing::info_span!("sign", build = build.id);
        crew.start(build.id(), async move { sign_build(&farm, &build).await }.instrument(span));
    }
    Ok(())
}

/// Signs what is not signed of a build. What was signed before stays, so a signer that dies in
/// the middle costs nothing but time.
///
/// # Errors
/// When the signer refuses or does not answer; nothing is published then.
pub async fn sign_build(farm: &Farm, build: &Build) -> anyhow::Result<()> {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let begun = Instant::now();
    let target = farm.targets.get(&build.target)?;
    let key = &target.signing_key;
    let packages = farm.store.packages_of(build.id(), key).await?;
    let unsigned: Vec<Package> =
        packages.into_iter().filter(|row| row.signature.is_none()).map(|row| row.package).collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    let certs = Certs::from_armored(&farm.signer.public_key(key).await?.armored)?;
    let signed: Vec<(Sha256, Signature)> = futures_util::stream::iter(unsigned)
        .map(|package| sign(farm, key, &certs, package))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    farm.store.add_signatures(key, &signed, now_us()).await?;
    farm.metrics.worked("sign", begun.elapsed());
    tracing::info!(build = build.id, packages = signed.len(), "packages signed");
    Ok(())
}

async fn sign(
    farm: &Farm,
    key: &str,
    certs: &Certs,
    package: Package,
) -> anyhow::Result<(Sha256, Signature)> {
    let path = farm.blobs.path(package.digest);
    let header = tokio::task::spawn_blocking(move || header_to_sign(&path)).await??;
    let request = SignHeaderRequest {
        key: key.into(),
        nevra: package.nevra.to_string(),
        header_digest: Sha256::of(&header).hex(),
        header: header.into(),
        artifact_digest: package.digest.hex(),
        verdict: format!("acceptance of build {}", package.build),
    };
    let name = package.nevra.to_string();
    let answer =
        farm.signer.sign_header(request).await.with_context(|| format!("signing {name}"))?;
    let (blobs, certs) = (farm.blobs.clone(), certs.clone());
    tokio::task::spawn_blocking(move || splice(&blobs, &certs, &package, &answer.signature))
        .await?
        .with_context(|| format!("signing {name}"))
}

/// Makes the signed copy, proves it, and stores it with its repodata.
fn splice(
    blobs: &Blobs,
    certs: &Certs,
    package: &Package,
    signature: &[u8],
) -> anyhow::Result<(Sha256, Signature)> {
    let scratch = blobs.scratch()?;
    let copy = scratch.path().join(package.nevra.file_name());
    splice_signature(&blobs.path(package.digest), &copy, signature)?;
    verify_signature(&copy, certs, SystemTime::now())?;
    let inspected = inspect(&copy)?;
    anyhow::ensure!(
        inspected.nevra == package.nevra,
        "the signed copy says it is {}",
        inspected.nevra
    );
    let (signed_digest, signed_size) = blobs.adopt(&copy)?;
    let href = crate::publish::href(&package.nevra);
    let file = PackageFile { digest: signed_digest, size: signed_size, href };
    let fragments = Fragments::of_rpm(&blobs.path(signed_digest), &file)?;
    let repodata = blobs.put(&fragments.to_bytes())?;
    Ok((package.digest, Signature { signed_digest, signed_size, repodata }))
}
