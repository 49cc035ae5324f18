//! The solver in a process of its own, one for each pool.
//!
//! libsolv is written in C and works on what packages say of themselves: what overruns its stack, its
//! memory or its time ends that process, and not the coordinator. `process` is the coordinator's
//! side, [`child`] the other, and `wire` what they say to each other. Which packages there are, and
//! what is to be solved, they must not know.

pub mod child;
mod process;
mod wire;

pub(super) use process::{SolverProcess, SolverProgram};
pub(super) use wire::SolverSetup;

use std::path::PathBuf;

#[cfg(feature = "simulation")]
use rpmfarm_core::{Arch, Lock, target::Target};

#[cfg(feature = "simulation")]
use super::farm::FarmPackage;
#[cfg(feature = "simulation")]
use super::lock::Requirements;

/// The argument with which the coordinator's program is a solver.
pub const ARGUMENT: &str = "solver";

/// Who solves in place of a process, in a simulation.
#[cfg(feature = "simulation")]
pub trait SimulatedSolver: std::fmt::Debug + Send + Sync {
    /// Makes a lock of what external repositories have and of the farm's packages.
    ///
    /// # Errors
    /// The requirements that nobody provides; none when the repositories do not answer.
    fn lock(
        &self,
        target: &Target,
        arch: Arch,
        farm: &[FarmPackage],
        wanted: &Requirements,
    ) -> Result<Lock, Vec<String>>;
}

/// The coordinator's program, which runs as solver too: this one, or the one that lies beside it or
/// above it, where tests are.
///
/// # Errors
/// When neither is there.
pub fn program() -> std::io::Result<PathBuf> {
    const NAME: &str = "rpmfarm-coordinator";
    let own = std::env::current_exe()?;
    // A program that was replaced on disk while it runs has ` (deleted)` after its name.
    let name = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.trim_end_matches(" (deleted)") == NAME {
        return Ok("/proc/self/exe".into());
    }
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join(NAME));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let reason = format!("no program {NAME} beside {}: it is the solver, too", own.display());
        std::io::Error::new(std::io::ErrorKind::NotFound, reason)
    })
}
