//! The work of each stage: indexes over facts, so that a pass reads its own work only.
//!
//! The indexes of a build are updated by [`Tx::reindex`] from its facts, in the transaction that
//! changed them; `core::next_step` decides what the facts mean. Nothing else writes them, except a
//! grant, which removes a task from its queue.
//!
//! `stage_work` says for which step an open build or its tasks wait, `ready_tasks` which tasks wait
//! for a worker. A task gets its rank once (`core::queue`), and may exchange it with another one of
//! its batch when one of them is granted (`grants`).

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

use super::columns::{Columns, Flag, Span};
use super::{Result, Store, Task, Tx, latest_due};
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

/// A row of the indexes: of `stage_work`, or one of `ready_tasks`, which has no stage.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
struct IndexRow {
    /// Empty for a row of `ready_tasks`.
    stage: String,
    /// The task; 0 for the whole build.
    task: i64,
    #[sqlx(try_from = "i64")]
    rank: Rank,
    #[sqlx(rename = "due_us", try_from = "i64")]
    due: Timestamp,
    /// Empty for a row of `stage_work`, as what follows is.
    arch: String,
    needs: String,
    class: String,
    /// The number of its build's batch; 0 when the build is alone in it.
    batch: i64,
    /// How long it is to the end of all that needs it in its batch; zero when that is not known.
    #[sqlx(rename = "urgency_us", try_from = "Span")]
    urgency: Duration,
    #[sqlx(rename = "srpm", try_from = "Flag")]
    is_srpm: bool,
}

impl IndexRow {
    /// A row of `stage_work`.
    fn at_stage(stage: NextStep, task: Option<TaskId>, rank: Rank, due: Timestamp) -> Self {
        let task = task.map_or(0, |task| task.0);
        let (arch, needs, class, batch, urgency, is_srpm) = Default::default();
        let stage = stage.as_str().to_owned();
        Self { stage, task, rank, due, arch, needs, class, batch, urgency, is_srpm }
    }

    /// A row of `ready_tasks`.
    fn ready(known: &BuildSnapshot, task: &TaskSnapshot, rank: Rank) -> Self {
        Self {
            stage: String::new(),
            task: task.id.0,
            rank,
            due: Timestamp::ZERO,
            arch: task.arch.as_str().to_owned(),
            needs: task.needs.clone(),
            class: known.class.as_str().to_owned(),
            batch: known.shared_batch,
            urgency: task.urgency,
            is_srpm: task.kind == TaskKind::Srpm,
        }
    }

    fn is_ready(&self) -> bool {
        self.stage.is_empty()
    }

    /// The step that there is to do.
    fn step(&self) -> Option<NextStep> {
        if self.is_ready() { Some(NextStep::Dispatch) } else { self.stage.parse().ok() }
    }
}

impl BuildSnapshot {
    /// The rank of its entries.
    fn rank(&self) -> Rank {
        Rank::at(self.created) + self.class.yields()
    }
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
    /// Updates the indexes of a build from its facts, and writes only the rows that differ. Every
    /// transaction that changes facts of a build ends with it, after its last change. The commit
    /// wakes the passes that get work.
    pub(crate) async fn reindex(&mut self, build: BuildId, now: Timestamp) -> Result<()> {
        self.wake_for(None);
        // The build's row is locked first, so that of two transactions on one build the later sees
        // the facts of the earlier.
        if !self.build_lock_open(build).await? {
            return self.index_clear(build).await;
        }
        let Some(known) = self.index_fetch_build(build).await? else {
            return self.index_clear(build).await;
        };
        let wanted = self.index_wanted(build, &known, now).await?;
        let present = self.index_list(build).await?;
        for row in present.iter().filter(|row| !wanted.contains(row)) {
            self.index_delete(build, row).await?;
        }
        for row in wanted.iter().filter(|row| !present.contains(row)) {
            self.index_insert_row(build, row).await?;
        }
        Ok(())
    }

    /// The rows that the indexes should have of an open build. A task that is ready for the first
    /// time gets its rank.
    async fn index_wanted(
        &mut self,
        build: BuildId,
        known: &BuildSnapshot,
        now: Timestamp,
    ) -> Result<Vec<IndexRow>> {
        let tasks = self.index_list_tasks(build).await?;
        let facts: Vec<(TaskKind, TaskFacts)> =
            tasks.iter().map(|task| (task.kind, task.facts)).collect();
        let step = |claimed| next_step::for_build(known.imported, claimed, &facts);
        // Claims are of meaning only for a build that is accepted.
        let claimed = step(false) == Some(NextStep::Finish) && self.build_is_claimed(build).await?;
        let mut wanted = Vec::new();
        if let Some(stage) = step(claimed) {
            let due = if stage == NextStep::Import { known.due } else { Timestamp::ZERO };
            wanted.push(IndexRow::at_stage(stage, None, known.rank(), due));
        }
        for task in &tasks {
            match next_step::for_task(task.kind, &task.facts, task.asks) {
                Some(NextStep::Dispatch) if is_due(task.due, now) => {
                    let rank = self.ready_task_rank(known, task, now).await?;
                    wanted.push(IndexRow::ready(known, task, rank));
                }
                Some(stage) => {
                    wanted.push(IndexRow::at_stage(stage, Some(task.id), known.rank(), task.due));
                }
                None => {}
            }
        }
        Ok(wanted)
    }

