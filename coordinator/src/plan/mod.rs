//! The stage that turns facts into tasks: one for the SRPM of what was imported. (The tasks that
//! build it are recorded together with its acceptance, by `accept`.)

use rpmfarm_core::task::TaskKind;

use crate::farm::Farm;
use crate::store::NewTask;

/// One look: every imported build gets its SRPM task.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now_us: i64) -> anyhow::Result<()> {
    for build in farm.store.builds_to_plan().await? {
        // A target that cannot be used keeps its own builds waiting, not those of others.
        let target = match farm.targets.get(&build.target) {
            Ok(target) => target,
            Err(error) => {
                farm.waits.set(build.id(), error.to_string());
                continue;
            }
        };
        // The SRPM is the same on each architecture, so it is made on the target's first.
        if let Some(arch) = target.arches.first() {
            let task = NewTask { kind: TaskKind::Srpm, arch: *arch };
            farm.store.add_tasks(build.id(), &[task], now_us).await?;
        }
    }
    Ok(())
}
