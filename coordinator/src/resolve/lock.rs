//! Making locks: from lists of requirements to the layers of a root.
//!
//! Owns how a root is cut into layers, so that builds share as many layers as possible. The solver
//! solves; this file must not know where packages come from.

use std::collections::HashSet;

use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::modules::ModuleChoice;
use rpmfarm_core::name::shown;
use rpmfarm_core::target::{Target, check_base};
use rpmfarm_core::{Arch, BuildOptions, Lock, Nevra};
use rpmfarm_solv::{
    ModuleError, Package, Pool, Solution, SolveError, SolveRequest, UnsolvableError,
};
use serde::{Deserialize, Serialize};

use super::farm::FARM;
use super::href::{self, LocationError};

/// The requirements of a root.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Requirements {
    /// One list for each layer on top of the base root: first the build requirements in the SRPM's
    /// header, then those of each round of `%generate_buildrequires`.
    pub layers: Vec<Vec<String>>,
    /// `BuildConflicts`.
    pub conflicts: Vec<String>,
    /// The module streams that differ from the default ones.
    pub modules: ModuleChoice,
}

impl Requirements {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flatten().chain(&self.conflicts).map(String::as_str)
    }

    /// The longest requirement, shortened for a message.
    pub(super) fn most_complex(&self) -> String {
        let all = self.layers.iter().flatten().chain(&self.conflicts);
        let longest = all.max_by_key(|requirement| requirement.len());
        longest.map(|requirement| shown(requirement)).unwrap_or_default()
    }
}

/// Why there is no lock.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum LockError {
    /// A requirement of the package cannot be fulfilled.
    #[error(transparent)]
    Package(UnsolvableError),
    /// A package that the target puts into every root cannot be installed.
    #[error("target {target} on {arch}: its {what} root: {source}")]
    Root {
        target: String,
        arch: Arch,
        /// `bootstrap` or `base`.
        what: Box<str>,
        source: UnsolvableError,
    },
    /// A requirement is malformed.
    #[error(transparent)]
    Malformed(#[from] rpmfarm_solv::RequirementError),
    /// The module streams that the target or the package chooses cannot be used.
    #[error("target {target} on {arch}: {source}")]
    Modules { target: String, arch: Arch, source: ModuleError },
    /// Repository metadata cannot be used.
    #[error("{0}")]
    Metadata(String),
    /// The solver crashed twice while it solved the build requirements.
    #[error(
        "the solver crashed twice while it searched for packages that fulfil the build requirements ({how}); the most complex of them is `{requirement}`: simplify it"
    )]
    Fatal { how: String, requirement: String },
}

/// The layers that all builds of a target share, for one state of its pool.
#[derive(Debug, Default)]
pub(super) struct SharedLayers {
    bootstrap: Option<Vec<Package>>,
    base: Option<Vec<Package>>,
}

impl SharedLayers {
    /// Solves both lists, unless that was done.
    ///
    /// # Errors
    /// When a package of them cannot be installed.
    pub(super) fn solve(
        &mut self,
        pool: &mut Pool,
        target: &Target,
        arch: Arch,
    ) -> Result<(), LockError> {
        let mut solve = |what: &str, list: &[String]| {
            let root = |source| LockError::Root {
                target: target.name.clone(),
                arch,
                what: what.into(),
                source,
            };
            base_root(pool, target, list).map_err(|error| error.for_root(root))
        };
        if self.bootstrap.is_none() {
            self.bootstrap = Some(solve("bootstrap", &target.bootstrap)?);
        }
        if self.base.is_none() {
            self.base = Some(solve("base", &target.base)?);
        }
        Ok(())
    }
}

impl SharedLayers {
    /// The shared layers that are still valid after the farm's packages in the pool have changed:
    /// those that contain no package of the farm, and could not.
    pub(super) fn renewed(self, pool: &Pool, target: &Target) -> Self {
        if !target.base_from_farm.is_empty() {
            return Self::default();
        }
        let renew = |layer: Option<Vec<Package>>| pool.renewed(&layer?, FARM);
        Self { bootstrap: renew(self.bootstrap), base: renew(self.base) }
    }
}

/// How often a root of the target is solved at most, each time with more of the farm's packages.
const BASE_TRIES: usize = 32;

