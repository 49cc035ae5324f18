//! The tasks that are next: the heads of the queues, and what lies behind a head that nobody who
//! is free may take.
//!
//! A queue holds tasks of one architecture with the same needs, so that nearly always its head is
//! as good as any other of its tasks. Not so where its target lets no emulating worker build, and
//! where the free worker has failed it: then further tasks are read, page by page, so many at a
//! look. The next look goes on where this one stopped, so that its cost stays independent of the
//! length of the queue and no task is out of reach.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::matching::{Waiting, Worker};
use rpmfarm_core::{Arch, Needs, TaskId};

use crate::store::{Ready, Store};
use crate::targets::Targets;

/// Tasks that are read of one queue at once.
const AT_ONCE: i64 = 256;

/// Tasks that are read beyond the free slots: of these, so many may wait for another worker than
/// the one that is free.
const SPARE: i64 = 16;

/// A task in its queue, by its rank and its number.
type Place = (i64, i64);

/// A queue, by what its tasks have in common.
type QueueKey = (Arch, Needs);

/// A task with what its queue says of it.
pub struct Head {
    /// The task as it is stored.
    pub ready: Ready,
    /// The architecture to build for.
    pub arch: Arch,
    /// What it needs beyond a slot.
    pub needs: Needs,
    /// Workers that failed it.
    pub avoid: Vec<String>,
    /// Whether its target lets emulating workers build.
    pub emulation: bool,
    /// Its queue, by its index.
    queue: usize,
}

/// A queue that was looked into.
struct Queue {
    arch: Arch,
    needs: Needs,
    /// The last task that was read; `None` when nothing is behind it.
    read_to: Option<Place>,
}

impl Queue {
    /// Whether one of the workers could take a task of it that has no wishes of its own.
    fn fits(&self, workers: &[Worker<'_>]) -> bool {
        let any = Waiting {
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
pub struct Heads<'a> {
    /// The tasks.
    pub tasks: Vec<Head>,
    queues: Vec<Queue>,
    from: QueueReader<'a>,
}

/// What queues are read from.
#[derive(Debug, Clone, Copy)]
pub struct QueueReader<'a> {
    /// Where they are.
    pub store: &'a Store,
    /// Whether emulating workers may build for a target.
    pub targets: &'a Targets,
    /// How far they were read before.
    pub further: &'a Further,
}

/// How far queues were read whose heads nobody could take: the last task that was seen. Cheap to
/// clone. Lost with the process, which costs a few looks.
#[derive(Debug, Clone, Default)]
pub struct Further(Arc<Mutex<HashMap<QueueKey, Place>>>);

impl Further {
    fn place(&self, queue: &Queue) -> Option<Place> {
        let places = self.0.lock();
        places.get(&(queue.arch, queue.needs.clone())).copied()
    }

    /// Reading goes on behind this place the next time; `None` begins anew.
    fn set(&self, queue: &Queue, place: Option<Place>) {
        let mut places = self.0.lock();
        let key = (queue.arch, queue.needs.clone());
        match place {
            Some(place) => places.insert(key, place),
            None => places.remove(&key),
        };
    }
}

impl<'a> Heads<'a> {
    /// The heads of the queues for which there are free slots, by architecture.
    ///
    /// # Errors
    /// Database errors.
    pub async fn read(from: QueueReader<'a>, free: &BTreeMap<Arch, u32>) -> anyhow::Result<Self> {
        let mut heads = Self { tasks: Vec::new(), queues: Vec::new(), from };
        for (arch, needs) in from.store.ready_queues().await? {
            let (Ok(arch), Ok(needs)) = (arch.parse::<Arch>(), needs.parse::<Needs>()) else {
                continue;
            };
            let Some(slots) = free.get(&arch) else { continue };
            let limit = (i64::from(*slots) * 2 + SPARE).min(AT_ONCE);
            heads.queues.push(Queue { arch, needs, read_to: None });
            heads.read_page(heads.queues.len() - 1, None, limit).await?;
        }
        heads.sort();
        Ok(heads)
    }

    /// Reads on in queues of which no task was placed although a worker is free for them. `workers`
    /// are as matching left them, `placed` are the tasks that have one, by their index. False when
    /// there is nothing to read.
    ///
    /// # Errors
    /// Database errors.
    pub async fn read_on(
        &mut self,
        workers: &[Worker<'_>],
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
            self.read_page(index, Some(place), AT_ONCE).await?;
            let queue = &self.queues[index];
            self.from.further.set(queue, queue.read_to);
        }
        self.sort();
        Ok(self.tasks.len() > before)
    }

    /// Whether another look may place more: a queue of which tasks were placed goes on, and a
    /// worker is free for it.
    pub fn has_more(&self, workers: &[Worker<'_>], placed: impl Iterator<Item = usize>) -> bool {
        let goes_on = |queue: &Queue| queue.read_to.is_some() && queue.fits(workers);
        self.queues_of(placed).into_iter().any(|queue| goes_on(&self.queues[queue]))
    }

    /// The tasks as matching sees them.
    pub fn waiting(&self) -> Vec<Waiting<'_>> {
        self.tasks
            .iter()
            .map(|head| Waiting {
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
        after: Option<Place>,
        limit: i64,
    ) -> anyhow::Result<()> {
        let QueueReader { store, targets, .. } = self.from;
        let queue = &mut self.queues[index];
        let (arch, needs) = (queue.arch.as_str(), queue.needs.to_string());
        let page = store.ready_after(arch, &needs, after, limit).await?;
        let is_full = page.len() >= usize::try_from(limit)?;
        queue.read_to = page.last().filter(|_| is_full).map(|last| (last.rank, last.task));
        for ready in page {
            let avoid = match ready.tries {
                0 => Vec::new(),
                _ => store.workers_that_failed(TaskId(ready.task)).await?,
            };
            let emulation = targets.get(&ready.target).is_ok_and(|target| target.emulation);
            let Queue { arch, needs, .. } = &self.queues[index];
            let (arch, needs) = (*arch, needs.clone());
            self.tasks.push(Head { ready, arch, needs, avoid, emulation, queue: index });
        }
        Ok(())
    }
}
