//! Quarantine: reads the facts that `core`'s rule asks for, and records its verdict.
//!
//! The rule is applied when a worker has failed for reasons of its own, and when the results of
//! another worker were accepted for a task that it failed: only that proves that the package was
//! not at fault.
//!
//! The store keeps at least one worker for each architecture, in the same transaction, so that no
//! package can take the last one.

use rpmfarm_core::quarantine::{StandInWorker, last_for, stand_ins, verdict};
use rpmfarm_core::worker_standing::{Standing, takes_work};
use rpmfarm_core::{TaskId, Timestamp};

use crate::clock::Now;
use crate::fleet::{Fleet, WorkerView};
use crate::store::{self, Store};

/// How many of a worker's newest attempts are considered.
const LAST: i64 = 64;

/// Decides on the workers that failed a task which another worker has built.
pub async fn after_acceptance(
    store: &Store,
    fleet: &Fleet,
    task: TaskId,
    builder: &str,
    now: Now,
) -> store::Result<()> {
    let mut failed = store.worker_list_failed_task(task).await?;
    failed.sort_unstable();
    failed.dedup();
    for worker in failed.iter().filter(|worker| *worker != builder) {
        check(store, fleet, worker, now).await?;
    }
    Ok(())
}

/// Quarantines a worker when its last attempts call for it and other workers can do its work.
pub async fn check(store: &Store, fleet: &Fleet, worker: &str, now: Now) -> store::Result<()> {
    // An operator who resumed the worker is right until it fails again after that.
    let decided = store.standing_fetch(worker).await?;
    if decided.as_ref().is_some_and(|row| !row.standing.takes_work()) {
        return Ok(());
    }
    let since = decided.map_or(Timestamp::ZERO, |row| row.at);
    let ends = store.attempt_list_ends_of_worker(worker, since, LAST).await?;
    let Some(reason) = verdict(&ends, now.time) else { return Ok(()) };
    let seen = fleet.workers(now.instant);
    // Not heard since this coordinator started, so its architectures are unknown.
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
        fleet.wake_session(worker);
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
