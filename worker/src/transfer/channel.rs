//! The connections to the coordinator: one for control, one for bulk, so that a large transfer
//! never holds back a heartbeat.

use std::error::Error as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_proto::v1::blobs_client::BlobsClient;
use rpmfarm_proto::v1::enrolment_client::EnrolmentClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use rpmfarm_proto::{AUTHORIZATION, WORKER};
use tokio::sync::watch;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::identity::Credentials;

/// A channel that says who calls.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token and the worker's name into each call; nothing where a certificate says it all.
#[derive(Clone)]
pub struct Bearer(Option<(MetadataValue<Ascii>, MetadataValue<Ascii>)>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        if let Some((token, worker)) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, token.clone());
            request.metadata_mut().insert(WORKER, worker.clone());
        }
        Ok(request)
    }
}

/// The connections. Cheap to clone; they connect when they are used, and again when they broke.
#[derive(Clone)]
pub struct Connection {
    channels: Arc<RwLock<Channels>>,
    replaced: watch::Sender<()>,
    bearer: Bearer,
}

#[derive(Clone)]
struct Channels {
    endpoint: Endpoint,
    bulk: Channel,
}

impl Channels {
    fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), bulk: endpoint.connect_lazy() }
    }
}

/// How a coordinator at an address is connected to. A dead connection is known after 20 seconds.
///
/// # Errors
/// When the address is none.
pub fn endpoint(server: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(server.to_owned()).with_context(|| {
        format!("`{server}` is no address of a coordinator (https://HOST:PORT)")
    })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

impl Connection {
    /// Connections without TLS to the coordinator at an address, for a worker of this name with
    /// the farm's token.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address is none or the token has characters that no header takes.
    pub fn with_token(server: &str, token: &str, worker: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            server.starts_with("http://"),
            "{server}: a token is for http:// on this host; over https:// a worker has a \
             certificate (rpmfarm-worker enrol)"
        );
        let bearer = format!("Bearer {}", token.trim())
            .parse()
            .context("the token holds characters that no token has")?;
        let worker = worker.parse().context("the name holds characters that no name has")?;
        Ok(Self::new(&endpoint(server)?, Bearer(Some((bearer, worker)))))
    }

    /// Connections over TLS, with the worker's certificate.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address, the certificates or the key are none.
    pub fn with_certificate(credentials: &Credentials) -> anyhow::Result<Self> {
        Ok(Self::new(&secured(credentials)?, Bearer(None)))
    }

    fn new(endpoint: &Endpoint, bearer: Bearer) -> Self {
        let channels = Arc::new(RwLock::new(Channels::new(endpoint)));
        let (replaced, _) = watch::channel(());
        Self { channels, replaced, bearer }
    }

    /// Connects anew with another certificate from now on. Calls that are under way end on the
    /// connection on which they began.
    ///
    /// # Errors
    /// When the address, the certificates or the key are none; then nothing changes.
    pub fn replace(&self, credentials: &Credentials) -> anyhow::Result<()> {
        let channels = Channels::new(&secured(credentials)?);
        *self.channels.write().unwrap_or_else(PoisonError::into_inner) = channels;
        self.replaced.send_replace(());
        Ok(())
    }

    /// Is told when the connections were replaced.
    #[must_use]
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    fn channels(&self) -> Channels {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For a session: a connection of its own, so that one which hangs is left, not waited for.
    #[must_use]
    pub fn control(&self) -> WorkersClient<Authorized> {
        WorkersClient::with_interceptor(
            self.channels().endpoint.connect_lazy(),
            self.bearer.clone(),
        )
        .max_decoding_message_size(16 << 20)
    }

    /// For logs and results.
    #[must_use]
    pub fn bulk(&self) -> WorkersClient<Authorized> {
        WorkersClient::with_interceptor(self.channels().bulk, self.bearer.clone())
    }

    /// For files by digest.
    #[must_use]
    pub fn blobs(&self) -> BlobsClient<Authorized> {
        BlobsClient::with_interceptor(self.channels().bulk, self.bearer.clone())
    }

    /// For further certificates.
    #[must_use]
    pub fn enrolment(&self) -> EnrolmentClient<Authorized> {
        EnrolmentClient::with_interceptor(
            self.channels().endpoint.connect_lazy(),
            self.bearer.clone(),
        )
    }
}

fn secured(credentials: &Credentials) -> anyhow::Result<Endpoint> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.authority))
        .identity(Identity::from_pem(&credentials.certificate, &credentials.key));
    endpoint(&credentials.coordinator)?
        .tls_config(tls)
        .context("the worker's certificate, its key, or the farm's CA is broken; enrol it again")
}

/// How long to wait before try number `tries` (from 0) of something that the network broke:
/// doubling from 100 ms to 10 s, and a random part, so that a fleet does not call at once.
#[must_use]
pub fn pause(tries: u32) -> Duration {
    let full = Duration::from_millis(100 << tries.min(7)).min(Duration::from_secs(10));
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// Whether a call that ended so may succeed when it is made again.
#[must_use]
pub fn passes(status: &tonic::Status) -> bool {
    use tonic::Code;
    !matches!(
        status.code(),
        Code::NotFound
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

/// Why a call came to nothing, down to what the system said.
#[must_use]
pub fn reason(status: &tonic::Status) -> String {
    let mut reason = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = error.source();
    }
    reason
}
