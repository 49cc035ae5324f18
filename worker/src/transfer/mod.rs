//! Moving bytes between the worker and the coordinator: files by digest down, logs and results
//! up, each resumable by offset.
//!
//! `channel` holds the connections, `cache` the files that are here, `download`, `upload` and
//! `ship` the three ways, `objects` what the coordinator lets an object store do. It must not know what a build is.

pub mod cache;
pub mod channel;
pub mod download;
pub mod objects;
pub mod ship;
pub mod upload;

pub use cache::FileCache;
pub use channel::CoordinatorConnection;
