//! Waking the sessions of workers, here and at other coordinators, and asking workers to probe
//! their architectures again.
//!
//! Owns that a session is woken. What there is to send, the woken session finds out itself.

use super::{Fleet, WorkerEntry};
use crate::bus::PeerMessage;

impl Fleet {
    /// Has a worker's session read again what the worker should have, wherever the worker is
    /// connected.
    pub fn wake_session(&self, worker: &str) {
        if !self.wake_local_session(worker) {
            self.notifier.send(PeerMessage::WakeSession(worker.to_owned()));
        }
    }

    /// Wakes a worker's session if it is connected here, and returns whether it is.
    pub fn wake_local_session(&self, worker: &str) -> bool {
        let mut inner = self.lock();
        let known = inner.workers.get_mut(worker).filter(|known| known.session != 0);
        known.map(WorkerEntry::add_news).is_some()
    }

    /// Wakes all sessions that are connected here.
    pub fn wake_local_sessions(&self) {
        for known in self.lock().workers.values_mut() {
            known.add_news();
        }
    }

    /// How often a worker's session was woken. While the number is the same, the worker's desired
    /// state is, too.
    #[must_use]
    pub fn news(&self, worker: &str) -> u64 {
        self.lock().workers.get(worker).map_or(0, |known| known.news)
    }

    /// Has a worker try again which architectures it can run.
    pub fn ask_for_probe(&self, worker: &str) {
        if let Some(known) = self.lock().workers.get_mut(worker) {
            known.probe += 1;
            known.news += 1;
            known.wake.notify_one();
        }
    }

    /// How often a worker was asked to probe its architectures.
    #[must_use]
    pub fn probe(&self, worker: &str) -> u64 {
        self.lock().workers.get(worker).map_or(0, |known| known.probe)
    }
}