/// A root that all builds of the target share: from the external repositories, with those packages
/// of the farm that the target lists. Other packages of the farm are in it only where nothing else
/// provides a requirement.
fn base_root(
    pool: &mut Pool,
    target: &Target,
    list: &[String],
) -> Result<Vec<Package>, SolveFailure> {
    let mut allowed: HashSet<Nevra> = HashSet::new();
    let install = requirements([list]);
    for _ in 1..BASE_TRIES {
        let solved = solve_base(pool, target, &install, &allowed);
        let Err(SolveFailure::Unsolvable(found)) = &solved else { return solved };
        let known = allowed.len();
        for missing in &found.missing {
            allowed.extend(pool.fulfilling(FARM, &missing.requirement));
        }
        if allowed.len() == known {
            return solved;
        }
    }
    solve_base(pool, target, &install, &allowed)
}

fn solve_base(
    pool: &mut Pool,
    target: &Target,
    install: &[&str],
    allowed: &HashSet<Nevra>,
) -> Result<Vec<Package>, SolveFailure> {
    let request = SolveRequest { install: install.to_vec(), ..SolveRequest::default() };
    // Bootstrap and base are solved without the farm's own packages (docs/names.md), unless nothing
    // else provides a requirement, or the target lists the source package in `base_from_farm`.
    let wanted =
        |nevra: &Nevra, source: &str| target.is_base_from_farm(source) || allowed.contains(nevra);
    packages(pool.solve_apart(&request, FARM, wanted))
}

/// Makes the lock of a build.
///
/// # Errors
/// When requirements cannot be fulfilled; the error names all of them.
pub(super) fn make_lock(
    pool: &mut Pool,
    shared: &mut SharedLayers,
    target: &Target,
    arch: Arch,
    wanted: &Requirements,
) -> Result<Lock, LockError> {
    let layers = root(pool, shared, target, arch, wanted)?;
    let bootstrap = shared.bootstrap.as_deref().unwrap_or_default();
    Ok(Lock {
        target: target.name.clone(),
        arch,
        bootstrap: layer(target, bootstrap)?,
        layers: layers
            .iter()
            .filter(|packages| !packages.is_empty())
            .map(|packages| layer(target, packages))
            .collect::<Result<_, _>>()?,
        options: BuildOptions::default(),
    })
}

/// The base root and the layers on top of it.
fn root(
    pool: &mut Pool,
    shared: &mut SharedLayers,
    target: &Target,
    arch: Arch,
    wanted: &Requirements,
) -> Result<Vec<Vec<Package>>, LockError> {
    shared.solve(pool, target, arch)?;
    let base = shared.base.as_deref().unwrap_or_default();
    match stacked(pool, base, wanted) {
        Err(SolveFailure::Unsolvable(_)) => {
            // The build requirements conflict with the solution of the base list alone: a package
            // conflicts with one of the base or replaces it (coreutils and coreutils-single), or
            // requires another version. Solved together, the base may be different; then it is not
            // shared, so everything goes into one layer. If that fails as well, its error is
            // reported, because it does not depend on the base's choices.
            Ok(vec![joint(pool, target, wanted).map_err(|error| error.for_package())?])
        }
        layers => layers.map_err(|error| error.for_package()),
    }
}

/// A package of the farm in a root, and the package that the root would have without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarmReplacement {
    pub package: Nevra,
    /// The package of an external repository that would fulfil the requirement instead, with that
    /// repository's id; `None` if no repository has it.
    pub instead: Option<(Nevra, String)>,
}

/// The farm's own packages in a root, in the order of its layers.
pub(super) fn taken(
    pool: &mut Pool,
    shared: &mut SharedLayers,
    target: &Target,
    arch: Arch,
    wanted: &Requirements,
) -> Result<Vec<FarmReplacement>, LockError> {
    let layers = root(pool, shared, target, arch, wanted)?;
    let lists = [&target.bootstrap, &target.base].into_iter().chain(&wanted.layers);
    let requests = requirements(lists.map(Vec::as_slice));
    let bootstrap = shared.bootstrap.iter().flatten();
    let all = bootstrap.chain(layers.iter().flatten()).filter(|package| package.repository == FARM);
    let mut seen = HashSet::new();
    let all = all.filter(|package| seen.insert(package.id));
    Ok(all
        .map(|package| {
            let instead = pool.instead(package, &requests);
            let instead = instead.map(|held| (held.nevra, held.repository));
            FarmReplacement { package: package.nevra.clone(), instead }
        })
        .collect())
}

