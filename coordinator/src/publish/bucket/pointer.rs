//! The pointer of a channel in a bucket, `TARGET/CHANNEL/generation.json`: who publishes there, and
//! what is shown.

use serde::{Deserialize, Serialize};

use crate::s3::{Bucket, BucketError, ObjectVersion};

/// The largest pointer that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// What a bucket shows of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelPointer {
    /// The farm that publishes there, by the random name that it gave itself.
    pub farm: String,
    /// The generation that all repositories show; 0 before the first.
    pub generation: u64,
    /// The generation that is being shown, whose `repomd.xml` some repositories may have already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// A number of the publisher that writes, so that each pointer is another object.
    pub writer: String,
}

impl ChannelPointer {
    /// The key of a channel's pointer.
    pub(super) fn key(channel: &str) -> String {
        format!("{channel}/generation.json")
    }

    /// Reads a channel's pointer; `None` before there is one.
    pub(super) async fn read(
        bucket: &Bucket,
        channel: &str,
    ) -> Result<Option<(Self, ObjectVersion)>, PointerError> {
        let key = Self::key(channel);
        let Some((bytes, version)) = bucket.get_small(&key, LARGEST).await? else {
            return Ok(None);
        };
        let pointer = serde_json::from_slice(&bytes)
            .map_err(|source| PointerError::Unreadable { key, source })?;
        Ok(Some((pointer, version)))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a pointer has no key that JSON lacks")
    }
}

/// Why a pointer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PointerError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// It is something else.
    #[error("{key} is not a pointer of rpmfarm ({source}); publish into another prefix")]
    Unreadable { key: String, source: serde_json::Error },
}
