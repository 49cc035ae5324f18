//! Workers as candidates for tasks, with their loads; `matching` chooses among them.

use crate::Arch;
use crate::needs::Needs;

/// A worker, as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCandidate<'a> {
    pub name: &'a str,
    /// The architectures that it builds for, natively or not.
    pub arches: &'a [Arch],
    /// Those of them that it only emulates.
    pub emulated: &'a [Arch],
    /// How many attempts it can run at once.
    pub slots: u32,
    /// How many attempts of SRPM tasks it runs in addition; 0 for a worker of an older version.
    pub srpm_slots: u32,
    /// How many attempts it holds, derived from the leases.
    pub busy: u32,
    /// Those of them that make SRPMs.
    pub busy_srpms: u32,
    /// Whether it is alive and takes work.
    pub ready: bool,
}

/// The load that a task is for its worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldTask {
    /// Its needs beyond a slot.
    pub needs: Needs,
    /// Whether it makes an SRPM.
    pub srpm: bool,
}

impl WorkerCandidate<'_> {
    /// Whether its processors run the architecture themselves.
    #[must_use]
    pub fn is_native(&self, arch: Arch) -> bool {
        self.arches.contains(&arch) && !self.emulated.contains(&arch)
    }

    /// Whether it builds for the architecture, natively or, where that will do, emulated.
    #[must_use]
    pub fn is_able(&self, arch: Arch, emulation: bool) -> bool {
        self.is_native(arch) || (emulation && self.arches.contains(&arch))
    }

    /// The slots that are free for one kind of task. SRPM tasks fill their own slots first, and
    /// then those of builds; builds have no others.
    #[must_use]
    pub fn free(&self, srpm: bool) -> u32 {
        let all = self.slots.saturating_add(self.srpm_slots).saturating_sub(self.busy);
        if srpm {
            return all;
        }
        let builds = self.busy.saturating_sub(self.busy_srpms);
        all.min(self.slots.saturating_sub(builds))
    }

    /// The SRPM slots that are taken.
    #[must_use]
    pub fn taken_srpm_slots(&self) -> u32 {
        self.busy_srpms.min(self.srpm_slots)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(
        slots: u32,
        srpm_slots: u32,
        busy: u32,
        busy_srpms: u32,
    ) -> WorkerCandidate<'static> {
        WorkerCandidate {
            name: "w",
            arches: &[Arch::X86_64],
            emulated: &[],
            slots,
            srpm_slots,
            busy,
            busy_srpms,
            ready: true,
        }
    }

    #[test]
    fn srpms_have_slots_of_their_own_and_may_take_the_others() {
        let free = |slots, srpm_slots, builds, srpms| {
            let candidate = candidate(slots, srpm_slots, builds + srpms, srpms);
            (candidate.free(false), candidate.free(true), candidate.taken_srpm_slots())
        };
        assert_eq!(free(4, 1, 0, 0), (4, 5, 0));
        assert_eq!(free(4, 1, 4, 0), (0, 1, 0));
        assert_eq!(free(4, 1, 3, 1), (1, 1, 1));
        assert_eq!(free(4, 1, 1, 3), (1, 1, 1), "two of them have slots of builds");
        assert_eq!(free(4, 1, 0, 5), (0, 0, 1));
        // A worker of an older version, and one that was restarted with fewer slots.
        assert_eq!(free(4, 0, 1, 2), (1, 1, 0));
        assert_eq!(free(1, 0, 3, 1), (0, 0, 0));
    }

    proptest! {
        /// Whatever is assigned to free slots, in any order: never more builds than slots, never
        /// more tasks than slots of both kinds; and no slot stays free that a task could use.
        #[test]
        fn no_slot_is_given_twice(
            slots in 0_u32..5, srpm_slots in 0_u32..5, tasks in prop::collection::vec(any::<bool>(), 0..20)
        ) {
            let mut worker = candidate(slots, srpm_slots, 0, 0);
            for srpm in tasks {
                if worker.free(srpm) > 0 {
                    worker.busy += 1;
                    worker.busy_srpms += u32::from(srpm);
                } else {
                    let builds = worker.busy - worker.busy_srpms;
                    prop_assert!(worker.busy == slots + srpm_slots || (!srpm && builds == slots));
                }
                prop_assert!(worker.busy - worker.busy_srpms <= slots);
                prop_assert!(worker.busy <= slots + srpm_slots);
            }
        }
    }
}
