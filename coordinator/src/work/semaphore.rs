//! Permits by key, so that work of a key that hangs delays only work of the same key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A semaphore for each key, first come, first served. A semaphore without holders and waiters is
/// removed.
#[derive(Debug)]
pub struct KeyedSemaphore<K> {
    permits: usize,
    semaphores: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> KeyedSemaphore<K> {
    /// So many permits for each key, at least one.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self { permits: permits.max(1), semaphores: Mutex::default() }
    }

    /// Waits for a permit of a key, which is returned when it is dropped.
    pub async fn acquire(&self, key: K) -> OwnedSemaphorePermit {
        let semaphore = self.semaphore(key);
        semaphore.acquire_owned().await.expect("the semaphores are never closed")
    }

    fn semaphore(&self, key: K) -> Arc<Semaphore> {
        let mut semaphores = self.semaphores.lock();
        if let Some(known) = semaphores.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        semaphores.retain(|_, semaphore| semaphore.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.permits));
        semaphores.insert(key, Arc::downgrade(&new));
        new
    }

    /// How many keys have a semaphore.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.semaphores.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_has_so_many_permits_and_shares_none_with_another() {
        let semaphore = KeyedSemaphore::new(2);
        let held = [semaphore.acquire("a").await, semaphore.acquire("a").await];
        assert!(semaphore.acquire("a").now_or_never().is_none(), "both permits are held");
        assert!(semaphore.acquire("b").now_or_never().is_some());
        drop(held);
        assert!(semaphore.acquire("a").now_or_never().is_some());
        assert!(semaphore.acquire("c").now_or_never().is_some());
        assert_eq!(semaphore.len(), 1, "keys whose permits nobody holds are forgotten");
    }
}
