//! Several coordinators on one store, as `coordinator/src/peers` has them: beats, stages that
//! change hands by `core::stage_lease`, and whose a worker's silence is to judge.
//!
//! A look reads and decides in one event; what it takes it takes in a later one, when the lease
//! or the holder's beat may have moved. Until then no other look begins.

use std::collections::BTreeMap;
use std::time::Duration;

use rpmfarm_core::stage_lease::{
    BEAT, HeartbeatMonitor, LeaseDecision, StageLease, TAKEOVER, claim, may_begin,
};
use rpmfarm_core::{Stage, StageEpoch};

use super::{Step, Stop, Work};
use crate::network::Down;
use crate::planted::PlantedBug;
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// The stages that run on one coordinator at a time.
pub(crate) const STAGES: [Stage; 6] =
    [Stage::Import, Stage::Plan, Stage::Resolve, Stage::Accept, Stage::Sign, Stage::Publish];

/// A coordinator that was dead for so many takeovers is cleared away.
const CLEARED_AFTER: u32 = 100;

/// The id of a coordinator, which it keeps over restarts.
pub(crate) const fn name(c: usize) -> &'static str {
    if c == 0 { "c0" } else { "c1" }
}

/// Work of a stage that a coordinator has begun, and the epoch under which it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) c: usize,
    pub(crate) stage: Stage,
    pub(crate) epoch: StageEpoch,
}

/// A stage that is to be taken: its lease and its holder's beat, as they were seen.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    stage: Stage,
    lease: Option<StageLease>,
    beat: Option<i64>,
}

/// What a coordinator knows of the others and of what it holds. It dies with the process.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    watch: HeartbeatMonitor,
    /// When the beat that the database confirmed last was sent, since the process began.
    confirmed: Option<Duration>,
    held: BTreeMap<Stage, StageEpoch>,
    /// Others that are dead, and since when this one knows.
    dead: BTreeMap<&'static str, Duration>,
    /// Whether the last look failed.
    pub(super) down: bool,
}

impl Peers {
    pub(super) fn holds(&self, stage: Stage) -> bool {
        self.held.contains_key(&stage)
    }
}

impl World {
    /// What a coordinator's monotonic clock says, since it began.
    fn own_time(&self, c: usize) -> Duration {
        Duration::from_micros(self.now - self.coordinators[c].started)
    }

