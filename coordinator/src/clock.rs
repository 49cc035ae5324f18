//! The clocks, read here and passed on as arguments.

use std::time::{Instant, SystemTime};

use rpmfarm_core::Timestamp;

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the clock that never jumps, for silences and pauses.
    pub instant: Instant,
    /// On the wall clock, for what is recorded.
    pub time: Timestamp,
}

/// This moment on the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_us(rpmfarm_daemon::now_us())
}

/// Where the work of a stage that goes on for long reads the time that it records. It is a part of each such
/// stage. What only measures a duration (timeouts, the age of a cache) reads `Instant` where it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    #[must_use]
    pub fn now(self) -> Now {
        Now { instant: self.instant(), time: self.time() }
    }

    /// This moment on the wall clock, for what is recorded.
    #[must_use]
    pub fn time(self) -> Timestamp {
        now()
    }

    /// A moment on the clock that never jumps.
    #[must_use]
    pub fn instant(self) -> Instant {
        Instant::now()
    }

    /// The wall clock, for what compares signatures and metadata with it.
    #[must_use]
    pub fn system(self) -> SystemTime {
        SystemTime::now()
    }
}
