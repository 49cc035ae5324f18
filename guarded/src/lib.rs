//! The common parts of the processes that hold keys: the signer, the acceptor, and a worker for its
//! result key.
//!
//! Owns their sockets and which users may connect, the protection of their memory, the chains of
//! their logs, reading the coordinator's files, answering until they are stopped, errors that name
//! their file, and keys of Ed25519. It must not know what is signed, nor when.

pub mod blobs;
pub mod chain;
pub mod client_auth;
pub mod harden;
pub mod key;
pub mod path;
pub mod run;
pub mod socket;
