//! Grants: tasks leave their queues for workers, many in one transaction.
//!
//! The commit is the expensive part, so many grants share one. The fence is the same for each of
//! them: the build's row is locked, the task must be in its queue and not accepted, `live_attempts`
//! has the task as its key, and the epoch is one more than the last.
//!
//! A task may take the place of another one of its batch. Both exchange their ranks in the same
//! transaction, so that the queues have the same ranks as before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use rpmfarm_core::batch::{BatchLine, swapped};
use rpmfarm_core::learned_needs::WorkerResources;
use rpmfarm_core::queue::{PriorityClass, Rank, lead};
use rpmfarm_core::time::span_us;
use rpmfarm_core::{AttemptId, BatchId, BuildId, Epoch, TaskId, Timestamp};

use super::attempts::MAKER_OF;
use super::columns::{Flag, OrNone, Span};
use super::transaction_retry::again;
use super::{Attempt, Dialect, Result, Store, Tx, parsed};
use crate::planted_bugs::{PlantedBug, is_planted};

/// A task that is to be granted to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub task: TaskId,
    pub build: BuildId,
    pub worker: String,
    /// Memory and disk of the worker.
    pub had: WorkerResources,
    /// The task of its queue whose place it takes, with the build of that; `None` for its own
    /// place.
    pub takes_place_of: Option<(TaskId, BuildId)>,
}

/// A queue, by what its tasks have in common, as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReadyQueue {
    pub arch: String,
    pub needs: String,
    /// Whether its tasks make SRPMs.
    #[sqlx(try_from = "Flag")]
    pub srpm: bool,
}

impl ReadyQueue {
    /// The queue of builds with these needs.
    #[must_use]
    pub fn builds(arch: &str, needs: &str) -> Self {
        Self { arch: arch.to_owned(), needs: needs.to_owned(), srpm: false }
    }
}

/// A task at the head of a queue.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReadyTask {
    #[sqlx(try_from = "i64")]
    pub task: TaskId,
    #[sqlx(try_from = "i64")]
    pub build: BuildId,
    pub target: String,
    /// Its rank: the lowest is next.
    #[sqlx(try_from = "i64")]
    pub rank: Rank,
    pub class: String,
    /// The batch of its build; `None` when the build is alone in it.
    #[sqlx(try_from = "OrNone")]
    pub batch: Option<BatchId>,
    /// How long it is from its start to the end of all that needs it in its batch; zero when that
    /// is not known.
    #[sqlx(rename = "urgency_us", try_from = "Span")]
    pub urgency: Duration,
    /// How often the task was tried.
    pub tries: i64,
    /// When it was locked.
    #[sqlx(rename = "locked_us", try_from = "i64")]
    pub locked: Timestamp,
    /// When the pause after its last failure ended; `None` when it never failed.
    #[sqlx(rename = "retry_us", try_from = "OrNone")]
    pub retry: Option<Timestamp>,
    /// For a repetition, the worker that made the first packages; empty for other tasks.
    #[sqlx(rename = "except_worker")]
    pub except: String,
}

impl ReadyTask {
    /// Since when it waits for a worker.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.retry.map_or(self.locked, |retry| self.locked.max(retry))
    }

    /// The tasks with which it may exchange its place; `None` for none.
    ///
    /// # Errors
    /// When the stored class is invalid.
    pub fn line(&self) -> Result<Option<BatchLine>> {
        let Some(batch) = self.batch else { return Ok(None) };
        let class = parsed("ready_tasks", "a class", &self.class)?;
        Ok(Some(BatchLine { batch, class }))
    }
}

/// The columns of a task in its queue, without the worker that must not have it.
const READY_COLUMNS: &str = "r.task, r.build, r.rank, r.class, r.batch, r.urgency_us,
     COALESCE((SELECT b.target FROM builds b WHERE b.id = r.build), '') AS target,
     (SELECT COUNT(*) FROM attempts a WHERE a.task = r.task) AS tries,
     COALESCE((SELECT MAX(l.at_us) FROM locks l WHERE l.task = r.task), 0) AS locked_us,
     COALESCE((SELECT f.retry_us FROM failures f WHERE f.build = r.build AND f.task = r.task
               ORDER BY f.at_us DESC LIMIT 1), 0) AS retry_us";

