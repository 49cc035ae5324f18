//! Roots by digest: made once from the packages of a lock, stored, shared by all builds.
//!
//! Owns the store of bootstrap roots and layers, how they are made, and which go when space is
//! short. It must not know what is built in them.

mod accounts;
mod bootstrap;
mod bounds;
mod error;
mod inuse;
mod make;
mod stored;
mod transaction;

pub use error::RootError;
pub use make::{Lease, Roots};
pub use stored::Store;
