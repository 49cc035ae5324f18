//! Takes what a worker says of its attempts. Only what a live lease covers changes anything.

use rpmfarm_core::task::{AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, Fault, TaskId};

use tonic::Status;

use super::{LOST, late};
use crate::farm::Farm;
use crate::logs::LogName;
use crate::retry;
use crate::store::LiveAttempt;

/// Applies the reports of a worker. With the first ones of a session, `before` is the newest
/// attempt that there was when it began: what the worker was given by then and does not name is
/// lost.
///
/// # Errors
/// Database errors.
pub async fn take(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
    before: Option<AttemptId>,
    now_us: i64,
) -> anyhow::Result<()> {
    let live = farm.store.live_attempts(Some(worker)).await?;
    let is_live =
        |report: &&AttemptReport| live.iter().any(|attempt| attempt.id == report.attempt.0);
    let dead = reports.iter().filter(|report| !is_live(report));
    late::reports(farm, worker, dead, now_us).await?;
    for attempt in &live {
        let report = reports
            .iter()
            .find(|report| report.attempt.0 == attempt.id && report.epoch.0 == attempt.epoch);
        match report.map(|report| &report.progress) {
            Some(Progress::Ended(outcome)) => end(farm, attempt, outcome, now_us).await?,
            Some(Progress::NeedsRequires { round, requires }) => {
                let (task, id) = (TaskId(attempt.task), AttemptId(attempt.id));
                farm.store.add_dynamic_requires(task, id, *round, requires, now_us).await?;
            }
            Some(Progress::Running(_)) => {}
            None if before.is_some_and(|before| attempt.id <= before.0) => {
                let message = format!("worker {worker} was restarted and lost the attempt");
                let failure = Failure::new(Fault::Worker, LOST, message);
                end(farm, attempt, &Outcome::Failed(failure), now_us).await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Refuses reports on attempts that were given to other workers: a worker speaks for itself.
///
/// # Errors
/// A `PERMISSION_DENIED` status with the attempt and its worker; database errors.
pub async fn refuse_foreign(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
) -> anyhow::Result<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let live = farm.store.live_attempts(Some(worker)).await?;
    // Old ones of its own are no lie: they are recorded as late, and change nothing.
    let unknown = reports.iter().map(|report| report.attempt);
    for attempt in unknown.filter(|id| !live.iter().any(|attempt| attempt.id == id.0)) {
        if let Some(owner) = farm.store.attempt_worker(attempt).await?
            && owner != worker
        {
            tracing::warn!(worker, attempt = attempt.0, owner, "a report on another's attempt");
            let message = format!("attempt {attempt} is worker {owner}'s, not {worker}'s");
            return Err(Status::permission_denied(message).into());
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
    finish_logs(farm, id);
    farm.fleet.poke(&attempt.worker);
    Ok(())
}

/// Compresses the logs of an attempt that has ended, beside everything else.
pub fn finish_logs(farm: &Farm, attempt: AttemptId) {
    let logs = farm.logs.clone();
    tokio::task::spawn_blocking(move || {
        for name in [LogName::Build, LogName::Root] {
            if let Err(error) = logs.finish(attempt, name) {
                tracing::warn!(attempt = attempt.0, %error, "log not compressed");
            }
        }
    });
}
