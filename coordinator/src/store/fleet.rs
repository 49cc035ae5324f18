//! Decisions about workers: drained, quarantined, revoked, and active again.
//!
//! A transaction that decides locks the sequence `fleet` until its end, so that decisions about one
//! worker follow each other.

use std::collections::BTreeMap;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::worker_standing::{Standing, StandingError};
use rpmfarm_core::{Arch, BuildId, Failure, TaskId, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Result, Store, Tx, parsed, unjson};

/// A decision about a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRow {
    pub standing: Standing,
    /// Why, in one line.
    pub reason: String,
    pub at: Timestamp,
}

/// An attempt that failed through the worker's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerFault {
    pub build: BuildId,
    pub task: TaskId,
    pub package: String,
    pub at: Timestamp,
    pub failure: Failure,
}

impl FromRow<'_, AnyRow> for StandingRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("worker_states", row);
        Ok(Self {
            standing: row.parsed("state", "a state of a worker")?,
            reason: row.string("reason")?,
            at: row.time("at_us")?,
        })
    }
}

/// A decision, and its worker.
#[derive(sqlx::FromRow)]
struct OfWorker {
    worker: String,
    #[sqlx(flatten)]
    row: StandingRow,
}

/// The facts that decide whether a worker may connect.
struct Admission(Option<StandingRow>, Vec<Arch>);

impl FromRow<'_, AnyRow> for Admission {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let arches = Columns::of("enrolments", row).json("arches", "a list of architectures")?;
        let state = Columns::of("worker_states", row).string("state")?;
        let standing = if state.is_empty() { None } else { Some(StandingRow::from_row(row)?) };
        Ok(Self(standing, arches))
    }
}

/// An attempt that failed, with its report.
#[derive(sqlx::FromRow)]
struct FailedRow {
    #[sqlx(try_from = "i64")]
    build: BuildId,
    #[sqlx(try_from = "i64")]
    task: TaskId,
    package: String,
    #[sqlx(rename = "at_us", try_from = "i64")]
    at: Timestamp,
    report: String,
}

