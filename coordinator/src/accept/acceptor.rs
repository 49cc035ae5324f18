//! Asking the acceptor, where there is one: a process that this one cannot make believe that something
//! was built. What it signs goes with the packages to the signer.

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

use super::{AcceptStage, Refused};
use crate::local;
use crate::store::{Build, EndedAttempt, FencedStore, Task};

/// As many files as an attempt may have; in bytes.
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

    /// Asks for the acceptance of what an attempt made.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn accept(&self, request: v1::AcceptRequest) -> anyhow::Result<Verdict> {
        let answer = self.client().accept(request).await;
        let reply = answer.map_err(|status| self.explain(&status))?.into_inner();
        reply.verdict.context("the acceptor gives no verdict: update rpmfarm-coordinator")
    }

    /// How the acceptor is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<v1::AcceptorStatus> {
        let answer = self.client().get_status(v1::GetAcceptorStatusRequest {}).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }
}

/// Acceptances with the digests of the files.
pub(super) type Acceptances = Vec<(Sha256, SignedAcceptance)>;

impl AcceptStage {
    /// Has the acceptor accept what an attempt made; nothing where there is no acceptor. What is made
    /// again to be compared is never signed.
    pub(super) async fn acceptances(
        &self,
        store: &FencedStore,
        (ended, task): (&EndedAttempt, &Task),
        success: &Success,
        build: &Build,
        limits: &Limits,
    ) -> Result<Acceptances, Refused> {
        let Some(acceptor) = &self.acceptor else { return Ok(Vec::new()) };
        if task.kind == TaskKind::Repeat {
            return Ok(Vec::new());
        }
        let proof = proof(store, ended, task, success).await?;
        let request = request((ended, task), success, proof, build, limits);
        let waits = |reason: anyhow::Error| {
            self.waits.set(ended.build, format!("{NOT_ACCEPTED}: {reason:#}"));
            Refused::Error(reason)
        };
        match acceptor.accept(request).await.map_err(waits)? {
            Verdict::Accepted(accepted) => {
                self.waits.clear_said(ended.build, NOT_ACCEPTED);
                Ok(read(accepted, success, build).context("the acceptor's answer")?)
            }
            Verdict::Refused(failure) => {
                let failure = Failure::try_from(failure).context("the acceptor's answer")?;
                Err(Refused::Failure(failure))
            }
            Verdict::Waits(reason) => Err(waits(anyhow::anyhow!("the acceptor says: {reason}"))),
        }
    }
}

/// The worker's signature, which is over what the worker was given, too.
async fn proof<'a>(
    store: &FencedStore,
    ended: &EndedAttempt,
    task: &Task,
    success: &'a Success,
) -> Result<&'a Proof, Refused> {
    let worker = &ended.attempt.worker;
    let refused =
        |message| Refused::Failure(Failure::new(Fault::Worker, FailureStage::Accept, message));
    let proof = success.proof.as_deref().ok_or_else(|| {
        refused(format!(
            "worker {worker} has not signed its results, which the acceptor wants: update \
             rpmfarm-worker"
        ))
    })?;
    if task.kind != TaskKind::Srpm {
        let srpm = store.srpm(ended.build).await?.context("a build task has an SRPM")?;
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
        attempt: ended.attempt.id,
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

/// Reads the acceptances, which must be of these files.
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
