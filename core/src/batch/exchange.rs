//! Which tasks of a batch take the batch's next places in a queue.
//!
//! A queue gives each task a place when it enters, by class and submitter ([`crate::queue`]).
//! Members of one batch exchange their places, so that the one with the highest upward rank goes
//! first. The places of the batch do not change: other builds are neither earlier nor later because
//! of it, and since a batch ends, no member of it waits indefinitely. A member that was given
//! another priority than the others of its batch keeps to those of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::queue::{PriorityClass, Rank};
use crate::{BatchId, TaskId};

/// The tasks of a queue that exchange their places: those of one batch and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchLine {
    /// The batch of their builds.
    pub batch: BatchId,
    /// Their class.
    pub class: PriorityClass,
}

/// A task in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The task.
    pub task: TaskId,
    /// The batch and class within which it exchanges; `None` for a build that is alone in its
    /// batch.
    pub line: Option<BatchLine>,
    /// Its place: the lowest is next, of equals the older task.
    pub rank: Rank,
    /// Its upward rank when it was locked.
    pub urgency: Duration,
}

/// Whose place each of these tasks of one queue takes, by their indexes: in each line the most
/// urgent takes the first place, and of equals the one that is there already.
#[must_use]
pub fn exchange(waiting: &[Queued]) -> Vec<usize> {
    let mut takes: Vec<usize> = (0..waiting.len()).collect();
    let mut lines = BTreeMap::<BatchLine, Vec<usize>>::new();
    for (index, one) in waiting.iter().enumerate() {
        if let Some(line) = one.line {
            lines.entry(line).or_default().push(index);
        }
    }
    for mut places in lines.into_values() {
        places.sort_by_key(|index| (waiting[*index].rank, waiting[*index].task));
        let mut members = places.clone();
        // Sorting is stable: equals keep the order of their places.
        members.sort_by_key(|index| Reverse(waiting[*index].urgency));
        for (member, place) in members.into_iter().zip(places) {
            takes[member] = place;
        }
    }
    takes
}

