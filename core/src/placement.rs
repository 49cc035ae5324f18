//! Which worker gets a task.

use crate::Arch;

/// A worker as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it builds for.
    pub arches: &'a [Arch],
    /// Attempts that it runs at once.
    pub slots: u32,
    /// Attempts that it holds, derived from the leases.
    pub busy: u32,
    /// It is heard and wants work.
    pub ready: bool,
}

impl Candidate<'_> {
    const fn free(&self) -> u32 {
        self.slots.saturating_sub(self.busy)
    }
}

/// The worker for a task: one that is ready, builds for the architecture and has a free slot; of
/// these the one with the most free slots, and of equals the first by name.
#[must_use]
pub fn place<'a>(arch: Arch, candidates: &[Candidate<'a>]) -> Option<&'a str> {
    candidates
        .iter()
        .filter(|worker| worker.ready && worker.free() > 0 && worker.arches.contains(&arch))
        .max_by(|a, b| a.free().cmp(&b.free()).then_with(|| b.name.cmp(a.name)))
        .map(|worker| worker.name)
}

/// Why a task for an architecture is not placed, for people.
#[must_use]
pub fn why_not(arch: Arch, candidates: &[Candidate<'_>]) -> String {
    let able = || candidates.iter().filter(|worker| worker.arches.contains(&arch));
    if able().next().is_none() {
        return format!("no worker for {arch} is known; start one (rpmfarm-worker --help)");
    }
    let ready = able().filter(|worker| worker.ready).count();
    if ready == 0 {
        return format!("no worker for {arch} is connected and taking work");
    }
    let slots: u32 = able().filter(|worker| worker.ready).map(|worker| worker.slots).sum();
    format!("all {slots} slots for {arch} are busy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &'static str, slots: u32, busy: u32) -> Candidate<'static> {
        Candidate { name, arches: &[Arch::X86_64], slots, busy, ready: true }
    }

    #[test]
    fn the_freest_ready_worker_of_the_architecture_gets_it() {
        let workers = [worker("b", 2, 1), worker("c", 4, 1), worker("a", 4, 1)];
        assert_eq!(place(Arch::X86_64, &workers), Some("a"));
        assert_eq!(place(Arch::Ppc64le, &workers), None);
        assert!(why_not(Arch::Ppc64le, &workers).contains("no worker for ppc64le is known"));

        let full = [worker("a", 1, 1), worker("b", 1, 2)];
        assert_eq!(place(Arch::X86_64, &full), None);
        assert_eq!(why_not(Arch::X86_64, &full), "all 2 slots for x86_64 are busy");

        let away = [Candidate { ready: false, ..worker("a", 1, 0) }];
        assert_eq!(place(Arch::X86_64, &away), None);
        assert!(why_not(Arch::X86_64, &away).contains("connected"));
    }
}
