//! Queues by name, so that who hangs is waited for by its own only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Queues, each first come, first served. One in which nobody stands is forgotten.
#[derive(Debug, Default)]
pub struct Queues(Mutex<HashMap<String, Weak<Semaphore>>>);

impl Queues {
    /// Waits for its turn in the queue of this name, in which `places` are served at once. It
    /// lasts until the answer is dropped.
    pub async fn turn(&self, name: &str, places: usize) -> OwnedSemaphorePermit {
        let queue = self.of(name, places.max(1));
        queue.acquire_owned().await.expect("the queues are never closed")
    }

    fn of(&self, name: &str, places: usize) -> Arc<Semaphore> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queues.get(name).and_then(Weak::upgrade) {
            return known;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let new = Arc::new(Semaphore::new(places));
        queues.insert(name.to_owned(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_queue_has_so_many_places_and_is_not_another_one() {
        let queues = Queues::default();
        let held = [queues.turn("a", 2).await, queues.turn("a", 2).await];
        assert!(queues.turn("a", 2).now_or_never().is_none(), "both places are taken");
        assert!(queues.turn("b", 2).now_or_never().is_some());
        drop(held);
        assert!(queues.turn("a", 2).now_or_never().is_some());
        assert!(queues.turn("c", 1).now_or_never().is_some());
        assert_eq!(queues.0.lock().unwrap().len(), 1, "those that nobody stands in are forgotten");
    }
}
