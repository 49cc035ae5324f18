//! Whether a store keeps two writers apart: it must refuse to make an object that exists
//! (`If-None-Match: *`), and to replace one that has changed (`If-Match`). Some stores take both
//! headers and ignore them.

use super::bucket::{Bucket, BucketError, Condition};

/// What a store does not honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    /// `If-None-Match: *`.
    Existence,
    /// `If-Match`.
    Version,
}

impl Ignored {
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Existence => "If-None-Match",
            Self::Version => "If-Match",
        }
    }
}

/// Writes an object of its own several times, and removes it.
///
/// # Errors
/// When the store cannot be reached, or does not let this farm write.
pub(super) async fn probe(bucket: &Bucket) -> Result<Option<Ignored>, BucketError> {
    let key = format!("probe/{}", uuid::Uuid::now_v7());
    let found = write(bucket, &key).await;
    let removed = bucket.delete(&key).await;
    let found = found?;
    removed?;
    Ok(found)
}

async fn write(bucket: &Bucket, key: &str) -> Result<Option<Ignored>, BucketError> {
    let first = bucket.put(key, "first", &Condition::Absent).await?;
    if !is_refused(bucket.put(key, "again", &Condition::Absent).await)? {
        return Ok(Some(Ignored::Existence));
    }
    let unchanged = Condition::Unchanged(first);
    bucket.put(key, "second", &unchanged).await?;
    if !is_refused(bucket.put(key, "third", &unchanged).await)? {
        return Ok(Some(Ignored::Version));
    }
    Ok(None)
}

fn is_refused<T>(put: Result<T, BucketError>) -> Result<bool, BucketError> {
    match put {
        Ok(_) => Ok(false),
        Err(BucketError::Changed { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
