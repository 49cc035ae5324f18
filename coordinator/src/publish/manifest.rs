//! What a generation is made of, kept beside it: what the next one builds upon.

use std::collections::BTreeMap;
use std::path::Path;

use rpmfarm_core::snapshot::Kind;
use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_repodata::{Assembled, Compression};
use serde::{Deserialize, Serialize};

use super::disk;
use super::error::{PublishError, Result, io_at};

/// A signed package that clients shall see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPackage {
    /// Its full name.
    pub nevra: Nevra,
    /// SHA-256 of the signed file: its name in the blob store.
    pub digest: Sha256,
    /// Size of the signed file in bytes.
    pub size: u64,
    /// The blob of its repodata fragments, made of the signed file with [`super::href`].
    pub repodata: Sha256,
}

/// One generation of a channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) generation: u64,
    /// Names everything that clients see; equal contents need no new generation.
    pub(super) content: Sha256,
    pub(super) packages: Vec<PublishedPackage>,
    pub(super) repositories: Vec<RepositoryState>,
}

/// One repository of a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RepositoryState {
    pub(super) arch: Arch,
    pub(super) kind: Kind,
    /// Its documents with their members.
    pub(super) documents: Vec<Assembled>,
    /// The documents in its `repodata`, by the generation that they belong to.
    pub(super) files: BTreeMap<u64, Vec<String>>,
}

const FILE: &str = "generation.json";

impl Manifest {
    pub(super) fn read(generation: &Path) -> Result<Self> {
        let path = generation.join(FILE);
        let bytes = std::fs::read(&path).map_err(io_at(&path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| PublishError::Io { path, source: error.into() })
    }

    pub(super) fn write(&self, generation: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("a manifest has no key that JSON lacks");
        disk::write(&generation.join(FILE), &bytes)
    }

    pub(super) fn repository(&self, arch: Arch, kind: Kind) -> Option<&RepositoryState> {
        self.repositories.iter().find(|state| (state.arch, state.kind) == (arch, kind))
    }
}

/// The digest of everything that clients see of a channel.
pub(super) fn content_of(
    base_url: &str,
    public_key: &str,
    arches: &[Arch],
    compression: Compression,
    packages: &[PublishedPackage],
) -> Sha256 {
    let all = (base_url, public_key, arches, compression, packages);
    Sha256::of(&serde_json::to_vec(&all).expect("names and digests are JSON"))
}
