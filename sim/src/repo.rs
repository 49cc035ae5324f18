//! The published tree as the disk has it: generations, the link that shows one, and the lock of
//! the publisher. It survives every process.

use std::collections::BTreeMap;

use rpmfarm_core::Snapshot;

/// How many generations stay readable, as the publisher keeps them.
pub(crate) const KEEP: u64 = 5;

/// The channel on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repo {
    /// How often anything in it was changed.
    pub(crate) changes: u64,
    /// The generation that clients see.
    pub(crate) shown: Option<u64>,
    /// Everything in its place, by number.
    pub(crate) generations: BTreeMap<u64, Generation>,
    /// Who publishes: a coordinator and its life. The system frees the lock of the dead.
    pub(crate) lock: Option<(usize, u64)>,
}

/// One generation.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub(crate) packages: Snapshot,
    /// Whether each `repomd.xml` has its signature.
    pub(crate) signed: bool,
}
