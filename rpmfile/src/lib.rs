//! RPM files as artifacts: their content, whether they are complete, unpacking them, and their
//! header signatures.
//!
//! Owns everything that reads an `.rpm`. A file is streamed, only its headers are ever in memory,
//! and nothing in it is trusted. It must not know of targets, builds or stores.

#![warn(missing_docs)]

mod archive;
mod blob;
mod certs;
mod claims;
mod digests;
mod error;
mod facts;
mod filedigests;
mod files;
mod headers;
mod inspect;
mod payload;
mod proof;
mod proved;
mod root;
mod sign;
mod unpack;
mod verify;
mod view;

pub use certs::Certs;
pub use claims::{FileClaim, PackageClaims, claims, path_of_claim};
pub use error::RpmError;
pub use facts::{nevra, payload_digest};
pub use headers::{Headers, MAX_HEADER};
pub use inspect::{
    ArchiveSummary, InspectedPackage, check_contents, check_contents_within, inspect,
    nevra_of_header,
};
pub use proof::is_intact;
pub use proved::{Proved, inspect_hashed};
pub use sign::{UnsignedPackage, header_to_sign, splice_signature};
pub use unpack::{Ownership, UnpackSummary, unpack};
pub use verify::{VerifiedHeader, join_detached, verify_detached, verify_signature};

/// The result of this crate's functions.
pub type Result<T, E = RpmError> = std::result::Result<T, E>;
