//! What was heard of the workers since this coordinator started, and what other coordinators report
//! of theirs. Correctness does not depend on it: leases are in the store, and after a restart each
//! worker is heard again.
//!
//! Here is what was heard and what follows from silence; `session` is one connection of a worker,
//! `news` wakes sessions that have something to send, and `live_leases` is a copy of the leases for
//! counting. It must not know who grants work, nor who judges a silence.

mod live_leases;
mod news;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::lease::{LeaseTerms, Liveness, listening, liveness};
use rpmfarm_core::task::{Phase, Progress, WorkerState};
use rpmfarm_core::{Arch, AttemptId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::bus::PeerNotifier;

pub use live_leases::{LiveLeaseCache, WorkerLoad};
pub use session::WorkerSession;

/// All workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    terms: LeaseTerms,
    notifier: PeerNotifier,
    inner: Arc<Mutex<FleetState>>,
    live_leases: LiveLeaseCache,
}

#[derive(Debug)]
struct FleetState {
    /// Since when this coordinator listens without a break.
    listening: Instant,
    /// When the leases were last checked.
    last_check: Instant,
    sessions: u64,
    workers: BTreeMap<String, WorkerEntry>,
    /// Workers that are connected to other coordinators, as these last reported.
    elsewhere: BTreeMap<String, WorkerView>,
}

impl FleetState {
    /// How long a worker was not heard while this coordinator was listening.
    fn silence(&self, known: Option<&WorkerEntry>, now: Instant) -> Duration {
        let heard = known.map_or(self.listening, |known| known.heard.max(self.listening));
        now.saturating_duration_since(heard)
    }
}

#[derive(Debug)]
struct WorkerEntry {
    state: WorkerState,
    /// How often the worker was asked to try again which architectures it can run.
    probe: u64,
    /// The number of the newest session; 0 after it ended.
    session: u64,
    /// Whether the first state of that session has been recorded in the store.
    settled: bool,
    /// When its session ended, if the worker has not been heard here since.
    hung_up: Option<Instant>,
    heard: Instant,
    heard_at: Timestamp,
    /// How often its session was woken.
    news: u64,
    wake: Arc<Notify>,
}

impl WorkerEntry {
    /// Counts the news and wakes the session.
    fn add_news(&mut self) {
        self.news += 1;
        self.wake.notify_one();
    }
}

/// A worker as it was last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    pub state: WorkerState,
    pub liveness: Liveness,
    /// When it was last heard. Coordinators send it to each other under the name of its unit.
    #[serde(rename = "heard_us")]
    pub heard_at: Timestamp,
}

impl Fleet {
    /// A fleet of which nothing was heard yet, with these terms of leases.
    #[must_use]
    pub fn new(started: Instant, terms: LeaseTerms) -> Self {
        let inner = FleetState {
            listening: started,
            last_check: started,
            sessions: 0,
            workers: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
        };
        Self {
            terms,
            notifier: PeerNotifier::default(),
            inner: Arc::new(Mutex::new(inner)),
            live_leases: LiveLeaseCache::default(),
        }
    }

    /// How often workers send their state, and how long they may be silent.
    #[must_use]
    pub const fn terms(&self) -> LeaseTerms {
        self.terms
    }

    /// To be called before each check of the leases. When the last check is long ago, this
    /// coordinator was stopped or starved, and the time that it did not listen does not count as
    /// silence.
    pub fn begin_check(&self, now: Instant) {
        let mut inner = self.lock();
        if !listening(self.terms, now.saturating_duration_since(inner.last_check)) {
            inner.listening = now;
        }
        inner.last_check = now;
    }

    /// The same, with a notifier that reaches the sessions of other coordinators.
    #[must_use]
    pub fn with_notifier(self, notifier: PeerNotifier) -> Self {
        Self { notifier, ..self }
    }

    fn view(&self, inner: &FleetState, known: &WorkerEntry, now: Instant) -> WorkerView {
        let connected = known.session != 0 && known.settled;
        WorkerView {
            state: known.state.clone(),
            liveness: liveness(self.terms, inner.silence(Some(known), now), connected),
            heard_at: known.heard_at,
        }
    }

