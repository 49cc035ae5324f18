//! The tasks that are next: the heads of the queues, and further tasks behind a head that no free
//! worker may take.
//!
//! A queue holds tasks of one architecture with the same needs, either SRPM tasks or build tasks.
//! Members of one batch exchange their places, so that the most urgent comes first
//! (`core::batch::exchange`): members behind the head are read as well. Apart from that, the head
//! of a queue is nearly always as good as any other of its tasks. It is not where the target of the
//! head allows no emulating worker, and where the free worker has failed the head before: then
//! further tasks are read, some pages in each pass. The next pass continues where this one stopped,
//! so that the cost is independent of the length of the queue and every task is reached.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::batch::{BatchLine, Queued, exchange};
use rpmfarm_core::matching::{WaitingTask, WorkerCapacity, free_slots};
use rpmfarm_core::queue::Rank;
use rpmfarm_core::{Arch, BuildId, Needs, TaskId};

use crate::store::{ReadyQueue, ReadyTask, Store};
use crate::targets::Targets;

/// How many tasks of one queue a page has.
const AT_ONCE: i64 = 256;

/// How many tasks are read beyond the free slots, because some of the first may have to wait for
/// another worker than the free one.
const SPARE: i64 = 16;

/// How many batches of one queue have their most urgent tasks read, the next one first. The cost of
/// a pass must not depend on the number of small waiting batches; members of the others exchange
/// their places at the head.
const BATCHES: usize = 16;

/// A task's position in its queue: its rank and its number.
type QueuePosition = (Rank, TaskId);

/// The properties that all tasks of a queue share: architecture, needs, and whether they make
/// SRPMs.
type QueueKey = (Arch, Needs, bool);

/// A task with the properties of its queue.
pub struct QueuedTask {
    pub ready: ReadyTask,
    /// The place that it takes.
    place: QueuePosition,
    /// The task of its batch whose place that is, with the build of that; `None` for its own.
    pub takes_place_of: Option<(TaskId, BuildId)>,
    /// The architecture to build for.
    pub arch: Arch,
    /// Its needs beyond a slot: memory, disk, labels.
    pub needs: Needs,
    /// Whether it makes an SRPM.
    pub srpm: bool,
    /// Workers that failed the task.
    pub avoid: Vec<String>,
    /// Whether the target allows workers that emulate the architecture.
    pub emulation: bool,
    /// The index of its queue.
    queue: usize,
}

/// A queue with a page that was read.
struct ReadQueue {
    stored: ReadyQueue,
    arch: Arch,
    needs: Needs,
    /// The last task that was read; `None` when the queue has no more.
    read_to: Option<QueuePosition>,
}

impl ReadQueue {
    /// `None` for what this version cannot read.
    fn parse(stored: ReadyQueue) -> Option<Self> {
        let (arch, needs) = (stored.arch.parse().ok()?, stored.needs.parse().ok()?);
        Some(Self { stored, arch, needs, read_to: None })
    }

    fn key(&self) -> QueueKey {
        (self.arch, self.needs.clone(), self.stored.srpm)
    }

    /// Whether one of the workers could take a task of the queue that excludes no worker.
    fn fits(&self, workers: &[WorkerCapacity<'_>]) -> bool {
        let any = WaitingTask {
            arch: self.arch,
            emulation: true,
            srpm: self.stored.srpm,
            needs: &self.needs,
            avoid: &[],
            except: "",
        };
        workers.iter().any(|worker| worker.fits(&any))
    }
}

/// Tasks of all queues in the order of their ranks.
pub struct QueueHeads<'a> {
    pub tasks: Vec<QueuedTask>,
    queues: Vec<ReadQueue>,
    from: QueueReader<'a>,
}

/// The parts that are needed to read queues.
#[derive(Debug, Clone, Copy)]
pub struct QueueReader<'a> {
    pub store: &'a Store,
    /// Say whether emulating workers may build for a target.
    pub targets: &'a Targets,
    /// How far the queues were read before.
    pub cursors: &'a QueueCursors,
}

