//! Tasks, their locks, and the requirements that `%generate_buildrequires` found.

use std::time::Duration;

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Sha256, TaskId, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::stage_queries::StageQuery;
use super::transaction_retry::again;
use super::{Result, Store, Tx, json, latest_due, unjson};
use crate::planted_bugs::{PlantedBug, is_planted};

/// A task to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTask {
    pub kind: TaskKind,
    pub arch: Arch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    /// The build that it belongs to.
    pub build: BuildId,
    pub kind: TaskKind,
    pub arch: Arch,
    /// When it was recorded.
    pub created: Timestamp,
}

/// A lock that is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLock<'a> {
    pub task: TaskId,
    /// The round: 0 for the first lock, and one more for each extension.
    pub round: u32,
    /// SHA-256 of the lock, by which the blob store has it.
    pub digest: Sha256,
    /// Name of the target of its build.
    pub target: &'a str,
    /// The farm's packages in it, which have to be the target's still.
    pub own: &'a [Sha256],
    /// How long it is from the start of the task to the end of all that needs it in its batch;
    /// `None` when that is not known, or as before.
    pub urgency: Option<Duration>,
}

/// A lock of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRow {
    /// The round: 0 for the first lock, and one more for each extension.
    pub round: u32,
    /// SHA-256 of the lock, by which the blob store has it.
    pub digest: Sha256,
    /// When it was solved.
    pub at: Timestamp,
}

impl FromRow<'_, AnyRow> for Task {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("tasks", row);
        Ok(Self {
            id: row.id("id")?,
            build: row.id("build")?,
            kind: row.parsed("kind", "a kind")?,
            arch: row.parsed("arch", "an architecture")?,
            created: row.time("created_us")?,
        })
    }
}

impl FromRow<'_, AnyRow> for LockRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("locks", row);
        Ok(Self {
            round: u32::try_from(row.number("round")?).unwrap_or(0),
            digest: row.parsed("digest", "a digest")?,
            at: row.time("at_us")?,
        })
    }
}

/// A task, and the round whose requirements no lock answers yet.
#[derive(sqlx::FromRow)]
struct AskingTask {
    #[sqlx(flatten)]
    task: Task,
    round: i64,
}

