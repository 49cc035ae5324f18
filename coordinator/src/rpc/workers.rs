//! What workers call: their session, logs and uploads.

use std::pin::Pin;

use futures_util::Stream;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::{AttemptId, Epoch};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_server::Workers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{auth, internal, session};
use crate::farm::Farm;

/// The service.
#[derive(Clone)]
pub struct WorkerService(pub Farm);

type States = Pin<Box<dyn Stream<Item = Result<v1::DesiredState, Status>> + Send>>;

#[tonic::async_trait]
impl Workers for WorkerService {
    type SessionStream = States;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerState>>,
    ) -> Result<Response<States>, Status> {
        auth::check(&self.0.token, &request)?;
        let (sender, receiver) = mpsc::channel(1);
        let farm = self.0.clone();
        let states = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = session::serve(&farm, states, &sender).await {
                tracing::info!(%status, "worker session ended");
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn append_log(
        &self,
        request: Request<v1::LogChunk>,
    ) -> Result<Response<v1::LogOffset>, Status> {
        auth::check(&self.0.token, &request)?;
        let chunk = request.into_inner();
        let attempt = AttemptId(chunk.attempt);
        live(&self.0, attempt, Epoch(chunk.epoch)).await?;
        let name = chunk.log.parse().map_err(Status::invalid_argument)?;
        let logs = self.0.logs.clone();
        let next = tokio::task::spawn_blocking(move || {
            logs.append(attempt, name, chunk.offset, &chunk.data, chunk.last)
        })
        .await
        .map_err(internal)?
        .map_err(internal)?;
        self.0.log_bell.ring();
        Ok(Response::new(v1::LogOffset { next }))
    }

    async fn upload_offset(
        &self,
        request: Request<v1::UploadQuery>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        auth::check(&self.0.token, &request)?;
        let upload = Upload::admit(&self.0, Some(request.into_inner())).await?;
        let blobs = self.0.blobs.clone();
        let have = blocking(move || blobs.uploaded(upload.file.digest, upload.file.size)).await?;
        Ok(Response::new(v1::UploadReply { have }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        auth::check(&self.0.token, &request)?;
        let mut chunks = request.into_inner();
        let Some(mut chunk) = chunks.message().await? else {
            return Err(Status::invalid_argument("an upload without a chunk"));
        };
        let Upload { file } = Upload::admit(&self.0, chunk.query.take()).await?;
        let (digest, size) = (file.digest, file.size);
        let mut have;
        loop {
            let blobs = self.0.blobs.clone();
            have = blocking(move || blobs.upload_chunk(digest, size, chunk.offset, &chunk.data))
                .await?;
            match chunks.message().await? {
                Some(next) => chunk = next,
                None => break,
            }
        }
        if have == size {
            let blobs = self.0.blobs.clone();
            blocking(move || blobs.finish_upload(digest)).await?;
        }
        Ok(Response::new(v1::UploadReply { have }))
    }
}

/// An upload that a live lease covers.
struct Upload {
    file: SourceFile,
}

impl Upload {
    async fn admit(farm: &Farm, query: Option<v1::UploadQuery>) -> Result<Self, Status> {
        let query = query.ok_or_else(|| Status::invalid_argument("an upload of no file"))?;
        live(farm, AttemptId(query.attempt), Epoch(query.epoch)).await?;
        let file: SourceFile = query
            .file
            .ok_or_else(|| Status::invalid_argument("an upload of no file"))?
            .try_into()?;
        let limit = farm.max_result_bytes;
        if file.size > limit {
            return Err(Status::out_of_range(format!(
                "{} has {} bytes, at most {limit} are taken",
                file.name, file.size
            )));
        }
        Ok(Self { file })
    }
}

/// Refuses what no live lease covers.
async fn live(farm: &Farm, attempt: AttemptId, epoch: Epoch) -> Result<(), Status> {
    if farm.store.is_live(attempt, epoch).await? {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "attempt {attempt} is not held under epoch {epoch}; stop it"
    )))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> crate::blobs::Result<T> + Send + 'static,
) -> Result<T, Status> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(internal)??)
}
