//! Grants: tasks leave their queues for workers, many in one transaction.
//!
//! A commit is what costs, so a grant is as cheap as the number of its companions is large. The
//! fence is the same for each of them: the build is held open, the task must be in its queue and
//! not accepted, `live_attempts` has the task as its key, and the epoch is one more than the last.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rpmfarm_core::learned::Had;
use rpmfarm_core::queue::{Class, lead};
use rpmfarm_core::{BuildId, TaskId};

use super::again::again;
use super::attempts::MAKER_OF;
use super::{Attempt, Dialect, Result, Store, Tx, parsed};

/// A task that is to be given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub task: TaskId,
    pub build: BuildId,
    pub worker: String,
    /// Memory and disk of that worker.
    pub had: Had,
}

/// A task at the head of a queue.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Ready {
    /// The task.
    pub task: i64,
    /// Its build.
    pub build: i64,
    /// Its build's target.
    pub target: String,
    /// Its place: the lowest is next.
    pub rank: i64,
    /// How often it was tried.
    pub tries: i64,
    /// When it was locked.
    pub locked_us: i64,
    /// When the pause after its last failure was over; 0 when it never failed.
    pub retry_us: i64,
    /// Of a task that repeats another, the worker that made the first packages; empty for others.
    #[sqlx(rename = "except_worker")]
    pub except: String,
}

impl Ready {
    /// Since when it waits for a worker.
    #[must_use]
    pub fn since_us(&self) -> i64 {
        self.locked_us.max(self.retry_us)
    }
}

/// A task that left its queue.
type Claimed = (i64, String, String, i64);

impl Store {
    /// The queues that there are: architecture and needs, as stored.
    pub async fn ready_queues(&self) -> Result<Vec<(String, String)>> {
        let query = "SELECT arch, needs FROM ready_queues ORDER BY arch, needs";
        Ok(sqlx::query_as(query).fetch_all(self.read()).await?)
    }

    /// The head of a queue, at most `limit` tasks. What it costs does not depend on the length of
    /// the queue.
    pub async fn ready_head(&self, arch: &str, needs: &str, limit: i64) -> Result<Vec<Ready>> {
        self.ready_after(arch, needs, None, limit).await
    }

    /// The tasks of a queue behind one, which is named by its rank and number, as
    /// [`Store::ready_head`]; `None` begins with the first.
    pub async fn ready_after(
        &self,
        arch: &str,
        needs: &str,
        after: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<Ready>> {
        let (rank, task) = after.unwrap_or((i64::MIN, i64::MIN));
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT r.task, r.build, r.rank,
                     COALESCE((SELECT b.target FROM builds b WHERE b.id = r.build), '')
                     AS target,
                     (SELECT COUNT(*) FROM attempts a WHERE a.task = r.task) AS tries,
                     COALESCE((SELECT MAX(l.at_us) FROM locks l WHERE l.task = r.task), 0)
                     AS locked_us,
                     COALESCE((SELECT f.retry_us FROM failures f WHERE f.build = r.build
                               AND f.task = r.task ORDER BY f.at_us DESC LIMIT 1), 0)
                     AS retry_us,
                     COALESCE(({MAKER_OF} r.task), '') AS except_worker
                     FROM ready_tasks r WHERE r.arch = $1 AND r.needs = $2
                     AND (r.rank, r.task) > ($3, $4)
                     ORDER BY r.rank, r.task LIMIT $5"
        ));
        Ok(sqlx::query_as(query)
            .bind(arch)
            .bind(needs)
            .bind(rank)
            .bind(task)
            .bind(limit)
            .fetch_all(self.read())
            .await?)
    }

    /// Gives a task to a worker, under a new epoch. `None` when it is not in its queue, when
    /// somebody has it, when it is accepted, or when its build has ended.
    pub async fn grant(
        &self,
        task: TaskId,
        build: BuildId,
        worker: &str,
        now_us: i64,
    ) -> Result<Option<Attempt>> {
        let grant = Grant { task, build, worker: worker.to_owned(), had: Had::default() };
        Ok(self.grant_all(&[grant], now_us).await?.pop())
    }

    /// Gives tasks to workers in one transaction. What cannot be given is not in the answer.
    ///
    /// # Errors
    /// Database errors; then nothing was given.
    pub async fn grant_all(&self, grants: &[Grant], now_us: i64) -> Result<Vec<Attempt>> {
        again(|| async move {
            let mut tx = self.write().await?;
            // Builds are locked before all other rows, here as everywhere, and in the order of
            // their numbers: so no two transactions wait for each other, and no build ends before
            // the commit.
            let open = tx.hold_all_open(grants, self.dialect()).await?;
            let wanted: Vec<i64> = grants
                .iter()
                .filter(|grant| open.contains(&grant.build.0))
                .map(|grant| grant.task.0)
                .collect();
            // To delete a task from its queue is what makes a grant exclusive: of coordinators that
            // grant it at once, one gets the row.
            let claimed = tx.claim(&wanted).await?;
            let tasks: Vec<i64> = claimed.iter().map(|row| row.0).collect();
            let epochs = tx.last_epochs(&tasks).await?;
            let mut attempts: Vec<Attempt> = tx
                .hold(grants, &tasks)
                .await?
                .into_iter()
                .map(|(task, id, worker)| Attempt {
                    id,
                    task,
                    epoch: epochs.get(&task).copied().unwrap_or(0) + 1,
                    worker,
                    started_us: now_us,
                })
                .collect();
            attempts.sort_unstable_by_key(|attempt| attempt.id);
            tx.add_attempts(&attempts, grants).await?;
            tx.lead_on(&claimed, now_us).await?;
            tx.commit().await?;
            Ok(attempts)
        })
        .await
    }
}

