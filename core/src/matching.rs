//! Matching waiting tasks with workers, in one round.
//!
//! Tasks come in the order of their ranks. A task that fits no idle worker blocks no task behind
//! it. So that it does not starve either, a worker that could take it is reserved for it from then
//! on: it gets nothing new until the task fits.

use std::collections::BTreeMap;

use crate::Arch;
use crate::needs::Needs;
use crate::placement::WorkerCandidate;

/// A worker with its resources, for tasks that need more than a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCapacity<'a> {
    /// The worker and its slots.
    pub candidate: WorkerCandidate<'a>,
    /// All its memory, in MiB.
    pub memory_mib: u64,
    /// Memory that its attempts are known to need, in MiB.
    pub memory_used_mib: u64,
    /// Its free disk, in MiB.
    pub disk_mib: u64,
    pub labels: &'a [String],
}

/// A waiting task, as matching sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingTask<'a> {
    /// The architecture to build for.
    pub arch: Arch,
    /// Whether a worker that only emulates the architecture is permitted: a setting of the target.
    pub emulation: bool,
    /// Whether it makes an SRPM: then it may have a slot that builds do not get.
    pub srpm: bool,
    /// Its needs beyond a slot.
    pub needs: &'a Needs,
    /// Workers that failed it for their own reasons: others are preferred.
    pub avoid: &'a [String],
    /// The worker that must not get it: a repetition must run on another worker than the one that
    /// made the first packages. Empty for none.
    pub except: &'a str,
}

impl WorkerCapacity<'_> {
    /// Whether it could take the task if it ran nothing else.
    #[must_use]
    pub fn is_able(&self, task: &WaitingTask<'_>) -> bool {
        let Needs { memory_mib, disk_mib, label } = task.needs;
        self.candidate.ready
            && self.candidate.name != task.except
            && self.candidate.slots > 0
            && self.candidate.is_able(task.arch, task.emulation)
            && *memory_mib <= self.memory_mib
            && *disk_mib <= self.disk_mib
            && (label.is_empty() || self.labels.contains(label))
    }

    /// Whether it can take the task now.
    #[must_use]
    pub fn fits(&self, task: &WaitingTask<'_>) -> bool {
        self.candidate.free(task.srpm) > 0
            && self.is_able(task)
            && task.needs.memory_mib <= self.memory_mib.saturating_sub(self.memory_used_mib)
    }

    /// Whether it can take any task more.
    fn is_open(&self) -> bool {
        // SRPMs may use the slots of builds, too.
        self.candidate.free(true) > 0
    }

    fn is_among(&self, names: &[String]) -> bool {
        names.iter().any(|name| name == self.candidate.name)
    }

    /// The preference for a worker, the greatest first: one that runs the architecture natively;
    /// for an SRPM, of these one with a slot that builds do not get; of these the one with most
    /// free slots; of these the one that the fewest other tasks would want.
    fn merit(&self, task: &WaitingTask<'_>) -> impl Ord {
        use std::cmp::Reverse;
        let candidate = &self.candidate;
        (
            candidate.is_native(task.arch),
            task.srpm && candidate.taken_srpm_slots() < candidate.srpm_slots,
            candidate.free(task.srpm),
            Reverse(self.labels.len()),
            Reverse(self.memory_mib),
            Reverse(self.candidate.name),
        )
    }
}