impl Store {
    /// The tasks of a build, in the order in which they were made.
    pub async fn task_list(&self, build: BuildId) -> Result<Vec<Task>> {
        let query = "SELECT id, build, kind, arch, created_us FROM tasks WHERE build = $1
                     ORDER BY id";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    pub async fn task_fetch(&self, id: TaskId) -> Result<Option<Task>> {
        let query = "SELECT id, build, kind, arch, created_us FROM tasks WHERE id = $1";
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read_pool()).await?)
    }

    /// Open SRPM tasks that have no lock yet and do not wait for a retry, the most urgent and
    /// oldest first, at most `each` of one target.
    pub async fn task_list_srpms_to_lock(&self, now: Timestamp, each: i64) -> Result<Vec<Task>> {
        let stage_query = StageQuery {
            stage: NextStep::Lock,
            columns: "t.id, t.build, t.kind, t.arch, t.created_us",
            joins: "JOIN tasks t ON t.id = w.task",
            within: "w.task",
        };
        self.stage_list_next_per_target(&stage_query, now, each).await
    }

    /// Tasks that wait for a worker and are in their queues, the next one first, at most `limit`.
    pub async fn task_list_to_dispatch(&self, limit: i64) -> Result<Vec<Task>> {
        let query = "SELECT t.id, t.build, t.kind, t.arch, t.created_us
                     FROM ready_tasks r JOIN tasks t ON t.id = r.task
                     ORDER BY r.rank, r.task LIMIT $1";
        Ok(sqlx::query_as(query).bind(limit).fetch_all(self.read_pool()).await?)
    }

    /// Rounds of requirements of live attempts that no lock answers yet.
    pub async fn round_list_to_lock(&self, now: Timestamp) -> Result<Vec<(Task, u32)>> {
        let query = "SELECT t.id, t.build, t.kind, t.arch, t.created_us,
                     MAX(d.round) AS round FROM stage_work w JOIN tasks t ON t.id = w.task
                     JOIN dynamic_requires d ON d.task = t.id
                     WHERE w.stage = 'round' AND (w.due_us <= $1 OR w.due_us > $2)
                     GROUP BY t.id, t.build, t.kind, t.arch, t.created_us ORDER BY t.id";
        let query = sqlx::query_as(query).bind(now.as_us()).bind(latest_due(now).as_us());
        let rows: Vec<AskingTask> = query.fetch_all(self.read_pool()).await?;
        let asked = |row: AskingTask| (row.task, u32::try_from(row.round).unwrap_or(u32::MAX));
        Ok(rows.into_iter().map(asked).collect())
    }

    /// The requirements that `%generate_buildrequires` has found so far, round by round.
    pub async fn round_list(&self, task: TaskId) -> Result<Vec<Vec<String>>> {
        let query = "SELECT requires FROM dynamic_requires WHERE task = $1 ORDER BY round";
        let rows: Vec<String> =
            sqlx::query_scalar(query).bind(task.0).fetch_all(self.read_pool()).await?;
        rows.iter().map(|row| unjson("dynamic_requires", "a list", row)).collect()
    }

    /// Records a round of requirements: only the one after the newest lock, whatever a worker
    /// sends. A later attempt that reaches a round without an answer takes it over, because the
    /// earlier attempt may be gone.
    pub async fn round_insert(
        &self,
        task: TaskId,
        attempt: AttemptId,
        round: u32,
        requires: &[String],
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            let again = match is_planted(PlantedBug::LostRequirements) {
                false => {
                    "DO UPDATE SET attempt = excluded.attempt, requires = excluded.requires,
                     at_us = excluded.at_us"
                }
                true => "DO NOTHING",
            };
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "INSERT INTO dynamic_requires (task, round, attempt, requires, at_us)
             SELECT $1, $2, $3, $4, $5
             WHERE EXISTS (SELECT 1 FROM live_attempts WHERE attempt = $3)
             AND $2 = (SELECT MAX(l.round) FROM locks l WHERE l.task = $1)
             ON CONFLICT (task, round) {again}"
            )))
            .bind(task.0)
            .bind(i64::from(round))
            .bind(attempt.0)
            .bind(json(&requires))
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
            let query = sqlx::query_scalar("SELECT build FROM tasks WHERE id = $1").bind(task.0);
            let build: Option<i64> = query.fetch_optional(tx.conn()).await?;
            if let Some(build) = build {
                tx.required_thing_insert(BuildId(build), requires).await?;
            }
            tx.index_rebuild_of_task(task, now).await?;
            tx.commit().await
        })
        .await
    }

    /// Takes the running attempt of a task from its worker, because the requirements of a round
    /// have to wait for other builds of the batch. The requirements stay, and the task waits for
    /// its turn again. The attempt counts as cancelled, not as failed. False, with nothing changed,
    /// when the attempt no longer runs or its round has its lock.
    pub async fn attempt_postpone(&self, task: &Task, round: u32, now: Timestamp) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            // The build's row is locked before all others, as in every transaction.
            tx.build_lock_open(task.build).await?;
            let freed: Option<i64> = sqlx::query_scalar(
                "DELETE FROM live_attempts WHERE task = $1
                 AND attempt = (SELECT d.attempt FROM dynamic_requires d
                                WHERE d.task = $1 AND d.round = $2)
                 AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.task = $1 AND l.round > $2)
                 RETURNING attempt",
            )
            .bind(task.id.0)
            .bind(i64::from(round))
            .fetch_optional(tx.conn())
            .await?;
            let Some(attempt) = freed else { return Ok(false) };
            tx.attempt_end_insert(AttemptId(attempt), "cancelled", "null", now).await?;
            sqlx::query(
                "INSERT INTO postponements (task, round, at_us) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
            )
            .bind(task.id.0)
            .bind(i64::from(round))
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
            tx.batch_note_changed(task.build);
            tx.reindex(task.build, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The newest valid lock of a task; the lock of a postponed round is not valid.
    pub async fn lock_fetch(&self, task: TaskId) -> Result<Option<LockRow>> {
        let query = "SELECT l.round, l.digest, l.at_us FROM locks l WHERE l.task = $1
                     AND NOT EXISTS (SELECT 1 FROM postponements p
                                     WHERE p.task = l.task AND p.round >= l.round)
                     ORDER BY l.round DESC LIMIT 1";
        Ok(sqlx::query_as(query).bind(task.0).fetch_optional(self.read_pool()).await?)
    }

    /// Records a lock. The first lock of a round stays.
    pub async fn lock_insert(
        &self,
        task: TaskId,
        round: u32,
        digest: Sha256,
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.lock_insert(task, round, digest, now).await?;
            tx.commit().await
        })
        .await
    }

    /// Records tasks of an open build; existing ones stay.
    pub async fn task_insert(
        &self,
        build: BuildId,
        tasks: &[NewTask],
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.task_insert(build, tasks, now).await?;
            tx.commit().await
        })
        .await
    }
}

