//! The coordinator of rpmfarm: the stages of a rebuild, the store of facts, the API.

#[cfg(all(feature = "simulation", not(debug_assertions)))]
compile_error!(
    "the feature `simulation` is for tests alone; leave rpmfarm-sim out of a build for farms \
     (--exclude rpmfarm-sim)"
);

pub mod accept;
pub mod blob_cleanup;
pub mod blob_uploads;
pub mod blobs;
pub mod blocking;
pub mod bus;
pub mod claims;
pub mod clock;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod doctor;
pub mod fleet;
mod http;
pub mod identity;
pub mod import;
pub mod keyed_semaphore;
pub mod listen;
mod local;
pub mod logs;
pub mod metrics;
pub mod noarch;
pub mod observe;
pub mod parts;
pub mod peers;
pub mod plan;
pub mod planted_bugs;
pub mod pool_path;
pub mod process;
pub mod publish;
pub mod random;
pub mod resolve;
pub mod retry;
pub mod rpc;
pub mod s3;
pub mod scrub;
pub mod server;
pub mod sign;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod snapshots;
pub mod start;
pub mod store;
pub mod streams;
pub mod targets;
pub mod token;
pub mod track;
pub mod wait_reasons;
pub mod work;
