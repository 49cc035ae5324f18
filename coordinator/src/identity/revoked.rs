//! Cuts off who is not the farm's any more: connections are broken, sessions end, and attempts go
//! to others. Every coordinator does this for its own connections.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, FailureStage, Fault, Sha256};
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::dispatch::report;
use crate::farm::Farm;

/// How often is looked. A revocation takes so long at most.
const PERIOD: Duration = Duration::from_millis(500);

/// The connections over which certificates were shown. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    open: HashMap<u64, (Sha256, CancellationToken)>,
}

/// A connection's place among them; dropped, it is gone.
#[derive(Debug)]
pub struct Place {
    connections: Connections,
    id: u64,
    /// Cancelled when the connection is to be broken.
    pub cut: CancellationToken,
}

impl Connections {
    /// A connection on which a certificate was shown.
    #[must_use]
    pub fn add(&self, certificate: Sha256) -> Place {
        let mut inner = self.lock();
        inner.last += 1;
        let (id, cut) = (inner.last, CancellationToken::new());
        inner.open.insert(id, (certificate, cut.clone()));
        Place { connections: self.clone(), id, cut }
    }

    /// Breaks the connections of these certificates. Answers how many there were.
    pub fn cut(&self, certificates: &BTreeSet<Sha256>) -> usize {
        let inner = self.lock();
        let theirs = inner.open.values().filter(|(shown, _)| certificates.contains(shown));
        theirs.map(|(_, cut)| cut.cancel()).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no one panics while holding it")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

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
            let failure = Failure::new(Fault::Worker, FailureStage::Lease, message);
            report::end(farm, &attempt, &Outcome::Failed(failure), now_us).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_these_certificates_are_cut() {
        let connections = Connections::default();
        let (one, other) = (Sha256::of(b"one"), Sha256::of(b"other"));
        let (first, second) = (connections.add(one), connections.add(one));
        let third = connections.add(other);
        assert_eq!(connections.cut(&BTreeSet::from([one])), 2);
        assert!(first.cut.is_cancelled() && second.cut.is_cancelled());
        assert!(!third.cut.is_cancelled());
        drop((first, second, third));
        assert!(connections.is_empty());
    }
}
