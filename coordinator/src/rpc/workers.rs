//! The calls of workers: their sessions, logs and uploads.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use rpmfarm_core::kept_files::{self, KeptError, KeptFile};
use rpmfarm_core::limits::Limits;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, FailureStage, Fault, Sha256};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_server::Workers;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::request_checks::word;
use super::session::{self, Sessions};
use super::{internal, to_the_end};
use crate::blob_uploads::INCOMING;
use crate::blobs::{self, Blobs};
use crate::blocking;
use crate::bus::Bus;
use crate::clock;
use crate::dispatch::late_results;
use crate::identity::Caller;
use crate::logs::{Chunk, LogError, LogName};
use crate::store::Store;
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;

/// How much longer than `log_mib` a log may be, in bytes: at its end a worker says why it stopped.
const LOG_MARGIN: u64 = 4 << 20;

/// The sizes of files that workers put into the bucket themselves, in bytes: below, it is more work
/// than to send them here, and above, S3 takes no file at once.
const BY_ADDRESS: std::ops::RangeInclusive<u64> = 256 << 10..=5 << 30;

/// How long a file can be put at its address: the time in which the upload must begin.
const LASTS: Duration = Duration::from_secs(10 * 60);

#[derive(Clone)]
pub struct WorkerService {
    /// Serves sessions; has the store, and applies reports.
    pub sessions: Sessions,
    /// Have the limits of builds.
    pub targets: Targets,
    pub blobs: Blobs,
    /// Woken when a log has grown.
    pub log_bus: Bus,
    /// Where the reason is shown that the disk is full.
    pub waits: LocalWaitReasons,
    /// The largest permitted result file, in bytes.
    pub max_result_bytes: u64,
}

type DesiredStateStream = Pin<Box<dyn Stream<Item = Result<v1::DesiredState, Status>> + Send>>;

#[tonic::async_trait]
impl Workers for WorkerService {
    type SessionStream = DesiredStateStream;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerState>>,
    ) -> Result<Response<DesiredStateStream>, Status> {
        let caller = Caller::from_request(&request)?;
        let (sender, receiver) = mpsc::channel(1);
        let sessions = self.sessions.clone();
        let states = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = session::serve(&sessions, &caller, states, &sender).await {
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
        let caller = Caller::from_request(&request)?;
        let chunk = request.into_inner();
        let attempt = AttemptId(chunk.attempt);
        let build = held(self.store(), &caller, attempt, Epoch(chunk.epoch)).await?;
        let name: LogName = word(&chunk.log)?;
        let log_mib = self.limits(build).await?.log_mib;
        let limit = log_mib.saturating_mul(1 << 20).saturating_add(LOG_MARGIN);
        let logs = self.sessions.assignments.reports.logs.clone();
        let appended = blocking::run(move || {
            let v1::LogChunk { offset, data, last, .. } = chunk;
            logs.append(attempt, name, &Chunk { offset, data: &data, last }, limit)
        });
        let appended = appended.await.map_err(internal)?;
        self.log_bus.wake();
        match appended {
            Ok(next) => Ok(Response::new(v1::LogOffset { next })),
            Err(LogError::Io(error)) => Err(internal(error)),
            Err(LogError::TooLong { .. }) => Err(self.too_much_log(attempt, name, log_mib).await?),
        }
    }

    async fn upload_offset(
        &self,
        request: Request<v1::UploadQuery>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let caller = Caller::from_request(&request)?;
        let query = Some(request.into_inner());
        let (by_address, placed) =
            query.as_ref().map_or((false, false), |query| (query.by_address, query.placed));
        let AdmittedUpload { file, build, attempt } =
            AdmittedUpload::admit(self, &caller, query).await?;
        let (digest, size) = (file.digest, file.size);
        let key = format!("{INCOMING}/{attempt}-{digest}");
        let object = (placed && self.blobs.bucket().is_some()).then(|| key.clone());
        let have = self.of_build(build, move |blobs| {
            // What lies there may be anything, so it is read, and refused if it is another file.
            if let Some(object) = object {
                blobs.take_over(&object, digest, size)?;
            }
            let have = blobs.uploaded(digest, size)?;
            // Its last chunk was received, and then the coordinator ended or the disk was full.
            if have == size && have > 0 {
                blobs.finish_upload(digest)?;
            }
            Ok(have)
        });
        let have = have.await?;
        if placed && have == size {
            self.waits.clear(build);
        }
        let is_offered = by_address && have == 0 && BY_ADDRESS.contains(&size);
        let address = if is_offered { self.address_to_write(&key).await } else { String::new() };
        Ok(Response::new(v1::UploadReply { have, address }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.receive_upload(&caller, request.into_inner()).await?))
    }

    async fn keep_files(
        &self,
        request: Request<v1::KeepFilesRequest>,
    ) -> Result<Response<v1::KeepFilesReply>, Status> {
        let caller = Caller::from_request(&request)?;
        let v1::KeepFilesRequest { attempt, epoch, files } = request.into_inner();
        let (attempt, epoch) = (AttemptId(attempt), Epoch(epoch));
        held(self.store(), &caller, attempt, epoch).await?;
        let files = self.kept(attempt, files).await?;
        self.store().kept_file_insert(attempt, &files).await?;
        Ok(Response::new(v1::KeepFilesReply {}))
    }
}

