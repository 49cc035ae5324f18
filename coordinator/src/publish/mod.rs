//! Publishing: a channel's packages as repositories on disk, made visible by one rename.
//!
//! Owns the tree of files that clients and mirrors read. Files from the top:
//!
//! - `pass` is the stage, [`PublishStage`]: which builds a channel gets next, and when
//!   (`gathering`). `channels` keeps what channels hold, `next_content` puts together what one gets
//!   next, `placement` says in which repository each
//!   package is where a target names several, `proof` finds out what a change would break for
//!   users. These alone know of builds and of the database.
//! - [`Publisher`] is the engine. It is given a set of signed packages with their repodata
//!   fragments, proves each of them, and either shows all of them or changes nothing. It holds no
//!   key.
//! - `draft` writes a generation, `manifest` says what it is made of, `pool` has the files,
//!   `layout` says where everything lies, and `lock` that one publisher is at work.
//! - `bucket` shows the same repositories in a bucket of S3-compatible storage.
//! - `current_generation` is the link that clients follow, `clients` what they are told once, and
//!   `http` serves it.
//!
//! ```text
//! repos/TARGET/
//!   RPM-GPG-KEY-TARGET  TARGET-CHANNEL.repo
//!   pool/ARCH/x/NEVRA.rpm                  append-only; hard links to the signed blobs
//!   pool/ARCH/x/DIGEST/NEVRA.rpm           the same, signed anew after the target's key changed
//!   CHANNEL/
//!     ARCH → current/ARCH                  what `.repo` files name; or NAME → current/NAME
//!     current → .generations/7             the one link that is renamed
//!     .generations/7/
//!       generation.json packages           what it is made of
//!       repositories.json                where a channel has several: which, by which rules
//!       ARCH/{os,debug,source}/            or NAME/ARCH/{os,debug,source}/ for each of several
//!         Packages → the pool
//!         repodata/                        repomd.xml, repomd.xml.asc, signer-log.json, and the
//!                                          documents of this generation and of those shortly
//!                                          before it
//! ```
//!
//! Generations are numbered as they are signed: one that was signed and never shown leaves its
//! number out, because the signer signs no other content under it.
//!
//! A client that read `repomd.xml` of one generation finds the documents that it names also
//! after the next ones were shown, at the same place, for as many generations as are kept.
//!
//! All links are relative: `TARGET` can be copied to a mirror. Copy what is new first and the
//! link last: `rsync -a --exclude=current FROM TO && rsync -a FROM TO`.

mod bucket;
mod channels;
mod clients;
mod current_generation;
mod disk;
mod draft;
mod error;
mod gathering;
mod http;
mod keys;
mod layout;
mod lock;
mod manifest;
mod next_content;
mod pass;
mod placement;
mod pool;
mod proof;
mod published;
mod publisher;

pub use bucket::{BucketPass, BucketView, ChannelPointer, ViewError, ViewOutcome};
pub use channels::{ChannelContents, Channels, SignedAgain};
pub use error::{ProofError, PublishError, Result};
pub use http::router;
pub use manifest::PublishedPackage;
pub use pass::{PublishStage, PublishWork};
pub(crate) use pool::hash;
pub use proof::{KnownProofs, ProofRefusedError, Proofs};
pub use published::shown_files;
pub use publisher::{
    PublishOutcome, PublishRequest, PublishStep, Publisher, RepomdSignature, RepomdSigner,
    SignError, describe,
};
