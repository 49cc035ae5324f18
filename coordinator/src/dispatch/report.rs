//! Takes what a worker says of its attempts. Only what a live lease covers changes anything.

use std::time::Duration;

use rpmfarm_core::quarantine::last_message;
use rpmfarm_core::report::{self, Said};
use rpmfarm_core::results::check_requires;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::task::{AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, FailureStage, Fault, TaskId};

use tonic::Status;

use super::{late, quarantine};
use crate::farm::Farm;
use crate::logs::LogName;
use crate::retry;
use crate::store::LiveAttempt;

/// Applies the reports of a worker. With the first ones of a session, `before` is the newest
/// attempt that there was when it began: what the worker was given by then and does not name is
/// lost.
///
/// # Errors
/// A `PERMISSION_DENIED` status when one of them is on another worker's attempt; database errors.
pub async fn take(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
    before: Option<AttemptId>,
    now_us: i64,
) -> anyhow::Result<()> {
    if before.is_none() && reports.is_empty() {
        return Ok(());
    }
    let live = farm.store.live_attempts(Some(worker)).await?;
    refuse_foreign(farm, worker, reports, &live).await?;
    // What runs on says nothing new, and that is what is said most.
    let runs = |report: &AttemptReport| matches!(report.progress, Progress::Running(_));
    if before.is_none() && reports.iter().all(runs) {
        return Ok(());
    }
    let is_live =
        |report: &&AttemptReport| live.iter().any(|attempt| attempt.id == report.attempt.0);
    let dead = reports.iter().filter(|report| !is_live(report));
    late::reports(farm, worker, dead, now_us).await?;
    for attempt in &live {
        let (id, epoch) = (AttemptId(attempt.id), Epoch(attempt.epoch));
        let before = before.is_some_and(|before| id <= before);
        match report::of(id, epoch, before, reports) {
            Said::Ended(outcome) => end(farm, attempt, outcome, now_us).await?,
            Said::NeedsRequires { round, requires } => {
                if let Err(refusal) = check_requires("%generate_buildrequires", requires) {
                    let failure =
                        Failure::new(refusal.fault(), FailureStage::Resolve, refusal.to_string());
                    end(farm, attempt, &Outcome::Failed(failure), now_us).await?;
                    continue;
                }
                let task = TaskId(attempt.task);
                farm.store.add_dynamic_requires(task, id, round, requires, now_us).await?;
            }
            Said::Lost => {
                let message = format!("worker {worker} was restarted and lost the attempt");
                let failure = Failure::new(Fault::Worker, FailureStage::Lease, message);
                end(farm, attempt, &Outcome::Failed(failure), now_us).await?;
            }
            Said::Nothing => {}
        }
    }
    Ok(())
}

/// Refuses reports on attempts that were given to other workers: a worker speaks for itself.
///
/// # Errors
/// A `PERMISSION_DENIED` status with the attempt and its worker; database errors.
async fn refuse_foreign(
    farm: &Farm,
    worker: &str,
    reports: &[AttemptReport],
    live: &[LiveAttempt],
) -> anyhow::Result<()> {
    // Old ones of its own are no lie: they are recorded as late, and change nothing.
    let is_live = |id: &AttemptId| live.iter().any(|attempt| attempt.id == id.0);
    let named = reports.iter().map(|report| report.attempt);
    let unknown: Vec<AttemptId> = named.filter(|id| !is_live(id)).collect();
    let owners = farm.store.attempt_workers(&unknown).await?;
    if let Some((attempt, owner)) = owners.into_iter().find(|(_, owner)| owner != worker) {
        tracing::warn!(worker, attempt = attempt.0, owner, "a report on another's attempt");
        let message = format!("attempt {attempt} is worker {owner}'s, not {worker}'s");
        return Err(Status::permission_denied(message).into());
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
        let mut failure = retry::confirmed(farm, build, task, failure).await?;
        let next = retry::at(farm, build, Some(task), &failure, now_us).await?;
        if next.is_none() && failure.fault == Fault::Worker {
            let mut workers = farm.store.workers_that_failed(task).await?;
            workers.push(attempt.worker.clone());
            failure.message = last_message(&failure, &workers);
        }
        if !farm.store.end_failed(id, epoch, &failure, next, now_us).await? {
            return Ok(());
        }
        tracing::info!(
            build = build.0,
            task = task.0,
            attempt = id.0,
            worker = attempt.worker,
            fault = failure.fault.as_str(),
            stage = failure.stage.as_str(),
            "attempt failed: {}",
            failure.message
        );
        if failure.fault == Fault::Worker {
            quarantine::look(farm, &attempt.worker, now_us).await?;
            // It may be that it lost the emulator that it built with.
            farm.fleet.ask_for_probe(&attempt.worker);
        }
    } else if farm.store.end_succeeded(id, epoch, outcome, now_us).await? {
        tracing::info!(build = build.0, task = task.0, attempt = id.0, "attempt succeeded");
    }
    let took = (now_us - attempt.started_us).max(0).unsigned_abs();
    farm.metrics.worked(Milestone::Build.as_str(), Duration::from_micros(took));
    farm.fleet.held().ended(&attempt.worker, id);
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
