//! The polled hosts, each with its own limits. Kept in memory only: after a restart, a host that
//! was left alone is asked once more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::Timestamp;
use rpmfarm_core::track::host::{HostLimits, HostResponse, HostThrottle};
use rpmfarm_core::track::schedule::Jitter;

use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct HostThrottles {
    clock: Clock,
    began: Instant,
    known: Mutex<HashMap<String, HostThrottle>>,
}

impl HostThrottles {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, began: clock.instant(), known: Mutex::default() }
    }

    /// How many requests may be started now.
    pub(super) fn room(&self, host: &str, limits: &HostLimits) -> usize {
        self.with(host, |host, now| host.room(limits, now))
    }

    /// Counts a request that is started.
    pub(super) fn start(&self, host: &str, limits: &HostLimits) {
        self.with(host, |host, now| host.start(limits, now));
    }

    /// Counts a further request of the same poll.
    pub(super) fn go_on(&self, host: &str, limits: &HostLimits) {
        self.with(host, |host, now| host.go_on(limits, now));
    }

    /// Whether the host is left alone for now.
    pub(super) fn rests(&self, host: &str) -> bool {
        self.with(host, |host, now| host.rests_until(now).is_some())
    }

    /// Counts a request that has ended.
    pub(super) fn end(&self, host: &str, answer: HostResponse, jitter: Jitter) {
        self.with(host, |host, now| host.end(answer, jitter, now));
    }

    /// Runs work on the limits of a host, with a monotonic time. Its zero is a second before this
    /// coordinator began, so that there is room before the first request.
    fn with<T>(&self, host: &str, f: impl FnOnce(&mut HostThrottle, Timestamp) -> T) -> T {
        let elapsed = self.clock.instant().duration_since(self.began);
        let now = Timestamp::ZERO + Duration::from_secs(1) + elapsed;
        let mut known = self.known.lock();
        f(known.entry(host.to_owned()).or_default(), now)
    }
}
