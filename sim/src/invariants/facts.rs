//! What the facts must say: I1 to I4, I8, and the bound on tries of I9.

use rpmfarm_core::status::MAX_ATTEMPTS;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{AttemptId, BuildId, Epoch, Failure, FailureStage, Fault};

use crate::planted::Invariant;
use crate::rules;
use crate::scenario::KEY;
use crate::store::{Attempt, Ended};
use crate::world::World;

/// All tries of a task that its faults allow, for each time that its build was (re)started.
const MAX_TRIES: usize = MAX_ATTEMPTS as usize;

impl World {
    /// I2: one holder, rising epochs, one end while it is live, one acceptance.
    pub(super) fn check_attempts(&mut self) {
        let mut wrong = Vec::new();
        let live: std::collections::BTreeSet<i64> =
            self.store.live_attempts.values().map(|(attempt, _)| *attempt).collect();
        for attempt in self.store.attempts.values() {
            let ended = self.store.attempt_ends.get(&attempt.id).map(|(end, _)| end);
            if ended.is_none() != live.contains(&attempt.id) {
                wrong.push(format!(
                    "attempt {} of task {} is {}",
                    attempt.id,
                    attempt.task,
                    if ended.is_none() { "not live and has no end" } else { "live and has ended" }
                ));
            }
            if attempt.id > self.monitor.attempts {
                let before = self.monitor.epochs.insert(attempt.task, attempt.epoch);
                if before.is_some_and(|before| before >= attempt.epoch) {
                    wrong.push(format!("the epoch of task {} does not rise", attempt.task));
                }
            }
            let before = self.monitor.attempt_ends.get(&attempt.id);
            match (before, ended) {
                (None, Some(end)) => {
                    let granted_now = attempt.id > self.monitor.attempts;
                    if !granted_now && !self.monitor.live.contains(&attempt.id) {
                        wrong.push(format!(
                            "attempt {} has ended while it was not live",
                            attempt.id
                        ));
                    }
                    self.monitor.attempt_ends.insert(attempt.id, end.clone());
                }
                (Some(before), Some(end)) if before != end => {
                    // Only a success whose results are refused becomes something else.
                    let refused = matches!(before, Ended::Report(Outcome::Succeeded(_)))
                        && matches!(end, Ended::Report(Outcome::Failed(_)))
                        && !self.monitor.acceptances.values().any(|id| *id == attempt.id);
                    if !refused {
                        wrong.push(format!("the end of attempt {} has changed", attempt.id));
                    }
                    self.monitor.attempt_ends.insert(attempt.id, end.clone());
                }
                _ => {}
            }
        }
        wrong.extend(self.wrong_acceptances());
        self.monitor.live = live;
        self.monitor.attempts = self.store.next_attempt;
        if let Some(message) = wrong.pop() {
            self.violated(Invariant::I2, message);
        }
        self.check_tries();
    }

    /// What is wrong with the acceptances.
    fn wrong_acceptances(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (task, (attempt, ..)) in &self.store.acceptances {
            let succeeded = matches!(
                self.store.attempt_ends.get(attempt),
                Some((Ended::Report(Outcome::Succeeded(_)), _))
            );
            let own = self.store.attempts.get(attempt).is_some_and(|row| row.task == *task);
            if !succeeded || !own {
                wrong.push(format!(
                    "attempt {attempt} was accepted for task {task}, with no success"
                ));
            }
            let before = self.monitor.acceptances.get(task);
            if before.is_some_and(|before| before != attempt) {
                wrong.push(format!("task {task} was accepted twice: {before:?}, now {attempt}"));
            }
        }
        wrong
    }

    /// I9, fault 26: what fails again and again ends.
    fn check_tries(&mut self) {
        let too_many = self.store.tasks.values().find(|task| {
            let restarts = self.store.retries.iter().filter(|(id, _)| *id == task.build.0).count();
            // One that was taken back to wait for its batch is no try, and there is one a round.
            let is_try = |attempt: &Attempt| {
                let end = self.store.attempt_ends.get(&attempt.id);
                attempt.task == task.id.0 && !matches!(end, Some((Ended::Cancelled, _)))
            };
            let tries = self.store.attempts.values().filter(|a| is_try(a)).count();
            tries > MAX_TRIES * (restarts + 1)
        });
        if let Some(task) = too_many {
            let message = format!("task {} is tried for ever", task.id);
            self.violated(Invariant::I9, message);
        }
    }

