//! A crew: long pieces of work of one kind, side by side.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{REST, tell};
use crate::bus::Bus;
use crate::metrics::Metrics;

/// A bounded number of pieces of work at once, each known by its key, none taken twice. A piece
/// that failed rests before it is taken again, and leaves its hand to others meanwhile: those that
/// always fail do not hold up the rest.
///
/// Work may be for somebody: a git host, a target. The same one never has more hands than are
/// free: alone it gets half of them, and of those that hang each next one half of what is left.
/// So eight hands are all held only when four hang, sixteen when five do.
#[derive(Debug, Clone)]
pub struct Crew<K> {
    name: &'static str,
    limit: usize,
    keys: Arc<Mutex<Keys<K>>>,
    bus: Bus,
    metrics: Option<Metrics>,
}

#[derive(Debug)]
struct Keys<K> {
    /// Each with whom it is for.
    at_work: HashMap<K, Option<String>>,
    resting: HashSet<K>,
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self { at_work: HashMap::new(), resting: HashSet::new() }
    }
}

impl<K: Eq + Hash> Keys<K> {
    /// Whether one of `limit` hands is there for somebody.
    fn has_hand(&self, limit: usize, whom: Option<&str>) -> bool {
        let free = limit.saturating_sub(self.at_work.len());
        let same = |other: &&Option<String>| other.as_deref() == whom;
        let taken = whom.map_or(0, |_| self.at_work.values().filter(same).count());
        taken < free
    }

    fn is_known(&self, key: &K) -> bool {
        self.at_work.contains_key(key) || self.resting.contains(key)
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Crew<K> {
    /// A crew of `limit`.
    #[must_use]
    pub fn new(name: &'static str, limit: usize, bus: Bus) -> Self {
        Self { name, limit, keys: Arc::default(), bus, metrics: None }
    }

    /// The same crew, whose work is measured.
    #[must_use]
    pub fn measured(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Starts a piece of work unless it is under way or all hands are busy.
    pub fn start<F>(&self, key: K, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.take(key, None, work);
    }

    /// Starts a piece of work for somebody, unless it is under way or there is no hand for them.
    pub fn start_for<F>(&self, whom: &str, key: K, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.take(key, Some(whom), work);
    }

    fn take<F>(&self, key: K, whom: Option<&str>, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        {
            let mut keys = self.keys.lock().expect("no one panics while holding it");
            if keys.is_known(&key) || !keys.has_hand(self.limit, whom) {
                return;
            }
            keys.at_work.insert(key, whom.map(str::to_owned));
        }
        let place = Place { key, keys: self.keys.clone(), bus: self.bus.clone() };
        let (name, metrics) = (self.name, self.metrics.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let ended = work.await;
            if let (Ok(()), Some(metrics)) = (&ended, metrics) {
                metrics.worked(name, begun.elapsed());
            }
            if let Err(error) = ended {
                tell("work", name, &error);
                place.rest();
                tokio::time::sleep(REST).await;
            }
            drop(place);
        });
    }

    /// How many pieces are under way, those that rest among them.
    #[must_use]
    pub fn busy(&self) -> usize {
        let keys = self.keys.lock().expect("no one panics while holding it");
        keys.at_work.len() + keys.resting.len()
    }
}

/// A place in a crew. Leaving it lets the pass look again, even when the work panicked.
struct Place<K: Eq + Hash> {
    key: K,
    keys: Arc<Mutex<Keys<K>>>,
    bus: Bus,
}

impl<K: Copy + Eq + Hash> Place<K> {
    /// Leaves the hand to others, and keeps the key.
    fn rest(&self) {
        if let Ok(mut keys) = self.keys.lock() {
            keys.at_work.remove(&self.key);
            keys.resting.insert(self.key);
        }
        self.bus.ring();
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        if let Ok(mut keys) = self.keys.lock() {
            keys.at_work.remove(&self.key);
            keys.resting.remove(&self.key);
        }
        self.bus.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crew_is_bounded_and_takes_nothing_twice() {
        let bus = Bus::default();
        let crew = Crew::new("test", 2, bus.clone());
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let started = Arc::new(Mutex::new(Vec::new()));
        let start = |key: i32| {
            let (gate, started) = (gate.clone(), started.clone());
            crew.start(key, async move {
                started.lock().unwrap().push(key);
                gate.acquire().await?.forget();
                Ok(())
            });
        };
        let mut bell = bus.listen();
        for key in [1, 1, 2, 3] {
            start(key);
        }
        tokio::task::yield_now().await;
        assert_eq!((crew.busy(), started.lock().unwrap().len()), (2, 2));
        gate.add_permits(1);
        bell.rung().await;
        start(3);
        gate.add_permits(2);
        while crew.busy() > 0 {
            bell.rung().await;
        }
        assert_eq!(started.lock().unwrap().len(), 3);
    }

    /// Eight hands: of three that hang, the first gets four, the second two, the third one. The
    /// last hand is there for a fourth.
    #[tokio::test]
    async fn those_who_hang_leave_a_hand_for_others() {
        let crew = Crew::new("test", 8, Bus::default());
        let started = Arc::new(Mutex::new(Vec::new()));
        let hang = |whom: &'static str, key: i32| {
            let started = started.clone();
            crew.start_for(whom, key, async move {
                started.lock().unwrap().push(whom);
                std::future::pending().await
            });
        };
        for (number, whom) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let first = i32::try_from(number).unwrap() * 100;
            (first..first + 20).for_each(|key| hang(whom, key));
        }
        tokio::task::yield_now().await;
        let started = started.lock().unwrap();
        let count = |whom| started.iter().filter(|one| **one == whom).count();
        assert_eq!(["a", "b", "c", "d"].map(count), [4, 2, 1, 1]);
    }

    #[tokio::test]
    async fn what_fails_rests_and_leaves_its_hand_to_others() {
        let bus = Bus::default();
        let crew = Crew::new("test", 1, bus.clone());
        let mut bell = bus.listen();
        crew.start(1, async { anyhow::bail!("no") });
        bell.rung().await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        crew.start(1, async { panic!("it rests") });
        crew.start(2, async move {
            let _ = sender.send(());
            Ok(())
        });
        receiver.await.expect("the second one is taken while the first rests");
        while crew.busy() > 0 {
            bell.rung().await;
        }
    }
}
