//! When a worker is quarantined because it fails tasks that others could build.
//!
//! Owns the rule. It must not know where attempts and workers are recorded.

use std::time::Duration;

use crate::fault::{Failure, FailureStage, Fault};
use crate::{Arch, Timestamp};

/// How many different packages a worker must have failed in a row.
pub const PACKAGES: usize = 3;

/// The longest time since the first of these failures.
pub const WITHIN: Duration = Duration::from_secs(3600);

/// Attempts that are lost within this time count as one loss: that of the worker.
const AT_ONCE: Duration = Duration::from_secs(60);

/// How an attempt of a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    pub package: String,
    /// Its failure; `None` for a success.
    pub failure: Option<Failure>,
    /// Whether the results of another worker were accepted for the same task. Only that proves that
    /// the package was not at fault.
    pub built_elsewhere: bool,
    pub at: Timestamp,
}

/// Why a worker is to be quarantined, in one line; `None` when it is not. `ends` are those of its
/// attempts since it was last resumed, the newest first.
///
/// Three different packages that it failed for its own reasons within an hour, with no success in
/// between, are enough, if other workers have built these same tasks: a package that nobody has
/// built may break every worker, and must not take workers from the farm. Failures of packages and
/// deliberate shutdowns do not count. A worker that was restarted or cut off from the coordinator
/// has lost all its attempts for one reason.
#[must_use]
pub fn verdict(ends: &[AttemptOutcome], now: Timestamp) -> Option<String> {
    let mut packages: Vec<&str> = Vec::new();
    let mut last = None;
    let mut away = None;
    for end in ends.iter().take_while(|end| now.since(end.at) <= WITHIN) {
        let Some(failure) = &end.failure else { break };
        let of_itself = failure.fault == Fault::Worker && failure.stage != FailureStage::Shutdown;
        if !of_itself || !end.built_elsewhere {
            continue;
        }
        if matches!(failure.stage, FailureStage::Lease | FailureStage::Connection) {
            let same = away.is_some_and(|at: Timestamp| at.since(end.at) <= AT_ONCE);
            away = Some(end.at);
            if same {
                continue;
            }
        }
        last.get_or_insert(failure);
        if !packages.contains(&end.package.as_str()) {
            packages.push(&end.package);
        }
        if packages.len() == PACKAGES {
            return Some(format!(
                "it failed {} one after the other for reasons of its own, and other workers built \
                 them; the last: {}",
                packages.join(", "),
                last?.message
            ));
        }
    }
    None
}

/// A worker that might do another's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandInWorker {
    pub name: String,
    /// The architectures that it builds for.
    pub arches: Vec<Arch>,
    /// Those of them that it emulates.
    pub emulated: Vec<Arch>,
}

impl StandInWorker {
    fn is_native(&self, arch: Arch) -> bool {
        self.arches.contains(&arch) && !self.emulated.contains(&arch)
    }

    /// Whether it can stand in for another worker on an architecture. An emulating worker cannot
    /// for a native one: targets may refuse emulation.
    fn stands_in(&self, other: &Self, arch: Arch) -> bool {
        self.name != other.name
            && if other.is_native(arch) {
                self.is_native(arch)
            } else {
                self.arches.contains(&arch)
            }
    }
}

/// The architectures for which no worker would be left. `others` are the workers that take work. If
/// there are any, the worker must not be quarantined: a worker that sometimes fails is better than
/// none, and an administrator can drain it.
#[must_use]
pub fn last_for<'a>(
    worker: &StandInWorker,
    others: impl IntoIterator<Item = &'a StandInWorker> + Clone,
) -> Vec<Arch> {
    let alone =
        |arch: &&Arch| !others.clone().into_iter().any(|other| other.stands_in(worker, **arch));
    worker.arches.iter().filter(alone).copied().collect()
}

/// For each architecture of a worker, the names of those that can do its work there.
#[must_use]
pub fn stand_ins(worker: &StandInWorker, others: &[StandInWorker]) -> Vec<Vec<String>> {
    let of_arch = |arch: &Arch| {
        let able = others.iter().filter(|other| other.stands_in(worker, *arch));
        able.map(|other| other.name.clone()).collect()
    };
    worker.arches.iter().map(of_arch).collect()
}