/// A task that left its queue.
#[derive(sqlx::FromRow)]
struct ClaimedTask {
    #[sqlx(try_from = "i64")]
    task: TaskId,
    arch: String,
    class: String,
    #[sqlx(try_from = "i64")]
    rank: Rank,
}

impl Store {
    /// The queues that have tasks.
    pub async fn ready_queue_list(&self) -> Result<Vec<ReadyQueue>> {
        let query = "SELECT arch, needs, srpm FROM ready_queues ORDER BY arch, needs, srpm";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    /// The first tasks of a queue, at most `limit`, without those of batches that are paused. The
    /// cost does not depend on the length of the queue, but on how many tasks of a paused batch
    /// come before.
    pub async fn ready_task_list_first(
        &self,
        queue: &ReadyQueue,
        limit: i64,
    ) -> Result<Vec<ReadyTask>> {
        self.ready_task_list_after(queue, None, limit).await
    }

    /// The tasks of a queue after a given one, which is named by its rank and number, as
    /// [`Store::ready_task_list_first`]; `None` begins with the first.
    pub async fn ready_task_list_after(
        &self,
        queue: &ReadyQueue,
        after: Option<(Rank, TaskId)>,
        limit: i64,
    ) -> Result<Vec<ReadyTask>> {
        let (rank, task) = after.map_or((i64::MIN, i64::MIN), |(rank, task)| (rank.0, task.0));
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {READY_COLUMNS}, COALESCE(({MAKER_OF} r.task), '') AS except_worker
             FROM ready_tasks r WHERE r.arch = $1 AND r.needs = $2 AND r.srpm = $3
             AND (r.rank, r.task) > ($4, $5)
             AND NOT EXISTS (SELECT 1 FROM builds p JOIN batches q ON q.id = p.batch
                             WHERE p.id = r.build AND q.paused_us <> 0)
             ORDER BY r.rank, r.task LIMIT $6"
        ));
        Ok(sqlx::query_as(query)
            .bind(&queue.arch)
            .bind(&queue.needs)
            .bind(i64::from(queue.srpm))
            .bind(rank)
            .bind(task)
            .bind(limit)
            .fetch_all(self.read_pool())
            .await?)
    }

    /// The most urgent tasks of a batch and class in a queue, at most `limit`; of equally urgent
    /// ones, those that come first.
    pub async fn ready_task_list_urgent(
        &self,
        queue: &ReadyQueue,
        line: BatchLine,
        limit: i64,
    ) -> Result<Vec<ReadyTask>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {READY_COLUMNS}, COALESCE(({MAKER_OF} r.task), '') AS except_worker
             FROM ready_tasks r WHERE r.arch = $1 AND r.needs = $2 AND r.srpm = $3
             AND r.batch = $4 AND r.class = $5
             ORDER BY r.urgency_us DESC, r.rank, r.task LIMIT $6"
        ));
        Ok(sqlx::query_as(query)
            .bind(&queue.arch)
            .bind(&queue.needs)
            .bind(i64::from(queue.srpm))
            .bind(line.batch.0)
            .bind(line.class.as_str())
            .bind(limit)
            .fetch_all(self.read_pool())
            .await?)
    }

    /// Grants a task to a worker, under a new epoch. `None` when it is not in its queue, when
    /// another worker holds it, when it is accepted, when its build has ended, or when its batch is
    /// paused.
    pub async fn attempt_grant(
        &self,
        task: TaskId,
        build: BuildId,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<Attempt>> {
        let (worker, had) = (worker.to_owned(), WorkerResources::default());
        let grant = Grant { task, build, worker, had, takes_place_of: None };
        Ok(self.attempt_grant_all(&[grant], now).await?.pop())
    }

    /// Grants tasks to workers in one transaction. Tasks that cannot be granted are not in the
    /// answer.
    ///
    /// # Errors
    /// Database errors; then nothing was granted.
    pub async fn attempt_grant_all(
        &self,
        grants: &[Grant],
        now: Timestamp,
    ) -> Result<Vec<Attempt>> {
        again(|| async move {
            let mut tx = self.write().await?;
            // Builds are locked before all other rows, as in every transaction, and in the order of
            // their numbers: so no two transactions wait for each other, and no build ends before
            // the commit.
            let open = tx.build_lock_open_all(grants, self.dialect()).await?;
            let of_open: Vec<&Grant> =
                grants.iter().filter(|grant| open.contains(&grant.build)).collect();
            tx.ready_task_exchange(&of_open, &open).await?;
            let wanted: Vec<TaskId> = of_open.iter().map(|grant| grant.task).collect();
            // Deleting a task from its queue makes the grant exclusive: of coordinators that grant
            // it at once, one gets the row.
            let claimed = tx.ready_task_remove(&wanted).await?;
            let tasks: Vec<TaskId> = claimed.iter().map(|row| row.task).collect();
            let epochs = tx.epoch_list_last(&tasks).await?;
            let mut attempts: Vec<Attempt> = tx
                .lease_insert(grants, &tasks)
                .await?
                .into_iter()
                .map(|(task, id, worker)| Attempt {
                    id,
                    task,
                    epoch: Epoch(epochs.get(&task).copied().unwrap_or(0) + 1),
                    worker,
                    started: now,
                })
                .collect();
            attempts.sort_unstable_by_key(|attempt| attempt.id);
            tx.attempt_insert_all(&attempts, grants).await?;
            tx.queue_advance(&claimed, now).await?;
            tx.commit().await?;
            Ok(attempts)
        })
        .await
    }
}

