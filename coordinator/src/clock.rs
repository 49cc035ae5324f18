//! The clocks, read here and passed on as arguments.

use std::time::{Instant, SystemTime};

pub use rpmfarm_daemon::now_us;

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the clock that never jumps, for silences and pauses.
    pub instant: Instant,
    /// On the wall clock, for what is recorded: microseconds since 1970-01-01 UTC.
    pub us: i64,
}

/// Where work that takes long reads what time it has become. A part of each stage that does such
/// work, so that nothing else of a stage asks the system for the time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// This moment.
    #[must_use]
    pub fn now(self) -> Now {
        Now { instant: self.instant(), us: self.now_us() }
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_us(self) -> i64 {
        now_us()
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
