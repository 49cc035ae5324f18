//! How many attempts run at once, as the coordinator counts them (`core::placement`).

use rpmfarm_core::task::TaskKind;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The slots of a worker. Builds have `slots`; SRPMs have additional ones, and may use those that
/// no build has taken.
pub struct WorkerSlots {
    builds: Semaphore,
    /// Those of both.
    all: Semaphore,
}

/// A slot that is free again when this is dropped.
pub struct TakenSlot<'a> {
    _build: Option<SemaphorePermit<'a>>,
    _any: SemaphorePermit<'a>,
}

impl WorkerSlots {
    #[must_use]
    pub fn new(slots: u32, srpm_slots: u32) -> Self {
        let (slots, srpm_slots) = (slots as usize, srpm_slots as usize);
        Self { builds: Semaphore::new(slots), all: Semaphore::new(slots + srpm_slots) }
    }

    /// Waits for a slot of a task. Always `Some`, as the semaphores are never closed.
    pub async fn take(&self, kind: TaskKind) -> Option<TakenSlot<'_>> {
        // Always in this order, so that no two tasks each hold one and wait for the other.
        let build = match kind {
            TaskKind::Srpm => None,
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
                Some(self.builds.acquire().await.ok()?)
            }
        };
        let any = self.all.acquire().await.ok()?;
        Some(TakenSlot { _build: build, _any: any })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn srpms_run_beside_builds_and_take_what_they_leave() {
        let slots = WorkerSlots::new(1, 1);
        let take = |kind| slots.take(kind).now_or_never().flatten();
        let build = take(TaskKind::Build).expect("a slot is free");
        assert!(take(TaskKind::Noarch).is_none(), "builds have one slot");
        let first = take(TaskKind::Srpm).expect("it has a slot of its own");
        assert!(take(TaskKind::Srpm).is_none());
        drop(build);
        let second = take(TaskKind::Srpm).expect("no build has the other slot");
        assert!(take(TaskKind::Build).is_none());
        drop((first, second));
        assert!(take(TaskKind::Build).is_some());
    }

    #[test]
    fn without_srpm_slots_all_tasks_have_the_same() {
        let slots = WorkerSlots::new(1, 0);
        let take = |kind| slots.take(kind).now_or_never().flatten();
        let srpm = take(TaskKind::Srpm).expect("a slot is free");
        assert!(take(TaskKind::Build).is_none());
        drop(srpm);
        let _build = take(TaskKind::Build).expect("a slot is free");
        assert!(take(TaskKind::Srpm).is_none());
    }
}
