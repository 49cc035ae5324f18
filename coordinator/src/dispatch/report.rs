//! Takes what a worker says of its attempts. Only what a live lease covers changes anything.

use rpmfarm_core::task::{AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, Fault, TaskId};

use tonic::Status;

use crate::farm::Farm;
use crate::logs::LogName;
use crate::retry;
use crate::store::LiveAttempt;

/// Applies the reports of a worker. `fresh_us` is when its session began, with the first report
/// of the session; an attempt that it was given before and does not name then is lost.
///
/// # Errors
/// Database errors.
pub async fn take(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
    fresh_us: Option<i64>,
    now_us: i64,
) -> anyhow::Result<()> {
    for attempt in farm.store.live_attempts(Some(worker)).await? {
        let report = reports
            .iter()
            .find(|report| report.attempt.0 == attempt.id && report.epoch.0 == attempt.epoch);
        match report.map(|report| &report.progress) {
            Some(Progress::Ended(outcome)) => end(farm, &attempt, outcome, now_us).await?,
            Some(Progress::NeedsRequires { round, requires }) => {
                let (task, id) = (TaskId(attempt.task), AttemptId(attempt.id));
                farm.store.add_dynamic_requires(task, id, *round, requires, now_us).await?;
            }
            Some(Progress::Running(_)) => {}
            None if fresh_us.is_some_and(|fresh_us| attempt.started_us < fresh_us) => {
                let message = format!("worker {worker} was restarted and lost the attempt");
                let failure = Failure::new(Fault::Worker, "lease", message);
                end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Refuses reports on attempts that were given to other workers: a worker speaks for itself.
///
/// # Errors
/// `PERMISSION_DENIED` with the attempt and its worker; database errors.
pub async fn refuse_foreign(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
) -> Result<(), Status> {
    if reports.is_empty() {
        return Ok(());
    }
    let live = farm.store.live_attempts(Some(worker)).await?;
    // Old ones of its own are no lie: they are recorded as ended, and change nothing.
    let unknown = reports.iter().map(|report| report.attempt);
    for attempt in unknown.filter(|id| !live.iter().any(|attempt| attempt.id == id.0)) {
        if let Some(owner) = farm.store.attempt_worker(attempt).await?
            && owner != worker
        {
            tracing::warn!(worker, attempt = attempt.0, owner, "a report on another's attempt");
            return Err(Status::permission_denied(format!(
                "attempt {attempt} is worker {owner}'s, not {worker}'s"
            )));
        }
    }
    Ok(())
}

/// Ends an attempt, and decides what follows from a failure.
///
/// # Errors
/// Database errors.
pub async fn end(
    farm: &Farm,
    attempt: &LiveAttempt,
    outcome: &Outcome,
    now_us: i64,
) -> anyhow::Result<()> {
    let (id, epoch) = (AttemptId(attempt.id), Epoch(attempt.epoch));
    let (build, task) = (BuildId(attempt.build), TaskId(attempt.task));
    // What follows is decided before, so that a crash in between leaves an attempt that is live
    // and is reported again.
    if let Outcome::Failed(failure) = outcome {
        let next = retry::at(farm, build, Some(task), failure, now_us).await?;
        if !farm.store.end_failed(id, epoch, failure, next, now_us).await? {
            return Ok(());
        }
        tracing::info!(
            build = build.0,
            task = task.0,
            attempt = id.0,
            worker = attempt.worker,
            fault = failure.fault.as_str(),
            stage = failure.stage,
            "attempt failed: {}",
            failure.message
        );
    } else if farm.store.end_succeeded(id, epoch, outcome, now_us).await? {
        tracing::info!(build = build.0, task = task.0, attempt = id.0, "attempt succeeded");
    }
    let logs = farm.logs.clone();
    tokio::task::spawn_blocking(move || {
        for name in [LogName::Build, LogName::Root] {
            if let Err(error) = logs.finish(id, name) {
                tracing::warn!(attempt = id.0, %error, "log not compressed");
            }
        }
    });
    farm.fleet.poke(&attempt.worker);
    Ok(())
}
