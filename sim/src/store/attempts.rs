//! Attempts: leases with epochs, their ends, and the one that is accepted.

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, TaskId};

use super::{Attempt, AttemptEnd, Ended, EndedAttempt, LiveAttempt, Store};
use crate::planted::PlantedBug;

impl Store {
    /// Gives a task to a worker, under a new epoch. `None` when it does not wait for one, when
    /// somebody has it, when it is accepted, or when its build has ended.
    pub fn attempt_grant(
        &mut self,
        task: TaskId,
        build: BuildId,
        worker: &str,
        now_us: i64,
    ) -> Option<Attempt> {
        let waiting = self.tasks.get(&task.0)?;
        if !self.build_is_open(build) || !self.is_due_at(waiting, NextStep::Dispatch, now_us) {
            return None;
        }
        let before = self.attempts_of.get(&task.0).into_iter().flatten();
        let epochs = before.filter_map(|id| self.attempts.get(id)).map(|other| other.epoch);
        let epoch = epochs.max().unwrap_or(0) + 1;
        self.next_attempt += 1;
        self.attempts_of.entry(task.0).or_default().push(self.next_attempt);
        let attempt = Attempt {
            id: self.next_attempt,
            task: task.0,
            epoch,
            worker: worker.into(),
            started_us: now_us,
        };
        self.live_attempts.insert(task.0, (attempt.id, worker.into()));
        self.attempts.insert(attempt.id, attempt.clone());
        self.version += 1;
        Some(attempt)
    }

    /// Ends a live attempt with its success. False when it is not live under this epoch.
    pub fn attempt_end_succeeded(
        &mut self,
        attempt: AttemptId,
        epoch: Epoch,
        outcome: &Outcome,
        now_us: i64,
    ) -> bool {
        if self.lease_release(attempt, epoch).is_none() {
            return false;
        }
        self.attempt_end_insert(attempt.0, Ended::Report(outcome.clone()), now_us);
        self.version += 1;
        true
    }

    /// Ends a live attempt with its failure, to be tried again at `retry_us`; without that the
    /// build ends. False when it is not live under this epoch.
    pub fn attempt_end_failed(
        &mut self,
        attempt: AttemptId,
        epoch: Epoch,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) -> bool {
        let Some((build, task)) = self.lease_release(attempt, epoch) else { return false };
        self.attempt_end_insert(attempt.0, Ended::Report(Outcome::Failed(failure.clone())), now_us);
        self.failure_insert_row(build, Some(task), failure, retry_us, now_us);
        self.version += 1;
        true
    }

    /// Every attempt that a worker holds; all of the farm's when `worker` is `None`.
    #[must_use]
    pub fn attempt_list_live(&self, worker: Option<&str>) -> Vec<LiveAttempt> {
        let row = |(id, holder): &(i64, String)| {
            if worker.is_some_and(|worker| worker != holder) {
                return None;
            }
            let Attempt { id, task, epoch, worker, started_us } = self.attempts.get(id)?.clone();
            let build = self.tasks.get(&task)?.build.0;
            Some(LiveAttempt { id, task, build, epoch, worker, started_us })
        };
        let mut rows: Vec<LiveAttempt> = self.live_attempts.values().filter_map(row).collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }

    /// Whether a worker holds an attempt under an epoch.
    #[must_use]
    pub fn is_live(&self, attempt: AttemptId, epoch: Epoch) -> bool {
        self.attempts.get(&attempt.0).is_some_and(|row| {
            row.epoch == epoch.0
                && self.live_attempts.get(&row.task).is_some_and(|(live, _)| *live == row.id)
        })
    }

    /// All attempts of a task with their ends, oldest first.
    #[must_use]
    pub fn attempt_list(&self, task: TaskId) -> Vec<(Attempt, Option<AttemptEnd>)> {
        let ids = self.attempts_of.get(&task.0).into_iter().flatten();
        let mut of: Vec<&Attempt> = ids.filter_map(|id| self.attempts.get(id)).collect();
        of.sort_unstable_by_key(|attempt| attempt.epoch);
        let end = |attempt: &Attempt| {
            let (ended, at_us) = self.attempt_ends.get(&attempt.id)?;
            let outcome = match ended {
                Ended::Report(outcome) => Some(outcome.clone()),
                Ended::Cancelled => None,
            };
            Some(AttemptEnd { outcome, at_us: *at_us })
        };
        of.into_iter().map(|attempt| (attempt.clone(), end(attempt))).collect()
    }

