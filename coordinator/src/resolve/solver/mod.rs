//! The solver in a process of its own, one for each pool.
//!
//! libsolv is written in C and works on data of packages: if these exhaust its stack, its memory or
//! its time, that process ends, not the coordinator. `process` is the coordinator's side, [`child`]
//! the other, and `wire` their messages. They must not know which packages there are, and what is
//! to be solved.

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

/// The argument with which the coordinator's program runs as a solver.
pub const ARGUMENT: &str = "solver";

/// The solver of a simulation.
#[cfg(feature = "simulation")]
pub trait SimulatedSolver: std::fmt::Debug + Send + Sync {
    /// Makes a lock from external repositories and the farm's packages.
    ///
    /// # Errors
    /// The requirements that nothing provides; an empty list when the repositories do not answer.
    fn lock(
        &self,
        target: &Target,
        arch: Arch,
        farm: &[FarmPackage],
        wanted: &Requirements,
    ) -> Result<Lock, Vec<String>>;
}

/// The path of the coordinator's program, which is the solver, too: this program, or the one beside
/// it or above it, as in tests.
///
/// # Errors
/// When there is none.
pub fn program() -> std::io::Result<PathBuf> {
    const NAME: &str = "rpmfarm-coordinator";
    let own = std::env::current_exe()?;
    // The name of a running program whose file was replaced ends in ` (deleted)`.
    let name = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.trim_end_matches(" (deleted)") == NAME {
        return Ok("/proc/self/exe".into());
    }
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join(NAME));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let reason =
            format!("no program {NAME} beside {}: it is needed as the solver", own.display());
        std::io::Error::new(std::io::ErrorKind::NotFound, reason)
    })
}
