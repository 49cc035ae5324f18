//! The session with the coordinator: reports the worker's attempts, receives the desired state, and
//! makes the one into the other.
//!
//! Owns the attempts and their runs. It must not know how a build is done.

mod attempt;
mod attempts;
mod connection;
pub mod disk_budget;
pub mod facts;
mod files;
mod lease;
mod slots;

pub use attempt::{AttemptContext, ResultSigner};
pub use attempts::Attempts;
pub use connection::{CoordinatorSession, Shutdown};
pub use disk_budget::DiskBudget;
pub use facts::WorkerIdentity;
pub use slots::WorkerSlots;
