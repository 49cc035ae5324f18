//! What was heard of the workers since this coordinator started. Nothing here matters for
//! correctness: leases are in the store, and a worker that is known here only is heard again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rpmfarm_core::lease::{LeaseTerms, Liveness, listening, liveness};
use rpmfarm_core::task::{Phase, Progress, WorkerState};
use rpmfarm_core::{Arch, AttemptId};
use tokio::sync::Notify;

/// All workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    terms: LeaseTerms,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// Since when this coordinator listens without a break.
    listening: Instant,
    /// When the leases were last looked at.
    looked: Instant,
    sessions: u64,
    workers: BTreeMap<String, Known>,
}

impl Inner {
    /// How long a worker was not heard, as far as anybody listened.
    fn silence(&self, known: Option<&Known>, now: Instant) -> Duration {
        let heard = known.map_or(self.listening, |known| known.heard.max(self.listening));
        now.saturating_duration_since(heard)
    }
}

#[derive(Debug)]
struct Known {
    state: WorkerState,
    /// The newest session; 0 when it has hung up.
    session: u64,
    /// Whether what that session said first is in the store.
    settled: bool,
    heard: Instant,
    heard_us: i64,
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
    /// A fleet of which nothing was heard yet, held to these terms.
    #[must_use]
    pub fn new(started: Instant, terms: LeaseTerms) -> Self {
        let inner =
            Inner { listening: started, looked: started, sessions: 0, workers: BTreeMap::new() };
        Self { terms, inner: Arc::new(Mutex::new(inner)) }
    }

    /// How often workers speak, and how long they may be silent.
    #[must_use]
    pub const fn terms(&self) -> LeaseTerms {
        self.terms
    }

    /// To be called before each look at the leases. When the last one is long ago, this
    /// coordinator was stopped or starved: what it did not hear then is held against nobody.
    pub fn look(&self, now: Instant) {
        let mut inner = self.lock();
        if !listening(self.terms, now.saturating_duration_since(inner.looked)) {
            inner.listening = now;
        }
        inner.looked = now;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no one panics while holding the fleet")
    }

    /// A worker has connected. Its earlier session, if any, is over. It gets work once its session
    /// is settled.
    #[must_use]
    pub fn connect(&self, state: WorkerState, now: Instant, now_us: i64) -> Session {
        let mut inner = self.lock();
        inner.sessions += 1;
        let id = inner.sessions;
        let name = state.name.clone();
        let poke = Arc::new(Notify::new());
        let known = Known {
            state,
            session: id,
            settled: false,
            heard: now,
            heard_us: now_us,
            poke: poke.clone(),
        };
        if let Some(before) = inner.workers.insert(name.clone(), known) {
            before.poke.notify_one();
        }
        Session { fleet: self.clone(), name, id, poke }
    }

    /// Every worker as it was last heard, by name.
    #[must_use]
    pub fn workers(&self, now: Instant) -> BTreeMap<String, WorkerView> {
        let inner = self.lock();
        let view = |known: &Known| {
            let connected = known.session != 0 && known.settled;
            WorkerView {
                state: known.state.clone(),
                liveness: liveness(self.terms, inner.silence(Some(known), now), connected),
                heard_us: known.heard_us,
            }
        };
        inner.workers.iter().map(|(name, known)| (name.clone(), view(known))).collect()
    }

    /// How long a worker was not heard. One that was never heard is silent since the start.
    #[must_use]
    pub fn silence(&self, worker: &str, now: Instant) -> Duration {
        let inner = self.lock();
        inner.silence(inner.workers.get(worker), now)
    }

    /// Lets a worker's session look at what the worker should have.
    pub fn poke(&self, worker: &str) {
        if let Some(known) = self.lock().workers.get(worker) {
            known.poke.notify_one();
        }
    }

    /// Pokes all of them.
    pub fn poke_all(&self) {
        for known in self.lock().workers.values() {
            known.poke.notify_one();
        }
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

    /// What the session said first is in the store, so that what the worker is given from now on
    /// is not taken for lost. True the first time.
    pub fn settle(&self) -> bool {
        let mut inner = self.fleet.lock();
        match inner.workers.get_mut(&self.name) {
            Some(known) if known.session == self.id => !std::mem::replace(&mut known.settled, true),
            _ => false,
        }
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
            draining: false,
            unready: String::new(),
            attempts: Vec::new(),
        }
    }

    #[test]
    fn the_newest_session_counts_and_silence_starts_with_the_coordinator() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fleet = Fleet::new(start, LeaseTerms::default());
        assert_eq!(fleet.silence("w", at(7)), Duration::from_secs(7));

        let first = fleet.connect(state("w"), at(10), 0);
        let second = fleet.connect(state("w"), at(11), 0);
        assert!(!first.heard(state("w"), at(12), 0));
        assert!(!first.is_current());
        assert!(second.heard(state("w"), at(13), 0));
        assert_eq!(fleet.silence("w", at(14)), Duration::from_secs(1));
        drop(first);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Stale, "not settled");
        assert!(second.settle() && !second.settle());
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Alive);
        drop(second);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Stale);
        assert_eq!(fleet.workers(at(60))["w"].liveness, Liveness::Gone);
    }

    #[test]
    fn what_a_stopped_coordinator_did_not_hear_is_held_against_nobody() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fleet = Fleet::new(start, LeaseTerms::default());
        let session = fleet.connect(state("w"), at(0), 0);
        session.settle();
        for second in 1..=20 {
            fleet.look(at(second));
        }
        assert_eq!(fleet.silence("w", at(20)), Duration::from_secs(20));
        // A minute without a look: the coordinator was stopped.
        fleet.look(at(80));
        assert_eq!(fleet.silence("w", at(81)), Duration::from_secs(1));
        assert_eq!(fleet.silence("never heard", at(81)), Duration::from_secs(1));
        assert_eq!(fleet.workers(at(81))["w"].liveness, Liveness::Alive);
        for second in 81..=110 {
            fleet.look(at(second));
        }
        assert_eq!(fleet.workers(at(110))["w"].liveness, Liveness::Gone);
    }
}
