//! The content that a channel gets next: its present packages with those of builds added, in the
//! forms that the publisher, the solver and the proof take.
//!
//! `core` decides what a build replaces (`snapshot`). This must not know when a channel is
//! published, nor show anything.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use anyhow::Context as _;
use rpmfarm_core::proof::ProvenBuild;
use rpmfarm_core::snapshot::{Snapshot, SnapshotError, SnapshotPackage};
use rpmfarm_core::terms::without_noarch;
use rpmfarm_core::{BuildId, Nevra, Sha256};

use super::channels::{ChannelState, SignedBuild};
use super::placement::Placement;
use super::{PublishError, PublishedPackage};
use crate::blobs::FileStamp;
use crate::resolve::FarmPackage;
use crate::store::{Package, SignedPackage, Store};

/// How many versions of a source package a channel shows.
const KEEP_VERSIONS: NonZeroUsize = NonZeroUsize::MIN;

/// A build that conflicts with the content of the channel.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct UnfitBuildError {
    build: BuildId,
    reason: SnapshotError,
}

/// Whether a build is the reason for an error of publishing.
pub(super) fn is_of((build, rows): &SignedBuild, error: &anyhow::Error) -> bool {
    if let Some(unfit) = error.downcast_ref::<UnfitBuildError>() {
        return unfit.build == *build;
    }
    match error.downcast_ref::<PublishError>() {
        Some(PublishError::Package { nevra, .. }) => {
            rows.iter().any(|row| row.package.nevra == **nevra)
        }
        _ => false,
    }
}

/// The present content of the channel, with these packages added build by build.
pub(super) async fn next_snapshot(
    store: &Store,
    shown: &ChannelState,
    signed: &[SignedBuild],
) -> anyhow::Result<Snapshot> {
    let digests: HashMap<&Nevra, Sha256> = shown
        .signed
        .iter()
        .filter_map(|row| Some((&row.package.nevra, row.signature?.signed_digest)))
        .collect();
    // A package that was signed again has another digest than when the channel got it.
    let mut snapshot = shown.snapshot.clone().signed_anew(|nevra| digests.get(nevra).copied());
    // Restored packages come first, so that a newer version replaces them again.
    for (build, rows) in shown.returning.iter().chain(signed) {
        let srpm = store.srpm_fetch(*build).await?;
        let source = srpm
            .as_ref()
            .with_context(|| format!("build {build} has no source package"))?
            .nevra
            .clone();
        let by_source = srpm.map(|srpm| without_noarch(&srpm.terms)).unwrap_or_default();
        let added = rows
            .iter()
            .filter_map(|row| {
                let digest = row.signature?.signed_digest;
                let nevra = row.package.nevra.clone();
                Some(SnapshotPackage::of_build(nevra, digest, source.clone(), &by_source))
            })
            .collect::<Vec<_>>();
        snapshot = snapshot
            .with_build(&added, KEEP_VERSIONS)
            .map_err(|reason| UnfitBuildError { build: *build, reason })?;
    }
    Ok(snapshot)
}

/// The packages of a snapshot in the publisher's form, as far as they are in a repository.
pub(super) fn published_packages(
    shown: &ChannelState,
    signed: &[SignedBuild],
    (snapshot, placement): (&Snapshot, &Placement),
    proofs: &HashMap<Sha256, FileStamp>,
) -> anyhow::Result<Vec<PublishedPackage>> {
    let added = shown.returning.iter().chain(signed).flat_map(|(_, rows)| rows);
    let by_nevra: HashMap<&Nevra, &SignedPackage> =
        shown.signed.iter().chain(added).map(|row| (&row.package.nevra, row)).collect();
    snapshot
        .packages()
        .iter()
        .filter_map(|package| Some((package, placement.of(&package.nevra)?)))
        .map(|(package, repository)| {
            let row = by_nevra.get(&package.nevra).and_then(|row| row.signature);
            let signature =
                row.with_context(|| format!("{} has lost its signature", package.nevra))?;
            Ok(PublishedPackage {
                nevra: package.nevra.clone(),
                digest: signature.signed_digest,
                size: signature.signed_size,
                repodata: signature.repodata,
                without: package.without.arches(),
                repository,
                proved: proofs.get(&signature.signed_digest).copied(),
            })
        })
        .collect()
}

/// The packages of a channel and those of builds, as the solver has them.
pub(super) fn farm_packages(
    shown: &ChannelState,
    signed: &[SignedBuild],
) -> HashMap<Nevra, FarmPackage> {
    let added = shown.returning.iter().chain(signed).flat_map(|(_, rows)| rows);
    let package = |row: &SignedPackage| {
        let Package { nevra, digest, repodata, .. } = row.package.clone();
        (nevra.clone(), FarmPackage { nevra, digest, repodata })
    };
    shown.signed.iter().chain(added).map(package).collect()
}

/// The builds as the cause of problems, as far as the snapshot has packages of them.
pub(super) fn proven_builds(signed: &[SignedBuild], snapshot: &Snapshot) -> Vec<ProvenBuild> {
    let sources: HashMap<&Nevra, &str> = snapshot
        .packages()
        .iter()
        .map(|package| (&package.nevra, package.source.name.as_str()))
        .collect();
    let proven = signed.iter().map(|(build, rows)| {
        let packages: HashSet<Nevra> = rows.iter().map(|row| row.package.nevra.clone()).collect();
        let source = packages.iter().find_map(|nevra| sources.get(nevra));
        let source = source.map(|source| (*source).to_owned()).unwrap_or_default();
        ProvenBuild { build: *build, source, packages }
    });
    proven.collect()
}
