//! The worker of rpmfarm: roots, sandbox, builds, and the session with the coordinator.

pub mod arches;
pub mod build;
pub mod command;
pub mod disk;
pub mod files;
pub mod identity;
pub mod roots;
pub mod sandbox;
pub mod session;
pub mod transfer;
pub mod trees;
