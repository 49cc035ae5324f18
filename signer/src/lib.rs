//! The signer: holds the keys and does nothing else.
//!
//! Owns the keys, the rules for what is signed, and a log of everything that was. It gets
//! headers and pages of repositories, never packages, and trusts nobody who asks: a header is parsed
//! and must be what the request says, a key signs for its targets, a NEVRA is one package, and
//! revisions rise. Of targets it knows the names; it must not know of tasks or the coordinator's
//! store, but for the files that it may be let to read. docs/signer.md says what all this is worth.

pub mod audit;
pub mod config;
pub mod event;
pub mod files;
pub mod generate;
mod journal;
pub mod key;
pub mod keys;
pub mod memory;
pub mod operate;
pub mod packet;
pub mod pause;
pub mod repomd;
pub mod request;
pub mod serve;
pub mod service;
