//! A pool of long tasks of one kind, side by side, each known by its key.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::{REST, log_failure};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// A bounded number of tasks at once, each known by its key, no key twice. A task that failed
/// pauses for a second before its key is free again, and gives its slot to others meanwhile: those
/// that always fail do not hold up the rest.
///
/// A task may have a fairness key, such as a git host or a target, and a key may hold no more slots
/// than remain free. One key whose tasks hang takes half of the pool, the next one a quarter: of
/// eight slots all are held only when four keys hang, of sixteen when five do.
#[derive(Debug, Clone)]
pub struct KeyedTaskPool<K> {
    name: &'static str,
    slots: usize,
    tasks: Arc<Mutex<Tasks<K>>>,
    bus: Bus,
    metrics: Option<Metrics>,
}

#[derive(Debug)]
struct Tasks<K> {
    /// The tasks that hold a slot, with their fairness keys.
    running: HashMap<K, Option<String>>,
    /// The tasks that failed and have given their slots back.
    pausing: HashSet<K>,
}

impl<K> Default for Tasks<K> {
    fn default() -> Self {
        Self { running: HashMap::new(), pausing: HashSet::new() }
    }
}

impl<K: Eq + Hash> Tasks<K> {
    /// Whether one of `slots` is free for a fairness key.
    fn has_slot(&self, slots: usize, fairness_key: Option<&str>) -> bool {
        let free = slots.saturating_sub(self.running.len());
        let same = |other: &&Option<String>| other.as_deref() == fairness_key;
        let held = fairness_key.map_or(0, |_| self.running.values().filter(same).count());
        held < free
    }

    fn contains(&self, key: &K) -> bool {
        self.running.contains_key(key) || self.pausing.contains(key)
    }
}

impl<K> KeyedTaskPool<K> {
    /// A pool of so many slots, with its name in the log. It wakes the bus for each slot that
    /// becomes free.
    #[must_use]
    pub fn new(name: &'static str, slots: usize, bus: Bus) -> Self {
        Self { name, slots, tasks: Arc::default(), bus, metrics: None }
    }

