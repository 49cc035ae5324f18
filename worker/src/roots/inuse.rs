//! Which roots are being made or used right now: one maker per root, and none is evicted while
//! a build stands on it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rpmfarm_core::Sha256;

use crate::sandbox::{Cancel, Why};

/// The roots in use. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    roots: Mutex<BTreeMap<Sha256, Use>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Made,
    Users(u32),
}

/// The right to make a root: nobody else makes or uses it meanwhile.
#[derive(Debug)]
pub(super) struct Maker {
    shared: InUse,
    id: Sha256,
}

/// A use of a root: it stays.
#[derive(Debug)]
pub(super) struct User {
    shared: InUse,
    id: Sha256,
}

impl InUse {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sha256, Use>> {
        self.0.roots.lock()
    }

    /// Takes the right to make a root, waiting while others make or use it.
    pub(super) fn make(&self, id: Sha256, cancel: &Cancel) -> Result<Maker, Why> {
        let mut roots = self.lock();
        while roots.contains_key(&id) {
            roots = self.wait(roots, cancel)?;
        }
        roots.insert(id, Use::Made);
        Ok(Maker { shared: self.clone(), id })
    }

    /// Takes the right to make a root, or to remove it, if nobody makes or uses it.
    pub(super) fn try_make(&self, id: Sha256) -> Option<Maker> {
        match self.lock().entry(id) {
            Entry::Vacant(free) => {
                free.insert(Use::Made);
                Some(Maker { shared: self.clone(), id })
            }
            Entry::Occupied(_) => None,
        }
    }

    /// Takes a use of a root, waiting while it is being made.
    pub(super) fn hold(&self, id: Sha256, cancel: &Cancel) -> Result<User, Why> {
        let mut roots = self.lock();
        loop {
            match roots.entry(id).or_insert(Use::Users(0)) {
                Use::Users(count) => {
                    *count += 1;
                    return Ok(User { shared: self.clone(), id });
                }
                Use::Made => roots = self.wait(roots, cancel)?,
            }
        }
    }

    /// Whether anyone makes or uses it.
    pub(super) fn contains(&self, id: &Sha256) -> bool {
        self.lock().contains_key(id)
    }

    fn wait<'a>(
        &self,
        mut roots: MutexGuard<'a, BTreeMap<Sha256, Use>>,
        cancel: &Cancel,
    ) -> Result<MutexGuard<'a, BTreeMap<Sha256, Use>>, Why> {
        if let Some(why) = cancel.raised() {
            return Err(why);
        }
        self.0.changed.wait_for(&mut roots, Duration::from_millis(100));
        Ok(roots)
    }
}

impl Maker {
    /// Turns the right to make a root into a use of it, with no moment in between.
    pub(super) fn made(self) -> User {
        let user = User { shared: self.shared.clone(), id: self.id };
        self.shared.lock().insert(self.id, Use::Users(2));
        // Dropping `self` takes one of the two away and wakes who waits.
        user
    }
}

fn release(shared: &InUse, id: &Sha256) {
    let mut roots = shared.lock();
    match roots.get_mut(id) {
        Some(Use::Users(count)) if *count > 1 => *count -= 1,
        _ => {
            roots.remove(id);
        }
    }
    shared.0.changed.notify_all();
}

impl Drop for Maker {
    fn drop(&mut self) {
        release(&self.shared, &self.id);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        release(&self.shared, &self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_makes_and_the_others_wait() {
        let (shared, id, cancel) = (InUse::default(), Sha256::of(b"x"), Cancel::new());
        let maker = shared.make(id, &cancel).expect("free");
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
        let (shared, id, cancel) = (InUse::default(), Sha256::of(b"x"), Cancel::new());
        let _maker = shared.make(id, &cancel).expect("free");
        cancel.raise(Why::Unwanted);
        assert_eq!(shared.make(id, &cancel).err(), Some(Why::Unwanted));
        assert_eq!(shared.hold(id, &cancel).err(), Some(Why::Unwanted));
    }
}
