//! `rpmfarm-worker run`: works for a coordinator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use rpmfarm_core::needs::{LabelError, check_label};
use rpmfarm_core::{Arch, Timestamp, name};
use rpmfarm_daemon::log::{self, LogFormat};
use rpmfarm_daemon::now_us;
use rpmfarm_guarded::key::SigningKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::enrol::IDENTITY;
use super::options::{HostOptions, PreparedHost};
use crate::arches::Arches;
use crate::identity::{Credentials, IdentityFile, renew};
use crate::session::{
    AttemptContext, Attempts, CoordinatorSession, DiskBudget, ResultSigner, Shutdown,
    WorkerIdentity, WorkerSlots, disk_budget,
};
use crate::transfer::{CoordinatorConnection, FileCache};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm-worker run --slots 4                      with the certificate of rpmfarm-worker enrol
  rpmfarm-worker run --coordinator http://127.0.0.1:7878 --token-file /var/lib/rpmfarm/token
                                                    on the coordinator's own host")]
pub(super) struct ServeOptions {
    /// Address of the coordinator [default: the one where this host was enrolled]. Of a farm with
    /// several, name each, as `--coordinator A --coordinator B` or `A,B`: the first is used until
    /// it fails, then the next.
    #[arg(long, value_name = "URL", env = "RPMFARM_COORDINATOR", value_delimiter = ',')]
    coordinator: Vec<String>,
    /// File with the farm's token, for a coordinator on this host without TLS [default: the
    /// certificate that this host got when it was enrolled, else the file that RPMFARM_TOKEN_FILE
    /// names]. Waited for when it is not there yet.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the key and the certificate are kept [default: identity in the data directory].
    #[arg(long, value_name = "DIR")]
    identity: Option<PathBuf>,
    /// Name of this worker, unique in the farm [default: as it was enrolled; with a token, the
    /// host's name].
    #[arg(long)]
    name: Option<String>,
    /// Architectures to build for. Others than the host's run under emulation, by qemu-user
    /// registered in binfmt_misc with flag F; each is tried at start [default: the host's].
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// A label that packages may require, as `ssd`; may be given several times.
    #[arg(long = "label", value_name = "WORD", value_parser = label)]
    labels: Vec<String>,
    /// After SIGTERM, running builds have this many seconds to end; the others are then killed and
    /// go to other workers. A second SIGTERM ends them at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, alias = "drain-time")]
    #[arg(overrides_with = "stop_deadline")]
    stop_deadline: u64,
    /// The form of the log on standard error; RPMFARM_LOG sets its level.
    #[arg(long, env = "RPMFARM_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    host: HostOptions,
}

