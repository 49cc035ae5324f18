//! The position of a task in its queue, and what goes before it. Read for people and not by passes,
//! because it counts the tasks ahead.

use std::time::Duration;

use rpmfarm_core::time::span;
use rpmfarm_core::{Arch, BuildId, Needs, TaskId, Timestamp};

use super::columns::{Flag, Span};
use super::{Result, Store, parsed};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePositionRow {
    /// The architecture of the queue.
    pub arch: Arch,
    /// The needs of the task.
    pub needs: Needs,
    /// Whether it makes an SRPM.
    pub srpm: bool,
    /// How many tasks for the architecture go first: SRPMs before an SRPM, the others before
    /// another.
    pub ahead: u64,
    /// The number of these whose duration is known.
    pub known: u64,
    /// The total duration of those.
    pub known_take: Duration,
}

/// A running task.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RunningTask {
    pub worker: String,
    #[sqlx(rename = "started_us", try_from = "i64")]
    pub started: Timestamp,
    /// The usual duration of such tasks; zero when it is unknown.
    #[sqlx(rename = "takes_us", try_from = "Span")]
    pub takes: Duration,
    /// Whether it makes an SRPM.
    #[sqlx(try_from = "Flag")]
    pub srpm: bool,
}

impl Store {
    /// The position of a task in its queue; `None` when it is in no queue.
    pub async fn queue_position_fetch(&self, task: TaskId) -> Result<Option<QueuePositionRow>> {
        let query = "SELECT arch, needs, rank, srpm FROM ready_tasks WHERE task = $1";
        let row: Option<(String, String, i64, i64)> =
            sqlx::query_as(query).bind(task.0).fetch_optional(self.read_pool()).await?;
        let Some((arch, needs, rank, srpm)) = row else { return Ok(None) };
        let query = "SELECT COUNT(*), COUNT(l.took_us), COALESCE(CAST(SUM(l.took_us) AS BIGINT), 0)
                     FROM ready_tasks r JOIN tasks t ON t.id = r.task
                     JOIN builds b ON b.id = r.build
                     LEFT JOIN learned l ON l.target = b.target AND l.package = b.package
                     AND l.arch = r.arch AND l.kind = t.kind
                     WHERE r.arch = $1 AND (r.rank < $2 OR (r.rank = $2 AND r.task < $3))
                     AND r.srpm = $4";
        let (ahead, known, known_us): (i64, i64, i64) = sqlx::query_as(query)
            .bind(&arch)
            .bind(rank)
            .bind(task.0)
            .bind(srpm)
            .fetch_one(self.read_pool())
            .await?;
        Ok(Some(QueuePositionRow {
            arch: parsed("ready_tasks", "an architecture", &arch)?,
            needs: parsed("ready_tasks", "needs", &needs)?,
            srpm: srpm != 0,
            ahead: ahead.unsigned_abs(),
            known: known.unsigned_abs(),
            known_take: span(known_us),
        }))
    }

    /// All running tasks, with their usual durations.
    pub async fn lease_list_running(&self) -> Result<Vec<RunningTask>> {
        let query = "SELECT v.worker, a.started_us,
                     (SELECT COUNT(*) FROM tasks s WHERE s.id = v.task AND s.kind = 'srpm') AS srpm,
                     COALESCE(l.took_us, 0) AS takes_us
                     FROM live_attempts v JOIN attempts a ON a.id = v.attempt
                     JOIN tasks t ON t.id = v.task JOIN builds b ON b.id = t.build
                     LEFT JOIN learned l ON l.target = b.target AND l.package = b.package
                     AND l.arch = t.arch AND l.kind = t.kind ORDER BY v.attempt";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    /// The number of builds that are imported before this one.
    pub async fn build_count_imports_ahead(&self, build: BuildId) -> Result<u64> {
        let query = "SELECT COUNT(*) FROM stage_work w JOIN stage_work mine
                     ON mine.build = $1 AND mine.stage = 'import'
                     WHERE w.stage = 'import'
                     AND (w.rank < mine.rank OR (w.rank = mine.rank AND w.build < mine.build))";
        let count: i64 =
            sqlx::query_scalar(query).bind(build.0).fetch_one(self.read_pool()).await?;
        Ok(count.unsigned_abs())
    }

    /// Changes the priority of a build. Its waiting tasks get new ranks. False when the build has
    /// ended.
    pub async fn build_set_priority(
        &self,
        build: BuildId,
        class: rpmfarm_core::queue::PriorityClass,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        if !tx.build_lock_open(build).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO priority_changes (build, at_us, priority) VALUES ($1, $2, $3)
             ON CONFLICT (build, at_us) DO UPDATE SET priority = excluded.priority",
        )
        .bind(build.0)
        .bind(now.as_us())
        .bind(class.as_str())
        .execute(tx.conn())
        .await?;
        sqlx::query("DELETE FROM task_ranks WHERE task IN (SELECT id FROM tasks WHERE build = $1)")
            .bind(build.0)
            .execute(tx.conn())
            .await?;
        tx.reindex(build, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
