//! The connections to the coordinator: one for control and one for bulk transfers, so that a large
//! transfer never delays a heartbeat. Of several coordinators, one is used until it fails.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::RwLock;
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

use super::objects::ObjectClient;
use crate::identity::Credentials;

/// A channel that says who calls.
pub type AuthorizedChannel = InterceptedService<Channel, BearerInterceptor>;

/// Adds the token and the worker's name to each call; nothing when there is a certificate.
#[derive(Clone)]
pub struct BearerInterceptor(Option<(MetadataValue<Ascii>, MetadataValue<Ascii>)>);

impl Interceptor for BearerInterceptor {
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
pub struct CoordinatorConnection {
    places: Arc<RwLock<Vec<CoordinatorEndpoint>>>,
    /// The index of the used address; clones share it.
    current: Arc<AtomicUsize>,
    replaced: watch::Sender<()>,
    bearer: BearerInterceptor,
    objects: ObjectClient,
}

#[derive(Clone)]
struct CoordinatorEndpoint {
    address: String,
    endpoint: Endpoint,
    bulk: Channel,
}

/// How a coordinator at an address is connected to. A dead connection is known after 20 seconds.
///
/// # Errors
/// When the address is not valid.
pub fn endpoint(server: &str) -> anyhow::Result<Endpoint> {
    anyhow::ensure!(
        server.starts_with("https://") || server.starts_with("http://"),
        "--coordinator {server}: expected https://HOST:PORT, or http://HOST:PORT on the \
         coordinator's own host"
    );
    let endpoint = Endpoint::from_shared(server.to_owned()).with_context(|| {
        format!("`{server}` is not the address of a coordinator (https://HOST:PORT)")
    })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

impl CoordinatorConnection {
    /// Connections without TLS to a farm whose coordinators are at these addresses, for a
    /// worker of this name with the farm's token. The first is used first.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no address or an invalid one, or the token has characters that no header
    /// takes.
    pub fn with_token(servers: &[String], token: &str, worker: &str) -> anyhow::Result<Self> {
        if let Some(server) = servers.iter().find(|server| server.starts_with("https://")) {
            anyhow::bail!(
                "{server}: a token is for http:// on this host; over https:// a worker has a \
                 certificate (rpmfarm-worker enrol)"
            );
        }
        let bearer = format!("Bearer {}", token.trim())
            .parse()
            .context("the token holds characters that no token has")?;
        let worker = worker.parse().context("the name holds characters that no name has")?;
        let places =
            servers.iter().map(|server| Ok(CoordinatorEndpoint::new(server, endpoint(server)?)));
        Self::new(places.collect::<anyhow::Result<_>>()?, BearerInterceptor(Some((bearer, worker))))
    }

    /// Connections over TLS, with the worker's certificate, to a farm whose coordinators are at
    /// these addresses.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no address, or when an address, the certificates or the key are not valid.
    pub fn with_certificate(servers: &[String], credentials: &Credentials) -> anyhow::Result<Self> {
        let places = servers.iter().map(|server| CoordinatorEndpoint::secured(server, credentials));
        Self::new(places.collect::<anyhow::Result<_>>()?, BearerInterceptor(None))
    }

    fn new(places: Vec<CoordinatorEndpoint>, bearer: BearerInterceptor) -> anyhow::Result<Self> {
        anyhow::ensure!(!places.is_empty(), "no address of a coordinator is given");
        let (replaced, _) = watch::channel(());
        let places = Arc::new(RwLock::new(places));
        let objects = ObjectClient::new()?;
        Ok(Self { places, current: Arc::default(), replaced, bearer, objects })
    }

    /// Connects anew with another certificate from now on. Calls that are under way end on the
    /// connection on which they began.
    ///
    /// # Errors
    /// When the certificates or the key are not valid; then nothing changes.
    pub fn replace(&self, credentials: &Credentials) -> anyhow::Result<()> {
        let mut places = self.places.write();
        let fresh =
            places.iter().map(|place| CoordinatorEndpoint::secured(&place.address, credentials));
        *places = fresh.collect::<anyhow::Result<_>>()?;
        drop(places);
        self.replaced.send_replace(());
        Ok(())
    }

    /// Notified when the connections were replaced.
    #[must_use]
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    fn place(&self) -> CoordinatorEndpoint {
        let places = self.places.read();
        places[self.current.load(Ordering::Relaxed) % places.len()].clone()
    }

    /// The address of the coordinator that is used.
    #[must_use]
    pub fn address(&self) -> String {
        self.place().address
    }

    /// How many coordinators there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.read().len()
    }

    /// Uses the next coordinator from now on, for everything.
    pub fn turn(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// For a session: a connection of its own, so that one that hangs is replaced, not waited for.
    #[must_use]
    pub fn control(&self) -> WorkersClient<AuthorizedChannel> {
        WorkersClient::with_interceptor(self.place().endpoint.connect_lazy(), self.bearer.clone())
            .max_decoding_message_size(16 << 20)
    }

    /// For logs and results.
    #[must_use]
    pub fn bulk(&self) -> WorkersClient<AuthorizedChannel> {
        WorkersClient::with_interceptor(self.place().bulk, self.bearer.clone())
    }

    /// For files at addresses of an object store.
    #[must_use]
    pub const fn objects(&self) -> &ObjectClient {
        &self.objects
    }

    /// For files by digest.
    #[must_use]
    pub fn blobs(&self) -> BlobsClient<AuthorizedChannel> {
        BlobsClient::with_interceptor(self.place().bulk, self.bearer.clone())
    }

    #[must_use]
    pub fn enrolment(&self) -> EnrolmentClient<AuthorizedChannel> {
        EnrolmentClient::with_interceptor(self.place().endpoint.connect_lazy(), self.bearer.clone())
    }
}

impl CoordinatorEndpoint {
    fn new(address: &str, endpoint: Endpoint) -> Self {
        Self { address: address.to_owned(), bulk: endpoint.connect_lazy(), endpoint }
    }

    fn secured(address: &str, credentials: &Credentials) -> anyhow::Result<Self> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&credentials.authority))
            .identity(Identity::from_pem(&credentials.certificate, &credentials.key));
        let endpoint = endpoint(address)?.tls_config(tls).context(
            "the worker's certificate, its key, or the farm's CA is broken; enrol it again",
        )?;
        Ok(Self::new(address, endpoint))
    }
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