impl Tx {
    pub(super) async fn lock_insert(
        &mut self,
        task: TaskId,
        round: u32,
        digest: Sha256,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO locks (task, round, digest, at_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(task.0)
        .bind(i64::from(round))
        .bind(digest.hex())
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        let task = self.index_rebuild_of_task(task, now).await?;
        if let Some(task) = task.filter(|task| task.kind.makes_packages()) {
            self.batch_note_changed(task.build);
        }
        Ok(())
    }

    /// Records a task that repeats another one, in the same root.
    pub async fn task_insert_repeat(&mut self, of: &Task, now: Timestamp) -> Result<()> {
        let id = self.next_id("task").await?;
        let new = sqlx::query(
            "INSERT INTO tasks (id, build, kind, arch, created_us)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(of.build.0)
        .bind(TaskKind::Repeat.as_str())
        .bind(of.arch.as_str())
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        if new.rows_affected() == 1 {
            sqlx::query(
                "INSERT INTO locks (task, round, digest, at_us)
                 SELECT $1, round, digest, $2 FROM locks WHERE task = $3
                 ORDER BY round DESC LIMIT 1",
            )
            .bind(id)
            .bind(now.as_us())
            .bind(of.id.0)
            .execute(self.conn())
            .await?;
        }
        self.reindex(of.build, now).await
    }

    /// How many repetitions of a build's tasks are not accepted.
    pub async fn task_count_open_repeats(&mut self, build: BuildId) -> Result<i64> {
        let query = "SELECT COUNT(*) FROM tasks t WHERE t.build = $1 AND t.kind = 'repeat'
                     AND NOT EXISTS (SELECT 1 FROM acceptances a WHERE a.task = t.id)";
        Ok(sqlx::query_scalar(query).bind(build.0).fetch_one(self.conn()).await?)
    }

    /// Records tasks; existing ones stay.
    pub async fn task_insert(
        &mut self,
        build: BuildId,
        tasks: &[NewTask],
        now: Timestamp,
    ) -> Result<()> {
        for task in tasks {
            let id = self.next_id("task").await?;
            sqlx::query(
                "INSERT INTO tasks (id, build, kind, arch, created_us)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            )
            .bind(id)
            .bind(build.0)
            .bind(task.kind.as_str())
            .bind(task.arch.as_str())
            .bind(now.as_us())
            .execute(self.conn())
            .await?;
        }
        if tasks.iter().any(|task| task.kind.makes_packages()) {
            self.batch_note_changed(build);
        }
        self.reindex(build, now).await
    }
}
