//! The acceptances, as far as they decide what may be accepted. Decides; writes nothing.

use std::collections::{BTreeMap, HashMap};

use rpmfarm_core::statement::PublicKey;
use rpmfarm_core::{AttemptId, Sha256, TaskId};

use crate::event::Event;

/// The last acceptance of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub attempt: AttemptId,
    /// Digest of its results.
    pub set: Sha256,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Why results may not be accepted after earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Replay {
    /// The attempt was accepted with other files.
    #[error("attempt {attempt} was accepted already, with other files; {}", remedy(attempt))]
    Other { attempt: AttemptId },
    /// A later attempt of the task was accepted.
    #[error(
        "attempt {newer} of task {task} was accepted already, which is newer than attempt \
         {attempt}; {}",
        remedy(attempt)
    )]
    Older {
        task: TaskId,
        /// The attempt of the request.
        attempt: AttemptId,
        /// The attempt that was accepted.
        newer: AttemptId,
    },
}

fn remedy(attempt: &AttemptId) -> String {
    format!(
        "if the coordinator's data were put back from a backup, stop rpmfarm-acceptor, run \
         `rpmfarm-acceptor attempts forget --from {attempt} --reason TEXT`, and start it again"
    )
}

/// The state of all acceptances.
#[derive(Debug, Default)]
pub struct Memory {
    tasks: HashMap<TaskId, Taken>,
    /// The keys that workers used last.
    keys: BTreeMap<String, PublicKey>,
    accepted: u64,
}

impl Memory {
    /// Applies an event of the log.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Worker { worker, key, .. } => {
                self.keys.insert(worker.clone(), *key);
            }
            Event::Attempt { task, attempt, set, at, .. } => {
                self.accepted += 1;
                self.tasks.insert(*task, Taken { attempt: *attempt, set: *set, at: *at });
            }
            Event::Forgot { from, .. } => self.tasks.retain(|_, taken| taken.attempt < *from),
            Event::Began { .. } | Event::Package { .. } | Event::Denied { .. } => {}
        }
    }

    /// When an attempt with these results was accepted; `None` when it was not. A newer attempt
    /// may take the place of an older one: the coordinator may have refused that afterwards.
    ///
    /// # Errors
    /// When it must not be accepted.
    pub fn accepted_at(
        &self,
        task: TaskId,
        attempt: AttemptId,
        set: Sha256,
    ) -> Result<Option<u64>, Replay> {
        let Some(taken) = self.tasks.get(&task) else { return Ok(None) };
        if taken.attempt > attempt {
            return Err(Replay::Older { task, attempt, newer: taken.attempt });
        }
        if taken.attempt < attempt {
            return Ok(None);
        }
        if taken.set == set { Ok(Some(taken.at)) } else { Err(Replay::Other { attempt }) }
    }

    /// The key that a worker used last.
    #[must_use]
    pub fn key(&self, worker: &str) -> Option<PublicKey> {
        self.keys.get(worker).copied()
    }

    /// How many attempts were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::statement::Hex;

    use super::*;

    fn accepted(task: i64, attempt: i64, made: &[u8], at: u64) -> Event {
        let (task, attempt, set) = (TaskId(task), AttemptId(attempt), Sha256::compute(made));
        Event::Attempt { task, attempt, set, input: set, key: Hex([1; 32]), at }
    }

    #[test]
    fn an_attempt_is_accepted_once_and_a_task_goes_forward() {
        let mut memory = Memory::default();
        let check = |memory: &Memory, attempt, made: &[u8]| {
            memory.accepted_at(TaskId(1), AttemptId(attempt), Sha256::compute(made))
        };
        assert_eq!(check(&memory, 5, b"a"), Ok(None));
        memory.apply(&accepted(1, 5, b"a", 77));
        assert_eq!(check(&memory, 5, b"a"), Ok(Some(77)), "the same again is the same");
        let error = check(&memory, 5, b"b").unwrap_err();
        assert_eq!(error, Replay::Other { attempt: AttemptId(5) });
        assert!(error.to_string().contains("attempts forget --from 5"), "{error}");
        assert_eq!(check(&memory, 6, b"b"), Ok(None), "the coordinator refused the first");
        memory.apply(&accepted(1, 6, b"b", 78));
        let error = check(&memory, 5, b"a").unwrap_err().to_string();
        assert!(error.contains("attempt 6 of task 1"), "{error}");
        assert_eq!(memory.accepted(), 2);

        // After a backup was put back numbers come again.
        let forgot = |from| Event::Forgot { from: AttemptId(from), reason: "x".into(), uid: 0 };
        memory.apply(&forgot(7));
        assert!(check(&memory, 5, b"c").is_err());
        memory.apply(&forgot(5));
        assert_eq!(check(&memory, 5, b"c"), Ok(None));
    }
}