    /// I3: what is accepted is what the accepted attempt made and announced. I8: one digest.
    pub(super) fn check_results(&mut self) {
        let mut wrong = Vec::new();
        for (task, (attempt, ..)) in &self.store.acceptances {
            if self.monitor.acceptances.insert(*task, *attempt).is_some() {
                continue;
            }
            let Some((Ended::Report(Outcome::Succeeded(success)), _)) =
                self.store.attempt_ends.get(attempt)
            else {
                continue;
            };
            let epoch = self.store.attempts.get(attempt).map_or(0, |row| row.epoch);
            let own = (AttemptId(*attempt), Epoch(epoch));
            for (row, _) in self.store.packages.values().filter(|(_, of)| of == task) {
                let announced = success.files.iter().any(|file| file.digest == row.digest);
                let made = self.blobs.get(&row.digest).map(|blob| blob.made_by);
                if !announced || made.is_some_and(|by| by.is_some_and(|by| by != own)) {
                    wrong.push((
                        Invariant::I3,
                        format!("{} of task {task} was not made by attempt {attempt}", row.nevra),
                    ));
                }
                if made.is_none() || self.blobs.get(&row.digest).is_some_and(|blob| !blob.whole) {
                    wrong.push((
                        Invariant::I5,
                        format!("{} was accepted and is no whole file", row.nevra),
                    ));
                }
            }
        }
        if self.store.packages.len() != self.monitor.packages || self.plant.is_some() {
            self.monitor.packages = self.store.packages.len();
            for ((_, nevra), (row, _)) in &self.store.packages {
                let before = self.monitor.digests.entry(nevra.clone()).or_insert(row.digest);
                if *before != row.digest {
                    let message = format!("{nevra} has digest {}, and had {before}", row.digest);
                    wrong.push((Invariant::I8, message));
                }
            }
        }
        if let Some((invariant, message)) = wrong.pop() {
            self.violated(invariant, message);
        }
    }

    /// I4: a fault of the package is recorded only where something is wrong with the package.
    pub(super) fn check_failures(&mut self) {
        if self.store.failures.len() == self.monitor.failures {
            return;
        }
        self.monitor.failures = self.store.failures.len();
        let shown = self.store.failures.iter().filter(|(_, (f, _))| f.fault == Fault::Package);
        let wrong = shown
            .filter(|((build, ..), (failure, _))| !self.is_packages(BuildId(*build), failure))
            .map(|((build, ..), (failure, _))| format!("build {build}: {failure}"))
            .next();
        if let Some(message) = wrong {
            self.violated(Invariant::I4, message);
        }
    }

    fn is_packages(&self, build: BuildId, failure: &Failure) -> bool {
        let package = self.store.build(build).map(|build| build.package.clone());
        match failure.stage {
            // It needs what nobody provides, as far as the farm has got; or has another content
            // than its release had before.
            FailureStage::Resolve => failure.message.starts_with("nothing provides"),
            FailureStage::Accept => failure.message.contains("exists already"),
            FailureStage::Lease | FailureStage::Upload | FailureStage::Fetch => false,
            _ => self.is_bad(&package.unwrap_or_default()),
        }
    }

    /// I1: what is open is at no end, what is closed is at one, and stays there.
    pub(super) fn check_builds(&mut self) {
        let mut wrong = Vec::new();
        for id in self.store.builds.keys().copied() {
            let build = BuildId(id);
            let open = self.store.is_open(build);
            let state = rules::state(&self.store, build, KEY);
            let retries = self.store.retries.iter().filter(|(of, _)| *of == id).count();
            if open == state.is_end() {
                let is = if open { "open" } else { "closed" };
                wrong.push(format!("build {id} is {is}, and its state is {state}"));
            }
            if state.is_end() {
                match self.monitor.ends.insert(id, (retries, state)) {
                    Some((before, end)) if before == retries && end != state => {
                        wrong.push(format!("build {id} was {end}, and now is {state}"));
                    }
                    _ => {}
                }
            } else if let Some((before, end)) = self.monitor.ends.get(&id)
                && *before == retries
            {
                wrong.push(format!("build {id} was {end}, and now is {state}"));
            }
        }
        if let Some(id) = self.acknowledged.iter().find(|id| !self.store.builds.contains_key(id)) {
            wrong.push(format!("build {id} was acknowledged and is lost"));
        }
        if let Some(message) = wrong.pop() {
            self.violated(Invariant::I1, message);
        }
    }
}
