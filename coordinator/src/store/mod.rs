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
mod batch_events;
mod batch_facts;
mod batches;
mod blob_proofs;
mod build_details;
mod build_ends;
mod build_notes;
mod build_rows;
mod builds;
mod channel_packages;
mod channels;
mod checkpoints;
mod columns;
mod coordinators;
mod counts;
mod cves;
mod end_counts;
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
mod pool_packages;
mod proofs;
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
mod unplaced;
mod uploads;
mod withdrawals;

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::{BuildId, StageEpoch, Timestamp};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool};
use tokio::task::JoinSet;

pub use acceptances::EndedAttempt;
pub use assignments::AssignmentRow;
pub use attempts::{Attempt, AttemptEnd, LiveAttempt};
pub use batch_facts::{BatchMemberRow, BatchScope, BatchTaskRow};
pub use batches::{Batch, BatchBuildChange, BatchCounts, LostBuild, WorkLeft};
pub use build_details::{
    BuildDetailRows, FarmReplacementDetail, PublishedEvr, SrpmDetailRow, TaskDetailRows,
};
pub use build_rows::EndedBuildRow;
pub use builds::{Build, BuildFilter, BuildRequest, EndedFilter, NewBuild, StartedBuilds};
pub use channel_packages::{ChannelChange, ChannelHead};
pub use channels::{Publication, Revision};
pub use coordinators::{CoordinatorRow, PeerSnapshotRow, WorkerConnection, WorkerOwner};
pub use counts::QueueCount;
pub use end_counts::BuildEnd;
pub use enrolment::{Certificate, CertificateRow, Invitation};
pub use failures::FailureRow;
pub use fenced::{Fence, FencedStore};
pub use fleet::{StandingRow, WorkerFault};
pub use grants::{Grant, ReadyQueue, ReadyTask};
pub use hooks::{HookHint, HookResult, NewHook};
pub use kept_files::KeptFileRow;
pub use late_results::LateResult;
pub use open_errors::explain;
pub use owners::{ClaimDecision, FarmReplacementRow, PoolRow};
pub use packages::{NewPackage, Package, Signature, SignedPackage};
pub use polls::PollResult;
pub use pool_packages::{PoolPackage, PoolUpdate};
pub use proofs::{AcceptedProblemRow, ProofRow};
pub use pushes::{PushFilter, PushRow, StormRow};
pub use queue_positions::{QueuePositionRow, RunningTask};
pub use results::{AcceptedTask, ResultPackage};
pub use sources::{Import, Srpm};
pub use tasks::{LockRow, NewLock, NewTask, Task};
pub use tracked::{NewTracked, PolicyOverrideRow, TrackedPackage};
pub use unplaced::UnplacedRow;
pub use withdrawals::{ImpactRow, ReturningPackage, RootRow, Withdrawal, WithdrawnPackage};

use crate::bus::{Bus, News};
use crate::planted_bugs::{PlantedBug, is_planted};
use end_counts::EndCounts;
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

/// How many statements were sent. Each use of a connection is one, and no connection is used twice;
/// so are the beginning and the commit of a transaction.
#[derive(Debug, Clone, Default)]
struct StatementCount(Arc<AtomicU64>);

impl StatementCount {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

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
    statements: StatementCount,
    /// The fence that each transaction compares; only in a [`FencedStore`].
    fence: Option<Arc<Fence>>,
    /// The task that makes checkpoints; it ends with the last clone of the store.
    beside: Arc<Mutex<JoinSet<()>>>,
}

impl Store {
    /// Opens the database at a URL (`sqlite:///path/farm.db`, `postgres://…`), makes its schema,
    /// and tells the bus of every commit, with the builds whose facts it changed.
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
        let statements = StatementCount::default();
        let store =
            Self { dialect, readers, writers, heartbeat, bus, statements, fence: None, beside };
        // A simulation has no older coordinators, and nothing may happen in it that it did not
        // choose.
        if !steps::is_simulated() && store.build_end_mend().await? {
            tracing::info!("recorded how builds ended under a coordinator of an older version");
        }
        Ok(store)
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
        let mut tx = Tx {
            inner: self.writers.begin_with(begin).await?,
            bus: self.bus.clone(),
            statements: self.statements.clone(),
            changed: BTreeSet::new(),
            ordered: BTreeSet::new(),
            news: None,
            ended: EndCounts::default(),
            step,
        };
        tx.statements.add();
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

