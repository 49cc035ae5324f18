//! What each stage has to do: indexes over facts, so that a pass reads its own work and no more.
//!
//! The indexes of a build are made anew by [`Tx::reindex`] from its facts, in the transaction that
//! changed them; `core::next_step` says what a fact means. Nothing else writes them, but a grant,
//! which takes a task from its queue.
//!
//! `stage_work` says which stage has the next word on an open build, `ready_tasks` which tasks wait
//! for a worker. A task gets its rank once (`core::queue`), and may exchange it with another one of its
//! batch when one of them is granted (`grants`).

use std::collections::BTreeSet;
use std::time::Duration;

use rpmfarm_core::next_step::{self, NextStep};
use rpmfarm_core::queue::{PriorityClass, Rank, place};
use rpmfarm_core::status::{TaskFacts, is_due};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::time::{span, span_us};
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
    /// How long it is to the end of all that needs it in its batch; zero when that is not known.
    urgency: Duration,
}

/// The facts of a build that decide its stage.
struct BuildSnapshot {
    submitter: String,
    /// The number of its batch; 0 when it is alone in it.
    shared_batch: i64,
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
            urgency: span(row.number("urgency_us")?),
        })
    }
}

impl FromRow<'_, AnyRow> for BuildSnapshot {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("builds", row);
        Ok(Self {
            submitter: row.string("submitter")?,
            shared_batch: row.number("shared_batch")?,
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
    /// Tasks that failed and whose time for another try has come get into their queues. Returns
    /// how many builds were checked, at most `limit`.
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

    /// Makes the indexes of builds anew.
    pub async fn reindex(
        &self,
        builds: impl IntoIterator<Item = BuildId>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        // Rows are locked in one order, whoever else is at it.
        let builds: BTreeSet<BuildId> = builds.into_iter().collect();
        for build in builds {
            tx.reindex(build, now).await?;
        }
        tx.commit().await
    }
}

impl Tx {
    /// Makes the indexes of a build anew from its facts. Every transaction that changes facts of
    /// a build ends with it, after its last change.
    pub(crate) async fn reindex(&mut self, build: BuildId, now: Timestamp) -> Result<()> {
        // The build's row is locked first, so that two who change facts of one build see each
        // other's.
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
        if let Some(stage) = next_step::of_build(known.imported, claimed, &facts) {
            let due = if stage == NextStep::Import { known.due } else { Timestamp::ZERO };
            entries.push(IndexEntry { stage, task: None, due });
        }
        for task in &tasks {
            match next_step::of_task(task.kind, &task.facts, task.asks) {
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

    /// No stage has anything to do for a build any more.
    pub(crate) async fn index_clear(&mut self, build: BuildId) -> Result<()> {
        for query in
            ["DELETE FROM stage_work WHERE build = $1", "DELETE FROM ready_tasks WHERE build = $1"]
        {
            sqlx::query(query).bind(build.0).execute(self.conn()).await?;
        }
        Ok(())
    }

    /// Makes the indexes of a task's build anew.
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

    /// Says how long it is from the start of a task to the end of all that needs it in its batch: of the
    /// tasks of a batch that wait for a worker, the one with the longest time goes first. It counts when
    /// the indexes of its build are made the next time, as by the lock that comes after it.
    pub async fn task_set_urgency(&mut self, task: TaskId, urgency: Duration) -> Result<()> {
        sqlx::query(
            "INSERT INTO task_urgencies (task, urgency_us) VALUES ($1, $2)
             ON CONFLICT (task) DO UPDATE SET urgency_us = excluded.urgency_us",
        )
        .bind(task.0)
        .bind(span_us(urgency))
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// The index of a build that has just been asked for, and of which nothing else is known.
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

    /// The facts of a build that decide its stage. Its newest failure says when a stage may try
    /// again: a later time of an earlier one is from before a clock that went back.
    async fn index_fetch_build(&mut self, build: BuildId) -> Result<Option<BuildSnapshot>> {
        let query = "SELECT b.submitter, b.created_us,
                     CASE WHEN EXISTS (SELECT 1 FROM builds o
                                       WHERE o.batch = b.batch AND o.id <> b.id)
                     THEN b.batch ELSE 0 END AS shared_batch,
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
             COALESCE((SELECT n.needs FROM task_needs n WHERE n.task = t.id), '') AS needs,
             COALESCE((SELECT u.urgency_us FROM task_urgencies u WHERE u.task = t.id), 0)
             AS urgency_us
             FROM tasks t WHERE t.build = $1 ORDER BY t.id";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.conn()).await?)
    }

    /// Puts a task into the queue of its architecture, at the place that it has, or at a new one.
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
        let srpm = i64::from(task.kind == TaskKind::Srpm);
        sqlx::query(
            "INSERT INTO ready_tasks (task, build, arch, needs, class, rank, batch, urgency_us, srpm)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(task.id.0)
        .bind(build.0)
        .bind(task.arch.as_str())
        .bind(&task.needs)
        .bind(known.class.as_str())
        .bind(rank.0)
        .bind(known.shared_batch)
        .bind(span_us(task.urgency))
        .bind(srpm)
        .execute(self.conn())
        .await?;
        sqlx::query(
            "INSERT INTO ready_queues (arch, needs, srpm) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(task.arch.as_str())
        .bind(&task.needs)
        .bind(srpm)
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
        // An update that changes nothing holds the line until the transaction ends.
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
        let lead = span(lead.unwrap_or(0));
        let place = place(known.class, task.kind, now, lead, Rank(finish));
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
