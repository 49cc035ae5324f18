//! Claims: the names that an accepted build makes are compared with their owners before any of its
//! packages enters the pool.
//!
//! Owns where the answers come from (the solver's pools, the files of base roots, the requirements
//! of earlier builds, approvals), and what a person's decision changes. The rules are in
//! [`rpmfarm_core::owners`].
//!
//! Owners are derived and never stored. A claimed build waits at the step `claim`, which no pass
//! reads. An approval checks again, withdraws the packages whose full names are taken, and enters
//! the build's packages. Other builds of the batch do not wait for what it claims.

mod base_root_files;
mod decide;
mod files;
pub mod withdraw;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use rpm::PackageMetadata;
use rpmfarm_core::owners::{self, BuiltPackage, Claim, ClaimKind, KnownOwners, OwnerRights};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Lock, Nevra};

pub use base_root_files::BaseRootFileOwners;
pub use decide::{DecisionError, DecisionOutcome};

use self::files::paths;
use crate::blobs::Blobs;
use crate::blocking;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::noarch;
use crate::resolve::Resolver;
use crate::store::{AcceptedTask, Build, NewPackage, Store, StoreError, Tx};
use crate::targets::Targets;

/// Finds the owners of what builds make, and carries out the decisions of persons. Cheap to clone.
#[derive(Clone)]
pub struct Claims {
    pub targets: Targets,
    pub blobs: Blobs,
    /// The owners of the files of base roots.
    pub bases: BaseRootFileOwners,
    /// The packages of external repositories.
    pub resolver: Resolver,
    /// The workers that are notified when packages of their roots are withdrawn.
    pub fleet: Fleet,
    pub clock: Clock,
}

/// The largest lock that is read into memory, in bytes.
const MAX_LOCK: u64 = 64 << 20;

/// The claims of a build, and the generation of the target's packages that they were computed from.
#[derive(Debug, Clone)]
pub struct ClaimsVerdict {
    pub generation: i64,
    /// The names of other source packages that the build makes.
    pub claims: Vec<Claim>,
}

impl Claims {
    /// Compares the names that a build makes with their owners.
    ///
    /// # Errors
    /// When the metadata of external repositories or the files of its root cannot be fetched, so
    /// that the owners are unknown.
    pub async fn verdict(
        &self,
        store: &Store,
        build: &Build,
        packages: &[NewPackage],
    ) -> anyhow::Result<ClaimsVerdict> {
        // The pools are of the target without the options of a build, which change no owners.
        let target = self.targets.get(&build.target)?;
        let approved = store.claim_list_approved(&target.name).await?;
        let required = store.required_thing_list(&target.name).await?;
        let bases = self.base_files(store, build.id).await?;
        let rights = OwnerRights { may_own: target.may_own(&build.package), approved: &approved };
        let (mut generation, mut all) = (i64::MAX, BTreeMap::<(ClaimKind, String), Claim>::new());
        for arch in &target.arches {
            let made = self.made_on(*arch, packages).await?;
            if made.is_empty() {
                continue;
            }
            let questions = owners::questions(&made);
            let asked = (&questions, &required);
            let now = self.clock.system();
            let unknown =
                || format!("the owners of what build {} provides are unknown for {arch}", build.id);
            let owners = self.resolver.owners(&target, *arch, store, asked, now).await;
            let (mut known, seen) = owners.with_context(unknown)?;
            // Claims that were computed from an older generation must be computed again.
            generation = generation.min(seen);
            add_bases(&mut known, &bases, &questions.paths);
            known.required = required.clone();
            for claim in owners::claims(&build.package, &made, &known, &rights) {
                all.entry((claim.kind, claim.what.clone())).or_insert(claim);
            }
        }
        if generation == i64::MAX {
            // The build makes nothing that an architecture of the target would see.
            generation = store.pool_fetch_generation(&target.name).await?;
        }
        let claims = all.into_values().collect();
        Ok(ClaimsVerdict { generation, claims })
    }