/// Gives tasks the places of others. Places are swapped between two tasks at a time, so that the
/// set of places stays the same when not all tasks take theirs. `takes` are the tasks that leave
/// the queue, each with the task whose place it takes. Returns each task that then has another
/// place, with the task that had the place before.
#[must_use]
pub fn swapped(takes: &[(TaskId, TaskId)]) -> BTreeMap<TaskId, TaskId> {
    let all = takes.iter().flat_map(|(task, place)| [*task, *place]);
    // A place is named by the task that had it at first.
    let mut place_of: BTreeMap<TaskId, TaskId> = all.map(|task| (task, task)).collect();
    let mut holder_of = place_of.clone();
    for (task, place) in takes {
        let (own, holder) = (place_of[task], holder_of[place]);
        place_of.extend([(holder, own), (*task, *place)]);
        holder_of.extend([(own, holder), (*place, *task)]);
    }
    place_of.retain(|task, place| task != place);
    place_of
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queued(task: i64, batch: i64, rank: i64, urgency: u64) -> Queued {
        let line = BatchLine { batch: BatchId(batch), class: PriorityClass::Mass };
        Queued {
            task: TaskId(task),
            line: (batch > 0).then_some(line),
            rank: Rank(rank),
            urgency: Duration::from_secs(urgency),
        }
    }

    /// A task that was served: its place, its batch, its urgency.
    type Served = (Rank, Option<BatchLine>, Duration);

    /// Serves some tasks as dispatch does: it reads some of the head of the queue, and of each
    /// batch there as many of its most urgent ones.
    fn serve(waiting: &mut Vec<Queued>, read: usize, count: usize) -> Vec<Served> {
        waiting.sort_by_key(|one| (one.rank, one.task));
        let mut seen = waiting[..read.min(waiting.len())].to_vec();
        let mut by_urgency = waiting.clone();
        by_urgency.sort_by_key(|one| (Reverse(one.urgency), one.rank, one.task));
        for head in seen.clone() {
            let of_line = by_urgency.iter().filter(|one| one.line == head.line);
            let many = seen.iter().filter(|one| one.line == head.line).count();
            let more: Vec<Queued> = of_line.take(many).copied().collect();
            seen.extend(more);
        }
        seen.sort_by_key(|one| one.task);
        seen.dedup();
        let takes = exchange(&seen);
        let mut order: Vec<usize> = (0..seen.len()).collect();
        order.sort_by_key(|index| (seen[takes[*index]].rank, seen[takes[*index]].task));
        let goes: Vec<(TaskId, TaskId)> =
            order.iter().take(count).map(|at| (seen[*at].task, seen[takes[*at]].task)).collect();
        let ranks: BTreeMap<TaskId, Rank> = seen.iter().map(|one| (one.task, one.rank)).collect();
        for (task, place) in swapped(&goes) {
            let moved = waiting.iter_mut().find(|one| one.task == task);
            moved.expect("it waits").rank = ranks[&place];
        }
        let taken = |(task, _): &(TaskId, TaskId)| {
            let at = waiting.iter().position(|one| one.task == *task).expect("it waits");
            let Queued { line, rank, urgency, .. } = waiting.remove(at);
            (rank, line, urgency)
        };
        goes.iter().map(taken).collect()
    }

    #[test]
    fn the_most_urgent_of_a_batch_take_its_first_places() {
        let waiting = [
            queued(1, 1, 10, 5),
            queued(2, 2, 20, 99),
            queued(3, 1, 30, 7),
            queued(4, 1, 40, 7),
            queued(5, 0, 50, 1),
            queued(6, 0, 60, 9),
        ];
        assert_eq!(exchange(&waiting), [3, 1, 0, 2, 4, 5]);
        let mut other = waiting;
        other[2].line = Some(BatchLine { batch: BatchId(1), class: PriorityClass::Security });
        assert_eq!(exchange(&other), [3, 1, 2, 0, 4, 5], "a class keeps to itself");
    }

    #[test]
    fn who_goes_swaps_with_who_had_the_place() {
        let task = |(from, to)| (TaskId(from), TaskId(to));
        let moved = |takes: &[(i64, i64)]| -> Vec<(i64, i64)> {
            let takes: Vec<_> = takes.iter().copied().map(task).collect();
            swapped(&takes).into_iter().map(|(task, place)| (task.0, place.0)).collect()
        };
        assert_eq!(moved(&[(1, 1)]), []);
        assert_eq!(moved(&[(3, 1)]), [(1, 3), (3, 1)]);
        // The third of a circle stays, with the place that is left.
        assert_eq!(moved(&[(2, 1), (3, 2)]), [(1, 3), (2, 1), (3, 2)]);
        assert_eq!(moved(&[(3, 2), (2, 1)]), [(1, 3), (2, 1), (3, 2)]);
        assert_eq!(moved(&[(2, 1)]), [(1, 2), (2, 1)]);
    }

    proptest! {
        /// Batches are served at the same turns as without it, whatever is read and served at once,
        /// and each batch by urgency.
        #[test]
        fn batches_keep_their_turns(
            tasks in prop::collection::vec((0_i64..4, 0_u64..9), 0..40),
            reads in prop::collection::vec((1_usize..9, 1_usize..9), 1..9),
        ) {
            let new = |(task, (batch, urgency)): (i64, (i64, u64))| {
                queued(task, batch, 10 * task, urgency)
            };
            let mut waiting: Vec<Queued> = (0..).zip(tasks).map(new).collect();
            let expected: Vec<_> = waiting.iter().map(|one| (one.rank, one.line)).collect();
            let mut served = Vec::new();
            for (read, count) in reads.iter().cycle() {
                if waiting.is_empty() {
                    break;
                }
                served.extend(serve(&mut waiting, *read, (*count).min(*read)));
            }
            let turns: Vec<_> = served.iter().map(|(rank, line, _)| (*rank, *line)).collect();
            prop_assert_eq!(turns, expected);
            for batch in 1..4 {
                let is_of = |line: &Option<BatchLine>| line.is_some_and(|it| it.batch.0 == batch);
                let own = served.iter().filter(|(_, line, _)| is_of(line));
                prop_assert!(own.map(|(_, _, urgency)| *urgency).is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