impl WorkerService {
    fn store(&self) -> &Store {
        &self.sessions.store
    }

    /// Receives a file of one of the caller's attempts, chunk by chunk. Returns how much of it has
    /// arrived.
    ///
    /// # Errors
    /// When the attempt is not live, when a chunk does not continue the file, or when the whole
    /// differs from the announcement.
    pub async fn receive_upload(
        &self,
        caller: &Caller,
        mut chunks: impl Stream<Item = Result<v1::UploadChunk, Status>> + Send + Unpin,
    ) -> Result<v1::UploadReply, Status> {
        let Some(mut chunk) = chunks.try_next().await? else {
            return Err(Status::invalid_argument("an upload without a chunk"));
        };
        let AdmittedUpload { file, build, .. } =
            AdmittedUpload::admit(self, caller, chunk.query.take()).await?;
        let (digest, size) = (file.digest, file.size);
        let mut have;
        loop {
            have = self
                .of_build(build, move |blobs| {
                    blobs.upload_chunk(digest, size, chunk.offset, &chunk.data)
                })
                .await?;
            match chunks.try_next().await? {
                Some(next) => chunk = next,
                None => break,
            }
        }
        if have == size {
            self.of_build(build, move |blobs| blobs.finish_upload(digest)).await?;
            self.waits.clear(build);
        }
        Ok(v1::UploadReply { have, address: String::new() })
    }

    /// The address at which a worker may put a file; empty without a bucket.
    async fn address_to_write(&self, key: &str) -> String {
        let Some(bucket) = self.blobs.bucket() else { return String::new() };
        match bucket.bucket().address_to_write(key, LASTS).await {
            Ok(address) => address.into(),
            Err(error) => {
                tracing::warn!(%error, "an upload gets no address, and comes here");
                String::new()
            }
        }
    }

    /// The limits of a build.
    async fn limits(&self, build: BuildId) -> Result<Limits, Status> {
        let row = self.store().build_fetch(build).await?;
        let row = row.ok_or_else(|| Status::internal(format!("there is no build {build}")))?;
        Ok(self.targets.get(&row.target)?.limits_of(&row.package))
    }

    /// The kept files that a worker reports: within the limits, and uploaded by the same attempt.
    async fn kept(
        &self,
        attempt: AttemptId,
        files: Vec<v1::KeptUpload>,
    ) -> Result<Vec<KeptFile>, Status> {
        let bad = |error: String| Status::invalid_argument(error);
        let file = |wire: v1::KeptUpload| {
            let digest =
                wire.digest.parse::<Sha256>().map_err(|error| bad(format!("digest: {error}")))?;
            Ok::<_, Status>(KeptFile { path: wire.path, digest, size: wire.size })
        };
        if files.len() > kept_files::MAX_FILES {
            return Err(bad(KeptError::Many(files.len()).to_string()));
        }
        let files = files.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
        kept_files::check(&files).map_err(|error| bad(error.to_string()))?;
        let announced = self.store().upload_list(attempt).await?;
        for KeptFile { path, digest, size } in &files {
            if !announced.contains(&(*digest, *size)) || !self.blobs.contains(*digest) {
                return Err(Status::failed_precondition(format!(
                    "kept file {path} was not uploaded by this attempt"
                )));
            }
        }
        Ok(files)
    }

