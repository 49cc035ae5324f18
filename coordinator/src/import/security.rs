//! Marks builds that contain security fixes: CVE ids in the commits' messages and in the new
//! entries of the spec's changelog.

use std::collections::BTreeSet;

use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::source::SourceBundle;
use rpmfarm_core::track::security::fixed;
use rpmfarm_core::{BuildId, Sha256, Timestamp};

use super::ImportedCommit;
use crate::blobs::{BlobError, Blobs};
use crate::store::{Build, FencedStore, Store};

/// The largest spec that is read, in bytes.
const MAX_SPEC: u64 = 4 << 20;

/// The largest list of a bundle's files that is read, in bytes.
const MAX_BUNDLE: u64 = 16 << 20;

/// Reads the sources that were just imported for a build, and records which CVEs the build fixes.
/// Returns them.
///
/// Sources that cannot be read are no reason not to build; then nothing is marked.
pub(super) async fn mark(
    store: &FencedStore,
    blobs: &Blobs,
    build: &Build,
    imported: &ImportedCommit,
    now: Timestamp,
) -> BTreeSet<String> {
    match find(store, blobs, build, imported).await {
        Ok(ids) if ids.is_empty() => ids,
        Ok(ids) => {
            tracing::info!(build = build.id.0, ?ids, "fixes security problems");
            if let Err(error) = store.cve_insert(build.id, &ids, now).await {
                tracing::warn!(build = build.id.0, %error, "the mark was not recorded");
            }
            // No person has set a priority, so the fix raises it.
            if build.priority == PriorityClass::Tracking.as_str()
                && let Err(error) =
                    store.build_set_priority(build.id, PriorityClass::Security, now).await
            {
                tracing::warn!(build = build.id.0, %error, "the priority was not raised");
            }
            ids
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(build = build.id.0, error, "not checked for security fixes");
            BTreeSet::new()
        }
    }
}

async fn find(
    store: &Store,
    blobs: &Blobs,
    build: &Build,
    imported: &ImportedCommit,
) -> anyhow::Result<BTreeSet<String>> {
    let mut ids = imported.cves.clone();
    // When the build of a security fix fails, the next commit repairs the build and does not name
    // the CVE again. So its build also counts for the CVEs that are still pending.
    ids.extend(store.cve_list_pending(build).await?);
    let old = match store.build_fetch_predecessor(build).await? {
        Some(before) => spec_of(store, blobs, before).await?,
        None => None,
    };
    if let Some(new) = text(blobs, imported.bundle.spec.digest)? {
        ids.extend(fixed(old.as_deref(), &new));
    }
    Ok(ids)
}

/// The spec of a build that has sources.
async fn spec_of(store: &Store, blobs: &Blobs, build: BuildId) -> anyhow::Result<Option<String>> {
    let Some(import) = store.import_fetch(build).await? else { return Ok(None) };
    let Ok(bytes) = blobs.read_small(import.bundle, MAX_BUNDLE) else { return Ok(None) };
    text(blobs, SourceBundle::from_bytes(&bytes)?.spec.digest)
}

/// The text of a spec; `None` when it is not UTF-8 or too long.
pub(super) fn text(blobs: &Blobs, digest: Sha256) -> anyhow::Result<Option<String>> {
    match blobs.read_small(digest, MAX_SPEC) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(BlobError::TooLong { .. } | BlobError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
