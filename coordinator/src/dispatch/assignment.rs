//! The desired state of a worker: its live attempts, each with everything that it needs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rpmfarm_core::source::SourceBundle;
use rpmfarm_core::task::{Assignment, DesiredState, Outcome, TaskInput, TaskKind};
use rpmfarm_core::{AttemptId, Failure, FailureStage, Fault, Timestamp};

use super::report::Reports;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::random::RandomSource;
use crate::store::{AssignmentRow, LiveAttempt, Store, StoreError};
use crate::targets::Targets;

/// Largest source bundle or lock that is read into memory, in bytes.
pub(crate) const MAX_DOCUMENT: u64 = 64 << 20;

/// How long an answer is reused when the worker has no news, give or take a quarter, so that
/// workers that connected in one moment do not all cause queries in one moment. Most heartbeats
/// report nothing new, and are answered from memory. After this time the store is read again,
/// because another process may have changed it.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// The assignments and the last answer of a session.
#[derive(Debug, Default)]
pub struct AssignmentCache {
    assignments: HashMap<AttemptId, Assignment>,
    last: Option<CachedState>,
}

#[derive(Debug)]
struct CachedState {
    /// How often the session had been woken before the store was read: a later wake-up makes the
    /// next answer be read again.
    news: u64,
    good_until: Instant,
    state: DesiredState,
}

impl AssignmentCache {
    /// The last answer, if it is recent and the worker has no news since.
    #[must_use]
    pub fn fresh(&self, fleet: &Fleet, worker: &str, now: Instant) -> Option<&DesiredState> {
        let good = |last: &&CachedState| now < last.good_until && last.news == fleet.news(worker);
        self.last.as_ref().filter(good).map(|last| &last.state)
    }
}

/// Composes the desired states of workers. Cheap to clone.
#[derive(Clone)]
pub struct Assignments {
    pub targets: Targets,
    /// Where source bundles are.
    pub blobs: Blobs,
    /// The terms of leases, and the news for workers.
    pub fleet: Fleet,
    /// Ends attempts whose assignment cannot be composed.
    pub reports: Reports,
    /// The clock for the age of an answer.
    pub clock: Clock,
    /// Spreads the ages at which workers' answers are read again.
    pub random: RandomSource,
}

impl Assignments {
    /// The desired state of a worker. An attempt whose assignment cannot be composed, because its
    /// bundle or its target is gone, ends as the farm's fault, so that it does not block the
    /// worker's other attempts.
    pub async fn desired(
        &self,
        store: &Store,
        worker: &str,
        cache: &mut AssignmentCache,
        now: Timestamp,
    ) -> anyhow::Result<DesiredState> {
        let (news, read) = (self.fleet.news(worker), self.clock.instant());
        if let Some(fresh) = cache.fresh(&self.fleet, worker, read) {
            return Ok(fresh.clone());
        }
        let live = store.attempt_list_live(Some(worker)).await?;
        cache.assignments.retain(|id, _| live.iter().any(|attempt| attempt.id == *id));
        let mut desired = DesiredState::nothing(self.fleet.terms());
        desired.probe = self.fleet.probe(worker);
        for attempt in &live {
            match self.assignment(store, attempt, cache).await {
                Ok(assignment) => desired.assignments.push(assignment),
                Err(error)
                    if error.is::<StoreError>()
                        || is_planted(PlantedBug::OneAttemptBlocksWorker) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    let failure =
                        Failure::new(Fault::Farm, FailureStage::Dispatch, format!("{error:#}"));
                    self.reports.end(store, attempt, &Outcome::Failed(failure), now).await?;
                }
            }
        }
        let good_until = read + GOOD_FOR.mul_f64(self.random.draw_between(0.75, 1.25));
        cache.last = Some(CachedState { news, good_until, state: desired.clone() });
        Ok(desired)
    }

    async fn assignment(
        &self,
        store: &Store,
        attempt: &LiveAttempt,
        cache: &mut AssignmentCache,
    ) -> anyhow::Result<Assignment> {
        let task = attempt.task;
        if let Some(assignment) = cache.assignments.get_mut(&attempt.id) {
            let lock = store.lock_fetch(task).await?.context("a granted task has a lock")?;
            (assignment.lock, assignment.round) = (lock.digest, lock.round);
            return Ok(assignment.clone());
        }
        let AssignmentRow { kind, arch, target: name, package, lock, srpm, dynamic } =
            store.assignment_fetch(task).await?.context("a granted task has a lock")?;
        let build = attempt.build;
        let options = store.build_fetch_options(build).await?;
        let target = self.targets.get(&name)?.for_build(&package, &options);
        let input = match kind {
            TaskKind::Srpm => {
                let import = store.import_fetch(build).await?.context("a task has an import")?;
                let bytes = self.blobs.read_small(import.bundle, MAX_DOCUMENT)?;
                let bundle = SourceBundle::from_bytes(&bytes)?;
                let SourceBundle { spec, sources, plan, .. } = bundle;
                TaskInput::Sources { spec, sources, plan, arches: target.arches.clone() }
            }
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
                let file = srpm.context("a build task has an SRPM")?;
                let noarch = kind == TaskKind::Noarch;
                TaskInput::Srpm { file, dynamic_requires: dynamic, noarch }
            }
        };
        let limits = target.limits_of(&package);
        let limits = if kind == TaskKind::Srpm { limits.for_srpm() } else { limits };
        let assignment = Assignment {
            attempt: attempt.id,
            task,
            build,
            epoch: attempt.epoch,
            input,
            limits,
            allow: target.allowed(&package),
            macros: target.macro_file(&package),
            nocheck: target.nocheck(&package),
            keep: target.keep_on_failure.clone(),
            package,
            target: name,
            arch,
            lock: lock.digest,
            round: lock.round,
        };
        cache.assignments.insert(attempt.id, assignment.clone());
        Ok(assignment)
    }
}
