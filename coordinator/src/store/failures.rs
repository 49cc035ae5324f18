//! Failures of builds: final ones, and those that are tried again.

use rpmfarm_core::{BuildId, Failure, TaskId, Timestamp};

use super::transaction_retry::again;
use super::{BuildEnd, Result, Store, Tx, json, unjson};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// The task that failed; `None` when the build failed before it had tasks.
    pub task: Option<TaskId>,
    pub failure: Failure,
    pub at: Timestamp,
    /// When it is tried again; `None` when the failure is final.
    pub retry: Option<Timestamp>,
}

impl Store {
    /// Records a failure. Without a time for a retry it ends the build and takes its other attempts
    /// from their workers. False when the build had ended before.
    pub async fn failure_insert(
        &self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let added = tx.failure_insert(build, task, failure, retry, now).await?;
            tx.commit().await?;
            Ok(added)
        })
        .await
    }

    /// Failures of a build after a time, or all of them, oldest first.
    pub async fn failure_list(
        &self,
        build: BuildId,
        since: Option<Timestamp>,
    ) -> Result<Vec<FailureRow>> {
        let query = "SELECT task, failure, at_us, retry_us FROM failures
                     WHERE build = $1 AND at_us > $2 ORDER BY at_us";
        let since = Timestamp::or_zero(since);
        let rows: Vec<(i64, String, i64, i64)> = sqlx::query_as(query)
            .bind(build.0)
            .bind(since.as_us())
            .fetch_all(self.read_pool())
            .await?;
        rows.into_iter()
            .map(|(task, failure, at, retry)| {
                Ok(FailureRow {
                    task: (task != 0).then_some(TaskId(task)),
                    failure: unjson("failures", "a failure", &failure)?,
                    at: at.into(),
                    retry: Timestamp::from_us(retry).known(),
                })
            })
            .collect()
    }
}

impl Tx {
    /// Ends a build with a failure that belongs to none of its tasks.
    pub async fn failure_insert_final(
        &mut self,
        build: BuildId,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<bool> {
        self.failure_insert(build, None, failure, None, now).await
    }

    pub(crate) async fn failure_insert(
        &mut self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool> {
        let open = match retry {
            Some(_) => self.build_lock_open(build).await?,
            None => self.build_close(build, BuildEnd::Failed).await?,
        };
        if !open {
            return Ok(false);
        }
        self.batch_note_changed(build);
        let at = self.build_next_event_us(build, now).await?;
        sqlx::query(
            "INSERT INTO failures (build, at_us, task, stage, failure, retry_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(build.0)
        .bind(at.as_us())
        .bind(task.map_or(0, |task| task.0))
        .bind(failure.stage.as_str())
        .bind(json(failure))
        .bind(Timestamp::or_zero(retry).as_us())
        .execute(self.conn())
        .await?;
        match retry {
            Some(_) => self.reindex(build, now).await?,
            None => self.attempt_end_all_of_build(build, now).await?,
        }
        Ok(true)
    }
}
