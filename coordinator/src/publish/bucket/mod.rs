//! The repositories of a channel as plain files in a bucket of S3-compatible storage.
//!
//! A bucket has no links and no rename, only objects that are replaced one by one. So what nobody
//! knows yet comes first: packages and the documents that are named by their content. Then each
//! `repomd.xml.asc`, each `repomd.xml`, and last the pointer (`pointer`), an object that is replaced
//! only if it has not changed (compare-and-swap). Whenever a publisher dies, a client finds the old
//! or the new generation of each repository, signed: `repomd.xml.asc` has the signatures of both
//! while they may meet (`signatures`).
//!
//! Of the tree on disk it reads what a client reads, by the names in `repomd.xml` (`tree`). It must
//! not know builds or keys. Files from the top: `pass` finds the channels to be shown, `view` shows
//! one.

mod pass;
mod pointer;
mod signatures;
mod tree;
mod view;

pub use pass::BucketPass;
pub use pointer::ChannelPointer;
pub use view::{BucketView, ViewError, ViewOutcome};
