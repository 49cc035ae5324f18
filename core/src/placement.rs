//! A worker as a candidate for tasks; `matching` chooses among them.

use crate::Arch;

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
    /// How many attempts it holds, derived from the leases.
    pub busy: u32,
    /// Whether it is alive and takes work.
    pub ready: bool,
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
}
