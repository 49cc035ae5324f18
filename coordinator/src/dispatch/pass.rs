//! Grants tasks that are ready to workers that are free, the lowest rank first; of one batch, the
//! most urgent.
//!
//! A pass reads the heads of the queues for which there are free slots, some more tasks than there
//! are slots (`queue_heads`), and grants all that it can place in one transaction. Its cost depends
//! on the number of grants, not on the length of the queues.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rpmfarm_core::learned_needs::WorkerResources;
use rpmfarm_core::matching::{WorkerCapacity, free_slots, match_tasks};
use rpmfarm_core::placement::{HeldTask, WorkerCandidate};
use rpmfarm_core::worker_standing::takes_work;
use rpmfarm_core::{BuildId, Stage, TaskId, Timestamp};

use super::queue_heads::{QueueCursors, QueueHeads, QueueReader, QueuedTask};
use crate::clock::Now;
use crate::fleet::{Fleet, WorkerLoad, WorkerView};
use crate::metrics::Metrics;
use crate::store::{Attempt, Grant, StandingRow, Store, StoreError};
use crate::targets::Targets;
use crate::work::LocalPass;

/// The standing of workers, by name.
pub type Standings = BTreeMap<String, StandingRow>;

/// How many failed tasks whose retry is due enter their queues in one pass.
const AT_ONCE: i64 = 256;

/// How many further pages one pass reads of queues whose heads no free worker may take; the next
/// pass continues there. So a pass costs the same whatever the length of a queue, and every task is
/// reached.
const PAGES: u32 = 2;

/// Grants every task that is ready to a worker, as far as free workers are connected to this
/// coordinator.
#[derive(Clone)]
pub struct DispatchPass {
    pub targets: Targets,
    /// The workers and their loads.
    pub fleet: Fleet,
    /// How far queues were read.
    pub cursors: QueueCursors,
    /// For the metric of how long tasks waited.
    pub metrics: Metrics,
}

impl LocalPass for DispatchPass {
    const NAME: &'static str = Stage::Dispatch.as_str();

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        store.ready_task_insert_due(now.time, AT_ONCE).await?;
        self.refresh(store, now.instant).await?;
        let standings = store.standing_list().await?;
        while self.round(store, &standings, now).await? {}
        Ok(())
    }
}

impl DispatchPass {
    /// One round of grants. True when there may be more to grant.
    async fn round(&self, store: &Store, standings: &Standings, now: Now) -> anyhow::Result<bool> {
        let connected = self.fleet.connected(now.instant);
        let all = matched(&connected, &self.fleet.live_leases().loads(), standings);
        // SRPMs may use the slots of builds, too.
        if free_slots(&all, true).is_empty() {
            return Ok(false);
        }
        let from = QueueReader { store, targets: &self.targets, cursors: &self.cursors };
        let mut heads = QueueHeads::read(from, &all).await?;
        let (workers, pairs) = place(&mut heads, &all).await?;
        if pairs.is_empty() {
            return Ok(false);
        }
        let more = heads.has_more(&workers, pairs.iter().map(|(task, _)| *task));
        let grants = grants(&heads.tasks, &pairs, &workers, &connected);
        let granted = store.attempt_grant_all(&grants, now.time).await?;
        if granted.len() < grants.len() {
            // Another coordinator granted the task before, or the build has ended: the index is
            // corrected by the facts.
            store.reindex(grants.iter().map(|grant| grant.build), now.time).await?;
        }
        let more = more && !granted.is_empty();
        let heads: HashMap<TaskId, &QueuedTask> =
            heads.tasks.iter().map(|head| (head.ready.task, head)).collect();
        for attempt in granted {
            self.granted(&attempt, heads.get(&attempt.task).copied(), now.time);
        }
        Ok(more)
    }

    /// Wakes the worker's session, and writes the log line and the metrics of a grant.
    fn granted(&self, attempt: &Attempt, head: Option<&QueuedTask>, now: Timestamp) {
        tracing::info!(
            build = head.map(|head| head.ready.build.0),
            task = attempt.task.0,
            attempt = attempt.id.0,
            worker = attempt.worker,
            "task granted"
        );
        if let Some(head) = head {
            self.metrics.dispatched(head.arch, now.since(head.ready.since()));
        }
        let held = |head: &QueuedTask| HeldTask { needs: head.needs.clone(), srpm: head.srpm };
        let held = head.map(held).unwrap_or_default();
        self.fleet.live_leases().granted(&attempt.worker, attempt.id, held);
        self.fleet.wake_session(&attempt.worker);
    }

