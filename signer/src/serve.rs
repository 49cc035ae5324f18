//! Running the signer: from a configuration to a service that answers until it is stopped.

use std::future::Future;
use std::time::SystemTime;

use anyhow::Context;
use rpmfarm_guarded::client_auth::AllowedUsers;
use rpmfarm_guarded::key::read_public;
use rpmfarm_guarded::{run, socket};
use rpmfarm_proto::v1::signer_server::SignerServer;
use rpmfarm_rpmfile::MAX_HEADER;
use tonic::transport::Server;

use crate::audit::AuditLog;
use crate::config::Config;
use crate::generate;
use crate::keys::{self, SigningKeys};
use crate::service::SignerService;

/// A message is a header and some names.
const MAX_MESSAGE: usize = MAX_HEADER as usize + (64 << 10);

/// Answers until `stop` is there. Calls that run then are finished.
///
/// # Errors
/// When keys, log or socket cannot be used, or the log fails while running.
pub async fn serve(config: &Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    create_missing(config)?;
    let keys = SigningKeys::load(&config.keys, SystemTime::now())?;
    for (name, key) in keys.iter() {
        match config.bind.targets_of(name) {
            Some(targets) => {
                tracing::info!(name, fingerprint = key.fingerprint(), ?targets, "key");
            }
            None => tracing::warn!(
                name,
                fingerprint = key.fingerprint(),
                "this key signs for any target (--bind {name}=TARGET)"
            ),
        }
    }
    for bound in config.bind.keys() {
        keys.get(bound).context("--bind names a key that is not there")?;
    }
    anyhow::ensure!(config.per_minute > 0, "--per-minute is 0; to sign nothing, use `pause`");
    let acceptors = config.acceptors.iter().map(|path| read_public(path));
    let acceptors: Vec<_> = acceptors.collect::<Result<_, _>>().context("--acceptor")?;
    if acceptors.is_empty() {
        tracing::warn!(
            "packages are signed that the coordinator alone has accepted (--acceptor FILE)"
        );
    }
    let audit = AuditLog::open(&config.audit_log, config.state_dir()).context("opening the log")?;
    let service = SignerService::new(keys, audit.clone(), acceptors, config);
    service.check_switch().await?;
    let listener = socket::listen(&config.socket)?;
    tracing::info!(socket = %config.socket.display(), "ready");

    let service = SignerServer::new(service).max_decoding_message_size(MAX_MESSAGE);
    let server = Server::builder().add_service(service);
    let place = (config.socket.as_path(), listener);
    run::serve(server, place, AllowedUsers::with(&config.allow_uids), stop, audit.failed()).await
}

fn create_missing(config: &Config) -> anyhow::Result<()> {
    for new in &config.create {
        if !keys::path_of(&config.keys, &new.name).exists() {
            let path = keys::store(&config.keys, &new.name, &generate::new_key(&new.uid)?)?;
            tracing::info!(name = new.name, path = %path.display(), "made a key");
        }
    }
    Ok(())
}