impl Store {
    /// The current decision about each worker that has one, by name.
    pub async fn standing_list(&self) -> Result<BTreeMap<String, StandingRow>> {
        // One step along the index for each worker, however many decisions there were.
        let query = "WITH RECURSIVE w(name) AS (
                         SELECT MIN(worker) FROM worker_states
                         UNION ALL
                         SELECT (SELECT MIN(n.worker) FROM worker_states n WHERE n.worker > w.name)
                         FROM w WHERE w.name IS NOT NULL)
                     SELECT s.worker, s.state, s.reason, s.at_us FROM w JOIN worker_states s
                     ON s.id = (SELECT MAX(n.id) FROM worker_states n WHERE n.worker = w.name)";
        let rows: Vec<OfWorker> = sqlx::query_as(query).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|OfWorker { worker, row }| (worker, row)).collect())
    }

    /// The current decision about a worker; `None` when there is none, and it is active.
    pub async fn standing_fetch(&self, worker: &str) -> Result<Option<StandingRow>> {
        Ok(self.standing_list_history(worker, 1).await?.pop())
    }

    /// The facts that decide whether a worker may connect: the newest decision about it, and the
    /// architectures that it was enrolled for; an empty list stands for all. One query, because
    /// every report needs it.
    pub async fn worker_fetch_admission(
        &self,
        worker: &str,
    ) -> Result<(Option<StandingRow>, Vec<Arch>)> {
        let query = "SELECT COALESCE(s.state, '') AS state, COALESCE(s.reason, '') AS reason,
                     COALESCE(s.at_us, 0) AS at_us,
                     COALESCE((SELECT e.arches FROM enrolments e WHERE e.worker = n.worker
                               ORDER BY e.id DESC LIMIT 1), '[]') AS arches
                     FROM (SELECT CAST($1 AS TEXT) AS worker) n
                     LEFT JOIN worker_states s ON s.id =
                         (SELECT MAX(id) FROM worker_states WHERE worker = n.worker)";
        let Admission(standing, arches) =
            sqlx::query_as(query).bind(worker).fetch_one(self.read_pool()).await?;
        Ok((standing, arches))
    }

    /// The last decisions about a worker, newest first.
    pub async fn standing_list_history(
        &self,
        worker: &str,
        limit: u32,
    ) -> Result<Vec<StandingRow>> {
        let query = "SELECT state, reason, at_us FROM worker_states
                     WHERE worker = $1 ORDER BY id DESC LIMIT $2";
        let query = sqlx::query_as(query).bind(worker).bind(i64::from(limit));
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// The last attempts that a worker failed for reasons of its own, newest first.
    pub async fn worker_fault_list(&self, worker: &str, limit: u32) -> Result<Vec<WorkerFault>> {
        // An outer join, because with an inner one PostgreSQL begins with the reports of all
        // workers: it takes the pattern for rare.
        let query = "SELECT t.build, t.id AS task, b.package, e.at_us, e.report
                     FROM attempts a LEFT JOIN attempt_ends e ON e.attempt = a.id
                     JOIN tasks t ON t.id = a.task JOIN builds b ON b.id = t.build
                     WHERE a.worker = $1 AND COALESCE(e.outcome, '') = 'failed'
                     AND COALESCE(e.report, '') LIKE '%\"fault\":\"worker\"%'
                     ORDER BY a.id DESC LIMIT $2";
        let query = sqlx::query_as(query).bind(worker).bind(i64::from(limit));
        let rows: Vec<FailedRow> = query.fetch_all(self.read_pool()).await?;
        let mut faults = Vec::with_capacity(rows.len());
        for FailedRow { build, task, package, at, report } in rows {
            // The pattern may also match a line of a log in the report, so the report is parsed.
            if let Some(Outcome::Failed(failure)) = unjson("attempt_ends", "a report", &report)?
                && failure.fault == rpmfarm_core::Fault::Worker
            {
                faults.push(WorkerFault { build, task, package, at, failure });
            }
        }
        Ok(faults)
    }

    /// Decides about a worker, as `core`'s rule allows. Returns whether that changed anything. A
    /// revocation also revokes all its certificates.
    ///
    /// # Errors
    /// Database errors; the inner error when the rule forbids the decision.
    pub async fn standing_set(
        &self,
        worker: &str,
        wanted: Standing,
        reason: &str,
        now: Timestamp,
    ) -> Result<std::result::Result<bool, StandingError>> {
        let mut tx = self.write().await?;
        let id = tx.next_id("fleet").await?;
        let before = tx.standing_fetch(worker).await?;
        let changed = match before.change(wanted) {
            Ok(Some(standing)) => {
                tx.standing_insert(id, worker, standing, reason, now).await?;
                if standing == Standing::Revoked {
                    tx.certificate_end_all(worker, &format!("revoked: {reason}"), now).await?;
                }
                true
            }
            Ok(None) => false,
            Err(refused) => return Ok(Err(refused)),
        };
        tx.commit().await?;
        Ok(Ok(changed))
    }

    /// Quarantines a worker if `core`'s rule allows it and others can do its work: of each list at
    /// least one worker must be active in the same transaction, so that two decisions at the same
    /// time do not take the last two workers. Returns whether that changed anything.
    pub async fn standing_set_quarantined(
        &self,
        worker: &str,
        stand_ins: &[Vec<String>],
        reason: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        let id = tx.next_id("fleet").await?;
        let before = tx.standing_fetch(worker).await?;
        let Ok(Some(standing)) = before.change(Standing::Quarantined) else { return Ok(false) };
        for group in stand_ins {
            let mut left = false;
            for name in group {
                left = left || tx.standing_fetch(name).await?.takes_work();
            }
            if !left {
                return Ok(false);
            }
        }
        tx.standing_insert(id, worker, standing, reason, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    /// The standing of a worker within this transaction.
    pub(super) async fn standing_fetch(&mut self, worker: &str) -> Result<Standing> {
        let query = "SELECT state FROM worker_states WHERE worker = $1 ORDER BY id DESC LIMIT 1";
        let state: Option<String> =
            sqlx::query_scalar(query).bind(worker).fetch_optional(self.conn()).await?;
        let state = state.map(|state| parsed("worker_states", "a state of a worker", &state));
        Ok(state.transpose()?.unwrap_or_default())
    }

    /// Adds a decision, numbered by the sequence `fleet`.
    pub(super) async fn standing_insert(
        &mut self,
        id: i64,
        worker: &str,
        standing: Standing,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO worker_states (id, worker, state, reason, at_us)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(worker)
        .bind(standing.as_str())
        .bind(reason)
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
