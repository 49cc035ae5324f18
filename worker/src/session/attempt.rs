//! The run of one attempt: rounds, logs, uploads, outcome.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::statement::{Proof, Statement, input_digest};
use rpmfarm_core::task::{Assignment, LogName, Outcome, Phase, Progress, Success};
use rpmfarm_core::{Arch, Failure, FailureStage, Fault, Lock};
use rpmfarm_guarded::key::SigningKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::attempts::{AttemptKey, Attempts, StartedAttempt};
use super::disk_budget::DiskBudget;
use super::files::{RemoteFiles, raised};
use super::slots::WorkerSlots;
use crate::arches::Arches;
use crate::build::{
    BuildOutput, Engine, FinishedBuild, Observer, RequiresRound, kept_files, log_file,
};
use crate::cages::{CancelFlag, CancelReason};
use crate::files::FilesError;
use crate::transfer::ship::LogShipment;
use crate::transfer::upload::{keep_files, upload};
use crate::transfer::{CoordinatorConnection, FileCache};
use crate::trees;

/// The parts that all attempts share.
pub struct AttemptContext {
    pub engine: Arc<Engine>,
    /// The connection to the coordinator.
    pub connection: CoordinatorConnection,
    /// Files that were fetched before.
    pub cache: FileCache,
    /// Where attempts have their directories.
    pub directory: PathBuf,
    /// How many run at once.
    pub slots: WorkerSlots,
    pub attempts: Attempts,
    /// Keeps space free for further attempts.
    pub disk_budget: DiskBudget,
    /// The architectures that this host runs.
    pub arches: Arc<Arches>,
    /// Signs the results of attempts.
    pub signer: ResultSigner,
}

/// A worker's name and signing key.
pub struct ResultSigner {
    pub worker: String,
    /// Its signing key. Not that of its certificate: certificates change, and a worker with the
    /// farm's token has none.
    pub key: SigningKey,
}

impl ResultSigner {
    /// A signature of the files that an attempt made.
    fn proof(&self, assignment: &Assignment, files: &[ResultFile]) -> Proof {
        let Assignment { target, build, task, attempt, package, arch, .. } = assignment;
        let input = input_digest(&assignment.input);
        let statement = Statement {
            worker: &self.worker,
            target,
            build: *build,
            task: *task,
            attempt: *attempt,
            kind: assignment.kind(),
            package,
            arch: *arch,
            input,
            files,
        };
        let signature = self.key.sign(&statement.to_bytes());
        Proof { key: self.key.public(), input, signature }
    }
}

/// How many rounds an attempt may have.
const MAX_ROUNDS: u32 = 20;

/// How long the upload of a failed build's kept files may take. The attempt's end waits for it.
const KEEPING: Duration = Duration::from_secs(60);

/// The outcome of an attempt; `None` when it is no longer wanted.
type AttemptEnd = Option<Outcome>;

/// Runs an attempt to its end.
pub async fn run(shared: Arc<AttemptContext>, key: AttemptKey, mut started: StartedAttempt) {
    let kind = started.assignment.borrow().kind();
    let Some(_slot) = shared.slots.take(kind).await else { return };
    let directory = shared.directory.join(format!("{}-{}", key.0, key.1));
    let attempt =
        AttemptRun { shared: &shared, key, directory: &directory, cancel: &started.cancel };
    let ended = attempt.run(&mut started.assignment).await;
    match &ended {
        Some(Outcome::Succeeded(success)) => {
            tracing::info!(files = success.files.len(), "succeeded");
        }
        Some(Outcome::Failed(failure)) => tracing::info!("failed: {failure}"),
        None => tracing::info!("no longer wanted"),
    }
    // Reported before the files are removed, which the farm need not wait for.
    if let Some(outcome) = ended {
        shared.attempts.set(key, Progress::Ended(outcome));
    }
    if let Err(error) = trees::remove(&directory) {
        tracing::warn!(%error, directory = %directory.display(), "an attempt's files could not be removed");
    }
    // Only now: until then the same attempt is not started again, which would use the same
    // directory.
    shared.attempts.done(key);
    // In the background, so that the slot is free at once.
    let shared = Arc::clone(&shared);
    tokio::task::spawn_blocking(move || shared.disk_budget.free_space());
}

struct AttemptRun<'a> {
    shared: &'a Arc<AttemptContext>,
    key: AttemptKey,
    directory: &'a Path,
    cancel: &'a CancelFlag,
}

