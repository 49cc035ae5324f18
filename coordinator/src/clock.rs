//! The clocks, read here and passed on as arguments, and pauses.

use std::time::{Duration, Instant, SystemTime};

use rpmfarm_core::Timestamp;

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the monotonic clock, for silences and pauses.
    pub instant: Instant,
    /// On the wall clock, for records.
    pub time: Timestamp,
}

/// The present moment on the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(feature = "simulation")]
    if let Some(time) = crate::simulation::wall_time() {
        return time;
    }
    Timestamp::from_us(rpmfarm_daemon::now_us())
}

/// The clock of a stage whose work takes long, so that each record has the time at which it is
/// made; also its pauses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    #[must_use]
    pub fn now(self) -> Now {
        Now { instant: self.instant(), time: self.time() }
    }

    /// The present moment on the wall clock, for records.
    #[must_use]
    pub fn time(self) -> Timestamp {
        now()
    }

    /// The present moment on the monotonic clock.
    #[must_use]
    pub fn instant(self) -> Instant {
        #[cfg(feature = "simulation")]
        if let Some(instant) = crate::simulation::instant() {
            return instant;
        }
        Instant::now()
    }

    /// The wall clock, to compare with the times of signatures and metadata.
    #[must_use]
    pub fn system(self) -> SystemTime {
        #[cfg(feature = "simulation")]
        if let Some(time) = crate::simulation::wall_time() {
            return SystemTime::UNIX_EPOCH + time.since(Timestamp::ZERO);
        }
        SystemTime::now()
    }

    /// Pauses for so long.
    pub async fn sleep(self, time: Duration) {
        #[cfg(feature = "simulation")]
        if let Some(pause) = crate::simulation::pause(time) {
            return pause.await;
        }
        tokio::time::sleep(time).await;
    }

    /// Pauses until a moment.
    pub async fn sleep_until(self, moment: Instant) {
        self.sleep(moment.saturating_duration_since(self.instant())).await;
    }
}
