//! `rpmfarm-worker run`: works for a coordinator.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rpmfarm_core::{Arch, name};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::options::{HostOptions, Prepared};
use crate::session::{Attempts, Identity, Session, Shared, Shutdown};
use crate::transfer::{Cache, Connection};

/// Options of `run`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address of the coordinator, like http://farm.example.org:7000.
    #[arg(long, value_name = "URL", env = "RPMFARM_COORDINATOR")]
    coordinator: String,
    /// File with the token that the coordinator gave to this worker.
    #[arg(long, value_name = "FILE", env = "RPMFARM_TOKEN_FILE")]
    token_file: PathBuf,
    /// Name of this worker, unique in the farm [default: the host's name].
    #[arg(long)]
    name: Option<String>,
    /// Architectures to build for; others than the host's need binfmt_misc with qemu-user
    /// [default: the host's].
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// A word that packages may ask for, as `ssd`; may be given several times.
    #[arg(long = "label", value_name = "WORD", value_parser = label)]
    labels: Vec<String>,
    /// After SIGTERM, builds that run get so many seconds to end. A second SIGTERM ends them at
    /// once.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain_time: u64,
    #[command(flatten)]
    host: HostOptions,
}

impl Serve {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        tracing_subscriber::fmt()
            .with_env_filter(
                tracing_subscriber::EnvFilter::try_from_env("RPMFARM_LOG")
                    .unwrap_or_else(|_| "info".into()),
            )
            .with_writer(std::io::stderr)
            .init();
        let prepared = self.host.prepare()?;
        // Builds and transfers wait more than they work; each thread costs memory.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(self.serve(prepared))?;
        // Whatever still runs in the background is of no use any more.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self, prepared: Prepared) -> Result<()> {
        let identity = self.identity()?;
        let token = fs::read_to_string(&self.token_file)
            .with_context(|| format!("cannot read the token in {}", self.token_file.display()))?;
        let cache = Cache::open(self.host.files(), prepared.files_bytes)
            .context("cannot open the cache of files")?;
        let shared = Shared {
            engine: Arc::clone(&prepared.engine),
            connection: Connection::new(&self.coordinator, &token)?,
            cache,
            directory: self.host.attempts(),
            slots: tokio::sync::Semaphore::new(self.host.slots as usize),
            attempts: Attempts::default(),
            roots_bytes: prepared.roots_bytes,
        };
        prepared.engine.scratch.prepare(rpmfarm_core::limits::Limits::default().disk_mib);
        let (shutdown, watched) = watch::channel(Shutdown::No);
        tokio::spawn(shut_down(shutdown, Duration::from_secs(self.drain_time)));
        tracing::info!(
            name = %identity.name, slots = identity.slots, coordinator = %self.coordinator,
            scratch = ?prepared.engine.scratch.kind(), "the worker runs"
        );
        Session { identity, shared: Arc::new(shared), shutdown: watched }.run().await;
        tracing::info!("the worker ends");
        Ok(())
    }

    fn identity(&self) -> Result<Identity> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        };
        name::check_file(&name).context("--name")?;
        let arches = match self.arch.as_slice() {
            [] => vec![host_arch()?],
            given => given.to_vec(),
        };
        Ok(Identity {
            name,
            arches,
            slots: self.host.slots,
            data: self.host.data_dir.clone(),
            labels: self.labels.clone(),
        })
    }
}

fn label(text: &str) -> Result<String, String> {
    rpmfarm_core::needs::check_label(text).map(|()| text.to_owned())
}

/// The architecture of this host.
pub(super) fn host_arch() -> Result<Arch> {
    let machine = nix::sys::utsname::uname()?.machine().to_string_lossy().into_owned();
    machine.parse().with_context(|| "this host's architecture is not one of the farm's")
}

/// First SIGTERM or SIGINT: drain, for some time. Second: now.
async fn shut_down(shutdown: watch::Sender<Shutdown>, drain_time: Duration) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot watch for signals: the worker ends without draining");
        return;
    };
    let mut asked = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    asked().await;
    tracing::info!(seconds = drain_time.as_secs(), "draining");
    shutdown.send_replace(Shutdown::Drain);
    tokio::select! {
        () = asked() => {}
        () = tokio::time::sleep(drain_time) => {}
    }
    shutdown.send_replace(Shutdown::Now);
    // Kept until the program ends: those who watch wait for changes.
    std::future::pending::<()>().await;
}
