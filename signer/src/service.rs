//! The gRPC service: wire to request, request to signature, signature to log, and only then the
//! answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use rpmfarm_core::signing::{self, KeyBindings, LogHead, RepositoryId, SignedPage, SigningRate};
use rpmfarm_core::statement::{Acceptance, PublicKey, SignedAcceptance};
use rpmfarm_core::{Sha256, name};
use rpmfarm_proto::v1;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::audit::{AuditLog, LogCheck, LogError};
use crate::config::Config;
use crate::event::{Accepted, Event, LogEntry};
use crate::files::PackageFiles;
use crate::key::SigningKey;
use crate::keys::{KeysError, SigningKeys};
use crate::packet::PacketError;
use crate::pause::{PauseState, PauseSwitch};
use crate::request::{HeaderRequest, RepomdRequest, RequestError};

/// Signatures in work for each core. RSA fills a core, but between one and the next lie a wake-up
/// of the task and one of its thread; with only one for each core that core would idle meanwhile.
const PER_CORE: usize = 4;

/// Refusals that are known to be logged; asked for again, they are not logged again.
const REFUSALS: usize = 1024;

/// The service over a set of keys.
#[derive(Debug, Clone)]
pub struct SignerService {
    keys: Arc<SigningKeys>,
    audit: AuditLog,
    /// More than [`PER_CORE`] at once would only take threads and memory.
    places: Arc<Semaphore>,
    rules: Arc<SigningRules>,
}

#[derive(Debug)]
struct SigningRules {
    bindings: KeyBindings,
    files: Option<PackageFiles>,
    /// The keys of acceptors; empty when the caller's word is enough.
    acceptors: Vec<PublicKey>,
    per_minute: u32,
    allowance: Mutex<SigningRate>,
    switch: PauseSwitch,
    /// The refusals that were logged.
    reported: Mutex<BTreeSet<String>>,
    /// One check of the whole log at a time.
    log_checks: tokio::sync::Mutex<()>,
}

/// Why a call got no signature.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Outdated(String),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Refused(#[from] RequestError),
    #[error("{field}: {reason}")]
    Field { field: &'static str, reason: String },
    #[error("it is paused {0} (run `rpmfarm-signer resume` to continue)")]
    Paused(PauseState),
    #[error(
        "more than {per_minute} signatures a minute (--per-minute); the next can be made in {wait} s"
    )]
    TooMany { per_minute: u32, wait: u64 },
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("signing was interrupted")]
    Cut,
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Keys(_) => Self::not_found(text),
            CallError::Outdated(_)
            | CallError::Refused(_)
            | CallError::Paused(_)
            | CallError::Log(LogError::Touched { .. }) => Self::failed_precondition(text),
            CallError::TooMany { .. } => Self::resource_exhausted(text),
            CallError::Field { .. } => Self::invalid_argument(text),
            CallError::Packet(_) => Self::internal(text),
            CallError::Log(LogError::Disk) | CallError::Cut => Self::unavailable(text),
        }
    }
}

/// The subject of a request, for logs.
struct RequestSummary {
    key: String,
    target: String,
    what: String,
}

impl SignerService {
    /// Signs with these keys what these acceptors have accepted, as the configuration says, and
    /// logs there.
    #[must_use]
    pub fn new(
        keys: SigningKeys,
        audit: AuditLog,
        acceptors: Vec<PublicKey>,
        config: &Config,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = Arc::new(Semaphore::new(cores * PER_CORE));
        let rules = SigningRules {
            bindings: config.bind.clone(),
            files: config.blobs.as_deref().map(PackageFiles::new),
            acceptors,
            per_minute: config.per_minute,
            allowance: Mutex::new(SigningRate::new(config.per_minute, Instant::now())),
            switch: PauseSwitch::new(config.state_dir()),
            reported: Mutex::default(),
            log_checks: tokio::sync::Mutex::default(),
        };
        Self { keys: Arc::new(keys), audit, places, rules: Arc::new(rules) }
    }

    /// Reads the operator's switch, and logs when it was turned.
    ///
    /// # Errors
    /// When the log could not be written.
    pub async fn check_switch(&self) -> Result<Option<PauseState>, LogError> {
        let (paused, event) = self.rules.switch.reread();
        if let Some(event) = event {
            tracing::warn!(?event, "signing was paused or resumed");
            self.audit.append(LogEntry::now(event)).await?;
        }
        Ok(paused)
    }

    async fn header(&self, message: v1::SignHeaderRequest) -> Result<v1::Signature, CallError> {
        let asked = RequestSummary {
            key: message.key.clone(),
            target: message.target.clone(),
            what: message.nevra.clone(),
        };
        let (rules, audit) = (self.rules.clone(), self.audit.clone());
        self.run(asked, message.protocol, move |key, now| {
            let request = header_request(&message)?;
            request.check()?;
            if let Some(files) = &rules.files {
                files.prove(request.artifact_digest, request.header)?;
            }
            let nevra = request.nevra.to_string();
            let accepted = rules.accepted(&request, &audit)?;
            let taken = audit.memory().take_package(request.target, &nevra, request.header_digest);
            taken.map_err(RequestError::from)?;
            let event = Event::Header {
                key: request.key.to_owned(),
                fingerprint: key.fingerprint(),
                target: request.target.to_owned(),
                nevra,
                header: request.header_digest,
                artifact: request.artifact_digest,
                file_read: rules.files.is_some(),
                build: request.build,
                accepted,
            };
            Ok((key.sign(request.header, now)?, event))
        })
        .await
    }

