//! Starting the coordinator: everything is opened, then the passes run beside the server.

use std::fs::Permissions;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::accept::AcceptorClient;
use crate::blobs::Blobs;
use crate::bus::{Bus, Voice, Word};
use crate::claims::Bases;
use crate::clock::now_us;
use crate::config::Config;
use crate::dispatch;
use crate::dispatch::heads::Further;
use crate::farm::Farm;
use crate::fleet::Fleet;
use crate::identity::revoked;
use crate::identity::tls::{self, SERVER_SECONDS, ServerCertificate};
use crate::identity::{Authority, Connections, Enrolment};
use crate::import::{self, ImportLimits, Importer};
use crate::listen::{Listeners, bind};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::peers::{self, Peers, Seat};
use crate::publish::{self, Publisher};
use crate::resolve::{self, Patience, Resolver, solver};
use crate::sign::{self, SignerClient};
use crate::store::{CoordinatorRow, Dialect, Store, explain};
use crate::streams::Streams;
use crate::targets::{self, Targets};
use crate::token::Token;
use crate::track::{self, LookLimits, Tracker};
use crate::waits::Waits;
use crate::work::{Coalesced, Crew, run, run_every};
use crate::{accept, leftovers, plan, process, scrub, server};

/// The largest result file that is taken, in bytes.
const MAX_RESULT: u64 = 16 << 30;

/// Imports, locks, checks and signatures at once. Each is bound by the network or the disk. Half
/// of the imports may be from one git host, half of the locks for one target.
const IMPORTS: usize = 16;
const LOCKS: usize = 8;
const CHECKS: usize = 2;
const SIGNATURES: usize = 2;

/// How often external repositories are asked for news.
const REFRESH: Duration = Duration::from_secs(600);

/// How often the age of the coordinator's certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(60);

