//! Failures of builds: for good, or until a time.

use rpmfarm_core::{BuildId, Failure, TaskId};

use super::again::again;
use super::{Result, Store, Tx, json, unjson};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// The task that failed; `None` when it failed before there was one.
    pub task: Option<TaskId>,
    pub failure: Failure,
    /// When.
    pub at_us: i64,
    /// When it is tried again; `None` when it is not.
    pub retry_us: Option<i64>,
}

impl Store {
    /// Records a failure. Without a time for a retry it ends the build and takes its other
    /// attempts from their workers. False when the build had ended before.
    pub async fn add_failure(
        &self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let added = tx.add_failure(build, task, failure, retry_us, now_us).await?;
            tx.commit().await?;
            Ok(added)
        })
        .await
    }

    /// Failures of a build since a time, oldest first.
    pub async fn failures(&self, build: BuildId, since_us: i64) -> Result<Vec<FailureRow>> {
        let query = "SELECT task, failure, at_us, retry_us FROM failures
                     WHERE build = $1 AND at_us > $2 ORDER BY at_us";
        let rows: Vec<(i64, String, i64, i64)> =
            sqlx::query_as(query).bind(build.0).bind(since_us).fetch_all(self.read()).await?;
        rows.into_iter()
            .map(|(task, failure, at_us, retry_us)| {
                Ok(FailureRow {
                    task: (task != 0).then_some(TaskId(task)),
                    failure: unjson("failures", "a failure", &failure)?,
                    at_us,
                    retry_us: (retry_us != 0).then_some(retry_us),
                })
            })
            .collect()
    }
}

impl Tx {
    /// Ends a build with a failure of none of its tasks.
    pub async fn fail(&mut self, build: BuildId, failure: &Failure, now_us: i64) -> Result<bool> {
        self.add_failure(build, None, failure, None, now_us).await
    }

    pub(crate) async fn add_failure(
        &mut self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) -> Result<bool> {
        let open = match retry_us {
            Some(_) => self.hold_open(build).await?,
            None => self.close_build(build).await?,
        };
        if !open {
            return Ok(false);
        }
        let at_us = self.stamp(build, now_us).await?;
        sqlx::query(
            "INSERT INTO failures (build, at_us, task, stage, failure, retry_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(build.0)
        .bind(at_us)
        .bind(task.map_or(0, |task| task.0))
        .bind(failure.stage.as_str())
        .bind(json(failure))
        .bind(retry_us.unwrap_or(0))
        .execute(self.on())
        .await?;
        match retry_us {
            Some(_) => self.reindex(build, now_us).await?,
            None => self.end_attempts_of_build(build, now_us).await?,
        }
        Ok(true)
    }
}
