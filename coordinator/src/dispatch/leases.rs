//! Takes attempts from workers that are silent for longer than their lease.

use std::time::Instant;

use rpmfarm_core::lease::LEASE;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, Fault};

use super::report;
use crate::farm::Farm;

/// One look at all leases.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now: Instant, now_us: i64) -> anyhow::Result<()> {
    for attempt in farm.store.live_attempts(None).await? {
        let silence = farm.fleet.silence(&attempt.worker, now);
        if silence < LEASE {
            continue;
        }
        let message = format!(
            "worker {} was not heard for {} s; the task goes to another",
            attempt.worker,
            silence.as_secs()
        );
        let failure = Failure::new(Fault::Worker, "lease", message);
        report::end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
    }
    Ok(())
}
