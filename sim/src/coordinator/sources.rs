//! The stages before the first task: import and plan.

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{BuildId, Failure, Fault, Sha256};

use super::{Crew, Step, Work};
use crate::scenario::Defect;
use crate::store::{Import, NewTask};
use crate::trace::note;
use crate::world::{MS, World};

impl World {
    pub(super) fn import_pass(&mut self, c: usize) -> Step {
        self.database()?;
        for build in self.store.builds_to_import(self.wall_us(c)) {
            let delay = self.rng.range(20 * MS, 3_000 * MS);
            self.crew_start(c, Crew::Import, build.id, delay, Work::Import(build.id()));
        }
        Ok(())
    }

    pub(super) fn import(&mut self, c: usize, id: BuildId) -> Step {
        self.database()?;
        let Some(build) = self.store.build(id).cloned() else { return Ok(()) };
        let source = self.scenario.source(&build.package);
        if source.defect == Defect::NoSource {
            let failure = Failure::new(Fault::Package, "import", "there is no such branch");
            return self.record_failure(c, id, None, &failure);
        }
        let commit = source.version.to_string();
        if self.faulty && self.rng.chance(self.profile.farm_fails) {
            let failure = Failure::new(Fault::Farm, "import", "the server does not answer");
            return self.record_failure(c, id, None, &failure);
        }
        note!(self, "c{c} build {id}: {} imported at version {commit}", build.package);
        let bundle = Sha256::of(format!("{} {commit}", build.package).as_bytes());
        let import = Import { commit, bundle, at_us: self.wall_us(c) };
        self.commit(c, |store| store.add_import(id, &import))
    }

    pub(super) fn plan_pass(&mut self, c: usize) -> Step {
        self.database()?;
        let now_us = self.wall_us(c);
        for build in self.store.builds_to_plan() {
            let task = NewTask { kind: TaskKind::Srpm, arch: self.scenario.arches[0] };
            self.commit(c, |store| store.add_tasks(build.id(), &[task], now_us))?;
        }
        Ok(())
    }
}
