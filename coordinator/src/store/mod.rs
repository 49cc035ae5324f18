//! The store of facts, on SQLite or PostgreSQL with one text for each query.
//!
//! Owns connections, transactions and the schema; each sibling file owns the queries of one kind
//! of fact. It must not know why a fact is written: the stages decide, by `core`.
//!
//! Every method fails when the database does, and when a row cannot be read; a section on errors
//! is there only where there is more to say. The tables are in docs/schema.md.

mod acceptances;
mod assignments;
mod attempts;
mod build_details;
mod build_notes;
mod builds;
mod channels;
mod checkpoints;
mod columns;
mod coordinators;
mod counts;
mod cves;
mod enrolment;
mod failures;
mod fenced;
mod fleet;
mod grants;
mod hooks;
mod kept_files;
mod late_results;
mod learned;
mod lists;
mod open_builds;
mod open_errors;
mod open_pushes;
mod owners;
mod packages;
mod polls;
mod pushes;
mod queue_positions;
mod results;
mod sources;
mod stage_index;
mod stage_lists;
mod stage_queries;
mod steps;
mod tasks;
mod tracked;
mod transaction_retry;
mod uploads;
mod withdrawals;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rpmfarm_core::{BuildId, StageEpoch, Timestamp};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool};
use tokio::task::JoinSet;

pub use acceptances::EndedAttempt;
pub use assignments::AssignmentRow;
pub use attempts::{Attempt, AttemptEnd, LiveAttempt};
pub use build_details::{
    BuildDetailRows, FarmReplacementDetail, PublishedEvr, SrpmDetailRow, TaskDetailRows,
};
pub use builds::{Build, BuildFilter, EndedFilter, NewBuild, StartedBuilds};
pub use channels::{Publication, Revision};
pub use coordinators::{CoordinatorRow, PeerSnapshotRow, WorkerConnection, WorkerOwner};
pub use counts::QueueCount;
pub use enrolment::{Certificate, CertificateRow, Invitation};
pub use failures::FailureRow;
pub use fenced::{Fence, FencedStore};
pub use fleet::{StandingRow, WorkerFault};
pub use grants::{Grant, ReadyTask};
pub use hooks::{HookHint, HookResult, NewHook};
pub use kept_files::KeptFileRow;
pub use late_results::LateResult;
pub use open_errors::explain;
pub use owners::{ClaimDecision, FarmReplacementRow, PoolRow};
pub use packages::{NewPackage, Package, Signature, SignedPackage};
pub use polls::PollResult;
pub use pushes::{PushFilter, PushRow, StormRow};
pub use queue_positions::{QueuePositionRow, RunningTask};
pub use results::{AcceptedTask, ResultPackage};
pub use sources::{Import, Srpm};
pub use tasks::{LockRow, NewTask, Task};
pub use tracked::{NewTracked, PolicyOverrideRow, TrackedPackage};
pub use withdrawals::{ImpactRow, ReturningPackage, RootRow, Withdrawal, WithdrawnPackage};

use crate::bus::Bus;
use crate::planted_bugs::{PlantedBug, is_planted};
use steps::Step;

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused a statement, or could not be reached.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// The connection broke during a commit: it is not known whether the transaction happened.
    #[error("database: the answer to a commit was lost: {0}")]
    Unanswered(sqlx::Error),
    /// The stage's lease moved to another coordinator; this write is rejected.
    #[error(
        "the lease of the {stage} stage moved to another coordinator; this write under epoch {epoch} is rejected"
    )]
    Fenced {
        stage: rpmfarm_core::Stage,
        /// The epoch of the lease that ended.
        epoch: StageEpoch,
    },
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A column holds a value that is invalid for it.
    #[error("database: {table} holds `{value}` where {expected} was expected")]
    Corrupt {
        table: &'static str,
        value: String,
        /// The expected kind of value.
        expected: &'static str,
    },
    /// A NEVRA that exists with another digest.
    #[error(
        "{nevra} exists already in {target}, built by build {build} with digest {existing}; this one has {new} (raise the release, or rebuild with --bump)"
    )]
    SameNevra {
        nevra: String,
        target: String,
        /// The build that made the first one.
        build: BuildId,
        /// Digest of the first one.
        existing: String,
        /// Digest of this one.
        new: String,
    },
    /// A NEVRA that exists, and was built with other options.
    #[error(
        "{nevra} exists already in {target}, built by build {build} with {existing}; this one was requested with {new}: two builds with different options cannot have one name (rebuild with --bump, or with a dist tag of its own, --define 'dist TAG')"
    )]
    OtherOptions {
        nevra: String,
        target: String,
        /// The build that made the first one.
        build: BuildId,
        /// Options of the first one, in words.
        existing: String,
        /// Options of this one, in words.
        new: String,
    },
    /// The NEVRA of a withdrawn package.
    #[error(
        "{nevra} was made for {target} by build {build} and withdrawn by {who}: {reason} (raise the release, or rebuild with --bump; or restore it with rpmfarm package restore)"
    )]
    Withdrawn {
        nevra: String,
        target: String,
        /// The build that made it.
        build: BuildId,
        /// Who withdrew it.
        who: String,
        reason: String,
    },
    /// A package whose file would have the name of another one, because only their epochs differ.
    #[error(
        "{nevra} would have the same file name as {existing}, which build {build} made for {target} (file names do not contain the epoch; raise the release)"
    )]
    SameFile {
        nevra: String,
        /// The one that is there.
        existing: String,
        target: String,
        /// The build that made it.
        build: BuildId,
    },
}

