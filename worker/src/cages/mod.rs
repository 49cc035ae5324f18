//! The cage: runs a command in namespaces of its own, with crun, and leaves nothing behind.
//!
//! Owns how a process is confined, limited, watched and killed. It must not know what is built, nor
//! where roots come from.

pub mod cage;
pub mod cancel;
pub mod cgroup;
mod compiled_filters;
pub mod confined_dir;
mod devices;
mod id_probe;
mod idmap;
mod ids;
mod kernel_log;
mod loops;
mod oci;
pub mod run;
pub mod scratch;
mod seccomp;
mod sockets;
pub mod stage;
mod sysfs;
mod users;

pub use cage::{Bind, Cage, CageLimits, CageRoot, CageUser, Overlay};
pub use cancel::{CancelFlag, CancelReason};
pub use compiled_filters::CompiledFilters;
pub(crate) use id_probe::IdProbe;
pub use ids::CageIds;
pub use run::{CageError, CageExit, CageResult, CageRunner, StopReason};
