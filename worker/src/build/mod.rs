//! One attempt: root, rpmbuild in a cage, results.
//!
//! Owns the commands that are run and the collected results. It must not know the coordinator: it
//! gets an assignment and files by digest, and notifies an observer of its progress.

mod caged;
mod engine;
mod folder;
mod home;
pub mod kept_files;
mod log;
mod macros;
mod modify;
mod python;
mod requires;
pub mod results;
mod script;
mod watch;

pub use engine::{BuildOutput, Engine, FinishedBuild, RequiresRound};
pub use log::{Observer, log_file};
