//! Batches: the builds of one request, their order mode, and whether they are paused.
//!
//! Owns the records of a batch as a whole, and the counts of its builds for people. It
//! must not know how a batch is ordered, nor what its order means.

use std::time::Duration;

use rpmfarm_core::batch::OrderMode;
use rpmfarm_core::time::span;
use rpmfarm_core::{AttemptId, BatchId, BuildId, Failure, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::lists::{list, rows};
use super::transaction_retry::again;
use super::{Result, Store, Tx, unjson};

/// The builds of one request. One of a request for a single build, or of an earlier version, has no
/// row of its own before it is paused: it is read from its builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    /// Name of the target of its builds.
    pub target: String,
    /// The needs that determine its order.
    pub order: OrderMode,
    /// Since when the batch is paused; `None` when it is not paused.
    pub paused: Option<Timestamp>,
    /// Who submitted it.
    pub submitter: String,
    /// When it was submitted.
    pub created: Timestamp,
}

/// How many builds of a batch are in each state; each build is counted in one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct BatchCounts {
    /// All of them.
    pub builds: i64,
    /// Open, and without SRPM.
    pub without_srpm: i64,
    /// Open, and no task is in a queue, runs or is being accepted.
    pub waiting: i64,
    /// Open, and a task is.
    pub building: i64,
    /// Open, and all tasks are accepted.
    pub finishing: i64,
    /// In a repository.
    pub published: i64,
    /// Ended by their failures.
    pub failed: i64,
    /// Cancelled by somebody.
    pub cancelled: i64,
}

/// The counts of a batch.
#[derive(sqlx::FromRow)]
struct CountedBatch {
    #[sqlx(try_from = "i64")]
    batch: BatchId,
    #[sqlx(flatten)]
    counts: BatchCounts,
}

/// A change of many builds of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchBuildChange {
    /// Cancels those that are open.
    Cancel,
    /// Opens those again that ended without being published.
    Retry,
}

/// A build of a batch that ended without being published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBuild {
    pub build: BuildId,
    pub package: String,
    /// When it ended.
    pub at: Timestamp,
    /// Why; `None` when it was cancelled.
    pub failure: Option<Failure>,
}

/// The work that is left of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkLeft {
    /// The learned durations of the builds that are not accepted, each on one architecture,
    /// together.
    pub known: Duration,
    /// How many of these builds have no learned duration.
    pub unknown: u64,
}

impl FromRow<'_, AnyRow> for Batch {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("batches", row);
        let order = row.parsed_or_none("order_mode", "an order")?;
        Ok(Self {
            id: row.id("id")?,
            target: row.string("target")?,
            order: order.unwrap_or_default(),
            paused: row.or_none("paused_us")?,
            submitter: row.string("submitter")?,
            created: row.time("at_us")?,
        })
    }
}

impl BatchCounts {
    /// How many have not ended.
    #[must_use]
    pub const fn open(&self) -> i64 {
        self.without_srpm + self.waiting + self.building + self.finishing
    }
}

