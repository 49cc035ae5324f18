//! Which task of a batch takes the batch's next place in a queue.
//!
//! A queue gives each task a place when it enters, by class and submitter ([`crate::queue`]). Members of
//! one batch exchange their places, so that the one with the highest upward rank goes first. The places
//! of the batch stay what they were: nobody else is served earlier or later by it, and as a batch ends,
//! no member of it is put back for ever.

use std::cmp::Reverse;

use crate::TaskId;

/// A task in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The task.
    pub task: TaskId,
    /// The batch of its build.
    pub batch: i64,
    /// Its place: the lowest is next, of equals the older task.
    pub rank: i64,
    /// Its upward rank when it was locked, in microseconds.
    pub urgency_us: i64,
}

/// Two tasks that exchange their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The task that goes now. It takes the rank of the one at the head.
    pub goes: TaskId,
    /// The rank that the one at the head gets instead of its own.
    pub head_rank: i64,
}

/// Who goes in place of the task at the head of a queue: the most urgent of its batch among those that
/// wait in the same queue; of equals, the one with the earlier place. `None` when that is the head.
#[must_use]
pub fn exchange(head: &Queued, waiting: &[Queued]) -> Option<Exchange> {
    let of_batch = waiting.iter().filter(|one| one.batch == head.batch).chain([head]);
    let first = of_batch.min_by_key(|one| (Reverse(one.urgency_us), one.rank, one.task))?;
    (first.task != head.task).then_some(Exchange { goes: first.task, head_rank: first.rank })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Serves all tasks of a queue. Answers batch and urgency of each, in the order of service.
    fn served(mut waiting: Vec<Queued>) -> Vec<(i64, i64)> {
        let mut served = Vec::new();
        while let Some(head) = waiting.iter().min_by_key(|one| (one.rank, one.task)).copied() {
            let goes = match exchange(&head, &waiting) {
                Some(Exchange { goes, head_rank }) => {
                    let at_head = waiting.iter_mut().find(|one| one.task == head.task);
                    at_head.expect("it waits").rank = head_rank;
                    goes
                }
                None => head.task,
            };
            let place = waiting.iter().position(|one| one.task == goes).expect("it waits");
            let Queued { batch, urgency_us, .. } = waiting.swap_remove(place);
            served.push((batch, urgency_us));
        }
        served
    }

    #[test]
    fn the_most_urgent_of_the_batch_takes_the_place_of_its_head() {
        let task =
            |task, batch, rank, urgency_us| Queued { task: TaskId(task), batch, rank, urgency_us };
        let waiting = [task(1, 1, 10, 5), task(2, 2, 20, 99), task(3, 1, 30, 7), task(4, 1, 40, 7)];
        let expected = Exchange { goes: TaskId(3), head_rank: 30 };
        assert_eq!(exchange(&waiting[0], &waiting), Some(expected));
        assert_eq!(exchange(&waiting[1], &waiting), None);
        assert_eq!(exchange(&waiting[0], &[]), None);
    }

    proptest! {
        /// Batches are served at the same turns as without it, and each batch by urgency.
        #[test]
        fn batches_keep_their_turns(
            tasks in prop::collection::vec((0_i64..4, 0_i64..50, 0_i64..9), 0..40)
        ) {
            let queued = |(task, (batch, rank, urgency_us)): (i64, (i64, i64, i64))| Queued {
                task: TaskId(task), batch, rank, urgency_us,
            };
            let waiting: Vec<Queued> = (0..).zip(tasks).map(queued).collect();
            let mut plain = waiting.clone();
            plain.sort_by_key(|one| (one.rank, one.task));
            let served = served(waiting);
            let turns: Vec<i64> = served.iter().map(|(batch, _)| *batch).collect();
            let expected: Vec<i64> = plain.iter().map(|one| one.batch).collect();
            // Of equal ranks, tasks of several batches may go in another order.
            let ranks: Vec<i64> = plain.iter().map(|one| one.rank).collect();
            for rank in &ranks {
                let at = |turns: &[i64]| {
                    let mut at: Vec<i64> = ranks.iter().zip(turns).filter(|(r, _)| *r == rank)
                        .map(|(_, batch)| *batch).collect();
                    at.sort_unstable();
                    at
                };
                prop_assert_eq!(at(turns.as_slice()), at(expected.as_slice()));
            }
            for batch in 0..4 {
                let own = served.iter().filter(|(one, _)| *one == batch).map(|(_, urgency)| *urgency);
                prop_assert!(own.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
