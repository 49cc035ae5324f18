//! What was heard of the workers since this coordinator started. Nothing here matters for
//! correctness: leases are in the store, and a worker that is known here only is heard again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rpmfarm_core::lease::{Liveness, liveness};
use rpmfarm_core::task::{Phase, Progress, WorkerState};
use rpmfarm_core::{Arch, AttemptId};
use tokio::sync::Notify;

use super::held::Held;

/// All workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    started: Instant,
    inner: Arc<Mutex<Inner>>,
    held: Held,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: u64,
    workers: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    state: WorkerState,
    /// The newest session; 0 when it has hung up.
    session: u64,
    heard: Instant,
    heard_us: i64,
    /// How often it was poked.
    news: u64,
    poke: Arc<Notify>,
}

/// A worker as it was last heard.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// What it said.
    pub state: WorkerState,
    /// Whether it is alive, stale or gone.
    pub liveness: Liveness,
    /// When it was heard, in microseconds since 1970.
    pub heard_us: i64,
}

/// One connection of a worker.
#[derive(Debug)]
pub struct Session {
    fleet: Fleet,
    name: String,
    id: u64,
    poke: Arc<Notify>,
}

impl Fleet {
    /// A fleet of which nothing was heard yet.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self { started, inner: Arc::default(), held: Held::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no one panics while holding the fleet")
    }

    /// A worker has connected. Its earlier session, if any, is over.
    #[must_use]
    pub fn connect(&self, state: WorkerState, now: Instant, now_us: i64) -> Session {
        let mut inner = self.lock();
        inner.sessions += 1;
        let id = inner.sessions;
        let name = state.name.clone();
        let poke = Arc::new(Notify::new());
        let known =
            Known { state, session: id, heard: now, heard_us: now_us, news: 0, poke: poke.clone() };
        if let Some(before) = inner.workers.insert(name.clone(), known) {
            before.poke.notify_one();
        }
        Session { fleet: self.clone(), name, id, poke }
    }

    /// Every worker as it was last heard, by name.
    #[must_use]
    pub fn workers(&self, now: Instant) -> BTreeMap<String, WorkerView> {
        let inner = self.lock();
        let view = |known: &Known| WorkerView {
            state: known.state.clone(),
            liveness: liveness(now.saturating_duration_since(known.heard), known.session != 0),
            heard_us: known.heard_us,
        };
        inner.workers.iter().map(|(name, known)| (name.clone(), view(known))).collect()
    }

    /// How long a worker was not heard. One that was never heard is silent since the start.
    #[must_use]
    pub fn silence(&self, worker: &str, now: Instant) -> Duration {
        let heard = self.lock().workers.get(worker).map_or(self.started, |known| known.heard);
        now.saturating_duration_since(heard)
    }

    /// What workers hold.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Lets a worker's session look at what the worker should have.
    pub fn poke(&self, worker: &str) {
        if let Some(known) = self.lock().workers.get_mut(worker) {
            known.news += 1;
            known.poke.notify_one();
        }
    }

    /// How often a worker was poked: while that is the same, so is what it should have.
    #[must_use]
    pub fn news(&self, worker: &str) -> u64 {
        self.lock().workers.get(worker).map_or(0, |known| known.news)
    }

    /// The phases of all running attempts.
    #[must_use]
    pub fn phases(&self) -> HashMap<AttemptId, Phase> {
        let inner = self.lock();
        let reports = inner.workers.values().flat_map(|known| &known.state.attempts);
        reports
            .filter_map(|report| match report.progress {
                Progress::Running(phase) => Some((report.attempt, phase)),
                Progress::NeedsRequires { .. } => Some((report.attempt, Phase::Requires)),
                Progress::Ended(_) => None,
            })
            .collect()
    }

    /// Architectures that any worker was ever heard to build for.
    #[must_use]
    pub fn arches(&self) -> Vec<Arch> {
        let inner = self.lock();
        let mut arches: Vec<Arch> =
            inner.workers.values().flat_map(|known| known.state.arches.clone()).collect();
        arches.sort_unstable();
        arches.dedup();
        arches
    }
}

impl Session {
    /// The worker's name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.name
    }

    /// The worker has spoken. False when a newer session of it is there: then this one is over.
    #[must_use]
    pub fn heard(&self, state: WorkerState, now: Instant, now_us: i64) -> bool {
        let mut inner = self.fleet.lock();
        match inner.workers.get_mut(&self.name) {
            Some(known) if known.session == self.id => {
                known.state = state;
                known.heard = now;
                known.heard_us = now_us;
                true
            }
            _ => false,
        }
    }

    /// Whether it is still the worker's newest session.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.fleet.lock().workers.get(&self.name).is_some_and(|known| known.session == self.id)
    }

    /// Waits until there may be something to tell the worker.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.fleet.lock();
        if let Some(known) = inner.workers.get_mut(&self.name)
            && known.session == self.id
        {
            known.session = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str) -> WorkerState {
        WorkerState {
            name: name.into(),
            version: "1".into(),
            protocol: rpmfarm_core::fleet::PROTOCOL,
            arches: vec![Arch::X86_64],
            slots: 1,
            cpus: 1,
            memory_mib: 1,
            disk_free_mib: 1,
            labels: Vec::new(),
            draining: false,
            attempts: Vec::new(),
        }
    }

    #[test]
    fn the_newest_session_counts_and_silence_starts_with_the_coordinator() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fleet = Fleet::new(start);
        assert_eq!(fleet.silence("w", at(7)), Duration::from_secs(7));

        let first = fleet.connect(state("w"), at(10), 0);
        let second = fleet.connect(state("w"), at(11), 0);
        assert!(!first.heard(state("w"), at(12), 0));
        assert!(!first.is_current());
        assert!(second.heard(state("w"), at(13), 0));
        assert_eq!(fleet.silence("w", at(14)), Duration::from_secs(1));
        drop(first);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Alive);
        drop(second);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Stale);
        assert_eq!(fleet.workers(at(60))["w"].liveness, Liveness::Gone);
    }
}
