//! Leases: when a silent worker loses its attempts.
//!
//! Only the coordinator decides that, on its own monotonic clock. Liveness has three values,
//! because "not heard since the coordinator started" differs from "silent".

use std::time::Duration;

/// How often a worker sends its state, and how long it may be silent. Set when a coordinator
/// starts; workers receive them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    heartbeat: Duration,
    lease: Duration,
}

/// Why two times cannot be the terms of leases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseTermsError {
    /// The heartbeat is out of bounds.
    #[error(
        "a heartbeat of {0:?}: it must lie between {min:?} and {max:?}",
        min = LeaseTerms::MIN_HEARTBEAT, max = LeaseTerms::MAX_HEARTBEAT
    )]
    Heartbeat(Duration),
    /// The lease is out of bounds.
    #[error(
        "a lease of {0:?}: it must lie between {min:?} and {max:?}",
        min = LeaseTerms::MIN_LEASE, max = LeaseTerms::MAX_LEASE
    )]
    Lease(Duration),
    /// One lost message would cost a worker its attempts.
    #[error("a lease of {lease:?} is shorter than three heartbeats of {heartbeat:?}")]
    Short { heartbeat: Duration, lease: Duration },
}

impl LeaseTerms {
    pub const MIN_HEARTBEAT: Duration = Duration::from_millis(100);
    pub const MAX_HEARTBEAT: Duration = Duration::from_secs(60);
    pub const MIN_LEASE: Duration = Duration::from_secs(1);
    pub const MAX_LEASE: Duration = Duration::from_secs(3600);

    /// Terms by which a worker sends its state each `heartbeat`, and loses its attempts after a
    /// silence of `lease`.
    ///
    /// # Errors
    /// When one of them is out of bounds, or the lease is shorter than three heartbeats.
    pub fn new(heartbeat: Duration, lease: Duration) -> Result<Self, LeaseTermsError> {
        if !(Self::MIN_HEARTBEAT..=Self::MAX_HEARTBEAT).contains(&heartbeat) {
            return Err(LeaseTermsError::Heartbeat(heartbeat));
        }
        if !(Self::MIN_LEASE..=Self::MAX_LEASE).contains(&lease) {
            return Err(LeaseTermsError::Lease(lease));
        }
        if lease < heartbeat * 3 {
            return Err(LeaseTermsError::Short { heartbeat, lease });
        }
        Ok(Self { heartbeat, lease })
    }

    /// The longest time between two states of a worker.
    #[must_use]
    pub const fn heartbeat(self) -> Duration {
        self.heartbeat
    }

    /// How long a worker may be silent before its attempts go to others.
    #[must_use]
    pub const fn lease(self) -> Duration {
        self.lease
    }

    /// How long a silence makes a worker [`Liveness::Stale`].
    #[must_use]
    pub fn stale_after(self) -> Duration {
        self.heartbeat * 2
    }

    /// How long a worker whose connection broke may stay away before its attempts go to others:
    /// less than its whole lease, because a broken connection is stronger evidence than silence.
    /// That is safe whatever became of the worker, since its later reports have an old epoch.
    #[must_use]
    pub fn away_after(self) -> Duration {
        self.lease * 2 / 3
    }

    /// How long a worker continues without an answer: after that its attempts are with others,
    /// however late the coordinator began to count.
    #[must_use]
    pub fn worker_gives_up_after(self) -> Duration {
        self.lease * 2
    }
}

/// How long a worker without news waits before it sends its state again: three quarters of a
/// heartbeat or more; before its first heartbeat in a session any time up to a whole one. `chance`
/// is drawn each time, from 0 to 1, so that workers that connected in one moment, as after a
/// restart of the coordinator, do not all send in one moment.
///
/// Without this spread the store was queried for a whole fleet in one moment at every heartbeat:
/// with a thousand workers that was 100 ms of dispatch latency every five seconds.
#[must_use]
pub fn next_heartbeat(heartbeat: Duration, is_first: bool, chance: f64) -> Duration {
    let chance = chance.clamp(0.0, 1.0);
    heartbeat.mul_f64(if is_first { chance } else { 0.75 + chance / 4.0 })
}