impl From<sqlx::Error> for StoreError {
    /// A row that could not be read because of a corrupt column is reported as that (`columns`).
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Decode(source) => match source.downcast::<Self>() {
                Ok(corrupt) => *corrupt,
                Err(source) => Self::Database(sqlx::Error::Decode(source)),
            },
            error => Self::Database(error),
        }
    }
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    /// For a real farm.
    Postgres,
}

/// How long to wait for a connection: less than the answer to a heartbeat may take, so that workers
/// get answers while the database is down.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server ends a transaction whose client has been silent for this time: a coordinator that was
/// stopped during a transaction, or whose host is gone, must not keep its locks.
const LET_GO: &str = "SET idle_in_transaction_session_timeout = '4s'";

/// Heartbeats do not wait for locks.
const NO_WAIT: &str = "SET lock_timeout = '500ms'";

/// How long a heartbeat waits for its connection.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(2);

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    dialect: Dialect,
    readers: AnyPool,
    /// SQLite has one writer at a time; with PostgreSQL these are the readers' connections.
    writers: AnyPool,
    /// For heartbeats, which must not wait behind other work.
    heartbeat: AnyPool,
    bus: Bus,
    /// The fence that each transaction compares; only in a [`FencedStore`].
    fence: Option<Arc<Fence>>,
    /// The task that makes checkpoints; it ends with the last clone of the store.
    beside: Arc<Mutex<JoinSet<()>>>,
}

impl Store {
    /// Opens the database at a URL (`sqlite:///path/farm.db`, `postgres://…`), makes its schema,
    /// and tells the bus of every commit.
    ///
    /// # Errors
    /// When it cannot be reached or its schema is newer than this program.
    pub async fn open(url: &str, bus: Bus) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let dialect = if url.starts_with("postgres") { Dialect::Postgres } else { Dialect::Sqlite };
        let mut beside = JoinSet::new();
        let (readers, writers, heartbeat) = match dialect {
            Dialect::Postgres => {
                let pool = pool(url, 8, PATIENCE, vec![LET_GO]).await?;
                // A connection of its own, because a heartbeat that waits behind other work would
                // make this coordinator look dead.
                let heartbeat =
                    self::pool(url, 1, HEARTBEAT_PATIENCE, vec![LET_GO, NO_WAIT]).await?;
                (pool.clone(), pool, heartbeat)
            }
            Dialect::Sqlite => {
                let url = format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' });
                // The writer is opened first: it sets the journal mode, which is stored in the
                // file. SQLite checks foreign keys only on connections that ask for it. FULL,
                // because an acknowledged build must survive a loss of power.
                let settings = [
                    "PRAGMA foreign_keys = ON",
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA busy_timeout = 10000",
                    checkpoints::LONGEST,
                ];
                let writers = pool(&url, 1, 4 * PATIENCE, settings.to_vec()).await?;
                let readers =
                    pool(&url, 4, 4 * PATIENCE, vec!["PRAGMA busy_timeout = 10000"]).await?;
                // Checkpoints would run at times that the simulation does not choose.
                if !steps::is_simulated() {
                    beside.spawn(checkpoints::run(pool(&url, 1, PATIENCE, Vec::new()).await?));
                }
                (readers, writers.clone(), writers)
            }
        };
        sqlx::migrate!("./migrations").run(&writers).await?;
        let beside = Arc::new(Mutex::new(beside));
        Ok(Self { dialect, readers, writers, heartbeat, bus, fence: None, beside })
    }

    /// Which database it is.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// When no connection is free in time.
    pub async fn write(&self) -> Result<Tx> {
        let begin = match self.dialect {
            // A deferred transaction that upgrades to a writer ignores the busy timeout.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        let of = self.fence.as_deref().map(|fence| (fence.stage(), fence.epoch()));
        let step = Step::begin_transaction(of).await?;
        let inner = self.writers.begin_with(begin).await?;
        let mut tx = Tx { inner, bus: self.bus.clone(), step };
        if let Some(fence) = &self.fence
            && !is_planted(PlantedBug::UnfencedWrite)
        {
            tx.assert_fence(fence).await?;
        }
        Ok(tx)
    }

    /// The same store, each of whose transactions compares a fence.
    fn with_fence(&self, fence: Arc<Fence>) -> Self {
        Self { fence: Some(fence), ..self.clone() }
    }

    /// The connections for reading.
    #[cfg(not(feature = "simulation"))]
    pub(crate) const fn read_pool(&self) -> &AnyPool {
        &self.readers
    }

    /// The connection of heartbeats.
    #[cfg(not(feature = "simulation"))]
    pub(crate) const fn heartbeat_pool(&self) -> &AnyPool {
        &self.heartbeat
    }

    /// The connections for reading.
    #[cfg(feature = "simulation")]
    pub(crate) const fn read_pool(&self) -> steps::SteppedPool<'_> {
        steps::SteppedPool::new(&self.readers, crate::simulation::StepKind::Query)
    }

    /// The connection of heartbeats.
    #[cfg(feature = "simulation")]
    pub(crate) const fn heartbeat_pool(&self) -> steps::SteppedPool<'_> {
        steps::SteppedPool::new(&self.heartbeat, crate::simulation::StepKind::Heartbeat)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.beside.lock().abort_all();
        self.readers.close().await;
        self.writers.close().await;
        self.heartbeat.close().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }
}

