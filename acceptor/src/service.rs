//! The gRPC service: wire to request, request to verdict, verdict to log, and only then the answer.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::name;
use rpmfarm_core::statement::{PROTOCOL, SignedAcceptance};
use rpmfarm_core::{AttemptId, Failure, FailureStage, Fault};
use rpmfarm_guarded::blobs::Blobs;
use rpmfarm_guarded::key::SigningKey;
use rpmfarm_proto::v1;
use tokio::sync::{Notify, Semaphore};
use tonic::{Request, Response, Status};

use crate::book::{Book, BookError};
use crate::check::{self, CheckError, CheckedFile};
use crate::event::Event;
use crate::memory::Replay;
use crate::request::Asked;
use crate::workers::{Untrusted, Workers};

/// The stage of its failures, the same as for other failures of results.
const STAGE: FailureStage = FailureStage::Accept;

/// How many logged denials are remembered, so that they are not logged again.
const DENIALS: usize = 1024;

#[derive(Debug, Clone)]
pub struct AcceptorService(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    key: SigningKey,
    blobs: Blobs,
    workers: Workers,
    /// Locked for one acceptance after the other.
    book: Mutex<Book>,
    /// The denials that were logged.
    reported: Mutex<BTreeSet<String>>,
    /// Woken when the log has failed.
    failed: Notify,
    /// Limits how many packages are read at once, since reading needs a processor.
    places: Arc<Semaphore>,
}

/// Why results are not accepted.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error(
        "the signature of worker {worker} (key {key}) is not over these results of attempt {attempt}"
    )]
    Signature { worker: String, key: String, attempt: AttemptId },
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error(transparent)]
    Replay(#[from] Replay),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Log(#[from] BookError),
}

impl Denied {
    /// Whose fault it is; `None` when the results may be accepted later.
    const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Signature { .. } => Some(Fault::Worker),
            Self::Check(error) => error.fault(),
            Self::Untrusted(_) | Self::Replay(_) | Self::Log(_) => None,
        }
    }
}

