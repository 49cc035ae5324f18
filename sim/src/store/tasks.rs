//! Tasks, their locks, and what `%generate_buildrequires` added.

use rpmfarm_core::next_step::{self, NextStep};
use rpmfarm_core::status::TaskFacts;
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{AttemptId, BuildId, Sha256, TaskId};

use super::{Ended, LockRow, NewTask, Store, Task};
use crate::planted::PlantedBug;

impl Store {
    /// The tasks of a build, in the order in which they were made.
    #[must_use]
    pub fn task_list(&self, build: BuildId) -> Vec<Task> {
        let of_build = self.tasks_of.get(&build.0).into_iter().flatten();
        of_build.filter_map(|id| self.tasks.get(id)).cloned().collect()
    }

    /// One task.
    #[must_use]
    pub fn task_fetch(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id.0)
    }

    fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        let of_open = self.open_builds.iter().filter_map(|build| self.tasks_of.get(build));
        let mut ids: Vec<i64> = of_open.flatten().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.tasks.get(&id))
    }

    /// Open tasks of a kind that have no lock yet and do not wait for a retry.
    #[must_use]
    pub fn task_list_to_lock(&self, kind: TaskKind, now_us: i64) -> Vec<Task> {
        let stage = match kind {
            TaskKind::Srpm => NextStep::Lock,
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => NextStep::Order,
        };
        self.open_tasks().filter(|task| self.is_due_at(task, stage, now_us)).cloned().collect()
    }

    /// Tasks that wait for a worker: the real store's, once it has queued what is due.
    #[must_use]
    pub fn task_list_to_dispatch(&self, now_us: i64) -> Vec<Task> {
        let ready = |task: &&Task| self.is_due_at(task, NextStep::Dispatch, now_us);
        self.open_tasks().filter(ready).cloned().collect()
    }

    /// Whether a task of an open build waits for a stage, by what `core` says of its facts, and
    /// for no retry.
    pub(crate) fn is_due_at(&self, task: &Task, stage: NextStep, now_us: i64) -> bool {
        let again = self.planted(PlantedBug::AcceptTwice);
        let live = self.live_attempts.contains_key(&task.id.0);
        let facts = TaskFacts {
            locked: self.lock_fetch(task.id).is_some(),
            running: live && !self.planted(PlantedBug::GrantTwice),
            reported: !again && self.succeeded(task.id),
            accepted: !again && self.acceptances.contains_key(&task.id.0),
        };
        next_step::of_task(task.kind, &facts, self.asks(task.id)) == Some(stage)
            && !self.waits(task.build.0, task.id.0, now_us)
    }

    /// Whether the attempt that a worker holds has found requirements that no lock answers yet.
    fn asks(&self, task: TaskId) -> bool {
        let Some((live, _)) = self.live_attempts.get(&task.0) else { return false };
        let answered = self.newest_round(task).unwrap_or(0);
        let mut open = self.dynamic_requires.range((task.0, answered)..=(task.0, u32::MAX));
        open.any(|(_, (attempt, _))| attempt == live)
    }

    fn succeeded(&self, task: TaskId) -> bool {
        self.attempts_of.get(&task.0).into_iter().flatten().any(|attempt| {
            let end = self.attempt_ends.get(attempt);
            matches!(end, Some((Ended::Report(Outcome::Succeeded(_)), _)))
        })
    }

    /// Rounds of requirements of live attempts that no lock answers yet: the last of each task.
    #[must_use]
    pub fn round_list_to_lock(&self, now_us: i64) -> Vec<(Task, u32)> {
        let live = self.live_attempts.keys().filter_map(|id| self.tasks.get(id));
        let open = live.filter(|task| self.build_is_open(task.build));
        let asks = open.filter(|task| self.is_due_at(task, NextStep::Round, now_us));
        let round = |task: &Task| {
            let of = self.dynamic_requires.range((task.id.0, 0)..=(task.id.0, u32::MAX));
            of.last().map(|((_, round), _)| (task.clone(), *round))
        };
        asks.filter_map(round).collect()
    }

    /// Build tasks of a batch's open builds that are not accepted.
    #[must_use]
    pub fn task_list_unaccepted(&self, batch: i64) -> Vec<(BuildId, TaskId)> {
        let of_batch = |task: &&Task| {
            task.kind.is_build()
                && self.build_fetch(task.build).is_some_and(|build| build.batch == batch)
                && !self.acceptances.contains_key(&task.id.0)
        };
        self.open_tasks().filter(of_batch).map(|task| (task.build, task.id)).collect()
    }

    /// What `%generate_buildrequires` asked for so far, round by round.
    #[must_use]
    pub fn round_list(&self, task: TaskId) -> Vec<Vec<String>> {
        let of = self.dynamic_requires.range((task.0, 0)..=(task.0, u32::MAX));
        of.map(|(_, (_, requires))| requires.clone()).collect()
    }

    /// Records a round of requirements. A later attempt that gets to a round which has no answer
    /// yet takes it over: the one that asked before may be gone.
    pub fn round_insert(
        &mut self,
        task: TaskId,
        attempt: AttemptId,
        round: u32,
        requires: &[String],
    ) {
        let live = self.live_attempts.values().any(|(live, _)| *live == attempt.0);
        let next = self.newest_round(task) == Some(round);
        let asked = self.dynamic_requires.contains_key(&(task.0, round));
        if live && next && !(asked && self.planted(PlantedBug::RoundOfTheDead)) {
            self.dynamic_requires.insert((task.0, round), (attempt.0, requires.to_vec()));
        }
        self.version += 1;
    }

    /// Takes the running attempt of a task from its worker, because what it found in a round has
    /// to wait for other builds of the batch. False when that attempt does not run any more or its
    /// round has its lock.
    pub fn attempt_postpone(&mut self, task: &Task, round: u32, now_us: i64) -> bool {
        let asked = self.dynamic_requires.get(&(task.id.0, round)).map(|(attempt, _)| *attempt);
        let live = self.live_attempts.get(&task.id.0).map(|(live, _)| *live);
        let answered = self.newest_round(task.id).is_some_and(|newest| newest > round);
        let Some(attempt) = live.filter(|live| asked == Some(*live) && !answered) else {
            return false;
        };
        self.live_attempts.remove(&task.id.0);
        self.attempt_end_insert(attempt, Ended::Cancelled, now_us);
        self.postponements.insert((task.id.0, round));
        self.version += 1;
        true
    }

    /// The round of the newest lock, whether it counts or not.
    fn newest_round(&self, task: TaskId) -> Option<u32> {
        let of = self.locks.range((task.0, 0)..=(task.0, u32::MAX));
        of.last().map(|((_, round), _)| *round)
    }

    /// The newest lock of a task that counts: one of a round that was postponed does not.
    #[must_use]
    pub fn lock_fetch(&self, task: TaskId) -> Option<&LockRow> {
        let of = |round| (task.0, round);
        let postponed = self.postponements.range(of(0)..=of(u32::MAX)).next_back();
        let from = postponed.map_or(0, |(_, round)| round.saturating_add(1));
        self.locks.range(of(from)..=of(u32::MAX)).next_back().map(|(_, lock)| lock)
    }

    /// Records a lock. The first of a round stays.
    pub fn lock_insert(&mut self, task: TaskId, round: u32, digest: Sha256, now_us: i64) {
        let row = LockRow { round, digest, at_us: now_us };
        self.locks.entry((task.0, round)).or_insert(row);
        self.version += 1;
    }

    /// Records tasks; those that are there stay.
    pub fn task_insert(&mut self, build: BuildId, tasks: &[NewTask], now_us: i64) {
        for NewTask { kind, arch } in tasks {
            self.next_task += 1;
            let there = |task: &Task| (task.kind, task.arch) == (*kind, *arch);
            if !self.task_list(build).iter().any(there) {
                self.tasks_of.entry(build.0).or_default().push(self.next_task);
                let id = TaskId(self.next_task);
                let task = Task { id, build, kind: *kind, arch: *arch, created_us: now_us };
                self.tasks.insert(id.0, task);
            }
        }
        self.version += 1;
    }
}
