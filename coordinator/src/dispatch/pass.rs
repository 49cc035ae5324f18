//! Gives tasks that are ready to workers that are free.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_core::fleet::takes_work;
use rpmfarm_core::placement::{Candidate, place};

use super::fleet::WorkerView;
use crate::farm::Farm;
use crate::store::StandingRow;

/// One look: every task that is ready gets a worker, as far as there are free ones.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now: Instant, now_us: i64) -> anyhow::Result<()> {
    let tasks = farm.store.tasks_to_dispatch(now_us).await?;
    if tasks.is_empty() {
        return Ok(());
    }
    let workers = farm.fleet.connected(now);
    let standings = farm.store.standings().await?;
    let mut busy = busy(farm).await?;
    for task in tasks {
        let candidates = candidates(&workers, &busy, &standings);
        let Some(worker) = place(task.arch, &candidates).map(str::to_owned) else {
            continue;
        };
        let granted = farm.store.grant(task.id, task.build, &worker, now_us).await?;
        if let Some(attempt) = granted {
            tracing::info!(
                build = task.build.0,
                task = task.id.0,
                attempt = attempt.id,
                worker,
                "task granted"
            );
            let waited = now_us - farm.store.ready_us(&task).await?;
            let waited = Duration::from_micros(waited.max(0).unsigned_abs());
            farm.metrics.dispatched(task.arch, waited);
            *busy.entry(worker.clone()).or_default() += 1;
            farm.fleet.poke(&worker);
        }
    }
    Ok(())
}

/// How many attempts each worker holds, from the leases.
///
/// # Errors
/// Database errors.
pub async fn busy(farm: &Farm) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut busy = BTreeMap::<String, u32>::new();
    for attempt in farm.store.live_attempts(None).await? {
        *busy.entry(attempt.worker).or_default() += 1;
    }
    Ok(busy)
}

/// The workers as placement sees them.
#[must_use]
pub fn candidates<'a>(
    workers: &'a BTreeMap<String, WorkerView>,
    busy: &BTreeMap<String, u32>,
    standings: &BTreeMap<String, StandingRow>,
) -> Vec<Candidate<'a>> {
    let standing = |name: &str| standings.get(name).map(|row| row.standing).unwrap_or_default();
    workers
        .iter()
        .map(|(name, worker)| Candidate {
            name,
            arches: &worker.state.arches,
            slots: worker.state.slots,
            busy: busy.get(name).copied().unwrap_or(0),
            ready: takes_work(&worker.state, worker.liveness, standing(name))
                && worker.state.unready.is_empty(),
        })
        .collect()
}
