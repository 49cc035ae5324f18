//! What the processes that hold keys have in common: signer, acceptor, and of a worker its key.
//!
//! Owns who may ask them and over which socket, that nobody reads their memory, that nobody takes a line
//! out of their logs, how they read the coordinator's files and answer until they are stopped, how they
//! tell which file an error is about, and keys of Ed25519. It must not know what is signed, nor when.

pub mod blobs;
pub mod chain;
pub mod client_auth;
pub mod harden;
pub mod key;
pub mod path;
pub mod run;
pub mod socket;
