//! The manifest of a generation, stored beside it; the next generation is built upon it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_core::signing::LogHead;
use rpmfarm_core::snapshot::{RepositoryKind, belongs_to};
use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_repodata::{AssembledDocument, Compression};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::disk;
use super::error::{PublishError, Result, io_at};
use super::layout::RepositoryPlace;
use crate::blobs::FileStamp;

/// A signed package for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPackage {
    pub nevra: Nevra,
    /// SHA-256 of the signed file: its name in the blob store.
    pub digest: Sha256,
    /// Size of the signed file in bytes.
    pub size: u64,
    /// The blob of its repodata fragments, made of the signed file with [`crate::pool_path::href`]
    /// or [`crate::pool_path::href_of_signed`].
    pub repodata: Sha256,
    /// For a `noarch` package, the architectures whose repositories leave it out.
    #[serde(default)]
    pub without: Vec<Arch>,
    /// The place of its repository in the list of the request; 0 where a channel is one repository.
    #[serde(default)]
    pub repository: usize,
    /// The properties of the signed file when it was read and proved, if that was recently.
    #[serde(skip)]
    pub proved: Option<FileStamp>,
}

impl PublishedPackage {
    /// Whether the repositories of an architecture have it.
    pub(super) fn is_on(&self, arch: Arch) -> bool {
        belongs_to(&self.nevra, arch) && !self.without.contains(&arch)
    }
}

/// One generation of a channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GenerationManifest {
    pub(super) generation: u64,
    /// The digest of everything that clients see. The same content needs no new generation.
    pub(super) content: Sha256,
    pub(super) repositories: Vec<RepositoryState>,
    /// The head of the signer's log when the last `repomd.xml` was signed.
    #[serde(default)]
    pub(super) logged: Option<LogHead>,
    /// In a file of its own.
    #[serde(skip)]
    pub(super) packages: PackageListing,
}

/// The packages of a generation as text, one line each with everything that was proved about it.
/// Ten thousand lines are written, read and compared in some milliseconds; JSON would take longer.
#[derive(Debug, Default)]
pub(super) struct PackageListing(String);

/// One repository of a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RepositoryState {
    /// Its name; `None` where a channel is one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) arch: Arch,
    pub(super) kind: RepositoryKind,
    /// Its documents with their members.
    pub(super) documents: Vec<AssembledDocument>,
    /// The documents in its `repodata`, by the generation that they belong to.
    pub(super) files: BTreeMap<u64, Vec<String>>,
}

const MANIFEST: &str = "generation.json";
const LISTING: &str = "packages";

/// The repositories of a channel that has several, with their rules.
const REPOSITORIES: &str = "repositories.json";

/// What stands before the name of a package's repository in its line.
const IN_REPOSITORY: &str = " @";

impl GenerationManifest {
    pub(super) fn read(generation: &Path) -> Result<Self> {
        let path = generation.join(MANIFEST);
        let bytes = fs::read(&path).map_err(io_at(&path))?;
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|error| PublishError::Io { path, source: error.into() })?;
        let path = generation.join(LISTING);
        let packages = PackageListing(fs::read_to_string(&path).map_err(io_at(&path))?);
        Ok(Self { packages, ..manifest })
    }

    pub(super) fn write(&self, generation: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("a manifest has no key that JSON lacks");
        disk::write(&generation.join(MANIFEST), &bytes)?;
        disk::write(&generation.join(LISTING), self.packages.0.as_bytes())
    }

    pub(super) fn repository(&self, place: RepositoryPlace<'_>) -> Option<&RepositoryState> {
        self.repositories.iter().find(|state| state.place() == place)
    }
}

impl RepositoryState {
    pub(super) fn place(&self) -> RepositoryPlace<'_> {
        RepositoryPlace { name: self.name.as_deref(), arch: self.arch, kind: self.kind }
    }
}

impl PackageListing {
    /// The list of these packages, which are in `repositories`.
    pub(super) fn from_packages(
        packages: &[PublishedPackage],
        repositories: &[PublishedRepository],
    ) -> Self {
        let mut text = String::with_capacity(packages.len() * 200);
        for package in packages {
            let PublishedPackage { nevra, digest, size, repodata, without, repository, .. } =
                package;
            write!(text, "{nevra} {digest} {size} {repodata}").expect("a String takes all");
            for arch in without {
                write!(text, " -{arch}").expect("a String takes all");
            }
            if let Some(PublishedRepository { name, .. }) = repositories.get(*repository) {
                write!(text, "{IN_REPOSITORY}{name}").expect("a String takes all");
            }
            text.push('\n');
        }
        Self(text)
    }

    /// The lines, one for each package, in their order, without the repository that it is in:
    /// another place needs no other proof.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.lines().map(|line| line.split_once(IN_REPOSITORY).map_or(line, |(proved, _)| proved))
    }
}

/// Writes which repositories a generation has. Nothing where a channel is one repository.
pub(super) fn write_repositories(
    generation: &Path,
    repositories: &[PublishedRepository],
) -> Result<()> {
    if repositories.is_empty() {
        return Ok(());
    }
    disk::write(&generation.join(REPOSITORIES), &repositories_text(repositories))
}

/// Whether a generation has these repositories, by these rules.
pub(super) fn has_repositories(generation: &Path, repositories: &[PublishedRepository]) -> bool {
    match fs::read(generation.join(REPOSITORIES)) {
        Ok(text) => !repositories.is_empty() && text == repositories_text(repositories),
        Err(_) => repositories.is_empty(),
    }
}

fn repositories_text(repositories: &[PublishedRepository]) -> Vec<u8> {
    serde_json::to_vec(repositories).expect("rules have no key that JSON lacks")
}

/// The packages of a generation, as far as its list can be read.
pub(super) fn listed(generation: &Path) -> Vec<(Nevra, Sha256)> {
    let text = fs::read_to_string(generation.join(LISTING)).unwrap_or_default();
    let package = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    text.lines().filter_map(package).collect()
}

/// The digest of everything that clients see of a channel.
pub(super) fn content_of(
    base_url: &str,
    public_key: &str,
    arches: &[Arch],
    compression: Compression,
    repositories: &[PublishedRepository],
    packages: &PackageListing,
) -> Sha256 {
    let rest = serde_json::to_vec(&(base_url, public_key, arches, compression));
    let mut hasher = sha2::Sha256::new_with_prefix(rest.expect("words are JSON"));
    hasher.update(&packages.0);
    if !repositories.is_empty() {
        hasher.update(repositories_text(repositories));
    }
    Sha256::from_bytes(hasher.finalize().into())
}
