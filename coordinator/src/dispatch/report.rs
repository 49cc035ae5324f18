//! Takes what a worker says of its attempts. Only what a live lease covers changes anything.

use std::time::Duration;

use rpmfarm_core::quarantine::last_message;
use rpmfarm_core::report::{self, Said};
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::task::{AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Fault, TaskId};

use tonic::Status;

use super::{late, quarantine};
use crate::clock::{Clock, Now};
use crate::fleet::Fleet;
use crate::logs::{LogName, Logs};
use crate::metrics::Metrics;
use crate::retry::Retries;
use crate::store::{LiveAttempt, Store};

/// Takes what is said of attempts, and ends them. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    /// Workers that are to be told, and what they hold.
    pub fleet: Fleet,
    /// Logs of attempts.
    pub logs: Logs,
    /// Whether there is a next try.
    pub retries: Retries,
    /// How long attempts took.
    pub metrics: Metrics,
    /// Who is connected now.
    pub clock: Clock,
}

impl Reports {
    /// Applies the reports of a worker. With the first ones of a session, `before` is the newest
    /// attempt that there was when it began: what the worker was given by then and does not name is
    /// lost.
    ///
    /// # Errors
    /// A `PERMISSION_DENIED` status when one of them is on another worker's attempt; database errors.
    pub async fn take(
        &self,
        store: &Store,
        worker: &str,
        reports: &[AttemptReport],
        before: Option<AttemptId>,
        now_us: i64,
    ) -> anyhow::Result<()> {
        if before.is_none() && reports.is_empty() {
            return Ok(());
        }
        let live = store.live_attempts(Some(worker)).await?;
        refuse_foreign(store, worker, reports, &live).await?;
        // What runs on says nothing new, and that is what is said most.
        let runs = |report: &AttemptReport| matches!(report.progress, Progress::Running(_));
        if before.is_none() && reports.iter().all(runs) {
            return Ok(());
        }
        let is_live =
            |report: &&AttemptReport| live.iter().any(|attempt| attempt.id == report.attempt.0);
        let dead = reports.iter().filter(|report| !is_live(report));
        late::reports(store, worker, dead, now_us).await?;
        for attempt in &live {
            let (id, epoch) = (AttemptId(attempt.id), Epoch(attempt.epoch));
            let before = before.is_some_and(|before| id <= before);
            match report::of(id, epoch, before, reports) {
                Said::Ended(outcome) => self.end(store, attempt, outcome, now_us).await?,
                Said::NeedsRequires { round, requires } => {
                    if let Some(failure) = report::refused_requires(requires) {
                        self.end(store, attempt, &Outcome::Failed(failure), now_us).await?;
                        continue;
                    }
                    let task = TaskId(attempt.task);
                    store.add_dynamic_requires(task, id, round, requires, now_us).await?;
                }
                Said::Lost => {
                    let lost = Outcome::Failed(report::lost(worker));
                    self.end(store, attempt, &lost, now_us).await?;
                }
                Said::Nothing => {}
            }
        }
        Ok(())
    }

    /// Ends an attempt, and decides what follows from a failure.
    ///
    /// # Errors
    /// Database errors.
    pub async fn end(
        &self,
        store: &Store,
        attempt: &LiveAttempt,
        outcome: &Outcome,
        now_us: i64,
    ) -> anyhow::Result<()> {
        let (id, epoch) = (AttemptId(attempt.id), Epoch(attempt.epoch));
        let (build, task) = (BuildId(attempt.build), TaskId(attempt.task));
        // What follows is decided before, so that a crash in between leaves an attempt that is live
        // and is reported again.
        if let Outcome::Failed(failure) = outcome {
            let mut failure = self.retries.confirmed(store, build, task, failure).await?;
            let next = self.retries.at(store, build, Some(task), &failure, now_us).await?;
            if next.is_none() && failure.fault == Fault::Worker {
                let mut workers = store.workers_that_failed(task).await?;
                workers.push(attempt.worker.clone());
                failure.message = last_message(&failure, &workers);
            }
            if !store.end_failed(id, epoch, &failure, next, now_us).await? {
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
                let now = Now { instant: self.clock.instant(), us: now_us };
                quarantine::look(store, &self.fleet, &attempt.worker, now).await?;
                // It may be that it lost the emulator that it built with.
                self.fleet.ask_for_probe(&attempt.worker);
            }
        } else if store.end_succeeded(id, epoch, outcome, now_us).await? {
            tracing::info!(build = build.0, task = task.0, attempt = id.0, "attempt succeeded");
        }
        let took = (now_us - attempt.started_us).max(0).unsigned_abs();
        self.metrics.worked(Milestone::Build.as_str(), Duration::from_micros(took));
        self.fleet.held().ended(&attempt.worker, id);
        self.finish_logs(id);
        self.fleet.poke(&attempt.worker);
        Ok(())
    }

    /// Compresses the logs of an attempt that has ended, beside everything else.
    pub fn finish_logs(&self, attempt: AttemptId) {
        let logs = self.logs.clone();
        tokio::task::spawn_blocking(move || {
            for name in [LogName::Build, LogName::Root] {
                if let Err(error) = logs.finish(attempt, name) {
                    tracing::warn!(attempt = attempt.0, %error, "log not compressed");
                }
            }
        });
    }
}

/// Refuses reports on attempts that were given to other workers: a worker speaks for itself.
///
/// # Errors
/// A `PERMISSION_DENIED` status with the attempt and its worker; database errors.
async fn refuse_foreign(
    store: &Store,
    worker: &str,
    reports: &[AttemptReport],
    live: &[LiveAttempt],
) -> anyhow::Result<()> {
    // Old ones of its own are no lie: they are recorded as late, and change nothing.
    let is_live = |id: &AttemptId| live.iter().any(|attempt| attempt.id == id.0);
    let named = reports.iter().map(|report| report.attempt);
    let unknown: Vec<AttemptId> = named.filter(|id| !is_live(id)).collect();
    let owners = store.attempt_workers(&unknown).await?;
    if let Some((attempt, owner)) = owners.into_iter().find(|(_, owner)| owner != worker) {
        tracing::warn!(worker, attempt = attempt.0, owner, "a report on another's attempt");
        let message = format!("attempt {attempt} is worker {owner}'s, not {worker}'s");
        return Err(Status::permission_denied(message).into());
    }
    Ok(())
}