/// Matches tasks with workers. Returns the index of each placed task with the index of its worker.
/// `workers` are changed as if they had these tasks, and reserved workers as if they were not
/// ready, for the placement of further tasks.
pub fn match_tasks(
    tasks: &[WaitingTask<'_>],
    workers: &mut [WorkerCapacity<'_>],
) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut kept = Vec::new();
    // Indexes of workers that can still get a task.
    let mut open: Vec<usize> =
        (0..workers.len()).filter(|index| workers[*index].is_open()).collect();
    for (index, task) in tasks.iter().enumerate() {
        if open.is_empty() {
            break;
        }
        let fitting = || open.iter().copied().filter(|worker| workers[*worker].fits(task));
        let best = fitting()
            .filter(|worker| !workers[*worker].is_among(task.avoid))
            .max_by(|a, b| workers[*a].merit(task).cmp(&workers[*b].merit(task)))
            .or_else(|| {
                let others = workers
                    .iter()
                    .any(|worker| worker.is_able(task) && !worker.is_among(task.avoid));
                if others { None } else { fitting().next() }
            });
        if let Some(best) = best {
            let worker = &mut workers[best];
            worker.candidate.busy += 1;
            worker.candidate.busy_srpms += u32::from(task.srpm);
            worker.memory_used_mib += task.needs.memory_mib;
            worker.disk_mib = worker.disk_mib.saturating_sub(task.needs.disk_mib);
            pairs.push((index, best));
            if !worker.is_open() {
                open.retain(|worker| *worker != best);
            }
        } else if let Some(worker) = kept_for(task, workers) {
            open.retain(|open| *open != worker);
            kept.push(worker);
        }
    }
    for worker in kept {
        workers[worker].candidate.ready = false;
    }
    pairs
}

/// The worker that is reserved for a task that needs much: the one that lacks least. A worker that
/// failed the task is reserved only where no other could ever take it, since only then it would be
/// matched.
fn kept_for(task: &WaitingTask<'_>, workers: &[WorkerCapacity<'_>]) -> Option<usize> {
    // A slot becomes free by itself, and goes to the lowest rank.
    if task.needs.is_nothing() {
        return None;
    }
    (0..workers.len()).filter(|index| workers[*index].is_able(task)).min_by_key(|index| {
        let worker = &workers[*index];
        let WorkerCapacity { candidate, memory_used_mib, .. } = worker;
        (worker.is_among(task.avoid), *memory_used_mib, candidate.busy, candidate.name)
    })
}

