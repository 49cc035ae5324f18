//! A model of the coordinator's store: the same facts, in maps, and the same functions by name.
//!
//! Each function is what one transaction of the real store does, whole or not at all. The rules
//! that are SQL there are written out here a second time; the queues of work that the real store
//! keeps beside its facts are derived from the facts each time, by what `core::next_step` says. That
//! both answer alike is a test of the coordinator: `tests/model`.
//!
//! Ranks, needs, standings, notes and what is learned are not modelled.
//!
//! It knows nothing of why a fact is written, of faults, or of time.

mod attempts;
mod builds;
mod channels;
mod coordinators;
mod failures;
mod packages;
mod rows;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::Timestamp;
use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::status::is_due;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, Sha256};

pub use rows::{
    Attempt, AttemptEnd, Build, EndedAttempt, FailureRow, Import, LiveAttempt, LockRow, NewBuild,
    NewPackage, NewTask, Package, Publication, Revision, SameNevra, Signature, SignedPackage, Srpm,
    StartedBuilds, Task,
};

use crate::planted::PlantedBug;

/// The facts. Cloning them is what beginning a transaction is.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// A rule that is broken on purpose.
    pub(crate) plant: Option<PlantedBug>,
    /// One more for each commit.
    pub(crate) version: u64,
    pub(crate) next_build: i64,
    pub(crate) next_batch: i64,
    pub(crate) next_task: i64,
    pub(crate) next_attempt: i64,
    pub(crate) builds: BTreeMap<i64, (Build, String)>,
    pub(crate) open_builds: BTreeSet<i64>,
    pub(crate) cancellations: BTreeSet<(i64, i64)>,
    pub(crate) retries: BTreeSet<(i64, i64)>,
    /// By build, task (0 for none) and time: the failure, and when it is tried again (0: never).
    pub(crate) failures: BTreeMap<(i64, i64, i64), (Failure, i64)>,
    pub(crate) imports: BTreeMap<i64, Import>,
    pub(crate) tasks: BTreeMap<i64, Task>,
    /// Indexes: the tasks of a build, the attempts of a task.
    pub(crate) tasks_of: BTreeMap<i64, Vec<i64>>,
    pub(crate) attempts_of: BTreeMap<i64, Vec<i64>>,
    pub(crate) locks: BTreeMap<(i64, u32), LockRow>,
    /// By task and round: the attempt that found them, and the requirements.
    pub(crate) dynamic_requires: BTreeMap<(i64, u32), (i64, Vec<String>)>,
    /// Tasks and rounds whose attempts were taken from their workers to wait for their batch.
    pub(crate) postponements: BTreeSet<(i64, u32)>,
    pub(crate) attempts: BTreeMap<i64, Attempt>,
    /// By task: the attempt and its worker.
    pub(crate) live_attempts: BTreeMap<i64, (i64, String)>,
    pub(crate) attempt_ends: BTreeMap<i64, (Ended, i64)>,
    /// By task: the attempt, rpmbuild's milliseconds, when.
    pub(crate) acceptances: BTreeMap<i64, (i64, u64, i64)>,
    pub(crate) srpms: BTreeMap<i64, Srpm>,
    /// By target and NEVRA: the package, and the task that made it.
    pub(crate) packages: BTreeMap<(String, String), (Package, i64)>,
    /// By digest and key: the signed form, and when.
    pub(crate) signatures: BTreeMap<(Sha256, String), (Signature, i64)>,
    pub(crate) revisions: BTreeMap<(String, String, i64), Revision>,
    pub(crate) publications: BTreeMap<(i64, String), Publication>,
    /// The beats of coordinators.
    pub(crate) coordinators: BTreeMap<String, i64>,
    pub(crate) stage_leases: BTreeMap<String, StageLease>,
    /// How often a stage was taken.
    pub(crate) takes: u64,
    /// By worker: the coordinator.
    pub(crate) worker_owners: BTreeMap<String, String>,
}

/// What ended an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its worker's report, or what the coordinator made of it.
    Report(Outcome),
    /// Its build ended.
    Cancelled,
}

impl Store {
    /// A store of no facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many builds there are: their numbers go from 1.
    #[must_use]
    pub fn build_count(&self) -> usize {
        self.builds.len()
    }

    /// How many tasks were counted: their numbers go from 1, and some are of none.
    #[must_use]
    pub fn task_count(&self) -> usize {
        usize::try_from(self.next_task).unwrap_or(0)
    }

    pub(crate) const fn planted(&self, plant: PlantedBug) -> bool {
        matches!(self.plant, Some(this) if this as u8 == plant as u8)
    }

    /// Whether a task of a build waits for the retry that its newest failure allows.
    pub(crate) fn waits(&self, build: i64, task: i64, now_us: i64) -> bool {
        let newest = self.failures.range((build, task, i64::MIN)..=(build, task, i64::MAX)).last();
        newest.is_some_and(|(_, (_, retry_us))| self.is_later(*retry_us, now_us))
    }

    /// Whether a retry is still to come. One that is farther away than any pause was recorded by
    /// a clock that has jumped back since: it is due.
    pub(crate) fn is_later(&self, retry_us: i64, now_us: i64) -> bool {
        if self.planted(PlantedBug::FarRetry) {
            return retry_us > now_us;
        }
        !is_due(Timestamp::from_us(retry_us), Timestamp::from_us(now_us))
    }
}
