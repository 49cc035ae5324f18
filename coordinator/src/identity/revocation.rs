//! Cuts off revoked workers: their connections are broken, their sessions end, and their attempts
//! go to others. Every coordinator does this for its own connections.

use std::time::Duration;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, FailureStage, Fault, Timestamp};

use super::CertificateConnections;
use crate::clock::Now;
use crate::dispatch::report::Reports;
use crate::fleet::Fleet;
use crate::store::Store;
use crate::work::LocalPass;

/// How often revoked certificates are queried, so that a revoked worker is cut off within a second.
/// While the database is down this cannot be known, and connected workers stay connected.
const PERIOD: Duration = Duration::from_millis(500);

/// Cuts off revoked workers. Cheap to clone.
#[derive(Clone)]
pub struct Revocations {
    /// The connections with certificates.
    pub connections: CertificateConnections,
    pub fleet: Fleet,
    pub reports: Reports,
}

impl LocalPass for Revocations {
    const NAME: &'static str = "revocations";

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        self.enforce(store, now.time).await
    }
}

impl Revocations {
    /// Ends the attempts of revoked workers, and their connections.
    pub async fn enforce(&self, store: &Store, now: Timestamp) -> anyhow::Result<()> {
        if !self.connections.is_empty() {
            let ended = store.certificate_list_ended(now).await?;
            let cut = self.connections.cut(&ended);
            if cut > 0 {
                tracing::info!(connections = cut, "connections of revoked certificates are cut");
            }
        }
        let mut standings = store.standing_list().await?;
        standings.retain(|_, row| !row.standing.may_connect());
        for (worker, row) in &standings {
            self.fleet.wake_session(worker);
            for attempt in store.attempt_list_live(Some(worker)).await? {
                let message = format!(
                    "worker {worker} was revoked ({}); the task goes to another",
                    row.reason
                );
                let failure = Failure::new(Fault::Worker, FailureStage::Lease, message);
                self.reports.end(store, &attempt, &Outcome::Failed(failure), now).await?;
            }
        }
        Ok(())
    }
}
