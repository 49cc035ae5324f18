//! Gives tasks that are ready to workers that are free, the lowest rank first.
//!
//! A look reads the heads of the queues for which there are free slots, some more tasks than there
//! are slots (`heads`), and grants all that it can place in one transaction. What it costs depends
//! on what it gives away, not on the length of the queues.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rpmfarm_core::fleet::takes_work;
use rpmfarm_core::learned::Had;
use rpmfarm_core::matching::{Worker, free_slots, match_tasks};
use rpmfarm_core::placement::Candidate;
use rpmfarm_core::{AttemptId, BuildId, Stage, TaskId};

use super::heads::{Further, Head, Heads, QueueReader};
use crate::clock::Now;
use crate::fleet::{Fleet, Load, WorkerView};
use crate::metrics::Metrics;
use crate::store::{Attempt, Grant, StandingRow, Store, StoreError};
use crate::targets::Targets;
use crate::work::LocalPass;

/// What was decided about workers, by name.
pub type Standings = BTreeMap<String, StandingRow>;

/// Tasks that failed and are due, which get into their queues at once.
const AT_ONCE: i64 = 256;

/// So often a look reads on in queues whose heads nobody who is free may take.
const PAGES: u32 = 2;

/// Gives every task that is ready a worker, as far as there are free ones that are connected to this
/// coordinator.
#[derive(Clone)]
pub struct DispatchPass {
    /// What is rebuilt.
    pub targets: Targets,
    /// The workers, and what they hold.
    pub fleet: Fleet,
    /// How far queues were read.
    pub further: Further,
    /// How long tasks waited.
    pub metrics: Metrics,
}

impl LocalPass for DispatchPass {
    const NAME: &'static str = Stage::Dispatch.as_str();

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        store.queue_due(now.us, AT_ONCE).await?;
        self.refresh(store, now.instant).await?;
        let standings = store.standings().await?;
        while self.round(store, &standings, now).await? {}
        Ok(())
    }
}

impl DispatchPass {
    /// Grants once. True when there may be more to grant.
    async fn round(&self, store: &Store, standings: &Standings, now: Now) -> anyhow::Result<bool> {
        let connected = self.fleet.connected(now.instant);
        let all = matched(&connected, &self.fleet.held().loads(), standings);
        let free = free_slots(&all);
        if free.is_empty() {
            return Ok(false);
        }
        let from = QueueReader { store, targets: &self.targets, further: &self.further };
        let mut heads = Heads::read(from, &free).await?;
        let (workers, pairs) = place(&mut heads, &all).await?;
        if pairs.is_empty() {
            return Ok(false);
        }
        let more = heads.has_more(&workers, pairs.iter().map(|(task, _)| *task));
        let grants = grants(&heads.tasks, &pairs, &workers, &connected);
        let granted = store.grant_all(&grants, now.us).await?;
        if granted.len() < grants.len() {
            // Somebody was faster, or a build has ended: the index is as the facts are, from now on.
            store.reindex(grants.iter().map(|grant| grant.build), now.us).await?;
        }
        let more = more && !granted.is_empty();
        let heads: HashMap<i64, &Head> =
            heads.tasks.iter().map(|head| (head.ready.task, head)).collect();
        for attempt in granted {
            self.granted(&attempt, heads.get(&attempt.task).copied(), now.us);
        }
        Ok(more)
    }

    /// Tells the worker, and whoever reads logs and metrics, of a grant.
    fn granted(&self, attempt: &Attempt, head: Option<&Head>, now_us: i64) {
        tracing::info!(
            build = head.map(|head| head.ready.build),
            task = attempt.task,
            attempt = attempt.id,
            worker = attempt.worker,
            "task granted"
        );
        if let Some(head) = head {
            let waited = (now_us - head.ready.since_us()).max(0).unsigned_abs();
            self.metrics.dispatched(head.arch, Duration::from_micros(waited));
        }
        let needs = head.map(|head| head.needs.clone()).unwrap_or_default();
        self.fleet.held().granted(&attempt.worker, AttemptId(attempt.id), needs);
        self.fleet.poke(&attempt.worker);
    }

    /// Reads the leases anew when it is time.
    async fn refresh(&self, store: &Store, now: Instant) -> anyhow::Result<()> {
        if self.fleet.held().begin_read(now) {
            let live = store.held().await?;
            // A lease that another process gave or took, or that was cancelled here in the same moment.
            for worker in self.fleet.held().replace(live, now) {
                self.fleet.poke(&worker);
            }
        }
        Ok(())
    }
}

/// Tasks with their workers, by their indexes.
type Pairs = Vec<(usize, usize)>;

/// Matches the heads of the queues with the workers, and reads on where nobody who is free may take
/// them. Returns the workers with what they have then.
async fn place<'w>(
    heads: &mut Heads<'_>,
    all: &[Worker<'w>],
) -> anyhow::Result<(Vec<Worker<'w>>, Pairs)> {
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

/// What is granted for matches of tasks and workers.
fn grants(
    heads: &[Head],
    pairs: &[(usize, usize)],
    workers: &[Worker<'_>],
    connected: &BTreeMap<String, WorkerView>,
) -> Vec<Grant> {
    let grant = |(task, worker): &(usize, usize)| {
        let Candidate { name, .. } = workers[*worker].candidate;
        let state = &connected[name].state;
        Grant {
            task: TaskId(heads[*task].ready.task),
            build: BuildId(heads[*task].ready.build),
            worker: name.to_owned(),
            had: Had { memory_mib: state.memory_mib, disk_mib: state.disk_free_mib },
        }
    };
    pairs.iter().map(grant).collect()
}

/// Whether the target of a build lets emulating workers build for it.
///
/// # Errors
/// Database errors.
pub async fn allows_emulation(
    store: &Store,
    targets: &Targets,
    build: BuildId,
) -> Result<bool, StoreError> {
    let Some(build) = store.build(build).await? else { return Ok(false) };
    Ok(targets.get(&build.target).is_ok_and(|target| target.emulation))
}

/// How many attempts each worker holds, from the leases.
///
/// # Errors
/// Database errors.
pub async fn busy(store: &Store) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut busy = BTreeMap::<String, u32>::new();
    for (worker, _, _) in store.held().await? {
        *busy.entry(worker).or_default() += 1;
    }
    Ok(busy)
}

/// The workers with what they have and hold.
#[must_use]
pub fn matched<'a>(
    workers: &'a BTreeMap<String, WorkerView>,
    loads: &HashMap<String, Load>,
    standings: &Standings,
) -> Vec<Worker<'a>> {
    workers
        .iter()
        .map(|(name, worker)| {
            let load = loads.get(name).copied().unwrap_or_default();
            let standing = standings.get(name).map(|row| row.standing).unwrap_or_default();
            let candidate = Candidate {
                name,
                arches: &worker.state.arches,
                emulated: &worker.state.emulated,
                slots: worker.state.slots,
                busy: load.attempts,
                ready: takes_work(&worker.state, worker.liveness, standing)
                    && worker.state.unready.is_empty(),
            };
            Worker {
                candidate,
                memory_mib: worker.state.memory_mib,
                memory_used_mib: load.memory_mib,
                disk_mib: worker.state.disk_free_mib,
                labels: &worker.state.labels,
            }
        })
        .collect()
}
