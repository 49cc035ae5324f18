//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
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

use crate::identity::Peer;
use crate::identity::revoked::Connections;

/// How long a handshake, and the headers of an HTTP/1 request, may take.
const HELLO: Duration = Duration::from_secs(10);

/// A connection that was silent for so long is asked whether it is there…
const KEEPALIVE: Duration = Duration::from_secs(10);

/// …and is over when it does not answer in this time: a dead one is known after 20 seconds.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) app: Router,
    pub(super) connections: Connections,
    pub(super) watcher: Watcher,
    pub(super) stopping: watch::Receiver<()>,
}

impl Connection {
    pub(super) async fn run(mut self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Small messages in both directions: none should wait for another.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            return self.serve(stream, Peer::Plain).await;
        };
        let handshake = tokio::time::timeout(HELLO, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = self.stopping.changed() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                let certificate = shown.and_then(|chain| chain.first()).map(|der| Sha256::of(der));
                self.serve(stream, Peer::Tls(certificate)).await;
            }
            Ok(Err(error)) => tracing::info!(from = %self.address, %error, "no TLS connection"),
            Err(_) => tracing::info!(from = %self.address, "no TLS connection: too slow"),
        }
    }

    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (app, address) = (self.app, self.address);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(ConnectInfo(address));
            let app = app.clone();
            async move { Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(never)) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HELLO);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let serving = self.watcher.watch(connection);
        let ended = match peer {
            Peer::Tls(Some(certificate)) => {
                let place = self.connections.add(certificate);
                tokio::select! {
                    ended = serving => ended,
                    () = place.cut.cancelled() => {
                        tracing::info!(from = %self.address, "connection cut");
                        return;
                    }
                }
            }
            _ => serving.await,
        };
        if let Err(error) = ended {
            tracing::debug!(from = %self.address, %error, "connection broken");
        }
    }
}

fn never<T>(error: Infallible) -> T {
    match error {}
}
