//! The signer: holds the keys and does nothing else.
//!
//! Owns the keys, the rules for what is signed, and a log of all signatures. It gets headers and
//! `repomd.xml` files, never packages, and trusts no caller: a header is parsed and must match the
//! request, a key signs for its targets, a NEVRA is one package, and revisions rise. Of targets it
//! knows the names; it must not know tasks or the coordinator's store, except for the files that it
//! may be allowed to read. docs/signer.md says what this is worth.

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