    /// The packages of a build that go into the repositories of an architecture.
    async fn made_on(
        &self,
        arch: Arch,
        packages: &[NewPackage],
    ) -> anyhow::Result<Vec<BuiltPackage>> {
        let seen = packages.iter().filter(|package| arch.accepts(&package.nevra.arch));
        let all: Vec<(Nevra, PathBuf)> =
            seen.map(|package| (package.nevra.clone(), self.blobs.path(package.digest))).collect();
        let read = move || {
            let made = |(nevra, path): (Nevra, PathBuf)| {
                let metadata = PackageMetadata::open(&path)?;
                let names =
                    |all: Vec<rpm::Dependency>| all.into_iter().map(|one| one.name).collect();
                anyhow::Ok(BuiltPackage {
                    nevra,
                    provides: names(metadata.get_provides().unwrap_or_default()),
                    obsoletes: names(metadata.get_obsoletes().unwrap_or_default()),
                    files: paths(&metadata, false)?,
                    directories: paths(&metadata, true)?,
                })
            };
            all.into_iter().map(made).collect()
        };
        blocking::run(read).await?
    }

    /// The owners of the files of the base root that the build's SRPM was made in, and of the
    /// bootstrap roots of all its tasks.
    async fn base_files(
        &self,
        store: &Store,
        build: BuildId,
    ) -> anyhow::Result<Vec<base_root_files::SharedRootFileOwners>> {
        let mut all = Vec::new();
        for task in store.task_list(build).await? {
            let Some(row) = store.lock_fetch(task.id).await? else { continue };
            let lock = self.blobs.read_small(row.digest, MAX_LOCK)?;
            let mut lock = Lock::from_bytes(&lock).context("a stored lock cannot be read")?;
            if task.kind != TaskKind::Srpm {
                lock.layers.clear();
            }
            let (bases, blobs) = (self.bases.clone(), self.blobs.clone());
            all.push(blocking::run(move || bases.for_lock(&lock, &blobs)).await??);
        }
        Ok(all)
    }
}

/// The reason why a claimed build waits, in one line.
#[must_use]
pub fn reason(build: BuildId, claims: &[Claim]) -> String {
    let first: Vec<String> = claims.iter().take(3).map(ToString::to_string).collect();
    let more = claims.len().saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "waits for a person: {}{more} (rpmfarm claim show {build}, then claim approve or claim refuse)",
        first.join("; ")
    )
}

/// Makes the packages of a build packages of the target: from now on the solver has them and their
/// names are taken.
///
/// # Errors
/// A name that is taken; database errors.
pub(crate) async fn enter(
    tx: &mut Tx,
    build: &Build,
    arches: &[Arch],
    accepted: &[AcceptedTask],
) -> Result<(), StoreError> {
    let mut by_task = BTreeMap::<usize, Vec<NewPackage>>::new();
    for (index, made) in noarch::taken(arches, accepted) {
        by_task.entry(index).or_default().push(made.package);
    }
    let mut added = 0;
    for (index, packages) in by_task {
        let AcceptedTask { task, arch, .. } = accepted[index];
        added += tx.package_insert(&build.target, build.id, task, arch, &packages).await?;
    }
    for source in tx.task_list_accepted(build.id, TaskKind::Srpm).await? {
        let AcceptedTask { task, arch, packages, .. } = source;
        let srpm: Vec<NewPackage> = packages.into_iter().map(|made| made.package).collect();
        added += tx.package_insert(&build.target, build.id, task, arch, &srpm).await?;
    }
    tx.pool_enter(&build.target, build.id, added).await
}

/// The accepted tasks of a build that make binary packages.
pub(crate) async fn accepted(tx: &mut Tx, build: BuildId) -> Result<Vec<AcceptedTask>, StoreError> {
    let mut accepted = tx.task_list_accepted(build, TaskKind::Build).await?;
    accepted.extend(tx.task_list_accepted(build, TaskKind::Noarch).await?);
    Ok(accepted)
}

fn add_bases(
    known: &mut KnownOwners,
    bases: &[base_root_files::SharedRootFileOwners],
    asked: &BTreeSet<String>,
) {
    for path in asked {
        for base in bases {
            if let Some(owners) = base.get(path) {
                known.paths.entry(path.clone()).or_default().extend(owners);
            }
        }
    }
}
