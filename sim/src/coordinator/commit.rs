//! How a coordinator writes: in transactions that may be its last, whose answer may be lost, and
//! which stand behind the lease of the stage that they are of.

use rpmfarm_core::{BuildId, Failure, TaskId};

use super::{Fence, Step, Stop, name};
use crate::rules;
use crate::store::Store;
use crate::trace::note;
use crate::world::{S, World};

impl World {
    /// What the wall clock of a coordinator says, in microseconds since 1970.
    pub(crate) fn wall_us(&self, c: usize) -> i64 {
        1_750_000_000_000_000
            + i64::try_from(self.now).unwrap_or(i64::MAX)
            + self.coordinators[c].clock_off
    }

    /// Whether the database answers.
    pub(crate) const fn database(&self) -> Step {
        if self.now < self.database_down_until { Err(Stop::Error) } else { Ok(()) }
    }

    /// Whether the disk of the blobs and the repositories takes what is to be written. It may be
    /// this that fills it.
    pub(super) fn disk(&mut self) -> Step {
        let fills = if self.faulty { self.profile.fills } else { 0 };
        if self.rng.chance(fills) {
            let length = self.rng.range(S / 2, 20 * S);
            note!(self, "the disk of the blobs is full for {} s", length / S);
            self.data_full_until = self.data_full_until.max(self.now + length);
        }
        if self.now < self.data_full_until { Err(Stop::Error) } else { Ok(()) }
    }

    /// One transaction of a stage: it changes nothing when the stage is another's by now.
    pub(super) fn commit_behind<T>(
        &mut self,
        f: Fence,
        transaction: impl FnOnce(&mut Store) -> T,
    ) -> Step<T> {
        self.check_fence(f)?;
        let before = self.store.version;
        let answer = self.commit(f.c, transaction);
        if self.store.version != before {
            self.written.push((f.stage.as_str(), f.epoch));
        }
        answer
    }

    /// Whether the lease that a stage's work was begun under still holds.
    pub(super) fn check_fence(&mut self, f: Fence) -> Step {
        self.database()?;
        if self.store.fence_stands(f.stage.as_str(), name(f.c), f.epoch) {
            return Ok(());
        }
        note!(self, "c{} is fenced: epoch {} of the {} stage is over", f.c, f.epoch, f.stage);
        Err(Stop::Error)
    }

    /// One transaction. The process may die before and after it, and its answer may be lost.
    pub(crate) fn commit<T>(
        &mut self,
        c: usize,
        transaction: impl FnOnce(&mut Store) -> T,
    ) -> Step<T> {
        self.database()?;
        self.may_die(c)?;
        let before = self.store.version;
        let answer = transaction(&mut self.store);
        if self.store.version == before {
            return Ok(answer);
        }
        self.may_die(c)?;
        let lost = if self.faulty { self.profile.answer_lost } else { 0 };
        if self.rng.chance(lost) {
            note!(self, "c{c} does not hear of its commit");
            return Err(Stop::Error);
        }
        self.ring(c);
        self.herald(c);
        Ok(answer)
    }

    /// A place where the process may die.
    pub(super) fn may_die(&mut self, c: usize) -> Step {
        let dies = if self.faulty { self.profile.dies_at_commit } else { 0 };
        if self.rng.chance(dies) {
            self.kill_coordinator(c);
            return Err(Stop::Dead);
        }
        Ok(())
    }

    /// Records a failure of a stage, to be tried again or for good.
    pub(super) fn record_failure(
        &mut self,
        f: Fence,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
    ) -> Step {
        let now_us = self.wall_us(f.c);
        let retry_us = rules::retry_at(&self.store, build, task, failure, now_us);
        note!(self, "c{} build {build}: {failure}, again: {}", f.c, retry_us.is_some());
        self.commit_behind(f, |store| {
            store.failure_insert(build, task, failure, retry_us, now_us)
        })?;
        Ok(())
    }
}