/// The logs of an attempt that are being sent.
struct AttemptLogs {
    complete: watch::Sender<bool>,
    shipping: Vec<JoinHandle<()>>,
}

/// Reports the phase of an attempt to the session.
struct ProgressReporter {
    attempts: Attempts,
    key: AttemptKey,
}

impl Observer for ProgressReporter {
    fn phase(&self, phase: Phase) {
        self.attempts.set(self.key, Progress::Running(phase));
    }
}

impl AttemptRun<'_> {
    async fn run(&self, assignment: &mut watch::Receiver<Assignment>) -> AttemptEnd {
        // A directory of the same attempt was left by an earlier process.
        let _ = trees::remove(self.directory);
        if let Err(error) = fs::create_dir_all(self.directory) {
            let message = format!("cannot make {}: {error}", self.directory.display());
            return Some(failed(Failure::new(Fault::Worker, FailureStage::Fetch, message)));
        }
        let logs = self.ship_logs();
        let ended = self.rounds(assignment).await;
        logs.complete.send_replace(true);
        // The logs are complete before the end is reported, unless nobody waits for them.
        for shipping in logs.shipping {
            let abort = shipping.abort_handle();
            tokio::select! {
                _ = shipping => {}
                () = self.given_up() => abort.abort(),
            }
        }
        ended
    }

    /// Completes when the attempt is cancelled; after a shutdown the last lines of the log get a
    /// moment.
    async fn given_up(&self) {
        loop {
            match self.cancel.raised() {
                Some(CancelReason::Shutdown) => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    return;
                }
                Some(_) => return,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn ship_logs(&self) -> AttemptLogs {
        let (complete, watched) = watch::channel(false);
        let ship = |log: LogName| {
            let shipment = LogShipment {
                connection: self.shared.connection.clone(),
                attempt: self.key.0,
                epoch: self.key.1,
                log,
                path: log_file(self.directory, log),
            };
            tokio::spawn(shipment.run(watched.clone()).in_current_span())
        };
        AttemptLogs { complete, shipping: LogName::ALL.map(ship).into() }
    }

    async fn rounds(&self, assignment: &mut watch::Receiver<Assignment>) -> AttemptEnd {
        loop {
            let current = assignment.borrow_and_update().clone();
            let round = current.round;
            match self.round(current.clone()).await {
                FinishedBuild::Made(made) => return self.upload(&current, made).await,
                FinishedBuild::Failed(failure) => {
                    self.keep_files().await;
                    return Some(failed(failure));
                }
                FinishedBuild::Cancelled(why) => return self.cancelled(why),
                FinishedBuild::NeedsRequires(_) if round >= MAX_ROUNDS => {
                    let message = format!(
                        "%generate_buildrequires still asks for more after {MAX_ROUNDS} rounds"
                    );
                    return Some(failed(Failure::new(
                        Fault::Package,
                        FailureStage::Requires,
                        message,
                    )));
                }
                FinishedBuild::NeedsRequires(requires) => {
                    let progress = Progress::NeedsRequires { round, requires };
                    self.shared.attempts.set(self.key, progress);
                }
            }
            tokio::select! {
                // The sender lives as long as the attempt is known.
                _ = assignment.wait_for(|next| next.round > round) => {}
                why = raised(self.cancel) => return self.cancelled(why),
            }
        }
    }

    /// Uploads the kept files of a failed build. An error here does not change the failure, and
    /// delays it only for a limited time.
    async fn keep_files(&self) {
        let ended = tokio::select! {
            ended = tokio::time::timeout(KEEPING, self.upload_kept()) => ended,
            _ = raised(self.cancel) => return,
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "files of the failed build are not kept"),
            Err(_) => tracing::warn!("files of the failed build took too long to be kept"),
        }
    }

    /// The same, returning the error.
    async fn upload_kept(&self) -> std::result::Result<(), String> {
        let files = kept_files::list(self.directory).map_err(|error| error.to_string())?;
        if files.is_empty() {
            return Ok(());
        }
        let connection = &self.shared.connection;
        for (number, file) in files.iter().enumerate() {
            let named = ResultFile {
                name: format!("kept-{number}"),
                kind: ResultKind::Rpm,
                digest: file.digest,
                size: file.size,
            };
            let path = kept_files::copy_of(self.directory, number);
            let uploaded = upload(connection, self.key.0, self.key.1, &named, &path).await;
            uploaded.map_err(|failure| failure.to_string())?;
        }
        let kept = keep_files(connection, self.key.0, self.key.1, &files).await;
        kept.map_err(|status| status.message().to_owned())
    }

    fn cancelled(&self, why: CancelReason) -> AttemptEnd {
        // Neither is the worker's fault, and the stage says so.
        let (stage, message) = match why {
            CancelReason::Shutdown => (FailureStage::Shutdown, "the worker was shut down"),
            CancelReason::LeaseLost => {
                (FailureStage::Connection, "the worker lost the coordinator")
            }
            CancelReason::Unwanted => return None,
        };
        Some(failed(Failure::new(Fault::Worker, stage, message)))
    }

    /// One round, on a thread of its own, because it must outlive everything that it starts.
    async fn round(&self, assignment: Assignment) -> FinishedBuild {
        let observer = ProgressReporter { attempts: self.shared.attempts.clone(), key: self.key };
        let files = RemoteFiles {
            connection: self.shared.connection.clone(),
            cache: self.shared.cache.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let (shared, cancel) = (Arc::clone(self.shared), self.cancel.clone());
        let directory = self.directory.to_path_buf();
        let span = tracing::Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _span = span.entered();
            let lock = match fetch_lock(&files, &assignment, &cancel) {
                Ok(lock) => lock,
                Err(done) => return done,
            };
            let done = shared.engine.run(&RequiresRound {
                assignment: &assignment,
                lock: &lock,
                directory: &directory,
                files: &files,
                observer: &observer,
                cancel: &cancel,
            });
            blame(done, assignment.arch, &shared.arches)
        });
        task.await.unwrap_or_else(|error| {
            let message = format!("the worker failed in an unforeseen way: {error}");
            FinishedBuild::Failed(Failure::new(Fault::Worker, FailureStage::Build, message))
        })
    }

    async fn upload(&self, assignment: &Assignment, made: BuildOutput) -> AttemptEnd {
        self.shared.attempts.set(self.key, Progress::Running(Phase::Upload));
        let results = self.directory.join("results");
        for file in &made.files {
            let path = results.join(&file.name);
            let uploaded = tokio::select! {
                uploaded = upload(&self.shared.connection, self.key.0, self.key.1, file, &path) => uploaded,
                why = raised(self.cancel) => return self.cancelled(why),
            };
            if let Err(failure) = uploaded {
                return Some(failed(failure));
            }
        }
        let BuildOutput { files, predicts, provides, terms, rpmbuild_ms, memory_mib, disk_mib } =
            made;
        let proof = Some(Box::new(self.shared.signer.proof(assignment, &files)));
        let success =
            Success { files, predicts, provides, terms, rpmbuild_ms, memory_mib, disk_mib, proof };
        Some(Outcome::Succeeded(success))
    }
}

