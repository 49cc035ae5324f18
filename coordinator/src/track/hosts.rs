//! The hosts that are asked, each with its own measure. Lost with the process: a host that was
//! resting is asked once more.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use rpmfarm_core::track::host::{Answer, Host, HostLimits};
use rpmfarm_core::track::schedule::Jitter;

use crate::clock::Clock;

/// All hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    clock: Clock,
    began: Instant,
    known: Mutex<HashMap<String, Host>>,
}

impl Hosts {
    /// Hosts of which nothing is known yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, began: clock.instant(), known: Mutex::default() }
    }

    /// How many requests may be started now.
    pub(super) fn room(&self, host: &str, limits: &HostLimits) -> usize {
        self.with(host, |host, now| host.room(limits, now))
    }

    /// A request is started.
    pub(super) fn start(&self, host: &str, limits: &HostLimits) {
        self.with(host, |host, now| host.start(limits, now));
    }

    /// Another request is made after one, in the same place.
    pub(super) fn go_on(&self, host: &str, limits: &HostLimits) {
        self.with(host, |host, now| host.go_on(limits, now));
    }

    /// Whether it is left alone for now.
    pub(super) fn rests(&self, host: &str) -> bool {
        self.with(host, |host, now| host.rests_until_us(now) != 0)
    }

    /// A request has ended.
    pub(super) fn end(&self, host: &str, answer: Answer, jitter: Jitter) {
        self.with(host, |host, now| host.end(answer, jitter, now));
    }

    /// Time that never jumps, in microseconds, with room for what lies before the first request.
    fn with<T>(&self, host: &str, f: impl FnOnce(&mut Host, i64) -> T) -> T {
        let elapsed = self.clock.instant().duration_since(self.began);
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX / 2);
        let mut known = self.known.lock();
        f(known.entry(host.to_owned()).or_default(), 1_000_000 + elapsed)
    }
}