/// A transaction. If it is dropped without [`Tx::commit`], it is rolled back.
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, Any>,
    bus: Bus,
    /// Ends with the transaction: dropped last.
    step: Step,
}

impl Tx {
    /// Commits, and wakes the passes.
    ///
    /// # Errors
    /// When the database could not commit; then nothing was written, unless it is
    /// [`StoreError::Unanswered`].
    pub async fn commit(self) -> Result<()> {
        let bus = self.bus.clone();
        self.commit_without_wake().await?;
        // Only after the commit: a pass that wakes too early would not see the new rows.
        bus.written();
        Ok(())
    }

    /// Commits, and wakes no pass.
    pub(crate) async fn commit_without_wake(self) -> Result<()> {
        let Self { inner, step, .. } = self;
        inner.commit().await.map_err(|error| match error {
            // The database answered, so the transaction was rolled back.
            sqlx::Error::Database(_) => StoreError::Database(error),
            error => StoreError::Unanswered(error),
        })?;
        if step.finish_commit().await {
            return Ok(());
        }
        Err(StoreError::Unanswered(sqlx::Error::WorkerCrashed))
    }

    pub(crate) fn conn(&mut self) -> &mut sqlx::AnyConnection {
        &mut self.inner
    }

    /// The next id of a sequence.
    pub(crate) async fn next_id(&mut self, sequence: &'static str) -> Result<i64> {
        let query = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
        Ok(sqlx::query_scalar(query).bind(sequence).fetch_one(self.conn()).await?)
    }
}

async fn pool(
    url: &str,
    size: u32,
    patience: Duration,
    settings: Vec<&'static str>,
) -> Result<AnyPool> {
    let options = AnyConnectOptions::from_str(url)?;
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(patience)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                for setting in settings {
                    sqlx::query(setting).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// Parses the text of a column.
pub(crate) fn parsed<T: std::str::FromStr>(
    table: &'static str,
    expected: &'static str,
    value: &str,
) -> Result<T> {
    let corrupt = || StoreError::Corrupt { table, value: value.to_owned(), expected };
    value.parse().map_err(|_| corrupt())
}

/// Parses the JSON of a column.
pub(crate) fn unjson<T: serde::de::DeserializeOwned>(
    table: &'static str,
    expected: &'static str,
    value: &str,
) -> Result<T> {
    let corrupt = |_| StoreError::Corrupt { table, value: value.to_owned(), expected };
    serde_json::from_str(value).map_err(corrupt)
}

/// The latest time that is waited for: a later one was set by a clock that has since been set back.
pub(super) fn latest_due(now: Timestamp) -> Timestamp {
    if is_planted(PlantedBug::FarFutureRetry) {
        Timestamp::LAST
    } else {
        rpmfarm_core::status::latest_due(now)
    }
}

/// A value as the JSON of a column.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("facts have no maps with keys that JSON lacks")
}
