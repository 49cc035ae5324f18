//! How passes run: stages (`stage`), a loop that wakes when something was written, and the tools
//! for the long work of a stage beside its pass:
//!
//! - `pool`: a bounded number of tasks, fair between hosts or targets ([`KeyedTaskPool`]);
//! - `coalesced_tasks`: work that is done once more when it was asked for meanwhile
//!   ([`CoalescedTasks`]);
//! - `semaphore`: turns for each host, repository or target ([`KeyedSemaphore`]);
//! - `batcher`: what comes at the same time shares a transaction ([`Batcher`]).
//!
//! It must not know what a pass does.

mod batcher;
mod coalesced_tasks;
mod pool;
mod semaphore;
mod stage;

use std::future::Future;
use std::time::{Duration, Instant};

pub use batcher::Batcher;
pub use coalesced_tasks::CoalescedTasks;
pub use pool::{KeyedTaskPool, SlotGuard};
pub use semaphore::KeyedSemaphore;
pub use stage::{LocalPass, Runner, Stage, steps};

use crate::bus::Bus;
use crate::store::StoreError;

/// The longest time between two runs of a pass, for changes that wake nobody: retries that are due,
/// leases.
const PERIOD: Duration = Duration::from_secs(1);

/// The shortest time between two runs of a pass, so that many wake-ups cost little. After a pause a
/// wake-up is acted on at once.
const GAP: Duration = Duration::from_millis(5);

/// How long work pauses after a fault of the farm itself, as a database that is down.
const REST: Duration = Duration::from_secs(1);

/// Runs a pass whenever the bus is woken, and at least each `period`, until the task is dropped.
async fn run_every<F>(name: &'static str, period: Duration, bus: Bus, mut pass: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    // Listens before the first pass, so that a write during that pass causes a second one.
    let mut listener = bus.listen();
    loop {
        let begun = Instant::now();
        if let Err(error) = pass().await {
            log_failure("pass", name, &error);
            tokio::time::sleep(REST).await;
        }
        let took = begun.elapsed();
        // A pause as long as the pass took, up to a second, so that a bus that is woken all the
        // time leaves others their share.
        tokio::time::sleep(took.max(GAP.saturating_sub(took)).min(PERIOD)).await;
        // Either future may be dropped: the listener counts wake-ups, so none is lost.
        tokio::select! {
            () = listener.woken() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// Logs work that failed. When the stage went to another coordinator meanwhile, that one does the
/// work, and it is no error.
fn log_failure(what: &str, name: &str, error: &anyhow::Error) {
    match error.downcast_ref() {
        Some(StoreError::Fenced { .. }) => {
            tracing::info!(name, "{what} left to another coordinator: {error}")
        }
        _ => tracing::error!(name, error = format!("{error:#}"), "{what} failed"),
    }
}
