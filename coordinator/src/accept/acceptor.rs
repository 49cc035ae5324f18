//! A client of the acceptor, the process that reads results once more and signs that it accepts
//! them. A coordinator that an attacker controls cannot make the acceptor sign a result that no
//! worker signed. The signatures go with the packages to the signer.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rpmfarm_core::limits::Limits;
use rpmfarm_core::statement::{Acceptance, PROTOCOL, Proof, SignedAcceptance};
use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::why::NOT_ACCEPTED;
use rpmfarm_core::{Failure, FailureStage, Fault, Sha256};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::accept_reply::Verdict;
use rpmfarm_proto::v1::acceptor_client::AcceptorClient as Client;
use tonic::Status;
use tonic::transport::Channel;

use super::refused::AcceptError;
use crate::local;
use crate::store::{Build, EndedAttempt, FencedStore, Task};
use crate::wait_reasons::LocalWaitReasons;

/// The largest message, in bytes: room for as many files as an attempt may have.
const MAX_MESSAGE: usize = 16 << 20;

/// A client of the acceptor.
#[derive(Debug, Clone)]
pub struct AcceptorClient {
    channel: Channel,
    socket: PathBuf,
}

impl AcceptorClient {
    /// A client of the acceptor that listens on this socket.
    ///
    /// # Panics
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { channel: local::channel(socket), socket: socket.to_owned() }
    }

    fn client(&self) -> Client<Channel> {
        Client::new(self.channel.clone())
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE)
    }

    fn explain(&self, status: &Status) -> anyhow::Error {
        match status.code() {
            tonic::Code::Unavailable => anyhow::anyhow!(
                "the acceptor does not answer at {}: {}; is rpmfarm-acceptor running?",
                self.socket.display(),
                status.message()
            ),
            _ => anyhow::anyhow!("the acceptor says: {}", status.message()),
        }
    }

    /// Asks for the acceptance of an attempt's results.
    ///
    /// # Errors
    /// When the acceptor does not answer.
    pub async fn accept(&self, request: v1::AcceptRequest) -> anyhow::Result<Verdict> {
        let answer = self.client().accept(request).await;
        let reply = answer.map_err(|status| self.explain(&status))?.into_inner();
        reply.verdict.context("the acceptor gives no verdict: update rpmfarm-coordinator")
    }

    /// Asks for the acceptor's state.
    ///
    /// # Errors
    /// When the acceptor does not answer.
    pub async fn status(&self) -> anyhow::Result<v1::AcceptorStatus> {
        let answer = self.client().get_status(v1::GetAcceptorStatusRequest {}).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }
}

/// The acceptances, each with the digest of its file.
pub(super) type Acceptances = Vec<(Sha256, SignedAcceptance)>;

/// Has the acceptor accept an attempt's results. Empty where no acceptor is set up. The results of
/// a repetition are never signed.
///
/// # Errors
/// When the acceptor refuses the results or gives no verdict now; in the second case the wait
/// reason of the build says why.
pub(super) async fn acceptances(
    (acceptor, waits): (Option<&AcceptorClient>, &LocalWaitReasons),
    store: &FencedStore,
    (ended, task): (&EndedAttempt, &Task),
    success: &Success,
    build: &Build,
    limits: &Limits,
) -> Result<Acceptances, AcceptError> {
    let Some(acceptor) = acceptor else { return Ok(Vec::new()) };
    if task.kind == TaskKind::Repeat {
        return Ok(Vec::new());
    }
    let proof = proof(store, ended, task, success).await?;
    let request = request((ended, task), success, proof, build, limits);
    let wait = |reason: anyhow::Error| {
        waits.set(ended.build, format!("{NOT_ACCEPTED}: {reason:#}"));
        AcceptError::Error(reason)
    };
    match acceptor.accept(request).await.map_err(wait)? {
        Verdict::Accepted(accepted) => {
            waits.clear_said(ended.build, NOT_ACCEPTED);
            Ok(read(accepted, success, build).context("the acceptor's answer")?)
        }
        Verdict::Refused(failure) => {
            let failure = Failure::try_from(failure).context("the acceptor's answer")?;
            Err(AcceptError::Failure(failure))
        }
        Verdict::Waits(reason) => Err(wait(anyhow::anyhow!("the acceptor says: {reason}"))),
    }
}

/// The worker's signature over its results, with the assignment that it signed.
async fn proof<'a>(
    store: &FencedStore,
    ended: &EndedAttempt,
    task: &Task,
    success: &'a Success,
) -> Result<&'a Proof, AcceptError> {
    let worker = &ended.attempt.worker;
    let refused =
        |message| AcceptError::Failure(Failure::new(Fault::Worker, FailureStage::Accept, message));
    let proof = success.proof.as_deref().ok_or_else(|| {
        refused(format!(
            "worker {worker} has not signed its results, which the acceptor wants: update \
             rpmfarm-worker"
        ))
    })?;
    if task.kind != TaskKind::Srpm {
        let srpm = store.srpm_fetch(ended.build).await?.context("a build task has an SRPM")?;
        if srpm.digest != proof.input {
            return Err(refused(format!(
                "worker {worker} has signed that it built the source package {}, not {}",
                proof.input, srpm.digest
            )));
        }
    }
    Ok(proof)
}

fn request(
    (ended, task): (&EndedAttempt, &Task),
    success: &Success,
    proof: &Proof,
    build: &Build,
    limits: &Limits,
) -> v1::AcceptRequest {
    v1::AcceptRequest {
        target: build.target.clone(),
        build: ended.build.0,
        task: task.id.0,
        attempt: ended.attempt.id.0,
        kind: task.kind.as_str().to_owned(),
        arch: task.arch.as_str().to_owned(),
        package: build.package.clone(),
        worker: ended.attempt.worker.clone(),
        proof: Some(proof.into()),
        files: success.files.iter().map(Into::into).collect(),
        limits: Some(limits.into()),
        protocol: PROTOCOL,
    }
}

/// Reads the acceptances, and checks that they are of these files.
fn read(accepted: v1::Accepted, success: &Success, build: &Build) -> anyhow::Result<Acceptances> {
    let (given, wanted) = (accepted.acceptances.len(), success.files.len());
    anyhow::ensure!(given == wanted, "it has {given} acceptances of {wanted} files");
    let files = success.files.iter().zip(accepted.acceptances);
    files
        .map(|(file, wire)| {
            let signed = SignedAcceptance::try_from(wire)?;
            let acceptance = Acceptance::parse(&signed.text)?;
            let is_it = acceptance.file == file.digest && acceptance.target == build.target;
            anyhow::ensure!(is_it, "it is not about {}", file.name);
            Ok((file.digest, signed))
        })
        .collect()
}
