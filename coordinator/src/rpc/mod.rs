//! The gRPC services of the coordinator: `workers`, `blobs` and `enrolment` for workers, `farm`,
//! `batches` and `fleet` for people.
//!
//! Generated types stop here. Who may make which call is decided before, in [`crate::identity`].

pub mod batch_plan;
pub mod batches;
pub mod blobs;
pub mod enrolment;
pub mod farm;
pub mod fleet;
mod list_rows;
pub mod logs;
pub mod packages;
mod pages;
pub mod proofs;
mod request_checks;
pub mod session;
pub mod shared_views;
pub mod sources;
pub mod tracking;
pub mod view;
mod watch;
pub mod why;
pub mod workers;

use std::fs::File;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rpmfarm_core::Timestamp;
use rpmfarm_proto::CHUNK;
use tokio_util::io::ReaderStream;
use tonic::Status;

use crate::blobs::BlobError;
use crate::s3::BucketError;
use crate::store::StoreError;

/// The largest message that the coordinator accepts, in bytes: the whole state of a worker.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The one place where internal errors become answers: the whole chain is logged, and the answer
/// has one line.
pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Status {
    let error = error.into();
    if is_outage(&error) {
        // The call itself is valid: it may be repeated, here or at another coordinator.
        tracing::warn!(error = format!("{error:#}"), "call not answered");
        return Status::unavailable(format!("the farm's database does not answer: {error:#}"));
    }
    tracing::error!(error = format!("{error:#}"), "call failed");
    Status::internal(format!("the farm failed: {error:#}"))
}

/// A point in time in microseconds, as messages have it; 0 stands for `None`.
pub(crate) fn us(at: Option<Timestamp>) -> i64 {
    Timestamp::or_zero(at).as_us()
}

/// A number as messages have it; the largest one stands for all larger numbers.
pub(crate) fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

/// The rest of a file, piece by piece. Each piece is read when the caller takes it, so that a slow
/// caller occupies neither memory nor a thread.
pub(crate) fn pieces(file: File) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    let file = tokio::fs::File::from_std(file);
    ReaderStream::with_capacity(file, CHUNK).map(|piece| piece.map_err(internal))
}

/// Runs work to its end, even if the caller no longer waits for it: a transaction that is dropped
/// half way, as when a client hangs up, would break a connection of the store.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(work).await.map_err(internal)
}

/// Whether an error means that the database is down.
pub(crate) fn is_outage(error: &anyhow::Error) -> bool {
    let outage = |error: &StoreError| error.is_outage();
    error.chain().any(|cause| cause.downcast_ref().is_some_and(outage))
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
            BlobError::Bucket(BucketError::Missing { .. }) => Self::not_found(message),
            BlobError::Bucket(_) => {
                tracing::warn!(error = message, "call not answered");
                Self::unavailable(format!("the bucket of the blobs does not answer: {message}"))
            }
            BlobError::Io { .. } | BlobError::NoBucket { .. } => internal(error),
        }
    }
}
