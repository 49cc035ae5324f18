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

/// A bounded number of pieces of work at once, each known by its key, none taken twice.
#[derive(Debug, Clone)]
pub struct Crew<K> {
    name: &'static str,
    limit: usize,
    busy: Arc<Mutex<HashSet<K>>>,
    bus: Bus,
    metrics: Option<Metrics>,
}

impl<K: Copy + Eq + Hash + Send + 'static> Crew<K> {
    /// A crew of `limit`.
    #[must_use]
    pub fn new(name: &'static str, limit: usize, bus: Bus) -> Self {
        Self { name, limit, busy: Arc::default(), bus, metrics: None }
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
            let mut busy = self.busy.lock().expect("no one panics while holding it");
            if busy.len() >= self.limit || !busy.insert(key) {
                return;
            }
        }
        let place = Place { key, busy: self.busy.clone(), bus: self.bus.clone() };
        let (name, metrics) = (self.name, self.metrics.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let ended = work.await;
            if let (Ok(()), Some(metrics)) = (&ended, metrics) {
                metrics.worked(name, begun.elapsed());
            }
            if let Err(error) = ended {
                tell("work", name, &error);
                tokio::time::sleep(REST).await;
            }
            drop(place);
        });
    }

    /// How many pieces are under way.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.busy.lock().expect("no one panics while holding it").len()
    }
}

/// A place in a crew. Leaving it lets the pass look again, even when the work panicked.
struct Place<K: Eq + Hash> {
    key: K,
    busy: Arc<Mutex<HashSet<K>>>,
    bus: Bus,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        if let Ok(mut busy) = self.busy.lock() {
            busy.remove(&self.key);
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
}
