//! Cuts off who is not the farm's any more: connections are broken, sessions end, and attempts go
//! to others. Every coordinator does this for its own connections.

use std::time::Duration;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, Fault};

use crate::clock::now_us;
use crate::dispatch::report;
use crate::farm::Farm;

/// How often is looked. A revocation takes so long at most.
const PERIOD: Duration = Duration::from_millis(500);

/// Looks again and again, until the task is dropped.
pub async fn run(farm: Farm) {
    loop {
        // While the database is away nothing can be known; who is connected stays.
        if farm.peers.database_down().is_none()
            && let Err(error) = pass(&farm, now_us()).await
        {
            tracing::error!(error = format!("{error:#}"), "revocations not looked at");
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One look: nothing of a revoked worker goes on.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now_us: i64) -> anyhow::Result<()> {
    if !farm.connections.is_empty() {
        let ended = farm.store.ended_certificates(now_us).await?;
        let cut = farm.connections.cut(&ended);
        if cut > 0 {
            tracing::info!(connections = cut, "connections of revoked certificates are cut");
        }
    }
    let mut standings = farm.store.standings().await?;
    standings.retain(|_, row| !row.standing.may_connect());
    for (worker, row) in &standings {
        farm.fleet.poke(worker);
        for attempt in farm.store.live_attempts(Some(worker)).await? {
            let message =
                format!("worker {worker} was revoked ({}); the task goes to another", row.reason);
            let failure = Failure::new(Fault::Worker, "lease", message);
            report::end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
        }
    }
    Ok(())
}