/// A build that failed while its architecture does not run is not at fault: the emulator was
/// removed meanwhile.
fn blame(done: FinishedBuild, arch: Arch, arches: &Arches) -> FinishedBuild {
    let FinishedBuild::Failed(failure) = done else { return done };
    match arches.check(arch) {
        Ok(()) => FinishedBuild::Failed(failure),
        Err(error) => {
            let lost = Failure::new(Fault::Worker, failure.stage, error.to_string());
            FinishedBuild::Failed(lost.with_excerpt(failure.excerpt))
        }
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(failure)
}

/// The lock that an assignment names.
fn fetch_lock(
    files: &RemoteFiles,
    assignment: &Assignment,
    cancel: &CancelFlag,
) -> Result<Lock, FinishedBuild> {
    let fault =
        |fault, message| FinishedBuild::Failed(Failure::new(fault, FailureStage::Fetch, message));
    let bytes = files.small(assignment.lock, cancel).map_err(|error| match error {
        FilesError::Cancelled(why) => FinishedBuild::Cancelled(why),
        FilesError::Fetch { fault: whose, .. } => fault(whose, error.to_string()),
        FilesError::Local { .. } => fault(Fault::Worker, error.to_string()),
    })?;
    read_lock(&bytes, assignment).map_err(|error| {
        fault(Fault::Farm, format!("the lock {} cannot be used: {error:#}", assignment.lock))
    })
}

fn read_lock(bytes: &[u8], assignment: &Assignment) -> Result<Lock> {
    let lock = Lock::from_bytes(bytes).context("it is not a lock")?;
    anyhow::ensure!(
        lock.arch == assignment.arch,
        "it is for {}, the task for {}",
        lock.arch,
        assignment.arch
    );
    Ok(lock)
}
