//! The connection to the coordinator, with its failures explained.
//!
//! Owns which coordinator is called, how long that may take, and what a failure means for the
//! caller; `calls` has a method for each call. It must not know how an answer is shown.

mod calls;
mod changes;

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpmfarm_proto::v1::batches_client::BatchesClient;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use rpmfarm_proto::v1::packages_client::PackagesClient;
use rpmfarm_proto::v1::proofs_client::ProofsClient;
use rpmfarm_proto::v1::sources_client::SourcesClient;
use rpmfarm_proto::v1::tracking_client::TrackingClient;
use rpmfarm_proto::{AUTHORIZATION, reach};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

pub(crate) use self::changes::Changes;
use crate::config::Settings;
use crate::exit::{Error, reason};
use crate::token::TokenSource;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take; for a stream, its beginning.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a preview of modifications may take: two repositories may have to be fetched first. So
/// long may a plan take, too, for which thousands of roots are solved.
const PREVIEW: Duration = Duration::from_secs(300);
/// How long the list of a forge may take.
const LISTING: Duration = Duration::from_secs(600);
/// After so long without traffic a connection is pinged; it is dead when the ping is not answered
/// in the same time.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Locks and long lists are larger than the 4 MiB that tonic allows by default.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// A connection to one coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    farm: FarmClient<Channel>,
    sources: SourcesClient<Channel>,
    tracking: TrackingClient<Channel>,
    fleet: FleetClient<Channel>,
    packages: PackagesClient<Channel>,
    proofs: ProofsClient<Channel>,
    batches: BatchesClient<Channel>,
    /// The address that is used.
    server: String,
    /// All addresses of the farm.
    servers: Vec<String>,
    token: TokenSource,
    /// The trusted CA; `None` trusts the CAs of the host.
    authority: Option<PathBuf>,
}

impl Client {
    /// Connects to the first coordinator of the settings that answers.
    ///
    /// # Errors
    /// When an address is not valid, or nobody answers.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Error> {
        let authority = settings.ca_file.clone();
        Self::connect_to(settings.servers(), settings.token.clone(), authority).await
    }

    async fn connect_to(
        servers: Vec<String>,
        token: TokenSource,
        authority: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let endpoints = servers
            .iter()
            .map(|server| endpoint(server, authority.as_deref()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut silent = Vec::new();
        for (server, endpoint) in servers.iter().zip(endpoints) {
            match endpoint.connect().await {
                Ok(channel) => {
                    let server = server.clone();
                    return Ok(Self::new(channel, &endpoint, server, servers, token, authority));
                }
                Err(error) => silent.push((server.as_str(), deepest_reason(&error))),
            }
        }
        Err(all_unreachable(&silent))
    }

    /// The clients of the coordinator that has answered. Calls that may take long have a channel
    /// with a longer timeout.
    fn new(
        channel: Channel,
        endpoint: &Endpoint,
        server: String,
        servers: Vec<String>,
        token: TokenSource,
        authority: Option<PathBuf>,
    ) -> Self {
        let patient = |timeout: Duration| endpoint.clone().timeout(timeout).connect_lazy();
        // Listing a forge's repositories may take longer than a usual call.
        let tracking = TrackingClient::new(patient(LISTING));
        // All roots of a target are read to find the impact.
        let packages = PackagesClient::new(patient(PREVIEW));
        // All roots of a request are solved for a plan.
        let batches = BatchesClient::new(patient(PREVIEW));
        let sources = SourcesClient::new(patient(PREVIEW));
        Self {
            fleet: FleetClient::new(channel.clone()),
            proofs: ProofsClient::new(channel.clone()),
            farm: FarmClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE),
            sources: sources.max_decoding_message_size(LARGEST_MESSAGE),
            tracking: tracking.max_decoding_message_size(LARGEST_MESSAGE),
            packages: packages.max_decoding_message_size(LARGEST_MESSAGE),
            batches: batches.max_decoding_message_size(LARGEST_MESSAGE),
            server,
            servers,
            token,
            authority,
        }
    }

    /// Connects again, to the first coordinator that answers.
    async fn reconnect(&mut self) -> Result<(), Error> {
        *self = Self::connect_to(self.servers.clone(), self.token.clone(), self.authority.clone())
            .await?;
        Ok(())
    }

    /// A request that only reads. It has the token if there is one, because a coordinator on
    /// another host needs it; one on this host does not.
    fn reading<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Ok(value) = self.credential() {
            request.metadata_mut().insert(AUTHORIZATION, value);
        }
        request
    }

    /// A request with the token.
    fn authorized<T>(&self, message: T) -> Result<Request<T>, Error> {
        let value = self.credential()?;
        let mut request = Request::new(message);
        request.metadata_mut().insert(AUTHORIZATION, value);
        Ok(request)
    }

    fn credential(&self) -> Result<MetadataValue<Ascii>, Error> {
        let token = self.token.read(&self.server)?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.secret)
            .parse()
            .map_err(|_| Error::Token(format!("{} holds no token", token.origin)))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn explained<T>(&self, reply: Result<Response<T>, Status>) -> Result<T, Error> {
        reply.map(Response::into_inner).map_err(|status| self.explain(&status))
    }

    /// The error for the caller of a call that failed with this status.
    pub(crate) fn explain(&self, status: &Status) -> Error {
        let message = status.message().to_owned();
        if status.source().is_some() {
            return unreachable(&self.server, &deepest_reason(status));
        }
        match status.code() {
            Code::NotFound => Error::NotFound(message),
            // The coordinator answered, and its message names the unavailable part.
            Code::Unavailable if !message.is_empty() => Error::Unreachable(format!(
                "the coordinator at {} cannot do it now: {message}",
                self.server
            )),
            Code::ResourceExhausted => Error::Unreachable(format!(
                "the coordinator at {} cannot do it now: {message}",
                self.server
            )),
            Code::Unavailable | Code::DeadlineExceeded => unreachable(&self.server, &message),
            Code::Unauthenticated | Code::PermissionDenied => Error::Token(self.refused(&message)),
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange => Error::Usage(message),
            Code::Unimplemented => Error::Farm(format!(
                "the coordinator at {} does not know this call; is it older than this command? (rpmfarm version)",
                self.server
            )),
            code => Error::Farm(format!(
                "the coordinator at {} failed: {message} ({code:?})",
                self.server
            )),
        }
    }

    fn refused(&self, message: &str) -> String {
        match self.token.read(&self.server) {
            Ok(token) => format!(
                "the coordinator at {} refused the token from {}: {message}; name the right one with --token-file or RPMFARM_TOKEN",
                self.server, token.origin,
            ),
            // The request was sent without a token.
            Err(error) => format!("the coordinator at {}: {message}; {error}", self.server),
        }
    }
}

