//! The builds that a stage can work on, by the index.

use std::collections::HashSet;

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::{BatchId, BuildId, Timestamp};

use super::builds::COLUMNS;
use super::lists::numbers;
use super::stage_queries::StageQuery;
use super::{Build, Result, Store, latest_due};

/// How many builds of one target one pass of a stage reads.
const AT_ONCE: i64 = 256;

/// How the builds at a stage are read.
const fn builds_at(stage: NextStep) -> StageQuery {
    let joins = "JOIN builds b ON b.id = w.build";
    StageQuery { stage, columns: COLUMNS, joins, within: "w.task" }
}

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

    /// The same of one target.
    pub async fn build_list_accepted_of_target(&self, target: &str) -> Result<Vec<Build>> {
        let stage_query = builds_at(NextStep::Finish);
        self.stage_list_next_of_target(&stage_query, target, Timestamp::LAST, AT_ONCE).await
    }

    /// The targets that have such builds.
    pub async fn target_list_accepted(&self) -> Result<Vec<String>> {
        self.target_list_at_stage(NextStep::Finish).await
    }

    /// Those of the builds that have made a package which a key has not signed.
    pub async fn build_list_unsigned(
        &self,
        builds: &[BuildId],
        key: &str,
    ) -> Result<HashSet<BuildId>> {
        let ids = numbers(builds.iter().copied());
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT DISTINCT p.build FROM packages p WHERE p.build IN ({ids})
             AND NOT EXISTS (SELECT 1 FROM signatures s
                             WHERE s.digest = p.digest AND s.key_name = $1)"
        ));
        let query = sqlx::query_scalar(query).persistent(false).bind(key);
        let rows: Vec<i64> = query.fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(BuildId).collect())
    }

    /// The batches of a target with results that are being accepted and may be the last ones of
    /// their builds.
    pub async fn batch_list_accepting(&self, target: &str) -> Result<Vec<BatchId>> {
        let query = "SELECT DISTINCT b.batch FROM stage_work w JOIN builds b ON b.id = w.build
                     JOIN tasks t ON t.id = w.task
                     WHERE w.stage = 'accept' AND w.target = $1 AND t.kind <> 'srpm'";
        let rows: Vec<i64> =
            sqlx::query_scalar(query).bind(target).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(BatchId).collect())
    }

    async fn build_list_at_stage(&self, stage: NextStep, now: Timestamp) -> Result<Vec<Build>> {
        self.stage_list_next_per_target(&builds_at(stage), now, AT_ONCE).await
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

    /// The batches with a task that waits for its turn, without paused ones, with their targets;
    /// those with the most urgent and oldest tasks first.
    pub async fn batch_list_to_order(&self, now: Timestamp) -> Result<Vec<(BatchId, String)>> {
        let query = "SELECT b.batch, b.target FROM stage_work w JOIN builds b ON b.id = w.build
                     WHERE w.stage = 'order' AND (w.due_us <= $1 OR w.due_us > $2)
                     AND NOT EXISTS (SELECT 1 FROM batches q WHERE q.id = b.batch
                                     AND q.paused_us <> 0)
                     GROUP BY b.batch, b.target ORDER BY MIN(w.rank), b.batch";
        let query = sqlx::query_as(query).bind(now.as_us()).bind(latest_due(now).as_us());
        let rows: Vec<(i64, String)> = query.fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(batch, target)| (BatchId(batch), target)).collect())
    }
}
