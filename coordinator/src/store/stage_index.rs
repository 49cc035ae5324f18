//! The work of each stage: indexes over facts, so that a pass reads its own work only.
//!
//! The indexes of a build are rewritten by [`Tx::reindex`] from its facts, in the transaction that
//! changed them; `core::next_step` decides what the facts mean. Nothing else writes them, except a
//! grant, which removes a task from its queue.
//!
//! `stage_work` says for which step an open build or its tasks wait, `ready_tasks` which tasks wait
//! for a worker. A task gets its rank once (`core::queue`).

use std::collections::BTreeSet;

use rpmfarm_core::next_step::{self, NextStep};
use rpmfarm_core::queue::{PriorityClass, Rank, place};
use rpmfarm_core::status::{TaskFacts, is_due};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::time::span;
use rpmfarm_core::{Arch, BuildId, TaskId, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Result, Store, Tx, latest_due};
use crate::planted_bugs::{PlantedBug, is_planted};

/// The facts of a task that decide its stage and its place in the queue.
struct TaskSnapshot {
    id: TaskId,
    kind: TaskKind,
    arch: Arch,
    facts: TaskFacts,
    asks: bool,
    due: Timestamp,
    rank: Option<Rank>,
    needs: String,
}

/// The facts of a build that decide its stage.
struct BuildSnapshot {
    submitter: String,
    class: PriorityClass,
    created: Timestamp,
    imported: bool,
    due: Timestamp,
}

impl FromRow<'_, AnyRow> for TaskSnapshot {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("tasks", row);
        let rank = row.number("rank")?;
        let (reported, accepted) = match is_planted(PlantedBug::AcceptTwice) {
            false => (row.flag("reported")?, row.flag("accepted")?),
            true => (row.number("reported")? > row.number("accepted")?, false),
        };
        Ok(Self {
            id: row.id("id")?,
            kind: row.parsed("kind", "a kind")?,
            arch: row.parsed("arch", "an architecture")?,
            facts: TaskFacts {
                locked: row.flag("locked")?,
                running: row.flag("running")?,
                reported,
                accepted,
            },
            asks: row.flag("asks")?,
            due: row.time("due_us")?,
            rank: (rank >= 0).then_some(Rank(rank)),
            needs: row.string("needs")?,
        })
    }
}

impl FromRow<'_, AnyRow> for BuildSnapshot {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("builds", row);
        Ok(Self {
            submitter: row.string("submitter")?,
            class: row.parsed("class", "a priority")?,
            created: row.time("created_us")?,
            imported: row.flag("imported")?,
            due: row.time("due_us")?,
        })
    }
}

/// One entry of the index.
struct IndexEntry {
    stage: NextStep,
    /// The task; `None` for the whole build.
    task: Option<TaskId>,
    due: Timestamp,
}

impl Store {
    /// Puts failed tasks whose retry is due into their queues. Returns how many builds were
    /// checked, at most `limit`.
    pub async fn ready_task_insert_due(&self, now: Timestamp, limit: i64) -> Result<usize> {
        let query = "SELECT build FROM stage_work
                     WHERE stage = 'dispatch' AND (due_us <= $1 OR due_us > $3)
                     ORDER BY target, rank, build LIMIT $2";
        let query =
            sqlx::query_scalar(query).bind(now.as_us()).bind(limit).bind(latest_due(now).as_us());
        let builds: Vec<i64> = query.fetch_all(self.read_pool()).await?;
        if builds.is_empty() {
            return Ok(0);
        }
        let count = builds.len();
        self.reindex(builds.into_iter().map(BuildId), now).await?;
        Ok(count)
    }

    /// Rewrites the indexes of builds.
    pub async fn reindex(
        &self,
        builds: impl IntoIterator<Item = BuildId>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        // Rows are locked in one order, so that transactions do not wait for each other in a
        // circle.
        let builds: BTreeSet<BuildId> = builds.into_iter().collect();
        for build in builds {
            tx.reindex(build, now).await?;
        }
        tx.commit().await
    }
}

