//! Uploads new blobs and ended logs into their bucket, and keeps the directory of blobs within its
//! size.
//!
//! Owns how often. Several coordinators may do it for one directory: an upload that is repeated
//! writes the same bytes.

use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rpmfarm_core::Sha256;

use crate::blobs::{BlobError, Blobs, CacheStats};
use crate::blocking;
use crate::logs::Logs;

/// How often new blobs are looked for.
const PERIOD: Duration = Duration::from_secs(1);
/// The pause after the bucket failed.
const PAUSE: Duration = Duration::from_secs(15);
/// How often the directory's size is counted.
const TRIMMED_EVERY: Duration = Duration::from_secs(10 * 60);
/// Uploads at once.
const AT_ONCE: usize = 4;
/// What workers put into the bucket and never reported is removed after this time.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder of keys into which workers upload. What lies there is nobody's until its digest was
/// checked.
pub const INCOMING: &str = "incoming";

/// Uploads and trims until the task is dropped; ends at once without a bucket. `limit` is the size
/// of the directory in bytes.
pub async fn run(blobs: Blobs, logs: Logs, limit: u64) {
    if blobs.bucket().is_none() {
        return;
    }
    let mut trimmed: Option<Instant> = None;
    loop {
        let pause = match pass(&blobs).await {
            Ok(0) => PERIOD,
            Ok(uploaded) => {
                tracing::debug!(uploaded, "blobs uploaded");
                PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "blobs cannot be uploaded; they stay here until they are");
                PAUSE
            }
        };
        if trimmed.is_none_or(|at| at.elapsed() >= TRIMMED_EVERY) {
            trimmed = Some(Instant::now());
            tidy(&blobs, limit).await;
            store_logs(&logs).await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Uploads what the outbox has. Returns how many blobs.
///
/// # Errors
/// When the disk or the bucket fails; what was not uploaded stays in the outbox.
pub async fn pass(blobs: &Blobs) -> Result<usize, BlobError> {
    let store = blobs.clone();
    let waiting = run_on_disk(move || store.to_upload()).await?;
    let count = waiting.len();
    stream::iter(waiting)
        .map(|digest: Sha256| {
            let store = blobs.clone();
            run_on_disk(move || store.upload(digest))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(count)
}

/// Stores the logs that have ended since the last time.
async fn store_logs(logs: &Logs) {
    let logs = logs.clone();
    match blocking::run(move || logs.store_ended(SystemTime::now())).await {
        Ok(Ok(0)) => {}
        Ok(Ok(stored)) => tracing::debug!(stored, "logs stored in the bucket"),
        Ok(Err(error)) => tracing::warn!(%error, "logs cannot be stored in the bucket"),
        Err(error) => tracing::error!(%error, "storing logs was interrupted"),
    }
}

/// Lets go what was not used for longest, and removes what workers left in the bucket.
async fn tidy(blobs: &Blobs, limit: u64) {
    let store = blobs.clone();
    match run_on_disk(move || store.trim(limit, SystemTime::now())).await {
        Ok(CacheStats { removed: 0, .. }) => {}
        Ok(CacheStats { bytes, removed }) => {
            tracing::info!(removed, bytes, "packages left this disk; the bucket has them");
        }
        Err(error) => tracing::error!(%error, "the directory of blobs is not kept within its size"),
    }
    let store = blobs.clone();
    let cleared = run_on_disk(move || clear_incoming(&store, SystemTime::now())).await;
    if let Err(error) = cleared {
        tracing::warn!(%error, "uploads that were never reported stay in the bucket");
    }
}

/// Removes the objects of workers that are older than `LEFT_AFTER`. Returns how many.
///
/// # Errors
/// When the bucket fails.
pub fn clear_incoming(blobs: &Blobs, now: SystemTime) -> Result<usize, BlobError> {
    let Some(bucket) = blobs.bucket() else { return Ok(0) };
    bucket.wait(|bucket| async move {
        let mut removed = 0;
        let mut found = bucket.list(INCOMING)?;
        while let Some(object) = found.try_next().await? {
            if now.duration_since(object.modified).is_ok_and(|age| age > LEFT_AFTER) {
                bucket.delete(&object.key).await?;
                removed += 1;
            }
        }
        Ok(removed)
    })
}

async fn run_on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    blocking::run(work).await.expect("moving blobs does not panic")
}
