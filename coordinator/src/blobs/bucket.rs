//! The bucket that has the blobs, with threads of its own for its requests.
//!
//! Blobs are read on any thread, also on threads of a runtime, and the reader waits for the bytes as
//! it would wait for a disk. So the requests run elsewhere.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use rpmfarm_core::Sha256;
use tokio::runtime::{Builder, Runtime};

use crate::s3::{Bucket, BucketError};

/// Threads for requests; what they do is wait.
const THREADS: usize = 2;

/// The bucket of the blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobBucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bucket: Bucket,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    fetches: Mutex<HashMap<Sha256, Arc<Mutex<()>>>>,
}

impl BlobBucket {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn new(bucket: Bucket) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("blob-bucket")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Inner { bucket, runtime: Some(runtime), fetches: Mutex::default() })))
    }

    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.0.bucket
    }

    /// The key of a blob's object.
    #[must_use]
    pub fn key(digest: Sha256) -> String {
        let hex = digest.hex();
        format!("blobs/{}/{hex}", &hex[..2])
    }

    /// Runs requests and waits for their end, on any thread.
    ///
    /// # Errors
    /// Those of the requests; and when they panicked.
    pub fn wait<T, E, F>(&self, requests: impl FnOnce(Bucket) -> F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<BucketError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(runtime) = &self.0.runtime else { return Err(BucketError::Interrupted.into()) };
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = requests(self.0.bucket.clone());
        runtime.spawn(async move {
            // Whoever waits has gone only when the process ends.
            let _ = sender.send(work.await);
        });
        receiver.recv().unwrap_or_else(|_| Err(BucketError::Interrupted.into()))
    }

    /// The right to fetch a blob: others who want it wait, and then find it here.
    pub(super) fn fetching(&self, digest: Sha256) -> Arc<Mutex<()>> {
        let mut fetches = self.0.fetches.lock();
        fetches.retain(|_, lock| Arc::strong_count(lock) > 1);
        fetches.entry(digest).or_default().clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropped in a task, a runtime that waited for its threads would panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