    fn lock(&self) -> MutexGuard<'_, FleetState> {
        self.inner.lock()
    }

    /// Every worker of the farm as it was last heard, by name.
    #[must_use]
    pub fn workers(&self, now: Instant) -> BTreeMap<String, WorkerView> {
        let inner = self.lock();
        let mut all = inner.elsewhere.clone();
        for (name, known) in &inner.workers {
            if known.session != 0 || !all.contains_key(name) {
                all.insert(name.clone(), self.view(&inner, known, now));
            }
        }
        all
    }

    /// The workers that are connected to this coordinator, by name: dispatch grants tasks to these.
    #[must_use]
    pub fn connected(&self, now: Instant) -> BTreeMap<String, WorkerView> {
        let inner = self.lock();
        let connected = inner.workers.iter().filter(|(_, known)| known.session != 0);
        connected.map(|(name, known)| (name.clone(), self.view(&inner, known, now))).collect()
    }

    /// Takes over the reports of the other coordinators on their workers.
    pub fn see_elsewhere(&self, workers: BTreeMap<String, WorkerView>) {
        self.lock().elsewhere = workers;
    }

    /// How long a worker was not heard. One that was never heard is silent since the start.
    #[must_use]
    pub fn silence(&self, worker: &str, now: Instant) -> Duration {
        let inner = self.lock();
        inner.silence(inner.workers.get(worker), now)
    }

    /// How long a worker may be silent before it loses its attempts: its lease, or two thirds of it
    /// when its connection broke and it did not come back.
    #[must_use]
    pub fn patience(&self, worker: &str, now: Instant) -> Duration {
        let inner = self.lock();
        let away = self.terms.away_after();
        let stays_away = |known: &WorkerEntry| {
            let hung_up = known.hung_up.filter(|_| known.session == 0);
            hung_up.is_some_and(|at| now.saturating_duration_since(at.max(inner.listening)) >= away)
        };
        if inner.workers.get(worker).is_some_and(stays_away) { away } else { self.terms.lease() }
    }

    #[must_use]
    pub const fn live_leases(&self) -> &LiveLeaseCache {
        &self.live_leases
    }

    /// The phases of all running attempts.
    #[must_use]
    pub fn phases(&self) -> HashMap<AttemptId, Phase> {
        let inner = self.lock();
        let here = inner.workers.values().flat_map(|known| &known.state.attempts);
        let elsewhere = inner.elsewhere.values().flat_map(|view| &view.state.attempts);
        // Entries of this coordinator are newer than those of its peers.
        elsewhere
            .chain(here)
            .filter_map(|report| match report.progress {
                Progress::Running(phase) => Some((report.attempt, phase)),
                Progress::NeedsRequires { .. } => Some((report.attempt, Phase::Requires)),
                Progress::Ended(_) => None,
            })
            .collect()
    }

    /// Architectures that any worker ever reported to run natively.
    #[must_use]
    pub fn native_arches(&self) -> Vec<Arch> {
        let inner = self.lock();
        let here = inner.workers.values().map(|known| &known.state);
        let elsewhere = inner.elsewhere.values().map(|view| &view.state);
        let mut arches: Vec<Arch> = here
            .chain(elsewhere)
            .flat_map(|state| state.arches.iter().filter(|arch| !state.emulated.contains(arch)))
            .copied()
            .collect();
        arches.sort_unstable();
        arches.dedup();
        arches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::PeerMessage;

    const fn time(us: i64) -> Timestamp {
        Timestamp::from_us(us)
    }

    pub(super) fn state(name: &str) -> WorkerState {
        WorkerState {
            arches: vec![Arch::X86_64, Arch::Aarch64],
            emulated: vec![Arch::Aarch64],
            ..rpmfarm_lab::fixtures::worker(name)
        }
    }

    #[test]
    fn a_worker_that_hung_up_loses_its_attempts_sooner() {
        let start = Instant::now();
        let terms = LeaseTerms::default();
        let fleet = Fleet::new(start, terms);
        let stays = fleet.connect(state("stays"), start, time(0));
        drop(fleet.connect(state("hung up"), start, time(0)));
        let hung_up = Instant::now();
        let away = terms.away_after();
        assert!(away < terms.lease());
        assert_eq!(fleet.patience("hung up", hung_up + away / 2), terms.lease());
        assert_eq!(fleet.patience("hung up", hung_up + away), away);
        assert_eq!(fleet.patience("stays", hung_up + away), terms.lease());
        assert_eq!(fleet.patience("never heard", hung_up + away), terms.lease());
        let back = fleet.connect(state("hung up"), hung_up, time(0));
        assert_eq!(fleet.patience("hung up", hung_up + away), terms.lease());
        drop((stays, back));
    }

    #[test]
    fn what_a_stopped_coordinator_did_not_hear_is_held_against_nobody() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fleet = Fleet::new(start, LeaseTerms::default());
        let session = fleet.connect(state("w"), at(0), time(0));
        session.settle();
        for second in 1..=20 {
            fleet.begin_check(at(second));
        }
        assert_eq!(fleet.silence("w", at(20)), Duration::from_secs(20));
        // A minute without a check: the coordinator was stopped.
        fleet.begin_check(at(80));
        assert_eq!(fleet.silence("w", at(81)), Duration::from_secs(1));
        assert_eq!(fleet.silence("never heard", at(81)), Duration::from_secs(1));
        assert_eq!(fleet.workers(at(81))["w"].liveness, Liveness::Alive);
        for second in 81..=110 {
            fleet.begin_check(at(second));
        }
        assert_eq!(fleet.workers(at(110))["w"].liveness, Liveness::Gone);
    }

    #[test]
    fn a_worker_is_shown_where_it_is_connected() {
        let start = Instant::now();
        let (notifier, mut words) = PeerNotifier::new();
        let fleet = Fleet::new(start, LeaseTerms::default()).with_notifier(notifier);
        let session = fleet.connect(state("w"), start, time(1));
        assert!(fleet.sessions().is_empty(), "it is not settled");
        session.settle();
        let away = WorkerView { state: state("w"), liveness: Liveness::Stale, heard_at: time(7) };
        let other = WorkerView { state: state("v"), liveness: Liveness::Alive, heard_at: time(8) };
        fleet.see_elsewhere([("w".into(), away), ("v".into(), other.clone())].into());
        assert_eq!(fleet.workers(start)["w"].heard_at, time(1), "it is connected here");
        assert_eq!(fleet.workers(start)["v"], other);
        assert_eq!(fleet.connected(start).keys().collect::<Vec<_>>(), ["w"]);

        fleet.wake_session("w");
        assert!(
            words.try_next().is_none(),
            "the session of a worker that is connected here is woken here"
        );
        fleet.wake_session("v");
        assert_eq!(words.try_next(), Some(PeerMessage::WakeSession("v".into())));

        let sessions = fleet.sessions();
        assert_eq!(sessions.len(), 1);
        fleet.moved("w", sessions[0].1 + 1);
        assert!(session.is_current(), "that was an earlier session");
        fleet.moved("w", sessions[0].1);
        assert!(!session.is_current());
        assert_eq!(fleet.workers(start)["w"].heard_at, time(7), "now it is connected elsewhere");
    }

    #[test]
    fn what_is_native_somewhere_is_known_and_a_wish_for_a_probe_outlives_the_session() {
        let now = Instant::now();
        let fleet = Fleet::new(now, LeaseTerms::default());
        let _first = fleet.connect(state("w"), now, time(0));
        assert_eq!(fleet.native_arches(), [Arch::X86_64]);
        assert_eq!(fleet.probe("w"), 0);
        fleet.ask_for_probe("w");
        fleet.ask_for_probe("nobody");
        let _second = fleet.connect(state("w"), now, time(0));
        assert_eq!((fleet.probe("w"), fleet.probe("nobody")), (1, 0));
    }
}
