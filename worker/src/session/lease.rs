//! The worker's side of its lease: its terms, and when it began.
//!
//! A lease counts from when the worker sent the state that the coordinator answered, on the
//! worker's own monotonic clock. The time at which the answer arrived means nothing: it may have
//! been delayed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rpmfarm_proto::v1;

/// The terms that the coordinator sent last.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseClock {
    pub(super) heartbeat: Duration,
    pub(super) lease: Duration,
    /// When the newest state was sent that was answered.
    pub(super) answered: Instant,
}

/// Before the coordinator has said anything.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_LEASE: Duration = Duration::from_secs(30);

impl LeaseClock {
    /// Before the coordinator has said anything.
    pub(super) const fn new(now: Instant) -> Self {
        Self { heartbeat: FIRST_HEARTBEAT, lease: FIRST_LEASE, answered: now }
    }

    /// The terms after a message of the coordinator.
    pub(super) fn after(
        self,
        message: &v1::DesiredState,
        sent: &mut SentStates,
        now: Instant,
    ) -> Self {
        let answered = sent.heard(message.heard, now).unwrap_or(self.answered);
        Self {
            heartbeat: Duration::from_millis(message.heartbeat_ms.clamp(50, 60_000)),
            lease: Duration::from_millis(message.lease_ms.max(1000)),
            answered: self.answered.max(answered),
        }
    }

    /// Whether the coordinator has been silent for so long that the attempts were given to others.
    pub(super) fn lost(self, now: Instant) -> bool {
        now.saturating_duration_since(self.answered) > self.lease * 2
    }
}

/// The states of one stream that are not answered yet, with when they were sent.
#[derive(Debug, Default)]
pub(super) struct SentStates {
    last: u64,
    unanswered: VecDeque<(u64, Instant)>,
}

/// Of more unanswered states than this, the oldest are forgotten; an answer to them does not count.
const MOST: usize = 4096;

impl SentStates {
    /// The number of a state that is sent now.
    pub(super) fn number(&mut self, now: Instant) -> u64 {
        self.last += 1;
        self.unanswered.push_back((self.last, now));
        if self.unanswered.len() > MOST {
            self.unanswered.pop_front();
        }
        self.last
    }

    /// When the newest state that the coordinator has received was sent, if that is news. A
    /// coordinator that does not number the states (0) is taken to have received all.
    fn heard(&mut self, number: u64, now: Instant) -> Option<Instant> {
        if number == 0 {
            self.unanswered.clear();
            return Some(now);
        }
        let mut newest = None;
        while let Some((_, at)) = self.unanswered.pop_front_if(|(sent, _)| *sent <= number) {
            newest = Some(at);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(heard: u64) -> v1::DesiredState {
        v1::DesiredState { heartbeat_ms: 300, lease_ms: 2000, heard, ..Default::default() }
    }

    #[test]
    fn a_lease_counts_from_the_state_that_was_answered() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut sent = SentStates::default();
        let pace = LeaseClock::new(start);
        assert_eq!([sent.number(at(100)), sent.number(at(400)), sent.number(at(700))], [1, 2, 3]);
        let pace = pace.after(&message(2), &mut sent, at(1500));
        assert_eq!((pace.answered, pace.lease), (at(400), Duration::from_secs(2)));

        // Unasked, it says that no newer state was heard, however often it comes.
        for later in [2000, 3000, 4300] {
            assert_eq!(pace.after(&message(2), &mut sent, at(later)).answered, at(400));
        }
        assert!(!pace.lost(at(4400)));
        assert!(pace.lost(at(4401)));
        assert_eq!(pace.after(&message(3), &mut sent, at(4500)).answered, at(700));
    }

    #[test]
    fn a_coordinator_without_numbers_is_believed() {
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        let mut sent = SentStates::default();
        sent.number(now);
        assert_eq!(LeaseClock::new(now).after(&message(0), &mut sent, later).answered, later);
    }
}
