//! How passes run: a dumb loop that wakes when something was written, and crews that do the
//! long pieces of a stage side by side.
//!
//! It must not know what a pass does.

use std::collections::HashSet;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bus::Bus;
use crate::observe::Metrics;
use crate::store::StoreError;

/// A pass looks at least so often, for what no bell rings for: retries that are due, leases.
const PERIOD: Duration = Duration::from_secs(1);

/// The least time between two looks of a pass, so that a storm of bells costs little. What comes
/// after a pause is looked at at once.
const GAP: Duration = Duration::from_millis(5);

/// How long a piece of work rests after a fault of the farm's own, as a database that is down.
const REST: Duration = Duration::from_secs(1);

/// Runs a pass whenever the bell rings, and now and then, until the task is dropped.
pub async fn run<F>(name: &'static str, bus: Bus, pass: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    run_every(name, PERIOD, bus, pass).await;
}

/// The same for a pass that looks at least each `period`.
pub async fn run_every<F>(
    name: &'static str,
    period: Duration,
    bus: Bus,
    mut pass: impl FnMut() -> F,
) where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut bell = bus.listen();
    loop {
        let begun = Instant::now();
        if let Err(error) = pass().await {
            tell("pass", name, &error);
            tokio::time::sleep(REST).await;
        }
        let took = begun.elapsed();
        tokio::time::sleep(took.max(GAP.saturating_sub(took)).min(PERIOD)).await;
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// Tells of work that failed. Work whose stage went to another coordinator meanwhile is that
/// one's to do, and no fault.
fn tell(what: &str, name: &str, error: &anyhow::Error) {
    match error.downcast_ref() {
        Some(StoreError::Fenced { .. }) => tracing::info!(name, "{what} left to another: {error}"),
        _ => tracing::error!(name, error = format!("{error:#}"), "{what} failed"),
    }
}

/// A bounded number of pieces of work at once, each known by its key, none taken twice. A piece
/// that failed rests before it is taken again, and leaves its hand to others meanwhile: those that
/// always fail do not hold up the rest.
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
    at_work: HashSet<K>,
    resting: HashSet<K>,
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self { at_work: HashSet::new(), resting: HashSet::new() }
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
        {
            let mut keys = self.keys.lock().expect("no one panics while holding it");
            let full = keys.at_work.len() >= self.limit;
            if full || keys.resting.contains(&key) || !keys.at_work.insert(key) {
                return;
            }
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
