//! The order of tasks that wait for a worker: a rank that is given once and never changes.
//!
//! Each architecture has one queue, and each submitter has one line per class in it. Time in a
//! queue is virtual: the wall clock, plus a lead that grows when work is done faster than its
//! lines' shares pass. A task starts, in virtual time, when the task before it in its line has
//! had its share, and not before now; its rank is that start, put back by what its class yields.
//! The lowest rank is next.
//!
//! Of this follows: submitters of a class take turns, however much one of them has asked for
//! (start-time fair queueing); a class goes before the ones that yield to it; and as virtual time
//! is never slower than the wall clock, every rank is passed some day by all that is new, so that
//! nothing starves. A rank is a number in an index: the length of a queue costs nothing.

/// One minute, in microseconds.
const MINUTE: i64 = 60_000_000;

words! {
    /// How urgent a build is.
    #[derive(Default)]
    pub enum Class: "priority" {
        /// Closes a hole: before everything else.
        Security = "security",
        /// Somebody waits for it.
        #[default]
        Interactive = "interactive",
        /// Follows upstream by itself.
        Tracking = "tracking",
        /// One of thousands, for a rebuild of everything.
        Mass = "mass",
    }
}

impl Class {
    /// What one task takes of its line's share, in microseconds of virtual time. Between lines
    /// that are never empty, it is the ratio in which classes get on: 64 : 16 : 4 : 1.
    #[must_use]
    pub const fn share_us(self) -> i64 {
        match self {
            Self::Security => MINUTE,
            Self::Interactive => 4 * MINUTE,
            Self::Tracking => 16 * MINUTE,
            Self::Mass => 64 * MINUTE,
        }
    }

    /// How far it yields, in microseconds of virtual time: a task that is older by more goes
    /// before a fresh security update.
    #[must_use]
    pub const fn yields_us(self) -> i64 {
        match self {
            Self::Security => 0,
            Self::Interactive => 60 * MINUTE,
            Self::Tracking => 6 * 60 * MINUTE,
            Self::Mass => 24 * 60 * MINUTE,
        }
    }
}

/// A task's place in the queue of its architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The lowest is next; of equals, the older task.
    pub rank: i64,
    /// When the task has had its share, in virtual time: the next of its line starts then.
    pub finish_us: i64,
}

/// Gives a task its place. `lead_us` is the queue's (0 at first), `finish_us` that of the task
/// before it in the line of its submitter and class (0 at first).
#[must_use]
pub fn place(class: Class, now_us: i64, lead_us: i64, finish_us: i64) -> Place {
    let start = now_us.saturating_add(lead_us).max(finish_us);
    Place {
        rank: start.saturating_add(class.yields_us()),
        finish_us: start.saturating_add(class.share_us()),
    }
}

