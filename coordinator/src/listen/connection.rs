//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use rpmfarm_core::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::activity::{ConnectionActivity, TrackedBody};
use super::connection_table::ConnectionSlot;
use super::file_sender::{FileQueue, FileSender};
use super::stall::StallGuard;
use super::{ConnectionLimits, RequestOrigin};
use crate::identity::public_access::PublicAccess;
use crate::identity::{CertificateConnections, Peer};

/// After so long without traffic, a connection is pinged.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take, so that a dead connection is found after 20 seconds.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// How many calls of one connection may run at once.
const STREAMS: u32 = 128;

/// The size of the headers of one request, in bytes. A token and a user agent have some hundreds.
const HEADERS: u32 = 16 << 10;

/// How many requests the client may cancel before they are read, and how many streams may be reset
/// by the server, before the connection ends (a defence against HTTP/2 rapid reset).
const RESETS: usize = 64;

/// How much of one answer is buffered until the client takes it, in bytes.
const SEND_BUFFER: usize = 128 << 10;

/// A connection that was accepted.
pub(super) struct AcceptedConnection {
    pub(super) address: SocketAddr,
    pub(super) origin: RequestOrigin,
    pub(super) openness: PublicAccess,
    pub(super) limits: ConnectionLimits,
    pub(super) app: Router,
    pub(super) connections: CertificateConnections,
    pub(super) watcher: Watcher,
    pub(super) stopping: watch::Receiver<()>,
    pub(super) activity: ConnectionActivity,
    /// Its entry among all connections and among those of its address.
    pub(super) entry: ConnectionSlot,
}

impl AcceptedConnection {
    pub(super) async fn run(mut self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Messages are small in both directions; Nagle's algorithm would delay them.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            let files = FileQueue::default();
            let stream = FileSender::new(stream, files.clone());
            return self.serve(stream, Peer::Plain, Some(files)).await;
        };
        let handshake = tokio::time::timeout(self.limits.first_request, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = self.stopping.changed() => return,
            () = self.entry.yields.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                let certificate =
                    shown.and_then(|chain| chain.first()).map(|der| Sha256::compute(der));
                self.serve(stream, Peer::Tls(certificate), None).await;
            }
            Ok(Err(error)) => tracing::info!(from = %self.address, %error, "no TLS connection"),
            Err(_) => tracing::info!(from = %self.address, "no TLS connection: too slow"),
        }
    }

    /// `files` is given when the stream sends what is queued there.
    async fn serve<S>(self, stream: S, peer: Peer, files: Option<FileQueue>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (activity, limits) = (self.activity, self.limits);
        let requests = RequestContext {
            app: self.app,
            peer,
            address: self.address,
            origin: self.origin,
            openness: self.openness,
            activity: activity.clone(),
            files,
        };
        let service = service_fn(move |request| requests.clone().answer(request));
        let io = TokioIo::new(StallGuard::new(stream, limits.stalled));
        let connection = builder(limits).serve_connection(io, service).into_owned();
        // Registered as long as the future lives, so that a revocation also ends calls that are
        // under way.
        let cut = async {
            match peer {
                Peer::Tls(Some(certificate)) => {
                    self.connections.add(certificate).cut.cancelled().await;
                }
                _ => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = self.watcher.watch(connection) => ended,
            () = cut => {
                tracing::info!(from = %self.address, "connection cut");
                return;
            }
            () = self.entry.yields.cancelled() => {
                tracing::debug!(from = %self.address, "connection ended for another one");
                return;
            }
            silence = activity.silence(limits) => {
                tracing::debug!(from = %self.address, why = silence.as_str(), "connection ended");
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(from = %self.address, %error, "connection broken");
        }
    }
}

/// The settings of HTTP. Idle connections are ended in `activity`.
fn builder(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Buffers are never copied into one: files are sent in place of theirs (`file_sender`).
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.first_request).writev(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// The parts that the requests of a connection share.
#[derive(Clone)]
struct RequestContext {
    app: Router,
    peer: Peer,
    address: SocketAddr,
    origin: RequestOrigin,
    openness: PublicAccess,
    activity: ConnectionActivity,
    /// Where answers queue files, if the connection can send them.
    files: Option<FileQueue>,
}

impl RequestContext {
    async fn answer(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<TrackedBody>, Infallible> {
        let under_way = self.activity.request();
        let mut request = request.map(Body::new);
        // HTTP/2 puts its own frames around parts of a body, and interleaves several answers.
        let files = self.files.filter(|_| request.version() < Version::HTTP_2);
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        extensions.insert(self.openness);
        extensions.insert(self.origin);
        extensions.insert(ConnectInfo(self.address));
        if let Some(files) = files {
            extensions.insert(files);
        }
        let response = self.app.oneshot(request).await.unwrap_or_else(never);
        Ok(response.map(|body| TrackedBody { body, _under_way: under_way }))
    }
}

fn never<T>(error: Infallible) -> T {
    match error {}
}