    async fn repomd(&self, message: v1::SignRepomdRequest) -> Result<v1::Signature, CallError> {
        let (key, target) = (message.key.clone(), message.target.clone());
        let what = format!("repomd.xml of {target}/{}/{}", message.channel, message.path);
        let asked = RequestSummary { key, target, what };
        let audit = self.audit.clone();
        self.run(asked, message.protocol, move |key, now| {
            let place = RepositoryId::new(&message.target, &message.channel, &message.path);
            let place = place.map_err(|error| CallError::Field {
                field: "repository",
                reason: error.to_string(),
            })?;
            let request = RepomdRequest { key: &message.key, place, data: &message.data };
            let page = request.check()?;
            let taken = audit.memory().take_page(request.key, &request.place, page);
            taken.map_err(RequestError::from)?;
            let SignedPage { revision, digest: sha256 } = page;
            let event = Event::Repomd {
                key: request.key.to_owned(),
                fingerprint: key.fingerprint(),
                place: request.place.clone(),
                revision,
                sha256,
            };
            Ok((key.sign_detached(request.data, now)?, event))
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
        asked: RequestSummary,
        protocol: u32,
        sign: impl FnOnce(&SigningKey, SystemTime) -> Result<(Vec<u8>, Event), CallError>
        + Send
        + 'static,
    ) -> Result<v1::Signature, CallError> {
        if let Some(text) = signing::outdated(protocol) {
            return Err(CallError::Outdated(text));
        }
        let fingerprint = self.keys.get(&asked.key)?.fingerprint();
        self.may_sign().await?;
        let signed = match self.rules.bound(&asked) {
            Ok(()) => self.sign(asked.key.clone(), sign).await,
            Err(refusal) => Err(refusal.into()),
        };
        if let Err(CallError::Refused(refusal)) = &signed {
            self.log_refusal(&asked, refusal).await?;
        }
        let (signature, entry) = signed?;
        let logged = self.audit.append(entry).await?;
        let logged = Some(position(&logged));
        Ok(v1::Signature { signature: signature.into(), fingerprint, logged })
    }

    async fn sign(
        &self,
        key: String,
        sign: impl FnOnce(&SigningKey, SystemTime) -> Result<(Vec<u8>, Event), CallError>
        + Send
        + 'static,
    ) -> Result<(Vec<u8>, LogEntry), CallError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| CallError::Cut)?;
        let (keys, now) = (self.keys.clone(), SystemTime::now());
        let work = tokio::task::spawn_blocking(move || {
            let result = sign(keys.get(&key)?, now);
            drop(place);
            result
        });
        let (signature, event) = work.await.map_err(|_| CallError::Cut)??;
        Ok((signature, LogEntry::at(now, event)))
    }

    /// Whether anything may be signed now.
    async fn may_sign(&self) -> Result<(), CallError> {
        if let Some(error) = self.audit.stopped() {
            return Err(error.into());
        }
        if let Some(paused) = self.check_switch().await? {
            return Err(CallError::Paused(paused));
        }
        self.rules.acquire_rate()
    }

    /// Logs a refusal that reveals a hostile or faulty caller, once.
    async fn log_refusal(
        &self,
        asked: &RequestSummary,
        refusal: &RequestError,
    ) -> Result<(), LogError> {
        let reason = refusal.to_string();
        if !refusal.is_telling() || !self.rules.is_new(format!("{} {}", asked.what, reason)) {
            return Ok(());
        }
        let (key, what) = (asked.key.clone(), name::shown(&asked.what));
        self.audit.append(LogEntry::now(Event::Refused { key, what, reason })).await.map(drop)
    }

    fn status(&self, paused: Option<&PauseState>) -> v1::SignerStatus {
        let keys = self.keys.iter().map(|(name, key)| {
            let bound = self.rules.bindings.targets_of(name);
            v1::SignerKey {
                name: name.to_owned(),
                fingerprint: key.fingerprint(),
                bound: bound.is_some(),
                targets: bound.into_iter().flatten().cloned().collect(),
            }
        });
        v1::SignerStatus {
            protocol: signing::PROTOCOL,
            keys: keys.collect(),
            paused: paused.map(PauseState::to_string).unwrap_or_default(),
            stopped: self.audit.stopped().map(|error| error.to_string()).unwrap_or_default(),
            head: Some(position(&self.audit.head())),
            reads_files: self.rules.files.is_some(),
            per_minute: self.rules.per_minute,
            acceptors: u32::try_from(self.rules.acceptors.len()).unwrap_or(u32::MAX),
        }
    }

