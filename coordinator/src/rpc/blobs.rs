//! Serves blobs to workers.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::pin::Pin;

use futures_util::Stream;
use rpmfarm_core::Sha256;
use rpmfarm_proto::v1::blobs_server::Blobs;
use rpmfarm_proto::{CHUNK, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::farm::Farm;

/// The service.
#[derive(Clone)]
pub struct BlobService(pub Farm);

#[tonic::async_trait]
impl Blobs for BlobService {
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
        let mut file = self.0.blobs.read(digest)?;
        // Two chunks in flight: a slow worker holds back the disk, not the memory.
        let (sender, receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut send = || -> std::io::Result<()> {
                let mut size = file.metadata()?.len();
                file.seek(SeekFrom::Start(request.offset))?;
                loop {
                    let mut data = Vec::with_capacity(CHUNK);
                    (&mut file).take(CHUNK as u64).read_to_end(&mut data)?;
                    let end = data.is_empty();
                    if end && size == 0 {
                        return Ok(());
                    }
                    let chunk =
                        v1::BlobChunk { data: data.into(), size: std::mem::take(&mut size) };
                    if sender.blocking_send(Ok(chunk)).is_err() || end {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = send() {
                let _ = sender.blocking_send(Err(super::internal(error)));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