    /// The rows that the indexes have of a build.
    async fn index_list(&mut self, build: BuildId) -> Result<Vec<IndexRow>> {
        let query = "SELECT stage, task, rank, due_us, '' AS arch, '' AS needs, '' AS class,
                     0 AS batch, 0 AS urgency_us, 0 AS srpm FROM stage_work WHERE build = $1
                     UNION ALL
                     SELECT '', task, rank, 0, arch, needs, class, batch, urgency_us, srpm
                     FROM ready_tasks WHERE build = $1";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.conn()).await?)
    }

    /// Removes a row, as it was read, from its index.
    async fn index_delete(&mut self, build: BuildId, row: &IndexRow) -> Result<()> {
        if row.is_ready() {
            let query = "DELETE FROM ready_tasks WHERE task = $1";
            sqlx::query(query).bind(row.task).execute(self.conn()).await?;
            return Ok(());
        }
        sqlx::query("DELETE FROM stage_work WHERE build = $1 AND stage = $2 AND task = $3")
            .bind(build.0)
            .bind(&row.stage)
            .bind(row.task)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    async fn index_insert_row(&mut self, build: BuildId, row: &IndexRow) -> Result<()> {
        self.wake_for(row.step());
        if row.is_ready() {
            self.ready_task_insert(build, row).await
        } else {
            self.index_insert_entry(build, row).await
        }
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

    /// Updates the indexes of a task's build, and returns the task.
    pub(crate) async fn index_rebuild_of_task(
        &mut self,
        task: TaskId,
        now: Timestamp,
    ) -> Result<Option<Task>> {
        let query = "SELECT id, build, kind, arch, created_us FROM tasks WHERE id = $1";
        let task: Option<Task> =
            sqlx::query_as(query).bind(task.0).fetch_optional(self.conn()).await?;
        let Some(task) = task else { return Ok(None) };
        self.reindex(task.build, now).await?;
        Ok(Some(task))
    }

    /// Records the time from the start of a task to the end of all tasks that need it in its batch:
    /// of the tasks of a batch that wait for a worker, the one with the longest time goes first. It
    /// takes effect when the indexes of its build are next updated, as by the lock that follows.
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

    /// Writes the index of a build that was just requested, and has no other facts yet.
    pub(crate) async fn index_insert(
        &mut self,
        build: BuildId,
        class: PriorityClass,
        now: Timestamp,
    ) -> Result<()> {
        self.build_note_changed(build);
        self.wake_for([NextStep::Import]);
        let rank = Rank::at(now) + class.yields();
        let row = IndexRow::at_stage(NextStep::Import, None, rank, Timestamp::ZERO);
        self.index_insert_entry(build, &row).await
    }

    async fn index_insert_entry(&mut self, build: BuildId, row: &IndexRow) -> Result<()> {
        sqlx::query(
            "INSERT INTO stage_work (build, stage, task, rank, due_us, target)
             VALUES ($1, $2, $3, $4, $5, (SELECT target FROM builds WHERE id = $1))
             ON CONFLICT DO NOTHING",
        )
        .bind(build.0)
        .bind(&row.stage)
        .bind(row.task)
        .bind(row.rank.0)
        .bind(row.due.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// The facts of a build that decide its next step. Its newest failure says when a stage may try
    /// again: a later time of an earlier failure is from before the clock was set back.
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

    /// Puts a task into the queue of its architecture.
    async fn ready_task_insert(&mut self, build: BuildId, row: &IndexRow) -> Result<()> {
        sqlx::query(
            "INSERT INTO ready_tasks (task, build, arch, needs, class, rank, batch, urgency_us, srpm)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(row.task)
        .bind(build.0)
        .bind(&row.arch)
        .bind(&row.needs)
        .bind(&row.class)
        .bind(row.rank.0)
        .bind(row.batch)
        .bind(span_us(row.urgency))
        .bind(i64::from(row.is_srpm))
        .execute(self.conn())
        .await?;
        sqlx::query(
            "INSERT INTO ready_queues (arch, needs, srpm) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(&row.arch)
        .bind(&row.needs)
        .bind(i64::from(row.is_srpm))
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// The rank of a task in its queue: that which it has, or a new one.
    async fn ready_task_rank(
        &mut self,
        known: &BuildSnapshot,
        task: &TaskSnapshot,
        now: Timestamp,
    ) -> Result<Rank> {
        match task.rank {
            Some(rank) => Ok(rank),
            None => self.ready_task_new_rank(known, task, now).await,
        }
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
