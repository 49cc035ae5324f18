//! How passes run: what a stage is (`stage`), a dumb loop that wakes when something was written, and
//! what does the long pieces of a stage beside it:
//!
//! - `pool`: a bounded number of tasks, fair between hosts or targets ([`KeyedTaskPool`]);
//! - `coalesced_tasks`: work that is done once more when it was asked for meanwhile ([`CoalescedTasks`]);
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

/// A pass runs at least so often, for what no bell rings for: retries that are due, leases.
const PERIOD: Duration = Duration::from_secs(1);

/// The least time between two runs of a pass, so that a storm of bells costs little. What comes
/// after a pause is done at once.
const GAP: Duration = Duration::from_millis(5);

/// How long a piece of work rests after a fault of the farm's own, as a database that is down.
const REST: Duration = Duration::from_secs(1);

/// Runs a pass whenever the bell rings, and at least each `period`, until the task is dropped.
async fn run_every<F>(name: &'static str, period: Duration, bus: Bus, mut pass: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    // Before the first pass: what is written while it runs rings for the second.
    let mut bell = bus.listen();
    loop {
        let begun = Instant::now();
        if let Err(error) = pass().await {
            log_failure("pass", name, &error);
            tokio::time::sleep(REST).await;
        }
        let took = begun.elapsed();
        // As long as the pass took, up to a second: bells that ring all the time leave others their
        // share.
        tokio::time::sleep(took.max(GAP.saturating_sub(took)).min(PERIOD)).await;
        // Either may be dropped: a bell is a count, so that nothing that rang is lost.
        tokio::select! {
            () = bell.woken() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// Tells of work that failed. Work whose stage went to another coordinator meanwhile is that
/// one's to do, and no fault.
fn log_failure(what: &str, name: &str, error: &anyhow::Error) {
    match error.downcast_ref() {
        Some(StoreError::Fenced { .. }) => {
            tracing::info!(name, "{what} left to another coordinator: {error}")
        }
        _ => tracing::error!(name, error = format!("{error:#}"), "{what} failed"),
    }
}
