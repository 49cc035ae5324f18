//! The facts that the order of a batch depends on, read by as many queries for one build as for
//! all.

use std::collections::HashMap;

use rpmfarm_core::{BatchId, BuildId, Sha256, Timestamp};

use super::builds::COLUMNS;
use super::columns::Flag;
use super::lists::{numbers, rows};
use super::{Build, Result, Store, Task, parsed};

/// The builds that are asked for.
#[derive(Debug, Clone, Copy)]
pub enum BatchScope<'a> {
    /// All of a batch.
    Whole(BatchId),
    /// These.
    Builds(&'a [BuildId]),
}

impl BatchScope<'_> {
    /// The condition of a query on `builds b`.
    fn condition(self) -> String {
        match self {
            Self::Whole(batch) => format!("b.batch = {batch}"),
            Self::Builds(builds) => format!("b.id IN ({})", numbers(builds.iter().copied())),
        }
    }
}

/// Where a build of a batch is.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BatchMemberRow {
    #[sqlx(flatten)]
    pub build: Build,
    /// Whether it has not ended.
    #[sqlx(try_from = "Flag")]
    pub is_open: bool,
    /// Whether all of it was accepted, so that its packages are the target's.
    #[sqlx(try_from = "Flag")]
    pub is_accepted: bool,
    /// Whether a person must decide on its claims.
    #[sqlx(try_from = "Flag")]
    pub is_claimed: bool,
    /// Whether there is no root for a task of it, for good.
    #[sqlx(try_from = "Flag")]
    pub is_refused: bool,
    #[sqlx(try_from = "Flag")]
    pub has_srpm: bool,
    /// When it was last retried; 0 when never.
    #[sqlx(rename = "retried_us", try_from = "i64")]
    pub retried: Timestamp,
    /// When it last failed; 0 when never.
    #[sqlx(rename = "failed_us", try_from = "i64")]
    pub failed: Timestamp,
    /// When it was last cancelled; 0 when never.
    #[sqlx(rename = "cancelled_us", try_from = "i64")]
    pub cancelled: Timestamp,
}

/// Where a task of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchTaskRow {
    pub task: Task,
    /// The newest lock that counts.
    pub lock: Option<Sha256>,
    pub is_accepted: bool,
    /// How many rounds of requirements its attempts have found.
    pub rounds: i64,
    /// When it is tried again after a failure; 0 for at once.
    pub due: Timestamp,
}

/// A row of the query for [`BatchTaskRow`].
#[derive(sqlx::FromRow)]
struct TaskFacts {
    #[sqlx(flatten)]
    task: Task,
    lock_digest: String,
    #[sqlx(try_from = "Flag")]
    is_accepted: bool,
    rounds: i64,
    #[sqlx(rename = "due_us", try_from = "i64")]
    due: Timestamp,
}

impl TaskFacts {
    fn read(self) -> Result<BatchTaskRow> {
        let Self { task, lock_digest, is_accepted, rounds, due } = self;
        let lock = match lock_digest.as_str() {
            "" => None,
            digest => Some(parsed("locks", "a digest", digest)?),
        };
        Ok(BatchTaskRow { task, lock, is_accepted, rounds, due })
    }
}

impl Store {
    /// Where builds of a batch are, oldest first.
    pub async fn batch_member_list(&self, scope: BatchScope<'_>) -> Result<Vec<BatchMemberRow>> {
        let which = scope.condition();
        let query = format!(
            "SELECT {COLUMNS},
             (SELECT COUNT(*) FROM open_builds o WHERE o.build = b.id) AS is_open,
             (SELECT COUNT(*) FROM stage_work w
              WHERE w.build = b.id AND w.stage = 'finish' AND w.task = 0)
             + (SELECT COUNT(*) FROM publications l WHERE l.build = b.id)
             + (SELECT COUNT(*) FROM packages k WHERE k.build = b.id) AS is_accepted,
             (SELECT COUNT(*) FROM claims c WHERE c.build = b.id AND NOT EXISTS
                  (SELECT 1 FROM claim_decisions d WHERE d.build = c.build AND d.word = 'approved'))
             AS is_claimed,
             (SELECT COUNT(*) FROM failures f
              WHERE f.build = b.id AND f.stage = 'resolve' AND f.retry_us = 0) AS is_refused,
             (SELECT COUNT(*) FROM srpms s WHERE s.build = b.id) AS has_srpm,
             COALESCE((SELECT MAX(r.at_us) FROM retries r WHERE r.build = b.id), 0) AS retried_us,
             COALESCE((SELECT MAX(f.at_us) FROM failures f WHERE f.build = b.id), 0) AS failed_us,
             COALESCE((SELECT MAX(c.at_us) FROM cancellations c WHERE c.build = b.id), 0)
             AS cancelled_us
             FROM builds b WHERE {which} ORDER BY b.id"
        );
        Ok(rows!(self, BatchMemberRow, query))
    }

    /// The tasks that make the packages of builds of a batch, in the order in which they were made.
    pub async fn batch_task_list(&self, scope: BatchScope<'_>) -> Result<Vec<BatchTaskRow>> {
        let which = scope.condition();
        let query = format!(
            "SELECT t.id, t.build, t.kind, t.arch, t.created_us,
             COALESCE((SELECT l.digest FROM locks l WHERE l.task = t.id AND NOT EXISTS
                           (SELECT 1 FROM postponements p
                            WHERE p.task = l.task AND p.round >= l.round)
                       ORDER BY l.round DESC LIMIT 1), '') AS lock_digest,
             (SELECT COUNT(*) FROM acceptances a WHERE a.task = t.id) AS is_accepted,
             (SELECT COUNT(*) FROM dynamic_requires d WHERE d.task = t.id) AS rounds,
             COALESCE((SELECT f.retry_us FROM failures f
                       WHERE f.build = t.build AND f.task = t.id
                       ORDER BY f.at_us DESC LIMIT 1), 0) AS due_us
             FROM builds b JOIN tasks t ON t.build = b.id
             WHERE {which} AND t.kind IN ('build', 'noarch') ORDER BY t.id"
        );
        rows!(self, TaskFacts, query).into_iter().map(TaskFacts::read).collect()
    }

    /// The names of other sources that builds claim, approved or not.
    pub async fn claim_list_names(
        &self,
        builds: &[BuildId],
    ) -> Result<HashMap<BuildId, Vec<String>>> {
        let ids = numbers(builds.iter().copied());
        let query = format!(
            "SELECT c.build, c.what FROM claims c WHERE c.build IN ({ids}) ORDER BY c.build, c.what"
        );
        let mut all = HashMap::<BuildId, Vec<String>>::new();
        for (build, what) in rows!(self, (i64, String), query) {
            all.entry(BuildId(build)).or_default().push(what);
        }
        Ok(all)
    }

    /// The learned duration of the longest task of each build of a batch, in microseconds. Builds
    /// without a learned duration are left out.
    pub async fn batch_learned_list(&self, batch: BatchId) -> Result<HashMap<BuildId, i64>> {
        let query = "SELECT b.id, MAX(l.took_us) FROM builds b
                     JOIN learned l ON l.target = b.target AND l.package = b.package
                     WHERE b.batch = $1 AND l.kind IN ('build', 'noarch') GROUP BY b.id";
        let rows: Vec<(i64, i64)> =
            sqlx::query_as(query).bind(batch.0).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(build, took_us)| (BuildId(build), took_us)).collect())
    }
}
