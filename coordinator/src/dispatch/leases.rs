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
    let silent: Vec<String> = farm
        .store
        .holders()
        .await?
        .into_iter()
        .filter(|worker| farm.fleet.silence(worker, now) >= LEASE)
        .collect();
    let mut lost = Vec::new();
    for worker in &silent {
        lost.extend(farm.store.live_attempts(Some(worker)).await?);
    }
    for attempt in lost {
        let silence = farm.fleet.silence(&attempt.worker, now);
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