impl Tx {
    /// Rewrites the indexes of a build from its facts. Every transaction that changes facts of a
    /// build ends with it, after its last change.
    pub(crate) async fn reindex(&mut self, build: BuildId, now: Timestamp) -> Result<()> {
        // The build's row is locked first, so that of two transactions on one build the later sees
        // the facts of the earlier.
        let open = self.build_lock_open(build).await?;
        self.index_clear(build).await?;
        if !open {
            return Ok(());
        }
        let Some(known) = self.index_fetch_build(build).await? else { return Ok(()) };
        let tasks = self.index_list_tasks(build).await?;
        let mut entries = Vec::new();
        let facts: Vec<(TaskKind, TaskFacts)> =
            tasks.iter().map(|task| (task.kind, task.facts)).collect();
        let claimed = self.build_is_claimed(build).await?;
        if let Some(stage) = next_step::for_build(known.imported, claimed, &facts) {
            let due = if stage == NextStep::Import { known.due } else { Timestamp::ZERO };
            entries.push(IndexEntry { stage, task: None, due });
        }
        for task in &tasks {
            match next_step::for_task(task.kind, &task.facts, task.asks) {
                Some(NextStep::Dispatch) if is_due(task.due, now) => {
                    self.ready_task_insert(build, &known, task, now).await?;
                }
                Some(stage) => {
                    entries.push(IndexEntry { stage, task: Some(task.id), due: task.due });
                }
                None => {}
            }
        }
        for entry in entries {
            self.index_insert_entry(build, known.class, known.created, &entry).await?;
        }
        Ok(())
    }

    /// Removes the index entries of a build, which no stage works on any more.
    pub(crate) async fn index_clear(&mut self, build: BuildId) -> Result<()> {
        for query in
            ["DELETE FROM stage_work WHERE build = $1", "DELETE FROM ready_tasks WHERE build = $1"]
        {
            sqlx::query(query).bind(build.0).execute(self.conn()).await?;
        }
        Ok(())
    }

    /// Rewrites the indexes of a task's build.
    pub(crate) async fn index_rebuild_of_task(
        &mut self,
        task: TaskId,
        now: Timestamp,
    ) -> Result<()> {
        let query = "SELECT build FROM tasks WHERE id = $1";
        let build: Option<i64> =
            sqlx::query_scalar(query).bind(task.0).fetch_optional(self.conn()).await?;
        match build {
            Some(build) => self.reindex(BuildId(build), now).await,
            None => Ok(()),
        }
    }

    /// Writes the index of a build that was just requested, and has no other facts yet.
    pub(crate) async fn index_insert(
        &mut self,
        build: BuildId,
        class: PriorityClass,
        now: Timestamp,
    ) -> Result<()> {
        let entry = IndexEntry { stage: NextStep::Import, task: None, due: Timestamp::ZERO };
        self.index_insert_entry(build, class, now, &entry).await
    }