    /// The connections for reading, for one statement.
    #[cfg(not(feature = "simulation"))]
    pub(crate) fn read_pool(&self) -> &AnyPool {
        self.statements.add();
        &self.readers
    }

    /// The connection of heartbeats, for one statement.
    #[cfg(not(feature = "simulation"))]
    pub(crate) fn heartbeat_pool(&self) -> &AnyPool {
        self.statements.add();
        &self.heartbeat
    }

    /// The connections for reading, for one statement.
    #[cfg(feature = "simulation")]
    pub(crate) fn read_pool(&self) -> steps::SteppedPool<'_> {
        self.statements.add();
        steps::SteppedPool::new(&self.readers, crate::simulation::StepKind::Query)
    }

    /// The connection of heartbeats, for one statement.
    #[cfg(feature = "simulation")]
    pub(crate) fn heartbeat_pool(&self) -> steps::SteppedPool<'_> {
        self.statements.add();
        steps::SteppedPool::new(&self.heartbeat, crate::simulation::StepKind::Heartbeat)
    }

    /// How many statements were sent since the store was opened, by all of its clones, the
    /// beginnings and commits of transactions among them.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.0.load(Ordering::Relaxed)
    }

    /// Notifies the followers of these builds that facts have changed, where the transaction did
    /// not know the builds.
    pub fn tell_changed(&self, builds: impl IntoIterator<Item = BuildId>) {
        self.bus.written(builds.into_iter().collect(), &News::Steps(BTreeSet::new()));
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
    statements: StatementCount,
    /// The builds whose facts it changes.
    changed: BTreeSet<BuildId>,
    /// The builds whose facts the order of their batch has to read again.
    ordered: BTreeSet<BuildId>,
    /// The passes that its commit wakes; `None` until it is set, which means all.
    news: Option<News>,
    /// The builds that it ends, which are counted last.
    ended: EndCounts,
    /// Ends with the transaction: dropped last.
    step: Step,
}

impl Tx {
    /// Commits, and wakes the passes.
    ///
    /// # Errors
    /// When the database could not commit; then nothing was written, unless it is
    /// [`StoreError::Unanswered`].
    pub async fn commit(mut self) -> Result<()> {
        let (bus, changed) = (self.bus.clone(), std::mem::take(&mut self.changed));
        let news = self.news.take().unwrap_or(News::All);
        self.commit_without_wake().await?;
        // Only after the commit: a pass that wakes too early would not see the new rows.
        bus.written(changed, &news);
        Ok(())
    }

    /// The commit wakes the passes that do these steps, and no others unless they are added.
    pub(crate) fn wake_for(&mut self, steps: impl IntoIterator<Item = NextStep>) {
        match self.news.get_or_insert_with(|| News::Steps(BTreeSet::new())) {
            News::Steps(known) => known.extend(steps),
            News::All => {}
        }
    }

    /// The commit wakes all passes, whatever else is set.
    pub(crate) fn wake_all(&mut self) {
        self.news = Some(News::All);
    }

    /// Records that this transaction changes facts of a build: its commit notifies the followers of
    /// the build.
    pub(crate) fn build_note_changed(&mut self, build: BuildId) {
        self.changed.insert(build);
    }

    /// Commits, and wakes no pass.
    pub(crate) async fn commit_without_wake(mut self) -> Result<()> {
        // Rows of batches first: the counts are one for the whole farm.
        self.batch_event_insert().await?;
        self.build_end_write_counts().await?;
        let Self { inner, statements, step, .. } = self;
        statements.add();
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

    /// The connection, for one statement.
    pub(crate) fn conn(&mut self) -> &mut sqlx::AnyConnection {
        self.statements.add();
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
