//! A safe binding to libsolv, the solver inside dnf, as far as rpmfarm needs it.
//!
//! A [`Pool`] holds the packages that one architecture of a target can be built with: those of
//! external repositories and the farm's own. [`Pool::solve`] picks the packages that fulfil a list
//! of requirements, as dnf would with weak dependencies off, or names the requirement that nothing
//! fulfils and the package that has it. A [`SolverCache`] keeps the metadata of repositories in
//! libsolv's own form, so that the next process loads them quickly. This crate reads files that it
//! is given; it must not know where they come from, nor whether they may be trusted.

#![warn(missing_docs)]

mod cache;
mod excludes;
mod ffi;
mod modular;
mod owners;
mod pool;
mod problem;
mod proof;
mod requirement;
mod solve;

pub use cache::{RepositoryFiles, SolverCache};
pub use modular::ModuleError;
pub use owners::PoolPackage;
pub use pool::{Fragment, Pool, PoolError, Repository, Twin};
pub use problem::{MissingRequirement, Requirer, UnsolvableError};
pub use proof::{ProofFindings, ProofQuestion, SharedFiles};
pub use requirement::RequirementError;
pub use solve::{Package, PackageId, Solution, SolveError, SolveRequest};