    /// Successes of open builds that are not accepted and do not wait for a retry.
    #[must_use]
    pub fn attempt_list_to_accept(&self, now_us: i64) -> Vec<EndedAttempt> {
        let row = |attempt: &Attempt| {
            let task = self.tasks.get(&attempt.task)?;
            let (Ended::Report(outcome @ Outcome::Succeeded(_)), _) =
                self.attempt_ends.get(&attempt.id)?
            else {
                return None;
            };
            let accepted = self.acceptances.get(&attempt.task);
            let waits = match accepted {
                Some((before, ..)) => {
                    !self.planted(PlantedBug::AcceptTwice) || *before == attempt.id
                }
                None => false,
            } || self.waits(task.build.0, task.id.0, now_us);
            (self.build_is_open(task.build) && !waits).then(|| EndedAttempt {
                attempt: attempt.clone(),
                build: task.build,
                outcome: outcome.clone(),
            })
        };
        self.attempts.values().filter_map(row).collect()
    }

    /// The accepted attempt of a task: its number, rpmbuild's time in milliseconds, and when.
    #[must_use]
    pub fn acceptance_fetch(&self, task: TaskId) -> Option<(AttemptId, u64, i64)> {
        self.acceptances.get(&task.0).map(|(attempt, ms, at_us)| (AttemptId(*attempt), *ms, *at_us))
    }

    /// Turns a success that was refused into a failure, to be tried again at `retry_us`; without
    /// that the build ends.
    pub fn attempt_refuse(
        &mut self,
        ended: &EndedAttempt,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) {
        let accepted = self.acceptances.values().any(|(id, ..)| *id == ended.attempt.id);
        let end = self.attempt_ends.get_mut(&ended.attempt.id);
        if let Some((end @ Ended::Report(Outcome::Succeeded(_)), _)) = end
            && !accepted
        {
            *end = Ended::Report(Outcome::Failed(failure.clone()));
            let task = Some(TaskId(ended.attempt.task));
            self.failure_insert_row(ended.build, task, failure, retry_us, now_us);
        }
        self.version += 1;
    }

    /// Accepts an attempt: from now on its results are the task's. False when another one was.
    pub fn acceptance_insert(
        &mut self,
        task: TaskId,
        attempt: AttemptId,
        rpmbuild_ms: u64,
        now_us: i64,
    ) -> bool {
        if self.acceptances.contains_key(&task.0) && !self.planted(PlantedBug::AcceptTwice) {
            return false;
        }
        self.acceptances.insert(task.0, (attempt.0, rpmbuild_ms, now_us));
        self.version += 1;
        true
    }

    pub(crate) fn attempt_end_all_of_build(&mut self, build: BuildId, now_us: i64) {
        for live in self.attempt_list_live(None).into_iter().filter(|live| live.build == build.0) {
            self.live_attempts.remove(&live.task);
            self.attempt_end_insert(live.id, Ended::Cancelled, now_us);
        }
    }

    fn lease_release(&mut self, attempt: AttemptId, epoch: Epoch) -> Option<(BuildId, TaskId)> {
        let task = TaskId(self.attempts.get(&attempt.0)?.task);
        if self.planted(PlantedBug::LateReport) {
            let held = self.live_attempts.get(&task.0).is_some_and(|(live, _)| *live == attempt.0);
            if held {
                self.live_attempts.remove(&task.0);
            }
        } else if self.is_live(attempt, epoch) {
            self.live_attempts.remove(&task.0);
        } else {
            return None;
        }
        Some((self.tasks.get(&task.0)?.build, task))
    }

    pub(super) fn attempt_end_insert(&mut self, attempt: i64, end: Ended, now_us: i64) {
        if self.planted(PlantedBug::LateReport) {
            self.attempt_ends.insert(attempt, (end, now_us));
        } else {
            self.attempt_ends.entry(attempt).or_insert((end, now_us));
        }
    }
}
