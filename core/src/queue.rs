//! The order of tasks that wait for a worker: a rank that is given once. It never changes, but that
//! the members of one batch exchange theirs ([`crate::batch::exchange()`]).
//!
//! Each architecture has one queue, and each submitter has one line per class in it. Time in a
//! queue is virtual: the wall clock, plus a lead that grows when tasks are done faster than the
//! shares of their lines. A task starts, in virtual time, when the task before it in its line has
//! had its share, and not before now; its rank is that start, plus the time by which its class
//! yields to others. The lowest rank is next.
//!
//! It follows that submitters of a class take turns, however many tasks one of them has (start-time
//! fair queueing); that a class goes before those that yield to it; and, since virtual time is
//! never slower than the wall clock, that new tasks some day rank behind every waiting one, so that
//! nothing starves. A rank is a number in an index: its cost does not depend on the length of a
//! queue.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::Timestamp;
use crate::task::TaskKind;
use crate::time::span_us;

const MINUTE: u64 = 60;

/// An SRPM takes seconds where a build takes minutes: so many count as one build.
const SRPMS_OF_SHARE: u32 = 16;

words! {
    /// How urgent a build is.
    #[derive(Default)]
    pub enum PriorityClass: "priority" {
        /// A security fix: before everything else.
        Security = "security",
        /// Somebody waits for it.
        #[default]
        Interactive = "interactive",
        /// A rebuild that follows upstream.
        Tracking = "tracking",
        /// One of thousands, for a rebuild of everything.
        Mass = "mass",
    }
}

impl PriorityClass {
    /// The share of its line that one task takes, in virtual time. Between lines that are never
    /// empty, classes proceed in the ratio 64 : 16 : 4 : 1.
    #[must_use]
    pub fn share(self, kind: TaskKind) -> Duration {
        let of_build = Duration::from_secs(match self {
            Self::Security => MINUTE,
            Self::Interactive => 4 * MINUTE,
            Self::Tracking => 16 * MINUTE,
            Self::Mass => 64 * MINUTE,
        });
        match kind {
            TaskKind::Srpm => of_build / SRPMS_OF_SHARE,
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => of_build,
        }
    }

    /// How far the class yields, in virtual time: a task that is older by more than this goes
    /// before a new security update.
    #[must_use]
    pub const fn yields(self) -> Duration {
        Duration::from_secs(match self {
            Self::Security => 0,
            Self::Interactive => 60 * MINUTE,
            Self::Tracking => 6 * 60 * MINUTE,
            Self::Mass => 24 * 60 * MINUTE,
        })
    }
}

/// A point in the virtual time of a queue, in microseconds. It is not a [`Timestamp`]: virtual time
/// runs ahead of the wall clock, by the lead of its queue, and ranks of two queues cannot be
/// compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub i64);

impl Rank {
    /// The rank of a task that starts at a time, in a queue without a lead.
    #[must_use]
    pub const fn at(time: Timestamp) -> Self {
        Self(time.as_us())
    }
}

impl From<i64> for Rank {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

impl Add<Duration> for Rank {
    type Output = Self;

    /// Saturates at the last rank.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(span_us(duration)))
    }
}

impl Sub<Duration> for Rank {
    type Output = Self;

    /// Saturates at the first rank.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(span_us(duration)))
    }
}

/// A task's place in the queue of its architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSlot {
    /// The lowest is next; of equal ones, the older task.
    pub rank: Rank,
    /// When the task has had its share; the next task of its line starts then.
    pub finish: Rank,
}

/// Gives a task its rank. `lead` is the queue's (zero at first), `finish` that of the task before
/// it in the line of its submitter and class (0 at first).
#[must_use]
pub fn place(
    class: PriorityClass,
    kind: TaskKind,
    now: Timestamp,
    lead: Duration,
    finish: Rank,
) -> QueueSlot {
    let start = (Rank::at(now) + lead).max(finish);
    QueueSlot { rank: start + class.yields(), finish: start + class.share(kind) }
}

