//! Takes attempts from workers that are silent for longer than their lease.

use std::time::{Duration, Instant};

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, Fault};

use super::{LOST, report};
use crate::farm::Farm;

/// How often the leases are looked at when nothing is written: several times in each.
#[must_use]
pub fn period(farm: &Farm) -> Duration {
    (farm.fleet.terms().lease() / 8).min(Duration::from_secs(1))
}

/// One look at all leases.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now: Instant, now_us: i64) -> anyhow::Result<()> {
    let live = farm.store.live_attempts(None).await?;
    // A store that did not answer kept everybody from being heard, too.
    farm.fleet.look(now);
    let lease = farm.fleet.terms().lease();
    for attempt in live {
        let silence = farm.fleet.silence(&attempt.worker, now);
        if silence < lease {
            continue;
        }
        let message = format!(
            "worker {} was not heard for {} s; the task goes to another",
            attempt.worker,
            silence.as_secs()
        );
        let failure = Failure::new(Fault::Worker, LOST, message);
        report::end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
    }
    Ok(())
}
