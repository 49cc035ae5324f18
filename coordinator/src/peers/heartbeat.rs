//! Heartbeats: this coordinator's own is raised, those of the others are watched, and stage leases
//! are taken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rpmfarm_core::Stage;
use rpmfarm_core::stage_lease::{BEAT, LeaseDecision, StageLease, claim};

use super::{Peers, STAGES};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::{self, CoordinatorRow, Fence, Store, StoreError};

/// After how many takeover times the row of a dead coordinator is removed. Not earlier: while the
/// row exists, a coordinator that was only paused comes back to its own workers.
const CLEARED_AFTER: u32 = 100;

/// The decision on the lease of a stage, with the observed values that it is based on.
#[derive(Clone, Copy)]
struct DecidedLease<'a> {
    stage: Stage,
    lease: Option<&'a StageLease>,
    /// The heartbeat of the lease's holder; `None` when the holder has no row.
    beat: Option<i64>,
    decision: LeaseDecision,
}

impl Peers {
    /// One round: raises the heartbeat, reads those of the others, and takes the stages whose lease
    /// no living coordinator has. Returns whether it took any.
    ///
    /// # Errors
    /// Database errors. While they last, this coordinator starts no new work.
    pub async fn heartbeat(&self, store: &Store, now: Instant) -> store::Result<bool> {
        let taken = self.heartbeat_once(store, now).await;
        let mut state = self.lock();
        match &taken {
            Ok(_) => state.down = None,
            Err(error) => state.down = Some(error.to_string()),
        }
        taken
    }

    async fn heartbeat_once(&self, store: &Store, now: Instant) -> store::Result<bool> {
        let now = self.since(now);
        store.coordinator_raise_heartbeat(&self.0.me).await?;
        let rows = store.coordinator_list().await?;
        let leases = store.stage_lease_list().await?;
        let mut any = false;
        for decided in self.decide(rows, &leases, now) {
            any |= self.carry_out(store, decided).await?;
        }
        self.clear_away(store, now).await?;
        Ok(any)
    }

    /// Records the heartbeats of all coordinators, and decides on the lease of each stage.
    fn decide<'a>(
        &self,
        rows: Vec<CoordinatorRow>,
        leases: &'a BTreeMap<Stage, StageLease>,
        now: Duration,
    ) -> Vec<DecidedLease<'a>> {
        let (me, takeover) = (&self.0.me.id, self.0.takeover);
        let mut state = self.lock();
        state.watch.observe(rows.iter().map(|row| (row.id.as_str(), row.beat)), now);
        // The time before the heartbeat was sent: the others count from its arrival, which is
        // later.
        state.confirmed = Some(now);
        self.mark_dead(&mut state, &rows, now);
        state.others = rows.into_iter().filter(|row| row.id != *me).collect();
        let decide = |stage: Stage| {
            let lease = leases.get(&stage);
            let held = state.held.get(&stage).map(Fence::epoch);
            let beat = lease.and_then(|lease| state.watch.beat(&lease.holder));
            let decision = claim(me, held, lease, &state.watch, now, takeover);
            DecidedLease { stage, lease, beat, decision }
        };
        STAGES.into_iter().map(decide).collect()
    }

    /// Keeps, leaves or takes the lease of a stage, as it was decided. Returns whether it was
    /// taken.
    async fn carry_out(&self, store: &Store, decided: DecidedLease<'_>) -> store::Result<bool> {
        let stage = decided.stage;
        let is_left = decided.lease.is_some() && is_planted(PlantedBug::StagesNotTakenOver);
        let fence = match decided.decision {
            LeaseDecision::Keep(_) => return Ok(false),
            LeaseDecision::Take if !is_left => self.take_lease(store, decided).await?,
            LeaseDecision::Take | LeaseDecision::Leave => None,
        };
        let is_taken = fence.is_some();
        let mut state = self.lock();
        let before = match fence {
            Some(fence) => state.held.insert(stage, fence),
            None => state.held.remove(&stage),
        };
        if !is_taken && before.is_some() {
            tracing::warn!(%stage, "another coordinator runs the stage now");
        }
        Ok(is_taken)
    }

    /// Takes the lease of a stage. Returns the fence for its work; `None` when another coordinator
    /// was faster.
    async fn take_lease(
        &self,
        store: &Store,
        decided: DecidedLease<'_>,
    ) -> store::Result<Option<Fence>> {
        let DecidedLease { stage, lease, beat, .. } = decided;
        let taken = match store.stage_lease_acquire(stage, &self.0.me.id, lease, beat).await {
            // The holder of the lock was stopped in the middle of a transaction, which the database
            // will end soon.
            Err(error) if error.is_locked() => None,
            taken => taken?,
        };
        if let Some(fence) = &taken {
            let epoch = fence.epoch().0;
            let from = lease.map_or("nobody", |lease| lease.holder.as_str());
            tracing::info!(%stage, epoch, from, "this coordinator runs the stage now");
        }
        Ok(taken)
    }

    /// Records which coordinators are dead, and since when that is known.
    fn mark_dead(&self, state: &mut super::PeersState, rows: &[CoordinatorRow], now: Duration) {
        let before: Vec<String> = state.others.iter().map(|row| row.id.clone()).collect();
        let there = rows.iter().map(|row| row.id.clone());
        for id in there.chain(before).filter(|id| *id != self.0.me.id) {
            if state.watch.is_alive(&id, now, self.0.takeover) {
                state.dead.remove(&id);
            } else {
                state.dead.entry(id).or_insert_with_key(|id| {
                    tracing::warn!(coordinator = id, "a coordinator is dead");
                    now
                });
            }
        }
    }

    async fn clear_away(&self, store: &Store, now: Duration) -> store::Result<()> {
        let long_dead: Vec<String> = {
            let state = self.lock();
            let long = |id: &str| {
                let still = state.watch.stands_still(id, now);
                still.is_some_and(|still| still > self.0.takeover * CLEARED_AFTER)
            };
            state.others.iter().map(|row| row.id.clone()).filter(|id| long(id)).collect()
        };
        for id in long_dead {
            store.coordinator_delete(&id).await?;
        }
        Ok(())
    }
}

/// Registers this coordinator: afterwards it has every stage that it can have.
pub async fn begin(peers: &Peers, store: &Store, now: Instant) -> store::Result<()> {
    if peers.0.alone {
        // No other process can have this database, so all other rows are of earlier processes.
        for row in store.coordinator_list().await?.iter().filter(|row| row.id != *peers.own_id()) {
            store.coordinator_delete(&row.id).await?;
        }
    }
    store.peer_snapshot_clear(peers.own_id()).await?;
    peers.heartbeat(store, now).await?;
    Ok(())
}

/// Raises the heartbeat as long as the coordinator runs, and wakes the bus when a stage has come to
/// this coordinator.
pub async fn run(peers: Peers, store: Store, bus: Bus) {
    let mut was_down = false;
    loop {
        let begun = Clock.instant();
        match peers.heartbeat(&store, begun).await {
            Ok(news) => {
                if was_down {
                    tracing::info!("the database answers again");
                }
                if news || was_down {
                    bus.wake();
                }
                was_down = false;
            }
            Err(error) => {
                if !was_down {
                    tracing::error!(%error, "the database does not answer; no new work is started");
                }
                was_down = true;
            }
        }
        Clock.sleep(BEAT.saturating_sub(Clock.instant() - begun)).await;
    }
}

/// Removes this coordinator's row, so that the others need not wait for a takeover.
pub async fn end(peers: &Peers, store: &Store) -> Result<(), StoreError> {
    store.coordinator_delete(peers.own_id()).await
}
