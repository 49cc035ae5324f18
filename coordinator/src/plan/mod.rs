//! The stage that turns facts into tasks: one for the SRPM of what was imported. (The tasks that
//! build it are recorded together with its acceptance, by `accept`.)

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Stage, Target};

use crate::store::{Build, FencedStore, NewTask, Store, StoreError};
use crate::targets::Targets;
use crate::waits::Waits;
use crate::work;

/// Gives every imported build its SRPM task.
pub struct PlanStage {
    /// What is rebuilt.
    pub targets: Targets,
    /// Where it is said that a target cannot be used.
    pub waits: Waits,
}

impl work::Stage for PlanStage {
    const NAME: Stage = Stage::Plan;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for build in store.builds_to_plan().await? {
            // A target that cannot be used keeps its own builds waiting, not those of others.
            let target = match self.targets.get(&build.target) {
                Ok(target) => target,
                Err(error) => {
                    self.waits.set(build.id(), error.to_string());
                    continue;
                }
            };
            // Its header names the architecture on which it was made: so that the same sources
            // always give the same SRPM, that is the target's first, whatever the build is for.
            if let Some(arch) = target.arches.first() {
                let task = NewTask { kind: TaskKind::Srpm, arch: *arch };
                store.add_tasks(build.id(), &[task], now_us).await?;
            }
        }
        Ok(())
    }
}

/// The architectures that a build is for: the target's, in its order, as far as they were asked
/// for.
///
/// # Errors
/// Database errors.
pub async fn arches(
    store: &Store,
    build: &Build,
    target: &Target,
) -> Result<Vec<Arch>, StoreError> {
    let asked = store.build_arches(build.id()).await?;
    Ok(target.arches_among(&asked))
}
