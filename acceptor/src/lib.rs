//! The acceptor: checks the results of workers, and signs that it accepts them. It does nothing
//! else.
//!
//! Owns one key, the trusted keys of workers, and a log of all acceptances. It trusts the
//! coordinator with nothing that a worker signs: the results are those that a trusted worker has
//! signed, and each package is judged by its file, which is read here again. The coordinator only
//! says what was to be built. docs/signer.md says what this is worth.

pub mod book;
pub mod check;
pub mod event;
pub mod memory;
pub mod operate;
pub mod request;
pub mod serve;
pub mod service;
pub mod workers;