    async fn check(&self, message: v1::LogPosition) -> Result<v1::LogCheck, Status> {
        let bad = |error: CallError| Status::from(error);
        let digest: Sha256 = parse("digest", &message.digest).map_err(bad)?;
        let then = LogHead { log: message.log, line: message.line, digest };
        let _only = self.rules.log_checks.lock().await;
        let audit = self.audit.clone();
        let checked = tokio::task::spawn_blocking(move || audit.goes_on_from(&then)).await;
        use v1::log_check::Finding;
        let (finding, message) = match checked.map_err(|_| bad(CallError::Cut))? {
            LogCheck::Continues(message) => (Finding::Continues, message),
            LogCheck::Elsewhere(message) => (Finding::Elsewhere, message),
            LogCheck::Broken(message) => (Finding::Broken, message),
        };
        Ok(v1::LogCheck { finding: finding.into(), message })
    }
}

impl SigningRules {
    fn bound(
        &self,
        RequestSummary { key, target, .. }: &RequestSummary,
    ) -> Result<(), RequestError> {
        if self.bindings.allow(key, target) {
            return Ok(());
        }
        let bound =
            self.bindings.targets_of(key).into_iter().flatten().cloned().collect::<Vec<_>>();
        let bound = if bound.is_empty() { "none".to_owned() } else { bound.join(", ") };
        Err(RequestError::Bound { key: key.clone(), target: name::shown(target), bound })
    }

    /// The acceptor's acceptance of a package. A header that was signed before needs no acceptance:
    /// it is signed again with another key.
    fn accepted(
        &self,
        request: &HeaderRequest<'_>,
        audit: &AuditLog,
    ) -> Result<Option<Accepted>, RequestError> {
        let signed = audit.memory().package(request.target, &request.nevra.to_string());
        if self.acceptors.is_empty() || signed == Some(request.header_digest) {
            return Ok(None);
        }
        let Acceptance { attempt, worker, .. } = request.check_accepted(&self.acceptors)?;
        Ok(Some(Accepted { attempt, worker }))
    }

    fn acquire_rate(&self) -> Result<(), CallError> {
        let mut allowance = self.allowance.lock();
        allowance.acquire(Instant::now()).map_err(|wait| {
            let wait = wait.as_secs() + 1;
            CallError::TooMany { per_minute: self.per_minute, wait }
        })
    }

    fn is_new(&self, refusal: String) -> bool {
        let mut reported = self.reported.lock();
        if reported.len() >= REFUSALS {
            reported.clear();
        }
        reported.insert(refusal)
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

    async fn sign_repomd(
        &self,
        request: Request<v1::SignRepomdRequest>,
    ) -> Result<Response<v1::Signature>, Status> {
        let message = request.into_inner();
        let key = message.key.clone();
        let what = format!("{}/{}/{}", message.target, message.channel, message.path);
        let result = self.repomd(message).await;
        result.map(Response::new).map_err(|error| refused(error, &key, &what))
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

    async fn get_status(
        &self,
        _: Request<v1::GetSignerStatusRequest>,
    ) -> Result<Response<v1::SignerStatus>, Status> {
        Ok(Response::new(self.status(self.rules.switch.read().as_ref())))
    }

    async fn get_revision(
        &self,
        request: Request<v1::GetRevisionRequest>,
    ) -> Result<Response<v1::SignedRevision>, Status> {
        let v1::GetRevisionRequest { target, channel } = request.into_inner();
        let revision = self.audit.memory().revision(&target, &channel);
        Ok(Response::new(v1::SignedRevision { revision }))
    }

    async fn check_log(
        &self,
        request: Request<v1::LogPosition>,
    ) -> Result<Response<v1::LogCheck>, Status> {
        self.check(request.into_inner()).await.map(Response::new)
    }
}

fn header_request(message: &v1::SignHeaderRequest) -> Result<HeaderRequest<'_>, CallError> {
    Ok(HeaderRequest {
        key: &message.key,
        target: &message.target,
        nevra: parse("nevra", &message.nevra)?,
        header: &message.header,
        header_digest: parse("header_digest", &message.header_digest)?,
        artifact_digest: parse("artifact_digest", &message.artifact_digest)?,
        build: message.build,
        acceptance: message.acceptance.clone().map(acceptance).transpose()?,
    })
}

fn acceptance(wire: v1::SignedAcceptance) -> Result<SignedAcceptance, CallError> {
    SignedAcceptance::try_from(wire)
        .map_err(|error| CallError::Field { field: "acceptance", reason: error.to_string() })
}

fn position(logged: &LogHead) -> v1::LogPosition {
    let LogHead { log, line, digest } = logged;
    v1::LogPosition { log: log.clone(), line: *line, digest: digest.hex() }
}

fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, CallError> {
    text.parse().map_err(|error: T::Err| CallError::Field { field, reason: error.to_string() })
}

fn refused(error: CallError, key: &str, what: &str) -> Status {
    let shown = name::shown;
    tracing::warn!(key = shown(key), what = shown(what), %error, "not signed");
    error.into()
}
