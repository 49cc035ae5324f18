//! The builds of which a stage has something to do, as the index says.

use std::collections::HashMap;

use rpmfarm_core::BuildId;
use rpmfarm_core::stage::Stage;
use rpmfarm_core::status::latest_due;

use super::builds::COLUMNS;
use super::{Build, Result, Store};

/// Builds that a stage looks at in one go.
const AT_ONCE: i64 = 256;

impl Store {
    /// Open builds whose sources are not there and that do not wait for a retry, the most urgent
    /// and oldest first, as many as are of use at once.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_import(&self, now_us: i64) -> Result<Vec<Build>> {
        self.builds_at(Stage::Import, now_us).await
    }

    /// Open builds that are imported and have no task yet, likewise.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_plan(&self) -> Result<Vec<Build>> {
        self.builds_at(Stage::Plan, i64::MAX).await
    }

    /// Open builds of which every task is accepted, likewise.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_accepted(&self) -> Result<Vec<Build>> {
        self.builds_at(Stage::Finish, i64::MAX).await
    }

    async fn builds_at(&self, stage: Stage, now_us: i64) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM stage_work w JOIN builds b ON b.id = w.build
             WHERE w.stage = $1 AND (w.due_us <= $2 OR w.due_us > $4)
             ORDER BY w.rank, w.build LIMIT $3"
        ));
        Ok(sqlx::query_as(query)
            .bind(stage.as_str())
            .bind(now_us)
            .bind(AT_ONCE)
            .bind(latest_due(now_us))
            .fetch_all(self.read())
            .await?)
    }

    /// Names of the targets that anything was ever built for.
    ///
    /// # Errors
    /// Database errors.
    pub async fn targets_built(&self) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT target FROM builds ORDER BY target";
        Ok(sqlx::query_scalar(query).fetch_all(self.read()).await?)
    }

    /// The builds of all tasks that wait for their turn in a batch, by number.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_order(&self, now_us: i64) -> Result<HashMap<BuildId, Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.id IN
             (SELECT w.build FROM stage_work w
              WHERE w.stage = 'order' AND (w.due_us <= $1 OR w.due_us > $2))"
        ));
        let query = sqlx::query_as(query).bind(now_us).bind(latest_due(now_us));
        let rows: Vec<Build> = query.fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(|build| (build.id(), build)).collect())
    }

    /// The oldest open build of a request that has no SRPM yet.
    ///
    /// # Errors
    /// Database errors.
    pub async fn mate_without_srpm(&self, batch: i64) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM srpms s WHERE s.build = b.id)
             ORDER BY b.id LIMIT 1"
        ));
        Ok(sqlx::query_as(query).bind(batch).fetch_optional(self.read()).await?)
    }

    /// Builds of one request that are neither accepted nor ended, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn open_mates(&self, batch: i64) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM stage_work w WHERE w.build = b.id
                             AND w.stage = 'finish' AND w.task = 0)
             ORDER BY b.id"
        ));
        Ok(sqlx::query_as(query).bind(batch).fetch_all(self.read()).await?)
    }
}
