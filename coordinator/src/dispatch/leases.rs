//! Takes attempts from workers that are silent for longer than their lease, or whose connection
//! broke and who did not come back.
//!
//! Only the coordinator that a worker is connected to judges its silence. When that one is dead,
//! the others do, and count from the moment when they knew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_core::report;
use rpmfarm_core::task::Outcome;

use super::report::Reports;
use crate::clock::Now;
use crate::fleet::Fleet;
use crate::peers::{Judge, Peers};
use crate::store::Store;
use crate::work::LocalPass;

/// Takes attempts from workers that are silent.
#[derive(Clone)]
pub struct LeasePass {
    /// Who was heard when.
    pub fleet: Fleet,
    /// Who judges whose silence.
    pub peers: Peers,
    /// Ends attempts.
    pub reports: Reports,
}

impl LocalPass for LeasePass {
    const NAME: &'static str = "leases";

    // Its own query shows whether the database answers, and a silence is not judged without.
    const WHILE_DOWN: bool = true;

    /// Several times in each lease. No bell rings for a silence, and who holds something is a long
    /// list.
    fn period(&self) -> Duration {
        (self.fleet.terms().lease() / 8).min(Duration::from_secs(1))
    }

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        self.look(store, now.instant, now.us).await
    }
}

impl LeasePass {
    /// One look at all leases.
    async fn look(&self, store: &Store, now: Instant, now_us: i64) -> anyhow::Result<()> {
        let mut silent = store.holders().await?;
        // A store that did not answer kept everybody from being heard, too.
        self.fleet.look(now);
        let is_lost = |worker: &str, silence: Duration| silence >= self.fleet.patience(worker, now);
        silent.retain(|worker| is_lost(worker, self.fleet.silence(worker, now)));
        if silent.is_empty() {
            return Ok(());
        }
        let owners = owners(store).await?;
        let mut lost = Vec::new();
        for worker in &silent {
            if self.judged(&owners, worker, now).is_some_and(|silence| is_lost(worker, silence)) {
                lost.extend(store.live_attempts(Some(worker)).await?);
            }
        }
        for attempt in lost {
            let Some(silence) = self.judged(&owners, &attempt.worker, now) else { continue };
            let silent = Outcome::Failed(report::silent(&attempt.worker, silence));
            self.reports.end(store, &attempt, &silent, now_us).await?;
        }
        Ok(())
    }

    /// How long a worker was silent, if that is this coordinator's to judge.
    fn judged(
        &self,
        owners: &BTreeMap<String, String>,
        worker: &str,
        now: Instant,
    ) -> Option<Duration> {
        let silence = self.fleet.silence(worker, now);
        match self.peers.judge(owners.get(worker).map(String::as_str), now) {
            Judge::Me => Some(silence),
            Judge::Another => None,
            Judge::Orphaned(known) => Some(known.min(silence)),
        }
    }
}

async fn owners(store: &Store) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = store.worker_owners().await?;
    Ok(rows.into_iter().map(|row| (row.worker, row.coordinator)).collect())
}
