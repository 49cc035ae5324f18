//! What is learned of a package from its last builds: how long it takes, and what it needs.

use crate::needs::Needs;

/// How many of the last builds count.
pub const SAMPLES: usize = 5;

/// Memory below this is had by every worker, in MiB.
const SMALL_MEMORY: u64 = 2 << 10;

/// Disk below this is had by every worker, in MiB.
const SMALL_DISK: u64 = 10 << 10;

/// What one accepted attempt took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// From its grant to its report, in microseconds.
    pub took_us: i64,
    /// The most memory that its build had at once, in MiB; 0 when it was not measured.
    pub memory_mib: u64,
    /// The disk that its build had used, in MiB; 0 when it was not measured.
    pub disk_mib: u64,
}

/// What is to be expected of the next attempt. In the units of [`Sample`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Learned {
    /// The median of the samples.
    pub took_us: i64,
    /// The most of the samples, with a quarter more.
    pub memory_mib: u64,
    /// Likewise.
    pub disk_mib: u64,
}

/// Learns from samples; of none, nothing.
#[must_use]
pub fn learn(samples: &[Sample]) -> Learned {
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.took_us).collect();
    times.sort_unstable();
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let with_margin = |mib: u64| mib.saturating_add(mib / 4);
    Learned {
        took_us: times.get(times.len() / 2).copied().unwrap_or(0),
        memory_mib: with_margin(most(|sample| sample.memory_mib)),
        disk_mib: with_margin(most(|sample| sample.disk_mib)),
    }
}

/// What a task needs: what its target says, and what was learned where that says nothing.
///
/// Learned amounts are rounded up to a few steps, for each set of needs has a queue of its own,
/// and small ones are no need.
#[must_use]
pub fn needs(set: &Needs, learned: &Learned) -> Needs {
    let or = |set: u64, learned: u64, small: u64| match set {
        0 if learned < small => 0,
        0 => step(learned),
        set => set,
    };
    Needs {
        memory_mib: or(set.memory_mib, learned.memory_mib, SMALL_MEMORY),
        disk_mib: or(set.disk_mib, learned.disk_mib, SMALL_DISK),
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

    fn sample(took_us: i64, memory_mib: u64) -> Sample {
        Sample { took_us, memory_mib, disk_mib: 0 }
    }

    #[test]
    fn the_median_and_the_most_count() {
        assert_eq!(learn(&[]), Learned::default());
        let learned = learn(&[sample(9, 100), sample(1, 4000), sample(5, 0)]);
        assert_eq!(learned, Learned { took_us: 5, memory_mib: 5000, disk_mib: 0 });
    }

    #[test]
    fn what_is_set_goes_before_what_is_learned() {
        let learned = Learned { took_us: 1, memory_mib: 5000, disk_mib: 100 };
        let none = Needs::default();
        assert_eq!(needs(&none, &learned), Needs { memory_mib: 6144, ..none.clone() });
        let set = Needs { memory_mib: 1024, disk_mib: 0, label: "ssd".into() };
        assert_eq!(needs(&set, &learned), set);
        assert!(needs(&none, &Learned { memory_mib: 1900, ..learned }).is_nothing());
        assert_eq!((step(4096), step(4097), step(7000)), (4096, 6144, 8192));
    }
}