impl Tx {
    /// Locks the open builds of the grants whose batches are not paused, in one order, and returns
    /// them; also the builds with whose tasks places are exchanged.
    async fn build_lock_open_all(
        &mut self,
        grants: &[Grant],
        dialect: Dialect,
    ) -> Result<HashSet<BuildId>> {
        // An attempt that a worker holds is no work for a pass; workers are notified separately.
        self.wake_for(None);
        let others = grants.iter().filter_map(|grant| Some(grant.takes_place_of?.1));
        let builds: BTreeSet<BuildId> =
            grants.iter().map(|grant| grant.build).chain(others).collect();
        if builds.is_empty() {
            return Ok(HashSet::new());
        }
        // SQLite's writer has locked the whole database.
        let lock = if dialect == Dialect::Postgres { " FOR UPDATE" } else { "" };
        let ids = places(1, builds.len());
        let text = format!(
            "SELECT build FROM open_builds WHERE build IN ({ids})
                 AND NOT EXISTS (SELECT 1 FROM builds p JOIN batches q ON q.id = p.batch
                                 WHERE p.id = open_builds.build AND q.paused_us <> 0)
                 ORDER BY build{lock}"
        );
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text));
        for build in builds {
            self.build_note_changed(build);
            query = query.bind(build.0);
        }
        Ok(query.fetch_all(self.conn()).await?.into_iter().map(BuildId).collect())
    }

    /// Lets tasks take the places of others whose builds are held. One whose counterpart has left
    /// the queue keeps its own place.
    async fn ready_task_exchange(
        &mut self,
        grants: &[&Grant],
        open: &HashSet<BuildId>,
    ) -> Result<()> {
        let takes = |grant: &&Grant| {
            let (other, build) = grant.takes_place_of?;
            open.contains(&build).then_some((grant.task, other))
        };
        let mut takes: Vec<(TaskId, TaskId)> = grants.iter().filter_map(takes).collect();
        let tasks: BTreeSet<TaskId> = takes.iter().flat_map(|(task, of)| [*task, *of]).collect();
        let places = self.ready_task_list_places(&tasks).await?;
        takes.retain(|(task, of)| places.contains_key(task) && places.contains_key(of));
        let moved: Vec<(TaskId, &str, Rank)> = swapped(&takes)
            .into_iter()
            .map(|(task, of)| (task, places[&task].0.as_str(), places[&of].1))
            .collect();
        self.ready_task_set_places(&moved).await
    }

    /// The class and the rank of tasks that are in their queues.
    async fn ready_task_list_places(
        &mut self,
        tasks: &BTreeSet<TaskId>,
    ) -> Result<HashMap<TaskId, (String, Rank)>> {
        if tasks.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = places(1, tasks.len());
        let text = format!("SELECT task, class, rank FROM ready_tasks WHERE task IN ({ids})");
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for task in tasks {
            query = query.bind(task.0);
        }
        let rows: Vec<(i64, String, i64)> = query.fetch_all(self.conn()).await?;
        let place = |(task, class, rank)| (TaskId(task), (class, Rank(rank)));
        Ok(rows.into_iter().map(place).collect())
    }

    /// Gives tasks in their queues other places, which they keep over tries.
    async fn ready_task_set_places(&mut self, moved: &[(TaskId, &str, Rank)]) -> Result<()> {
        if moved.is_empty() {
            return Ok(());
        }
        let rows_of_3 = rows(moved.len(), 3);
        let text = format!(
            "INSERT INTO task_ranks (task, class, rank) VALUES {rows_of_3}
             ON CONFLICT (task) DO UPDATE SET rank = excluded.rank"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for (task, class, rank) in moved {
            query = query.bind(task.0).bind((*class).to_owned()).bind(rank.0);
        }
        query.execute(self.conn()).await?;
        let ids = places(1, moved.len());
        let text = format!(
            "UPDATE ready_tasks
             SET rank = (SELECT t.rank FROM task_ranks t WHERE t.task = ready_tasks.task)
             WHERE task IN ({ids})"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for (task, ..) in moved {
            query = query.bind(task.0);
        }
        query.execute(self.conn()).await?;
        Ok(())
    }

    /// Removes tasks that are not accepted from their queues. A task that is not in its queue is
    /// not claimed.
    async fn ready_task_remove(&mut self, tasks: &[TaskId]) -> Result<Vec<ClaimedTask>> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let ids = places(1, tasks.len());
        let text = if is_planted(PlantedBug::GrantTwice) {
            format!("SELECT task, arch, class, rank FROM ready_tasks WHERE task IN ({ids})")
        } else if is_planted(PlantedBug::AcceptTwice) {
            format!(
                "DELETE FROM ready_tasks WHERE task IN ({ids}) RETURNING task, arch, class, rank"
            )
        } else {
            format!(
                "DELETE FROM ready_tasks WHERE task IN ({ids})
                 AND NOT EXISTS (SELECT 1 FROM acceptances c WHERE c.task = ready_tasks.task)
                 RETURNING task, arch, class, rank"
            )
        };
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for task in tasks {
            query = query.bind(task.0);
        }
        Ok(query.fetch_all(self.conn()).await?)
    }

    /// The last epoch of each task that ever had one.
    async fn epoch_list_last(&mut self, tasks: &[TaskId]) -> Result<HashMap<TaskId, i64>> {
        if tasks.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = places(1, tasks.len());
        let text =
            format!("SELECT task, MAX(epoch) FROM attempts WHERE task IN ({ids}) GROUP BY task");
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for task in tasks {
            query = query.bind(task.0);
        }
        let rows: Vec<(i64, i64)> = query.fetch_all(self.conn()).await?;
        Ok(rows.into_iter().map(|(task, epoch)| (TaskId(task), epoch)).collect())
    }

    /// Records that workers have claimed tasks. Returns task, attempt and worker of those that no
    /// other worker has.
    async fn lease_insert(
        &mut self,
        grants: &[Grant],
        claimed: &[TaskId],
    ) -> Result<Vec<(TaskId, AttemptId, String)>> {
        let claimed: HashSet<TaskId> = claimed.iter().copied().collect();
        let mut seen = HashSet::new();
        let held: Vec<&Grant> = grants
            .iter()
            .filter(|grant| claimed.contains(&grant.task) && seen.insert(grant.task))
            .collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let count = i64::try_from(held.len()).unwrap_or(i64::MAX);
        // One update for all numbers. The counter's row stays locked until the commit, so that
        // attempts become visible in the order of their numbers.
        let query = "UPDATE counters SET value = value + $1 WHERE name = 'attempt' RETURNING value";
        let last: i64 = sqlx::query_scalar(query).bind(count).fetch_one(self.conn()).await?;
        let rows_of_3 = rows(held.len(), 3);
        let taken = match is_planted(PlantedBug::GrantTwice) {
            false => "DO NOTHING",
            true => "(task) DO UPDATE SET attempt = excluded.attempt, worker = excluded.worker",
        };
        let text = format!(
            "INSERT INTO live_attempts (task, attempt, worker) VALUES {rows_of_3}
             ON CONFLICT {taken} RETURNING task, attempt, worker"
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for (grant, id) in held.into_iter().zip(last - count + 1..) {
            query = query.bind(grant.task.0).bind(id).bind(grant.worker.clone());
        }
        let rows: Vec<(i64, i64, String)> = query.fetch_all(self.conn()).await?;
        let typed = |(task, attempt, worker)| (TaskId(task), AttemptId(attempt), worker);
        Ok(rows.into_iter().map(typed).collect())
    }

    async fn attempt_insert_all(&mut self, attempts: &[Attempt], grants: &[Grant]) -> Result<()> {
        if attempts.is_empty() {
            return Ok(());
        }
        let rows_of_7 = rows(attempts.len(), 7);
        let text = format!(
            "INSERT INTO attempts (id, task, epoch, worker, started_us, memory_mib, disk_mib)
             VALUES {rows_of_7}"
        );
        let had: HashMap<(TaskId, &str), WorkerResources> =
            grants.iter().map(|grant| ((grant.task, grant.worker.as_str()), grant.had)).collect();
        let capped = |mib: u64| i64::try_from(mib).unwrap_or(i64::MAX);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for attempt in attempts {
            let key = (attempt.task, attempt.worker.as_str());
            let had = had.get(&key).copied().unwrap_or_default();
            query = query
                .bind(attempt.id.0)
                .bind(attempt.task.0)
                .bind(attempt.epoch.0)
                .bind(attempt.worker.clone())
                .bind(attempt.started.as_us())
                .bind(capped(had.memory_mib))
                .bind(capped(had.disk_mib));
        }
        query.execute(self.conn()).await?;
        Ok(())
    }

    /// Advances the virtual time of queues to the starts of the claimed tasks.
    async fn queue_advance(&mut self, claimed: &[ClaimedTask], now: Timestamp) -> Result<()> {
        let mut leads = BTreeMap::<&str, Duration>::new();
        for ClaimedTask { arch, class, rank, .. } in claimed {
            let class: PriorityClass = parsed("ready_tasks", "a class", class)?;
            let of_arch = leads.entry(arch.as_str()).or_default();
            *of_arch = lead(class, *rank, now, *of_arch);
        }
        for (arch, lead) in leads {
            // A queue without a backlog has no lead.
            if lead.is_zero() {
                continue;
            }
            sqlx::query(
                "INSERT INTO queue_lines (arch, class, submitter, value) VALUES ($1, '', '', $2)
                 ON CONFLICT (arch, class, submitter) DO UPDATE SET value = excluded.value
                 WHERE queue_lines.value < excluded.value",
            )
            .bind(arch)
            .bind(span_us(lead))
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}

/// `$from, …`: so many placeholders.
fn places(from: usize, count: usize) -> String {
    let places: Vec<String> = (from..from + count).map(|number| format!("${number}")).collect();
    places.join(", ")
}

/// `($1, …), (…)`: so many rows of so many placeholders.
fn rows(count: usize, width: usize) -> String {
    let rows: Vec<String> =
        (0..count).map(|row| format!("({})", places(row * width + 1, width))).collect();
    rows.join(", ")
}
