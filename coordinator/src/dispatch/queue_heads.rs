//! The tasks that are next: the heads of the queues, and what lies behind a head that nobody who
//! is free may take.
//!
//! A queue holds tasks of one architecture with the same needs, SRPMs or others. Members of one batch
//! take the places of each other, the most urgent first (`core::batch::exchange`): those that lie
//! behind the head are read as well. Otherwise the head of a queue is nearly always as good as any
//! other of its tasks. Not so where its target lets no emulating worker build, and
//! where the free worker has failed it: then further tasks are read, page by page, so many at a
//! pass. The next one goes on where this one stopped, so that its cost stays independent of the
//! length of the queue and no task is out of reach.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::batch::{BatchLine, Queued, exchange};
use rpmfarm_core::matching::{WaitingTask, WorkerCapacity, free_slots};
use rpmfarm_core::queue::Rank;
use rpmfarm_core::{Arch, BuildId, Needs, TaskId};

use crate::store::{ReadyQueue, ReadyTask, Store};
use crate::targets::Targets;

/// Tasks that are read of one queue at once.
const AT_ONCE: i64 = 256;

/// Tasks that are read beyond the free slots: of these, so many may wait for another worker than
/// the one that is free.
const SPARE: i64 = 16;

/// Batches of one queue whose most urgent tasks are read, the next one first. What a pass costs must not
/// depend on how many small batches wait; members of the others exchange their places at the head.
const BATCHES: usize = 16;

/// A task in its queue, by its rank and its number.
type QueuePosition = (Rank, TaskId);

/// A queue, by what its tasks have in common: architecture, needs, and whether they make SRPMs.
type QueueKey = (Arch, Needs, bool);

/// A task with what its queue says of it.
pub struct QueuedTask {
    /// The task as it is stored.
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
    /// Workers that failed it.
    pub avoid: Vec<String>,
    /// Whether its target lets emulating workers build.
    pub emulation: bool,
    /// Its queue, by its index.
    queue: usize,
}

/// A queue of which a page was read.
struct ReadQueue {
    stored: ReadyQueue,
    arch: Arch,
    needs: Needs,
    /// The last task that was read; `None` when nothing is behind it.
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

    /// Whether one of the workers could take a task of it that has no wishes of its own.
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

/// The parts that queues are read with.
#[derive(Debug, Clone, Copy)]
pub struct QueueReader<'a> {
    pub store: &'a Store,
    /// Whether emulating workers may build for a target.
    pub targets: &'a Targets,
    /// How far they were read before.
    pub further: &'a QueueCursors,
}

/// How far queues were read whose heads nobody could take: the last task that was seen. Cheap to
/// clone. Lost with the process, which costs a few passes.
#[derive(Debug, Clone, Default)]
pub struct QueueCursors(Arc<Mutex<HashMap<QueueKey, QueuePosition>>>);

impl QueueCursors {
    fn place(&self, queue: &ReadQueue) -> Option<QueuePosition> {
        self.0.lock().get(&queue.key()).copied()
    }

    /// Reading goes on behind this place the next time; `None` begins anew.
    fn set(&self, queue: &ReadQueue, place: Option<QueuePosition>) {
        let mut places = self.0.lock();
        match place {
            Some(place) => places.insert(queue.key(), place),
            None => places.remove(&queue.key()),
        };
    }
}

impl<'a> QueueHeads<'a> {
    /// The heads of the queues for which these workers have free slots.
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

    /// Reads on in queues of which no task was placed although a worker is free for them. `workers`
    /// are as matching left them, `placed` are the tasks that have one, by their index. False when
    /// there is nothing to read.
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
            let place = self.from.further.place(queue).map_or(read_to, |place| place.max(read_to));
            self.read_page(index, place, AT_ONCE).await?;
            let queue = &self.queues[index];
            self.from.further.set(queue, queue.read_to);
        }
        self.sort();
        Ok(self.tasks.len() > before)
    }

    /// Whether another page may place more: a queue of which tasks were placed goes on, and a
    /// worker is free for it.
    pub fn has_more(
        &self,
        workers: &[WorkerCapacity<'_>],
        placed: impl Iterator<Item = usize>,
    ) -> bool {
        let goes_on = |queue: &ReadQueue| queue.read_to.is_some() && queue.fits(workers);
        self.queues_of(placed).into_iter().any(|queue| goes_on(&self.queues[queue]))
    }

    /// The tasks as matching sees them.
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
        // Nothing lies behind a page that is not full.
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

/// The tasks behind the head of a queue that are among the most urgent of their batches, as many of each
/// batch as are at the head.
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
