//! Packages of a channel, or of the distribution below it, that have one file with different
//! content: rpm installs only one of them.
//!
//! The solver says which packages share a path; the headers of these say whether they conflict.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::proof::{Problem, ProblemKind};
use rpmfarm_core::snapshot::SnapshotPackage;
use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_rpmfile::{PackageClaims, claims, path_of_claim};

use super::{Contents, Proofs, shown_on};
use crate::blobs::Blobs;
use crate::blocking;
use crate::resolve::SharedPath;

/// How many packages of external repositories are fetched for one proof, to compare their files.
const MAX_EXTERNAL: usize = 64;

/// A package of which the files are compared.
#[derive(Debug, Clone)]
struct ComparedPackage {
    nevra: Nevra,
    digest: Sha256,
    /// The packages that it takes the place of.
    before: Vec<Sha256>,
}

impl Proofs {
    /// The conflicts among packages that share a path, without those that the packages before had.
    pub(super) async fn file_conflicts(
        &self,
        contents: Contents<'_>,
        arch: Arch,
        shared: Vec<SharedPath>,
    ) -> anyhow::Result<Vec<Problem>> {
        if shared.is_empty() {
            return Ok(Vec::new());
        }
        self.fetch_external(contents, arch, &shared).await;
        let pairs = compared(contents, arch, shared);
        let blobs = self.blobs.clone();
        let compare = move || {
            let mut files = FilesOfPackages { blobs, known: HashMap::new() };
            let problems = pairs.iter().filter_map(|(one, other)| files.compare(one, other, arch));
            problems.collect()
        };
        Ok(blocking::run(compare).await?)
    }

    /// Fetches the external packages that are to be compared. One that cannot be had is not
    /// compared: that is no proof of a conflict.
    async fn fetch_external(&self, contents: Contents<'_>, arch: Arch, shared: &[SharedPath]) {
        let external = shared.iter().filter_map(|one| one.external.as_ref());
        let wanted: BTreeMap<Sha256, &LockedPackage> =
            external.map(|package| (package.digest, package)).collect();
        let (target, left) = (&contents.target.name, wanted.len().saturating_sub(MAX_EXTERNAL));
        if left > 0 {
            tracing::warn!(target, %arch, left, "files of external packages are not compared");
        }
        for package in wanted.into_values().take(MAX_EXTERNAL) {
            let now = self.clock.system();
            let one = vec![package.clone()];
            let fetched = self.resolver.fetch_external(contents.target, arch, one, now).await;
            if let Err(error) = fetched {
                let package = package.nevra.to_string();
                tracing::warn!(target, %arch, package, %error, "its files are not compared");
            }
        }
    }
}

/// The packages of the pairs with their files, and those that they take the place of.
fn compared(
    contents: Contents<'_>,
    arch: Arch,
    shared: Vec<SharedPath>,
) -> Vec<(ComparedPackage, ComparedPackage)> {
    let after: HashMap<&Nevra, &SnapshotPackage> =
        shown_on(contents.after, arch).map(|package| (&package.nevra, package)).collect();
    let mut before = HashMap::<(&str, &str), Vec<Sha256>>::new();
    for package in shown_on(contents.before, arch) {
        let Nevra { name, arch, .. } = &package.nevra;
        before.entry((name, arch)).or_default().push(package.digest);
    }
    let of_channel = |nevra: &Nevra| {
        let digest = after.get(nevra)?.digest;
        let before = before.get(&(&*nevra.name, &*nevra.arch)).cloned().unwrap_or_default();
        Some(ComparedPackage { nevra: nevra.clone(), digest, before })
    };
    let pair = |one: SharedPath| {
        let other = match one.external {
            Some(LockedPackage { nevra, digest, .. }) => {
                ComparedPackage { nevra, digest, before: vec![digest] }
            }
            None => of_channel(&one.other)?,
        };
        Some((of_channel(&one.package)?, other))
    };
    shared.into_iter().filter_map(pair).collect()
}

/// The files of packages, read from their headers once.
struct FilesOfPackages {
    blobs: Blobs,
    known: HashMap<Sha256, Option<Arc<PackageClaims>>>,
}

impl FilesOfPackages {
    /// The conflict of two packages, by its first path.
    fn compare(
        &mut self,
        one: &ComparedPackage,
        other: &ComparedPackage,
        arch: Arch,
    ) -> Option<Problem> {
        let mut paths = self.conflicts(one.digest, other.digest);
        if paths.is_empty() {
            return None;
        }
        let known = self.known_conflicts(&one.before, &other.before);
        paths.retain(|path| !known.contains(path));
        let mut named: Vec<String> =
            paths.iter().filter_map(|path| self.path(one.digest, *path)).collect();
        named.sort_unstable();
        let first = named.first()?.clone();
        let problem = Problem::new(ProblemKind::Files, one.nevra.clone(), &first, arch);
        let more = named.iter().skip(1).map(|path| format!("both have {path}"));
        Some(problem.with_other(other.nevra.clone()).with_chain(more))
    }

    /// The paths of which the packages before have different files.
    fn known_conflicts(&mut self, one: &[Sha256], other: &[Sha256]) -> HashSet<u64> {
        let mut all = HashSet::new();
        for one in one {
            for other in other {
                all.extend(self.conflicts(*one, *other));
            }
        }
        all
    }

    /// The hashes of the paths of which two packages have different files.
    fn conflicts(&mut self, one: Sha256, other: Sha256) -> Vec<u64> {
        let (Some(one), Some(other)) = (self.claims(one), self.claims(other)) else {
            return Vec::new();
        };
        let by_path: HashMap<u64, _> = one.files.iter().map(|file| (file.path, file)).collect();
        let conflicting = other.files.iter().filter(|file| {
            by_path.get(&file.path).is_some_and(|before| before.conflicts_with(file))
        });
        conflicting.map(|file| file.path).collect()
    }

    /// The files of a package; `None` when it is not stored, or its header cannot be read: the
    /// publisher refuses such a package of the channel.
    fn claims(&mut self, digest: Sha256) -> Option<Arc<PackageClaims>> {
        let blobs = &self.blobs;
        let read = || claims(&blobs.path(digest)).ok().map(Arc::new);
        self.known.entry(digest).or_insert_with(read).clone()
    }

    fn path(&self, digest: Sha256, path: u64) -> Option<String> {
        path_of_claim(&self.blobs.path(digest), path).ok().flatten()
    }
}