impl Store {
    pub async fn batch_fetch(&self, id: BatchId) -> Result<Option<Batch>> {
        // All builds of a request have its submitter, time and target.
        let query = "SELECT b.batch AS id, b.target, COALESCE(q.order_mode, '') AS order_mode,
                     COALESCE(q.paused_us, 0) AS paused_us, b.submitter, b.created_us AS at_us
                     FROM builds b LEFT JOIN batches q ON q.id = b.batch
                     WHERE b.batch = $1 LIMIT 1";
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read_pool()).await?)
    }

    /// The order mode of a batch; the default when none was recorded.
    pub async fn batch_order_mode(&self, id: BatchId) -> Result<OrderMode> {
        let batch = self.batch_fetch(id).await?;
        Ok(batch.map(|batch| batch.order).unwrap_or_default())
    }

    /// Batches before one, newest first, at most `limit`; `None` begins with the newest.
    pub async fn batch_list(&self, before: Option<BatchId>, limit: i64) -> Result<Vec<Batch>> {
        let query = "SELECT q.id, q.order_mode, q.paused_us, q.submitter, q.at_us,
                     COALESCE((SELECT b.target FROM builds b WHERE b.batch = q.id LIMIT 1), '')
                     AS target
                     FROM batches q WHERE q.id < $1 ORDER BY q.id DESC LIMIT $2";
        let before = before.map_or(i64::MAX, |batch| batch.0);
        Ok(sqlx::query_as(query).bind(before).bind(limit).fetch_all(self.read_pool()).await?)
    }

    /// The counts of the builds of batches; a batch without builds is left out.
    pub async fn batch_count_builds(
        &self,
        batches: &[BatchId],
    ) -> Result<Vec<(BatchId, BatchCounts)>> {
        let ids = list(batches.iter().map(|batch| batch.0));
        let query = format!(
            "SELECT batch, COUNT(*) AS builds,
             SUM(CASE WHEN is_open = 1 AND srpms = 0 THEN 1 ELSE 0 END) AS without_srpm,
             SUM(CASE WHEN is_open = 1 AND srpms > 0 AND accepted = 0 AND busy = 0
                      THEN 1 ELSE 0 END) AS waiting,
             SUM(CASE WHEN is_open = 1 AND srpms > 0 AND accepted = 0 AND busy > 0
                      THEN 1 ELSE 0 END) AS building,
             SUM(CASE WHEN is_open = 1 AND srpms > 0 AND accepted > 0
                      THEN 1 ELSE 0 END) AS finishing,
             SUM(CASE WHEN is_open = 0 AND published > 0 THEN 1 ELSE 0 END) AS published,
             SUM(CASE WHEN is_open = 0 AND published = 0 AND cancelled_us <= retried_us
                      THEN 1 ELSE 0 END) AS failed,
             SUM(CASE WHEN is_open = 0 AND published = 0 AND cancelled_us > retried_us
                      THEN 1 ELSE 0 END) AS cancelled
             FROM (SELECT b.batch AS batch, CASE WHEN o.build IS NULL THEN 0 ELSE 1 END AS is_open,
                   (SELECT COUNT(*) FROM srpms s WHERE s.build = b.id) AS srpms,
                   (SELECT COUNT(*) FROM stage_work w WHERE w.build = b.id
                    AND w.stage IN ('finish', 'claim')) AS accepted,
                   (SELECT COUNT(*) FROM ready_tasks r WHERE r.build = b.id)
                   + (SELECT COUNT(*) FROM stage_work w WHERE w.build = b.id
                      AND w.stage = 'accept')
                   + (SELECT COUNT(*) FROM tasks t JOIN live_attempts v ON v.task = t.id
                      WHERE t.build = b.id) AS busy,
                   (SELECT COUNT(*) FROM publications p WHERE p.build = b.id) AS published,
                   COALESCE((SELECT MAX(c.at_us) FROM cancellations c WHERE c.build = b.id), 0)
                   AS cancelled_us,
                   COALESCE((SELECT MAX(y.at_us) FROM retries y WHERE y.build = b.id), 0)
                   AS retried_us
                   FROM builds b LEFT JOIN open_builds o ON o.build = b.id
                   WHERE b.batch IN ({ids})) placed
             GROUP BY batch"
        );
        let rows = rows!(self, CountedBatch, query);
        Ok(rows.into_iter().map(|row| (row.batch, row.counts)).collect())
    }

    /// When the last build of a batch ended, or last failed; `None` before that.
    pub async fn batch_fetch_last_end(&self, id: BatchId) -> Result<Option<Timestamp>> {
        let query = "SELECT MAX(at_us) FROM (
                         SELECT p.at_us FROM builds b JOIN publications p ON p.build = b.id
                         WHERE b.batch = $1
                         UNION ALL
                         SELECT f.at_us FROM builds b JOIN failures f ON f.build = b.id
                         WHERE b.batch = $1
                         UNION ALL
                         SELECT c.at_us FROM builds b JOIN cancellations c ON c.build = b.id
                         WHERE b.batch = $1) facts";
        let last: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.read_pool()).await?;
        Ok(last.map(Timestamp::from_us))
    }

    /// Builds of a batch that ended without being published, oldest first, at most `limit`.
    pub async fn batch_list_lost(&self, id: BatchId, limit: i64) -> Result<Vec<LostBuild>> {
        let query = "SELECT b.id, b.package,
                     COALESCE((SELECT MAX(c.at_us) FROM cancellations c WHERE c.build = b.id), 0),
                     COALESCE((SELECT MAX(r.at_us) FROM retries r WHERE r.build = b.id), 0),
                     COALESCE((SELECT MAX(f.at_us) FROM failures f WHERE f.build = b.id), 0),
                     COALESCE((SELECT f.failure FROM failures f WHERE f.build = b.id
                               ORDER BY f.at_us DESC LIMIT 1), '')
                     FROM builds b WHERE b.batch = $1
                     AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
                     AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)
                     ORDER BY b.id LIMIT $2";
        let query = sqlx::query_as(query).bind(id.0).bind(limit);
        let rows: Vec<LostRow> = query.fetch_all(self.read_pool()).await?;
        rows.into_iter().map(lost).collect()
    }

    /// The expected work of the open builds of a batch that are not accepted.
    pub async fn batch_fetch_work_left(&self, id: BatchId) -> Result<WorkLeft> {
        let query = "SELECT COALESCE(CAST(SUM(takes_us) AS BIGINT), 0),
                     COALESCE(SUM(CASE WHEN takes_us = 0 THEN 1 ELSE 0 END), 0)
                     FROM (SELECT COALESCE((SELECT MAX(l.took_us) FROM learned l
                                            WHERE l.target = b.target AND l.package = b.package
                                            AND l.kind <> 'srpm'), 0) AS takes_us
                           FROM builds b JOIN open_builds o ON o.build = b.id
                           WHERE b.batch = $1 AND NOT EXISTS (SELECT 1 FROM stage_work w
                               WHERE w.build = b.id AND w.stage IN ('finish', 'claim'))) taken";
        let (known, unknown): (i64, i64) =
            sqlx::query_as(query).bind(id.0).fetch_one(self.read_pool()).await?;
        Ok(WorkLeft { known: span(known), unknown: unknown.unsigned_abs() })
    }

    /// How long workers had the accepted attempts of a batch, in total.
    pub async fn batch_fetch_work_done(&self, id: BatchId) -> Result<Duration> {
        let query = "SELECT COALESCE(CAST(SUM(e.at_us - a.started_us) AS BIGINT), 0)
                     FROM builds b JOIN tasks t ON t.build = b.id
                     JOIN acceptances c ON c.task = t.id JOIN attempts a ON a.id = c.attempt
                     JOIN attempt_ends e ON e.attempt = a.id WHERE b.batch = $1";
        let done: i64 = sqlx::query_scalar(query).bind(id.0).fetch_one(self.read_pool()).await?;
        Ok(span(done))
    }

    /// The running attempts of a batch, with their workers.
    pub async fn batch_list_live_attempts(&self, id: BatchId) -> Result<Vec<(String, AttemptId)>> {
        let query = "SELECT v.worker, v.attempt FROM builds b JOIN tasks t ON t.build = b.id
                     JOIN live_attempts v ON v.task = t.id WHERE b.batch = $1 ORDER BY v.attempt";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(query).bind(id.0).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(worker, attempt)| (worker, AttemptId(attempt))).collect())
    }

    /// Pauses a batch: no more tasks of it begin, and running tasks continue. False when it is
    /// paused already, or when there is no such batch.
    pub async fn batch_pause(&self, id: BatchId, now: Timestamp) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let result = sqlx::query(
                "INSERT INTO batches (id, order_mode, paused_us, submitter, at_us)
                 SELECT b.batch, $3, $2, b.submitter, b.created_us FROM builds b
                 WHERE b.batch = $1 LIMIT 1
                 ON CONFLICT (id) DO UPDATE SET paused_us = excluded.paused_us
                 WHERE batches.paused_us = 0",
            )
            .bind(id.0)
            .bind(now.as_us())
            .bind(OrderMode::default().as_str())
            .execute(tx.conn())
            .await?;
            tx.batch_note_shown(id).await?;
            tx.commit().await?;
            Ok(result.rows_affected() > 0)
        })
        .await
    }

    /// Resumes a batch. False when it is not paused.
    pub async fn batch_resume(&self, id: BatchId) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let query = "UPDATE batches SET paused_us = 0 WHERE id = $1 AND paused_us <> 0";
            let result = sqlx::query(query).bind(id.0).execute(tx.conn()).await?;
            tx.batch_note_shown(id).await?;
            tx.commit().await?;
            Ok(result.rows_affected() > 0)
        })
        .await
    }

    /// Changes builds of a batch after one, at most `limit` in one transaction. Returns how many
    /// were changed and the last build that was examined; `None` when there are no more.
    pub async fn batch_change_page(
        &self,
        id: BatchId,
        change: BatchBuildChange,
        after: BuildId,
        limit: i64,
        now: Timestamp,
    ) -> Result<Option<(usize, BuildId)>> {
        again(|| async move {
            let mut tx = self.write().await?;
            // Builds are locked in the order of their numbers, here as everywhere.
            let query = match change {
                BatchBuildChange::Cancel => {
                    "SELECT b.id FROM builds b JOIN open_builds o ON o.build = b.id
                     WHERE b.batch = $1 AND b.id > $2 ORDER BY b.id LIMIT $3"
                }
                BatchBuildChange::Retry => {
                    "SELECT b.id FROM builds b WHERE b.batch = $1 AND b.id > $2
                     AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
                     AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)
                     ORDER BY b.id LIMIT $3"
                }
            };
            let query = sqlx::query_scalar(query).bind(id.0).bind(after.0).bind(limit);
            let builds: Vec<i64> = query.fetch_all(tx.conn()).await?;
            let mut changed = 0;
            for build in builds.iter().copied().map(BuildId) {
                changed += usize::from(match change {
                    BatchBuildChange::Cancel => tx.build_cancel(build, now).await?,
                    BatchBuildChange::Retry => tx.build_retry(build, now).await?,
                });
            }
            tx.commit().await?;
            Ok(builds.last().map(|last| (changed, BuildId(*last))))
        })
        .await
    }
}