impl Tx {
    /// Holds all builds of grants that are open, in one order, and returns them.
    async fn hold_all_open(&mut self, grants: &[Grant], dialect: Dialect) -> Result<HashSet<i64>> {
        let builds: BTreeSet<i64> = grants.iter().map(|grant| grant.build.0).collect();
        if builds.is_empty() {
            return Ok(HashSet::new());
        }
        // SQLite's writer has the whole database.
        let lock = if dialect == Dialect::Postgres { " FOR UPDATE" } else { "" };
        let ids = places(1, builds.len());
        let text =
            format!("SELECT build FROM open_builds WHERE build IN ({ids}) ORDER BY build{lock}");
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text));
        for build in builds {
            query = query.bind(build);
        }
        Ok(query.fetch_all(self.on()).await?.into_iter().collect())
    }

    /// Takes tasks that are not accepted from their queues. One that is not there is not claimed.
    async fn claim(&mut self, tasks: &[i64]) -> Result<Vec<Claimed>> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let ids = places(1, tasks.len());
        let text = format!(
            "DELETE FROM ready_tasks WHERE task IN ({ids})
             AND NOT EXISTS (SELECT 1 FROM acceptances c WHERE c.task = ready_tasks.task)
             RETURNING task, arch, class, rank"
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for task in tasks {
            query = query.bind(*task);
        }
        Ok(query.fetch_all(self.on()).await?)
    }

    /// The last epoch of each task that ever had one.
    async fn last_epochs(&mut self, tasks: &[i64]) -> Result<HashMap<i64, i64>> {
        if tasks.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = places(1, tasks.len());
        let text =
            format!("SELECT task, MAX(epoch) FROM attempts WHERE task IN ({ids}) GROUP BY task");
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for task in tasks {
            query = query.bind(*task);
        }
        let rows: Vec<(i64, i64)> = query.fetch_all(self.on()).await?;
        Ok(rows.into_iter().collect())
    }

    /// Lets workers hold claimed tasks. Returns task, attempt and worker of those that nobody
    /// else holds.
    async fn hold(&mut self, grants: &[Grant], claimed: &[i64]) -> Result<Vec<(i64, i64, String)>> {
        let claimed: HashSet<i64> = claimed.iter().copied().collect();
        let mut seen = HashSet::new();
        let held: Vec<&Grant> = grants
            .iter()
            .filter(|grant| claimed.contains(&grant.task.0) && seen.insert(grant.task))
            .collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let count = i64::try_from(held.len()).unwrap_or(i64::MAX);
        // One update for all numbers. The counter's row stays locked until the commit, so that
        // attempts become visible in the order of their numbers.
        let query = "UPDATE counters SET value = value + $1 WHERE name = 'attempt' RETURNING value";
        let last: i64 = sqlx::query_scalar(query).bind(count).fetch_one(self.on()).await?;
        let rows_of_3 = rows(held.len(), 3);
        let text = format!(
            "INSERT INTO live_attempts (task, attempt, worker) VALUES {rows_of_3}
             ON CONFLICT DO NOTHING RETURNING task, attempt, worker"
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
        for (grant, id) in held.into_iter().zip(last - count + 1..) {
            query = query.bind(grant.task.0).bind(id).bind(grant.worker.clone());
        }
        Ok(query.fetch_all(self.on()).await?)
    }

    async fn add_attempts(&mut self, attempts: &[Attempt], grants: &[Grant]) -> Result<()> {
        if attempts.is_empty() {
            return Ok(());
        }
        let rows_of_7 = rows(attempts.len(), 7);
        let text = format!(
            "INSERT INTO attempts (id, task, epoch, worker, started_us, memory_mib, disk_mib)
             VALUES {rows_of_7}"
        );
        let had: HashMap<(i64, &str), Had> =
            grants.iter().map(|grant| ((grant.task.0, grant.worker.as_str()), grant.had)).collect();
        let capped = |mib: u64| i64::try_from(mib).unwrap_or(i64::MAX);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for attempt in attempts {
            let key = (attempt.task, attempt.worker.as_str());
            let had = had.get(&key).copied().unwrap_or_default();
            query = query
                .bind(attempt.id)
                .bind(attempt.task)
                .bind(attempt.epoch)
                .bind(attempt.worker.clone())
                .bind(attempt.started_us)
                .bind(capped(had.memory_mib))
                .bind(capped(had.disk_mib));
        }
        query.execute(self.on()).await?;
        Ok(())
    }

    /// Lets the virtual time of queues go on to the starts of what was claimed.
    async fn lead_on(&mut self, claimed: &[Claimed], now_us: i64) -> Result<()> {
        let mut leads = BTreeMap::<&str, i64>::new();
        for (_, arch, class, rank) in claimed {
            let class: Class = parsed("ready_tasks", "a class", class)?;
            let of_arch = leads.entry(arch.as_str()).or_default();
            *of_arch = lead(class, *rank, now_us, *of_arch);
        }
        for (arch, lead_us) in leads {
            // A queue that has no backlog has no lead.
            if lead_us <= 0 {
                continue;
            }
            sqlx::query(
                "INSERT INTO queue_lines (arch, class, submitter, value) VALUES ($1, '', '', $2)
                 ON CONFLICT (arch, class, submitter) DO UPDATE SET value = excluded.value
                 WHERE queue_lines.value < excluded.value",
            )
            .bind(arch)
            .bind(lead_us)
            .execute(self.on())
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
