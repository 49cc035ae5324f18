//! The attempts that this worker has, and who hears when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::reconcile::Held;
use rpmfarm_core::task::{Assignment, AttemptReport, Outcome, Progress};
use rpmfarm_core::{AttemptId, Epoch, Failure};
use tokio::sync::watch;

use crate::sandbox::{Cancel, Why};

/// An attempt is known by both: an old epoch is another one.
pub type Key = (AttemptId, Epoch);

/// All attempts of this worker. Clones share them.
#[derive(Debug, Clone)]
pub struct Attempts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    entries: Mutex<BTreeMap<Key, Entry>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Entry {
    progress: Progress,
    cancel: Cancel,
    assignment: watch::Sender<Assignment>,
    /// Whether its task has ended.
    done: bool,
    /// Whether nobody wants to hear of it any more; it goes when its task has ended.
    forgotten: bool,
}

/// What an attempt's task gets.
pub struct Started {
    /// Ends it early.
    pub cancel: Cancel,
    /// What is asked for; changes with each round.
    pub assignment: watch::Receiver<Assignment>,
}

impl Default for Attempts {
    fn default() -> Self {
        let (changed, _) = watch::channel(());
        Self(Arc::new(Shared { entries: Mutex::default(), changed }))
    }
}

impl Attempts {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.0.entries.lock()
    }

    fn change(&self, key: Key, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(&key) {
            change(entry);
            if entry.done && entry.forgotten {
                entries.remove(&key);
            }
        }
        drop(entries);
        self.0.changed.send_replace(());
    }

    /// Is told of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Adds an attempt, unless it is there: then an earlier life of it has not ended yet.
    #[must_use]
    pub fn begin(&self, assignment: &Assignment) -> Option<Started> {
        let key = (assignment.attempt, assignment.epoch);
        let mut entries = self.entries();
        if entries.contains_key(&key) {
            return None;
        }
        let (sender, receiver) = watch::channel(assignment.clone());
        let cancel = Cancel::new();
        let progress = Progress::Running(rpmfarm_core::task::Phase::Fetch);
        let entry = Entry {
            progress,
            cancel: cancel.clone(),
            assignment: sender,
            done: false,
            forgotten: false,
        };
        entries.insert(key, entry);
        drop(entries);
        self.0.changed.send_replace(());
        Some(Started { cancel, assignment: receiver })
    }

    /// Answers an attempt that is not taken, so that it goes to another worker at once.
    pub fn refuse(&self, assignment: &Assignment, failure: Failure) {
        let key = (assignment.attempt, assignment.epoch);
        let (assignment, _) = watch::channel(assignment.clone());
        let entry = Entry {
            progress: Progress::Ended(Outcome::Failed(failure)),
            cancel: Cancel::new(),
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
    pub fn set(&self, key: Key, progress: Progress) {
        self.change(key, |entry| entry.progress = progress);
    }

    /// Its task has ended.
    pub fn done(&self, key: Key) {
        self.change(key, |entry| entry.done = true);
    }

    /// Nobody wants it any more: it is killed, and no longer reported.
    pub fn forget(&self, key: Key, why: Why) {
        self.change(key, |entry| {
            entry.cancel.raise(why);
            entry.forgotten = true;
        });
    }

    /// Kills and forgets all; for when the coordinator has long been silent.
    pub fn forget_all(&self, why: Why) {
        let keys: Vec<Key> = self.entries().keys().copied().collect();
        keys.into_iter().for_each(|key| self.forget(key, why));
    }

    /// Kills all; how they ended is still reported.
    pub fn cancel_all(&self, why: Why) {
        self.entries().values().for_each(|entry| entry.cancel.raise(why));
    }

    /// What is reported to the coordinator.
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

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }
}

/// Reports as reconciliation looks at them.
#[must_use]
pub fn held(reports: &[AttemptReport]) -> Vec<Held<'_>> {
    reports
        .iter()
        .map(|AttemptReport { attempt, epoch, progress }| Held {
            attempt: *attempt,
            epoch: *epoch,
            progress,
        })
        .collect()
}
