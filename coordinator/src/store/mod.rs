//! The store of facts, on SQLite or PostgreSQL with one text for each query.
//!
//! Owns connections, transactions and the schema; each sibling file owns the queries of one kind
//! of fact. It must not know why a fact is written: the stages decide, by `core`.

mod attempts;
mod builds;
mod channels;
mod enrolment;
mod failures;
mod fleet;
mod late;
mod packages;
mod sources;
mod tasks;
mod uploads;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool};

pub use attempts::{Attempt, AttemptEnd, EndedAttempt, LiveAttempt};
pub use builds::{Build, BuildFilter, NewBuild, StartedBuilds};
pub use channels::{Publication, Revision};
pub use enrolment::{Certificate, CertificateRow, Invitation};
pub use failures::FailureRow;
pub use fleet::{StandingRow, WorkerFault};
pub use late::LateResult;
pub use packages::{NewPackage, Package, Signature, SignedPackage};
pub use sources::{Import, Srpm};
pub use tasks::{LockRow, NewTask, Task};

use crate::bus::Bus;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A row holds what its column cannot mean.
    #[error("database: {table} holds `{value}` where {expected} was expected")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is there.
        value: String,
        /// What should be.
        expected: &'static str,
    },
    /// A NEVRA that exists with another digest.
    #[error(
        "{nevra} exists already in {target}, built by build {build} with digest {existing}; this one has {new} (raise the release)"
    )]
    SameNevra {
        /// The package.
        nevra: String,
        /// The target.
        target: String,
        /// The build that made the first one.
        build: i64,
        /// Digest of the first one.
        existing: String,
        /// Digest of this one.
        new: String,
    },
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded default.
    Sqlite,
    /// For a real farm.
    Postgres,
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    dialect: Dialect,
    readers: AnyPool,
    /// SQLite takes one writer at a time; with PostgreSQL these are the readers' connections.
    writers: AnyPool,
    bus: Bus,
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
        let (readers, writers) = match dialect {
            Dialect::Postgres => {
                let pool = pool(url, 8, Vec::new()).await?;
                (pool.clone(), pool)
            }
            Dialect::Sqlite => {
                let url = format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' });
                // The writer comes first: it sets the journal mode, which stays in the file.
                let settings = [
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA busy_timeout = 10000",
                ];
                let writers = pool(&url, 1, settings.to_vec()).await?;
                let readers = pool(&url, 4, vec!["PRAGMA busy_timeout = 10000"]).await?;
                (readers, writers)
            }
        };
        sqlx::migrate!("./migrations").run(&writers).await?;
        Ok(Self { dialect, readers, writers, bus })
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
        Ok(Tx { inner: self.writers.begin_with(begin).await?, bus: self.bus.clone() })
    }

    /// The connections for reading.
    pub(crate) const fn read(&self) -> &AnyPool {
        &self.readers
    }

    /// Closes all connections, so that the database can go away.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
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

/// A transaction. Dropped without [`Tx::commit`], it has not happened.
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, Any>,
    bus: Bus,
}

impl Tx {
    /// Makes it durable and wakes the passes.
    ///
    /// # Errors
    /// When the database could not; then nothing has happened.
    pub async fn commit(self) -> Result<()> {
        self.inner.commit().await?;
        self.bus.ring();
        Ok(())
    }

    /// Makes it durable and wakes nobody: for what no pass waits for.
    ///
    /// # Errors
    /// When the database could not; then nothing has happened.
    pub(crate) async fn commit_quietly(self) -> Result<()> {
        Ok(self.inner.commit().await?)
    }

    pub(crate) fn on(&mut self) -> &mut sqlx::AnyConnection {
        &mut self.inner
    }

    /// The next id of a sequence.
    pub(crate) async fn next_id(&mut self, sequence: &'static str) -> Result<i64> {
        let query = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
        Ok(sqlx::query_scalar(query).bind(sequence).fetch_one(self.on()).await?)
    }
}

async fn pool(url: &str, size: u32, settings: Vec<&'static str>) -> Result<AnyPool> {
    let options = AnyConnectOptions::from_str(url)?;
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(20))
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

/// Reads a column's text as what it must be.
pub(crate) fn parsed<T: std::str::FromStr>(
    table: &'static str,
    expected: &'static str,
    value: &str,
) -> Result<T> {
    let corrupt = || StoreError::Corrupt { table, value: value.to_owned(), expected };
    value.parse().map_err(|_| corrupt())
}

/// Reads a column's JSON.
pub(crate) fn unjson<T: serde::de::DeserializeOwned>(
    table: &'static str,
    expected: &'static str,
    value: &str,
) -> Result<T> {
    let corrupt = |_| StoreError::Corrupt { table, value: value.to_owned(), expected };
    serde_json::from_str(value).map_err(corrupt)
}

/// A value as the JSON of a column.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("facts have no maps with keys that JSON lacks")
}
