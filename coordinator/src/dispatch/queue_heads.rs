//! The tasks that are next: the heads of the queues, and further tasks behind a head that no free
//! worker may take.
//!
//! A queue holds tasks of one architecture with the same needs, so that nearly always its head is
//! as good as any other of its tasks. It is not where the target of the head allows no emulating
//! worker, and where the free worker has failed the head before: then further tasks are read, some
//! pages in each pass. The next pass continues where this one stopped, so that the cost is
//! independent of the length of the queue and every task is reached.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::matching::{WaitingTask, WorkerCapacity};
use rpmfarm_core::queue::Rank;
use rpmfarm_core::{Arch, Needs, TaskId};

use crate::store::{ReadyTask, Store};
use crate::targets::Targets;

/// How many tasks of one queue a page has.
const AT_ONCE: i64 = 256;

/// How many tasks are read beyond the free slots, because some of the first may have to wait for
/// another worker than the free one.
const SPARE: i64 = 16;

/// A task's position in its queue: its rank and its number.
type QueuePosition = (Rank, TaskId);

/// The properties that all tasks of a queue share.
type QueueKey = (Arch, Needs);

/// A task with the properties of its queue.
pub struct QueuedTask {
    pub ready: ReadyTask,
    /// The architecture to build for.
    pub arch: Arch,
    /// Its needs beyond a slot: memory, disk, labels.
    pub needs: Needs,
    /// Workers that failed the task.
    pub avoid: Vec<String>,
    /// Whether the target allows workers that emulate the architecture.
    pub emulation: bool,
    /// The index of its queue.
    queue: usize,
}

/// A queue of which a page was read.
struct ReadQueue {
    arch: Arch,
    needs: Needs,
    /// The last task that was read; `None` when the queue has no more.
    read_to: Option<QueuePosition>,
}

impl ReadQueue {
    /// Whether one of the workers could take a task of the queue that excludes no worker.
    fn fits(&self, workers: &[WorkerCapacity<'_>]) -> bool {
        let any = WaitingTask {
            arch: self.arch,
            emulation: true,
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
        let places = self.0.lock();
        places.get(&(queue.arch, queue.needs.clone())).copied()
    }

    /// The next pass continues after this position; `None` starts again at the head.
    fn set(&self, queue: &ReadQueue, place: Option<QueuePosition>) {
        let mut places = self.0.lock();
        let key = (queue.arch, queue.needs.clone());
        match place {
            Some(place) => places.insert(key, place),
            None => places.remove(&key),
        };
    }
}

impl<'a> QueueHeads<'a> {
    /// Reads the heads of the queues for which there are free slots, given by architecture.
    pub async fn read(from: QueueReader<'a>, free: &BTreeMap<Arch, u32>) -> anyhow::Result<Self> {
        let mut heads = Self { tasks: Vec::new(), queues: Vec::new(), from };
        for (arch, needs) in from.store.ready_queue_list().await? {
            let (Ok(arch), Ok(needs)) = (arch.parse::<Arch>(), needs.parse::<Needs>()) else {
                continue;
            };
            let Some(slots) = free.get(&arch) else { continue };
            let limit = (i64::from(*slots) * 2 + SPARE).min(AT_ONCE);
            heads.queues.push(ReadQueue { arch, needs, read_to: None });
            heads.read_page(heads.queues.len() - 1, None, limit).await?;
        }
        heads.sort();
        Ok(heads)
    }

    /// Reads another page of the queues of which no task was placed although a worker is free for
    /// them. `workers` are as matching left them, `placed` the indexes of the tasks that have a
    /// worker. False when there is nothing to read.
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
            self.read_page(index, Some(place), AT_ONCE).await?;
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
        self.tasks.sort_by_key(|head| (head.ready.rank, head.ready.task));
    }

    async fn read_page(
        &mut self,
        index: usize,
        after: Option<QueuePosition>,
        limit: i64,
    ) -> anyhow::Result<()> {
        let QueueReader { store, targets, .. } = self.from;
        let queue = &mut self.queues[index];
        let (arch, needs) = (queue.arch.as_str(), queue.needs.to_string());
        let page = store.ready_task_list_after(arch, &needs, after, limit).await?;
        let is_full = page.len() >= usize::try_from(limit)?;
        queue.read_to = page.last().filter(|_| is_full).map(|last| (last.rank, last.task));
        for ready in page {
            let avoid = match ready.tries {
                0 => Vec::new(),
                _ => store.worker_list_failed_task(ready.task).await?,
            };
            let emulation = targets.get(&ready.target).is_ok_and(|target| target.emulation);
            let ReadQueue { arch, needs, .. } = &self.queues[index];
            let (arch, needs) = (*arch, needs.clone());
            self.tasks.push(QueuedTask { ready, arch, needs, avoid, emulation, queue: index });
        }
        Ok(())
    }
}
