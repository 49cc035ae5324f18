//! What a package is built from: the source bundle, a list of files by digest.
//!
//! The bundle of a commit holds one spec and its sources; each file is a blob of its own, so
//! that a new commit with the same tarball stores and transfers only what is new.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// A plain file name, checked by [`crate::name::check_file`].
    pub name: String,
    /// Its blob.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// The sources of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBundle {
    /// Package name as the dist-git repository is named.
    pub package: String,
    /// Where it was fetched from.
    pub url: String,
    /// Full commit id.
    pub commit: String,
    /// The spec file.
    pub spec: SourceFile,
    /// Everything that goes beside it (patches, tarballs), sorted by name.
    pub sources: Vec<SourceFile>,
}

impl SourceBundle {
    /// The bytes that are stored and whose digest is the bundle's name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bundle has no map with keys that JSON lacks")
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When they are not a bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