    fn others(&self, c: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.coordinators.len()).filter(move |other| *other != c)
    }

    /// Whether a coordinator counts another one as alive.
    fn deems_alive(&self, c: usize, id: &str) -> bool {
        self.coordinators[c].peers.watch.is_alive(id, self.own_time(c), TAKEOVER)
    }

    /// The fence for work on a stage that may begin now; `None` when it is not this
    /// coordinator's to do.
    pub(super) fn fence(&self, c: usize, stage: Stage) -> Option<Fence> {
        let peers = &self.coordinators[c].peers;
        let epoch = *peers.held.get(&stage)?;
        let confirmed = peers.confirmed?;
        let alone = self.coordinators.len() == 1;
        let may = alone || may_begin(confirmed, self.own_time(c), TAKEOVER);
        may.then_some(Fence { c, stage, epoch })
    }

    pub(crate) fn beat_comes(&mut self, c: usize, life: u64) {
        if self.is_void(c, life, || Event::Beat(c, life)) {
            return;
        }
        match self.look(c) {
            Ok(claims) if !claims.is_empty() => {
                let longest = if self.rng.chance(20) { 8 * S } else { 20 * MS };
                let delay = self.rng.below(longest);
                self.after(delay, Event::Work(c, life, Work::Take(claims, self.now)));
            }
            done => self.looked(c, self.now, done.map(|_| ())),
        }
    }

    /// A look that began at a time is over; the next one comes a beat after it began.
    pub(super) fn looked(&mut self, c: usize, began: u64, done: Step) {
        if done == Err(Stop::Dead) {
            return;
        }
        self.coordinators[c].peers.down = done.is_err();
        if done.is_ok() {
            self.let_go(c);
        }
        let life = self.coordinators[c].life;
        let beat = u64::try_from(BEAT.as_micros()).unwrap_or(S);
        self.after(beat.saturating_sub(self.now - began), Event::Beat(c, life));
    }

    /// Whether the connection of the beats works, which is one of its own.
    fn pulse(&self, c: usize) -> Step {
        let cut = self.now < self.coordinators[c].beats_lost_until;
        if cut { Err(Stop::Error) } else { self.database() }
    }

    /// One look: beats, watches, and decides which stages are to be taken.
    fn look(&mut self, c: usize) -> Step<Vec<Claimed>> {
        self.pulse(c)?;
        self.store.coordinator_raise_heartbeat(name(c));
        let now = self.own_time(c);
        let peers = &mut self.coordinators[c].peers;
        peers.watch.observe(self.store.coordinator_list(), now);
        peers.confirmed = Some(now);
        for other in self.others(c).map(name) {
            let alive = self.deems_alive(c, other);
            let peers = &mut self.coordinators[c].peers;
            if alive {
                peers.dead.remove(other);
            } else {
                peers.dead.entry(other).or_insert(now);
            }
            let still = peers.watch.stands_still(other, now);
            if still.is_some_and(|still| still > TAKEOVER * CLEARED_AFTER) {
                self.store.coordinator_delete(other);
            }
        }
        Ok(STAGES.into_iter().filter_map(|stage| self.claim_stage(c, stage)).collect())
    }

    /// Decides on one stage.
    fn claim_stage(&mut self, c: usize, stage: Stage) -> Option<Claimed> {
        let now = self.own_time(c);
        let lease = self.store.stage_lease_fetch(stage.as_str());
        let peers = &mut self.coordinators[c].peers;
        let held = peers.held.get(&stage).copied();
        let another = lease.is_some_and(|lease| lease.holder != name(c));
        match claim(name(c), held, lease, &peers.watch, now, TAKEOVER) {
            LeaseDecision::Keep(_) => None,
            LeaseDecision::Take if !(another && self.plant == Some(PlantedBug::KeptByTheDead)) => {
                let beat = lease.and_then(|lease| peers.watch.beat(&lease.holder));
                Some(Claimed { stage, lease: lease.cloned(), beat })
            }
            LeaseDecision::Take | LeaseDecision::Leave => {
                peers.held.remove(&stage);
                None
            }
        }
    }

    pub(super) fn take_stages(&mut self, c: usize, claims: Vec<Claimed>) -> Step {
        for Claimed { stage, lease, beat } in claims {
            self.pulse(c)?;
            self.may_die(c)?;
            let taken =
                self.store.stage_lease_acquire(stage.as_str(), name(c), lease.as_ref(), beat);
            self.may_die(c)?;
            let peers = &mut self.coordinators[c].peers;
            match taken {
                Some(epoch) => {
                    peers.held.insert(stage, epoch);
                    let from = lease.as_ref().map_or("nobody", |lease| lease.holder.as_str());
                    note!(self, "c{c} takes the {stage} stage from {from}, epoch {epoch}");
                    self.ring(c);
                }
                None => {
                    peers.held.remove(&stage);
                    note!(self, "c{c} does not get the {stage} stage");
                }
            }
        }
        Ok(())
    }

    /// Says good-bye, so that the others need not wait. The process ends afterwards.
    pub(crate) fn stop_coordinator(&mut self, c: usize) {
        if self.coordinators[c].up && self.pulse(c).is_ok() {
            self.store.coordinator_delete(name(c));
        }
        self.kill_coordinator(c);
    }

    /// Wakes the others, most of the time.
    pub(super) fn herald(&mut self, c: usize) {
        for other in self.others(c) {
            if self.rng.chance(700) {
                self.ring(other);
            }
        }
    }

    /// How long a worker was silent, if that is this coordinator's to judge: its own, or the dead
    /// one's that it was connected to.
    pub(super) fn judged(&self, c: usize, worker: &str, silence: u64) -> Option<u64> {
        match self.store.worker_owner_fetch(worker) {
            Some(owner) if owner != name(c) => {
                if self.deems_alive(c, owner) || self.planted(PlantedBug::OrphansKept) {
                    return None;
                }
                let peers = &self.coordinators[c].peers;
                let since = peers.dead.get(owner).copied().unwrap_or_default();
                let known = self.own_time(c).saturating_sub(since);
                Some(silence.min(u64::try_from(known.as_micros()).unwrap_or(u64::MAX)))
            }
            _ => Some(silence),
        }
    }

    /// Lets go of workers that have connected to another coordinator.
    fn let_go(&mut self, c: usize) {
        if !self.others(c).any(|other| self.deems_alive(c, name(other))) {
            return;
        }
        let fleet = self.coordinators[c].fleet.iter().filter(|(_, known)| known.settled);
        let moved: Vec<(String, u64)> = fleet
            .filter(|(worker, _)| {
                self.store.worker_owner_fetch(worker).is_some_and(|o| o != name(c))
            })
            .map(|(worker, known)| (worker.clone(), known.connection))
            .collect();
        for (worker, connection) in moved {
            note!(self, "c{c} lets go of {worker}");
            self.coordinators[c].fleet.remove(&worker);
            if let Some(session) = self.coordinators[c].sessions.remove(&connection) {
                self.send_down(session.worker, c, connection, Down::Reset);
            }
        }
    }
}
