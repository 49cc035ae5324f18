//! Starting the coordinator: everything is opened, then the passes run beside the server.

use std::fs::Permissions;
use std::future::Future;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rpmfarm_core::Stage;
use tokio::task::JoinSet;

use crate::accept::AcceptorClient;
use crate::blobs::{BlobBucket, Blobs};
use crate::blocking;
use crate::bus::{Bus, PeerMessages, PeerNotifier};
use crate::claims::BaseRootFileOwners;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::dispatch::queue_heads::QueueCursors;
use crate::fleet::Fleet;
use crate::identity::tls::{self, SERVER_SECONDS, ServerCertificate};
use crate::identity::{Authority, CertificateConnections, Enrolment};
use crate::import::{ImportLimits, Importer};
use crate::listen::{Listeners, bind};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::parts::Parts;
use crate::peers::{self, InstanceLock, Peers};
use crate::publish::{BucketView, ChannelContents, Publisher};
use crate::random::RandomSource;
use crate::resolve::{Batches, DownloadTimeouts, Resolver, solver};
use crate::rpc::batches::Plans;
use crate::sign::SignerClient;
use crate::store::{CoordinatorRow, Dialect, Store, explain};
use crate::streams::StreamLimits;
use crate::targets::{self, Targets};
use crate::token::FarmToken;
use crate::track::{PollLimits, Tracker, Webhooks};
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, LocalPass};
use crate::{blob_cleanup, blob_uploads, process, s3, scrub, server};

/// The largest permitted result file, in bytes.
const MAX_RESULT: u64 = 16 << 30;

/// How often the age of the coordinator's certificate is checked.
const RENEWAL: Duration = Duration::from_secs(60);