    /// The same pool, with the durations of its tasks in the metrics.
    #[must_use]
    pub fn measured(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Tasks<K>> {
        self.tasks.lock()
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> KeyedTaskPool<K> {
    /// Starts a task, unless its key is in the pool already or no slot is free.
    pub fn spawn<F>(&self, key: K, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        if let Some(slot) = self.reserve(key) {
            slot.spawn(work);
        }
    }

    /// Starts a task, unless its key is in the pool already or no slot is free for the fairness
    /// key.
    pub fn spawn_for<F>(&self, fairness_key: &str, key: K, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        if let Some(slot) = self.reserve_for(fairness_key, key) {
            slot.spawn(work);
        }
    }

    /// Takes a slot for a task that is started afterwards, by [`SlotGuard::spawn`]; `None` when its
    /// key is in the pool already or no slot is free.
    #[must_use]
    pub fn reserve(&self, key: K) -> Option<SlotGuard<K>> {
        self.take_slot(key, None)
    }

    /// The same, where a slot has to be free for the fairness key.
    #[must_use]
    pub fn reserve_for(&self, fairness_key: &str, key: K) -> Option<SlotGuard<K>> {
        self.take_slot(key, Some(fairness_key))
    }

    fn take_slot(&self, key: K, fairness_key: Option<&str>) -> Option<SlotGuard<K>> {
        let mut tasks = self.lock();
        if tasks.contains(&key) || !tasks.has_slot(self.slots, fairness_key) {
            return None;
        }
        tasks.running.insert(key.clone(), fairness_key.map(str::to_owned));
        Some(SlotGuard { key, pool: self.clone() })
    }

    /// How many tasks are in the pool, including those that pause.
    #[must_use]
    pub fn busy(&self) -> usize {
        let tasks = self.lock();
        tasks.running.len() + tasks.pausing.len()
    }

    /// The keys of all tasks in the pool, including those that pause.
    #[must_use]
    pub fn keys(&self) -> HashSet<K> {
        let tasks = self.lock();
        tasks.running.keys().chain(&tasks.pausing).cloned().collect()
    }
}

/// A slot of a pool. Dropping it frees slot and key and wakes the bus, even when the task panicked.
#[derive(Debug)]
pub struct SlotGuard<K: Eq + Hash> {
    key: K,
    pool: KeyedTaskPool<K>,
}

impl<K: Clone + Eq + Hash + Send + 'static> SlotGuard<K> {
    /// Starts the task, which keeps the slot until it ends.
    pub fn spawn<F>(self, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        tokio::spawn(async move {
            // Moved into the task, so that the slot is freed even when the work panics.
            let slot = self;
            let begun = Instant::now();
            let ended = work.await;
            if let (Ok(()), Some(metrics)) = (&ended, &slot.pool.metrics) {
                metrics.worked(slot.pool.name, begun.elapsed());
            }
            if let Err(error) = ended {
                log_failure("work", slot.pool.name, &error);
                slot.pause();
                Clock.sleep(REST).await;
            }
            drop(slot);
        });
    }

    /// Frees the slot, and keeps the key.
    fn pause(&self) {
        let mut tasks = self.pool.lock();
        tasks.running.remove(&self.key);
        tasks.pausing.insert(self.key.clone());
        // Released first, because the woken pass takes the lock.
        drop(tasks);
        self.pool.bus.wake();
    }
}

impl<K: Eq + Hash> Drop for SlotGuard<K> {
    fn drop(&mut self) {
        let mut tasks = self.pool.lock();
        tasks.running.remove(&self.key);
        tasks.pausing.remove(&self.key);
        drop(tasks);
        self.pool.bus.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_is_bounded_and_starts_no_key_twice() {
        let bus = Bus::default();
        let pool = KeyedTaskPool::new("test", 2, bus.clone());
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let started = Arc::new(Mutex::new(Vec::new()));
        let start = |key: i32| {
            let (gate, started) = (gate.clone(), started.clone());
            pool.spawn(key, async move {
                started.lock().push(key);
                gate.acquire().await?.forget();
                Ok(())
            });
        };
        let mut listener = bus.listen();
        for key in [1, 1, 2, 3] {
            start(key);
        }
        tokio::task::yield_now().await;
        assert_eq!((pool.busy(), started.lock().len()), (2, 2));
        gate.add_permits(1);
        listener.woken().await;
        start(3);
        gate.add_permits(2);
        while pool.busy() > 0 {
            listener.woken().await;
        }
        assert_eq!(started.lock().len(), 3);
    }

    /// Eight slots: of three hosts that hang, the first gets four, the second two, the third one.
    /// The last slot is there for a fourth.
    #[tokio::test]
    async fn hosts_that_hang_leave_a_slot_for_others() {
        let pool = KeyedTaskPool::new("test", 8, Bus::default());
        let started = Arc::new(Mutex::new(Vec::new()));
        let hang = |host: &'static str, key: i32| {
            let started = started.clone();
            pool.spawn_for(host, key, async move {
                started.lock().push(host);
                std::future::pending().await
            });
        };
        for (number, host) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let first = i32::try_from(number).unwrap() * 100;
            (first..first + 20).for_each(|key| hang(host, key));
        }
        tokio::task::yield_now().await;
        let started = started.lock();
        let count = |host| started.iter().filter(|one| **one == host).count();
        assert_eq!(["a", "b", "c", "d"].map(count), [4, 2, 1, 1]);
    }

    #[tokio::test]
    async fn a_task_that_failed_pauses_and_leaves_its_slot_to_others() {
        let bus = Bus::default();
        let pool = KeyedTaskPool::new("test", 1, bus.clone());
        let mut listener = bus.listen();
        pool.spawn(1, async { anyhow::bail!("no") });
        listener.woken().await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        pool.spawn(1, async { panic!("it pauses") });
        pool.spawn(2, async move {
            let _ = sender.send(());
            Ok(())
        });
        receiver.await.expect("the second one is started while the first pauses");
        while pool.busy() > 0 {
            listener.woken().await;
        }
    }
}
