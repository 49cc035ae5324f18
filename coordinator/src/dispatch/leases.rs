//! Takes attempts from workers that are silent for longer than their lease, or whose connection
//! broke and who did not come back.
//!
//! Only the coordinator that a worker is connected to judges its silence. When that coordinator is
//! dead, the others do, and count from the moment when they learned of its death.
//!
//! A worker whose connection broke loses its attempts after two thirds of a lease, a silent one
//! after the whole lease; the epochs make both safe. Late results are recorded and shown as notes,
//! never applied.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Fault, attempt_news};

use super::report::Reports;
use crate::clock::Now;
use crate::fleet::Fleet;
use crate::peers::{Peers, SilenceOwner};
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::Store;
use crate::work::LocalPass;

/// Takes attempts from workers that are silent.
#[derive(Clone)]
pub struct LeasePass {
    /// When each worker was last heard.
    pub fleet: Fleet,
    /// Say which coordinator judges the silence of a worker.
    pub peers: Peers,
    pub reports: Reports,
}

impl LocalPass for LeasePass {
    const NAME: &'static str = "leases";

    // The pass runs even while the database is down: its own query finds that out, and then no
    // silence is judged.
    const WHILE_DOWN: bool = true;

    /// Several times in each lease. Nothing wakes the pass for a silence, and the list of live
    /// leases is too long to be read more often.
    fn period(&self) -> Duration {
        (self.fleet.terms().lease() / 8).min(Duration::from_secs(1))
    }

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        self.check(store, now).await
    }
}

impl LeasePass {
    /// Checks all leases once.
    async fn check(&self, store: &Store, Now { instant, time }: Now) -> anyhow::Result<()> {
        let mut silent = store.worker_list_with_leases().await?;
        // Without its database, the coordinator could not process what workers sent either: that
        // time is no silence of theirs.
        self.fleet.begin_check(instant);
        let is_lost =
            |worker: &str, silence: Duration| silence >= self.fleet.patience(worker, instant);
        silent.retain(|worker| is_lost(worker, self.fleet.silence(worker, instant)));
        if silent.is_empty() || is_planted(PlantedBug::LeasesNeverEnd) {
            return Ok(());
        }
        let owners = owners(store).await?;
        let mut lost = Vec::new();
        for worker in &silent {
            if self.judged(&owners, worker, instant).is_some_and(|silence| is_lost(worker, silence))
            {
                lost.extend(store.attempt_list_live(Some(worker)).await?);
            }
        }
        for attempt in lost {
            let Some(silence) = self.judged(&owners, &attempt.worker, instant) else { continue };
            let mut failure = attempt_news::silent(&attempt.worker, silence);
            if is_planted(PlantedBug::LostWorkerAsPackageFault) {
                failure.fault = Fault::Package;
            }
            self.reports.end(store, &attempt, &Outcome::Failed(failure), time).await?;
        }
        Ok(())
    }

    /// How long a worker was silent, if this coordinator judges its silence.
    fn judged(
        &self,
        owners: &BTreeMap<String, String>,
        worker: &str,
        now: Instant,
    ) -> Option<Duration> {
        let silence = self.fleet.silence(worker, now);
        match self.peers.silence_owner(owners.get(worker).map(String::as_str), now) {
            SilenceOwner::Local => Some(silence),
            SilenceOwner::Peer => None,
            SilenceOwner::Dead(_) if is_planted(PlantedBug::OrphanedWorkers) => None,
            SilenceOwner::Dead(known) => Some(known.min(silence)),
        }
    }
}

async fn owners(store: &Store) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = store.worker_owner_list().await?;
    Ok(rows.into_iter().map(|row| (row.worker, row.coordinator)).collect())
}
