//! Tasks, their locks, and what `%generate_buildrequires` added.

use rpmfarm_core::{AttemptId, BuildId, Sha256, TaskId};

use super::{Ended, LockRow, NewTask, Store, Task};
use crate::planted::Plant;
use rpmfarm_core::task::{Outcome, TaskKind};

impl Store {
    /// The tasks of a build, in the order in which they were made.
    #[must_use]
    pub fn tasks(&self, build: BuildId) -> Vec<Task> {
        let of_build = self.tasks_of.get(&build.0).into_iter().flatten();
        of_build.filter_map(|id| self.tasks.get(id)).cloned().collect()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id.0)
    }

    fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        let of_open = self.open_builds.iter().filter_map(|build| self.tasks_of.get(build));
        let mut ids: Vec<i64> = of_open.flatten().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.tasks.get(&id))
    }

    /// Open tasks that have no lock yet and do not wait for a retry.
    #[must_use]
    pub fn tasks_to_lock(&self, now_us: i64) -> Vec<Task> {
        let lacks = |task: &&Task| {
            self.lock(task.id).is_none() && !self.waits(task.build.0, task.id.0, now_us)
        };
        self.open_tasks().filter(lacks).cloned().collect()
    }

    /// Open tasks that have a lock, are not accepted, held by no worker, not ended in success
    /// and do not wait for a retry.
    #[must_use]
    pub fn tasks_to_dispatch(&self, now_us: i64) -> Vec<Task> {
        let again = self.planted(Plant::AcceptTwice);
        let ready = |task: &&Task| {
            self.lock(task.id).is_some()
                && (self.planted(Plant::GrantTwice) || !self.live_attempts.contains_key(&task.id.0))
                && (again || !self.acceptances.contains_key(&task.id.0))
                && (again || !self.succeeded(task.id))
                && !self.waits(task.build.0, task.id.0, now_us)
        };
        self.open_tasks().filter(ready).cloned().collect()
    }

    fn succeeded(&self, task: TaskId) -> bool {
        self.attempts_of.get(&task.0).into_iter().flatten().any(|attempt| {
            let end = self.attempt_ends.get(attempt);
            matches!(end, Some((Ended::Report(Outcome::Succeeded(_)), _)))
        })
    }

    /// Rounds of requirements of tasks with a live attempt that no lock answers yet.
    #[must_use]
    pub fn rounds_to_lock(&self, now_us: i64) -> Vec<(Task, u32)> {
        let asks = |((task, round), (attempt, _)): (&(i64, u32), &(i64, Vec<String>))| {
            let task = self.tasks.get(task)?;
            let (live, _) = self.live_attempts.get(&task.id.0)?;
            let answered = self.lock(task.id).is_some_and(|lock| lock.round > *round);
            let lost = self.planted(Plant::RoundOfTheDead) && live != attempt;
            let waits = self.waits(task.build.0, task.id.0, now_us);
            (!answered && !waits && !lost).then(|| (task.clone(), *round))
        };
        self.dynamic_requires.iter().filter_map(asks).collect()
    }

    /// Build tasks of a batch's open builds that are not accepted.
    #[must_use]
    pub fn unaccepted_tasks(&self, batch: i64) -> Vec<(BuildId, TaskId)> {
        let of_batch = |task: &&Task| {
            task.kind == TaskKind::Build
                && self.build(task.build).is_some_and(|build| build.batch == batch)
                && !self.acceptances.contains_key(&task.id.0)
        };
        self.open_tasks().filter(of_batch).map(|task| (task.build, task.id)).collect()
    }

    /// What `%generate_buildrequires` asked for so far, round by round.
    #[must_use]
    pub fn dynamic_requires(&self, task: TaskId) -> Vec<Vec<String>> {
        let of = self.dynamic_requires.range((task.0, 0)..=(task.0, u32::MAX));
        of.map(|(_, (_, requires))| requires.clone()).collect()
    }

    /// Records a round of requirements. The same round again changes nothing.
    pub fn add_dynamic_requires(
        &mut self,
        task: TaskId,
        attempt: AttemptId,
        round: u32,
        requires: &[String],
    ) {
        if self.live_attempts.values().any(|(live, _)| *live == attempt.0) {
            self.dynamic_requires
                .entry((task.0, round))
                .or_insert_with(|| (attempt.0, requires.to_vec()));
        }
        self.version += 1;
    }

    /// The newest lock of a task.
    #[must_use]
    pub fn lock(&self, task: TaskId) -> Option<&LockRow> {
        self.locks.range((task.0, 0)..=(task.0, u32::MAX)).next_back().map(|(_, lock)| lock)
    }

    /// Records a lock. The first of a round stays.
    pub fn add_lock(&mut self, task: TaskId, round: u32, digest: Sha256, now_us: i64) {
        let row = LockRow { round, digest, at_us: now_us };
        self.locks.entry((task.0, round)).or_insert(row);
        self.version += 1;
    }

    /// Records tasks; those that are there stay.
    pub fn add_tasks(&mut self, build: BuildId, tasks: &[NewTask], now_us: i64) {
        for NewTask { kind, arch } in tasks {
            self.next_task += 1;
            let there = |task: &Task| (task.kind, task.arch) == (*kind, *arch);
            if !self.tasks(build).iter().any(there) {
                self.tasks_of.entry(build.0).or_default().push(self.next_task);
                let id = TaskId(self.next_task);
                let task = Task { id, build, kind: *kind, arch: *arch, created_us: now_us };
                self.tasks.insert(id.0, task);
            }
        }
        self.version += 1;
    }
}