fn endpoint(server: &str, ca_file: Option<&Path>) -> Result<Endpoint, Error> {
    let bad = || {
        Error::Usage(format!(
            "`{server}` is not the address of a coordinator (expected http://HOST:PORT or https://HOST:PORT)"
        ))
    };
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(bad());
    }
    let endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|_| bad())?
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true)
        .user_agent(concat!("rpmfarm/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| bad())?;
    if server.starts_with("http://") {
        return Ok(endpoint);
    }
    let tls = match ca_file {
        Some(file) => {
            let pem = std::fs::read(file).map_err(|error| {
                let why = reason(&error);
                Error::Usage(format!("cannot read the authority {}: {why}", file.display()))
            })?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    endpoint.tls_config(tls).map_err(|error| {
        Error::Usage(format!("cannot speak TLS with {server}: {}", deepest_reason(&error)))
    })
}

/// The error when no coordinator answers: each address with the reason.
fn all_unreachable(silent: &[(&str, String)]) -> Error {
    match silent {
        [] => Error::Usage("no address of a coordinator is given (--server URL)".into()),
        [(server, why)] => unreachable(server, why),
        several => {
            let line = |(server, why): &(&str, String)| {
                let remedy = reach::remedy(server, why).map(|text| format!(" ({text})"));
                format!("{server}: {why}{}", remedy.unwrap_or_default())
            };
            let list: Vec<_> = several.iter().map(line).collect();
            Error::Unreachable(format!(
                "cannot reach any coordinator; is one running? (rpmfarm-coordinator --help)\n{}",
                list.join("\n")
            ))
        }
    }
}

fn unreachable(server: &str, why: &str) -> Error {
    let remedy = reach::remedy(server, why)
        .or_else(|| reach::remedy_of_plain(server, &greeting(server)))
        .unwrap_or_else(|| "is it running? (rpmfarm-coordinator --help)".into());
    Error::Unreachable(format!("cannot reach the coordinator at {server}: {why}; {remedy}"))
}

/// How long a server that is not a coordinator has to identify itself.
const GREETING: Duration = Duration::from_millis(500);

/// The first bytes that a server sends to a call without TLS that it does not understand; empty
/// when it sends none, or the call has TLS.
fn greeting(server: &str) -> Vec<u8> {
    let asked = || -> Option<Vec<u8>> {
        let authority = server.strip_prefix("http://")?.split('/').next()?;
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = place.to_socket_addrs().ok()?.next()?;
        let mut stream = TcpStream::connect_timeout(&address, GREETING).ok()?;
        stream.set_read_timeout(Some(GREETING)).ok()?;
        stream.set_write_timeout(Some(GREETING)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut sent = [0; 16];
        let length = stream.read(&mut sent).ok()?;
        Some(sent[..length].to_vec())
    };
    asked().unwrap_or_default()
}

/// The last reason in a chain of errors: the operating system's own, where there is one.
fn deepest_reason(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    reason(deepest)
}
