//! Invariants I1 to I4 and I8 on the facts, and the limit on attempts of I9.

use rpmfarm_core::status::MAX_ATTEMPTS;
use rpmfarm_core::{AttemptId, BuildId, Failure, FailureStage, Fault, Sha256, TaskId};

use crate::facts::{Attempt, Ended};
use crate::planted_bugs::Invariant;
use crate::world::World;

/// All attempts of a task that its faults allow, each time that its build is started or retried.
const MAX_TRIES: usize = MAX_ATTEMPTS as usize;

impl World {
    /// I2: one holder, rising epochs, one end after the live time, one acceptance.
    pub(super) fn check_attempts(&mut self) {
        let (facts, monitor) = (&self.facts, &mut self.monitor);
        let mut wrong = Vec::new();
        let live: std::collections::BTreeSet<AttemptId> = facts.live.values().copied().collect();
        for (id, attempt) in &facts.attempts {
            let end = facts.ends.get(id);
            if end.is_none() != live.contains(id) {
                let is =
                    if end.is_none() { "not live and has no end" } else { "live and has ended" };
                wrong.push(format!("attempt {id} of task {} is {is}", attempt.task));
            }
            let is_new = Some(*id) > monitor.attempts;
            if is_new {
                let before = monitor.epochs.insert(attempt.task, attempt.epoch);
                if before.is_some_and(|before| before >= attempt.epoch) {
                    wrong.push(format!("the epoch of task {} does not rise", attempt.task));
                }
            }
            let Some(end) = end else { continue };
            match monitor.attempt_ends.insert(*id, end.clone()) {
                None if !is_new && !monitor.live.contains(id) => {
                    wrong.push(format!("attempt {id} has ended while it was not live"));
                }
                // Only a success whose results are refused may change.
                Some(before) if before != *end => {
                    let refused = (before.0, end.0) == (Ended::Succeeded, Ended::Failed);
                    if !refused || monitor.acceptances.values().any(|accepted| accepted == id) {
                        wrong.push(format!("the end of attempt {id} has changed"));
                    }
                }
                _ => {}
            }
        }
        wrong.extend(self.wrong_acceptances());
        self.monitor.live = live;
        self.monitor.attempts = self.facts.attempts.keys().next_back().copied();
        if let Some(message) = wrong.pop() {
            self.violated(Invariant::I2, message);
        }
        self.check_tries();
    }

    /// The acceptances that break I2.
    fn wrong_acceptances(&self) -> Vec<String> {
        let (facts, monitor) = (&self.facts, &self.monitor);
        let mut wrong = Vec::new();
        for (task, attempt) in &facts.acceptances {
            let succeeded = facts.ends.get(attempt).is_some_and(|end| end.0 == Ended::Succeeded);
            let own = facts.attempts.get(attempt).is_some_and(|row| row.task == *task);
            if !succeeded || !own {
                wrong.push(format!(
                    "attempt {attempt} was accepted for task {task}, with no success"
                ));
            }
            let before = monitor.acceptances.get(task);
            if before.is_some_and(|before| before != attempt) {
                wrong.push(format!("task {task} was accepted twice: {before:?}, now {attempt}"));
            }
        }
        wrong
    }

    /// I9, fault 26: a task that fails again and again ends.
    fn check_tries(&mut self) {
        let facts = &self.facts;
        let too_many = facts.tasks.iter().find(|(id, task)| {
            let (restarts, _) = facts.retried(task.build);
            // An attempt that was cancelled to wait for its batch does not count as a try, and
            // there is one per round.
            let is_try = |(attempt, row): &(&AttemptId, &Attempt)| {
                row.task == **id
                    && facts.ends.get(*attempt).is_none_or(|end| end.0 != Ended::Cancelled)
            };
            facts.attempts.iter().filter(is_try).count() > MAX_TRIES * (restarts + 1)
        });
        if let Some((task, _)) = too_many {
            let message = format!("task {task} is tried for ever");
            self.violated(Invariant::I9, message);
        }
    }