/// The lead of a queue after a task was granted: virtual time is not behind the start of the task.
#[must_use]
pub fn lead(class: PriorityClass, rank: Rank, now: Timestamp, lead: Duration) -> Duration {
    let start = rank - class.yields();
    lead.max(Timestamp::from_us(start.0).since(now))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    /// A queue as the store keeps it.
    #[derive(Default)]
    struct ModelQueue {
        lead: Duration,
        lines: HashMap<(PriorityClass, u8), Rank>,
        waiting: BTreeSet<(Rank, usize)>,
        tasks: Vec<(PriorityClass, u8)>,
    }

    impl ModelQueue {
        fn enter(&mut self, class: PriorityClass, submitter: u8, now: Timestamp) -> Rank {
            let finish = self.lines.entry((class, submitter)).or_default();
            let place = place(class, TaskKind::Build, now, self.lead, *finish);
            *finish = place.finish;
            self.waiting.insert((place.rank, self.tasks.len()));
            self.tasks.push((class, submitter));
            place.rank
        }

        fn serve(&mut self, now: Timestamp) -> Option<(PriorityClass, u8)> {
            let (rank, task) = self.waiting.pop_first()?;
            let served = self.tasks[task];
            self.lead = lead(served.0, rank, now, self.lead);
            Some(served)
        }
    }

    const NOW: Timestamp = Timestamp::ZERO;

    fn class() -> impl Strategy<Value = PriorityClass> {
        prop::sample::select(PriorityClass::ALL.to_vec())
    }

    #[test]
    fn words_are_read_back() {
        for class in PriorityClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
        }
        assert!("urgent".parse::<PriorityClass>().unwrap_err().to_string().contains("security"));
        assert_eq!(PriorityClass::default(), PriorityClass::Interactive);
    }

    #[test]
    fn a_newcomer_takes_turns_with_a_mass_of_tasks() {
        let mut queue = ModelQueue::default();
        for _ in 0..20_000 {
            queue.enter(PriorityClass::Mass, 1, NOW);
        }
        // Much is done before the other one comes: the idle time of the farm is nobody's debt.
        for second in 0..5_000 {
            let now = NOW + Duration::from_secs(second);
            assert_eq!(queue.serve(now), Some((PriorityClass::Mass, 1)));
        }
        let now = NOW + Duration::from_secs(5_000);
        for _ in 0..100 {
            queue.enter(PriorityClass::Mass, 2, now);
        }
        let served: Vec<u8> = (0..240).filter_map(|_| Some(queue.serve(now)?.1)).collect();
        let first = served.iter().position(|submitter| *submitter == 2).expect("it has its turn");
        let share = PriorityClass::Mass.share(TaskKind::Build);
        let yields = PriorityClass::Mass.yields().as_secs() / share.as_secs();
        let yields = usize::try_from(yields).unwrap();
        assert!(first <= yields + 1, "it waited for {first} others");
        let of_two = served[first..first + 100].iter().filter(|one| **one == 2).count();
        assert!((49..=51).contains(&of_two), "{of_two} of 100 turns");
    }

    #[test]
    fn sixteen_srpms_take_the_share_of_one_build() {
        for class in PriorityClass::ALL {
            let mut finish = Rank(0);
            for _ in 0..16 {
                finish = place(class, TaskKind::Srpm, NOW, Duration::ZERO, finish).finish;
            }
            assert_eq!(finish, place(class, TaskKind::Build, NOW, Duration::ZERO, Rank(0)).finish);
        }
    }

    #[test]
    fn what_is_urgent_overtakes_a_backlog() {
        let mut queue = ModelQueue::default();
        for _ in 0..1_000 {
            queue.enter(PriorityClass::Mass, 1, NOW);
        }
        for _ in 0..300 {
            queue.serve(NOW);
        }
        let now = Timestamp::from_us(1);
        for class in [PriorityClass::Tracking, PriorityClass::Interactive, PriorityClass::Security]
        {
            queue.enter(class, 2, now);
        }
        let next: Vec<PriorityClass> = (0..4).filter_map(|_| Some(queue.serve(now)?.0)).collect();
        assert_eq!(next, PriorityClass::ALL);
    }

    proptest! {
        /// Tasks of one line keep their order.
        #[test]
        fn a_line_is_first_come_first_served(
            class in class(), kind in prop::sample::select(TaskKind::ALL.to_vec()),
            arrivals in prop::collection::vec((0_i64..1 << 40, 0_u64..1 << 40), 1..50)
        ) {
            let (mut finish, mut last) = (Rank(0), Rank(i64::MIN));
            for (now, lead) in arrivals {
                let (now, lead) = (Timestamp::from_us(now), Duration::from_micros(lead));
                let place = place(class, kind, now, lead, finish);
                prop_assert!(place.rank > last);
                (finish, last) = (place.finish, place.rank);
            }
        }

        /// Of submitters that have nothing waiting, the more urgent goes first.
        #[test]
        fn classes_are_respected(a in class(), b in class(), now in 0_i64..1 << 50, lead in 0_u64..1 << 50) {
            let (now, lead) = (Timestamp::from_us(now), Duration::from_micros(lead));
            let rank = |class| place(class, TaskKind::Build, now, lead, Rank(0)).rank;
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
            let mut queue = ModelQueue::default();
            for (class, submitter) in before {
                queue.enter(class, submitter, NOW);
            }
            let rank = queue.enter(waits, 0, NOW);
            let passed = Timestamp::from_us(rank.0);
            for (class, submitter, serve) in after {
                if serve {
                    queue.serve(passed);
                }
                prop_assert!(queue.enter(class, submitter, passed) >= rank);
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
            let mut queue = ModelQueue::default();
            for other in others.iter().filter(|other| **other != class) {
                queue.enter(*other, 9, NOW);
            }
            for _ in 0..100 {
                queue.enter(class, 1, NOW);
                queue.enter(class, 2, NOW);
            }
            let mut turns = [0_i64; 2];
            for _ in 0..early + 100 {
                match queue.serve(NOW) {
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
