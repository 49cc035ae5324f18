//! The builds that a stage can work on, by the index.

use std::collections::HashMap;

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::{BatchId, BuildId, Timestamp};

use super::builds::COLUMNS;
use super::stage_queries::StageQuery;
use super::{Build, Result, Store, Task, latest_due};

/// How many builds of one target one pass of a stage reads.
const AT_ONCE: i64 = 256;

impl Store {
    /// Open builds without sources that do not wait for a retry, the most urgent and oldest first;
    /// of each target at most 256.
    pub async fn build_list_to_import(&self, now: Timestamp) -> Result<Vec<Build>> {
        self.build_list_at_stage(NextStep::Import, now).await
    }

    /// Open builds that are imported and have no task yet, in the same order.
    pub async fn build_list_to_plan(&self) -> Result<Vec<Build>> {
        self.build_list_at_stage(NextStep::Plan, Timestamp::LAST).await
    }

    /// Open builds whose tasks are all accepted, in the same order.
    pub async fn build_list_accepted(&self) -> Result<Vec<Build>> {
        self.build_list_at_stage(NextStep::Finish, Timestamp::LAST).await
    }

    async fn build_list_at_stage(&self, stage: NextStep, now: Timestamp) -> Result<Vec<Build>> {
        let joins = "JOIN builds b ON b.id = w.build";
        let stage_query = StageQuery { stage, columns: COLUMNS, joins, within: "w.task" };
        self.stage_list_next_per_target(&stage_query, now, AT_ONCE).await
    }

    /// Names of the targets with any build.
    pub async fn target_list_built(&self) -> Result<Vec<String>> {
        // One step along the index for each target, however many builds there are.
        let query = "WITH RECURSIVE t(name) AS (
                         SELECT MIN(target) FROM builds
                         UNION ALL
                         SELECT (SELECT MIN(b.target) FROM builds b WHERE b.target > t.name)
                         FROM t WHERE t.name IS NOT NULL)
                     SELECT name FROM t WHERE name IS NOT NULL ORDER BY name";
        Ok(sqlx::query_scalar(query).fetch_all(self.read_pool()).await?)
    }

    /// The batches with a task that waits for its turn, with their targets; those with the most
    /// urgent and oldest tasks first.
    pub async fn batch_list_to_order(&self, now: Timestamp) -> Result<Vec<(BatchId, String)>> {
        let query = "SELECT b.batch, b.target FROM stage_work w JOIN builds b ON b.id = w.build
                     WHERE w.stage = 'order' AND (w.due_us <= $1 OR w.due_us > $2)
                     GROUP BY b.batch, b.target ORDER BY MIN(w.rank), b.batch";
        let query = sqlx::query_as(query).bind(now.as_us()).bind(latest_due(now).as_us());
        let rows: Vec<(i64, String)> = query.fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(batch, target)| (BatchId(batch), target)).collect())
    }

    /// The tasks of a batch that wait for their turn, with their builds.
    pub async fn task_list_to_order(
        &self,
        batch: BatchId,
        now: Timestamp,
    ) -> Result<Vec<(Task, Build)>> {
        let of_batch = "FROM builds b JOIN stage_work w ON w.build = b.id AND w.stage = 'order'
                        WHERE b.batch = $1 AND (w.due_us <= $2 OR w.due_us > $3)";
        let tasks = format!(
            "SELECT t.id, t.build, t.kind, t.arch, t.created_us FROM tasks t
             WHERE t.id IN (SELECT w.task {of_batch}) ORDER BY t.id"
        );
        let builds =
            format!("SELECT {COLUMNS} FROM builds b WHERE b.id IN (SELECT w.build {of_batch})");
        let (now, latest) = (now.as_us(), latest_due(now).as_us());
        let tasks = sqlx::query_as(sqlx::AssertSqlSafe(tasks)).bind(batch.0).bind(now).bind(latest);
        let tasks: Vec<Task> = tasks.fetch_all(self.read_pool()).await?;
        let builds =
            sqlx::query_as(sqlx::AssertSqlSafe(builds)).bind(batch.0).bind(now).bind(latest);
        let builds: Vec<Build> = builds.fetch_all(self.read_pool()).await?;
        let builds: HashMap<BuildId, Build> =
            builds.into_iter().map(|build| (build.id, build)).collect();
        // A build that is gone between the two queries has been locked, or has ended.
        let with_build = |task: Task| Some((builds.get(&task.build)?.clone(), task));
        let both = tasks.into_iter().filter_map(with_build);
        Ok(both.map(|(build, task)| (task, build)).collect())
    }

    /// The oldest open build of a batch that has no SRPM yet.
    pub async fn batch_member_fetch_without_srpm(&self, batch: BatchId) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM srpms s WHERE s.build = b.id)
             ORDER BY b.id LIMIT 1"
        ));
        Ok(sqlx::query_as(query).bind(batch.0).fetch_optional(self.read_pool()).await?)
    }

    /// Builds of a batch that are neither accepted nor ended, oldest first.
    pub async fn batch_member_list_open(&self, batch: BatchId) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM stage_work w WHERE w.build = b.id
                             AND w.stage = 'finish' AND w.task = 0)
             ORDER BY b.id"
        ));
        Ok(sqlx::query_as(query).bind(batch.0).fetch_all(self.read_pool()).await?)
    }

    /// Builds of a batch that have an SRPM and ended without being published, newest first.
    pub async fn batch_member_list_lost(&self, batch: BatchId) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM srpms s WHERE s.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)
             ORDER BY b.id DESC"
        ));
        Ok(sqlx::query_as(query).bind(batch.0).fetch_all(self.read_pool()).await?)
    }
}
