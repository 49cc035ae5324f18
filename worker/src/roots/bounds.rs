//! The limits of a transaction, in time and on disk: the scriptlets of packages are untrusted, too.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rpmfarm_core::lock::Layer;

use crate::cages::run::Watcher;
use crate::cages::{CancelFlag, StopReason};
use crate::disk::{free_inodes, free_mib};
use crate::trees::{self, TreeError};

/// How long a transaction may take, in minutes.
pub(super) const MINUTES: u64 = 30;

/// How much rpm and the scriptlets may print, in MiB. A line for each package is a thousandth of
/// it.
pub(super) const LOG_MIB: u64 = 64;

/// Installed files may take so many times the size of their packages, and this much beside, in
/// bytes: text packs to a tenth, and scriptlets make caches.
const TIMES: u64 = 20;
const BESIDE: u64 = 1 << 30;

/// Files and directories of a layer. The largest packages of a distribution have some hundred
/// thousand, and a whole root of one has fewer than a million.
const ENTRIES: u64 = 5_000_000;

/// Directories of a layer in each other. A path has 4096 bytes at most, and real ones have about
/// twenty steps.
const DEPTH: usize = 2048;

/// How often the tree is measured, which reads all of its directories; after each measurement the
/// transaction is left alone for a multiple of the time that it took.
const PERIOD: Duration = Duration::from_secs(2);
const REST: u32 = 4;

/// The tree is measured at once when the free space of the worker's disk has fallen by so much.
const FELL_MIB: u64 = 512;
const FELL_INODES: u64 = 100_000;

/// Keeps a transaction within its bounds.
pub(super) struct LayerBounds<'a, W> {
    log: W,
    written: u64,
    tree: &'a Path,
    bounds: trees::TreeBounds,
    cancel: &'a CancelFlag,
    next_measurement: Duration,
    /// What was free on the disk when it was last read: MiB and inodes.
    free: (u64, u64),
    /// The error of the tree that ended the transaction.
    pub(super) wrong: Option<TreeError>,
}

/// The bounds on the tree of a layer.
pub(super) fn of_layer(layer: &Layer) -> trees::TreeBounds {
    let packed = layer.packages().iter().fold(0_u64, |sum, one| sum.saturating_add(one.size));
    let bytes = packed.saturating_mul(TIMES).saturating_add(BESIDE);
    trees::TreeBounds { entries: ENTRIES, depth: DEPTH, bytes }
}

impl<'a, W: Write> LayerBounds<'a, W> {
    /// Of a transaction that fills `tree`, which may have so much.
    pub(super) fn new(
        log: W,
        tree: &'a Path,
        bounds: trees::TreeBounds,
        cancel: &'a CancelFlag,
    ) -> Self {
        let (free, next_measurement) = (free(tree), PERIOD);
        Self { log, written: 0, tree, bounds, cancel, next_measurement, free, wrong: None }
    }

    /// Whether the tree is to be measured now: its time has come, or the disk fills fast.
    fn is_time(&self, running: Duration) -> bool {
        let (mib, inodes) = free(self.tree);
        running >= self.next_measurement
            || mib.saturating_add(FELL_MIB) <= self.free.0
            || inodes.saturating_add(FELL_INODES) <= self.free.1
    }

    /// Measures the tree. A tree that cannot be measured never counts as empty.
    fn check(&mut self, running: Duration) -> Option<StopReason> {
        let begun = Instant::now();
        self.free = free(self.tree);
        self.wrong = trees::measure(self.tree, &self.bounds).err();
        self.next_measurement = running + PERIOD.max(begun.elapsed() * REST);
        self.wrong.is_some().then_some(StopReason::HostDisk)
    }
}

/// MiB and inodes that are free where a tree grows; one of which nothing is known does not fall.
fn free(tree: &Path) -> (u64, u64) {
    (free_mib(tree).unwrap_or(0), free_inodes(tree).unwrap_or(0))
}

impl<W: Write> Watcher for LayerBounds<'_, W> {
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.log.write_all(bytes)
    }

    fn check(&mut self, running: Duration, _silent: Duration) -> Option<StopReason> {
        if self.cancel.raised().is_some() {
            return Some(StopReason::Cancelled);
        }
        if running.as_secs() >= MINUTES * 60 {
            return Some(StopReason::Time);
        }
        if self.written > LOG_MIB << 20 {
            return Some(StopReason::Log);
        }
        if self.is_time(running) { self.check(running) } else { None }
    }
}
