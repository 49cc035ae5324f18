//! The threads on which imports run, and how they are stopped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Imported;
use super::commit::{Job, Shared};
use super::failure::ImportError;
use super::limits::ImportLimits;
use super::watch::Watch;

/// An import that waits for its lane.
struct Order {
    job: Job,
    cancelled: CancellationToken,
    done: oneshot::Sender<Result<Imported, ImportError>>,
}

/// The lanes. Dropped, they finish what they do and end.
pub(super) struct Lanes {
    queues: Vec<mpsc::Sender<Order>>,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has none left.
    pub(super) fn start(shared: Shared, limits: ImportLimits) -> io::Result<Self> {
        let runtime = Handle::current();
        let shared = Arc::new(shared);
        let mut queues = Vec::new();
        for number in 0..limits.lanes.max(1) {
            let (queue, orders) = mpsc::channel(limits.queue.max(1));
            let lane = (Arc::clone(&shared), runtime.clone(), limits.clone());
            std::thread::Builder::new()
                .name(format!("import-{number}"))
                .spawn(move || serve(orders, &lane.0, &lane.1, &lane.2))?;
            queues.push(queue);
        }
        Ok(Self { queues })
    }

    /// Runs a job on its package's lane. Dropping the future stops it.
    ///
    /// # Errors
    /// Why it could not be imported.
    pub(super) async fn run(&self, job: Job) -> Result<Imported, ImportError> {
        let cancelled = CancellationToken::new();
        let _guard = cancelled.clone().drop_guard();
        let (done, result) = oneshot::channel();
        let gone = || ImportError::Broken("its thread is gone".to_owned());
        let queue = &self.queues[lane_of(&job.package, self.queues.len())];
        queue.send(Order { job, cancelled, done }).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn lane_of(package: &str, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    package.hash(&mut hasher);
    usize::try_from(hasher.finish() % lanes as u64).expect("less than the number of lanes")
}

fn serve(
    mut orders: mpsc::Receiver<Order>,
    shared: &Shared,
    runtime: &Handle,
    limits: &ImportLimits,
) {
    while let Some(Order { job, cancelled, done }) = orders.blocking_recv() {
        if cancelled.is_cancelled() {
            continue;
        }
        let watch = Watch::new(runtime.clone(), cancelled, limits.clone());
        // A panic, in here or in git2, is one import's end and not its lane's.
        let result = catch_unwind(AssertUnwindSafe(|| job.run(shared, &watch)))
            .unwrap_or_else(|_| Err(ImportError::Broken(format!("{} made it panic", job.package))));
        // Nobody waits for it when it was cancelled meanwhile.
        let _ = done.send(result);
    }
}
