//! Running the acceptor: from its options to a service that answers until it is stopped.

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rpmfarm_guarded::client_auth::AllowedUsers;
use rpmfarm_guarded::key::{SigningKey, public_pem};
use rpmfarm_guarded::{run, socket};
use rpmfarm_proto::v1::acceptor_server::AcceptorServer;
use tonic::transport::Server;

use crate::book::Book;
use crate::service::AcceptorService;
use crate::workers::Workers;

/// The largest message, in bytes: room for as many files as there may be.
const MAX_MESSAGE: usize = 16 << 20;

/// The configuration of the acceptor.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the acceptor's data.
    pub state: PathBuf,
    pub socket: PathBuf,
    /// The coordinator's blob store.
    pub blobs: PathBuf,
    /// Users that may request acceptances, in addition to root and the acceptor's own.
    pub allow_uids: Vec<u32>,
    /// Whether unknown workers wait for an operator.
    pub only_known: bool,
}

/// The key in a directory of state, which is made when it is missing. Its public part is stored
/// beside it.
///
/// # Errors
/// When it cannot be used, or an error of the disk.
pub fn key(state: &Path) -> anyhow::Result<SigningKey> {
    let key = SigningKey::load_or_make(&state.join("acceptor.key"))?;
    let (path, pem) = (state.join("acceptor.pub"), public_pem(&key.public()));
    if std::fs::read_to_string(&path).ok().as_deref() != Some(pem.as_str()) {
        std::fs::write(&path, pem).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(key)
}

/// Answers requests until `stop` completes. Running calls are finished.
///
/// # Errors
/// When state or socket cannot be used, or the log fails while running.
pub async fn serve(config: &Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut book = Book::open(&config.state)?;
    let key = key(&config.state)?;
    book.begin(key.public())?;
    let workers = Workers::open(&config.state, config.only_known)?;
    if !config.only_known {
        tracing::warn!("the first key of a worker's name is trusted (with --only-known none is)");
    }
    let listener = socket::listen(&config.socket)?;
    tracing::info!(socket = %config.socket.display(), key = %key.public(), "ready");
    let service = AcceptorService::new(key, &config.blobs, workers, book);
    let grpc = AcceptorServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let server = Server::builder().add_service(grpc);
    let place = (config.socket.as_path(), listener);
    run::serve(server, place, AllowedUsers::with(&config.allow_uids), stop, service.failed()).await
}
