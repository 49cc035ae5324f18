//! Repodata: the XML that tells dnf what a repository holds.
//!
//! A package is described once, when it arrives ([`Fragments`]); a repository is put together
//! from such fragments ([`assemble()`]), taking over from its previous state whatever did not
//! change; [`repomd`] writes the page that names the files. The crate must not know of channels,
//! signatures or HTTP.

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
