//! Refuses builds that follow from pushes and would not be newer than the published package, before
//! they cost anything.

use rpmfarm_core::track::NotNewer;
use rpmfarm_core::{Evr, Target};
use rpmfarm_sources::spec::{Macros, is_version_fixed, lines, version_tags};

use super::ImportedCommit;
use super::security::text;
use crate::blobs::Blobs;
use crate::store::{Build, Store, StoreError};

/// Compares the versions that a build makes with those that its channel has of the package.
async fn check(
    store: &Store,
    target: &Target,
    build: &Build,
    made: &Evr,
) -> Result<Result<(), NotNewer>, StoreError> {
    let channel = target.first_channel();
    let published = store.channel_list_evrs(&target.name, channel, &build.package).await?;
    Ok(rpmfarm_core::track::check_newer(&build.package, made, published, channel))
}

/// The same for the version in the text of an imported spec. A version that the text does not
/// determine, or that depends on the build root or on scripts, is left to the check of the SRPM.
///
/// # Errors
/// Database errors, and a spec that cannot be read.
pub(super) async fn check_spec(
    store: &Store,
    blobs: &Blobs,
    target: &Target,
    build: &Build,
    imported: &ImportedCommit,
) -> anyhow::Result<Result<(), NotNewer>> {
    if imported.bundle.plan.is_some() {
        return Ok(Ok(()));
    }
    let Some(spec) = text(blobs, imported.bundle.spec.digest)? else { return Ok(Ok(())) };
    let lines = lines(&spec);
    if !is_version_fixed(&lines) {
        return Ok(Ok(()));
    }
    let macros = target.macros_of(&build.package);
    let macros = macros.iter().map(|(name, body)| (name.as_str(), body.as_str()));
    let macros: Macros = macros.collect();
    match version_tags(&lines, macros).parsed_evr() {
        Some(made) => Ok(check(store, target, build, &made).await?),
        None => Ok(Ok(())),
    }
}
