//! Attempts: leases with epochs, and their ends.
//!
//! The fence is here: an attempt ends once, and only while it is live. A report about an attempt
//! that is not live changes nothing.

use rpmfarm_core::placement::HeldTask;
use rpmfarm_core::quarantine::AttemptOutcome;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, TaskId, Timestamp};

use super::columns::Flag;
use super::lists::{list, rows};
use super::transaction_retry::again;
use super::{Result, Store, Tx, json, parsed, unjson};
use crate::planted_bugs::{PlantedBug, is_planted};

/// How many ids one query may contain.
const IDS_OF_QUERY: usize = 500;

/// One try of a task by one worker.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Attempt {
    #[sqlx(try_from = "i64")]
    pub id: AttemptId,
    #[sqlx(try_from = "i64")]
    pub task: TaskId,
    /// The number that fences this attempt.
    #[sqlx(try_from = "i64")]
    pub epoch: Epoch,
    pub worker: String,
    /// When it was granted.
    #[sqlx(rename = "started_us", try_from = "i64")]
    pub started: Timestamp,
}

/// An attempt that a worker holds now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LiveAttempt {
    #[sqlx(try_from = "i64")]
    pub id: AttemptId,
    #[sqlx(try_from = "i64")]
    pub task: TaskId,
    #[sqlx(try_from = "i64")]
    pub build: BuildId,
    /// The number that fences this attempt.
    #[sqlx(try_from = "i64")]
    pub epoch: Epoch,
    pub worker: String,
    #[sqlx(rename = "started_us", try_from = "i64")]
    pub started: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    /// The report; `None` for one that was cancelled.
    pub outcome: Option<Outcome>,
    pub at: Timestamp,
}

/// An attempt with its end; an empty report stands for no report.
#[derive(sqlx::FromRow)]
pub(super) struct AttemptRow {
    #[sqlx(flatten)]
    attempt: Attempt,
    report: String,
    #[sqlx(rename = "ended_us", try_from = "i64")]
    ended: Timestamp,
}

/// The columns of an [`AttemptRow`], of `attempts a` and its `attempt_ends e`, if there is one.
pub(super) const WITH_END: &str = "a.id, a.task, a.epoch, a.worker, a.started_us,
    COALESCE(e.report, '') AS report, COALESCE(e.at_us, 0) AS ended_us";

impl AttemptRow {
    pub(super) fn read(self) -> Result<(Attempt, Option<AttemptEnd>)> {
        let Self { attempt, report, ended } = self;
        if report.is_empty() {
            return Ok((attempt, None));
        }
        let outcome = unjson("attempt_ends", "a report", &report)?;
        Ok((attempt, Some(AttemptEnd { outcome, at: ended })))
    }
}

/// The end of an attempt of a worker.
#[derive(sqlx::FromRow)]
struct EndRow {
    package: String,
    report: String,
    #[sqlx(rename = "at_us", try_from = "i64")]
    at: Timestamp,
    /// Whether the results of another worker were accepted for the task.
    #[sqlx(try_from = "Flag")]
    elsewhere: bool,
}

/// The worker that made the packages which a task repeats; the number of the task is appended.
pub(super) const MAKER_OF: &str = "SELECT a.worker FROM tasks t
    JOIN tasks o ON o.build = t.build AND o.arch = t.arch AND o.kind = 'build'
    JOIN acceptances c ON c.task = o.id JOIN attempts a ON a.id = c.attempt
    WHERE t.kind = 'repeat' AND t.id =";

