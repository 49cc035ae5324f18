//! Quarantine: gathers what `core`'s rule asks for, and records its verdict.
//!
//! It is looked at when a worker has failed for reasons of its own, and when another worker's
//! results were accepted for what it failed: only that proves that the package was not at fault.

use rpmfarm_core::fleet::{Standing, takes_work};
use rpmfarm_core::quarantine::{Colleague, last_for, stand_ins, verdict};
use rpmfarm_core::{TaskId, Timestamp};

use crate::clock::Now;
use crate::fleet::{Fleet, WorkerView};
use crate::store::Store;

/// Attempts of a worker that are looked at.
const LAST: i64 = 64;

/// Looks at the workers that failed a task which another one has built.
///
/// # Errors
/// Database errors.
pub async fn after_acceptance(
    store: &Store,
    fleet: &Fleet,
    task: TaskId,
    builder: &str,
    now: Now,
) -> anyhow::Result<()> {
    let mut failed = store.workers_that_failed(task).await?;
    failed.sort_unstable();
    failed.dedup();
    for worker in failed.iter().filter(|worker| *worker != builder) {
        look(store, fleet, worker, now).await?;
    }
    Ok(())
}

/// Gives a worker no more work when its last attempts say that it should not get any, and others
/// are left that can do its work.
///
/// # Errors
/// Database errors.
pub async fn look(store: &Store, fleet: &Fleet, worker: &str, now: Now) -> anyhow::Result<()> {
    // Whoever lets it work again is right until it fails anew.
    let decided = store.standing(worker).await?;
    if decided.as_ref().is_some_and(|row| !row.standing.takes_work()) {
        return Ok(());
    }
    let since_us = decided.map_or(0, |row| row.at_us);
    let ends = store.ends_of(worker, since_us, LAST).await?;
    let Some(reason) = verdict(&ends, Timestamp::from_us(now.us)) else { return Ok(()) };
    let seen = fleet.workers(now.instant);
    // One that was not heard since this coordinator started: nobody knows what it builds for.
    let Some(view) = seen.get(worker) else { return Ok(()) };
    let standings = store.standings().await?;
    let standing = |name: &str| standings.get(name).map_or(Standing::Active, |row| row.standing);
    let others: Vec<Colleague> = seen
        .iter()
        .filter(|(name, view)| takes_work(&view.state, view.liveness, standing(name)))
        .map(|(name, view)| colleague(name, view))
        .collect();
    let it = colleague(worker, view);
    let last = last_for(&it, &others);
    if !last.is_empty() {
        let arches: Vec<&str> = last.iter().map(|arch| arch.as_str()).collect();
        let arches = arches.join(", ");
        tracing::warn!(worker, reason, "not quarantined: it is the last worker for {arches}");
        return Ok(());
    }
    if store.quarantine(worker, &stand_ins(&it, &others), &reason, now.us).await? {
        tracing::warn!(worker, reason, "worker quarantined; rpmfarm worker resume lets it work");
        fleet.poke(worker);
    }
    Ok(())
}

fn colleague(name: &str, view: &WorkerView) -> Colleague {
    Colleague {
        name: name.to_owned(),
        arches: view.state.arches.clone(),
        emulated: view.state.emulated.clone(),
    }
}
