//! The connection to the signer, over its Unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use rpmfarm_core::signing::{Logged, PROTOCOL, Place};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::signer_client::SignerClient as Client;
use tonic::Status;
use tonic::transport::Channel;

use crate::local;

/// Headers are some kilobytes, the kernel's some megabytes; in bytes.
const MAX_MESSAGE: usize = 40 << 20;

/// A client of the signer. Connects when it is first used, and again when the signer was away.
#[derive(Debug, Clone)]
pub struct SignerClient {
    channel: Channel,
    socket: PathBuf,
    /// What was answered lately of each key.
    lately: Arc<Mutex<HashMap<String, Lately>>>,
}

/// When a key was asked for, and the key; none when the signer did not give it.
type Lately = (Instant, Option<v1::PublicKey>);

/// How long an answer of before is good enough for those who only look whether a key has changed.
const LATELY: Duration = Duration::from_secs(2);

/// How long they wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

impl SignerClient {
    /// A client of the signer that listens on this socket.
    ///
    /// # Panics
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let channel = local::channel(socket);
        Self { channel, socket: socket.to_owned(), lately: Arc::default() }
    }

    fn client(&self) -> Client<Channel> {
        Client::new(self.channel.clone()).max_encoding_message_size(MAX_MESSAGE)
    }

    fn explain(&self, status: Status) -> anyhow::Error {
        match status.code() {
            tonic::Code::Unavailable => anyhow::anyhow!(
                "the signer does not answer at {}: {}; is rpmfarm-signer running?",
                self.socket.display(),
                status.message()
            ),
            tonic::Code::Unimplemented => anyhow::anyhow!(
                "the signer at {} is older than this coordinator, which speaks protocol {PROTOCOL} \
                 to it: update rpmfarm-signer",
                self.socket.display()
            ),
            _ => anyhow::anyhow!("the signer refused: {}", status.message()),
        }
    }

    /// Signs a header.
    ///
    /// # Errors
    /// When the signer refuses or does not answer.
    pub async fn sign_header(
        &self,
        request: v1::SignHeaderRequest,
    ) -> anyhow::Result<v1::Signature> {
        let answer = self.client().sign_header(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// Signs the page of a repository.
    ///
    /// # Errors
    /// When the signer refuses or does not answer.
    pub async fn sign_repomd(
        &self,
        key: &str,
        place: &Place,
        data: Vec<u8>,
    ) -> anyhow::Result<v1::Signature> {
        let Place { target, channel, path } = place.clone();
        let (key, data) = (key.into(), data.into());
        let request =
            v1::SignRepomdRequest { key, target, channel, path, data, protocol: PROTOCOL };
        let answer = self.client().sign_repomd(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// The newest revision that the signer has signed of a channel; 0 when none.
    ///
    /// # Errors
    /// When the signer does not answer.
    pub async fn revision(&self, target: &str, channel: &str) -> anyhow::Result<u64> {
        let request = v1::GetRevisionRequest { target: target.into(), channel: channel.into() };
        let answer = self.client().get_revision(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner().revision)
    }

    /// How the signer is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<v1::SignerStatus> {
        let answer = self.client().get_status(v1::GetSignerStatusRequest {}).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// Whether the signer's log goes on from where it was.
    ///
    /// # Errors
    /// When the signer does not answer.
    pub async fn check_log(&self, logged: &Logged) -> anyhow::Result<v1::LogCheck> {
        let Logged { log, line, digest } = logged.clone();
        let request = v1::LogPosition { log, line, digest: digest.hex() };
        let answer = self.client().check_log(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// The public part of a key as the signer gave it now or shortly before; `None` when it did
    /// not. Cheap to ask often.
    pub async fn known_key(&self, key: &str) -> Option<v1::PublicKey> {
        let lately = |known: &HashMap<String, Lately>| {
            known.get(key).filter(|(at, _)| at.elapsed() < LATELY).map(|(_, key)| key.clone())
        };
        if let Some(known) = lately(&self.lately.lock()) {
            return known;
        }
        let asked = tokio::time::timeout(PATIENCE, self.public_key(key)).await;
        let found = asked.ok().and_then(Result::ok);
        let mut known = self.lately.lock();
        known.insert(key.to_owned(), (Instant::now(), found.clone()));
        found
    }

    /// The public part of a key.
    ///
    /// # Errors
    /// When there is no such key or the signer does not answer.
    pub async fn public_key(&self, key: &str) -> anyhow::Result<v1::PublicKey> {
        let answer = self.client().get_key(v1::GetKeyRequest { key: key.into() }).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }
}

/// Where a signature is in the signer's log.
///
/// # Errors
/// When the signer did not say so.
pub fn logged(signature: &v1::Signature) -> anyhow::Result<Logged> {
    let position = signature.logged.clone().context("the signer does not say where it logged")?;
    let v1::LogPosition { log, line, digest } = position;
    let digest = digest.parse().context("the digest of the signer's log")?;
    Ok(Logged { log, line, digest })
}
