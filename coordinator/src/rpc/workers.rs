//! What workers call: their session, logs and uploads.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::Stream;
use rpmfarm_core::fleet::outdated;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::WorkerState;
use rpmfarm_core::{AttemptId, BuildId, Epoch};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_server::Workers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::internal;
use crate::clock::now_us;
use crate::dispatch::fleet::Session;
use crate::dispatch::{assignment, report};
use crate::farm::Farm;
use crate::identity::Caller;

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
        let caller = Caller::of(&request)?;
        let (sender, receiver) = mpsc::channel(1);
        let farm = self.0.clone();
        let states = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = serve(&farm, &caller, states, &sender).await {
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
        let caller = Caller::of(&request)?;
        let chunk = request.into_inner();
        let attempt = AttemptId(chunk.attempt);
        held(&self.0, &caller, attempt, Epoch(chunk.epoch)).await?;
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
        let caller = Caller::of(&request)?;
        let upload = Upload::admit(&self.0, &caller, Some(request.into_inner())).await?;
        let blobs = self.0.blobs.clone();
        let have = blocking(move || blobs.uploaded(upload.file.digest, upload.file.size)).await?;
        Ok(Response::new(v1::UploadReply { have }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let caller = Caller::of(&request)?;
        let mut chunks = request.into_inner();
        let Some(mut chunk) = chunks.message().await? else {
            return Err(Status::invalid_argument("an upload without a chunk"));
        };
        let Upload { file } = Upload::admit(&self.0, &caller, chunk.query.take()).await?;
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

/// An upload that a live lease of the caller covers, and that was announced within bounds.
struct Upload {
    file: SourceFile,
}

impl Upload {
    async fn admit(
        farm: &Farm,
        caller: &Caller,
        query: Option<v1::UploadQuery>,
    ) -> Result<Self, Status> {
        let query = query.ok_or_else(|| Status::invalid_argument("an upload of no file"))?;
        let attempt = AttemptId(query.attempt);
        let build = held(farm, caller, attempt, Epoch(query.epoch)).await?;
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
        let limit = results_limit(farm, build).await?;
        let announced = farm.store.announce(attempt, (file.digest, file.size), limit, now_us());
        announced
            .await?
            .map_err(|refused| Status::out_of_range(format!("{}: {refused}", file.name)))?;
        Ok(Self { file })
    }
}

/// How many bytes all results of an attempt of a build may have together.
async fn results_limit(farm: &Farm, build: BuildId) -> Result<u64, Status> {
    let row = farm.store.build(build).await?;
    let row = row.ok_or_else(|| Status::internal(format!("there is no build {build}")))?;
    let limits = farm.targets.get(&row.target)?.limits_of(&row.package);
    Ok(limits.results_mib.saturating_mul(1 << 20))
}

/// Refuses what no live lease of the caller covers. Answers the build.
async fn held(
    farm: &Farm,
    caller: &Caller,
    attempt: AttemptId,
    epoch: Epoch,
) -> Result<BuildId, Status> {
    match farm.store.holder(attempt, epoch).await? {
        Some((worker, build)) => {
            caller.must_be(&worker, &format!("attempt {attempt}"))?;
            Ok(build)
        }
        None => Err(Status::failed_precondition(format!(
            "attempt {attempt} is not held under epoch {epoch}; stop it"
        ))),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> crate::blobs::Result<T> + Send + 'static,
) -> Result<T, Status> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(internal)??)
}

/// One worker's session, from its first state to its end.
async fn serve(
    farm: &Farm,
    caller: &Caller,
    mut states: Streaming<v1::WorkerState>,
    answers: &mpsc::Sender<Result<v1::DesiredState, Status>>,
) -> Result<(), Status> {
    let Some(first) = states.message().await? else { return Ok(()) };
    let first = WorkerState::try_from(first)?;
    caller.must_be(&first.name, "this session")?;
    let mut notice = welcome(farm, &first).await?;
    report::refuse_foreign(farm, &first.name, &first.attempts).await?;
    let fresh_us = now_us();
    let session = farm.fleet.connect(first.clone(), Instant::now(), fresh_us);
    tracing::info!(worker = session.worker(), version = first.version, notice, "worker connected");
    report::take(farm, session.worker(), &first.attempts, Some(fresh_us), fresh_us)
        .await
        .map_err(internal)?;
    // Free slots are news for the tasks that wait.
    farm.bus.ring();
    let mut cache = assignment::Cache::new();
    let mut sent = None;
    let mut state = first;
    loop {
        let mut desired =
            assignment::desired(farm, session.worker(), &mut cache).await.map_err(internal)?;
        desired.notice.clone_from(&notice);
        // An answer is due to each state that was heard, and when something has changed.
        if sent.as_ref() != Some(&desired) {
            if answers.send(Ok((&desired).into())).await.is_err() {
                return Ok(());
            }
            sent = Some(desired);
        }
        tokio::select! {
            heard = states.message() => {
                let Some(heard) = heard? else { return Ok(()) };
                state = heard.try_into()?;
                hear(farm, &session, &state).await?;
                sent = None;
            }
            () = session.poked() => {
                if !session.is_current() {
                    return Err(Status::aborted("a newer session of this worker is connected"));
                }
            }
            () = certificate_end(caller) => {
                return Err(Status::unauthenticated(
                    "the certificate of this session has ended; connect with a newer one",
                ));
            }
        }
        notice = welcome(farm, &state).await?;
    }
}

/// Whether a worker may be here, and what it should be told.
async fn welcome(farm: &Farm, state: &WorkerState) -> Result<String, Status> {
    let decided = farm.store.standing(&state.name).await?;
    if let Some(row) = decided.as_ref().filter(|row| !row.standing.may_connect()) {
        return Err(Status::permission_denied(format!(
            "worker {} is revoked: {}",
            state.name, row.reason
        )));
    }
    let enrolled = farm.store.enrolled_arches(&state.name).await?.unwrap_or_default();
    if let Some(arch) = state.arches.iter().find(|arch| !enrolled.contains(arch))
        && !enrolled.is_empty()
    {
        return Err(Status::permission_denied(format!(
            "worker {} was not enrolled for {arch}; start it with --arch, or enrol it again",
            state.name
        )));
    }
    if let Some(outdated) = outdated(state) {
        return Ok(outdated);
    }
    Ok(match decided {
        Some(row) if !row.standing.takes_work() => {
            format!("this worker is {} and gets no new work: {}", row.standing, row.reason)
        }
        _ => String::new(),
    })
}

/// When the caller's certificate ends; never for one without.
async fn certificate_end(caller: &Caller) {
    let Caller::Worker { ends_us, .. } = caller else { return std::future::pending().await };
    let left = Duration::from_micros(ends_us.saturating_sub(now_us()).max(0).unsigned_abs());
    tokio::time::sleep(left).await;
}

async fn hear(farm: &Farm, session: &Session, state: &WorkerState) -> Result<(), Status> {
    if state.name != session.worker() {
        return Err(Status::invalid_argument("a worker does not change its name"));
    }
    report::refuse_foreign(farm, session.worker(), &state.attempts).await?;
    if !session.heard(state.clone(), Instant::now(), now_us()) {
        return Err(Status::aborted("a newer session of this worker is connected"));
    }
    report::take(farm, session.worker(), &state.attempts, None, now_us())
        .await
        .map_err(internal)?;
    farm.progress.ring();
    Ok(())
}