/// The slots of workers that take work that are free for one kind of task, by architecture;
/// architectures without any are left out.
#[must_use]
pub fn free_slots(workers: &[WorkerCapacity<'_>], srpm: bool) -> BTreeMap<Arch, u32> {
    let mut free = BTreeMap::new();
    for WorkerCapacity { candidate, .. } in workers {
        let slots = candidate.free(srpm);
        if candidate.ready && slots > 0 {
            for arch in candidate.arches {
                *free.entry(*arch).or_default() += slots;
            }
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const X86: &[Arch] = &[Arch::X86_64];

    fn worker(name: &'static str, slots: u32, memory_gib: u64) -> WorkerCapacity<'static> {
        let candidate = WorkerCandidate {
            name,
            arches: X86,
            emulated: &[],
            slots,
            srpm_slots: 0,
            busy: 0,
            busy_srpms: 0,
            ready: true,
        };
        WorkerCapacity {
            candidate,
            memory_mib: memory_gib << 10,
            memory_used_mib: 0,
            disk_mib: 1 << 20,
            labels: &[],
        }
    }

    fn gib(memory: u64) -> Needs {
        Needs { memory_mib: memory << 10, ..Needs::default() }
    }

    fn task(needs: &Needs) -> WaitingTask<'_> {
        let (arch, emulation, srpm) = (Arch::X86_64, false, false);
        WaitingTask { arch, emulation, srpm, needs, avoid: &[], except: "" }
    }

    #[test]
    fn srpms_take_their_own_slots_first_and_leave_the_others_to_builds() {
        let none = Needs::default();
        let build = task(&none);
        let srpm = WaitingTask { srpm: true, ..build };
        let with_srpm_slot = || {
            let mut worker = worker("a", 1, 8);
            worker.candidate.srpm_slots = 1;
            worker
        };
        let tasks = [srpm, srpm, build, build];
        // The second takes the slot of a build, as it is before them.
        assert_eq!(match_tasks(&tasks, &mut [with_srpm_slot()]), [(0, 0), (1, 0)]);
        assert_eq!(match_tasks(&tasks[1..], &mut [with_srpm_slot()]), [(0, 0), (1, 0)]);
        assert_eq!(match_tasks(&tasks[2..], &mut [with_srpm_slot()]), [(0, 0)]);
        // A worker of an older version is freer, and builds want it.
        let mut workers = [worker("old", 4, 8), with_srpm_slot()];
        assert_eq!(match_tasks(&tasks[..1], &mut workers), [(0, 1)]);
        assert_eq!(match_tasks(&tasks[..1], &mut workers), [(0, 0)]);
    }

    #[test]
    fn free_slots_are_those_of_workers_that_take_work() {
        let both = [Arch::X86_64, Arch::Aarch64];
        let mut workers = [worker("a", 4, 1), worker("b", 2, 1), worker("c", 1, 1)];
        workers[0].candidate.busy = 1;
        workers[1].candidate.arches = &both;
        workers[2].candidate.busy = 2;
        assert_eq!(free_slots(&workers, false), [(Arch::X86_64, 5), (Arch::Aarch64, 2)].into());
        workers[1].candidate.ready = false;
        assert_eq!(free_slots(&workers, false), [(Arch::X86_64, 3)].into());
        workers[2].candidate.srpm_slots = 2;
        assert_eq!(free_slots(&workers, false), [(Arch::X86_64, 3)].into());
        assert_eq!(free_slots(&workers, true), [(Arch::X86_64, 4)].into());
    }

    #[test]
    fn native_comes_first_and_emulation_only_where_the_target_wants_it() {
        let both = [Arch::X86_64, Arch::Aarch64];
        let none = Needs::default();
        let strict = WaitingTask { arch: Arch::Aarch64, ..task(&none) };
        let lenient = WaitingTask { emulation: true, ..strict };
        let workers = || {
            let mut workers = [worker("emulates", 9, 8), worker("native", 1, 8)];
            (workers[0].candidate.arches, workers[0].candidate.emulated) = (&both, &both[1..]);
            workers[1].candidate.arches = &both[1..];
            workers
        };
        let pairs = |tasks: &[WaitingTask<'_>]| match_tasks(tasks, &mut workers());
        assert_eq!(pairs(&[lenient, lenient]), [(0, 1), (1, 0)]);
        assert_eq!(pairs(&[strict, strict]), [(0, 1)]);
        assert_eq!(pairs(&[task(&none)]), [(0, 0)], "its own architecture it runs itself");
    }

    #[test]
    fn a_big_task_blocks_nobody_and_gets_its_worker() {
        let (small, big) = (Needs::default(), gib(32));
        let mut workers = [worker("big", 2, 64), worker("a", 1, 8)];
        workers[0].candidate.busy = 1;
        workers[0].memory_used_mib = 40 << 10;
        // The big one does not fit now: its worker is kept, the small ones go elsewhere.
        let tasks = [task(&big), task(&small), task(&small)];
        assert_eq!(match_tasks(&tasks, &mut workers), [(1, 1)]);
        assert!(!workers[0].fits(&tasks[1]), "it is kept");
        workers[0].candidate.busy = 0;
        workers[0].candidate.ready = true;
        workers[0].memory_used_mib = 0;
        assert_eq!(match_tasks(&[tasks[0], tasks[2]], &mut workers), [(0, 0), (1, 0)]);
    }

    #[test]
    fn what_no_worker_can_ever_take_keeps_none() {
        let (small, huge) = (Needs::default(), gib(100));
        let mut workers = [worker("a", 1, 8)];
        assert_eq!(match_tasks(&[task(&huge), task(&small)], &mut workers), [(1, 0)]);
    }

    #[test]
    fn what_is_repeated_never_goes_to_the_worker_that_made_it() {
        let none = Needs::default();
        let repeat = WaitingTask { except: "maker", ..task(&none) };
        let mut workers = [worker("maker", 4, 8)];
        assert_eq!(match_tasks(&[repeat, task(&none)], &mut workers), [(1, 0)]);
        let mut workers = [worker("maker", 4, 8), worker("other", 1, 8)];
        assert_eq!(match_tasks(&[repeat], &mut workers), [(0, 1)]);
    }

    #[test]
    fn labels_are_kept_for_those_who_need_them() {
        let labels = ["ssd".to_owned()];
        let ssd = Needs { label: "ssd".into(), ..Needs::default() };
        let none = Needs::default();
        let labelled = WorkerCapacity { labels: &labels, ..worker("a", 1, 8) };
        let mut workers = [labelled, worker("b", 1, 8)];
        assert_eq!(
            match_tasks(&[task(&none), task(&none), task(&ssd)], &mut workers),
            [(0, 1), (1, 0)],
        );
        let mut workers = [worker("b", 1, 8)];
        assert_eq!(match_tasks(&[task(&ssd)], &mut workers), []);
    }

    #[test]
    fn a_worker_that_failed_a_task_gets_it_only_when_there_is_no_other() {
        let none = Needs::default();
        let avoid = ["a".to_owned()];
        let again = WaitingTask { avoid: &avoid, ..task(&none) };
        let mut both = [worker("a", 2, 8), worker("b", 1, 8)];
        assert_eq!(match_tasks(&[again], &mut both), [(0, 1)]);
        // `b` is busy: the task waits for it, and others take `a`.
        assert_eq!(match_tasks(&[again, task(&none)], &mut both), [(1, 0)]);
        let mut alone = [worker("a", 1, 8)];
        assert_eq!(match_tasks(&[again], &mut alone), [(0, 0)]);
    }

    #[test]
    fn the_only_worker_for_a_big_task_is_kept_for_it_though_it_failed_it() {
        let (small, big) = (Needs::default(), gib(32));
        let avoid = ["big".to_owned()];
        let again = WaitingTask { avoid: &avoid, ..task(&big) };
        let mut workers = [worker("big", 3, 64), worker("a", 1, 8)];
        workers[0].candidate.busy = 1;
        workers[0].memory_used_mib = 40 << 10;
        // Small ones would fill it again and again.
        let tasks = [again, task(&small), task(&small)];
        assert_eq!(match_tasks(&tasks, &mut workers), [(1, 1)]);
        assert!(!workers[0].fits(&task(&small)), "it is kept");
        // Where there is another, that one is kept.
        let mut workers = [worker("big", 3, 64), worker("other", 3, 64)];
        for worker in &mut workers {
            worker.candidate.busy = 1;
            worker.memory_used_mib = 40 << 10;
        }
        assert_eq!(match_tasks(&[again, task(&small)], &mut workers), [(1, 0)]);
        assert!(workers[0].fits(&task(&small)) && !workers[1].fits(&task(&small)));
    }

    #[test]
    fn the_freest_ready_worker_comes_first() {
        let none = Needs::default();
        let mut workers = [worker("b", 2, 8), worker("c", 4, 8), worker("a", 4, 8)];
        workers[1].candidate.busy = 1;
        assert_eq!(match_tasks(&[task(&none)], &mut workers), [(0, 2)]);
        workers[1].candidate.ready = false;
        workers[2].candidate.busy = 4;
        assert_eq!(match_tasks(&[task(&none)], &mut workers), [(0, 0)]);
        let power = WaitingTask { arch: Arch::Ppc64le, ..task(&none) };
        assert_eq!(match_tasks(&[power], &mut workers), []);
    }

    proptest! {
        /// No slot and no memory is given twice, and no slot stays free that the next would fit,
        /// but for those that are kept.
        #[test]
        fn nothing_is_given_twice(
            sizes in prop::collection::vec((0_u32..4, 1_u64..64), 1..6),
            needs in prop::collection::vec(0_u64..80, 0..30),
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut workers: Vec<WorkerCapacity<'_>> = sizes
                .iter()
                .zip(names)
                .map(|((slots, gib), name)| worker(name, *slots, *gib))
                .collect();
            let needs: Vec<Needs> = needs.into_iter().map(gib).collect();
            let tasks: Vec<WaitingTask<'_>> = needs.iter().map(task).collect();
            let pairs = match_tasks(&tasks, &mut workers);
            for (index, worker) in workers.iter().enumerate() {
                let mine: Vec<&Needs> =
                    pairs.iter().filter(|pair| pair.1 == index).map(|pair| &needs[pair.0]).collect();
                prop_assert!(mine.len() <= worker.candidate.slots as usize);
                prop_assert!(mine.iter().map(|needs| needs.memory_mib).sum::<u64>() <= worker.memory_mib);
            }
            let plain = needs.iter().all(Needs::is_nothing);
            let slots: usize = sizes.iter().map(|(slots, _)| *slots as usize).sum();
            prop_assert!(!plain || pairs.len() == slots.min(tasks.len()));
        }
    }
}
