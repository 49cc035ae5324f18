//! The connection to the signer, over its Unix socket.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use rpmfarm_core::Target;
use rpmfarm_core::signing::{LogHead, PROTOCOL, RepositoryId};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::signer_client::SignerClient as Client;
use tonic::Status;
use tonic::transport::Channel;

use crate::clock::Clock;
use crate::local;

/// The largest message, in bytes: headers have some kilobytes, that of the kernel some megabytes.
const MAX_MESSAGE: usize = 40 << 20;

/// A client of the signer. Connects at its first use, and again after the signer was away.
#[derive(Debug, Clone)]
pub struct SignerClient {
    connection: SignerConnection,
    socket: PathBuf,
    /// The recent answers for each key.
    lately: Arc<Mutex<HashMap<String, CachedKey>>>,
}

/// The connection to the signer.
#[derive(Clone)]
enum SignerConnection {
    /// Over its socket.
    Socket(Channel),
    /// In a simulation.
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn v1::signer_server::Signer>),
}

impl fmt::Debug for SignerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignerConnection")
    }
}

/// Makes a call of the signer, and describes its error.
macro_rules! ask {
    ($signer:ident.$call:ident($request:expr)) => {{
        let answer = match &$signer.connection {
            SignerConnection::Socket(channel) => client(channel).$call($request).await,
            #[cfg(feature = "simulation")]
            SignerConnection::Simulated(signer) => {
                signer.$call(tonic::Request::new($request)).await
            }
        };
        Ok(answer.map_err(|status| $signer.explain(status))?.into_inner())
    }};
}

fn client(channel: &Channel) -> Client<Channel> {
    Client::new(channel.clone()).max_encoding_message_size(MAX_MESSAGE)
}

/// The time of an answer, and the key; `None` when the signer did not give it.
type CachedKey = (Instant, Option<v1::PublicKey>);

/// How long an answer is reused by callers that only check whether a key has changed.
const LATELY: Duration = Duration::from_secs(2);

/// How long these callers wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

impl SignerClient {
    /// A client of the signer that listens on this socket.
    ///
    /// # Panics
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let connection = SignerConnection::Socket(local::channel(socket));
        Self { connection, socket: socket.to_owned(), lately: Arc::default() }
    }

    /// A client of a simulated signer.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(signer: Arc<dyn v1::signer_server::Signer>) -> Self {
        let (connection, socket) = (SignerConnection::Simulated(signer), PathBuf::new());
        Self { connection, socket, lately: Arc::default() }
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
        ask!(self.sign_header(request))
    }

    /// Signs a `repomd.xml`.
    ///
    /// # Errors
    /// When the signer refuses or does not answer.
    pub async fn sign_repomd(
        &self,
        key: &str,
        place: &RepositoryId,
        data: Vec<u8>,
    ) -> anyhow::Result<v1::Signature> {
        let RepositoryId { target, channel, path } = place.clone();
        let (key, data) = (key.into(), data.into());
        let request =
            v1::SignRepomdRequest { key, target, channel, path, data, protocol: PROTOCOL };
        ask!(self.sign_repomd(request))
    }

    /// The highest revision of a channel that the signer has signed; 0 when none.
    ///
    /// # Errors
    /// When the signer does not answer.
    pub async fn revision(&self, target: &str, channel: &str) -> anyhow::Result<u64> {
        let request = v1::GetRevisionRequest { target: target.into(), channel: channel.into() };
        let answer: anyhow::Result<v1::SignedRevision> = ask!(self.get_revision(request));
        Ok(answer?.revision)
    }

    /// The signer's state.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<v1::SignerStatus> {
        ask!(self.get_status(v1::GetSignerStatusRequest {}))
    }

    /// Whether the signer's log continues from this earlier head.
    ///
    /// # Errors
    /// When the signer does not answer.
    pub async fn check_log(&self, logged: &LogHead) -> anyhow::Result<v1::LogCheck> {
        let LogHead { log, line, digest } = logged.clone();
        let request = v1::LogPosition { log, line, digest: digest.hex() };
        ask!(self.check_log(request))
    }

    /// The public part of a key as the signer gave it recently; `None` when it did not. Cheap to
    /// call often.
    pub async fn known_key(&self, key: &str) -> Option<v1::PublicKey> {
        let lately = |known: &HashMap<String, CachedKey>| {
            let now = Clock.instant();
            let lately = |at: Instant| now.saturating_duration_since(at) < LATELY;
            known.get(key).filter(|(at, _)| lately(*at)).map(|(_, key)| key.clone())
        };
        if let Some(known) = lately(&self.lately.lock()) {
            return known;
        }
        let found = tokio::select! {
            biased;
            key = self.public_key(key) => key.ok(),
            () = Clock.sleep(PATIENCE) => None,
        };
        let mut known = self.lately.lock();
        known.insert(key.to_owned(), (Clock.instant(), found.clone()));
        found
    }

    /// The public parts of all keys of a target, as its clients import them, in one text; `None`
    /// when the signer did not give one of them recently. Cheap to call often.
    pub async fn known_keys(&self, target: &Target) -> Option<String> {
        let mut armored = String::new();
        for key in target.accepted_keys() {
            armored.push_str(&self.known_key(key).await?.armored);
        }
        Some(armored)
    }

    /// The same, asked now.
    ///
    /// # Errors
    /// When there is no such key or the signer does not answer.
    pub async fn public_keys(&self, target: &Target) -> anyhow::Result<String> {
        let mut armored = String::new();
        for key in target.accepted_keys() {
            let found = self.public_key(key).await;
            let found =
                found.with_context(|| format!("the key `{key}` of target {}", target.name))?;
            armored.push_str(&found.armored);
        }
        Ok(armored)
    }

    /// The public part of a key.
    ///
    /// # Errors
    /// When there is no such key or the signer does not answer.
    pub async fn public_key(&self, key: &str) -> anyhow::Result<v1::PublicKey> {
        ask!(self.get_key(v1::GetKeyRequest { key: key.into() }))
    }
}

/// The position of a signature in the signer's log.
///
/// # Errors
/// When the signer did not send it.
pub fn logged(signature: &v1::Signature) -> anyhow::Result<LogHead> {
    let position = signature
        .logged
        .clone()
        .context("the signer's answer does not have the position in its log")?;
    let v1::LogPosition { log, line, digest } = position;
    let digest = digest.parse().context("the digest of the signer's log")?;
    Ok(LogHead { log, line, digest })
}
