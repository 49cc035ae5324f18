//! The limits on requests to a host: so many at once, so many a second, and a pause that grows
//! while the host fails.

use std::time::Duration;

use super::schedule::Jitter;
use crate::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

const LONGEST_REST: Duration = Duration::from_secs(900);

/// The limits on requests to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    pub at_once: usize,
    /// Requests per second. After a pause as many may follow each other at once.
    pub per_second: u32,
}

/// The outcome of a request, as far as the host is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostResponse {
    /// It answered, even if there is no such repository.
    Well,
    /// It did not answer, or said that it is too busy; with the number of seconds for which it
    /// asked to be left alone, if it did.
    Ill(Option<u32>),
}

/// The requests to a host, and its answers so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostThrottle {
    running: usize,
    /// The time up to which its requests per second are used up.
    spent: Timestamp,
    failures: u32,
    rest_until: Timestamp,
}

impl HostThrottle {
    /// How many requests may be started now.
    #[must_use]
    pub fn room(&self, limits: &HostLimits, now: Timestamp) -> usize {
        if now < self.rest_until {
            return 0;
        }
        // After failures, one request finds out whether the host works again.
        let at_once = if self.failures > 0 { 1 } else { limits.at_once };
        let spent = self.spent.max(now - SECOND);
        let by_rate = now.since(spent).as_micros() / gap(limits).as_micros();
        let by_rate = usize::try_from(by_rate).unwrap_or(usize::MAX);
        by_rate.min(at_once.saturating_sub(self.running))
    }

    /// Counts a started request.
    pub fn start(&mut self, limits: &HostLimits, now: Timestamp) {
        self.running += 1;
        self.go_on(limits, now);
    }

    /// Counts a further request in the place of one that was started before.
    pub fn go_on(&mut self, limits: &HostLimits, now: Timestamp) {
        self.spent = self.spent.max(now - SECOND) + gap(limits);
    }

    /// Counts a request that has ended.
    pub fn end(&mut self, answer: HostResponse, jitter: Jitter, now: Timestamp) {
        self.running = self.running.saturating_sub(1);
        match answer {
            HostResponse::Well => self.failures = 0,
            // Requests that were under way when the host began to fail tell nothing new.
            HostResponse::Ill(None) if now < self.rest_until => {}
            HostResponse::Ill(after) => {
                self.failures = self.failures.saturating_add(1);
                let own = SECOND * (1 << self.failures.min(10));
                let asked = after.map_or(Duration::ZERO, |s| Duration::from_secs(s.into()));
                let rest = jitter.spread(own.min(LONGEST_REST)).max(asked.min(LONGEST_REST));
                self.rest_until = self.rest_until.max(now + rest);
            }
        }
    }

    /// Until when the host is left alone; `None` when it is not.
    #[must_use]
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.rest_until).then_some(self.rest_until)
    }

    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }
}

/// The time between two requests: at least a microsecond, however many are allowed.
fn gap(limits: &HostLimits) -> Duration {
    (SECOND / limits.per_second.max(1)).max(Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HostLimits = HostLimits { at_once: 4, per_second: 10 };
    const NOW: Timestamp = Timestamp::from_us(1_000_000_000);

    fn jitter() -> Jitter {
        Jitter::new(1, "host", 1)
    }

    #[test]
    fn so_many_at_once_and_a_second() {
        let mut host = HostThrottle::default();
        assert_eq!(host.room(&LIMITS, NOW), 4);
        for _ in 0..4 {
            host.start(&LIMITS, NOW);
        }
        assert_eq!(host.room(&LIMITS, NOW), 0);
        for _ in 0..10 {
            host.end(HostResponse::Well, jitter(), NOW);
            host.start(&LIMITS, NOW);
        }
        host.end(HostResponse::Well, jitter(), NOW);
        // More than ten in this second: it has to pass first.
        assert_eq!(host.room(&LIMITS, NOW), 0);
        assert_eq!(host.room(&LIMITS, NOW + SECOND), 1);
    }

    #[test]
    fn a_host_that_fails_is_left_alone_for_longer_and_longer() {
        let mut host = HostThrottle::default();
        let (mut now, mut last) = (NOW, Duration::ZERO);
        for _ in 0..6 {
            assert_eq!(host.room(&LIMITS, now), if last.is_zero() { 4 } else { 1 });
            host.start(&LIMITS, now);
            host.end(HostResponse::Ill(None), jitter(), now);
            let rest = host.rests_until(now).expect("it is left alone").since(now);
            assert!(rest > last, "{rest:?} after {last:?}");
            assert_eq!(host.room(&LIMITS, now), 0);
            (last, now) = (rest, now + rest);
        }
        host.start(&LIMITS, now);
        host.end(HostResponse::Well, jitter(), now);
        assert_eq!(host.room(&LIMITS, now + SECOND), 4);
    }

    #[test]
    fn a_host_that_says_when_is_heard() {
        let mut host = HostThrottle::default();
        host.start(&LIMITS, NOW);
        host.end(HostResponse::Ill(Some(120)), jitter(), NOW);
        assert_eq!(host.rests_until(NOW), Some(NOW + 120 * SECOND));
        host.end(HostResponse::Ill(Some(u32::MAX)), jitter(), NOW);
        assert_eq!(host.rests_until(NOW), Some(NOW + LONGEST_REST));
    }

    proptest! {
        #[test]
        fn never_more_than_allowed(steps in prop::collection::vec((0u64..300_000, any::<bool>()), 1..200)) {
            let mut host = HostThrottle::default();
            let mut now = NOW;
            let mut starts: Vec<Timestamp> = Vec::new();
            for (pause, ends) in steps {
                now += Duration::from_micros(pause);
                if ends && host.running() > 0 {
                    host.end(HostResponse::Well, jitter(), now);
                }
                for _ in 0..host.room(&LIMITS, now) {
                    host.start(&LIMITS, now);
                    starts.push(now);
                }
                prop_assert!(host.running() <= LIMITS.at_once);
                let recent = starts.iter().filter(|at| **at > now - SECOND).count();
                // A full second's worth may be saved up, and another comes meanwhile.
                prop_assert!(recent <= 2 * LIMITS.per_second as usize);
            }
        }
    }
}
