//! The stages before the first task: import and plan.

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{BuildId, Failure, FailureStage, Fault, Sha256};

use super::{Crew, Fence, Piece, Step};
use crate::scenario::Defect;
use crate::store::{Import, NewTask};
use crate::trace::note;
use crate::world::{MS, World};

impl World {
    pub(super) fn import_pass(&mut self, f: Fence) -> Step {
        self.database()?;
        for build in self.store.build_list_to_import(self.wall_us(f.c)) {
            let delay = self.rng.range(20 * MS, 3_000 * MS);
            self.crew_start(f, Crew::Import, build.id, delay, Piece::Import(build.id()));
        }
        Ok(())
    }

    pub(super) fn import(&mut self, f: Fence, id: BuildId) -> Step {
        self.database()?;
        let Some(build) = self.store.build_fetch(id).cloned() else { return Ok(()) };
        let source = self.scenario.source(&build.package);
        if source.defect == Defect::NoSource {
            let failure =
                Failure::new(Fault::Package, FailureStage::Import, "there is no such branch");
            return self.record_failure(f, id, None, &failure);
        }
        let commit = source.version.to_string();
        if self.faulty && self.rng.chance(self.profile.farm_fails) {
            let failure =
                Failure::new(Fault::Farm, FailureStage::Import, "the server does not answer");
            return self.record_failure(f, id, None, &failure);
        }
        if self.disk().is_err() {
            let failure = Failure::new(Fault::Farm, FailureStage::Import, "the disk is full");
            return self.record_failure(f, id, None, &failure);
        }
        note!(self, "c{} build {id}: {} imported at version {commit}", f.c, build.package);
        let bundle = Sha256::compute(format!("{} {commit}", build.package).as_bytes());
        let import = Import { commit, bundle, at_us: self.wall_us(f.c) };
        self.commit_behind(f, |store| store.import_insert(id, &import))
    }

    pub(super) fn plan_pass(&mut self, f: Fence) -> Step {
        self.database()?;
        let now_us = self.wall_us(f.c);
        for build in self.store.build_list_to_plan() {
            let task = NewTask { kind: TaskKind::Srpm, arch: self.scenario.arches[0] };
            self.commit_behind(f, |store| store.task_insert(build.id(), &[task], now_us))?;
        }
        Ok(())
    }
}