impl AcceptorService {
    /// A service that accepts results in this blob store, of these workers, with this key and this
    /// log.
    #[must_use]
    pub fn new(key: SigningKey, blobs: &Path, workers: Workers, book: Book) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Desk {
            key,
            blobs: Blobs::new(blobs),
            workers,
            book: Mutex::new(book),
            reported: Mutex::default(),
            failed: Notify::new(),
            places: Arc::new(Semaphore::new(cores)),
        }))
    }

    /// Returns when the log has failed.
    pub async fn failed(&self) {
        self.0.failed.notified().await;
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// Checks a request, and returns the verdict.
    fn verdict(&self, asked: &Asked) -> v1::accept_reply::Verdict {
        use v1::accept_reply::Verdict;
        match self.accept(asked) {
            Ok(acceptances) => {
                let acceptances = acceptances.iter().map(Into::into).collect();
                Verdict::Accepted(v1::Accepted { acceptances })
            }
            Err(denied) => {
                let reason = denied.to_string();
                self.log_refusal(asked, &reason);
                match denied.fault() {
                    Some(fault) => {
                        Verdict::Refused(v1::Failure::from(&Failure::new(fault, STAGE, reason)))
                    }
                    None => Verdict::Waits(reason),
                }
            }
        }
    }

    fn accept(&self, asked: &Asked) -> Result<Vec<SignedAcceptance>, Denied> {
        if !asked.is_signed() {
            let (worker, key) = (asked.worker.clone(), asked.proof.key.to_string());
            return Err(Denied::Signature { worker, key, attempt: asked.attempt });
        }
        // Checked before any file is read.
        self.workers.check(&asked.worker, asked.proof.key)?;
        self.book().memory.accepted_at(asked.task, asked.attempt, asked.set())?;
        let found = check::files(&self.blobs, asked)?;
        let time = self.record_acceptance(asked, &found)?;
        let sign = |found: &CheckedFile| {
            let text = asked.acceptance(found, time).to_text();
            let signature = self.key.sign(text.as_bytes());
            SignedAcceptance { text, signature }
        };
        Ok(found.iter().map(sign).collect())
    }

    /// Logs the acceptance, and returns its time. Of two concurrent requests for different results
    /// only one succeeds.
    fn record_acceptance(&self, asked: &Asked, found: &[CheckedFile]) -> Result<u64, Denied> {
        let mut book = self.book();
        let (worker, key) = (&asked.worker, asked.proof.key);
        let is_known = self.workers.check(worker, key)?;
        let set = asked.set();
        if let Some(at) = book.memory.accepted_at(asked.task, asked.attempt, set)? {
            return Ok(at);
        }
        let mut events = Vec::with_capacity(found.len() + 2);
        if book.memory.key(worker) != Some(key) || !is_known {
            events.push(Event::Worker { worker: worker.clone(), key, by_hand: is_known });
        }
        events.extend(found.iter().map(|found| package(asked, found)));
        let (task, attempt, input, at) = (asked.task, asked.attempt, asked.proof.input, seconds());
        events.push(Event::Attempt { task, attempt, set, input, key, at });
        book.append(events).inspect_err(|_| self.failed.notify_one())?;
        if !is_known {
            self.workers.learn(worker, key)?;
        }
        Ok(at)
    }

    /// Logs a denial, once. The request is denied even if that fails.
    fn log_refusal(&self, asked: &Asked, reason: &str) {
        let (worker, attempt) = (asked.worker.clone(), asked.attempt);
        tracing::warn!(worker, attempt = attempt.0, reason, "not accepted");
        let mut reported = self.reported.lock();
        if reported.len() >= DENIALS {
            reported.clear();
        }
        if reported.insert(format!("{attempt} {reason}")) {
            let event = Event::Denied { worker, attempt, reason: reason.to_owned() };
            if let Err(error) = self.book().append(vec![event]) {
                tracing::error!(%error, "the denial is not logged");
                self.failed.notify_one();
            }
        }
    }

    fn status(&self) -> Result<v1::AcceptorStatus, Untrusted> {
        let waiting = self.workers.waiting()?.into_iter();
        Ok(v1::AcceptorStatus {
            protocol: PROTOCOL,
            key: self.key.public().to_string(),
            only_known: self.workers.are_all_known(),
            workers: u32::try_from(self.workers.known()?.len()).unwrap_or(u32::MAX),
            accepted: self.book().memory.accepted(),
            waiting: waiting.map(|(name, _)| name).collect(),
        })
    }
}

fn package(asked: &Asked, found: &CheckedFile) -> Event {
    Event::Package {
        target: asked.target.clone(),
        build: asked.build,
        attempt: asked.attempt,
        worker: asked.worker.clone(),
        nevra: found.nevra.to_string(),
        file: found.file,
        header: found.header,
    }
}

/// Seconds since 1970, by the acceptor's own clock.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[tonic::async_trait]
impl v1::acceptor_server::Acceptor for AcceptorService {
    async fn accept(
        &self,
        request: Request<v1::AcceptRequest>,
    ) -> Result<Response<v1::AcceptReply>, Status> {
        let message = request.into_inner();
        if message.protocol < PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "the coordinator speaks protocol {} to the acceptor, which needs {PROTOCOL}: update \
                 rpmfarm-coordinator together with rpmfarm-acceptor",
                message.protocol
            )));
        }
        let asked = Asked::try_from(message).inspect_err(|error| {
            tracing::warn!(reason = name::shown(&error.to_string()), "no request");
        })?;
        let cut = || Status::unavailable("the acceptor stopped before it had checked this");
        let place = self.0.places.clone().acquire_owned().await.map_err(|_| cut())?;
        let desk = self.0.clone();
        let work = tokio::task::spawn_blocking(move || {
            let verdict = desk.verdict(&asked);
            drop(place);
            verdict
        });
        let verdict = Some(work.await.map_err(|_| cut())?);
        Ok(Response::new(v1::AcceptReply { verdict }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetAcceptorStatusRequest>,
    ) -> Result<Response<v1::AcceptorStatus>, Status> {
        let status = self.0.status().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(status))
    }
}
