//! What workers call: their session, logs and uploads.

use std::pin::Pin;
use std::time::Instant;

use futures_util::Stream;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::WorkerState;
use rpmfarm_core::{AttemptId, Epoch};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_server::Workers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{auth, internal};
use crate::clock::now_us;
use crate::dispatch::fleet::Session;
use crate::dispatch::{assignment, report};
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
            if let Err(status) = serve(&farm, states, &sender).await {
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

/// One worker's session, from its first state to its end.
async fn serve(
    farm: &Farm,
    mut states: Streaming<v1::WorkerState>,
    answers: &mpsc::Sender<Result<v1::DesiredState, Status>>,
) -> Result<(), Status> {
    let Some(first) = states.message().await? else { return Ok(()) };
    let first = WorkerState::try_from(first)?;
    let fresh_us = now_us();
    let session = farm.fleet.connect(first.clone(), Instant::now(), fresh_us);
    tracing::info!(worker = session.worker(), version = first.version, "worker connected");
    report::take(farm, session.worker(), &first.attempts, Some(fresh_us), fresh_us)
        .await
        .map_err(internal)?;
    // Free slots are news for the tasks that wait.
    farm.bus.ring();
    let mut cache = assignment::Cache::default();
    let mut sent = None;
    loop {
        let desired =
            assignment::desired(farm, session.worker(), &mut cache).await.map_err(internal)?;
        // An answer is due to each state that was heard, and when something has changed.
        if sent.as_ref() != Some(&desired) {
            if answers.send(Ok((&desired).into())).await.is_err() {
                return Ok(());
            }
            sent = Some(desired);
        }
        tokio::select! {
            state = states.message() => {
                let Some(state) = state? else { return Ok(()) };
                hear(farm, &session, state.try_into()?).await?;
                sent = None;
            }
            () = session.poked() => {
                if !session.is_current() {
                    return Err(Status::aborted("a newer session of this worker is connected"));
                }
            }
        }
    }
}

async fn hear(farm: &Farm, session: &Session, state: WorkerState) -> Result<(), Status> {
    if state.name != session.worker() {
        return Err(Status::invalid_argument("a worker does not change its name"));
    }
    let attempts = state.attempts.clone();
    if !session.heard(state, Instant::now(), now_us()) {
        return Err(Status::aborted("a newer session of this worker is connected"));
    }
    report::take(farm, session.worker(), &attempts, None, now_us()).await.map_err(internal)?;
    farm.progress.ring();
    Ok(())
}
