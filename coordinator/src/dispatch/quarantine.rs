//! Quarantine: gathers what `core`'s rule asks for, and records its verdict.
//!
//! It is decided when a worker has failed for reasons of its own, and when another worker's
//! results were accepted for what it failed: only that proves that the package was not at fault.
//!
//! The store leaves a worker for each architecture in the same transaction, so that no package can
//! take the last one.

use rpmfarm_core::quarantine::{StandInWorker, last_for, stand_ins, verdict};
use rpmfarm_core::worker_standing::{Standing, takes_work};
use rpmfarm_core::{TaskId, Timestamp};

use crate::clock::Now;
use crate::fleet::{Fleet, WorkerView};
use crate::store::Store;

/// The newest attempts of a worker, which decide.
const LAST: i64 = 64;

/// Decides on the workers that failed a task which another one has built.
pub async fn after_acceptance(
    store: &Store,
    fleet: &Fleet,
    task: TaskId,
    builder: &str,
    now: Now,
) -> anyhow::Result<()> {
    let mut failed = store.worker_list_failed_task(task).await?;
    failed.sort_unstable();
    failed.dedup();
    for worker in failed.iter().filter(|worker| *worker != builder) {
        check(store, fleet, worker, now).await?;
    }
    Ok(())
}

/// Gives a worker no more work when its last attempts say that it should not get any, and others
/// are left that can do its work.
pub async fn check(store: &Store, fleet: &Fleet, worker: &str, now: Now) -> anyhow::Result<()> {
    // Whoever lets it work again is right until it fails anew.
    let decided = store.standing_fetch(worker).await?;
    if decided.as_ref().is_some_and(|row| !row.standing.takes_work()) {
        return Ok(());
    }
    let since = decided.map_or(Timestamp::ZERO, |row| row.at);
    let ends = store.attempt_list_ends_of_worker(worker, since, LAST).await?;
    let Some(reason) = verdict(&ends, now.time) else { return Ok(()) };
    let seen = fleet.workers(now.instant);
    // One that was not heard since this coordinator started: nobody knows what it builds for.
    let Some(view) = seen.get(worker) else { return Ok(()) };
    let standings = store.standing_list().await?;
    let standing = |name: &str| standings.get(name).map_or(Standing::Active, |row| row.standing);
    let others: Vec<StandInWorker> = seen
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
    if store.standing_set_quarantined(worker, &stand_ins(&it, &others), &reason, now.time).await? {
        tracing::warn!(worker, reason, "worker quarantined; rpmfarm worker resume lets it work");
        fleet.poke(worker);
    }
    Ok(())
}

fn colleague(name: &str, view: &WorkerView) -> StandInWorker {
    StandInWorker {
        name: name.to_owned(),
        arches: view.state.arches.clone(),
        emulated: view.state.emulated.clone(),
    }
}
