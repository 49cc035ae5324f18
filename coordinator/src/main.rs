//! The coordinator's entry point.

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::process;
use rpmfarm_coordinator::resolve::solver;
use rpmfarm_coordinator::start::start;
use rpmfarm_daemon::log;
use tokio::signal::unix::{SignalKind, signal};

/// How long threads that block may take to end when the program ends.
const LEFT: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    // The hidden subcommand by which the coordinator starts its solver process.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == solver::ARGUMENT) {
        return solver::child::run();
    }
    let config = Config::parse();
    log::start(config.log_format);
    process::prepare();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("the TLS provider was installed twice"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(run(config));
    runtime.shutdown_timeout(LEFT);
    ended
}

async fn run(config: Config) -> anyhow::Result<()> {
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
