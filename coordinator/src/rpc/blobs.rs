//! Serves blobs to workers.

use std::io::{Seek as _, SeekFrom};
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use rpmfarm_core::Sha256;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::blobs_server::Blobs as BlobsApi;
use tonic::{Request, Response, Status};

use super::{internal, pieces};
use crate::blobs::Blobs;

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
        let mut file = self.0.read(digest)?;
        let size = file.metadata().map_err(internal)?.len();
        let offset = request.offset.min(size);
        file.seek(SeekFrom::Start(offset)).map_err(internal)?;
        // The first message has the size of the whole blob, even if it is the only one.
        let first = (size > 0).then(|| Ok(v1::BlobChunk { size, ..Default::default() }));
        let chunk = |data| v1::BlobChunk { data, size: 0 };
        let chunks = pieces(file).map(move |piece| piece.map(chunk));
        let chunks = stream::iter(first).chain(chunks);
        Ok(Response::new(Box::pin(chunks)))
    }
}