    async fn index_insert_entry(
        &mut self,
        build: BuildId,
        class: PriorityClass,
        created: Timestamp,
        entry: &IndexEntry,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO stage_work (build, stage, task, rank, due_us, target)
             VALUES ($1, $2, $3, $4, $5, (SELECT target FROM builds WHERE id = $1))
             ON CONFLICT DO NOTHING",
        )
        .bind(build.0)
        .bind(entry.stage.as_str())
        .bind(entry.task.map_or(0, |task| task.0))
        .bind((Rank::at(created) + class.yields()).0)
        .bind(entry.due.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// The facts of a build that decide its next step. Its newest failure says when a stage may try
    /// again: a later time of an earlier failure is from before the clock was set back.
    async fn index_fetch_build(&mut self, build: BuildId) -> Result<Option<BuildSnapshot>> {
        let query = "SELECT b.submitter, b.created_us,
                     COALESCE((SELECT c.priority FROM priority_changes c WHERE c.build = b.id
                               ORDER BY c.at_us DESC LIMIT 1), b.priority) AS class,
                     (SELECT COUNT(*) FROM imports i WHERE i.build = b.id) AS imported,
                     COALESCE((SELECT f.retry_us FROM failures f
                               WHERE f.build = b.id AND f.stage = 'import'
                               ORDER BY f.at_us DESC LIMIT 1), 0) AS due_us
                     FROM builds b WHERE b.id = $1";
        Ok(sqlx::query_as(query).bind(build.0).fetch_optional(self.conn()).await?)
    }

    async fn index_list_tasks(&mut self, build: BuildId) -> Result<Vec<TaskSnapshot>> {
        let query = "SELECT t.id, t.kind, t.arch,
             (SELECT COUNT(*) FROM locks l WHERE l.task = t.id AND NOT EXISTS
                  (SELECT 1 FROM postponements p WHERE p.task = l.task AND p.round >= l.round))
             AS locked,
             (SELECT COUNT(*) FROM live_attempts v WHERE v.task = t.id) AS running,
             (SELECT COUNT(*) FROM attempts p JOIN attempt_ends e ON e.attempt = p.id
              WHERE p.task = t.id AND e.outcome = 'succeeded') AS reported,
             (SELECT COUNT(*) FROM acceptances a WHERE a.task = t.id) AS accepted,
             (SELECT COUNT(*) FROM dynamic_requires d
              JOIN live_attempts v ON v.task = d.task AND v.attempt = d.attempt
              WHERE d.task = t.id AND NOT EXISTS
                  (SELECT 1 FROM locks l WHERE l.task = d.task AND l.round > d.round)) AS asks,
             COALESCE((SELECT f.retry_us FROM failures f
                       WHERE f.build = t.build AND f.task = t.id
                       ORDER BY f.at_us DESC LIMIT 1), 0) AS due_us,
             COALESCE((SELECT r.rank FROM task_ranks r WHERE r.task = t.id), -1) AS rank,
             COALESCE((SELECT n.needs FROM task_needs n WHERE n.task = t.id), '') AS needs
             FROM tasks t WHERE t.build = $1 ORDER BY t.id";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.conn()).await?)
    }

    /// Puts a task into the queue of its architecture, with the rank that it has, or with a new
    /// one.
    async fn ready_task_insert(
        &mut self,
        build: BuildId,
        known: &BuildSnapshot,
        task: &TaskSnapshot,
        now: Timestamp,
    ) -> Result<()> {
        let rank = match task.rank {
            Some(rank) => rank,
            None => self.ready_task_new_rank(known, task, now).await?,
        };
        sqlx::query(
            "INSERT INTO ready_tasks (task, build, arch, needs, class, rank)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(task.id.0)
        .bind(build.0)
        .bind(task.arch.as_str())
        .bind(&task.needs)
        .bind(known.class.as_str())
        .bind(rank.0)
        .execute(self.conn())
        .await?;
        sqlx::query(
            "INSERT INTO ready_queues (arch, needs) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(task.arch.as_str())
        .bind(&task.needs)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    async fn ready_task_new_rank(
        &mut self,
        known: &BuildSnapshot,
        task: &TaskSnapshot,
        now: Timestamp,
    ) -> Result<Rank> {
        let lead: Option<i64> = sqlx::query_scalar(
            "SELECT value FROM queue_lines WHERE arch = $1 AND class = '' AND submitter = ''",
        )
        .bind(task.arch.as_str())
        .fetch_optional(self.conn())
        .await?;
        // An update that changes nothing locks the row until the transaction ends.
        let finish: i64 = sqlx::query_scalar(
            "INSERT INTO queue_lines (arch, class, submitter, value) VALUES ($1, $2, $3, 0)
             ON CONFLICT (arch, class, submitter) DO UPDATE SET value = queue_lines.value
             RETURNING value",
        )
        .bind(task.arch.as_str())
        .bind(known.class.as_str())
        .bind(&known.submitter)
        .fetch_one(self.conn())
        .await?;
        let place = place(known.class, now, span(lead.unwrap_or(0)), Rank(finish));
        sqlx::query(
            "UPDATE queue_lines SET value = $4
             WHERE arch = $1 AND class = $2 AND submitter = $3",
        )
        .bind(task.arch.as_str())
        .bind(known.class.as_str())
        .bind(&known.submitter)
        .bind(place.finish.0)
        .execute(self.conn())
        .await?;
        sqlx::query(
            "INSERT INTO task_ranks (task, class, rank) VALUES ($1, $2, $3)
             ON CONFLICT (task) DO UPDATE SET class = excluded.class, rank = excluded.rank",
        )
        .bind(task.id.0)
        .bind(known.class.as_str())
        .bind(place.rank.0)
        .execute(self.conn())
        .await?;
        Ok(place.rank)
    }
}