/// The base, and each list of requirements as a layer on top of the ones before.
fn stacked(
    pool: &mut Pool,
    base: &[Package],
    wanted: &Requirements,
) -> Result<Vec<Vec<Package>>, SolveFailure> {
    let mut layers = vec![base.to_vec()];
    for list in &wanted.layers {
        let pinned: Vec<Package> = layers.iter().flatten().cloned().collect();
        let below: HashSet<_> = pinned.iter().map(|package| package.id).collect();
        let mut all = solve(pool, &requirements([list.as_slice()]), &wanted.conflicts, &pinned)?;
        all.retain(|package| !below.contains(&package.id));
        layers.push(all);
    }
    Ok(layers)
}

fn joint(
    pool: &mut Pool,
    target: &Target,
    wanted: &Requirements,
) -> Result<Vec<Package>, SolveFailure> {
    let lists =
        std::iter::once(target.base.as_slice()).chain(wanted.layers.iter().map(Vec::as_slice));
    solve(pool, &requirements(lists), &wanted.conflicts, &[])
}

/// The requirements of several lists that packages can fulfil, in an order that does not depend on
/// the order in the spec. Capabilities `rpmlib(…)` are provided by rpm itself.
fn requirements<'a>(lists: impl IntoIterator<Item = &'a [String]>) -> Vec<&'a str> {
    let mut all: Vec<&str> = lists
        .into_iter()
        .flatten()
        .map(|requirement| requirement.trim())
        .filter(|requirement| !requirement.starts_with("rpmlib("))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn solve(
    pool: &mut Pool,
    install: &[&str],
    forbid: &[String],
    pinned: &[Package],
) -> Result<Vec<Package>, SolveFailure> {
    let request = SolveRequest {
        install: install.to_vec(),
        forbid: forbid.iter().map(String::as_str).collect(),
        pinned: pinned.iter().map(|package| package.id).collect(),
    };
    packages(pool.solve(&request))
}

fn packages(solved: Result<Solution, SolveError>) -> Result<Vec<Package>, SolveFailure> {
    match solved {
        Ok(Solution { packages }) => Ok(packages),
        Err(SolveError::Unsolvable(found)) => Err(SolveFailure::Unsolvable(found)),
        Err(SolveError::Malformed(error)) => Err(SolveFailure::Other(error.into())),
        Err(error) => Err(SolveFailure::Other(LockError::Metadata(error.to_string()))),
    }
}

/// A failed solve, before it is attributed to the base or to the build.
enum SolveFailure {
    Unsolvable(UnsolvableError),
    Other(LockError),
}

impl SolveFailure {
    fn for_root(self, root: impl FnOnce(UnsolvableError) -> LockError) -> LockError {
        match self {
            Self::Unsolvable(found) => root(found),
            Self::Other(error) => error,
        }
    }

    fn for_package(self) -> LockError {
        self.for_root(LockError::Package)
    }
}

fn layer(target: &Target, packages: &[Package]) -> Result<Layer, LockError> {
    let packages = packages.iter().map(|package| locked(target, package));
    Ok(Layer::new(packages.collect::<Result<_, _>>()?))
}

pub(super) fn locked(target: &Target, package: &Package) -> Result<LockedPackage, LockError> {
    // The farm's own packages are blobs already; others are fetched from their repositories.
    let (mut location, mut base) = (String::new(), String::new());
    if package.repository != FARM {
        let refused = |reason: LocationError| {
            let (repository, nevra) = (&package.repository, &package.nevra);
            LockError::Metadata(format!("repository `{repository}`: location of {nevra}: {reason}"))
        };
        location.clone_from(&package.location);
        href::check(&location).map_err(refused)?;
        if !package.base.is_empty() {
            let url = check_base(&package.base, &target.private_hosts)
                .map_err(|error| refused(error.into()))?;
            base = url.into();
        }
    }
    Ok(LockedPackage {
        nevra: package.nevra.clone(),
        digest: package.digest,
        size: package.size,
        source: package.source.clone(),
        origin: package.repository.clone(),
        location,
        base,
        module: package.module.clone(),
    })
}
