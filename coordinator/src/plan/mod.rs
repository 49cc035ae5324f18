//! The stage that turns an import into the task of the SRPM. (The build tasks are recorded together
//! with the acceptance of the SRPM, by `accept`.)

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Stage, Target, Timestamp};

use crate::store::{Build, FencedStore, NewTask, Store, StoreError};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work;

/// Gives every imported build its SRPM task.
pub struct PlanStage {
    pub targets: Targets,
    /// Where the reason is shown when a target cannot be used.
    pub waits: LocalWaitReasons,
}

impl work::Stage for PlanStage {
    const NAME: Stage = Stage::Plan;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for build in store.build_list_to_plan().await? {
            // A target that cannot be used delays its own builds, not those of other targets.
            let target = match self.targets.get(&build.target) {
                Ok(target) => target,
                Err(error) => {
                    self.waits.set(build.id, error.to_string());
                    continue;
                }
            };
            // The SRPM's header names the architecture on which it was made. So that the same
            // sources always give the same SRPM, that is the target's first architecture for all
            // builds.
            if let Some(arch) = target.arches.first() {
                let task = NewTask { kind: TaskKind::Srpm, arch: *arch };
                store.task_insert(build.id, &[task], now).await?;
            }
        }
        Ok(())
    }
}

/// The architectures of a build: those of the target, in its order, that were requested.
pub async fn arches(
    store: &Store,
    build: &Build,
    target: &Target,
) -> Result<Vec<Arch>, StoreError> {
    let asked = store.build_fetch_arches(build.id).await?;
    Ok(target.arches_among(&asked))
}
