//! The session with the coordinator: says what this worker has, hears what it should have, and
//! makes the one into the other.
//!
//! Owns attempts and their lives. It must not know how a build is done.

mod attempt;
mod attempts;
mod connection;
pub mod disk_budget;
pub mod facts;
mod files;
mod lease;

pub use attempt::{AttemptContext, ResultSigner};
pub use attempts::Attempts;
pub use connection::{CoordinatorSession, Shutdown};
pub use disk_budget::DiskBudget;
pub use facts::WorkerIdentity;
