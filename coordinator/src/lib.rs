//! The coordinator of rpmfarm: the stages of a rebuild, the store of facts, the API.

pub mod accept;
pub mod blobs;
pub mod bus;
pub mod clock;
pub mod config;
pub mod dispatch;
mod doctor;
pub mod farm;
mod http;
pub mod identity;
pub mod import;
pub mod listen;
pub mod logs;
pub mod plan;
pub mod publish;
pub mod resolve;
mod retry;
pub mod rpc;
pub mod server;
pub mod sign;
pub mod start;
pub mod store;
pub mod targets;
pub mod token;
pub mod waits;
pub mod work;
