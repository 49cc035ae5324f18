//! Facts learned about a package from its last builds: its duration and its needs.
//!
//! Learned needs never exceed the resources of a worker that was sufficient: a higher need would
//! keep the package from a worker that has built it.

use std::time::Duration;

use crate::needs::Needs;

/// How many of the last builds count.
pub const SAMPLES: usize = 5;

/// The memory that every worker is taken to have, in MiB.
const SMALL_MEMORY: u64 = 2 << 10;

/// The disk space that every worker is taken to have, in MiB.
const SMALL_DISK: u64 = 10 << 10;

/// Learned amounts are cut to a multiple of this where they are what a worker had, in MiB: no two
/// hosts have quite the same.
const COARSE: u64 = 256;

/// The resources of a worker when it got a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerResources {
    /// All its memory, in MiB; 0 when that is not known.
    pub memory_mib: u64,
    /// Its free disk, in MiB; 0 when that is not known.
    pub disk_mib: u64,
}

/// The measurements of one accepted attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// From its grant to its report.
    pub took: Duration,
    /// The most memory that its build had at once, in MiB; 0 when it was not measured.
    pub memory_mib: u64,
    /// The disk that its build had used, in MiB; 0 when it was not measured.
    pub disk_mib: u64,
    /// The resources of its worker.
    pub had: WorkerResources,
}

/// The expected measurements of the next attempt, in the units of [`Sample`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The median of the samples.
    pub took: Duration,
    /// The maximum of the samples, plus a quarter.
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// The least resources of a worker that were sufficient. Of the disk an eighth less, because
    /// free space shrinks as caches grow, but no less than was used.
    pub enough: WorkerResources,
}

impl Forecast {
    /// The same for a build that gets at most so much memory, in MiB.
    #[must_use]
    pub fn within(self, memory_mib: u64) -> Self {
        Self { memory_mib: self.memory_mib.min(memory_mib), ..self }
    }
}

/// Learns from samples; without samples, nothing.
#[must_use]
pub fn learn(samples: &[Sample]) -> Forecast {
    let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let with_margin = |mib: u64| mib.saturating_add(mib / 4);
    let least = |of: fn(&WorkerResources) -> u64| {
        samples.iter().map(|sample| of(&sample.had)).filter(|mib| *mib > 0).min().unwrap_or(0)
    };
    let disk_mib = most(|sample| sample.disk_mib);
    let free_mib = least(|had| had.disk_mib);
    let enough = WorkerResources {
        memory_mib: least(|had| had.memory_mib),
        disk_mib: if free_mib == 0 { 0 } else { (free_mib - free_mib / 8).max(disk_mib) },
    };
    Forecast {
        took: times.get(times.len() / 2).copied().unwrap_or_default(),
        memory_mib: with_margin(most(|sample| sample.memory_mib)),
        disk_mib: with_margin(disk_mib),
        enough,
    }
}

/// The needs of a task: those of its target, and the learned ones where the target has none.
///
/// Learned amounts are rounded up to a few steps, because each set of needs has a queue of its own,
/// and small ones count as none. They never exceed what was sufficient before: a margin must not
/// keep a package from the only host that builds it.
#[must_use]
pub fn needs(set: &Needs, learned: &Forecast) -> Needs {
    let or = |set: u64, learned: u64, enough: u64, small: u64| match set {
        0 => {
            let most = if enough == 0 { u64::MAX } else { enough - enough % COARSE };
            let mib = step(learned).min(most);
            if learned < small || mib < small { 0 } else { mib }
        }
        set => set,
    };
    let enough = learned.enough;
    Needs {
        memory_mib: or(set.memory_mib, learned.memory_mib, enough.memory_mib, SMALL_MEMORY),
        disk_mib: or(set.disk_mib, learned.disk_mib, enough.disk_mib, SMALL_DISK),
        label: set.label.clone(),
    }
}

/// The next power of two, or one and a half of the one before.
fn step(mib: u64) -> u64 {
    let power = mib.next_power_of_two();
    if mib <= power / 4 * 3 { power / 4 * 3 } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(took: u64, memory_mib: u64) -> Sample {
        Sample { took: Duration::from_secs(took), memory_mib, ..Sample::default() }
    }

    #[test]
    fn the_median_and_the_most_count() {
        assert_eq!(learn(&[]), Forecast::default());
        let learned = learn(&[sample(9, 100), sample(1, 4000), sample(5, 0)]);
        let took = Duration::from_secs(5);
        assert_eq!(learned, Forecast { took, memory_mib: 5000, ..Forecast::default() });
    }

    #[test]
    fn no_build_needs_more_memory_than_it_gets() {
        let learned = Forecast { memory_mib: 5000, disk_mib: 100, ..Forecast::default() };
        assert_eq!(learned.within(4096), Forecast { memory_mib: 4096, ..learned });
        assert_eq!(learned.within(8192), learned);
    }

    #[test]
    fn what_is_set_goes_before_what_is_learned() {
        let learned = Forecast { memory_mib: 5000, disk_mib: 100, ..Forecast::default() };
        let none = Needs::default();
        assert_eq!(needs(&none, &learned), Needs { memory_mib: 6144, ..none.clone() });
        let set = Needs { memory_mib: 1024, disk_mib: 0, label: "ssd".into() };
        assert_eq!(needs(&set, &learned), set);
        assert!(needs(&none, &Forecast { memory_mib: 1900, ..learned }).is_nothing());
        assert_eq!((step(4096), step(4097), step(7000)), (4096, 6144, 8192));
    }

    #[test]
    fn no_margin_keeps_a_package_from_a_host_that_has_built_it() {
        let none = Needs::default();
        // A host of "8 GiB" has less, and 5.2 GiB with the margin and a step are 8192 MiB.
        let had = WorkerResources { memory_mib: 7900, disk_mib: 50 << 10 };
        let once = Sample { memory_mib: 5325, disk_mib: 34 << 10, had, ..Sample::default() };
        let unknown = Sample { had: WorkerResources::default(), ..once };
        assert_eq!(needs(&none, &learn(&[unknown])).memory_mib, 8192);
        let wanted = needs(&none, &learn(&[once]));
        assert!(wanted.memory_mib <= had.memory_mib && wanted.memory_mib > once.memory_mib);
        // Its disk is a little fuller by now.
        assert!(wanted.disk_mib <= 45 << 10 && wanted.disk_mib >= once.disk_mib, "{wanted:?}");
        // The smallest that did it counts, in whatever order they came, known or not.
        let large =
            Sample { had: WorkerResources { memory_mib: 64 << 10, disk_mib: 1 << 20 }, ..once };
        for samples in [[large, once, unknown], [unknown, once, large]] {
            assert_eq!(needs(&none, &learn(&samples)), wanted);
        }
        assert_eq!(needs(&none, &learn(&[large])).memory_mib, 8192);
        let tiny = WorkerResources { memory_mib: 1900, ..had };
        let fits = Sample { memory_mib: 1700, disk_mib: 0, had: tiny, ..once };
        assert!(needs(&none, &learn(&[fits])).is_nothing());
        // A need that the target sets is not changed.
        let set = Needs { memory_mib: 16 << 10, ..none };
        assert_eq!(needs(&set, &learn(&[once])).memory_mib, 16 << 10);
    }
}