/// How long the start waits for a database that is down.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// How long the good-bye to the other coordinators may take.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// Opens all parts of a farm, and registers this coordinator. Also returns the receiver of the
/// messages to the other coordinators.
///
/// # Errors
/// When a part cannot be opened; the error names it.
pub async fn open(config: &Config, address: &str) -> anyhow::Result<(Parts, PeerMessages)> {
    let data = &config.data;
    process::make_data(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let cache = config.cache_dir();
    let instance_lock = InstanceLock::acquire(cache)?;
    let base_url = config.base_url().unwrap_or(address).trim_end_matches('/').to_owned();
    let (notifier, words) = PeerNotifier::new();
    let bus = Bus::with_notifier(notifier.clone());
    let (blobs, store) = open_facts(config, &bus).await?;
    let targets = Targets::open(&config.targets)?;
    let terms = config.lease_terms()?;
    let repos = data.join("repos");
    let now = Instant::now();
    let database = if store.dialect() == Dialect::Sqlite { "sqlite" } else { "postgres" };
    let me = coordinator(&instance_lock, address, &base_url);
    let peers = register(me, instance_lock, config.takeover, &store, now).await?;
    let tracker = Tracker::new(Clock, PollLimits::default(), rand::random())?;
    let (hook_secrets, default_secrets) = (config.hook_secrets.as_deref(), data.join("hooks.toml"));
    let parts = Parts {
        logs: open_logs(data.join("logs"), &blobs).await?,
        fleet: Fleet::new(now, terms).with_notifier(notifier.clone()),
        cursors: QueueCursors::default(),
        progress: Bus::default(),
        log_bus: Bus::default(),
        token: FarmToken::load_or_make(&data.join("token"))?,
        enrolment: None,
        connections: CertificateConnections::default(),
        streams: StreamLimits::default(),
        plans: Plans::default(),
        waits: LocalWaitReasons::default(),
        bases: BaseRootFileOwners::default(),
        metrics: Metrics::new(database),
        importer: Importer::new(cache, blobs.clone(), ImportLimits::default())?,
        webhooks: Webhooks::new(&store, tracker.bus(), hook_secrets, &default_secrets)?,
        tracker,
        resolver: resolver(cache, &targets, &blobs)?,
        batches: Batches::default(),
        acceptor: config.acceptor_socket.as_deref().map(AcceptorClient::new),
        signer: SignerClient::new(&config.signer_socket()),
        publisher: Publisher::new(&repos, blobs.clone()),
        channel_contents: ChannelContents::default(),
        bucket_view: bucket_view(config, &repos, &base_url).await?,
        max_result_bytes: MAX_RESULT,
        blob_cache_bytes: config.blob_cache.saturating_mul(1 << 30),
        max_batch: config.max_batch(),
        base_url: base_url.into(),
        repos,
        store,
        blobs,
        damaged: scrub::DamagedFiles::default(),
        targets,
        bus,
        peers,
        notifier,
        clock: Clock,
        random: RandomSource,
    };
    Ok((parts, words))
}

/// Registers this coordinator with the others of its database.
async fn register(
    me: CoordinatorRow,
    instance_lock: InstanceLock,
    takeover: Duration,
    store: &Store,
    now: Instant,
) -> anyhow::Result<Peers> {
    let alone = store.dialect() == Dialect::Sqlite;
    let peers = Peers::new(me, Some(instance_lock), takeover, alone, now);
    peers::heartbeat::begin(&peers, store, now)
        .await
        .context("cannot register this coordinator")?;
    Ok(peers)
}

/// The row of this coordinator in the database.
fn coordinator(instance_lock: &InstanceLock, address: &str, base_url: &str) -> CoordinatorRow {
    CoordinatorRow {
        id: instance_lock.id().to_owned(),
        address: address.to_owned(),
        base_url: base_url.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: clock::now(),
        beat: 0,
    }
}

fn resolver(cache: &Path, targets: &Targets, blobs: &Blobs) -> anyhow::Result<Resolver> {
    let solver = solver::program().context("cannot find the solver")?;
    let metadata = cache.join("metadata");
    Ok(Resolver::new(metadata, targets.dir(), blobs.clone(), DownloadTimeouts::default(), solver)?)
}

/// Opens the blobs and the database, and makes their directories private.
async fn open_facts(config: &Config, bus: &Bus) -> anyhow::Result<(Blobs, Store)> {
    let blobs = Blobs::open(config.data.join("blobs"))?;
    let store = open_store(&config.database_url(), bus).await?;
    for dir in [config.data.as_path(), config.cache_dir()] {
        process::keep_private(dir)
            .with_context(|| format!("cannot keep others from {}", dir.display()))?;
    }
    let blobs = match config.blobs_group {
        Some(group) => blobs.shared_with(group).context("--blobs-group")?,
        None => blobs,
    };
    Ok((in_bucket(config, blobs).await?, store))
}

/// The blobs with the bucket that has them, if there is one.
async fn in_bucket(config: &Config, blobs: Blobs) -> anyhow::Result<Blobs> {
    let opened = match &config.object_store {
        Some(address) => {
            let bucket = s3::open(address, &config.s3()).await.context("--object-store")?;
            let bucket = BlobBucket::new(bucket).context("cannot start threads")?;
            blocking::run(move || blobs.kept_in(bucket)).await
        }
        None => blocking::run(move || blobs.kept_here()).await,
    };
    Ok(opened.context("preparing the blobs was interrupted")??)
}

/// The logs, stored where the blobs are.
async fn open_logs(dir: PathBuf, blobs: &Blobs) -> anyhow::Result<Logs> {
    let logs = Logs::open(dir).context("cannot make the log directory")?;
    let Some(bucket) = blobs.bucket().cloned() else { return Ok(logs) };
    let opened = blocking::run(move || logs.kept_in(bucket)).await;
    opened.context("preparing the logs was interrupted")?.context("cannot prepare the logs")
}

/// The bucket in which the repositories are shown, if there is one.
async fn bucket_view(
    config: &Config,
    repos: &Path,
    base_url: &str,
) -> anyhow::Result<Option<BucketView>> {
    let Some(address) = &config.publish_bucket else { return Ok(None) };
    let bucket = s3::open(address, &config.s3()).await.context("--publish-bucket")?;
    let farm = farm_name(&config.data.join("farm-id"))?;
    let tree = format!("{base_url}/repo");
    let addresses = config.publish_bucket_url.as_deref().map(|url| (tree.as_str(), url));
    Ok(Some(BucketView::new(repos, bucket, &farm, addresses)))
}

/// The random name of this farm, made at the first start; all its coordinators have the same.
fn farm_name(path: &Path) -> anyhow::Result<String> {
    let read_or_made = || -> std::io::Result<String> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(dir)?;
        new.write_all(uuid::Uuid::now_v7().to_string().as_bytes())?;
        new.as_file().sync_all()?;
        match new.persist_noclobber(path) {
            Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error.error)
            }
            // Made now, or at an earlier start, or by another coordinator at this moment.
            _ => std::fs::read_to_string(path),
        }
    };
    read_or_made().with_context(|| format!("cannot read or make {}", path.display()))
}

