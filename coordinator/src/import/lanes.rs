//! The threads on which imports run, and how they are stopped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::commit::Shared;
use super::failure::ImportError;
use super::limits::ImportLimits;
use super::watch::Watch;

/// What is done on a lane.
type Work = Box<dyn FnOnce(&Shared, &Watch) + Send>;

/// Work that waits for its lane. It sends its own result.
struct Order {
    work: Work,
    cancelled: CancellationToken,
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

    /// Does work on its package's lane. Dropping the future stops it.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        package: &str,
        work: impl FnOnce(&Shared, &Watch) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        let cancelled = CancellationToken::new();
        let _guard = cancelled.clone().drop_guard();
        let (done, result) = oneshot::channel();
        let gone = || ImportError::Broken("its thread is gone".to_owned());
        let queue = &self.queues[lane_of(package, self.queues.len())];
        let package = package.to_owned();
        let work = Box::new(move |shared: &Shared, watch: &Watch| {
            // A panic, in here or in git2, is one import's end and not its lane's.
            let result = catch_unwind(AssertUnwindSafe(|| work(shared, watch)))
                .unwrap_or_else(|_| Err(ImportError::Broken(format!("{package} made it panic"))));
            // Nobody waits for it when it was cancelled meanwhile.
            let _ = done.send(result);
        });
        queue.send(Order { work, cancelled }).await.map_err(|_| gone())?;
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
    while let Some(Order { work, cancelled }) = orders.blocking_recv() {
        if cancelled.is_cancelled() {
            continue;
        }
        let watch = Watch::new(runtime.clone(), cancelled, limits.clone());
        work(shared, &watch);
    }
}
