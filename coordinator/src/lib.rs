//! The coordinator of rpmfarm: the stages of a rebuild, the store of facts, the API.

pub mod blobs;
pub mod bus;
pub mod store;
