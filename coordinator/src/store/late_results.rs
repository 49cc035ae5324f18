//! Late results: reports and uploads of attempts that had ended before.

use rpmfarm_core::{AttemptId, Epoch, TaskId, Timestamp};

use super::attempts::{AttemptRow, WITH_END};
use super::{Attempt, AttemptEnd, Result, Store};

/// A result that was not applied.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LateResult {
    #[sqlx(try_from = "i64")]
    pub attempt: AttemptId,
    pub worker: String,
    /// The report: `succeeded`, `failed: …`, `uploads …`.
    pub said: String,
    #[sqlx(rename = "at_us", try_from = "i64")]
    pub at: Timestamp,
}

impl Store {
    /// An ended attempt, with its end. `None` when it is live, unknown, or of another epoch.
    pub async fn attempt_fetch_ended(
        &self,
        attempt: AttemptId,
        epoch: Epoch,
    ) -> Result<Option<(Attempt, AttemptEnd)>> {
        let query = format!(
            "SELECT {WITH_END} FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
             WHERE a.id = $1 AND a.epoch = $2"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(attempt.0).bind(epoch.0);
        let row: Option<AttemptRow> = query.fetch_optional(self.read_pool()).await?;
        let Some((attempt, end)) = row.map(AttemptRow::read).transpose()? else { return Ok(None) };
        Ok(end.map(|end| (attempt, end)))
    }

    /// Records a late result. The first of an attempt stays.
    pub async fn late_result_insert(
        &self,
        attempt: AttemptId,
        said: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO late_results (attempt, said, at_us) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(attempt.0)
        .bind(said)
        .bind(now.as_us())
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// Results of a task that came too late, oldest attempt first.
    pub async fn late_result_list(&self, task: TaskId) -> Result<Vec<LateResult>> {
        let query = "SELECT l.attempt, a.worker, l.said, l.at_us
                     FROM attempts a JOIN late_results l ON l.attempt = a.id
                     WHERE a.task = $1 ORDER BY l.attempt";
        Ok(sqlx::query_as(query).bind(task.0).fetch_all(self.read_pool()).await?)
    }
}