impl Store {
    /// Ends a live attempt with its success. False when it is not live under this epoch; then
    /// nothing is changed.
    pub async fn attempt_end_succeeded(
        &self,
        attempt: AttemptId,
        epoch: Epoch,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let Some((build, _)) = tx.lease_release(attempt, epoch).await? else {
                return Ok(false);
            };
            tx.attempt_end_insert(attempt, "succeeded", &json(&Some(outcome)), now).await?;
            tx.reindex(build, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Ends a live attempt with its failure, to be tried again at `retry`; without a `retry` the
    /// build ends. False when the attempt is not live under this epoch; then nothing is changed.
    pub async fn attempt_end_failed(
        &self,
        attempt: AttemptId,
        epoch: Epoch,
        failure: &Failure,
        retry: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let Some((build, task)) = tx.lease_release(attempt, epoch).await? else {
                return Ok(false);
            };
            let outcome = Outcome::Failed(failure.clone());
            tx.attempt_end_insert(attempt, "failed", &json(&Some(outcome)), now).await?;
            tx.failure_insert(build, Some(task), failure, retry, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// All attempts that a worker holds; those of all workers when `worker` is `None`.
    pub async fn attempt_list_live(&self, worker: Option<&str>) -> Result<Vec<LiveAttempt>> {
        let Some(worker) = worker else {
            let query = "SELECT a.id, a.task, t.build, a.epoch, a.worker, a.started_us
                         FROM live_attempts v JOIN attempts a ON a.id = v.attempt
                         JOIN tasks t ON t.id = a.task ORDER BY v.attempt";
            return Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?);
        };
        // Two queries instead of an OR, so that both databases use the index.
        let query = "SELECT a.id, a.task, t.build, a.epoch, a.worker, a.started_us
                     FROM live_attempts v JOIN attempts a ON a.id = v.attempt
                     JOIN tasks t ON t.id = a.task WHERE v.worker = $1 ORDER BY a.id";
        Ok(sqlx::query_as(query).bind(worker).fetch_all(self.read_pool()).await?)
    }

    /// A live attempt; `None` when it is not live.
    pub async fn attempt_fetch_live(&self, attempt: AttemptId) -> Result<Option<LiveAttempt>> {
        let query = "SELECT a.id, a.task, t.build, a.epoch, a.worker, a.started_us
                     FROM live_attempts v JOIN attempts a ON a.id = v.attempt
                     JOIN tasks t ON t.id = a.task WHERE a.id = $1";
        Ok(sqlx::query_as(query).bind(attempt.0).fetch_optional(self.read_pool()).await?)
    }

    /// Live attempts with their workers and what their tasks need, for counting free slots.
    pub async fn lease_list(&self) -> Result<Vec<(String, AttemptId, HeldTask)>> {
        let query = "SELECT v.worker, v.attempt,
                     (SELECT COUNT(*) FROM tasks t WHERE t.id = v.task AND t.kind = 'srpm'),
                     COALESCE(n.needs, '') FROM live_attempts v
                     LEFT JOIN task_needs n ON n.task = v.task";
        let rows: Vec<(String, i64, i64, String)> =
            sqlx::query_as(query).fetch_all(self.read_pool()).await?;
        rows.into_iter()
            .map(|(worker, attempt, srpm, needs)| {
                let needs = parsed("task_needs", "needs", &needs)?;
                Ok((worker, AttemptId(attempt), HeldTask { needs, srpm: srpm != 0 }))
            })
            .collect()
    }

    /// Workers that hold attempts.
    pub async fn worker_list_with_leases(&self) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT worker FROM live_attempts ORDER BY worker";
        Ok(sqlx::query_scalar(query).fetch_all(self.read_pool()).await?)
    }

    /// Workers that hold attempts of a build.
    pub async fn worker_list_on_build(&self, build: BuildId) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT v.worker FROM tasks t JOIN live_attempts v ON v.task = t.id
                     WHERE t.build = $1 ORDER BY v.worker";
        Ok(sqlx::query_scalar(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    /// Workers that have failed a task since its build was last retried, the newest failure first.
    pub async fn worker_list_failed_task(&self, task: TaskId) -> Result<Vec<String>> {
        let query = "SELECT a.worker FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
                     JOIN tasks t ON t.id = a.task
                     WHERE a.task = $1 AND e.outcome = 'failed'
                     AND e.at_us > COALESCE((SELECT MAX(r.at_us) FROM retries r
                                             WHERE r.build = t.build), 0)
                     ORDER BY a.epoch DESC";
        Ok(sqlx::query_scalar(query).bind(task.0).fetch_all(self.read_pool()).await?)
    }

    /// For a repetition, the worker that made the first packages; empty for other tasks.
    pub async fn worker_fetch_of_repeated_task(&self, task: TaskId) -> Result<String> {
        let query = sqlx::AssertSqlSafe(format!("{MAKER_OF} $1"));
        let maker: Option<String> =
            sqlx::query_scalar(query).bind(task.0).fetch_optional(self.read_pool()).await?;
        Ok(maker.unwrap_or_default())
    }

    /// How the last attempts of a worker ended after a time, the newest first, at most `limit`, and
    /// whether the results of another worker were accepted for the same task. Cancelled attempts
    /// are left out.
    pub async fn attempt_list_ends_of_worker(
        &self,
        worker: &str,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<AttemptOutcome>> {
        let query = "SELECT b.package, e.report, e.at_us,
                     CASE WHEN o.worker IS NULL OR o.worker = a.worker THEN 0 ELSE 1 END AS elsewhere
                     FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
                     JOIN tasks t ON t.id = a.task JOIN builds b ON b.id = t.build
                     LEFT JOIN acceptances c ON c.task = a.task
                     LEFT JOIN attempts o ON o.id = c.attempt
                     WHERE a.worker = $1 AND e.outcome <> 'cancelled'
                     ORDER BY a.id DESC LIMIT $2";
        let query = sqlx::query_as(query).bind(worker).bind(limit);
        let rows: Vec<EndRow> = query.fetch_all(self.read_pool()).await?;
        let mut ends = Vec::with_capacity(rows.len());
        for EndRow { package, report, at, elsewhere } in rows {
            let failure = match unjson("attempt_ends", "a report", &report)? {
                Some(Outcome::Failed(failure)) => Some(failure),
                Some(Outcome::Succeeded(_)) | None => None,
            };
            if at > since {
                ends.push(AttemptOutcome { package, failure, built_elsewhere: elsewhere, at });
            }
        }
        ends.sort_by_key(|end| std::cmp::Reverse(end.at));
        Ok(ends)
    }

    /// The worker that holds an attempt under an epoch, and the build; `None` when the attempt is
    /// not live.
    pub async fn lease_fetch_worker(
        &self,
        attempt: AttemptId,
        epoch: Epoch,
    ) -> Result<Option<(String, BuildId)>> {
        let query = "SELECT a.worker, t.build FROM live_attempts v
                     JOIN attempts a ON a.id = v.attempt JOIN tasks t ON t.id = a.task
                     WHERE a.id = $1 AND a.epoch = $2";
        let row: Option<(String, i64)> = sqlx::query_as(query)
            .bind(attempt.0)
            .bind(epoch.0)
            .fetch_optional(self.read_pool())
            .await?;
        Ok(row.map(|(worker, build)| (worker, BuildId(build))))
    }

    /// The worker that an attempt was granted to, whether or not it has ended.
    pub async fn attempt_fetch_worker(&self, attempt: AttemptId) -> Result<Option<String>> {
        let query = "SELECT worker FROM attempts WHERE id = $1";
        Ok(sqlx::query_scalar(query).bind(attempt.0).fetch_optional(self.read_pool()).await?)
    }

    /// The workers that attempts were granted to, whether or not they have ended; unknown attempts
    /// are left out.
    pub async fn attempt_list_workers(
        &self,
        ids: &[AttemptId],
    ) -> Result<Vec<(AttemptId, String)>> {
        let mut workers = Vec::new();
        for page in ids.chunks(IDS_OF_QUERY) {
            let ids = list(page.iter().map(|id| id.0));
            let query = format!("SELECT id, worker FROM attempts WHERE id IN ({ids})");
            let found: Vec<(i64, String)> = rows!(self, (i64, String), query);
            workers.extend(found.into_iter().map(|(id, worker)| (AttemptId(id), worker)));
        }
        Ok(workers)
    }

    /// All attempts of a task with their ends, oldest first.
    pub async fn attempt_list(&self, task: TaskId) -> Result<Vec<(Attempt, Option<AttemptEnd>)>> {
        let query = format!(
            "SELECT {WITH_END} FROM attempts a LEFT JOIN attempt_ends e ON e.attempt = a.id
             WHERE a.task = $1 ORDER BY a.epoch"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(task.0);
        let rows: Vec<AttemptRow> = query.fetch_all(self.read_pool()).await?;
        rows.into_iter().map(AttemptRow::read).collect()
    }
}

impl Tx {
    /// Takes all attempts of a build from their workers.
    pub(crate) async fn attempt_end_all_of_build(
        &mut self,
        build: BuildId,
        now: Timestamp,
    ) -> Result<()> {
        let query = "SELECT v.attempt FROM live_attempts v JOIN tasks t ON t.id = v.task
                     WHERE t.build = $1 ORDER BY v.attempt";
        let attempts: Vec<i64> =
            sqlx::query_scalar(query).bind(build.0).fetch_all(self.conn()).await?;
        for attempt in attempts {
            sqlx::query("DELETE FROM live_attempts WHERE attempt = $1")
                .bind(attempt)
                .execute(self.conn())
                .await?;
            self.attempt_end_insert(AttemptId(attempt), "cancelled", "null", now).await?;
        }
        Ok(())
    }

    /// Takes a live attempt from its worker. `None` when it is not live under this epoch.
    async fn lease_release(
        &mut self,
        attempt: AttemptId,
        epoch: Epoch,
    ) -> Result<Option<(BuildId, TaskId)>> {
        let query = "SELECT t.build, t.id FROM attempts a JOIN tasks t ON t.id = a.task
                     WHERE a.id = $1 AND a.epoch = $2";
        let known: Option<(i64, i64)> =
            sqlx::query_as(query).bind(attempt.0).bind(epoch.0).fetch_optional(self.conn()).await?;
        let Some((build, task)) = known else { return Ok(None) };
        // The build's row is locked before all others, as in every transaction.
        self.build_lock_open(BuildId(build)).await?;
        // Deleting the row ends the attempt: a second report, or a lease that expires in the same
        // moment, deletes none.
        let freed = sqlx::query(
            "DELETE FROM live_attempts WHERE attempt = $1 AND task = $2
             AND EXISTS (SELECT 1 FROM attempts WHERE id = $1 AND epoch = $3)",
        )
        .bind(attempt.0)
        .bind(task)
        .bind(epoch.0)
        .execute(self.conn())
        .await?;
        let is_freed = freed.rows_affected() > 0 || is_planted(PlantedBug::LateReport);
        Ok(is_freed.then_some((BuildId(build), TaskId(task))))
    }

    pub(super) async fn attempt_end_insert(
        &mut self,
        attempt: AttemptId,
        outcome: &str,
        report: &str,
        now: Timestamp,
    ) -> Result<()> {
        let again = match is_planted(PlantedBug::LateReport) {
            false => "DO NOTHING",
            true => "(attempt) DO UPDATE SET outcome = excluded.outcome, report = excluded.report",
        };
        let query = sqlx::AssertSqlSafe(format!(
            "INSERT INTO attempt_ends (attempt, outcome, report, at_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT {again}"
        ));
        let query = sqlx::query(query).bind(attempt.0).bind(outcome).bind(report);
        query.bind(now.as_us()).execute(self.conn()).await?;
        Ok(())
    }
}
