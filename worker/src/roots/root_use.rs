//! Which roots are being made or used: one maker for each root, and a root is not evicted while a
//! build uses it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rpmfarm_core::Sha256;

use crate::cages::{CancelFlag, CancelReason};

/// The roots in use. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct RootUse(Arc<SharedUse>);

#[derive(Debug, Default)]
struct SharedUse {
    roots: Mutex<BTreeMap<Sha256, UseState>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UseState {
    Made,
    Users(u32),
}

/// The right to make a root: nobody else makes or uses it meanwhile.
#[derive(Debug)]
pub(super) struct MakeGuard {
    shared: RootUse,
    id: Sha256,
}

/// A use of a root: it stays.
#[derive(Debug)]
pub(super) struct ReadGuard {
    shared: RootUse,
    id: Sha256,
}

impl RootUse {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sha256, UseState>> {
        self.0.roots.lock()
    }

    /// Takes the right to make a root, waiting while others make or use it.
    pub(super) fn begin_make(
        &self,
        id: Sha256,
        cancel: &CancelFlag,
    ) -> Result<MakeGuard, CancelReason> {
        let mut roots = self.lock();
        while roots.contains_key(&id) {
            roots = self.wait(roots, cancel)?;
        }
        roots.insert(id, UseState::Made);
        Ok(MakeGuard { shared: self.clone(), id })
    }

    /// Takes the right to make a root, or to remove it, if nobody makes or uses it.
    pub(super) fn try_make(&self, id: Sha256) -> Option<MakeGuard> {
        match self.lock().entry(id) {
            Entry::Vacant(free) => {
                free.insert(UseState::Made);
                Some(MakeGuard { shared: self.clone(), id })
            }
            Entry::Occupied(_) => None,
        }
    }

    /// Takes a use of a root, waiting while it is being made.
    pub(super) fn hold(&self, id: Sha256, cancel: &CancelFlag) -> Result<ReadGuard, CancelReason> {
        let mut roots = self.lock();
        loop {
            match roots.entry(id).or_insert(UseState::Users(0)) {
                UseState::Users(count) => {
                    *count += 1;
                    return Ok(ReadGuard { shared: self.clone(), id });
                }
                UseState::Made => roots = self.wait(roots, cancel)?,
            }
        }
    }

    /// Whether anyone makes or uses it.
    pub(super) fn contains(&self, id: &Sha256) -> bool {
        self.lock().contains_key(id)
    }

    fn wait<'a>(
        &self,
        mut roots: MutexGuard<'a, BTreeMap<Sha256, UseState>>,
        cancel: &CancelFlag,
    ) -> Result<MutexGuard<'a, BTreeMap<Sha256, UseState>>, CancelReason> {
        if let Some(why) = cancel.raised() {
            return Err(why);
        }
        self.0.changed.wait_for(&mut roots, Duration::from_millis(100));
        Ok(roots)
    }
}

impl MakeGuard {
    /// Turns the right to make a root into a use of it, without a gap.
    pub(super) fn made(self) -> ReadGuard {
        let user = ReadGuard { shared: self.shared.clone(), id: self.id };
        self.shared.lock().insert(self.id, UseState::Users(2));
        // Dropping `self` removes one of the two and wakes the waiting threads.
        user
    }
}

fn release(shared: &RootUse, id: &Sha256) {
    let mut roots = shared.lock();
    match roots.get_mut(id) {
        Some(UseState::Users(count)) if *count > 1 => *count -= 1,
        _ => {
            roots.remove(id);
        }
    }
    shared.0.changed.notify_all();
}

impl Drop for MakeGuard {
    fn drop(&mut self) {
        release(&self.shared, &self.id);
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        release(&self.shared, &self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_makes_and_the_others_wait() {
        let (shared, id, cancel) = (RootUse::default(), Sha256::compute(b"x"), CancelFlag::new());
        let maker = shared.begin_make(id, &cancel).expect("free");
        let waiter = {
            let (shared, cancel) = (shared.clone(), cancel.clone());
            std::thread::spawn(move || shared.hold(id, &cancel).map(drop))
        };
        let user = maker.made();
        assert_eq!(waiter.join().expect("ends"), Ok(()));
        assert!(shared.contains(&id));
        drop(user);
        assert!(!shared.contains(&id));
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let (shared, id, cancel) = (RootUse::default(), Sha256::compute(b"x"), CancelFlag::new());
        let _maker = shared.begin_make(id, &cancel).expect("free");
        cancel.raise(CancelReason::Unwanted);
        assert_eq!(shared.begin_make(id, &cancel).err(), Some(CancelReason::Unwanted));
        assert_eq!(shared.hold(id, &cancel).err(), Some(CancelReason::Unwanted));
    }
}