/// The lead of a queue after a task has gone to a worker: virtual time is not behind its start.
#[must_use]
pub fn lead(class: Class, rank: i64, now_us: i64, lead_us: i64) -> i64 {
    let start = rank.saturating_sub(class.yields_us());
    lead_us.max(start.saturating_sub(now_us))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    /// A queue as the store keeps it.
    #[derive(Default)]
    struct Queue {
        lead_us: i64,
        lines: HashMap<(Class, u8), i64>,
        waiting: BTreeSet<(i64, usize)>,
        tasks: Vec<(Class, u8)>,
    }

    impl Queue {
        fn enter(&mut self, class: Class, submitter: u8, now_us: i64) -> i64 {
            let finish = self.lines.entry((class, submitter)).or_default();
            let place = place(class, now_us, self.lead_us, *finish);
            *finish = place.finish_us;
            self.waiting.insert((place.rank, self.tasks.len()));
            self.tasks.push((class, submitter));
            place.rank
        }

        fn serve(&mut self, now_us: i64) -> Option<(Class, u8)> {
            let (rank, task) = self.waiting.pop_first()?;
            let served = self.tasks[task];
            self.lead_us = lead(served.0, rank, now_us, self.lead_us);
            Some(served)
        }
    }

    fn class() -> impl Strategy<Value = Class> {
        prop::sample::select(Class::ALL.to_vec())
    }

    #[test]
    fn words_are_read_back() {
        for class in Class::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
        }
        assert!("urgent".parse::<Class>().unwrap_err().to_string().contains("security"));
        assert_eq!(Class::default(), Class::Interactive);
    }

    #[test]
    fn a_newcomer_takes_turns_with_a_mass_of_tasks() {
        let mut queue = Queue::default();
        for _ in 0..20_000 {
            queue.enter(Class::Mass, 1, 0);
        }
        // Much is done before the other one comes: the idle time of the farm is nobody's debt.
        for second in 0..5_000 {
            assert_eq!(queue.serve(second * 1_000_000), Some((Class::Mass, 1)));
        }
        let now = 5_000_000_000;
        for _ in 0..100 {
            queue.enter(Class::Mass, 2, now);
        }
        let served: Vec<u8> = (0..240).filter_map(|_| Some(queue.serve(now)?.1)).collect();
        let first = served.iter().position(|submitter| *submitter == 2).expect("it has its turn");
        let yields = usize::try_from(Class::Mass.yields_us() / Class::Mass.share_us()).unwrap();
        assert!(first <= yields + 1, "it waited for {first} others");
        let of_two = served[first..first + 100].iter().filter(|one| **one == 2).count();
        assert!((49..=51).contains(&of_two), "{of_two} of 100 turns");
    }

    #[test]
    fn what_is_urgent_overtakes_a_backlog() {
        let mut queue = Queue::default();
        for _ in 0..1_000 {
            queue.enter(Class::Mass, 1, 0);
        }
        for _ in 0..300 {
            queue.serve(0);
        }
        for class in [Class::Tracking, Class::Interactive, Class::Security] {
            queue.enter(class, 2, 1);
        }
        let next: Vec<Class> = (0..4).filter_map(|_| Some(queue.serve(1)?.0)).collect();
        assert_eq!(next, Class::ALL);
    }

    proptest! {
        /// Tasks of one line keep their order.
        #[test]
        fn a_line_is_first_come_first_served(
            class in class(), arrivals in prop::collection::vec((0_i64..1 << 40, 0_i64..1 << 40), 1..50)
        ) {
            let (mut finish, mut last) = (0, i64::MIN);
            for (now, lead) in arrivals {
                let place = place(class, now, lead, finish);
                prop_assert!(place.rank > last);
                (finish, last) = (place.finish_us, place.rank);
            }
        }

        /// Of submitters that have nothing waiting, the more urgent goes first.
        #[test]
        fn classes_are_respected(a in class(), b in class(), now in 0_i64..1 << 50, lead in 0_i64..1 << 50) {
            let rank = |class| place(class, now, lead, 0).rank;
            prop_assert_eq!(a < b, rank(a) < rank(b));
        }

        /// Nothing starves: once virtual time has passed a rank, all that comes goes behind it,
        /// whoever asks for what. That is at the latest when as much wall time has passed.
        #[test]
        fn every_rank_is_passed(
            before in prop::collection::vec((class(), 0_u8..4), 0..60),
            waits in class(),
            after in prop::collection::vec((class(), 0_u8..200, any::<bool>()), 0..200),
        ) {
            let mut queue = Queue::default();
            for (class, submitter) in before {
                queue.enter(class, submitter, 0);
            }
            let rank = queue.enter(waits, 0, 0);
            for (class, submitter, serve) in after {
                if serve {
                    queue.serve(rank);
                }
                prop_assert!(queue.enter(class, submitter, rank) >= rank);
            }
        }

        /// While two submitters of a class have tasks waiting, neither gets more than one turn
        /// ahead, whatever else is in the queue.
        #[test]
        fn submitters_take_turns(
            class in class(),
            others in prop::collection::vec(super::tests::class(), 0..40),
            early in 0_usize..50,
        ) {
            let mut queue = Queue::default();
            for other in others.iter().filter(|other| **other != class) {
                queue.enter(*other, 9, 0);
            }
            for _ in 0..100 {
                queue.enter(class, 1, 0);
                queue.enter(class, 2, 0);
            }
            let mut turns = [0_i64; 2];
            for _ in 0..early + 100 {
                match queue.serve(0) {
                    Some((served, submitter @ (1 | 2))) if served == class => {
                        turns[usize::from(submitter - 1)] += 1;
                    }
                    _ => {}
                }
                prop_assert!((turns[0] - turns[1]).abs() <= 1);
            }
        }
    }
}
