//! Which worker gets a task.

use crate::Arch;

/// A worker as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its name.
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

/// What a task asks of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The architecture to build for.
    pub arch: Arch,
    /// Whether a worker that only emulates it will do: a setting of the target.
    pub emulation: bool,
}

impl Candidate<'_> {
    const fn free(&self) -> u32 {
        self.slots.saturating_sub(self.busy)
    }

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

/// The worker for a task: one that is ready, builds for the architecture and has a free slot. One
/// that does so natively comes before all that emulate; of equals the one with the most free
/// slots, and of these the first by name.
#[must_use]
pub fn place<'a>(need: Need, candidates: &[Candidate<'a>]) -> Option<&'a str> {
    candidates
        .iter()
        .filter(|worker| {
            worker.ready && worker.free() > 0 && worker.is_able(need.arch, need.emulation)
        })
        .max_by(|a, b| {
            (a.is_native(need.arch).cmp(&b.is_native(need.arch)))
                .then_with(|| a.free().cmp(&b.free()))
                .then_with(|| b.name.cmp(a.name))
        })
        .map(|worker| worker.name)
}

/// Why a task is not placed, for people.
#[must_use]
pub fn why_not(need: Need, candidates: &[Candidate<'_>]) -> String {
    let arch = need.arch;
    let able = || candidates.iter().filter(|worker| worker.is_able(need.arch, need.emulation));
    if able().next().is_none() {
        if candidates.iter().any(|worker| worker.arches.contains(&arch)) {
            return format!(
                "workers only emulate {arch}, and the target does not allow that; start a worker \
                 on {arch}, or set `emulation = true` in the target"
            );
        }
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

    const X86: Need = Need { arch: Arch::X86_64, emulation: false };

    fn worker(name: &'static str, slots: u32, busy: u32) -> Candidate<'static> {
        Candidate { name, arches: &[Arch::X86_64], emulated: &[], slots, busy, ready: true }
    }

    #[test]
    fn the_freest_ready_worker_of_the_architecture_gets_it() {
        let workers = [worker("b", 2, 1), worker("c", 4, 1), worker("a", 4, 1)];
        let power = Need { arch: Arch::Ppc64le, ..X86 };
        assert_eq!(place(X86, &workers), Some("a"));
        assert_eq!(place(power, &workers), None);
        assert!(why_not(power, &workers).contains("no worker for ppc64le is known"));

        let full = [worker("a", 1, 1), worker("b", 1, 2)];
        assert_eq!(place(X86, &full), None);
        assert_eq!(why_not(X86, &full), "all 2 slots for x86_64 are busy");

        let away = [Candidate { ready: false, ..worker("a", 1, 0) }];
        assert_eq!(place(X86, &away), None);
        assert!(why_not(X86, &away).contains("connected"));
    }

    #[test]
    fn native_comes_first_and_emulation_only_where_the_target_wants_it() {
        let both = [Arch::X86_64, Arch::Aarch64];
        let emulates = Candidate { arches: &both, emulated: &both[1..], ..worker("a", 9, 0) };
        let native = Candidate { arches: &both[1..], ..worker("z", 1, 0) };
        let strict = Need { arch: Arch::Aarch64, emulation: false };
        let lenient = Need { emulation: true, ..strict };

        let workers = [emulates.clone(), native.clone()];
        assert_eq!(place(strict, &workers), Some("z"));
        assert_eq!(place(lenient, &workers), Some("z"));
        assert_eq!(place(X86, &workers), Some("a"));

        let busy = [emulates.clone(), Candidate { busy: 1, ..native }];
        assert_eq!(place(strict, &busy), None);
        assert_eq!(why_not(strict, &busy), "all 1 slots for aarch64 are busy");
        assert_eq!(place(lenient, &busy), Some("a"));

        let alone = [emulates];
        assert_eq!(place(strict, &alone), None);
        assert!(why_not(strict, &alone).contains("`emulation = true`"));
    }
}
