//! Takes attempts from workers that are silent for longer than their lease, or whose connection
//! broke and who did not come back.
//!
//! Only the coordinator that a worker is connected to judges its silence. When that one is dead,
//! the others do, and count from the moment when they knew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, FailureStage, Fault};

use super::report;
use crate::farm::Farm;
use crate::peers::Judge;

/// How often the leases are looked at: several times in each. No bell rings for a silence, and who
/// holds something is a long list.
#[must_use]
pub fn period(farm: &Farm) -> Duration {
    (farm.fleet.terms().lease() / 8).min(Duration::from_secs(1))
}

/// One look at all leases.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now: Instant, now_us: i64) -> anyhow::Result<()> {
    let mut silent = farm.store.holders().await?;
    // A store that did not answer kept everybody from being heard, too.
    farm.fleet.look(now);
    let is_lost = |worker: &str, silence: Duration| silence >= farm.fleet.patience(worker, now);
    silent.retain(|worker| is_lost(worker, farm.fleet.silence(worker, now)));
    if silent.is_empty() {
        return Ok(());
    }
    let owners = owners(farm).await?;
    let mut lost = Vec::new();
    for worker in &silent {
        if judged(farm, &owners, worker, now).is_some_and(|silence| is_lost(worker, silence)) {
            lost.extend(farm.store.live_attempts(Some(worker)).await?);
        }
    }
    for attempt in lost {
        let Some(silence) = judged(farm, &owners, &attempt.worker, now) else { continue };
        let message = format!(
            "worker {} was not heard for {} s; the task goes to another",
            attempt.worker,
            silence.as_secs()
        );
        let failure = Failure::new(Fault::Worker, FailureStage::Lease, message);
        report::end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
    }
    Ok(())
}

/// Lets go of workers that have connected to another coordinator.
///
/// # Errors
/// Database errors.
pub async fn let_go(farm: &Farm, now: Instant) -> anyhow::Result<()> {
    // Listed before the owners are read: a session that began in between is not meant.
    let sessions = farm.fleet.sessions();
    if sessions.is_empty() || !farm.peers.has_others(now) {
        return Ok(());
    }
    let owners = owners(farm).await?;
    let elsewhere = |owner: &String| owner != farm.peers.me();
    for (worker, session) in sessions {
        if owners.get(&worker).is_some_and(elsewhere) {
            farm.fleet.moved(&worker, session);
        }
    }
    Ok(())
}

async fn owners(farm: &Farm) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = farm.store.worker_owners().await?;
    Ok(rows.into_iter().map(|row| (row.worker, row.coordinator)).collect())
}

/// How long a worker was silent, if that is this coordinator's to judge.
fn judged(
    farm: &Farm,
    owners: &BTreeMap<String, String>,
    worker: &str,
    now: Instant,
) -> Option<Duration> {
    let silence = farm.fleet.silence(worker, now);
    match farm.peers.judge(owners.get(worker).map(String::as_str), now) {
        Judge::Me => Some(silence),
        Judge::Another => None,
        Judge::Orphaned(known) => Some(known.min(silence)),
    }
}
