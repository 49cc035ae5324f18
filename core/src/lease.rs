//! Leases: when a worker that is not heard has lost its attempts.
//!
//! Only the coordinator decides, on its own monotonic clock. Liveness has three values, for
//! "not heard since I started" is not "not heard".

use std::time::Duration;

/// How often a worker speaks at least.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a worker may be silent before its attempts go to others.
pub const LEASE: Duration = Duration::from_secs(30);

/// What the coordinator knows of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It was heard lately and may get work.
    Alive,
    /// It is late. It gets no new work and keeps what it has.
    Stale,
    /// Its lease is over: what it has is taken from it.
    Gone,
}

impl Liveness {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Stale => "stale",
            Self::Gone => "gone",
        }
    }
}

/// Liveness after a silence. For a worker that was never heard by this coordinator, the silence
/// counts from the coordinator's own start.
#[must_use]
pub fn liveness(silence: Duration, connected: bool) -> Liveness {
    if silence >= LEASE {
        Liveness::Gone
    } else if silence >= HEARTBEAT * 2 || !connected {
        Liveness::Stale
    } else {
        Liveness::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_stale_then_gone() {
        assert_eq!(liveness(Duration::ZERO, true), Liveness::Alive);
        assert_eq!(liveness(HEARTBEAT, true), Liveness::Alive);
        assert_eq!(liveness(Duration::ZERO, false), Liveness::Stale);
        assert_eq!(liveness(HEARTBEAT * 2, true), Liveness::Stale);
        assert_eq!(liveness(LEASE, true), Liveness::Gone);
        assert_eq!(liveness(LEASE, false), Liveness::Gone);
    }
}
