//! The leases that workers hold: a copy in memory, from which free slots are counted.
//!
//! The leases are in the store. The copy follows what this process grants and ends, and is read
//! again every second, which corrects whatever it missed; it is never counted up and down.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::AttemptId;
use rpmfarm_core::placement::HeldTask;

/// How long the copy is used before the store is read again. Free slots are counted in every pass,
/// and the list of live leases is long.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The copy. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LiveLeaseCache(Arc<Mutex<LiveLeases>>);

#[derive(Debug, Default)]
struct LiveLeases {
    by_worker: HashMap<String, HashMap<AttemptId, HeldTask>>,
    /// When the store was read; `None` before the first time.
    read: Option<Instant>,
    /// Attempts that ended while the store is being read, because the answer may still contain
    /// them.
    ended: Option<HashSet<AttemptId>>,
}

/// The load of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerLoad {
    pub attempts: u32,
    /// Those of them that make SRPMs.
    pub srpms: u32,
    /// The sum of the memory that its attempts are known to need, in MiB.
    pub memory_mib: u64,
}

impl WorkerLoad {
    /// Counts a task that the worker holds.
    pub fn add(&mut self, task: &HeldTask) {
        self.attempts = self.attempts.saturating_add(1);
        self.srpms = self.srpms.saturating_add(u32::from(task.srpm));
        self.memory_mib = self.memory_mib.saturating_add(task.needs.memory_mib);
    }
}

impl LiveLeaseCache {
    /// Whether the store must be read again. If so, ends are remembered until
    /// [`LiveLeaseCache::replace`].
    #[must_use]
    pub fn begin_read(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        let due = inner.read.is_none_or(|read| now.saturating_duration_since(read) >= GOOD_FOR);
        if due {
            inner.ended = Some(HashSet::new());
        }
        due
    }

    /// Replaces the copy by the leases of the store. Returns the workers whose leases differed from
    /// the copy: they must be notified.
    #[must_use]
    pub fn replace(&self, live: Vec<(String, AttemptId, HeldTask)>, now: Instant) -> Vec<String> {
        let mut inner = self.lock();
        let ended = inner.ended.take().unwrap_or_default();
        let mut by_worker = HashMap::<String, HashMap<AttemptId, HeldTask>>::new();
        for (worker, attempt, task) in live {
            if !ended.contains(&attempt) {
                by_worker.entry(worker).or_default().insert(attempt, task);
            }
        }
        by_worker.retain(|_, attempts| !attempts.is_empty());
        inner.by_worker.retain(|_, attempts| !attempts.is_empty());
        let none = HashMap::new();
        let differs = |name: &&String| {
            let of = |map: &HashMap<String, HashMap<AttemptId, HeldTask>>| {
                let mut ids: Vec<AttemptId> =
                    map.get(*name).unwrap_or(&none).keys().copied().collect();
                ids.sort_unstable();
                ids
            };
            of(&by_worker) != of(&inner.by_worker)
        };
        let mut changed: Vec<String> =
            by_worker.keys().chain(inner.by_worker.keys()).filter(differs).cloned().collect();
        changed.sort_unstable();
        changed.dedup();
        inner.by_worker = by_worker;
        inner.read = Some(now);
        changed
    }

    /// A lease was granted to a worker.
    pub fn granted(&self, worker: &str, attempt: AttemptId, task: HeldTask) {
        self.lock().by_worker.entry(worker.to_owned()).or_default().insert(attempt, task);
    }

    /// A lease of a worker has ended.
    pub fn ended(&self, worker: &str, attempt: AttemptId) {
        let mut inner = self.lock();
        if let Some(attempts) = inner.by_worker.get_mut(worker) {
            attempts.remove(&attempt);
        }
        if let Some(ended) = &mut inner.ended {
            ended.insert(attempt);
        }
    }

    /// The load of each worker.
    #[must_use]
    pub fn loads(&self) -> HashMap<String, WorkerLoad> {
        let load = |attempts: &HashMap<AttemptId, HeldTask>| {
            let mut load = WorkerLoad::default();
            attempts.values().for_each(|task| load.add(task));
            load
        };
        let inner = self.lock();
        inner.by_worker.iter().map(|(name, attempts)| (name.clone(), load(attempts))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, LiveLeases> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Needs;

    use super::*;

    #[test]
    fn what_ends_while_the_store_is_read_stays_ended() {
        let held = LiveLeaseCache::default();
        let start = Instant::now();
        assert!(held.begin_read(start));
        let needs = Needs { memory_mib: 7, ..Needs::default() };
        let task = |attempt| HeldTask { needs: needs.clone(), srpm: attempt == 2 };
        let live = |numbers: &[i64]| {
            numbers
                .iter()
                .map(|number| ("w".to_owned(), AttemptId(*number), task(*number)))
                .collect::<Vec<_>>()
        };
        assert_eq!(held.replace(live(&[1, 2]), start), ["w"]);
        assert_eq!(held.loads()["w"], WorkerLoad { attempts: 2, srpms: 1, memory_mib: 14 });
        assert!(!held.begin_read(start + GOOD_FOR / 2));

        assert!(held.begin_read(start + GOOD_FOR));
        held.ended("w", AttemptId(1));
        assert!(held.replace(live(&[1, 2]), start + GOOD_FOR).is_empty(), "2 is known");
        assert_eq!(held.loads()["w"].attempts, 1);
        held.granted("w", AttemptId(3), HeldTask::default());
        // A lease that another process ended is seen at the next read.
        assert!(held.begin_read(start + GOOD_FOR * 2));
        assert_eq!(held.replace(live(&[3]), start + GOOD_FOR * 2), ["w"]);
        assert_eq!(held.loads()["w"].attempts, 1);
    }
}
