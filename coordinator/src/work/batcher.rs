//! A batcher does the work of many callers together, so that items that arrive at the same time
//! share a transaction.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// How many items a batch has at most.
const BATCH: usize = 256;

/// How many items wait for the batch under way; callers with further ones wait as well.
const WAITING: usize = 1024;

type Item<T, R> = (T, oneshot::Sender<R>);

/// Collects items while a batch is worked on, and answers each with its own result. Cheap to clone.
#[derive(Debug)]
pub struct Batcher<T, R>(mpsc::Sender<Item<T, R>>);

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Starts the task that works on batches; it ends with the last clone of the batcher. `work`
    /// returns one result for each item, in their order. Must be called within a tokio runtime.
    pub fn start<F>(work: impl Fn(Vec<T>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<R>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(run(receiver, work));
        Self(sender)
    }

    /// Submits an item, and waits for its result; `None` when the process is stopping. A caller
    /// that stops waiting does not stop the work.
    pub async fn submit(&self, item: T) -> Option<R> {
        let (sender, receiver) = oneshot::channel();
        self.0.send((item, sender)).await.ok()?;
        receiver.await.ok()
    }
}

async fn run<T, R, F: Future<Output = Vec<R>>>(
    mut receiver: mpsc::Receiver<Item<T, R>>,
    work: impl Fn(Vec<T>) -> F,
) {
    let mut batch = Vec::new();
    // Everything that arrived during the last batch is the next one: a transaction is expensive, an
    // item in it is cheap.
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let (items, answers): (Vec<T>, Vec<oneshot::Sender<R>>) = batch.drain(..).unzip();
        let results = work(items).await;
        for (result, answer) in results.into_iter().zip(answers) {
            // The caller may have stopped waiting.
            let _ = answer.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_comes_during_a_batch_is_one_batch_and_each_gets_its_own_result() {
        let (gate, sizes) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (waits, seen) = (gate.clone(), sizes.clone());
        let batcher = Batcher::start(move |items: Vec<u32>| {
            let (gate, sizes) = (waits.clone(), seen.clone());
            async move {
                sizes.lock().push(items.len());
                gate.acquire().await.unwrap().forget();
                items.into_iter().map(|item| item * 10).collect()
            }
        });
        let first = batcher.clone();
        let first = tokio::spawn(async move { first.submit(1).await });
        while sizes.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let others = tokio::spawn(join_all((2..=20).map(|item| {
            let batcher = batcher.clone();
            async move { batcher.submit(item).await }
        })));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(9);
        assert_eq!(first.await.unwrap(), Some(10));
        let others: Vec<u32> = others.await.unwrap().into_iter().flatten().collect();
        assert_eq!(others, (2..=20).map(|item| item * 10).collect::<Vec<_>>());
        assert_eq!(*sizes.lock(), [1, 19]);
    }
}