    /// Ends an attempt whose build log exceeds its limit, as its worker should have done. The log
    /// of a root is cut instead, because the limit is for the build log. Returns the message for
    /// the worker.
    async fn too_much_log(
        &self,
        attempt: AttemptId,
        name: LogName,
        log_mib: u64,
    ) -> Result<Status, Status> {
        let what = match name {
            LogName::Build => "the build",
            LogName::Root => "the making of its root",
        };
        let message = format!("{what} wrote a log of more than {log_mib} MiB (limit `log_mib`)");
        if name == LogName::Build
            && let Some(live) = self.store().attempt_fetch_live(attempt).await?
        {
            let failure = Failure::new(Fault::Package, FailureStage::Build, message.clone());
            let (sessions, outcome) = (self.sessions.clone(), Outcome::Failed(failure));
            let end = async move {
                let Sessions { store, assignments, .. } = sessions;
                assignments.reports.end(&store, &live, &outcome, clock::now()).await
            };
            to_the_end(end).await??;
        }
        Ok(Status::out_of_range(format!(
            "attempt {attempt}: {message}; no more of the log is accepted"
        )))
    }

    /// Runs work on the blobs for a build, on a thread that may block. When the disk is full, that
    /// becomes the build's wait reason, because its worker will try again.
    async fn of_build<T: Send + 'static>(
        &self,
        build: BuildId,
        work: impl FnOnce(&Blobs) -> blobs::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let blobs = self.blobs.clone();
        let done = blocking::run(move || work(&blobs)).await.map_err(internal)?;
        done.map_err(|error| {
            let full = error.is_full();
            let status = Status::from(error);
            if full {
                tracing::error!(build = build.0, "results refused: {}", status.message());
                self.waits.set(build, status.message());
                self.sessions.progress.wake();
            }
            status
        })
    }
}

/// An upload of a live attempt of the caller, announced within the limits.
struct AdmittedUpload {
    file: SourceFile,
    build: BuildId,
    attempt: AttemptId,
}

impl AdmittedUpload {
    async fn admit(
        service: &WorkerService,
        caller: &Caller,
        query: Option<v1::UploadQuery>,
    ) -> Result<Self, Status> {
        let query = query.ok_or_else(|| Status::invalid_argument("an upload of no file"))?;
        let file: SourceFile = query
            .file
            .ok_or_else(|| Status::invalid_argument("an upload of no file"))?
            .try_into()?;
        let (attempt, epoch) = (AttemptId(query.attempt), Epoch(query.epoch));
        let build = match held(service.store(), caller, attempt, epoch).await {
            Ok(build) => build,
            Err(refused) if refused.code() != Code::FailedPrecondition => return Err(refused),
            Err(refused) => {
                late_results::upload(service.store(), attempt, epoch, &file.name, clock::now())
                    .await?;
                return Err(refused);
            }
        };
        let limit = service.max_result_bytes;
        if file.size > limit {
            return Err(Status::out_of_range(format!(
                "{} has {} bytes, at most {limit} are accepted",
                file.name, file.size
            )));
        }
        let limit = service.limits(build).await?.results_mib.saturating_mul(1 << 20);
        let announced =
            service.store().upload_announce(attempt, (file.digest, file.size), limit, clock::now());
        announced
            .await?
            .map_err(|refused| Status::out_of_range(format!("{}: {refused}", file.name)))?;
        Ok(Self { file, build, attempt })
    }
}

/// The build of a live attempt of the caller. Refuses an attempt that is not live, or is another
/// worker's.
async fn held(
    store: &Store,
    caller: &Caller,
    attempt: AttemptId,
    epoch: Epoch,
) -> Result<BuildId, Status> {
    let holder = store.lease_fetch_worker(attempt, epoch).await?;
    let owner = match &holder {
        Some((worker, _)) => Some(worker.clone()),
        None => store.attempt_fetch_worker(attempt).await?,
    };
    if let Some(owner) = owner {
        caller.must_be(&owner, &format!("attempt {attempt}"))?;
    }
    holder.map(|(_, build)| build).ok_or_else(|| {
        Status::failed_precondition(format!(
            "attempt {attempt} is not held under epoch {epoch}; stop it"
        ))
    })
}