impl Default for LeaseTerms {
    /// A heartbeat of 5 s and a lease of 30 s.
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(5), lease: Duration::from_secs(30) }
    }
}

words! {
    /// The coordinator's knowledge about a worker's connection.
    pub enum Liveness: "liveness" {
        /// It was heard recently and may get work.
        Alive = "alive",
        /// It is late. It gets no new work and keeps what it has.
        Stale = "stale",
        /// Its lease has ended: its attempts are taken from it.
        Gone = "gone",
    }
}

/// Shown instead of a [`Liveness`] for a worker that was not heard since the coordinator started.
pub const NEVER: &str = "never";

/// Liveness after a silence. For a worker that was never heard by this coordinator, the silence
/// counts from the coordinator's own start; see also [`listening`].
#[must_use]
pub fn liveness(terms: LeaseTerms, silence: Duration, connected: bool) -> Liveness {
    if silence >= terms.lease {
        Liveness::Gone
    } else if silence >= terms.stale_after() || !connected {
        Liveness::Stale
    } else {
        Liveness::Alive
    }
}

/// Whether a coordinator that checks the leases now, so long after the last check, has listened in
/// between. If it was stopped, or had no processor, the workers were not silent, and their silence
/// is counted from now.
#[must_use]
pub fn listening(terms: LeaseTerms, since_last_check: Duration) -> bool {
    since_last_check < terms.lease / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pause_is_never_longer_than_a_heartbeat() {
        let heartbeat = Duration::from_secs(4);
        let of = |is_first, chance| next_heartbeat(heartbeat, is_first, chance);
        assert_eq!((of(true, 0.0), of(true, 0.5)), (Duration::ZERO, heartbeat / 2));
        assert_eq!((of(false, 0.0), of(false, 1.0)), (heartbeat * 3 / 4, heartbeat));
        assert_eq!((of(true, 7.0), of(false, f64::INFINITY)), (heartbeat, heartbeat));
    }

    #[test]
    fn silence_makes_stale_then_gone() {
        for terms in [
            LeaseTerms::default(),
            LeaseTerms::new(Duration::from_millis(300), seconds(2)).unwrap(),
        ] {
            let at = |silence, connected| liveness(terms, silence, connected);
            let (heartbeat, lease) = (terms.heartbeat(), terms.lease());
            assert_eq!(at(Duration::ZERO, true), Liveness::Alive);
            assert_eq!(at(heartbeat, true), Liveness::Alive);
            assert_eq!(at(Duration::ZERO, false), Liveness::Stale);
            assert_eq!(at(heartbeat * 2, true), Liveness::Stale);
            assert_eq!(at(lease - Duration::from_millis(1), true), Liveness::Stale);
            assert_eq!(at(lease, true), Liveness::Gone);
            assert_eq!(at(lease, false), Liveness::Gone);
        }
    }

    #[test]
    fn terms_have_bounds() {
        let error = |heartbeat, lease| LeaseTerms::new(heartbeat, lease).unwrap_err().to_string();
        assert!(error(seconds(5), seconds(14)).contains("shorter than three heartbeats of 5s"));
        assert!(error(Duration::from_millis(99), seconds(2)).contains("heartbeat of 99ms"));
        assert!(error(seconds(61), seconds(300)).contains("between 100ms and 60s"));
        assert!(error(Duration::from_millis(100), Duration::from_millis(999)).contains("lease of"));
        assert!(error(seconds(1), seconds(3601)).contains("between 1s and 3600s"));
        let default = LeaseTerms::default();
        assert_eq!(LeaseTerms::new(default.heartbeat(), default.lease()), Ok(default));
    }

    #[test]
    fn a_coordinator_that_slept_has_not_listened() {
        let terms = LeaseTerms::default();
        assert!(listening(terms, seconds(1)));
        assert!(!listening(terms, seconds(15)));
        assert!(!listening(terms, seconds(86_400)));
    }
}