    /// I3: each accepted file was made and announced by the accepted attempt. I8: one digest per
    /// NEVRA.
    pub(super) fn check_results(&mut self) {
        let mut wrong = Vec::new();
        for (nevra, package) in &self.facts.packages {
            let before = self.monitor.digests.insert(nevra.clone(), package.digest.clone());
            match before {
                None => wrong.extend(self.check_package(nevra, package.task, &package.digest)),
                Some(before) if before != package.digest => {
                    let message =
                        format!("{nevra} has digest {}, and had {before}", package.digest);
                    wrong.push((Invariant::I8, message));
                }
                Some(_) => {}
            }
        }
        self.monitor.acceptances.clone_from(&self.facts.acceptances);
        if let Some((invariant, message)) = wrong.pop() {
            self.violated(invariant, message);
        }
    }

    /// Checks a package that has just been accepted.
    fn check_package(&self, nevra: &str, task: TaskId, hex: &str) -> Option<(Invariant, String)> {
        let digest: Sha256 = hex.parse().ok()?;
        let attempt = self.facts.acceptances.get(&task);
        let own = attempt.and_then(|id| {
            let row = self.facts.attempts.get(id)?;
            Some((*id, row.epoch))
        });
        let made = self.made.get(&digest);
        if made.is_none_or(|made| made.by.is_some() && made.by != own) {
            let message = format!("{nevra} of task {task} was not made by attempt {attempt:?}");
            return Some((Invariant::I3, message));
        }
        let bytes = std::fs::read(self.storage.blobs.path(digest)).unwrap_or_default();
        let whole = made.is_some_and(|made| made.whole) && Sha256::compute(&bytes) == digest;
        (!whole).then(|| (Invariant::I5, format!("{nevra} was accepted and is no whole file")))
    }

    /// I4: a fault of the package is recorded only where the package has a defect.
    pub(super) fn check_failures(&mut self) {
        let known = std::mem::replace(&mut self.monitor.failures, self.facts.failures.len());
        if known == self.facts.failures.len() {
            return;
        }
        let mut wrong = None;
        for one in &self.facts.failures {
            let Ok(failure) = serde_json::from_str::<Failure>(&one.failure) else { continue };
            if failure.fault == Fault::Package && !self.is_packages(one.build, &failure) {
                wrong = Some(format!("build {}: {failure}", one.build));
            }
        }
        if let Some(message) = wrong {
            self.violated(Invariant::I4, message);
        }
    }

    fn is_packages(&self, build: BuildId, failure: &Failure) -> bool {
        match failure.stage {
            // It requires a name that nothing provides so far; or its content differs from that of
            // an earlier build of its release.
            FailureStage::Resolve => failure.message.contains("nothing provides"),
            FailureStage::Accept => failure.message.contains("exists already"),
            FailureStage::Lease | FailureStage::Upload | FailureStage::Fetch => false,
            _ => {
                let package = self.facts.builds.get(&build).map(|build| build.package.clone());
                self.is_bad(&package.unwrap_or_default())
            }
        }
    }

    /// I1: an open build has no end, a closed one has exactly one and keeps it.
    pub(super) fn check_builds(&mut self) {
        let (facts, monitor) = (&self.facts, &mut self.monitor);
        let mut wrong = Vec::new();
        for id in facts.builds.keys() {
            let (open, state) = (facts.open.contains(id), facts.state(*id));
            let (retries, _) = facts.retried(*id);
            if open == state.is_end() {
                let is = if open { "open" } else { "closed" };
                wrong.push(format!("build {id} is {is}, and its state is {state}"));
            }
            let before = monitor.ends.get(id).copied().filter(|(before, _)| *before == retries);
            if let Some((_, end)) = before.filter(|(_, end)| *end != state) {
                wrong.push(format!("build {id} was {end}, and now is {state}"));
            }
            if state.is_end() {
                monitor.ends.insert(*id, (retries, state));
            }
        }
        if let Some(id) = self.acknowledged.iter().find(|id| !facts.builds.contains_key(id)) {
            wrong.push(format!("build {id} was acknowledged and is lost"));
        }
        if let Some(message) = wrong.pop() {
            self.violated(Invariant::I1, message);
        }
    }
}