/// Opens the database. One that is down may be starting beside this program, so it is waited for.
async fn open_store(url: &str, bus: &Bus) -> anyhow::Result<Store> {
    let begun = Instant::now();
    loop {
        match Store::open(url, bus.clone()).await {
            Err(error) if error.is_outage() && begun.elapsed() < DATABASE_PATIENCE => {
                tracing::warn!(why = explain(&error, url), "the database does not answer yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                let why = explain(&error, url);
                return Err(anyhow::Error::new(error).context(why));
            }
            Ok(store) => return Ok(store),
        }
    }
}

/// Runs a coordinator until `stop` completes.
///
/// # Errors
/// When a part cannot be opened or the listener fails.
pub async fn start(
    config: Config,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.check()?;
    let mut stop = std::pin::pin!(stop);
    let plain = bind(config.listen).await?;
    let address = plain.local_addr()?;
    let base = format!("http://{address}");
    // The start waits for a database that is down, but ends at once when the program is to stop.
    let (mut parts, words) = tokio::select! {
        opened = open(&config, &base) => opened?,
        () = &mut stop => return Ok(()),
    };
    let limits = config.limits().within(process::files());
    if limits.connections < config.limits().connections {
        tracing::warn!(
            connections = limits.connections,
            files = process::files(),
            "fewer connections than --max-connections: the system allows too few open files \
             (LimitNOFILE= of systemd, ulimit -Hn)"
        );
    }
    let mut listeners = Listeners { plain, tls: None, limits, opened: config.opened() };
    let mut renewing = JoinSet::new();
    if let Some(listen) = config.listen_tls {
        let listener = bind(listen).await?;
        let address = listener.local_addr()?;
        let (enrolment, certificate) = secure(&config, address)?;
        tracing::info!(
            %address, authority = %enrolment.authority.fingerprint(), workers = enrolment.address,
            "listening with TLS"
        );
        parts.enrolment = Some(Arc::new(enrolment));
        listeners.tls = Some((listener, Arc::new(tls::config(certificate.clone())?)));
        renewing.spawn(renew(certificate));
        write_address_file(config.tls_address_file.as_deref(), "https", address)?;
    }
    let mut passes = passes(&parts);
    if parts.store.dialect() == Dialect::Postgres {
        let (peers, store, bus) = (parts.peers.clone(), parts.store.clone(), parts.bus.clone());
        passes.spawn(peers::heartbeat::run(peers.clone(), store.clone(), bus));
        passes.spawn(peers::notify::send_messages(peers, store, words));
        passes.spawn(parts.peer_listener().run(config.database_url()));
    }
    tracing::info!(%address, coordinator = parts.peers.own_id(), data = %config.data.display(), "coordinator started");
    write_address_file(config.address_file.as_deref(), "http", address)?;
    server::serve(parts.clone(), listeners, stop).await?;
    drop((passes, renewing));
    parts.importer.stop();
    let good_bye = peers::heartbeat::end(&parts.peers, &parts.store);
    if let Ok(Err(error)) = tokio::time::timeout(GOOD_BYE, good_bye).await {
        tracing::warn!(
            %error,
            "the other coordinators were not told that this coordinator is stopping"
        );
    }
    Ok(())
}

/// The farm's CA, and what this coordinator gets from it.
fn secure(
    config: &Config,
    address: SocketAddr,
) -> anyhow::Result<(Enrolment, Arc<ServerCertificate>)> {
    let authority = Arc::new(Authority::open(&config.tls_directory(), clock::now())?);
    let mut names = config.tls_names.clone();
    if names.is_empty() {
        names.push(nix::unistd::gethostname()?.to_string_lossy().into_owned());
    }
    let own = address.ip();
    if !own.is_unspecified() {
        names.push(own.to_string());
    }
    names.extend(["localhost", "127.0.0.1", "::1"].map(String::from));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let certificate =
        ServerCertificate::new(authority.clone(), names, SERVER_SECONDS, clock::now())?;
    // An IPv6 address in a URL needs brackets.
    let host = match certificate.name().parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => certificate.name().to_owned(),
    };
    let enrolment = Enrolment {
        authority,
        address: format!("https://{host}:{}", address.port()),
        certificate_seconds: config.certificate_seconds,
    };
    Ok((enrolment, Arc::new(certificate)))
}

