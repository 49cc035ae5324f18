//! Roots by digest: made once from the packages of a lock, stored, shared by all builds.
//!
//! Owns the store of bootstrap roots and layers, how they are made, and which go when space is
//! short. It must not know what is built in them.

mod accounts;
mod bootstrap;
mod bounds;
mod error;
mod root_maker;
mod root_store;
mod root_use;
mod transaction;

pub use error::RootError;
pub use root_maker::{RootHandle, Roots};
pub use root_store::RootStore;
