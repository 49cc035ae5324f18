//! Reads the values of the gauges when the metrics are requested.

use std::time::Instant;

use rpmfarm_core::Timestamp;
use rpmfarm_core::lease::Liveness;

use super::Operations;
use crate::clock;
use crate::dispatch::pass::busy;
use crate::metrics::{Gauges, Labels};
use crate::peers::STAGES;

/// Sets all gauges again.
///
/// # Errors
/// Database errors; gauges that need no database are set nevertheless.
pub(super) async fn gather(operations: &Operations, now: Instant) -> anyhow::Result<()> {
    let gauges = operations.metrics.gauges();
    workers(operations, gauges, now);
    coordinators(operations, gauges, now);
    if let Ok(stat) = nix::sys::statvfs::statvfs(&operations.repos) {
        let free = stat.blocks_available() * stat.fragment_size();
        gauges.free.set(free.cast_signed());
    }
    let gathered = facts(operations, gauges, clock::now()).await;
    gauges.set_statements(operations.store.statements());
    let up = gathered.is_ok() && operations.peers.database_down().is_none();
    gauges.database_up.set(i64::from(up));
    gathered
}

fn workers(operations: &Operations, gauges: &Gauges, now: Instant) {
    let workers = operations.fleet.workers(now);
    for liveness in Liveness::ALL {
        let count = workers.values().filter(|worker| worker.liveness == liveness).count();
        let labels = vec![("liveness", liveness.as_str().to_owned())];
        gauges.workers.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    gauges.slots.clear();
    for worker in workers.values().filter(|worker| worker.liveness == Liveness::Alive) {
        let labels = vec![("worker", worker.state.name.clone())];
        let slots = worker.state.slots.saturating_add(worker.state.srpm_slots);
        gauges.slots.get_or_create(&labels).set(slots.into());
    }
}

fn coordinators(operations: &Operations, gauges: &Gauges, now: Instant) {
    let others = operations.peers.others(now);
    let alive = others.iter().filter(|(_, alive)| *alive).count();
    for (state, count) in [("alive", alive + 1), ("dead", others.len() - alive)] {
        let labels = vec![("state", state.to_owned())];
        gauges.coordinators.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let held = operations.peers.stages(now);
    for stage in STAGES {
        let labels = vec![("stage", stage.to_string())];
        gauges.stages_held.get_or_create(&labels).set(i64::from(held.contains(&stage)));
    }
}

async fn facts(operations: &Operations, gauges: &Gauges, now: Timestamp) -> anyhow::Result<()> {
    let (queues, builds) =
        (operations.store.queue_list().await?, operations.store.build_count_by_state().await?);
    let busy = busy(&operations.store).await?;
    // Cleared only after all queries, so that after a failed query the old values stay.
    gauges.queue.clear();
    gauges.oldest.clear();
    for queue in queues {
        let labels: Labels = vec![("arch", queue.arch), ("priority", queue.priority)];
        gauges.queue.get_or_create(&labels).set(queue.tasks);
        gauges.oldest.get_or_create(&labels).set(now.since(queue.oldest).as_secs_f64());
    }
    for (state, count) in builds {
        gauges.builds.get_or_create(&vec![("state", state.to_string())]).set(count);
    }
    gauges.busy.clear();
    for (worker, count) in busy {
        gauges.busy.get_or_create(&vec![("worker", worker)]).set(count.into());
    }
    Ok(())
}
