//! Results that arrive after their attempt was taken from the worker: recorded, never applied.

use rpmfarm_core::task::{AttemptReport, Progress};
use rpmfarm_core::{AttemptId, Epoch, Timestamp, attempt_news};

use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::{self, Attempt, Store};

/// Records the ends that a worker reports of attempts that were taken from it. Ends that it has
/// reported before are ignored.
pub async fn reports(
    store: &Store,
    worker: &str,
    reports: impl Iterator<Item = &AttemptReport>,
    now: Timestamp,
) -> store::Result<()> {
    for report in reports {
        let Some(said) = attempt_news::late(&report.progress) else { continue };
        let Some((attempt, end)) = store.attempt_fetch_ended(report.attempt, report.epoch).await?
        else {
            continue;
        };
        if attempt.worker == worker && end.outcome.as_ref().is_none_or(attempt_news::was_taken) {
            record(store, &attempt, &said, now).await?;
        }
        if let Progress::Ended(outcome) = &report.progress
            && is_planted(PlantedBug::LateReport)
        {
            store.attempt_end_succeeded(report.attempt, report.epoch, outcome, now).await?;
        }
    }
    Ok(())
}

/// Records that a worker wants to upload a file of an attempt that was taken from it.
pub async fn upload(
    store: &Store,
    attempt: AttemptId,
    epoch: Epoch,
    file: &str,
    now: Timestamp,
) -> store::Result<()> {
    match store.attempt_fetch_ended(attempt, epoch).await? {
        Some((attempt, end)) if end.outcome.as_ref().is_some_and(attempt_news::was_taken) => {
            record(store, &attempt, &format!("uploads {file}"), now).await
        }
        _ => Ok(()),
    }
}

async fn record(store: &Store, attempt: &Attempt, said: &str, now: Timestamp) -> store::Result<()> {
    let task = store.task_fetch(attempt.task).await?;
    tracing::info!(
        build = task.map(|task| task.build.0),
        task = attempt.task.0,
        attempt = attempt.id.0,
        worker = attempt.worker,
        said,
        "late result, not applied"
    );
    store.late_result_insert(attempt.id, said, now).await
}
