//! The gRPC service: wire to request, request to signature, signature to log, and only then the
//! answer.

use std::sync::Arc;
use std::time::SystemTime;

use rpmfarm_core::Sha256;
use rpmfarm_proto::v1;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::audit::{Audit, LogFailed, Record, Signed};
use crate::key::Key;
use crate::keys::{Keys, KeysError};
use crate::packet::PacketError;
use crate::request::{FileRequest, HeaderRequest, Refusal};

/// Signatures in work for each core. RSA fills a core, but between one and the next lie a wake-up
/// of the task and one of its thread; with only one for each core that core would idle meanwhile.
const PER_CORE: usize = 4;

/// The service over a set of keys.
#[derive(Debug, Clone)]
pub struct SignerService {
    keys: Arc<Keys>,
    audit: Audit,
    /// More than [`PER_CORE`] at once would only take threads and memory.
    places: Arc<Semaphore>,
}

/// Why a call got no signature.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{field}: {reason}")]
    Field { field: &'static str, reason: String },
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Log(#[from] LogFailed),
    #[error("signing was cut off")]
    Cut,
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Keys(_) => Self::not_found(text),
            CallError::Refused(_) => Self::failed_precondition(text),
            CallError::Field { .. } => Self::invalid_argument(text),
            CallError::Packet(_) => Self::internal(text),
            CallError::Log(_) | CallError::Cut => Self::unavailable(text),
        }
    }
}

impl SignerService {
    /// Signs with these keys, and logs there.
    #[must_use]
    pub fn new(keys: Keys, audit: Audit) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = Arc::new(Semaphore::new(cores * PER_CORE));
        Self { keys: Arc::new(keys), audit, places }
    }

    async fn header(&self, message: v1::SignHeaderRequest) -> Result<v1::Signature, CallError> {
        self.run(message.key.clone(), move |key, now| {
            let request = HeaderRequest {
                key: &message.key,
                nevra: parse("nevra", &message.nevra)?,
                header: &message.header,
                header_digest: parse("header_digest", &message.header_digest)?,
                artifact_digest: parse("artifact_digest", &message.artifact_digest)?,
                verdict: &message.verdict,
            };
            request.check()?;
            let signed = Signed::Header {
                nevra: request.nevra.to_string(),
                header: request.header_digest.hex(),
                artifact: request.artifact_digest.hex(),
                verdict: request.verdict.to_owned(),
            };
            Ok((key.sign(request.header, now)?, signed))
        })
        .await
    }

    async fn file(&self, message: v1::SignFileRequest) -> Result<v1::Signature, CallError> {
        self.run(message.key.clone(), move |key, now| {
            let request =
                FileRequest { key: &message.key, purpose: &message.purpose, data: &message.data };
            request.check()?;
            let sha256 = Sha256::of(request.data).hex();
            let signed = Signed::File { purpose: request.purpose.to_owned(), sha256 };
            Ok((key.sign_detached(request.data, now)?, signed))
        })
        .await
    }

    /// Checks and signs on a thread that may be busy, then logs.
    ///
    /// The time of a signature is the signer's own clock. A package's build time would make it
    /// the same each time, but may lie before the key was made, and would let whoever asks say
    /// when a key was used. A package is signed once; RSA itself adds no randomness.
    async fn run(
        &self,
        name: String,
        sign: impl FnOnce(&Key, SystemTime) -> Result<(Vec<u8>, Signed), CallError> + Send + 'static,
    ) -> Result<v1::Signature, CallError> {
        let fingerprint = self.keys.get(&name)?.fingerprint();
        let place = self.places.clone().acquire_owned().await.map_err(|_| CallError::Cut)?;
        let (keys, asked, now) = (self.keys.clone(), name.clone(), SystemTime::now());
        let work = tokio::task::spawn_blocking(move || {
            let result = sign(keys.get(&asked)?, now);
            drop(place);
            result
        });
        let (signature, signed) = work.await.map_err(|_| CallError::Cut)??;
        let time = jiff::Timestamp::try_from(now).map_err(|_| CallError::Cut)?.to_string();
        let record = Record { time, key: name, fingerprint: fingerprint.clone(), signed };
        self.audit.append(&record).await?;
        Ok(v1::Signature { signature: signature.into(), fingerprint })
    }
}

#[tonic::async_trait]
impl v1::signer_server::Signer for SignerService {
    async fn sign_header(
        &self,
        request: Request<v1::SignHeaderRequest>,
    ) -> Result<Response<v1::Signature>, Status> {
        let message = request.into_inner();
        let (key, nevra) = (message.key.clone(), message.nevra.clone());
        let result = self.header(message).await;
        result.map(Response::new).map_err(|error| refused(error, &key, &nevra))
    }

    async fn sign_file(
        &self,
        request: Request<v1::SignFileRequest>,
    ) -> Result<Response<v1::Signature>, Status> {
        let message = request.into_inner();
        let (key, purpose) = (message.key.clone(), message.purpose.clone());
        let result = self.file(message).await;
        result.map(Response::new).map_err(|error| refused(error, &key, &purpose))
    }

    async fn get_key(
        &self,
        request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::PublicKey>, Status> {
        let name = request.into_inner().key;
        let key = self.keys.get(&name).map_err(|error| refused(error.into(), &name, ""))?;
        let (armored, fingerprint) = (key.public().to_owned(), key.fingerprint());
        Ok(Response::new(v1::PublicKey { armored, fingerprint }))
    }
}

fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, CallError> {
    text.parse().map_err(|error: T::Err| CallError::Field { field, reason: error.to_string() })
}

fn refused(error: CallError, key: &str, what: &str) -> Status {
    let shown = rpmfarm_core::name::shown;
    tracing::warn!(key = shown(key), what = shown(what), %error, "not signed");
    error.into()
}
