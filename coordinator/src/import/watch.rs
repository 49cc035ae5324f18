//! The timer of an import: every wait ends when the import is cancelled, over its time, or the
//! server is silent for too long; a transfer that is too slow ends, too.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::ImportError;
use super::limits::ImportLimits;

/// Waits for the network on a thread outside of the runtime.
#[derive(Debug, Clone)]
pub(super) struct ImportTimer {
    runtime: Handle,
    cancelled: CancellationToken,
    began: Instant,
    limits: ImportLimits,
}

impl ImportTimer {
    /// Starts the time of an import.
    pub(super) fn new(runtime: Handle, cancelled: CancellationToken, limits: ImportLimits) -> Self {
        Self { runtime, cancelled, began: Instant::now(), limits }
    }

    pub(super) const fn limits(&self) -> &ImportLimits {
        &self.limits
    }

    /// Waits for an answer of the server of `url`.
    ///
    /// # Errors
    /// When the server is silent for too long, the import's time is over, or it is cancelled.
    pub(super) fn wait<T>(
        &self,
        url: &str,
        answer: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let (end, silence) = (self.began + self.limits.time, self.limits.silence);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancelled.cancelled() => Err(ImportError::Cancelled),
                () = tokio::time::sleep_until(end) => Err(self.over()),
                answer = answer => Ok(answer),
                () = tokio::time::sleep(silence) => Err(ImportError::Server {
                    url: url.to_owned(),
                    why: format!("no answer for {} s", silence.as_secs_f32()),
                }),
            }
        })
    }

    /// Runs a request, and repeats it after growing pauses while its failure may be temporary.
    ///
    /// # Errors
    /// The last failure.
    pub(super) fn retry<T>(
        &self,
        mut request: impl FnMut() -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        let mut pause = self.limits.backoff;
        for _ in 1..self.limits.tries {
            match request() {
                Err(error) if error.may_pass() => {
                    tracing::info!(%error, ?pause, "trying again");
                    self.pause(pause)?;
                    pause *= 2;
                }
                result => return result,
            }
        }
        request()
    }

    /// Whether the import should continue.
    ///
    /// # Errors
    /// When its time is over or it is cancelled.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        if self.cancelled.is_cancelled() {
            Err(ImportError::Cancelled)
        } else if self.began.elapsed() > self.limits.time {
            Err(self.over())
        } else {
            Ok(())
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), ImportError> {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.cancelled.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        });
        self.check()
    }

    fn over(&self) -> ImportError {
        ImportError::Time(self.limits.time.as_secs())
    }
}

/// The speed of one transfer.
#[derive(Debug)]
pub(super) struct TransferRate {
    window_began: Instant,
    bytes: u64,
}

impl TransferRate {
    /// A transfer that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self { window_began: now, bytes: 0 }
    }

    /// Counts received bytes. Returns the speed in bytes a second if that is too slow.
    pub(super) fn add(&mut self, bytes: usize, now: Instant, limits: &ImportLimits) -> Option<u64> {
        self.bytes += bytes as u64;
        let elapsed = now - self.window_began;
        if elapsed < limits.pace_window {
            return None;
        }
        let speed = self.bytes * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(1).max(1);
        *self = Self::new(now);
        (speed < limits.slowest).then_some(speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_too_slow_only_when_it_lasts() {
        let limits = ImportLimits {
            slowest: 100,
            pace_window: Duration::from_secs(10),
            ..ImportLimits::default()
        };
        let start = Instant::now();
        let mut pace = TransferRate::new(start);
        assert_eq!(pace.add(10, start + Duration::from_secs(9), &limits), None);
        assert_eq!(pace.add(2000, start + Duration::from_secs(10), &limits), None);
        assert_eq!(pace.add(10, start + Duration::from_secs(20), &limits), Some(1));
    }
}