    /// Reads the live leases again when the copy is too old.
    async fn refresh(&self, store: &Store, now: Instant) -> anyhow::Result<()> {
        if self.fleet.live_leases().begin_read(now) {
            let live = store.lease_list().await?;
            // The workers whose leases another process granted or took, or that were cancelled here
            // in the same moment.
            for worker in self.fleet.live_leases().replace(live, now) {
                self.fleet.wake_session(&worker);
            }
        }
        Ok(())
    }
}

/// Tasks with their workers, both by index.
type Pairs = Vec<(usize, usize)>;

/// Matches the heads of the queues with the workers, and reads further pages where no free worker
/// may take the head. Returns the workers with their load afterwards.
async fn place<'w>(
    heads: &mut QueueHeads<'_>,
    all: &[WorkerCapacity<'w>],
) -> anyhow::Result<(Vec<WorkerCapacity<'w>>, Pairs)> {
    let mut pages = 0;
    loop {
        let mut workers = all.to_vec();
        let pairs = match_tasks(&heads.waiting(), &mut workers);
        let placed = pairs.iter().map(|(task, _)| *task);
        if pages == PAGES || !heads.read_on(&workers, placed).await? {
            return Ok((workers, pairs));
        }
        pages += 1;
    }
}

/// The grants for matches of tasks and workers.
fn grants(
    heads: &[QueuedTask],
    pairs: &[(usize, usize)],
    workers: &[WorkerCapacity<'_>],
    connected: &BTreeMap<String, WorkerView>,
) -> Vec<Grant> {
    let grant = |(task, worker): &(usize, usize)| {
        let WorkerCandidate { name, .. } = workers[*worker].candidate;
        let state = &connected[name].state;
        Grant {
            task: heads[*task].ready.task,
            build: heads[*task].ready.build,
            worker: name.to_owned(),
            had: WorkerResources { memory_mib: state.memory_mib, disk_mib: state.disk_free_mib },
            takes_place_of: heads[*task].takes_place_of,
        }
    };
    pairs.iter().map(grant).collect()
}

/// Whether the target of a build allows workers that emulate the architecture.
pub async fn allows_emulation(
    store: &Store,
    targets: &Targets,
    build: BuildId,
) -> Result<bool, StoreError> {
    let Some(build) = store.build_fetch(build).await? else { return Ok(false) };
    Ok(targets.get(&build.target).is_ok_and(|target| target.emulation))
}

/// How many attempts each worker holds, from the leases in the store.
pub async fn busy(store: &Store) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut busy = BTreeMap::<String, u32>::new();
    for (worker, _, _) in store.lease_list().await? {
        *busy.entry(worker).or_default() += 1;
    }
    Ok(busy)
}

/// The connected workers with their capacity and their load.
#[must_use]
pub fn matched<'a>(
    workers: &'a BTreeMap<String, WorkerView>,
    loads: &HashMap<String, WorkerLoad>,
    standings: &Standings,
) -> Vec<WorkerCapacity<'a>> {
    workers
        .iter()
        .map(|(name, worker)| {
            let load = loads.get(name).copied().unwrap_or_default();
            let standing = standings.get(name).map(|row| row.standing).unwrap_or_default();
            let candidate = WorkerCandidate {
                name,
                arches: &worker.state.arches,
                emulated: &worker.state.emulated,
                slots: worker.state.slots,
                srpm_slots: worker.state.srpm_slots,
                busy: load.attempts,
                busy_srpms: load.srpms,
                ready: takes_work(&worker.state, worker.liveness, standing)
                    && worker.state.unready.is_empty(),
            };
            WorkerCapacity {
                candidate,
                memory_mib: worker.state.memory_mib,
                memory_used_mib: load.memory_mib,
                disk_mib: worker.state.disk_free_mib,
                labels: &worker.state.labels,
            }
        })
        .collect()
}