/// How long a database that is away is waited for at start.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// How long a good-bye to the other coordinators may take.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// Opens everything that a farm has, and takes this coordinator's place in it. Answers the words
/// that are to be told to the other coordinators, too.
///
/// # Errors
/// When something cannot be opened; the error names it.
pub async fn open(config: &Config, address: &str) -> anyhow::Result<(Farm, mpsc::Receiver<Word>)> {
    let data = &config.data;
    process::make_data(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let cache = config.cache_dir();
    let seat = Seat::take(cache)?;
    let base_url = config.base_url().unwrap_or(address).trim_end_matches('/').to_owned();
    let (voice, words) = Voice::new();
    let bus = Bus::with_voice(voice.clone());
    let blobs = Blobs::open(data.join("blobs"))?;
    let store = open_store(&config.database_url(), &bus).await?;
    for dir in [data.as_path(), cache] {
        process::keep_private(dir)
            .with_context(|| format!("cannot keep others from {}", dir.display()))?;
    }
    let blobs = match config.blobs_group {
        Some(group) => blobs.shared_with(group).context("--blobs-group")?,
        None => blobs,
    };
    let targets = Targets::open(&config.targets)?;
    let terms = config.lease_terms()?;
    let repos = data.join("repos");
    let me = CoordinatorRow {
        id: seat.id().to_owned(),
        address: address.to_owned(),
        base_url: base_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_us: now_us(),
        beat: 0,
    };
    let now = Instant::now();
    let alone = store.dialect() == Dialect::Sqlite;
    let database = if alone { "sqlite" } else { "postgres" };
    let peers = Peers::new(me, Some(seat), config.takeover, alone, now);
    peers::beat::begin(&peers, &store, now).await.context("cannot take a place in the farm")?;
    let farm = Farm {
        logs: Logs::open(data.join("logs")).context("cannot make the log directory")?,
        fleet: Fleet::new(now, terms).with_voice(voice.clone()),
        further: Further::default(),
        progress: Bus::default(),
        log_bell: Bus::default(),
        token: Token::load_or_make(&data.join("token"))?,
        enrolment: None,
        connections: Connections::default(),
        streams: Streams::default(),
        waits: Waits::default(),
        bases: Bases::default(),
        metrics: Metrics::new(database),
        importer: Importer::new(cache, blobs.clone(), ImportLimits::default())?,
        tracker: Tracker::new(
            &store,
            config.hook_secrets.as_deref(),
            &data.join("hooks.toml"),
            LookLimits::default(),
            rand::random(),
        )?,
        resolver: Resolver::new(
            cache.join("metadata"),
            targets.dir(),
            blobs.clone(),
            Patience::default(),
            solver::program().context("cannot find the solver")?,
        )?,
        acceptor: config.acceptor_socket.as_deref().map(AcceptorClient::new),
        signer: SignerClient::new(&config.signer_socket()),
        publisher: Publisher::new(&repos, blobs.clone()),
        max_result_bytes: MAX_RESULT,
        base_url: base_url.into(),
        repos,
        store,
        blobs,
        damaged: scrub::Damaged::default(),
        targets,
        bus,
        peers,
        voice,
    };
    Ok((farm, words))
}

/// Opens the database; one that is away may be coming up beside this program.
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

/// Runs a coordinator until `stop` is done.
///
/// # Errors
/// When something cannot be opened or the listener fails.
pub async fn start(
    config: Config,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.check()?;
    let mut stop = std::pin::pin!(stop);
    let plain = bind(config.listen).await?;
    let address = plain.local_addr()?;
    let base = format!("http://{address}");
    // A database that is away is waited for, but not against whoever wants this program to end.
    let (mut farm, words) = tokio::select! {
        opened = open(&config, &base) => opened?,
        () = &mut stop => return Ok(()),
    };
    let limits = config.limits().within(process::files());
    if limits.connections < config.limits().connections {
        tracing::warn!(
            connections = limits.connections,
            files = process::files(),
            "fewer connections than --max-connections says: the system allows too few open files \
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
        farm.enrolment = Some(Arc::new(enrolment));
        listeners.tls = Some((listener, Arc::new(tls::config(certificate.clone())?)));
        renewing.spawn(renew(certificate));
        tell(config.tls_address_file.as_deref(), "https", address)?;
    }
    let mut passes = passes(&farm);
    if farm.store.dialect() == Dialect::Postgres {
        let (peers, store, bus) = (farm.peers.clone(), farm.store.clone(), farm.bus.clone());
        passes.spawn(peers::beat::run(peers.clone(), store.clone(), bus));
        passes.spawn(peers::herald::speak(peers, store, words));
        passes.spawn(peers::herald::listen(farm.clone(), config.database_url()));
    }
    tracing::info!(%address, coordinator = farm.peers.me(), data = %config.data.display(), "coordinator started");
    tell(config.address_file.as_deref(), "http", address)?;
    server::serve(farm.clone(), listeners, stop).await?;
    drop((passes, renewing));
    farm.importer.stop();
    let good_bye = peers::beat::end(&farm.peers, &farm.store);
    if let Ok(Err(error)) = tokio::time::timeout(GOOD_BYE, good_bye).await {
        tracing::warn!(%error, "the other coordinators were not told that this one ends");
    }
    Ok(())
}

/// The farm's CA, and what comes from it for this coordinator.
fn secure(
    config: &Config,
    address: SocketAddr,
) -> anyhow::Result<(Enrolment, Arc<ServerCertificate>)> {
    let authority = Arc::new(Authority::open(&config.tls_directory(), now_us())?);
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
    let certificate = ServerCertificate::new(authority.clone(), names, SERVER_SECONDS, now_us())?;
    // A lone address needs brackets where it is IPv6.
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

/// Keeps the coordinator's own certificate from ending.
async fn renew(certificate: Arc<ServerCertificate>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        match certificate.renew(now_us()) {
            Ok(true) => tracing::info!("the coordinator's certificate was renewed"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "certificate not renewed"),
        }
    }
}

/// Writes an address to a file, for whoever started this coordinator.
fn tell(file: Option<&Path>, scheme: &str, address: SocketAddr) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    // Whoever started this may be another user.
    std::fs::write(file, format!("{scheme}://{address}\n"))
        .and_then(|()| std::fs::set_permissions(file, Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// All passes, each in a loop of its own; they stop when the set is dropped.
fn passes(farm: &Farm) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let bus = || farm.bus.clone();
    let imports = Crew::new("import", IMPORTS, bus()).measured(farm.metrics.clone());
    let locks = Crew::new("resolve", LOCKS, bus()).measured(farm.metrics.clone());
    let solvers = resolve::pass::Hands::new(locks);
    let checks = Crew::new("accept", CHECKS, bus()).measured(farm.metrics.clone());
    let signatures = Crew::new("sign", SIGNATURES, bus());
    // Runs on each coordinator, while the database answers.
    macro_rules! pass {
        ($name:literal, |$farm:ident| $pass:expr) => {
            let mine = farm.clone();
            set.spawn(run($name, bus(), move || {
                let $farm = mine.clone();
                async move {
                    if $farm.peers.database_down().is_some() { Ok(()) } else { $pass.await }
                }
            }));
        };
    }
    // Runs on the coordinator that has the stage.
    macro_rules! stage {
        ($name:literal, |$farm:ident| $pass:expr) => {
            let mine = farm.clone();
            set.spawn(run($name, bus(), move || {
                let mine = mine.for_stage($name, Instant::now());
                let pass = mine.map(|$farm| $pass);
                async move {
                    match pass {
                        Some(pass) => pass.await,
                        None => Ok(()),
                    }
                }
            }));
        };
    }
    let mine = farm.clone();
    set.spawn(run("poll", farm.tracker.bell(), move || {
        let mine = mine.for_stage("poll", Instant::now());
        async move {
            match mine {
                Some(farm) => track::poll::pass(&farm, now_us()).await,
                None => Ok(()),
            }
        }
    }));
    stage!("decide", |farm| async move { track::decide::pass(&farm, now_us()).await });
    stage!("import", |farm| {
        let crew = imports.clone();
        async move { import::pass::pass(&farm, &crew, now_us()).await }
    });
    stage!("plan", |farm| async move { plan::pass(&farm, now_us()).await });
    stage!("resolve", |farm| {
        let hands = solvers.clone();
        async move { resolve::pass::pass(&farm, &hands, now_us()).await }
    });
    set.spawn(revoked::run(farm.clone()));
    set.spawn(leftovers::run(farm.blobs.clone()));
    set.spawn(scrub::run(farm.blobs.clone(), farm.repos.clone(), farm.damaged.clone()));
    set.spawn(targets::run(farm.targets.clone()));
    set.spawn(refresh(farm.clone()));
    pass!("dispatch", |farm| dispatch::pass::pass(&farm, Instant::now(), now_us()));
    let mine = farm.clone();
    let period = dispatch::leases::period(farm);
    set.spawn(run_every("leases", period, Bus::default(), move || {
        let farm = mine.clone();
        async move { dispatch::leases::pass(&farm, Instant::now(), now_us()).await }
    }));
    stage!("accept", |farm| {
        let crew = checks.clone();
        async move { accept::pass(&farm, &crew, now_us()).await }
    });
    stage!("sign", |farm| {
        let crew = signatures.clone();
        async move { sign::pass(&farm, &crew).await }
    });
    stage!("publish", |farm| async move { publish::pass::pass(&farm).await });
    set.spawn(inform(farm.clone()));
    set
}

/// Asks the external repositories for news, now and then and when this coordinator has come to
/// solve.
async fn refresh(farm: Farm) {
    let refreshes = Coalesced::new("refresh");
    let mut last = None::<Instant>;
    loop {
        match farm.for_stage("resolve", Instant::now()) {
            Some(farm) if last.is_none_or(|last| last.elapsed() >= REFRESH) => {
                resolve::pass::refresh(&farm, &refreshes).await;
                last = Some(Instant::now());
            }
            Some(_) => {}
            None => last = None,
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Tells the other coordinators what is in memory here, and hears what they tell.
async fn inform(farm: Farm) {
    let written = peers::notes::Written::default();
    loop {
        let now = Instant::now();
        if farm.peers.database_down().is_none() {
            let told = async {
                dispatch::leases::let_go(&farm, now).await?;
                peers::notes::pass(&farm, &written, now).await
            };
            if let Err(error) = told.await {
                tracing::warn!(error = format!("{error:#}"), "the coordinators were not informed");
            }
        }
        tokio::time::sleep(peers::notes::PERIOD).await;
    }
}
