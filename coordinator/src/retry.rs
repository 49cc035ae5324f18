//! Decides when a failure is tried again: applies the rule of `core` to the failures in the store.

use rpmfarm_core::status::{self, RetryDecision, after_failure};
use rpmfarm_core::{BuildId, Failure, TaskId, Timestamp};

use crate::metrics::Metrics;
use crate::store::{self, Store};

/// Decides on retries, and counts failures. Cheap to clone.
#[derive(Clone)]
pub struct Retries {
    /// Where failures are counted.
    pub metrics: Metrics,
}

impl Retries {
    /// The time of the next try; `None` when the failure is final. `task` is the task that failed,
    /// or `None` when the build failed before it had tasks.
    pub async fn retry_time(
        &self,
        store: &Store,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        now: Timestamp,
    ) -> store::Result<Option<Timestamp>> {
        self.metrics.failed(failure);
        if after_failure(failure, []) == RetryDecision::GiveUp {
            // Earlier failures cannot change that.
            return Ok(None);
        }
        let failures = earlier_failures(store, build, task).await?;
        let earlier = failures.iter().map(|failure| failure.fault);
        Ok(match after_failure(failure, earlier) {
            RetryDecision::TryAfter(pause) => Some(now + pause),
            RetryDecision::GiveUp => None,
        })
    }

    /// A failure of an attempt, as `core` classifies it when the earlier failures of the task are
    /// known, too.
    pub async fn confirmed(
        &self,
        store: &Store,
        build: BuildId,
        task: TaskId,
        failure: &Failure,
    ) -> store::Result<Failure> {
        if status::confirmed(failure, [failure]).is_none() {
            // Earlier failures cannot change that.
            return Ok(failure.clone());
        }
        let earlier = earlier_failures(store, build, Some(task)).await?;
        Ok(status::confirmed(failure, &earlier).unwrap_or_else(|| failure.clone()))
    }

    /// Records a failure of a stage, with the time of the next try or as final.
    pub async fn record(
        &self,
        store: &Store,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        now: Timestamp,
    ) -> store::Result<()> {
        let retry = self.retry_time(store, build, task, failure, now).await?;
        tracing::info!(
            build = build.0,
            task = task.map(|task| task.0),
            fault = failure.fault.as_str(),
            stage = failure.stage.as_str(),
            again = retry.is_some(),
            "stage failed: {}",
            failure.message
        );
        store.failure_insert(build, task, failure, retry, now).await?;
        Ok(())
    }
}

/// The failures of a task, or of a build before it had tasks, since a person last asked for a
/// retry.
async fn earlier_failures(
    store: &Store,
    build: BuildId,
    task: Option<TaskId>,
) -> store::Result<Vec<Failure>> {
    let since = store.build_retried_at(build).await?;
    let failures = store.failure_list(build, since).await?;
    Ok(failures.into_iter().filter(|row| row.task == task).map(|row| row.failure).collect())
}
