//! Git: the one commit that is asked for, and no more than it needs, from an upstream server into
//! a cached bare repository.
//!
//! libgit2 speaks the protocol, but every byte goes through the import's own HTTP
//! ([`transport`]), so that its limits, addresses and times hold for git too.

mod fetch;
mod guard;
mod history;
mod transport;
mod tree;

pub use guard::{Guard, PackError, PackLimits};

pub(super) use fetch::{Checkout, Depth, fetch};
pub(super) use transport::{Session, register};
pub(super) use tree::{Files, Said};