/// How far the queues were read whose heads no worker could take: the last task that was read.
/// Cheap to clone. Kept in memory only; a restart costs a few passes.
#[derive(Debug, Clone, Default)]
pub struct QueueCursors(Arc<Mutex<HashMap<QueueKey, QueuePosition>>>);

impl QueueCursors {
    fn place(&self, queue: &ReadQueue) -> Option<QueuePosition> {
        self.0.lock().get(&queue.key()).copied()
    }

    /// The next pass continues after this position; `None` starts again at the head.
    fn set(&self, queue: &ReadQueue, place: Option<QueuePosition>) {
        let mut places = self.0.lock();
        match place {
            Some(place) => places.insert(queue.key(), place),
            None => places.remove(&queue.key()),
        };
    }
}

impl<'a> QueueHeads<'a> {
    /// Reads the heads of the queues for which these workers have free slots.
    pub async fn read(
        from: QueueReader<'a>,
        workers: &[WorkerCapacity<'_>],
    ) -> anyhow::Result<Self> {
        let (builds, srpms) = (free_slots(workers, false), free_slots(workers, true));
        let mut heads = Self { tasks: Vec::new(), queues: Vec::new(), from };
        for queue in from.store.ready_queue_list().await? {
            let Some(queue) = ReadQueue::parse(queue) else { continue };
            let free = if queue.stored.srpm { &srpms } else { &builds };
            let Some(slots) = free.get(&queue.arch) else { continue };
            let limit = (i64::from(*slots) * 2 + SPARE).min(AT_ONCE);
            heads.queues.push(queue);
            heads.read_head(heads.queues.len() - 1, limit).await?;
        }
        heads.sort();
        Ok(heads)
    }

    /// Reads another page of those queues from which no task was placed although a worker is free
    /// for them. `workers` are the workers after matching, `placed` the indexes of the tasks that
    /// have a worker. False when there is nothing to read.
    pub async fn read_on(
        &mut self,
        workers: &[WorkerCapacity<'_>],
        placed: impl Iterator<Item = usize>,
    ) -> anyhow::Result<bool> {
        let placed = self.queues_of(placed);
        let before = self.tasks.len();
        for index in 0..self.queues.len() {
            let queue = &self.queues[index];
            let Some(read_to) = queue.read_to else { continue };
            if placed.contains(&index) || !queue.fits(workers) {
                continue;
            }
            let place = self.from.cursors.place(queue).map_or(read_to, |place| place.max(read_to));
            self.read_page(index, place, AT_ONCE).await?;
            let queue = &self.queues[index];
            self.from.cursors.set(queue, queue.read_to);
        }
        self.sort();
        Ok(self.tasks.len() > before)
    }

    /// Whether another page may place more tasks: the queue has more, one of its tasks was placed,
    /// and a worker is free for them.
    pub fn has_more(
        &self,
        workers: &[WorkerCapacity<'_>],
        placed: impl Iterator<Item = usize>,
    ) -> bool {
        let goes_on = |queue: &ReadQueue| queue.read_to.is_some() && queue.fits(workers);
        self.queues_of(placed).into_iter().any(|queue| goes_on(&self.queues[queue]))
    }

    /// The tasks in the form that matching takes.
    pub fn waiting(&self) -> Vec<WaitingTask<'_>> {
        self.tasks
            .iter()
            .map(|head| WaitingTask {
                arch: head.arch,
                emulation: head.emulation,
                srpm: head.srpm,
                needs: &head.needs,
                avoid: &head.avoid,
                except: &head.ready.except,
            })
            .collect()
    }

    fn queues_of(&self, tasks: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        tasks.map(|task| self.tasks[task].queue).collect()
    }

    fn sort(&mut self) {
        self.tasks.sort_by_key(|head| head.place);
    }

    /// Reads the head of a queue, whose tasks take the places of each other.
    async fn read_head(&mut self, index: usize, limit: i64) -> anyhow::Result<()> {
        let mut tasks = self.read_rows(index, None, limit).await?;
        let queue = &self.queues[index];
        // No tasks follow a page that is not full.
        if queue.read_to.is_some() {
            let behind = urgent_behind(self.from.store, &queue.stored, &tasks).await?;
            tasks.extend(behind);
        }
        let queued = |ready: &ReadyTask| -> anyhow::Result<Queued> {
            let (task, rank, urgency) = (ready.task, ready.rank, ready.urgency);
            Ok(Queued { task, line: ready.line()?, rank, urgency })
        };
        let queued: Vec<Queued> = tasks.iter().map(queued).collect::<anyhow::Result<_>>()?;
        let takes = exchange(&queued);
        let ids: Vec<(TaskId, BuildId)> = tasks.iter().map(|one| (one.task, one.build)).collect();
        for (at, ready) in tasks.into_iter().enumerate() {
            let place = &queued[takes[at]];
            let takes_place_of = (takes[at] != at).then(|| ids[takes[at]]);
            self.add(index, ready, (place.rank, place.task), takes_place_of).await?;
        }
        Ok(())
    }

    /// Reads a page of a queue behind its head, whose tasks have their own places.
    async fn read_page(
        &mut self,
        index: usize,
        after: QueuePosition,
        limit: i64,
    ) -> anyhow::Result<()> {
        let known: HashSet<TaskId> = self.tasks.iter().map(|one| one.ready.task).collect();
        for ready in self.read_rows(index, Some(after), limit).await? {
            // One that took a place at the head was read with that.
            if !known.contains(&ready.task) {
                let place = (ready.rank, ready.task);
                self.add(index, ready, place, None).await?;
            }
        }
        Ok(())
    }

    async fn read_rows(
        &mut self,
        index: usize,
        after: Option<QueuePosition>,
        limit: i64,
    ) -> anyhow::Result<Vec<ReadyTask>> {
        let queue = &mut self.queues[index];
        let page = self.from.store.ready_task_list_after(&queue.stored, after, limit).await?;
        let is_full = page.len() >= usize::try_from(limit)?;
        queue.read_to = page.last().filter(|_| is_full).map(|last| (last.rank, last.task));
        Ok(page)
    }

    async fn add(
        &mut self,
        index: usize,
        ready: ReadyTask,
        place: QueuePosition,
        takes_place_of: Option<(TaskId, BuildId)>,
    ) -> anyhow::Result<()> {
        let QueueReader { store, targets, .. } = self.from;
        let avoid = match ready.tries {
            0 => Vec::new(),
            _ => store.worker_list_failed_task(ready.task).await?,
        };
        let emulation = targets.get(&ready.target).is_ok_and(|target| target.emulation);
        let (arch, needs, srpm) = self.queues[index].key();
        self.tasks.push(QueuedTask {
            ready,
            place,
            takes_place_of,
            arch,
            needs,
            srpm,
            avoid,
            emulation,
            queue: index,
        });
        Ok(())
    }
}

/// The tasks behind the head of a queue that are among the most urgent of their batches, as many of
/// each batch as are at the head.
async fn urgent_behind(
    store: &Store,
    queue: &ReadyQueue,
    head: &[ReadyTask],
) -> anyhow::Result<Vec<ReadyTask>> {
    let mut lines: Vec<(BatchLine, i64)> = Vec::new();
    for ready in head {
        let Some(line) = ready.line()? else { continue };
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let known: HashSet<TaskId> = head.iter().map(|ready| ready.task).collect();
    let mut behind = Vec::new();
    for (line, count) in lines.into_iter().take(BATCHES) {
        let urgent = store.ready_task_list_urgent(queue, line, count).await?;
        behind.extend(urgent.into_iter().filter(|ready| !known.contains(&ready.task)));
    }
    Ok(behind)
}