impl Tx {
    /// Records that the open builds of a batch are shown differently from now on, and continue or
    /// wait: their followers are notified, and all passes are woken.
    async fn batch_note_shown(&mut self, id: BatchId) -> Result<()> {
        let query = "SELECT b.id FROM builds b JOIN open_builds o ON o.build = b.id
                     WHERE b.batch = $1";
        let builds: Vec<i64> = sqlx::query_scalar(query).bind(id.0).fetch_all(self.conn()).await?;
        builds.into_iter().for_each(|build| self.build_note_changed(BuildId(build)));
        self.wake_all();
        Ok(())
    }

    /// Records the batch of the builds of a request.
    pub(super) async fn batch_insert(
        &mut self,
        id: BatchId,
        order: OrderMode,
        submitter: &str,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO batches (id, order_mode, paused_us, submitter, at_us)
             VALUES ($1, $2, 0, $3, $4)",
        )
        .bind(id.0)
        .bind(order.as_str())
        .bind(submitter)
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

/// A lost build as it is read: its number and package; when it was cancelled, retried and failed
/// last, 0 for never; and its last failure, empty for none.
type LostRow = (i64, String, i64, i64, i64, String);

fn lost((build, package, cancelled, retried, failed, failure): LostRow) -> Result<LostBuild> {
    let is_cancelled = cancelled > retried || failure.is_empty();
    let failure =
        if is_cancelled { None } else { Some(unjson("failures", "a failure", &failure)?) };
    let at = Timestamp::from_us(if is_cancelled { cancelled } else { failed });
    Ok(LostBuild { build: BuildId(build), package, at, failure })
}
