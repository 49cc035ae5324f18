//! Starting the coordinator: everything is opened, then the passes run beside the server.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock::now_us;
use crate::config::Config;
use crate::dispatch::{self, Fleet};
use crate::farm::Farm;
use crate::import::{self, ImportLimits, Importer};
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
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let base_url = config.base_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let farm = open(&config, &base_url).await?;
    let passes = passes(&farm);
    tracing::info!(%address, data = %config.data.display(), "coordinator started");
    if let Some(file) = &config.address_file {
        std::fs::write(file, format!("http://{address}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    server::serve(farm, listener, stop).await?;
    drop(passes);
    Ok(())
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
