//! Work that is requested more often than it must be done.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{REST, log_failure};
use crate::clock::Clock;

/// Runs work beside the pass that requests it, one task at a time for each key. However often the
/// work is requested while it runs, it runs once more after that, because what it has read may have
/// changed.
#[derive(Debug, Clone)]
pub struct CoalescedTasks<K> {
    name: &'static str,
    /// The keys under way, and whether the work was requested again.
    under_way: Arc<Mutex<HashMap<K, bool>>>,
}

impl<K: Clone + Eq + Hash + Send + 'static> CoalescedTasks<K> {
    /// Work with this name in the log.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, under_way: Arc::default() }
    }

    /// Requests work. Work that failed pauses, and runs again when it is requested after that.
    pub fn ask<F>(&self, key: K, work: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        {
            let mut under_way = self.under_way.lock();
            if let Some(again) = under_way.get_mut(&key) {
                *again = true;
                return;
            }
            under_way.insert(key.clone(), false);
        }
        let mut guard = KeyGuard { key, left: false, under_way: Arc::clone(&self.under_way) };
        let name = self.name;
        tokio::spawn(async move {
            loop {
                if let Err(error) = work().await {
                    log_failure("work", name, &error);
                    Clock.sleep(REST).await;
                    return;
                }
                if !guard.is_asked_again() {
                    return;
                }
            }
        });
    }
}

/// Frees the key when it is dropped, even when the work panicked.
struct KeyGuard<K: Eq + Hash> {
    key: K,
    left: bool,
    under_way: Arc<Mutex<HashMap<K, bool>>>,
}

impl<K: Eq + Hash> KeyGuard<K> {
    /// Whether the work was requested again; if not, the key is free from this moment on.
    fn is_asked_again(&mut self) -> bool {
        // Read and removed under one lock: a request in between would otherwise be lost.
        let mut under_way = self.under_way.lock();
        let again = under_way.get_mut(&self.key).is_some_and(std::mem::take);
        if !again {
            under_way.remove(&self.key);
            self.left = true;
        }
        again
    }
}

impl<K: Eq + Hash> Drop for KeyGuard<K> {
    fn drop(&mut self) {
        // The key was freed before, and may belong to the next task.
        if !self.left {
            self.under_way.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Waits until everything that can be done is done.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_meanwhile_is_done_once_more() {
        let work = CoalescedTasks::new("test");
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (gate, begun) = (gate.clone(), begun.clone());
            work.ask(1, move || {
                let (gate, begun) = (gate.clone(), begun.clone());
                async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await?.forget();
                    Ok(())
                }
            });
        };
        ask();
        settle().await;
        (0..5).for_each(|_| ask());
        settle().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        gate.add_permits(9);
        settle().await;
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        ask();
        settle().await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_failed_or_panicked_can_be_asked_for_again() {
        let work = CoalescedTasks::new("test");
        work.ask(1, || async { anyhow::bail!("no") });
        work.ask(2, || async { panic!("it does") });
        for key in [1, 2] {
            let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
            while done.try_recv().is_err() {
                let sender = sender.clone();
                work.ask(key, move || {
                    let sender = sender.clone();
                    async move { Ok(sender.send(())?) }
                });
                tokio::time::sleep(REST / 50).await;
            }
        }
    }
}
