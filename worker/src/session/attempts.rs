//! The attempts that this worker has, and who hears when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::reconcile::HeldAttempt;
use rpmfarm_core::task::{Assignment, AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, Epoch, Failure};
use tokio::sync::watch;

use crate::cages::{CancelFlag, CancelReason};

/// The key of an attempt: with another epoch it is another attempt.
pub type AttemptKey = (AttemptId, Epoch);

/// All attempts of this worker. Clones share them.
#[derive(Debug, Clone)]
pub struct Attempts(Arc<AttemptsShared>);

#[derive(Debug)]
struct AttemptsShared {
    entries: Mutex<BTreeMap<AttemptKey, AttemptEntry>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct AttemptEntry {
    progress: Progress,
    cancel: CancelFlag,
    assignment: watch::Sender<Assignment>,
    /// Whether its task has ended.
    done: bool,
    /// Whether the attempt is no longer wanted; it is removed when its task has ended.
    forgotten: bool,
}

/// The handles of an attempt's task.
pub struct StartedAttempt {
    pub cancel: CancelFlag,
    /// The assignment, which changes with each round.
    pub assignment: watch::Receiver<Assignment>,
}

impl Default for Attempts {
    fn default() -> Self {
        let (changed, _) = watch::channel(());
        Self(Arc::new(AttemptsShared { entries: Mutex::default(), changed }))
    }
}

impl Attempts {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, AttemptEntry>> {
        self.0.entries.lock()
    }

    fn change(&self, key: AttemptKey, change: impl FnOnce(&mut AttemptEntry)) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(&key) {
            change(entry);
            if entry.done && entry.forgotten {
                entries.remove(&key);
            }
        }
        // Released first, because the woken task takes the lock.
        drop(entries);
        self.0.changed.send_replace(());
    }

    /// Notified of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Adds an attempt, unless it is still there from an earlier start.
    #[must_use]
    pub fn begin(&self, assignment: &Assignment) -> Option<StartedAttempt> {
        let key = (assignment.attempt, assignment.epoch);
        let mut entries = self.entries();
        if entries.contains_key(&key) {
            return None;
        }
        let (sender, receiver) = watch::channel(assignment.clone());
        let cancel = CancelFlag::new();
        let progress = Progress::Running(rpmfarm_core::task::Phase::Fetch);
        let entry = AttemptEntry {
            progress,
            cancel: cancel.clone(),
            assignment: sender,
            done: false,
            forgotten: false,
        };
        entries.insert(key, entry);
        drop(entries);
        self.0.changed.send_replace(());
        Some(StartedAttempt { cancel, assignment: receiver })
    }

    /// Reports an attempt that is not accepted as failed, so that it goes to another worker at
    /// once.
    pub fn refuse(&self, assignment: &Assignment, failure: Failure) {
        let key = (assignment.attempt, assignment.epoch);
        let (assignment, _) = watch::channel(assignment.clone());
        let entry = AttemptEntry {
            progress: Progress::Ended(Outcome::Failed(failure)),
            cancel: CancelFlag::new(),
            assignment,
            done: true,
            forgotten: false,
        };
        self.entries().entry(key).or_insert(entry);
        self.0.changed.send_replace(());
    }

    /// Hands the next round to a waiting attempt.
    pub fn resume(&self, assignment: &Assignment) {
        self.change((assignment.attempt, assignment.epoch), |entry| {
            entry.progress = Progress::Running(rpmfarm_core::task::Phase::Fetch);
            entry.assignment.send_replace(assignment.clone());
        });
    }

    /// How far an attempt is.
    pub fn set(&self, key: AttemptKey, progress: Progress) {
        self.change(key, |entry| entry.progress = progress);
    }

    /// Its task has ended.
    pub fn done(&self, key: AttemptKey) {
        self.change(key, |entry| entry.done = true);
    }

    /// Kills an attempt and stops reporting it, because it is no longer wanted.
    pub fn forget(&self, key: AttemptKey, why: CancelReason) {
        self.change(key, |entry| {
            entry.cancel.raise(why);
            entry.forgotten = true;
        });
    }

    /// Kills and forgets all attempts, when the coordinator has long been silent.
    pub fn forget_all(&self, why: CancelReason) {
        // Collected first, since `forget` takes the lock itself.
        let keys: Vec<AttemptKey> = self.entries().keys().copied().collect();
        keys.into_iter().for_each(|key| self.forget(key, why));
    }

    /// Kills all attempts; their ends are still reported.
    pub fn cancel_all(&self, why: CancelReason) {
        self.entries().values().for_each(|entry| entry.cancel.raise(why));
    }

    /// The reports to the coordinator.
    #[must_use]
    pub fn reports(&self) -> Vec<AttemptReport> {
        let entries = self.entries();
        let reported = entries.iter().filter(|(_, entry)| !entry.forgotten);
        reported
            .map(|((attempt, epoch), entry)| AttemptReport {
                attempt: *attempt,
                epoch: *epoch,
                progress: entry.progress.clone(),
            })
            .collect()
    }

    /// Whether any still runs.
    #[must_use]
    pub fn any_running(&self) -> bool {
        self.entries().values().any(|entry| !entry.done)
    }

    /// Whether this worker has no attempt at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }
}

/// Reports in the form that reconciliation reads.
#[must_use]
pub fn held(reports: &[AttemptReport]) -> Vec<HeldAttempt<'_>> {
    reports
        .iter()
        .map(|AttemptReport { attempt, epoch, progress }| HeldAttempt {
            attempt: *attempt,
            epoch: *epoch,
            progress,
        })
        .collect()
}
