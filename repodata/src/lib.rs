//! Repodata: the XML that describes a repository to dnf.
//!
//! A package is described once, when it arrives ([`Fragments`]); a repository is assembled from
//! such fragments ([`assemble()`]), reusing the unchanged parts of its previous state; [`repomd`]
//! writes the page that names the files. The crate must not know of channels, signatures or HTTP.

#![warn(missing_docs)]

pub mod assemble;
pub mod compression;
pub mod document;
mod error;
pub mod package;
pub mod repomd;

pub use assemble::{AssembledDocument, PreviousState, assemble};
pub use compression::Compression;
pub use document::Document;
pub use error::{RepodataError, Result};
pub use package::{Fragments, PackageFile};
pub use repomd::RepomdRecord;
