//! One connection of a worker: only its newest one counts, and its end is noticed.
//!
//! Owns which session speaks for a worker. It must not know the messages of the protocol, nor what
//! the worker is assigned.

use std::sync::Arc;
use std::time::Instant;

use rpmfarm_core::Timestamp;
use rpmfarm_core::task::WorkerState;
use tokio::sync::Notify;

use super::{Fleet, WorkerEntry};
use crate::clock::Clock;

/// One connection of a worker.
#[derive(Debug)]
pub struct WorkerSession {
    fleet: Fleet,
    name: String,
    id: u64,
    wake: Arc<Notify>,
}

impl Fleet {
    /// Registers a worker's connection. The worker's earlier session, if any, ends. The worker gets
    /// work once its session is settled.
    #[must_use]
    pub fn connect(&self, state: WorkerState, now: Instant, time: Timestamp) -> WorkerSession {
        let mut inner = self.lock();
        inner.sessions += 1;
        let id = inner.sessions;
        let name = state.name.clone();
        let wake = Arc::new(Notify::new());
        let probe = inner.workers.get(&name).map_or(0, |known| known.probe);
        let known = WorkerEntry {
            state,
            probe,
            session: id,
            settled: false,
            hung_up: None,
            heard: now,
            heard_at: time,
            news: 0,
            wake: wake.clone(),
        };
        if let Some(before) = inner.workers.insert(name.clone(), known) {
            before.wake.notify_one();
        }
        WorkerSession { fleet: self.clone(), name, id, wake }
    }

    /// Workers that this coordinator has heard and recorded as its own, each with the number of its
    /// session; 0 after the session ended.
    #[must_use]
    pub fn sessions(&self) -> Vec<(String, u64)> {
        let inner = self.lock();
        let settled = inner.workers.iter().filter(|(_, known)| known.settled);
        settled.map(|(name, known)| (name.clone(), known.session)).collect()
    }

    /// Forgets a worker that another coordinator hears now; its session here, if it is still this
    /// one, ends.
    pub fn moved(&self, worker: &str, session: u64) {
        let mut inner = self.lock();
        if inner.workers.get(worker).is_some_and(|known| known.session == session)
            && let Some(known) = inner.workers.remove(worker)
        {
            known.wake.notify_one();
        }
    }
}

impl WorkerSession {
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.name
    }

    /// Records a message of the worker. False when the worker has a newer session, which ends this
    /// one.
    #[must_use]
    pub fn heard(&self, state: WorkerState, now: Instant, time: Timestamp) -> bool {
        let mut inner = self.fleet.lock();
        match inner.workers.get_mut(&self.name) {
            Some(known) if known.session == self.id => {
                known.state = state;
                known.heard = now;
                known.heard_at = time;
                true
            }
            _ => false,
        }
    }

    /// Whether this is still the worker's newest session.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.fleet.lock().workers.get(&self.name).is_some_and(|known| known.session == self.id)
    }

    /// The first state of the session has been recorded in the store, so that attempts that the
    /// worker is given from now on are not taken for lost. True the first time.
    pub fn settle(&self) -> bool {
        let mut inner = self.fleet.lock();
        match inner.workers.get_mut(&self.name) {
            Some(known) if known.session == self.id => !std::mem::replace(&mut known.settled, true),
            _ => false,
        }
    }

    /// Waits until the session was woken.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let mut inner = self.fleet.lock();
        // An old session may end long after the worker's next one began, and must not end that one.
        if let Some(known) = inner.workers.get_mut(&self.name)
            && known.session == self.id
        {
            known.session = 0;
            known.hung_up = Some(Clock.instant());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpmfarm_core::lease::{LeaseTerms, Liveness};

    use super::super::tests::state;
    use super::*;

    #[test]
    fn the_newest_session_counts_and_silence_starts_with_the_coordinator() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fleet = Fleet::new(start, LeaseTerms::default());
        assert_eq!(fleet.silence("w", at(7)), Duration::from_secs(7));

        let first = fleet.connect(state("w"), at(10), Timestamp::ZERO);
        let second = fleet.connect(state("w"), at(11), Timestamp::ZERO);
        assert!(!first.heard(state("w"), at(12), Timestamp::ZERO));
        assert!(!first.is_current());
        assert!(second.heard(state("w"), at(13), Timestamp::ZERO));
        assert_eq!(fleet.silence("w", at(14)), Duration::from_secs(1));
        drop(first);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Stale, "not settled");
        assert!(second.settle() && !second.settle());
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Alive);
        drop(second);
        assert_eq!(fleet.workers(at(14))["w"].liveness, Liveness::Stale);
        assert_eq!(fleet.workers(at(60))["w"].liveness, Liveness::Gone);
    }
}
