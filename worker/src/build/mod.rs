//! One attempt: root, rpmbuild in a cage, results.
//!
//! Owns what is run and what is collected. It must not know of the coordinator: it gets an
//! assignment and files by digest, and tells an observer how far it is.

mod caged;
mod engine;
mod folder;
mod home;
pub mod kept;
mod log;
mod macros;
mod modify;
mod python;
mod requires;
pub mod results;
mod script;
mod watch;

pub use engine::{Done, Engine, Made, Round};
pub use log::{Observer, log_file};
