//! Ranges of a host's user and group ids: one for the files of cages on disk, and one for each
//! running cage.
//!
//! Owns which ranges there are, which one a cage gets, and what is written into the kernel's maps.
//! It must not know how a range is mapped.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Consecutive ids, the same ones for users and for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdRange {
    first: u32,
    count: u32,
}

impl IdRange {
    /// `count` ids from `first` on; `None` where there are not so many. The highest id, 4294967295,
    /// is in no range, because system calls take it for "do not change".
    #[must_use]
    pub const fn new(first: u32, count: u32) -> Option<Self> {
        match first.checked_add(count) {
            Some(_) if count > 0 => Some(Self { first, count }),
            _ => None,
        }
    }

    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    #[must_use]
    pub fn ids(self) -> Range<u64> {
        let first = u64::from(self.first);
        first..first + u64::from(self.count)
    }

    /// Whether it shares ids with another range.
    #[must_use]
    pub fn overlaps(self, other: &Range<u64>) -> bool {
        let ids = self.ids();
        !other.is_empty() && ids.start < other.end && other.start < ids.end
    }

    /// The range of the same length directly above.
    fn above(self) -> Option<Self> {
        Self::new(self.first.checked_add(self.count)?, self.count)
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.first + (self.count - 1))
    }
}

/// The host has fewer free ids than its cages need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} ranges of {} ids are needed above those from {disk}, and {found} are free",
    .disk.count
)]
pub struct TooFewIds {
    /// The range on disk, above which free ids were searched for.
    pub disk: IdRange,
    /// Ranges that are needed.
    pub wanted: usize,
    /// Ranges that are there.
    pub found: usize,
}

/// Ranges for so many cages: each as long as the one on disk, above it, and without any id that is
/// `taken`.
///
/// # Errors
/// When there are not enough.
pub fn for_cages(
    disk: IdRange,
    taken: &[Range<u64>],
    wanted: usize,
) -> Result<Vec<IdRange>, TooFewIds> {
    let above = std::iter::successors(disk.above(), |range| range.above());
    let free = above.filter(|range| !taken.iter().any(|ids| range.overlaps(ids)));
    let ranges: Vec<IdRange> = free.take(wanted).collect();
    if ranges.len() == wanted {
        return Ok(ranges);
    }
    Err(TooFewIds { disk, wanted, found: ranges.len() })
}

/// The ranges of a worker's cages. Each belongs to one cage at a time.
#[derive(Debug)]
pub struct IdPool {
    free: BTreeSet<IdRange>,
}

impl IdPool {
    /// A pool of these, all of them free.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = IdRange>) -> Self {
        Self { free: ranges.into_iter().collect() }
    }

    /// The lowest range that is free.
    pub fn acquire(&mut self) -> Option<IdRange> {
        self.free.pop_first()
    }

    /// Frees a range whose cage has ended.
    pub fn give_back(&mut self, range: IdRange) {
        self.free.insert(range);
    }
}

/// The line for `uid_map` and `gid_map` of a cage's user namespace (user_namespaces(7)): the ids
/// in the cage begin at 0.
#[must_use]
pub fn cage_map(cage: IdRange) -> String {
    format!("0 {} {}\n", cage.first, cage.count)
}

/// The content of these files for the user namespace from which a mount takes its map
/// (mount_setattr(2)): an id of the range on disk is shown as the id at the same position of the
/// cage's range.
///
/// The host's root stays itself. overlayfs makes its own files as root, and with a map without this
/// id it shows everything read-only and reports no error.
#[must_use]
pub fn mount_map(disk: IdRange, cage: IdRange) -> String {
    format!("0 0 1\n{} {} {}\n", disk.first, cage.first, disk.count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNT: u32 = 1 << 24;

    fn range(first: u32, count: u32) -> IdRange {
        IdRange::new(first, count).unwrap()
    }

    #[test]
    fn a_range_ends_before_the_id_that_is_none() {
        assert_eq!(range(u32::MAX - 10, 10).ids().end, u64::from(u32::MAX));
        assert_eq!(IdRange::new(u32::MAX - 10, 11), None);
        assert_eq!(IdRange::new(7, 0), None);
        assert_eq!(range(100_000, 65_536).to_string(), "100000 to 165535");
    }

    #[test]
    fn ranges_lie_above_the_one_on_disk_and_leave_out_what_is_taken() {
        let disk = range(0x7000_0000, COUNT);
        let taken = [0x7200_0000..0x7200_0001, 0x73ff_ffff..0x7400_0001];
        let firsts: Vec<u32> =
            for_cages(disk, &taken, 3).unwrap().into_iter().map(IdRange::first).collect();
        assert_eq!(firsts, [0x7100_0000, 0x7500_0000, 0x7600_0000]);
    }

    #[test]
    fn a_host_with_too_few_ids_is_told_how_many_there_are() {
        let disk = range(0xfc00_0000, COUNT);
        assert_eq!(for_cages(disk, &[], 2).unwrap().len(), 2);
        let error = for_cages(disk, &[], 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 ranges of 16777216 ids are needed above those from 4227858432 to 4244635647, and 2 are \
             free"
        );
        // Above these there is not one.
        assert_eq!(for_cages(range(0xfe00_0000, COUNT), &[], 1).unwrap_err().found, 0);
    }

    #[test]
    fn a_range_belongs_to_one_cage_at_a_time() {
        let (low, high) = (range(100, 10), range(110, 10));
        let mut pool = IdPool::new([high, low]);
        assert_eq!(pool.acquire(), Some(low));
        assert_eq!(pool.acquire(), Some(high));
        assert_eq!(pool.acquire(), None);
        pool.give_back(high);
        assert_eq!(pool.acquire(), Some(high));
    }

    #[test]
    fn what_the_kernel_is_told() {
        let (disk, cage) = (range(100_000, 65_536), range(300_000, 65_536));
        assert_eq!(cage_map(cage), "0 300000 65536\n");
        assert_eq!(mount_map(disk, cage), "0 0 1\n100000 300000 65536\n");
    }

    proptest! {
        #[test]
        fn ranges_never_overlap(
            (first, count) in (any::<u32>(), (1_u32 << 20)..(1 << 26)),
            taken in prop::collection::vec((any::<u32>(), any::<u16>()), 0..6),
            wanted in 0_usize..40,
        ) {
            let Some(disk) = IdRange::new(first, count) else { return Ok(()) };
            let taken: Vec<Range<u64>> = taken
                .into_iter()
                .map(|(first, count)| u64::from(first)..u64::from(first) + u64::from(count))
                .collect();
            let found = match for_cages(disk, &taken, wanted) {
                Ok(found) => found,
                Err(error) => {
                    prop_assert!(error.found < wanted);
                    for_cages(disk, &taken, error.found).unwrap()
                }
            };
            for (number, range) in found.iter().enumerate() {
                prop_assert_eq!(range.ids().end - range.ids().start, u64::from(count));
                prop_assert!(range.ids().end <= u64::from(u32::MAX));
                prop_assert!(!range.overlaps(&disk.ids()));
                prop_assert!(taken.iter().all(|ids| !range.overlaps(ids)));
                prop_assert!(found[..number].iter().all(|other| !range.overlaps(&other.ids())));
            }
        }
    }
}
