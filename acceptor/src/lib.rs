//! The acceptor: reads what workers made, and signs that it accepts it. It does nothing else.
//!
//! Owns one key, which workers it knows by which keys, and a log of everything that it accepted. It
//! believes the coordinator nothing that a worker could have signed: what was made is what a known
//! worker has signed, and what a package is stands in its file, which is read here once more. What was
//! to be made is the coordinator's word. docs/signer.md says what all this is worth.

pub mod book;
pub mod check;
pub mod event;
pub mod memory;
pub mod operate;
pub mod request;
pub mod serve;
pub mod service;
pub mod workers;