impl ServeOptions {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        log::start(self.log_format);
        let prepared = self.host.prepare()?;
        // Builds and transfers wait more than they compute; each thread costs memory.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(self.serve(prepared))?;
        // Nothing that still runs in the background is needed.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self, prepared: PreparedHost) -> Result<()> {
        // From here on no signal is lost, whatever is waited for.
        let mut signals = Signals::watched()?;
        let access = tokio::select! {
            access = self.access() => access?,
            () = signals.asked() => {
                tracing::info!("the worker ends");
                return Ok(());
            }
        };
        let arches = Arc::new(self.arches(&prepared)?);
        let identity = WorkerIdentity {
            name: access.name.clone(),
            arches: Arc::clone(&arches),
            slots: self.host.slots,
            srpm_slots: self.host.srpm_slots(),
            data: self.host.data_dir.clone(),
            room_mib: DiskBudget::wanted_mib(self.host.reserve),
            labels: self.labels.clone(),
        };
        let cache = FileCache::open(self.host.files()).context("cannot open the cache of files")?;
        let disk_budget = DiskBudget {
            engine: Arc::clone(&prepared.engine),
            cache: cache.clone(),
            data: self.host.data_dir.clone(),
            roots_bytes: prepared.roots_bytes,
            files_bytes: prepared.files_bytes,
            wanted_mib: DiskBudget::wanted_mib(self.host.reserve),
        };
        let shared = Arc::new(AttemptContext {
            engine: Arc::clone(&prepared.engine),
            connection: access.connection.clone(),
            cache,
            directory: self.host.attempts(),
            slots: WorkerSlots::new(self.host.slots, self.host.srpm_slots()),
            attempts: Attempts::default(),
            arches,
            disk_budget,
            signer: ResultSigner { worker: access.name.clone(), key: self.signing_key()? },
        });
        tokio::spawn(disk_budget::keep(Arc::clone(&shared)));
        prepared.engine.scratch.prepare(rpmfarm_core::limits::Limits::default().disk_mib);
        let (shutdown, watched) = watch::channel(Shutdown::No);
        tokio::spawn(shut_down(signals, shutdown, Duration::from_secs(self.stop_deadline)));
        tracing::info!(
            name = %identity.name, slots = identity.slots, srpm_slots = identity.srpm_slots,
            coordinators = access.coordinators.join(", "),
            arches = ?identity.arches.working(), emulated = ?identity.arches.emulated(),
            scratch = ?prepared.engine.scratch.kind(), "the worker runs"
        );
        // Dropped with the session.
        let mut renewing = tokio::task::JoinSet::new();
        if let Some((file, credentials)) = access.certificate {
            renewing.spawn(renew::keep(access.connection, file, credentials));
        }
        let (notice, probed) = (Mutex::default(), AtomicU64::new(0));
        CoordinatorSession { identity, shared, shutdown: watched, notice, probed }.run().await;
        tracing::info!("the worker ends");
        Ok(())
    }

    /// The file of the token, if the worker uses one: the file of the option, or, on a host that is
    /// not enrolled, the file that the environment names for every program.
    fn token_file(&self, enrolled: &IdentityFile) -> Option<PathBuf> {
        if self.token_file.is_some() {
            return self.token_file.clone();
        }
        let named = std::env::var_os("RPMFARM_TOKEN_FILE").filter(|value| !value.is_empty())?;
        if enrolled.path().exists() {
            tracing::info!(
                "RPMFARM_TOKEN_FILE is not used: this host has a certificate ({})",
                enrolled.path().display()
            );
            return None;
        }
        Some(named.into())
    }

    /// The directory of the worker's key and certificate.
    fn identity(&self) -> PathBuf {
        self.identity.clone().unwrap_or_else(|| self.host.data_dir.join(IDENTITY))
    }

    /// The key that signs the worker's results; made at its first start.
    fn signing_key(&self) -> Result<SigningKey> {
        let path = self.identity().join("signing.key");
        let key = SigningKey::load_or_make(&path).context("the key that signs results")?;
        tracing::info!(key = %key.public(), path = %path.display(), "results are signed");
        Ok(key)
    }

    /// The address and the credentials for the coordinator.
    async fn access(&self) -> Result<CoordinatorAccess> {
        let file = IdentityFile::in_directory(&self.identity());
        if let Some(path) = &self.token_file(&file) {
            anyhow::ensure!(
                !self.coordinator.is_empty(),
                "--token-file (or RPMFARM_TOKEN_FILE) needs the address of the coordinator too: --coordinator"
            );
            let coordinators = self.coordinator.clone();
            let name = match &self.name {
                Some(name) => name.clone(),
                None => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
            };
            name::check_worker(&name).context("--name")?;
            let token = token(path).await?;
            let connection = CoordinatorConnection::with_token(&coordinators, &token, &name)?;
            return Ok(CoordinatorAccess { name, coordinators, connection, certificate: None });
        }
        let credentials = file.read()?.with_context(|| {
            format!(
                "this host is not a worker yet ({} is not there): enrol it with `rpmfarm-worker \
                 enrol`, or name a token with --token-file",
                file.path().display()
            )
        })?;
        if let Some(other) = self.name.as_ref().filter(|name| **name != credentials.name) {
            anyhow::bail!("--name {other}: this host was enrolled as {}", credentials.name);
        }
        anyhow::ensure!(
            Timestamp::from_us(now_us()) < credentials.ends,
            "the certificate of worker {} has ended; enrol it again: rpmfarm worker enrol {}",
            credentials.name,
            credentials.name
        );
        let coordinators = match self.coordinator.as_slice() {
            [] => vec![credentials.coordinator.clone()],
            named => named.to_vec(),
        };
        let connection = CoordinatorConnection::with_certificate(&coordinators, &credentials)?;
        let name = credentials.name.clone();
        Ok(CoordinatorAccess {
            name,
            coordinators,
            connection,
            certificate: Some((file, credentials)),
        })
    }

    /// What it builds for, proved.
    fn arches(&self, prepared: &PreparedHost) -> Result<Arches> {
        let native = host_arch()?;
        let claimed = if self.arch.is_empty() { vec![native] } else { self.arch.clone() };
        let sandbox = prepared.engine.sandbox.clone();
        Ok(Arches::prove(native, claimed, sandbox, self.host.emptied("probes")?)?)
    }
}

/// How the coordinator is reached.
struct CoordinatorAccess {
    name: String,
    coordinators: Vec<String>,
    connection: CoordinatorConnection,
    certificate: Option<(IdentityFile, Credentials)>,
}

/// Reads the token from a file, which the coordinator makes at its first start. Until the file
/// exists, this waits.
///
/// # Errors
/// When the file exists and cannot be read.
async fn token(path: &Path) -> Result<String> {
    let mut last: Option<Instant> = None;
    loop {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => {
                return read
                    .with_context(|| format!("cannot read the token in {}", path.display()));
            }
        }
        if last.is_none_or(|at| at.elapsed() > TOKEN_TELL) {
            last = Some(Instant::now());
            tracing::warn!(
                "waiting for the token: {} is not there yet; a coordinator makes it in its data \
                 directory when it first starts",
                path.display()
            );
        }
        tokio::time::sleep(TOKEN_PERIOD).await;
    }
}

/// How often the token's file is checked, and a warning given that it is missing.
const TOKEN_PERIOD: Duration = Duration::from_millis(500);
const TOKEN_TELL: Duration = Duration::from_secs(60);

fn label(text: &str) -> Result<String, LabelError> {
    check_label(text).map(|()| text.to_owned())
}

/// The architecture of this host.
pub(super) fn host_arch() -> Result<Arch> {
    let machine = nix::sys::utsname::uname()?.machine().to_string_lossy().into_owned();
    machine.parse().with_context(|| "this host's architecture is not one of the farm's")
}

/// The signals that ask the worker to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watched() -> Result<Self> {
        let watched = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            terminate: watched(SignalKind::terminate())?,
            interrupt: watched(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// First SIGTERM or SIGINT: drain, for some time. Second: now.
async fn shut_down(mut signals: Signals, shutdown: watch::Sender<Shutdown>, drain_time: Duration) {
    signals.asked().await;
    tracing::info!(seconds = drain_time.as_secs(), "draining");
    shutdown.send_replace(Shutdown::Drain);
    tokio::select! {
        () = signals.asked() => {}
        () = tokio::time::sleep(drain_time) => {}
    }
    shutdown.send_replace(Shutdown::Now);
    // Never dropped before the program ends: the watchers wait for changes.
    std::future::pending::<()>().await;
}
