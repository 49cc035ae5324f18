//! The worker of rpmfarm: roots, sandbox, builds, and the session with the coordinator.

pub mod arches;
pub mod build;
pub mod cages;
pub mod command;
pub mod disk;
pub mod files;
pub mod identity;
pub mod roots;
pub mod session;
pub mod transfer;
pub mod trees;
