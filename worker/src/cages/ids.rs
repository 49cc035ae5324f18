//! The host ids that the cages of a worker get.
//!
//! Owns which cage has which range. It must not know what a range is used for.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::id_ranges::{IdPool, IdRange};

/// The ids of a worker's cages.
#[derive(Debug, Clone)]
pub struct CageIds {
    disk: IdRange,
    own: Option<Arc<Mutex<IdPool>>>,
}

impl CageIds {
    /// All cages have the ids that their files have on disk.
    #[must_use]
    pub const fn shared(disk: IdRange) -> Self {
        Self { disk, own: None }
    }

    /// Each cage has one of these ranges while it runs; on disk, its files have the ids of `disk`.
    #[must_use]
    pub fn own(disk: IdRange, ranges: Vec<IdRange>) -> Self {
        Self { disk, own: Some(Arc::new(Mutex::new(IdPool::new(ranges)))) }
    }

    /// The ids of files on disk.
    #[must_use]
    pub const fn disk(&self) -> IdRange {
        self.disk
    }

    /// Ids for a cage.
    ///
    /// # Errors
    /// When other cages have all of them.
    pub(super) fn acquire(&self) -> io::Result<TakenIds> {
        let Some(pool) = &self.own else { return Ok(TakenIds { range: self.disk, pool: None }) };
        let range = lock(pool).acquire();
        let range = range.ok_or_else(|| {
            io::Error::other("each range of ids belongs to another cage (--slots, --uid-base)")
        })?;
        Ok(TakenIds { range, pool: Some(Arc::clone(pool)) })
    }
}

/// The ids of one cage. Dropped when it has ended, they are free for the next.
#[derive(Debug)]
pub(super) struct TakenIds {
    range: IdRange,
    pool: Option<Arc<Mutex<IdPool>>>,
}

impl TakenIds {
    pub(super) const fn range(&self) -> IdRange {
        self.range
    }

    /// Whether they are others than those on disk.
    pub(super) const fn are_own(&self) -> bool {
        self.pool.is_some()
    }
}

impl Drop for TakenIds {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            lock(pool).give_back(self.range);
        }
    }
}

/// The lock of the pool; every change under it is complete.
fn lock(pool: &Mutex<IdPool>) -> MutexGuard<'_, IdPool> {
    pool.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32) -> IdRange {
        IdRange::new(first, 10).expect("a range")
    }

    #[test]
    fn a_cage_that_has_ended_leaves_its_ids_to_the_next() {
        let ids = CageIds::own(range(100), vec![range(200), range(300)]);
        let one = ids.acquire().expect("there is one");
        let other = ids.clone().acquire().expect("there is another");
        assert_eq!((one.range(), other.range()), (range(200), range(300)));
        assert!(ids.acquire().is_err());
        drop(one);
        assert_eq!(ids.acquire().expect("it is free").range(), range(200));
        assert!(other.are_own());
    }

    #[test]
    fn shared_ids_are_those_on_disk() {
        let ids = CageIds::shared(range(100));
        let (one, other) = (ids.acquire().expect("ids"), ids.acquire().expect("ids"));
        assert_eq!((one.range(), other.range()), (range(100), range(100)));
        assert!(!one.are_own());
    }
}
