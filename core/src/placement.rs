//! A worker as it is seen when tasks are given away; `matching` does that.

use crate::Arch;

/// A worker as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCandidate<'a> {
    pub name: &'a str,
    /// What it builds for, natively or not.
    pub arches: &'a [Arch],
    /// Those of them that it runs under emulation only.
    pub emulated: &'a [Arch],
    /// Attempts that it runs at once.
    pub slots: u32,
    /// Attempts that it holds, derived from the leases.
    pub busy: u32,
    /// It is heard and wants work.
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
