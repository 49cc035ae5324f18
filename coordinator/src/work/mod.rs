//! How passes run: what a stage is (`stage`), a dumb loop that wakes when something was written, and
//! what does the long pieces of a stage beside it:
//!
//! - `pool`: a bounded number of tasks, fair between hosts or targets ([`KeyedTaskPool`]);
//! - `coalesced`: work that is done once more when it was asked for meanwhile ([`Coalesced`]);
//! - `semaphore`: turns for each host, repository or target ([`KeyedSemaphore`]);
//! - `batcher`: what comes at the same time shares a transaction ([`Batcher`]).
//!
//! It must not know what a pass does.

mod batcher;
mod coalesced;
mod pool;
mod semaphore;
mod stage;

use std::future::Future;
use std::time::{Duration, Instant};

pub use batcher::Batcher;
pub use coalesced::Coalesced;
pub use pool::{KeyedTaskPool, SlotGuard};
pub use semaphore::KeyedSemaphore;
pub use stage::{LocalPass, Runner, Stage};

use crate::bus::Bus;
use crate::store::StoreError;

/// A pass looks at least so often, for what no bell rings for: retries that are due, leases.
const PERIOD: Duration = Duration::from_secs(1);

/// The least time between two looks of a pass, so that a storm of bells costs little. What comes
/// after a pause is looked at at once.
const GAP: Duration = Duration::from_millis(5);

/// How long a piece of work rests after a fault of the farm's own, as a database that is down.
const REST: Duration = Duration::from_secs(1);

/// Runs a pass whenever the bell rings, and at least each `period`, until the task is dropped.
async fn run_every<F>(name: &'static str, period: Duration, bus: Bus, mut pass: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut bell = bus.listen();
    loop {
        let begun = Instant::now();
        if let Err(error) = pass().await {
            tell("pass", name, &error);
            tokio::time::sleep(REST).await;
        }
        let took = begun.elapsed();
        tokio::time::sleep(took.max(GAP.saturating_sub(took)).min(PERIOD)).await;
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// Tells of work that failed. Work whose stage went to another coordinator meanwhile is that
/// one's to do, and no fault.
fn tell(what: &str, name: &str, error: &anyhow::Error) {
    match error.downcast_ref() {
        Some(StoreError::Fenced { .. }) => tracing::info!(name, "{what} left to another: {error}"),
        _ => tracing::error!(name, error = format!("{error:#}"), "{what} failed"),
    }
}
