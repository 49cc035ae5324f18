//! Starting the coordinator: everything is opened, then the passes run beside the server.

use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock::now_us;
use crate::config::Config;
use crate::dispatch::{self, Fleet};
use crate::farm::Farm;
use crate::identity::revoked::{self, Connections};
use crate::identity::tls::{self, SERVER_SECONDS, ServerCertificate};
use crate::identity::{Authority, Enrolment};
use crate::import::{self, ImportLimits, Importer};
use crate::listen::{Listeners, bind};
use crate::logs::Logs;
use crate::publish::{self, Publisher};
use crate::resolve::{self, Patience, Resolver};
use crate::sign::{self, SignerClient};
use crate::store::Store;
use crate::targets::Targets;
use crate::token::Token;
use crate::waits::Waits;
use crate::work::{Crew, run, run_every};
use crate::{accept, plan, server};

/// The largest result file that is taken, in bytes.
const MAX_RESULT: u64 = 16 << 30;

/// Imports, checks and signatures at once. Each is bound by the network or the disk.
const IMPORTS: usize = 8;
const LOCKS: usize = 4;
const CHECKS: usize = 2;
const SIGNATURES: usize = 2;

/// How often external repositories are asked for news.
const REFRESH: Duration = Duration::from_secs(600);

/// How often the age of the coordinator's certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(60);

/// Opens everything that a farm has.
///
/// # Errors
/// When something cannot be opened; the error names it.
pub async fn open(config: &Config, base_url: &str) -> anyhow::Result<Farm> {
    let data = &config.data;
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let bus = Bus::default();
    let blobs = Blobs::open(data.join("blobs"))?;
    let url = config.database_url();
    let store = Store::open(&url, bus.clone()).await.context("cannot open the database")?;
    let targets = Targets::open(&config.targets)?;
    let terms = config.lease_terms()?;
    let repos = data.join("repos");
    Ok(Farm {
        logs: Logs::open(data.join("logs")).context("cannot make the log directory")?,
        fleet: Fleet::new(Instant::now(), terms),
        progress: Bus::default(),
        log_bell: Bus::default(),
        token: Token::load_or_make(&data.join("token"))?,
        enrolment: None,
        connections: Connections::default(),
        waits: Waits::default(),
        importer: Importer::new(data, blobs.clone(), ImportLimits::default())?,
        resolver: Resolver::new(
            data.join("metadata"),
            targets.dir(),
            blobs.clone(),
            Patience::default(),
        )?,
        signer: SignerClient::new(&config.signer_socket()),
        publisher: Publisher::new(&repos, blobs.clone()),
        max_result_bytes: MAX_RESULT,
        base_url: base_url.trim_end_matches('/').into(),
        repos,
        store,
        blobs,
        targets,
        bus,
    })
}

/// Runs a coordinator until `stop` is done.
///
/// # Errors
/// When something cannot be opened or the listener fails.
pub async fn start(
    config: Config,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.check_plain()?;
    let plain = bind(config.listen).await?;
    let address = plain.local_addr()?;
    let base_url = config.base_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let mut farm = open(&config, &base_url).await?;
    let mut listeners = Listeners { plain, tls: None };
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
    let passes = passes(&farm);
    tracing::info!(%address, data = %config.data.display(), "coordinator started");
    tell(config.address_file.as_deref(), "http", address)?;
    server::serve(farm, listeners, stop).await?;
    drop((passes, renewing));
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
    std::fs::write(file, format!("{scheme}://{address}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// All passes, each in a loop of its own; they stop when the set is dropped.
fn passes(farm: &Farm) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let bus = || farm.bus.clone();
    let imports = Crew::new("import", IMPORTS, bus());
    let locks = Crew::new("resolve", LOCKS, bus());
    let solved = Arc::new(resolve::pass::Memory::default());
    let checks = Crew::new("accept", CHECKS, bus());
    let signatures = Crew::new("sign", SIGNATURES, bus());
    macro_rules! pass {
        ($name:literal, |$farm:ident| $pass:expr) => {
            let mine = farm.clone();
            set.spawn(run($name, bus(), move || {
                let $farm = mine.clone();
                $pass
            }));
        };
    }
    pass!("import", |farm| {
        let crew = imports.clone();
        async move { import::pass::pass(&farm, &crew, now_us()).await }
    });
    pass!("plan", |farm| async move { plan::pass(&farm, now_us()).await });
    pass!("resolve", |farm| {
        let (crew, solved) = (locks.clone(), solved.clone());
        async move { resolve::pass::pass(&farm, &crew, &solved, now_us()).await }
    });
    let mine = farm.clone();
    set.spawn(async move {
        loop {
            resolve::pass::refresh(&mine).await;
            tokio::time::sleep(REFRESH).await;
        }
    });
    pass!(
        "dispatch",
        |farm| async move { dispatch::pass::pass(&farm, Instant::now(), now_us()).await }
    );
    set.spawn(revoked::run(farm.clone()));
    let mine = farm.clone();
    set.spawn(run_every("leases", dispatch::leases::period(farm), bus(), move || {
        let farm = mine.clone();
        async move { dispatch::leases::pass(&farm, Instant::now(), now_us()).await }
    }));
    pass!("accept", |farm| {
        let crew = checks.clone();
        async move { accept::pass(&farm, &crew, now_us()).await }
    });
    pass!("sign", |farm| {
        let crew = signatures.clone();
        async move { sign::pass(&farm, &crew).await }
    });
    pass!("publish", |farm| async move { publish::pass::pass(&farm).await });
    set
}
