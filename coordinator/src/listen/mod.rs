//! Listening: plain for this host, TLS for everybody else, the same services on both.
//!
//! Two ports, not one that tells the two apart by the first byte: so a firewall, an administrator
//! and a packet capture all see which is which, and nothing that was meant for TLS can be spoken
//! to in the clear. `connection` serves one connection; what is served is the caller's.

mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::identity::revoked::Connections;
use connection::Connection;

/// How long calls that are under way may take to end when the coordinator stops. Sessions of
/// workers and watchers have no end of their own; they connect again.
const DRAIN: Duration = Duration::from_secs(2);

/// A pause after the system refused to accept, as for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// The ports.
pub struct Listeners {
    /// Without TLS.
    pub plain: TcpListener,
    /// With TLS, and how.
    pub tls: Option<(TcpListener, Arc<rustls::ServerConfig>)>,
}

/// One port, without TLS.
impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Self { plain, tls: None }
    }
}

impl Listeners {
    /// Serves until `stop` is done, and then until calls have ended or a deadline is over.
    ///
    /// # Errors
    /// None as yet: what goes wrong with one connection is its own.
    pub async fn serve(
        self,
        app: Router,
        connections: Connections,
        stop: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<()> {
        let graceful = GracefulShutdown::new();
        let (stopping, stopped) = watch::channel(());
        let door = |acceptor| Door {
            acceptor,
            app: app.clone(),
            connections: connections.clone(),
            stopping: stopped.clone(),
        };
        let plain = door(None).accept(self.plain, &graceful);
        let tls = async {
            match self.tls {
                Some((listener, config)) => {
                    door(Some(TlsAcceptor::from(config))).accept(listener, &graceful).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = plain => {}
            () = tls => {}
            () = stop => {}
        }
        // Handshakes that are under way end with this.
        drop(stopping);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
        Ok(())
    }
}

/// What each connection of a listener gets.
struct Door {
    acceptor: Option<TlsAcceptor>,
    app: Router,
    connections: Connections,
    stopping: watch::Receiver<()>,
}

impl Door {
    async fn accept(self, listener: TcpListener, graceful: &GracefulShutdown) {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let connection = Connection {
                address,
                app: self.app.clone(),
                connections: self.connections.clone(),
                watcher: graceful.watcher(),
                stopping: self.stopping.clone(),
            };
            tokio::spawn(connection.run(stream, self.acceptor.clone()));
        }
    }
}

/// Binds an address.
///
/// # Errors
/// When that is not possible; the error names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}
