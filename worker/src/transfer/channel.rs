//! The connections to the coordinator: one for control, one for bulk, so that a large transfer
//! never holds back a heartbeat. Of several coordinators, one is used until it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_proto::AUTHORIZATION;
use rpmfarm_proto::v1::blobs_client::BlobsClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// A channel that carries the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token into each call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        request.metadata_mut().insert(AUTHORIZATION, self.0.clone());
        Ok(request)
    }
}

/// The connections. Cheap to clone; they connect when they are used, and again when they broke.
#[derive(Clone)]
pub struct Connection {
    places: Arc<[Place]>,
    /// The index of the place that is used; clones share it.
    current: Arc<AtomicUsize>,
    bearer: Bearer,
}

/// One coordinator.
struct Place {
    address: String,
    endpoint: Endpoint,
    bulk: Channel,
}

impl Connection {
    /// Connections to a farm whose coordinators are at these addresses, with its token. The first
    /// is used first.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no address or one is none, or the token has characters that no header takes.
    pub fn new(servers: &[String], token: &str) -> anyhow::Result<Self> {
        let places: Arc<[Place]> =
            servers.iter().map(|server| Place::new(server)).collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!places.is_empty(), "no address of a coordinator is given");
        let bearer = format!("Bearer {}", token.trim())
            .parse()
            .context("the token holds characters that no token has")?;
        Ok(Self { places, current: Arc::default(), bearer: Bearer(bearer) })
    }

    fn place(&self) -> &Place {
        &self.places[self.current.load(Ordering::Relaxed) % self.places.len()]
    }

    /// The address of the coordinator that is used.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.place().address
    }

    /// How many coordinators there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The next coordinator is used from now on, for everything.
    pub fn turn(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// For a session: a connection of its own, so that one which hangs is left, not waited for.
    #[must_use]
    pub fn control(&self) -> WorkersClient<Authorized> {
        WorkersClient::with_interceptor(self.place().endpoint.connect_lazy(), self.bearer.clone())
            .max_decoding_message_size(16 << 20)
    }

    /// For logs and results.
    #[must_use]
    pub fn bulk(&self) -> WorkersClient<Authorized> {
        WorkersClient::with_interceptor(self.place().bulk.clone(), self.bearer.clone())
    }

    /// For files by digest.
    #[must_use]
    pub fn blobs(&self) -> BlobsClient<Authorized> {
        BlobsClient::with_interceptor(self.place().bulk.clone(), self.bearer.clone())
    }
}

impl Place {
    fn new(server: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .with_context(|| {
                format!("`{server}` is no address of a coordinator (http://HOST:PORT)")
            })?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Self { address: server.to_owned(), bulk: endpoint.connect_lazy(), endpoint })
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
