//! Invariant I10, on the writes of stages.

use rpmfarm_core::StageEpoch;

use crate::planted_bugs::Invariant;
use crate::world::World;

impl World {
    /// I10: the epoch of a stage's lease never falls, and rises with each change of its holder;
    /// each write of a stage has the current epoch.
    pub(super) fn check_stages(&mut self) {
        let mut wrong = None;
        if let Some((stage, epoch)) = self.written.take() {
            // No step both acquires a stage's lease and writes for the stage.
            let lease =
                self.facts.leases.get(stage.as_str()).map_or(StageEpoch(0), |lease| lease.epoch);
            let newest = self.monitor.written.entry(stage.as_str()).or_insert(epoch);
            if epoch != lease || epoch < *newest {
                wrong = Some(format!(
                    "the {stage} stage wrote under epoch {epoch}, its lease has {lease} (and \
                     {newest} has written)"
                ));
            }
            *newest = epoch.max(*newest);
        }
        for (stage, lease) in &self.facts.leases {
            if let Some(before) = self.monitor.stages.get(stage)
                && before != lease
                && lease.epoch <= before.epoch
            {
                wrong = Some(format!("the lease of {stage} was {before:?}, now is {lease:?}"));
            }
        }
        self.monitor.stages.clone_from(&self.facts.leases);
        if let Some(message) = wrong {
            self.violated(Invariant::I10, message);
        }
    }
}
