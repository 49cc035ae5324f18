//! gRPC channels over Unix sockets, to the signer and the acceptor on this host.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

/// A channel to the server on a socket. It connects at its first use, and again after the server
/// was away.
///
/// # Panics
/// Must be called within a tokio runtime.
pub(crate) fn channel(socket: &Path) -> Channel {
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The URL is not used: the connector has the path of the socket.
    Endpoint::from_static("http://local").connect_with_connector_lazy(connect)
}
