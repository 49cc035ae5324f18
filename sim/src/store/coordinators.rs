//! Several coordinators on one store: their beats, the leases of stages, the owners of workers.

use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::{AttemptId, StageEpoch};

use super::Store;
use crate::planted::PlantedBug;

impl Store {
    /// Raises a coordinator's beat, and makes its row when it is not there.
    pub fn coordinator_raise_heartbeat(&mut self, id: &str) {
        match self.coordinators.get_mut(id) {
            Some(beat) => *beat += 1,
            None => {
                self.coordinators.insert(id.into(), 1);
            }
        }
    }

    /// All coordinators with their beats.
    pub fn coordinator_list(&self) -> impl Iterator<Item = (&str, i64)> {
        self.coordinators.iter().map(|(id, beat)| (id.as_str(), *beat))
    }

    /// A coordinator has gone. What it holds goes to others at once.
    pub fn coordinator_delete(&mut self, id: &str) {
        self.coordinators.remove(id);
    }

    /// The lease of a stage.
    #[must_use]
    pub fn stage_lease_fetch(&self, stage: &str) -> Option<&StageLease> {
        self.stage_leases.get(stage)
    }

    /// Takes a stage for a coordinator, from a holder whose beat is still `beat` (`None`: who is
    /// gone). Answers the new epoch; `None` when somebody was faster or the holder has moved.
    pub fn stage_lease_acquire(
        &mut self,
        stage: &str,
        me: &str,
        before: Option<&StageLease>,
        beat: Option<i64>,
    ) -> Option<StageEpoch> {
        if self.stage_leases.get(stage) != before {
            return None;
        }
        if let Some(before) = before
            && before.holder != me
            && self.coordinators.get(&before.holder).is_some_and(|now| Some(*now) != beat)
        {
            return None;
        }
        let epoch = StageEpoch(before.map_or(0, |before| before.epoch.0) + 1);
        self.stage_leases.insert(stage.into(), StageLease { holder: me.into(), epoch });
        self.takes += 1;
        Some(epoch)
    }

    /// Whether a fence holds: what each transaction of a stage asks first.
    #[must_use]
    pub fn fence_stands(&self, stage: &str, holder: &str, epoch: StageEpoch) -> bool {
        let held = |lease: &StageLease| lease.holder == holder && lease.epoch == epoch;
        self.stage_leases.get(stage).is_some_and(held) || self.planted(PlantedBug::LateWrite)
    }

    /// A worker has connected to a coordinator, which owns it from now on. Answers the last
    /// attempt that was given to anybody before.
    pub fn worker_owner_upsert(&mut self, worker: &str, coordinator: &str) -> AttemptId {
        self.worker_owners.insert(worker.into(), coordinator.into());
        AttemptId(self.next_attempt)
    }

    /// Who hears a worker; `None` for one that was never connected.
    #[must_use]
    pub fn worker_owner_fetch(&self, worker: &str) -> Option<&str> {
        self.worker_owners.get(worker).map(String::as_str)
    }
}
