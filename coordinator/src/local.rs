//! Channels over Unix sockets, to the processes beside this one: signer and acceptor.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

/// A channel to whoever listens on a socket. Connects when it is first used, and again when they were
/// away.
///
/// # Panics
/// Must be called within a tokio runtime.
pub(crate) fn channel(socket: &Path) -> Channel {
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://local").connect_with_connector_lazy(connect)
}
