//! Applies the reports of workers on their attempts. Only a report on a live attempt changes
//! anything.

use rpmfarm_core::attempt_news::{self, AttemptNews};
use rpmfarm_core::quarantine::last_message;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::task::{AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, Fault, Timestamp};

use super::{late_results, quarantine};
use crate::blocking;
use crate::clock::{Clock, Now};
use crate::fleet::Fleet;
use crate::logs::{LogName, Logs};
use crate::metrics::Metrics;
use crate::retry::Retries;
use crate::store::{self, LiveAttempt, Store, StoreError};

/// Why the reports of a worker are not applied.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A worker may report on its own attempts only.
    #[error("attempt {attempt} is worker {owner}'s, not {worker}'s")]
    ForeignAttempt {
        attempt: AttemptId,
        /// The worker that has the attempt.
        owner: String,
        /// The worker that reported on it.
        worker: String,
    },
    /// An operation on the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Applies reports on attempts, and ends attempts. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    /// The workers that are notified, and their loads.
    pub fleet: Fleet,
    pub logs: Logs,
    /// Decides whether there is a next try.
    pub retries: Retries,
    /// For the metric of how long attempts took.
    pub metrics: Metrics,
    /// The clock that says which workers are connected now.
    pub clock: Clock,
}

impl Reports {
    /// Applies the reports of a worker. With the first reports of a session, `before` is the newest
    /// attempt that existed when the session began: an attempt up to that one that the worker holds
    /// and does not report is lost.
    ///
    /// # Errors
    /// When one of them is on another worker's attempt; database errors.
    pub async fn apply_reports(
        &self,
        store: &Store,
        worker: &str,
        reports: &[AttemptReport],
        before: Option<AttemptId>,
        now: Timestamp,
    ) -> Result<(), ReportError> {
        if before.is_none() && reports.is_empty() {
            return Ok(());
        }
        let live = store.attempt_list_live(Some(worker)).await?;
        refuse_foreign(store, worker, reports, &live).await?;
        // The fast path: most reports say only that an attempt still runs.
        let runs = |report: &AttemptReport| matches!(report.progress, Progress::Running(_));
        if before.is_none() && reports.iter().all(runs) {
            return Ok(());
        }
        let is_live =
            |report: &&AttemptReport| live.iter().any(|attempt| attempt.id == report.attempt);
        let dead = reports.iter().filter(|report| !is_live(report));
        late_results::reports(store, worker, dead, now).await?;
        for attempt in &live {
            let (id, epoch) = (attempt.id, attempt.epoch);
            let before = before.is_some_and(|before| id <= before);
            match attempt_news::attempt_news(id, epoch, before, reports) {
                AttemptNews::Ended(outcome) => self.end(store, attempt, outcome, now).await?,
                AttemptNews::NeedsRequires { round, requires } => {
                    if let Some(failure) = attempt_news::refused_requires(requires) {
                        self.end(store, attempt, &Outcome::Failed(failure), now).await?;
                        continue;
                    }
                    store.round_insert(attempt.task, id, round, requires, now).await?;
                }
                AttemptNews::Lost => {
                    let lost = Outcome::Failed(attempt_news::lost(worker));
                    self.end(store, attempt, &lost, now).await?;
                }
                AttemptNews::Nothing => {}
            }
        }
        Ok(())
    }

    /// Ends an attempt, and decides what follows from a failure.
    pub async fn end(
        &self,
        store: &Store,
        attempt: &LiveAttempt,
        outcome: &Outcome,
        now: Timestamp,
    ) -> store::Result<()> {
        let (id, epoch) = (attempt.id, attempt.epoch);
        let (build, task) = (attempt.build, attempt.task);
        // The retry is decided before the end is recorded: after a crash in between, the attempt is
        // still live and is reported again.
        if let Outcome::Failed(failure) = outcome {
            let mut failure = self.retries.confirmed(store, build, task, failure).await?;
            let next = self.retries.retry_time(store, build, Some(task), &failure, now).await?;
            if next.is_none() && failure.fault == Fault::Worker {
                let mut workers = store.worker_list_failed_task(task).await?;
                workers.push(attempt.worker.clone());
                failure.message = last_message(&failure, &workers);
            }
            if !store.attempt_end_failed(id, epoch, &failure, next, now).await? {
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
                let now = Now { instant: self.clock.instant(), time: now };
                quarantine::check(store, &self.fleet, &attempt.worker, now).await?;
                // The failure may mean that the worker lost its emulator.
                self.fleet.ask_for_probe(&attempt.worker);
            }
        } else if store.attempt_end_succeeded(id, epoch, outcome, now).await? {
            tracing::info!(build = build.0, task = task.0, attempt = id.0, "attempt succeeded");
        }
        self.metrics.worked(Milestone::Build.as_str(), now.since(attempt.started));
        self.fleet.live_leases().ended(&attempt.worker, id);
        self.finish_logs(id);
        self.fleet.wake_session(&attempt.worker);
        Ok(())
    }

    /// Compresses the logs of an ended attempt in the background.
    pub fn finish_logs(&self, attempt: AttemptId) {
        let logs = self.logs.clone();
        tokio::spawn(blocking::run(move || {
            for name in [LogName::Build, LogName::Root] {
                if let Err(error) = logs.finish(attempt, name) {
                    tracing::warn!(attempt = attempt.0, %error, "log not compressed");
                }
            }
        }));
    }
}

/// Refuses reports on attempts of other workers.
///
/// # Errors
/// With the attempt and its worker; database errors.
async fn refuse_foreign(
    store: &Store,
    worker: &str,
    reports: &[AttemptReport],
    live: &[LiveAttempt],
) -> Result<(), ReportError> {
    // Reports on the worker's own earlier attempts are legitimate: they are recorded as late, and
    // change nothing.
    let is_live = |id: &AttemptId| live.iter().any(|attempt| attempt.id == *id);
    let named = reports.iter().map(|report| report.attempt);
    let unknown: Vec<AttemptId> = named.filter(|id| !is_live(id)).collect();
    let owners = store.attempt_list_workers(&unknown).await?;
    if let Some((attempt, owner)) = owners.into_iter().find(|(_, owner)| owner != worker) {
        tracing::warn!(
            worker,
            attempt = attempt.0,
            owner,
            "a worker reported on another worker's attempt"
        );
        return Err(ReportError::ForeignAttempt { attempt, owner, worker: worker.to_owned() });
    }
    Ok(())
}
