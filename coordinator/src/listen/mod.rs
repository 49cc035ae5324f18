//! Listening: plain for this host, TLS for everybody else, the same services on both.
//!
//! Two ports, not one that tells the two apart by the first byte: so a firewall, an administrator
//! and a packet capture all see which is which, and nothing that was meant for TLS can be spoken
//! to in the clear. `connection` serves one connection; the caller gives it the services. How many
//! connections there may be, and how long one may do nothing, is in `limits`.
//!
//! A connection counts in the limit of all connections and in that of its address
//! ([`crate::keyed_semaphore`]). It has a time limit for its first request, and ends when it is
//! idle (`activity`) or when its client does not read its answers (`stall`). The access without a
//! credential depends only on the address of the listener (`identity::openness`), which the guard
//! and `/metrics` ask. A plain connection sends files by the kernel (`file_sender`).

mod activity;
mod connection;
mod connection_table;
mod file_sender;
mod limits;
mod origin;
mod stall;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::identity::CertificateConnections;
use crate::identity::public_access::{PublicAccess, PublicAccessSettings};
use crate::keyed_semaphore::{KeyedSemaphore, network};
use activity::ConnectionActivity;
use connection::AcceptedConnection;
use connection_table::ConnectionTable;
pub use file_sender::FileQueue;
pub use limits::ConnectionLimits;
pub use origin::RequestOrigin;

/// How long calls that are under way may take to end when the coordinator stops. Sessions of
/// workers and watchers never end by themselves; they connect again elsewhere.
const DRAIN: Duration = Duration::from_secs(2);

/// A pause after the system refused to accept a connection, as when there are no file descriptors
/// left.
const REST: Duration = Duration::from_millis(100);

/// How often a repeated problem is logged.
const TOLD: Duration = Duration::from_secs(10);

pub struct Listeners {
    pub plain: TcpListener,
    /// The TLS port, with its configuration.
    pub tls: Option<(TcpListener, Arc<rustls::ServerConfig>)>,
    /// The limits on connections.
    pub limits: ConnectionLimits,
    /// The access without a credential that the operator has opened.
    pub opened: PublicAccessSettings,
}

/// One port, without TLS.
impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Self {
            plain,
            tls: None,
            limits: ConnectionLimits::default(),
            opened: PublicAccessSettings::default(),
        }
    }
}

impl Listeners {
    /// Serves until `stop` completes, and then until the calls have ended or a deadline is over.
    ///
    /// # Errors
    /// When the system does not report the listening address. An error of one connection ends only
    /// that connection.
    pub async fn serve(
        self,
        app: Router,
        connections: CertificateConnections,
        stop: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<()> {
        let graceful = GracefulShutdown::new();
        let (stopping, stopped) = watch::channel(());
        let (places, numbers) = (KeyedSemaphore::default(), Arc::new(AtomicU64::new(1)));
        let guests = ConnectionTable::default();
        let door = |acceptor, openness| ListenerContext {
            acceptor,
            openness,
            limits: self.limits,
            app: app.clone(),
            connections: connections.clone(),
            stopping: stopped.clone(),
            places: places.clone(),
            guests: guests.clone(),
            numbers: numbers.clone(),
            refusals: LogThrottle::default(),
            troubles: LogThrottle::default(),
        };
        let opened = |listener: &TcpListener| {
            Ok::<_, io::Error>(self.opened.at(listener.local_addr()?.ip()))
        };
        let plain = door(None, opened(&self.plain)?).accept(self.plain, &graceful);
        let tls = match self.tls {
            Some((listener, config)) => {
                let door = door(Some(TlsAcceptor::from(config)), opened(&listener)?);
                Some((door, listener))
            }
            None => None,
        };
        let tls = async {
            match tls {
                Some((door, listener)) => door.accept(listener, &graceful).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = plain => {}
            () = tls => {}
            () = stop => {}
        }
        // Handshakes that are under way end now.
        drop(stopping);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
        Ok(())
    }
}

/// The parts that each connection of a listener is given.
struct ListenerContext {
    acceptor: Option<TlsAcceptor>,
    openness: PublicAccess,
    limits: ConnectionLimits,
    app: Router,
    connections: CertificateConnections,
    stopping: watch::Receiver<()>,
    /// Counts the connections of all listeners.
    places: KeyedSemaphore<IpAddr>,
    guests: ConnectionTable,
    /// The numbers of connections.
    numbers: Arc<AtomicU64>,
    refusals: LogThrottle,
    troubles: LogThrottle,
}

impl ListenerContext {
    async fn accept(mut self, listener: TcpListener, graceful: &GracefulShutdown) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.admit(stream, address, graceful),
                // The client has gone before its connection was accepted.
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    if let Some(before) = self.troubles.due() {
                        tracing::warn!(
                            %error, before, "cannot accept connections; they wait until it can"
                        );
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Serves a connection. When there are too many, an idle connection is ended for it; if all are
    /// busy, the new one is closed.
    fn admit(&mut self, stream: TcpStream, address: SocketAddr, graceful: &GracefulShutdown) {
        let network = network(address.ip());
        let bounds = self.limits.bounds(network);
        let mut place = self.places.acquire(network, bounds);
        if let Err(full) = place
            && self.guests.make_room(full, network)
        {
            place = self.places.acquire(network, bounds);
        }
        let place = match place {
            Ok(place) => place,
            Err(full) => {
                if let Some(before) = self.refusals.due() {
                    tracing::warn!(
                        from = %address, limit = ?full, before,
                        "connection refused: too many (--max-connections, \
                         --max-connections-per-address)"
                    );
                }
                return;
            }
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let activity = ConnectionActivity::new();
        let connection = AcceptedConnection {
            address,
            origin: RequestOrigin { connection: number, network },
            entry: self.guests.enter(number, activity.clone(), place),
            activity,
            openness: self.openness,
            limits: self.limits,
            app: self.app.clone(),
            connections: self.connections.clone(),
            watcher: graceful.watcher(),
            stopping: self.stopping.clone(),
        };
        tokio::spawn(connection.run(stream, self.acceptor.clone()));
    }
}

/// Whether an error of `accept` concerns only the connection that was to be accepted, and not this
/// host: then the next one can be accepted at once.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Limits how often a repeated problem is logged.
#[derive(Debug, Default)]
struct LogThrottle {
    last: Option<Instant>,
    /// How often the problem occurred since it was logged.
    untold: u64,
}

impl LogThrottle {
    /// Counts an occurrence. When it is to be logged, returns how many were not logged before it.
    fn due(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < TOLD) {
            self.untold += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

/// Binds an address.
///
/// # Errors
/// When that is not possible; the error names the address.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_once() {
        let mut throttle = LogThrottle::default();
        assert_eq!(throttle.due(), Some(0));
        assert_eq!((throttle.due(), throttle.due()), (None, None));
        throttle.last = throttle.last.and_then(|last| last.checked_sub(TOLD));
        assert_eq!(throttle.due(), Some(2));
    }

    #[test]
    fn want_of_files_makes_accept_rest() {
        for (errno, is_one) in [
            (nix::libc::EMFILE, false),
            (nix::libc::ENFILE, false),
            (nix::libc::ECONNABORTED, true),
        ] {
            assert_eq!(is_of_one(&io::Error::from_raw_os_error(errno)), is_one, "{errno}");
        }
    }
}
