//! The leases that workers hold: a copy in memory, from which free slots are counted.
//!
//! The leases are in the store. The copy follows what this process grants and ends, and is read
//! again every second, which corrects whatever it missed; it is never counted up and down.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::{AttemptId, Needs};

/// How long the copy is used before the store is read again. Free slots are counted in every pass,
/// and the list of live leases is long.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The copy. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LiveLeaseCache(Arc<Mutex<LiveLeases>>);

#[derive(Debug, Default)]
struct LiveLeases {
    by_worker: HashMap<String, HashMap<AttemptId, Needs>>,
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
    /// The sum of the memory that its attempts are known to need, in MiB.
    pub memory_mib: u64,
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
    pub fn replace(&self, live: Vec<(String, AttemptId, Needs)>, now: Instant) -> Vec<String> {
        let mut inner = self.lock();
        let ended = inner.ended.take().unwrap_or_default();
        let mut by_worker = HashMap::<String, HashMap<AttemptId, Needs>>::new();
        for (worker, attempt, needs) in live {
            if !ended.contains(&attempt) {
                by_worker.entry(worker).or_default().insert(attempt, needs);
            }
        }
        by_worker.retain(|_, attempts| !attempts.is_empty());
        inner.by_worker.retain(|_, attempts| !attempts.is_empty());
        let none = HashMap::new();
        let differs = |name: &&String| {
            let of = |map: &HashMap<String, HashMap<AttemptId, Needs>>| {
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
    pub fn granted(&self, worker: &str, attempt: AttemptId, needs: Needs) {
        self.lock().by_worker.entry(worker.to_owned()).or_default().insert(attempt, needs);
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
        let load = |attempts: &HashMap<AttemptId, Needs>| WorkerLoad {
            attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            memory_mib: attempts.values().map(|needs| needs.memory_mib).sum(),
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
    use super::*;

    #[test]
    fn what_ends_while_the_store_is_read_stays_ended() {
        let held = LiveLeaseCache::default();
        let start = Instant::now();
        assert!(held.begin_read(start));
        let needs = Needs { memory_mib: 7, ..Needs::default() };
        let live = |numbers: &[i64]| {
            numbers
                .iter()
                .map(|number| ("w".to_owned(), AttemptId(*number), needs.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(held.replace(live(&[1, 2]), start), ["w"]);
        assert_eq!(held.loads()["w"], WorkerLoad { attempts: 2, memory_mib: 14 });
        assert!(!held.begin_read(start + GOOD_FOR / 2));

        assert!(held.begin_read(start + GOOD_FOR));
        held.ended("w", AttemptId(1));
        assert!(held.replace(live(&[1, 2]), start + GOOD_FOR).is_empty(), "2 is known");
        assert_eq!(held.loads()["w"].attempts, 1);
        held.granted("w", AttemptId(3), Needs::default());
        // A lease that another process ended is seen at the next read.
        assert!(held.begin_read(start + GOOD_FOR * 2));
        assert_eq!(held.replace(live(&[3]), start + GOOD_FOR * 2), ["w"]);
        assert_eq!(held.loads()["w"].attempts, 1);
    }
}
