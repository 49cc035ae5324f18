//! Serves blobs to workers: their bytes, or the address in the bucket that has them.

use std::io::{Seek as _, SeekFrom};
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rpmfarm_core::Sha256;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::blobs_server::Blobs as BlobsApi;
use tonic::{Request, Response, Status};

use super::{internal, pieces};
use crate::blobs::{BlobBucket, Blobs};
use crate::blocking;

/// How long an address in the bucket can be read: workers begin at once, and a transfer that has
/// begun goes on.
const LASTS: Duration = Duration::from_secs(10 * 60);

#[derive(Clone)]
pub struct BlobService(pub Blobs);

#[tonic::async_trait]
impl BlobsApi for BlobService {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<v1::BlobChunk, Status>> + Send>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let request = request.into_inner();
        let digest: Sha256 = request
            .digest
            .parse()
            .map_err(|error| Status::invalid_argument(format!("digest: {error}")))?;
        if request.by_address
            && let Some(chunk) = self.by_address(digest).await
        {
            return Ok(Response::new(Box::pin(stream::once(async { Ok(chunk) }))));
        }
        let blobs = self.0.clone();
        let mut file = blocking::run(move || blobs.read(digest)).await.map_err(internal)??;
        let size = file.metadata().map_err(internal)?.len();
        let offset = request.offset.min(size);
        file.seek(SeekFrom::Start(offset)).map_err(internal)?;
        // The first message has the size of the whole blob, even if it is the only one.
        let first = (size > 0).then(|| Ok(v1::BlobChunk { size, ..Default::default() }));
        let chunk = |data| v1::BlobChunk { data, ..Default::default() };
        let chunks = pieces(file).map(move |piece| piece.map(chunk));
        let chunks = stream::iter(first).chain(chunks);
        Ok(Response::new(Box::pin(chunks)))
    }
}

impl BlobService {
    /// The address of a blob that the bucket has.
    async fn by_address(&self, digest: Sha256) -> Option<v1::BlobChunk> {
        let (bucket, size) = (self.0.bucket()?, self.0.size_in_bucket(digest)?);
        let address = bucket.bucket().address_to_read(&BlobBucket::key(digest), LASTS).await;
        match address {
            Ok(address) => {
                Some(v1::BlobChunk { size, address: address.into(), ..Default::default() })
            }
            Err(error) => {
                tracing::warn!(%error, "a blob has no address, and is sent instead");
                None
            }
        }
    }
}
