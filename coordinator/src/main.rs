//! The coordinator's entry point.

use clap::Parser as _;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::observe::logging;
use rpmfarm_coordinator::start::start;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    logging::start(config.log_format);
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("the TLS provider was installed twice"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    start(config, async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
    .await
}
