//! The services `rpmfarm.v1`, the only conversions between wire and domain, and the meaning of
//! calls that do not reach a coordinator.
//!
//! Generated types stop here and at the callers' rpc layers. Whatever comes from the wire is
//! checked on its way into the domain: digests are digests, architectures are known ones, names
//! are plain.

#![warn(missing_docs)]

mod convert;
pub mod reach;

pub use convert::WireError;
pub use prost::Message;

/// Version 1 of the protocol.
#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("rpmfarm.v1");
}

/// The largest piece of a blob or log in one message, in bytes.
pub const CHUNK: usize = 256 * 1024;

/// All services and messages, as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The key of the metadata that carries the token, as `Bearer TOKEN`.
pub const AUTHORIZATION: &str = "authorization";

/// The key of the metadata in which a worker that has the token and no certificate says its name.
pub const WORKER: &str = "rpmfarm-worker";