/// The message of the last failure of a task, when workers failed it for their own reasons: if
/// several do, the package may be the cause after all.
#[must_use]
pub fn last_message(failure: &Failure, workers: &[String]) -> String {
    let mut names: Vec<&str> = workers.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if failure.fault != Fault::Worker || names.len() < 2 {
        return failure.message.clone();
    }
    format!(
        "{} workers failed it ({}), so it is not tried again: the package may break them; the \
         last: {}",
        names.len(),
        names.join(", "),
        failure.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(60 * minute)
    }

    fn end(package: &str, fault: Option<(Fault, FailureStage)>, minute: u64) -> AttemptOutcome {
        let failure = fault.map(|(fault, stage)| Failure::new(fault, stage, "no space left"));
        AttemptOutcome { package: package.into(), failure, built_elsewhere: true, at: at(minute) }
    }

    fn bad(package: &str, minute: u64) -> AttemptOutcome {
        end(package, Some((Fault::Worker, FailureStage::Root)), minute)
    }

    #[test]
    fn three_packages_in_a_row_are_enough() {
        let ends = [bad("c", 30), bad("a", 20), bad("b", 10)];
        let reason = verdict(&ends, at(31)).expect("quarantined");
        assert_eq!(
            reason,
            "it failed c, a, b one after the other for reasons of its own, and other workers built \
             them; the last: no space left"
        );
        assert_eq!(verdict(&ends[..2], at(31)), None);
        assert_eq!(verdict(&ends, at(71)), None, "too long ago");
        let same = [bad("a", 30), bad("a", 20), bad("a", 10), bad("b", 5)];
        assert_eq!(verdict(&same, at(31)), None, "two packages");
    }

    #[test]
    fn what_nobody_has_built_proves_nothing() {
        let unproved =
            |package, minute| AttemptOutcome { built_elsewhere: false, ..bad(package, minute) };
        let ends: Vec<AttemptOutcome> =
            ["d", "c", "b", "a"].map(|package| unproved(package, 10)).into();
        assert_eq!(verdict(&ends, at(11)), None);
        let ends = [bad("c", 30), bad("a", 20), unproved("b", 10)];
        assert_eq!(verdict(&ends, at(31)), None, "two are proved");
        let ends = [bad("c", 30), unproved("x", 25), bad("a", 20), bad("b", 10)];
        assert!(verdict(&ends, at(31)).is_some(), "one that is not proved is no excuse");
    }

    #[test]
    fn the_last_of_an_architecture_stays() {
        use Arch::{Aarch64, X86_64};
        let worker = |name: &str, arches: &[Arch], emulated: &[Arch]| StandInWorker {
            name: name.into(),
            arches: arches.to_vec(),
            emulated: emulated.to_vec(),
        };
        let plain = worker("a", &[X86_64], &[]);
        let emulating = worker("b", &[X86_64, Aarch64], &[Aarch64]);
        let native = worker("c", &[Aarch64], &[]);
        assert_eq!(last_for(&plain, [&plain]), [X86_64], "it does not stand in for itself");
        assert_eq!(last_for(&plain, [&plain, &native]), [X86_64]);
        assert_eq!(last_for(&plain, [&emulating]), []);
        assert_eq!(last_for(&emulating, [&plain]), [Aarch64]);
        assert_eq!(last_for(&emulating, [&plain, &native]), []);
        assert_eq!(last_for(&native, [&plain, &emulating]), [Aarch64], "who emulates is no equal");
        let all = [plain, emulating, native];
        let names = |worker: usize| stand_ins(&all[worker], &all);
        assert_eq!(names(0), [["b"]]);
        assert_eq!(names(1), [["a"], ["c"]]);
        assert_eq!(names(2), [Vec::<String>::new()]);
    }

    #[test]
    fn a_success_in_between_counts_for_the_worker() {
        let ends = [bad("c", 30), bad("a", 20), end("x", None, 15), bad("b", 10)];
        assert_eq!(verdict(&ends, at(31)), None);
        let package = end("x", Some((Fault::Package, FailureStage::Build)), 15);
        let ends = [bad("c", 30), package, bad("a", 20), bad("b", 10)];
        assert!(verdict(&ends, at(31)).is_some(), "a package's failure says nothing");
    }

    #[test]
    fn a_restart_is_one_failure_whatever_ran() {
        let lost =
            |package, minute| end(package, Some((Fault::Worker, FailureStage::Lease)), minute);
        let ends = [lost("a", 30), lost("b", 30), lost("c", 30), lost("d", 29)];
        assert_eq!(verdict(&ends, at(31)), None);
        let cut_off = |package| end(package, Some((Fault::Worker, FailureStage::Connection)), 30);
        assert_eq!(verdict(&["a", "b", "c"].map(cut_off), at(31)), None);
        let again = [lost("a", 30), lost("b", 20), lost("c", 10)];
        assert!(verdict(&again, at(31)).is_some(), "it is away again and again");
    }

    #[test]
    fn a_worker_that_was_stopped_is_not_to_blame() {
        let stopped =
            |package, minute| end(package, Some((Fault::Worker, FailureStage::Shutdown)), minute);
        let ends = [stopped("a", 30), stopped("b", 30), stopped("c", 30), stopped("d", 20)];
        assert_eq!(verdict(&ends, at(31)), None);
        // It is no excuse for what it failed before and after, either.
        let ends = [bad("a", 30), stopped("b", 25), bad("c", 20), bad("d", 10)];
        assert!(verdict(&ends, at(31)).is_some());
    }

    #[test]
    fn a_package_that_breaks_workers_is_told() {
        let failure = Failure::new(Fault::Worker, FailureStage::Lease, "worker c was not heard");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let message = last_message(&failure, &names(&["b", "a", "c", "b"]));
        assert!(message.starts_with("3 workers failed it (a, b, c)"), "{message}");
        assert_eq!(last_message(&failure, &names(&["c", "c"])), "worker c was not heard");
    }
}
