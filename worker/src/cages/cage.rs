//! What a cage is to be: its root, what is bound into it, who runs what, and with how much.

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

/// The file system at `/` in a cage.
#[derive(Debug, Clone)]
pub enum CageRoot {
    /// A directory that nothing in the cage can write to.
    ReadOnly(PathBuf),
    /// Read-only layers with a writable one on top.
    Overlay(Overlay),
}

/// Layers put together with overlayfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only trees, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Takes what is written.
    pub upper: PathBuf,
    /// overlayfs' own; on the file system of `upper`.
    pub work: PathBuf,
}

/// Something of the host that is seen in the cage.
#[derive(Debug, Clone)]
pub struct Bind {
    pub source: BindSource,
    /// Where in the cage.
    pub target: PathBuf,
    /// Whether the cage can write to it.
    pub writable: bool,
}

/// The source of a bind.
#[derive(Debug, Clone)]
pub enum BindSource {
    /// A directory of the worker's own files, which nothing in the cage can write to. Their owners are
    /// nobody's in the cage.
    Directory(PathBuf),
    /// Layers, mounted for this cage alone.
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

/// How much a cage may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CageLimits {
    /// Memory of all processes, in MiB.
    pub memory_mib: u64,
    pub processes: u64,
    /// Processors' worth of time; none for as much as there is.
    pub cpus: Option<u32>,
    /// The largest file, in MiB; none where something else limits what is written. It counts the
    /// holes of a sparse file, which take no room.
    pub file_mib: Option<u64>,
}

/// User and group id of the build user in a cage.
pub const BUILDER_ID: u32 = 1000;

/// How many ids a cage maps, from 0 on. More than the 65536 that a container mostly has: packages
/// own files with ids like 100000, and a root in which that fails is not the distribution's.
pub const ID_COUNT: u32 = 1 << 24;
