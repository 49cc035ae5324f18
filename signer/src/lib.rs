//! The signer: holds the keys and does nothing else.
//!
//! Owns the keys, the rules for what is signed, and a log of everything that was. It gets
//! headers and small files, never packages, and trusts nobody who asks: a header is parsed and
//! must be what the request says. It must not know of targets, tasks or stores.

pub mod audit;
pub mod client_auth;
pub mod config;
pub mod generate;
pub mod harden;
pub mod key;
pub mod keys;
pub mod packet;
pub mod request;
pub mod serve;
pub mod service;
pub mod socket;
