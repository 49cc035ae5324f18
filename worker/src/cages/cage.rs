//! The description of a cage: its root, its mounts, the command, the user, and the limits.

use std::path::PathBuf;

use rpmfarm_core::Allowed;
use serde::{Deserialize, Serialize};

/// Everything about one run in a cage.
#[derive(Debug, Clone)]
pub struct Cage {
    /// Unique among the cages of this worker; names its cgroup and its directory.
    pub name: String,
    /// Its `/`.
    pub root: CageRoot,
    /// Other directories that are mounted in it, in this order.
    pub binds: Vec<Bind>,
    /// Directories that get a `/dev`, `/proc`, `/sys` of their own: `/`, and where a second root
    /// is bound, that.
    pub system_at: Vec<PathBuf>,
    /// Directories that are a fresh tmpfs.
    pub tmpfs: Vec<PathBuf>,
    pub user: CageUser,
    /// The command and its arguments.
    pub command: Vec<String>,
    pub directory: PathBuf,
    /// Variables beside the fixed ones.
    pub environment: Vec<(String, String)>,
    /// How much it may use.
    pub caps: CageLimits,
    /// Allowances beyond the default.
    pub allow: Allowed,
}

/// The root file system of a cage.
#[derive(Debug, Clone)]
pub enum CageRoot {
    /// A directory that is read-only in the cage.
    ReadOnly(PathBuf),
    /// Read-only layers with a writable one on top.
    Overlay(Overlay),
}

/// Layers that are stacked with overlayfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only trees, the lowest first.
    pub layers: Vec<PathBuf>,
    /// The upper directory, for writes.
    pub upper: PathBuf,
    /// The work directory of overlayfs; on the file system of `upper`.
    pub work: PathBuf,
}

/// A directory of the host that is mounted in the cage.
#[derive(Debug, Clone)]
pub struct Bind {
    pub source: BindSource,
    /// The path in the cage.
    pub target: PathBuf,
    /// Whether the cage can write to it.
    pub writable: bool,
}

/// The source of a bind.
#[derive(Debug, Clone)]
pub enum BindSource {
    /// A directory of the worker's own files, read-only in the cage. Their owners are not mapped
    /// there.
    Directory(PathBuf),
    /// Layers that are mounted for this cage only.
    Overlay(Overlay),
}

/// The user in a cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CageUser {
    /// Root of the cage's user namespace, with the capabilities that an rpm transaction needs.
    Root,
    /// The unprivileged build user, without any capability.
    Builder,
}

/// The limits of a cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CageLimits {
    /// Memory of all processes, in MiB.
    pub memory_mib: u64,
    pub processes: u64,
    /// The time of so many processors; `None` for no limit.
    pub cpus: Option<u32>,
    /// The largest file, in MiB; `None` where another limit applies. The holes of a sparse file
    /// count, though they use no space.
    pub file_mib: Option<u64>,
}

/// User and group id of the build user in a cage.
pub const BUILDER_ID: u32 = 1000;

/// How many ids a cage maps, from 0 on. More than the usual 65536 of containers: packages own files
/// with ids like 100000, and would fail to install.
pub const ID_COUNT: u32 = 1 << 24;
