//! Results that come when their attempt has been taken from the worker: recorded, never applied.

use rpmfarm_core::task::AttemptReport;
use rpmfarm_core::{AttemptId, Epoch, TaskId, report};

use crate::store::{self, Attempt, Store};

/// Records the ends that a worker reports of attempts which are not live: of those that were
/// taken from it, not of those whose end it has told before.
///
/// # Errors
/// Database errors.
pub async fn reports(
    store: &Store,
    worker: &str,
    reports: impl Iterator<Item = &AttemptReport>,
    now_us: i64,
) -> store::Result<()> {
    for told in reports {
        let Some(said) = report::late(&told.progress) else { continue };
        let Some((attempt, end)) = store.ended(told.attempt, told.epoch).await? else {
            continue;
        };
        if attempt.worker == worker && end.outcome.as_ref().is_none_or(report::was_taken) {
            record(store, &attempt, &said, now_us).await?;
        }
    }
    Ok(())
}

/// Records that an attempt which was taken from its worker wants to upload a file.
///
/// # Errors
/// Database errors.
pub async fn upload(
    store: &Store,
    attempt: AttemptId,
    epoch: Epoch,
    file: &str,
    now_us: i64,
) -> store::Result<()> {
    match store.ended(attempt, epoch).await? {
        Some((attempt, end)) if end.outcome.as_ref().is_some_and(report::was_taken) => {
            record(store, &attempt, &format!("uploads {file}"), now_us).await
        }
        _ => Ok(()),
    }
}

async fn record(store: &Store, attempt: &Attempt, said: &str, now_us: i64) -> store::Result<()> {
    let task = store.task(TaskId(attempt.task)).await?;
    tracing::info!(
        build = task.map(|task| task.build.0),
        task = attempt.task,
        attempt = attempt.id,
        worker = attempt.worker,
        said,
        "late result, not applied"
    );
    store.add_late_result(AttemptId(attempt.id), said, now_us).await
}
