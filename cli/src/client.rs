//! The connection to the coordinator: one method per call, with its failures explained.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpmfarm_core::queue::Class;
use rpmfarm_proto::AUTHORIZATION;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use rpmfarm_proto::v1::sources_client::SourcesClient;
use rpmfarm_proto::v1::tracking_client::TrackingClient;
use rpmfarm_proto::v1::{self, Build};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::config::Settings;
use crate::exit::{Error, reason};
use crate::token::TokenSource;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take to be answered; a stream, to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a preview of modifications may take: two repositories may have to be fetched first.
const PREVIEW: Duration = Duration::from_secs(300);
/// How long a forge may take to tell what it has.
const LISTING: Duration = Duration::from_secs(600);
/// A connection that is silent for so long is asked whether it is there, and is over when it does
/// not answer in the same time.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Locks and long lists are larger than the 4 MiB that tonic allows by default.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// Pauses before a request for builds is sent again, when its answer got lost.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// A connection to one coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    farm: FarmClient<Channel>,
    sources: SourcesClient<Channel>,
    tracking: TrackingClient<Channel>,
    fleet: FleetClient<Channel>,
    /// The one that is used.
    server: String,
    /// All of the farm.
    servers: Vec<String>,
    token: TokenSource,
    /// The CA that is trusted; the host's own when there is none.
    authority: Option<PathBuf>,
}

