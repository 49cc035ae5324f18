//! What a transaction may do while it runs: the scriptlets of packages are strangers' code too,
//! whoever asked for the packages.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rpmfarm_core::lock::Layer;

use super::stored::tree_bytes;
use crate::sandbox::run::Watcher;
use crate::sandbox::{Cancel, Stop};

/// How long a transaction may take, in minutes.
pub(super) const MINUTES: u64 = 30;

/// How much rpm and the scriptlets may say, in MiB. A line for each package is a thousandth of it.
pub(super) const LOG_MIB: u64 = 64;

/// Installed files may take so many times the size of their packages, and this much beside, in
/// bytes: text packs to a tenth, and scriptlets make caches.
const TIMES: u64 = 20;
const BESIDE: u64 = 1 << 30;

/// How often the tree is measured, which reads all of its directories.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps a transaction within its bounds.
pub(super) struct Bounds<'a, W> {
    log: W,
    written: u64,
    tree: &'a Path,
    room: u64,
    cancel: &'a Cancel,
    next_look: Duration,
}

/// What the files of a layer may take, in bytes.
pub(super) fn room(layer: &Layer) -> u64 {
    let packed: u64 = layer.packages().iter().map(|package| package.size).sum();
    packed.saturating_mul(TIMES).saturating_add(BESIDE)
}

impl<'a, W: Write> Bounds<'a, W> {
    /// Of a transaction that fills `tree`, which may take `room` bytes.
    pub(super) fn new(log: W, tree: &'a Path, room: u64, cancel: &'a Cancel) -> Self {
        Self { log, written: 0, tree, room, cancel, next_look: LOOK }
    }
}

impl<W: Write> Watcher for Bounds<'_, W> {
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.log.write_all(bytes)
    }

    fn check(&mut self, running: Duration, _silent: Duration) -> Option<Stop> {
        if self.cancel.raised().is_some() {
            return Some(Stop::Cancelled);
        }
        if running.as_secs() >= MINUTES * 60 {
            return Some(Stop::Time);
        }
        if self.written > LOG_MIB << 20 {
            return Some(Stop::Log);
        }
        if running < self.next_look {
            return None;
        }
        self.next_look = running + LOOK;
        // A file that goes away meanwhile is looked for again at the next look.
        let taken = tree_bytes(self.tree).unwrap_or(0);
        (taken > self.room).then_some(Stop::HostDisk)
    }
}
