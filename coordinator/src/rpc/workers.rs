//! What workers call: their session, logs and uploads.

use std::pin::Pin;

use futures_util::Stream;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::{AttemptId, BuildId, Epoch};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_server::Workers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{auth, internal, session};
use crate::blobs::{self, Blobs};
use crate::clock::now_us;
use crate::dispatch::late;
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
        let Upload { file, build } = Upload::admit(&self.0, Some(request.into_inner())).await?;
        let have = self.of_build(build, move |blobs| {
            let have = blobs.uploaded(file.digest, file.size)?;
            // Its last chunk came, and then the coordinator or the disk ended.
            if have == file.size && have > 0 {
                blobs.finish_upload(file.digest)?;
            }
            Ok(have)
        });
        Ok(Response::new(v1::UploadReply { have: have.await? }))
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
        let Upload { file, build } = Upload::admit(&self.0, chunk.query.take()).await?;
        let (digest, size) = (file.digest, file.size);
        let mut have;
        loop {
            have = self
                .of_build(build, move |blobs| {
                    blobs.upload_chunk(digest, size, chunk.offset, &chunk.data)
                })
                .await?;
            match chunks.message().await? {
                Some(next) => chunk = next,
                None => break,
            }
        }
        if have == size {
            self.of_build(build, move |blobs| blobs.finish_upload(digest)).await?;
            self.0.waits.clear(build);
        }
        Ok(Response::new(v1::UploadReply { have }))
    }
}

impl WorkerService {
    /// Does something with the blobs for a build, beside the runtime. That the disk is full is
    /// shown as what the build waits for: its worker will try again.
    async fn of_build<T: Send + 'static>(
        &self,
        build: BuildId,
        work: impl FnOnce(&Blobs) -> blobs::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let blobs = self.0.blobs.clone();
        let done = tokio::task::spawn_blocking(move || work(&blobs)).await.map_err(internal)?;
        done.map_err(|error| {
            let full = error.is_full();
            let status = Status::from(error);
            if full {
                tracing::error!(build = build.0, "results refused: {}", status.message());
                self.0.waits.set(build, status.message());
                self.0.progress.ring();
            }
            status
        })
    }
}

/// An upload that a live lease covers.
struct Upload {
    file: SourceFile,
    build: BuildId,
}

impl Upload {
    async fn admit(farm: &Farm, query: Option<v1::UploadQuery>) -> Result<Self, Status> {
        let query = query.ok_or_else(|| Status::invalid_argument("an upload of no file"))?;
        let file: SourceFile = query
            .file
            .ok_or_else(|| Status::invalid_argument("an upload of no file"))?
            .try_into()?;
        let (attempt, epoch) = (AttemptId(query.attempt), Epoch(query.epoch));
        let build = match live(farm, attempt, epoch).await {
            Ok(build) => build,
            Err(refused) => {
                late::upload(farm, attempt, epoch, &file.name, now_us()).await?;
                return Err(refused);
            }
        };
        let limit = farm.max_result_bytes;
        if file.size > limit {
            return Err(Status::out_of_range(format!(
                "{} has {} bytes, at most {limit} are taken",
                file.name, file.size
            )));
        }
        Ok(Self { file, build })
    }
}

/// The build of a live attempt. Refuses what no live lease covers.
async fn live(farm: &Farm, attempt: AttemptId, epoch: Epoch) -> Result<BuildId, Status> {
    if let Some(build) = farm.store.live_build(attempt, epoch).await? {
        return Ok(build);
    }
    Err(Status::failed_precondition(format!(
        "attempt {attempt} is not held under epoch {epoch}; stop it"
    )))
}
