//! The gRPC side of the coordinator: `workers` and `blobs` for workers, `farm` for people.
//!
//! Generated types stop here; `auth` guards every call that is not reading.

pub mod auth;
pub mod blobs;
pub mod farm;
pub mod logs;
pub mod sources;
pub mod view;
pub mod workers;

use tonic::Status;

use crate::blobs::BlobError;
use crate::store::StoreError;

/// The largest message that the coordinator takes, in bytes: a worker's whole state.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The one border where internal errors become answers: what went wrong inside is logged whole
/// and told in one line.
pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Status {
    let error = error.into();
    tracing::error!(error = format!("{error:#}"), "call failed");
    Status::internal(format!("the farm failed: {error:#}"))
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        internal(error)
    }
}

impl From<BlobError> for Status {
    fn from(error: BlobError) -> Self {
        let message = error.to_string();
        match error {
            BlobError::Missing(_) => Self::not_found(message),
            BlobError::Mismatch { .. } => Self::data_loss(message),
            BlobError::TooLong { .. } => Self::out_of_range(message),
            BlobError::Offset { .. } => Self::aborted(message),
            BlobError::Io { .. } if error.is_full() => {
                Self::resource_exhausted(format!("{message}; free space on the coordinator"))
            }
            BlobError::Io { .. } => internal(error),
        }
    }
}