/// Renews the coordinator's own certificate before it expires.
async fn renew(certificate: Arc<ServerCertificate>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        match certificate.renew(clock::now()) {
            Ok(true) => tracing::info!("the coordinator's certificate was renewed"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "certificate not renewed"),
        }
    }
}

/// Writes an address to a file, for the program that started this coordinator.
fn write_address_file(
    file: Option<&Path>,
    scheme: &str,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    // The file may be read by another user, who started this process.
    std::fs::write(file, format!("{scheme}://{address}\n"))
        .and_then(|()| std::fs::set_permissions(file, Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// All passes, each in a loop of its own; they stop when the set is dropped.
fn passes(parts: &Parts) -> JoinSet<()> {
    let bus = |stage| parts.bus.for_steps(work::steps(stage));
    let mut passes = Passes { parts, set: JoinSet::new() };
    // The passes of stages, on the coordinator that has the stage's lease, in the order of the
    // pipeline.
    passes.stage(parts.poll(), parts.tracker.bus());
    passes.stage(parts.decide(), bus(Stage::Decide));
    passes.stage(parts.import(), bus(Stage::Import));
    passes.stage(parts.plan(), bus(Stage::Plan));
    passes.stage(parts.resolve(), bus(Stage::Resolve));
    passes.stage(parts.accept(), bus(Stage::Accept));
    passes.stage(parts.sign(), bus(Stage::Sign));
    passes.stage(parts.publish(), bus(Stage::Publish));
    // The local passes, on every coordinator. Nothing wakes them for a silence, a revocation or a
    // snapshot.
    passes.local(parts.dispatch(), bus(Stage::Dispatch));
    passes.local(parts.leases(), Bus::default());
    passes.local(parts.revocations(), Bus::default());
    passes.local(parts.snapshot_pass(), Bus::default());
    if let Some(pass) = parts.bucket_pass() {
        passes.local(pass, Bus::default());
    }
    // Loops whose input is not in the database.
    let mut set = passes.set;
    set.spawn(parts.refresh().run(parts.runner()));
    set.spawn(blob_cleanup::run(parts.blobs.clone()));
    set.spawn(blob_uploads::run(parts.blobs.clone(), parts.logs.clone(), parts.blob_cache_bytes));
    set.spawn(scrub::run(parts.blobs.clone(), parts.repos.clone(), parts.damaged.clone()));
    set.spawn(targets::run(parts.targets.clone()));
    set
}

/// The running passes.
struct Passes<'a> {
    parts: &'a Parts,
    set: JoinSet<()>,
}

impl Passes<'_> {
    /// Runs a stage, woken by this bus.
    fn stage(&mut self, stage: impl work::Stage, bus: Bus) {
        self.set.spawn(self.parts.runner().stage(stage, bus));
    }

    /// Runs a local pass, woken by this bus.
    fn local(&mut self, pass: impl LocalPass, bus: Bus) {
        self.set.spawn(self.parts.runner().local(pass, bus));
    }
}
