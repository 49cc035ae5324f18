//! The coordinator of rpmfarm: the stages of a rebuild, the store of facts, the API.

pub mod blobs;
pub mod bus;
pub mod clock;
mod http;
pub mod import;
pub mod logs;
pub mod publish;
pub mod resolve;
pub mod store;
pub mod targets;
pub mod token;
pub mod waits;
pub mod work;