impl Client {
    /// Connects to the first coordinator of the settings that answers.
    ///
    /// # Errors
    /// When an address is none, or nobody answers.
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
                    // A forge may take longer to tell what it has than a call usually may.
                    let tracking =
                        TrackingClient::new(endpoint.clone().timeout(LISTING).connect_lazy())
                            .max_decoding_message_size(LARGEST_MESSAGE);
                    let fleet = FleetClient::new(channel.clone());
                    let sources = SourcesClient::new(endpoint.timeout(PREVIEW).connect_lazy())
                        .max_decoding_message_size(LARGEST_MESSAGE);
                    let farm = FarmClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
                    let server = server.clone();
                    return Ok(Self {
                        farm,
                        sources,
                        tracking,
                        fleet,
                        server,
                        servers,
                        token,
                        authority,
                    });
                }
                Err(error) => silent.push((server.as_str(), deepest_reason(&error))),
            }
        }
        Err(match silent.as_slice() {
            [] => Error::Usage("no address of a coordinator is given (--server URL)".into()),
            [(server, why)] => unreachable(server, why),
            several => {
                let list: Vec<_> =
                    several.iter().map(|(server, why)| format!("{server}: {why}")).collect();
                Error::Unreachable(format!(
                    "cannot reach any coordinator ({}); is one running? (rpmfarm-coordinator --help)",
                    list.join("; ")
                ))
            }
        })
    }

    /// Connects again, to whichever coordinator answers.
    async fn reconnect(&mut self) -> Result<(), Error> {
        *self = Self::connect_to(self.servers.clone(), self.token.clone(), self.authority.clone())
            .await?;
        Ok(())
    }

    /// Version, clock and health of the coordinator.
    pub(crate) async fn info(&mut self) -> Result<v1::Info, Error> {
        let reply = self.farm.get_info(v1::GetInfoRequest {}).await;
        self.explained(reply)
    }

    /// All targets.
    pub(crate) async fn targets(&mut self) -> Result<Vec<v1::Target>, Error> {
        let reply = self.farm.list_targets(v1::ListTargetsRequest {}).await;
        Ok(self.explained(reply)?.targets)
    }

    /// One target.
    pub(crate) async fn target(&mut self, name: &str) -> Result<v1::Target, Error> {
        let reply = self.farm.get_target(v1::GetTargetRequest { name: name.into() }).await;
        self.explained(reply)
    }

    /// Asks for builds. When the connection breaks before the answer is there, it asks again: the
    /// request's key keeps that from making the builds twice.
    pub(crate) async fn start_builds(
        &mut self,
        request: &v1::StartBuildsRequest,
    ) -> Result<Vec<Build>, Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let authorized = self.authorized(request.clone())?;
            let reply = self.farm.start_builds(authorized).await;
            match (self.explained(reply), pauses.next()) {
                (Err(Error::Unreachable(_)), Some(pause)) => {
                    tokio::time::sleep(pause).await;
                    // When nobody answers, the next try says so.
                    let _ = self.reconnect().await;
                }
                (result, _) => return Ok(result?.builds),
            }
        }
    }

    /// Builds, newest first.
    pub(crate) async fn builds(
        &mut self,
        request: v1::ListBuildsRequest,
    ) -> Result<Vec<Build>, Error> {
        let reply = self.farm.list_builds(request).await;
        Ok(self.explained(reply)?.builds)
    }

    /// One build.
    pub(crate) async fn build(&mut self, id: i64) -> Result<Build, Error> {
        let reply = self.farm.get_build(v1::GetBuildRequest { id }).await;
        self.explained(reply)
    }

    /// Each build at once, and again whenever it changes.
    pub(crate) async fn watch(&mut self, ids: &[i64]) -> Result<Streaming<Build>, Error> {
        let reply = self.farm.watch_builds(v1::WatchBuildsRequest { ids: ids.into() }).await;
        self.explained(reply)
    }

    /// A log, in pieces.
    pub(crate) async fn log(
        &mut self,
        request: v1::ReadLogRequest,
    ) -> Result<Streaming<v1::LogData>, Error> {
        let reply = self.farm.read_log(request).await;
        self.explained(reply)
    }

    /// Cancels a build.
    pub(crate) async fn cancel(&mut self, id: i64) -> Result<Build, Error> {
        let request = self.authorized(v1::CancelBuildRequest { id })?;
        let reply = self.farm.cancel_build(request).await;
        self.explained(reply)
    }

    /// Tries again what failed in a build.
    pub(crate) async fn retry(&mut self, id: i64) -> Result<Build, Error> {
        let request = self.authorized(v1::RetryBuildRequest { id })?;
        let reply = self.farm.retry_build(request).await;
        self.explained(reply)
    }

    /// Makes a build more or less urgent.
    pub(crate) async fn set_priority(&mut self, id: i64, class: Class) -> Result<Build, Error> {
        let message = v1::SetPriorityRequest { id, priority: class.to_string() };
        let request = self.authorized(message)?;
        let reply = self.farm.set_priority(request).await;
        self.explained(reply)
    }

    /// Why a build is where it is.
    pub(crate) async fn why(&mut self, id: i64) -> Result<v1::WhyReply, Error> {
        let reply = self.farm.why_build(v1::WhyBuildRequest { id }).await;
        self.explained(reply)
    }

    /// The lock of a task.
    pub(crate) async fn lock(
        &mut self,
        request: v1::GetLockRequest,
    ) -> Result<v1::LockReply, Error> {
        let reply = self.farm.get_lock(request).await;
        self.explained(reply)
    }

    /// What modifications would change.
    pub(crate) async fn preview_modifications(
        &mut self,
        request: v1::PreviewModificationsRequest,
    ) -> Result<v1::ModificationsPreview, Error> {
        let request = self.authorized(request)?;
        let reply = self.sources.preview_modifications(request).await;
        self.explained(reply)
    }

    /// What a build is made of.
    pub(crate) async fn source(
        &mut self,
        request: v1::GetSourceRequest,
    ) -> Result<v1::Source, Error> {
        let reply = self.sources.get_source(request).await;
        self.explained(reply)
    }

    /// What differs between the sources of two builds.
    pub(crate) async fn diff_sources(
        &mut self,
        request: v1::DiffSourcesRequest,
    ) -> Result<v1::SourceDiff, Error> {
        let reply = self.sources.diff_sources(request).await;
        self.explained(reply)
    }

    /// Channels; an empty target stands for all.
    pub(crate) async fn channels(&mut self, target: &str) -> Result<Vec<v1::Channel>, Error> {
        let request = v1::ListChannelsRequest { target: target.into() };
        let reply = self.farm.list_channels(request).await;
        Ok(self.explained(reply)?.channels)
    }

    /// All workers.
    pub(crate) async fn workers(&mut self) -> Result<Vec<v1::Worker>, Error> {
        let reply = self.farm.list_workers(v1::ListWorkersRequest {}).await;
        Ok(self.explained(reply)?.workers)
    }

    /// Follows packages.
    pub(crate) async fn track(
        &mut self,
        request: v1::TrackRequest,
    ) -> Result<v1::TrackReply, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.track(request).await;
        self.explained(reply)
    }

    /// Follows packages no longer; returns which.
    pub(crate) async fn untrack(
        &mut self,
        request: v1::UntrackRequest,
    ) -> Result<Vec<String>, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.untrack(request).await;
        Ok(self.explained(reply)?.removed)
    }

    /// What is followed; an empty target stands for all.
    pub(crate) async fn tracked(&mut self, target: &str) -> Result<Vec<v1::Tracked>, Error> {
        let request = v1::ListTrackedRequest { target: target.into() };
        let reply = self.tracking.list_tracked(request).await;
        Ok(self.explained(reply)?.packages)
    }

    /// One package that is followed, with its pushes.
    pub(crate) async fn tracked_details(
        &mut self,
        target: String,
        package: String,
    ) -> Result<v1::TrackedDetails, Error> {
        let reply = self.tracking.get_tracked(v1::GetTrackedRequest { target, package }).await;
        self.explained(reply)
    }

    /// Orders a policy.
    pub(crate) async fn order_policy(
        &mut self,
        request: v1::OrderPolicyRequest,
    ) -> Result<(), Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.order_policy(request).await;
        self.explained(reply).map(drop)
    }

    /// Approves pushes; returns which.
    pub(crate) async fn approve_pushes(
        &mut self,
        request: v1::ApprovePushesRequest,
    ) -> Result<Vec<v1::Push>, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.approve_pushes(request).await;
        Ok(self.explained(reply)?.pushes)
    }

    /// Has packages looked at; returns how many.
    pub(crate) async fn look_now(&mut self, request: v1::LookNowRequest) -> Result<u32, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.look_now(request).await;
        Ok(self.explained(reply)?.packages)
    }

    /// What would become of open pushes; an empty target stands for all.
    pub(crate) async fn plan_pushes(&mut self, target: &str) -> Result<v1::PlanPushesReply, Error> {
        let request = v1::PlanPushesRequest { target: target.into() };
        let reply = self.tracking.plan_pushes(request).await;
        self.explained(reply)
    }

    /// Everything about one worker.
    pub(crate) async fn worker(&mut self, name: &str) -> Result<v1::WorkerDetails, Error> {
        let reply = self.fleet.get_worker(v1::GetWorkerRequest { name: name.into() }).await;
        self.explained(reply)
    }

    /// A token that makes a host a worker.
    pub(crate) async fn invite_worker(
        &mut self,
        request: v1::InviteWorkerRequest,
    ) -> Result<v1::Invitation, Error> {
        let request = self.authorized(request)?;
        let reply = self.fleet.invite_worker(request).await;
        self.explained(reply)
    }

    /// Drains, resumes or revokes a worker.
    pub(crate) async fn set_worker_state(
        &mut self,
        request: v1::SetWorkerStateRequest,
    ) -> Result<v1::WorkerDetails, Error> {
        let request = self.authorized(request)?;
        let reply = self.fleet.set_worker_state(request).await;
        self.explained(reply)
    }

    /// A request that carries the token.
    fn authorized<T>(&self, message: T) -> Result<Request<T>, Error> {
        let token = self.token.read(&self.server)?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.secret)
            .parse()
            .map_err(|_| Error::Token(format!("{} holds no token", token.origin)))?;
        value.set_sensitive(true);
        let mut request = Request::new(message);
        request.metadata_mut().insert(AUTHORIZATION, value);
        Ok(request)
    }

    fn explained<T>(&self, reply: Result<Response<T>, Status>) -> Result<T, Error> {
        reply.map(Response::into_inner).map_err(|status| self.explain(&status))
    }

    /// What an answer that is none means for the caller.
    pub(crate) fn explain(&self, status: &Status) -> Error {
        let message = status.message().to_owned();
        if status.source().is_some() {
            return unreachable(&self.server, &deepest_reason(status));
        }
        match status.code() {
            Code::NotFound => Error::NotFound(message),
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
        let origin = self.token.read(&self.server).map(|token| token.origin);
        format!(
            "the coordinator at {} refused the token from {}: {message}; name the right one with --token-file or RPMFARM_TOKEN",
            self.server,
            origin.unwrap_or_else(|_| "nowhere".into()),
        )
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

fn unreachable(server: &str, why: &str) -> Error {
    Error::Unreachable(format!(
        "cannot reach the coordinator at {server}: {why}; is it running? (rpmfarm-coordinator --help)"
    ))
}

/// The last reason in a chain of errors: the operating system's own, where there is one.
fn deepest_reason(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    reason(deepest)
}
