//! Git: fetches one commit, and no more than it needs, from an upstream server into a cached bare
//! repository.
//!
//! libgit2 speaks the protocol, but every byte goes through the import's own HTTP client
//! ([`transport`]), so that its limits, checks of addresses and timeouts hold for git, too.

mod fetch;
mod guard;
mod history;
mod transport;
mod tree;

pub use guard::{PackError, PackGuard, PackLimits};

pub(super) use fetch::{Checkout, FetchDepth, fetch};
pub(super) use transport::{FetchSession, register};
pub(super) use tree::{CommitFiles, CommitMeta};
