//! Solving: from requirements to the packages that fulfil them.

use std::collections::{HashMap, HashSet};

use rpmfarm_core::{Nevra, Sha256};

use crate::ffi::{Id, Job, Key};
use crate::requirement::{self, Requirement};
use crate::{Pool, PoolError, RequirementError, UnsolvableError};

/// Identifies a package in one state of one pool: invalid once packages are added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackageId {
    stamp: u64,
    pub(crate) id: Id,
}

/// A request to the solver.
#[derive(Debug, Clone, Default)]
pub struct SolveRequest<'a> {
    /// Requirements as specs write them: `name`, `name >= 1`, `pkgconfig(x)`, paths, rich ones.
    pub install: Vec<&'a str>,
    /// Names that must not be installed, written the same way (but not rich).
    pub forbid: Vec<&'a str>,
    /// Packages of an earlier solution that must be part of this one too.
    pub pinned: Vec<PackageId>,
}

/// A package of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// For [`SolveRequest::pinned`] of a later request to the same pool.
    pub id: PackageId,
    /// Its name, epoch, version, release and architecture.
    pub nevra: Nevra,
    /// SHA-256 of its file.
    pub digest: Sha256,
    /// Size of its file in bytes.
    pub size: u64,
    /// The path of its file, relative to `base`, or else to the repository. From the metadata and
    /// unchecked.
    pub location: String,
    /// The `xml:base` of the location, empty where there is none. Unchecked, too.
    pub base: String,
    /// Id of its repository.
    pub repository: String,
    /// Name of its source package; empty where the metadata have none.
    pub source: String,
    /// Its module stream, `NAME:STREAM`; empty for packages of no module.
    pub module: String,
}

/// The packages that fulfil a request, pinned ones included, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// Sorted by name, including pinned ones.
    pub packages: Vec<Package>,
}

/// Why there is no solution.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// The request cannot be fulfilled.
    #[error(transparent)]
    Unsolvable(#[from] UnsolvableError),
    /// A requirement is malformed.
    #[error(transparent)]
    Malformed(#[from] RequirementError),
    /// Required metadata cannot be read.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A pinned package is of another state of the pool.
    #[error("a pinned package is of an earlier state of the pool: solve for it again")]
    StalePin,
    /// Metadata lack a value that locks need.
    #[error(
        "repository `{repository}` has no SHA-256 checksum or no size for {package}: it must be made with createrepo_c --checksum sha256"
    )]
    NoDigest {
        /// Its name, without version and architecture.
        package: String,
        /// Id of the repository that has it.
        repository: String,
    },
}

impl Pool {
    /// Makes the pool ready for requests with these requirements: where one of them needs file
    /// lists, reads them. [`Self::solve`] does it by itself; calling it before takes the time at a
    /// better moment.
    ///
    /// # Errors
    /// When file lists are needed and cannot be read.
    pub fn prepare_for<'a>(
        &mut self,
        requirements: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PoolError> {
        self.prepare()?;
        let mut paths = requirements.into_iter().flat_map(requirement::paths);
        if self.lacks_filelists() && !paths.all(requirement::in_primary) {
            self.read_filelists()?;
            self.prepare()?;
        }
        Ok(())
    }

    /// Picks the packages that fulfil a request, as dnf would with weak dependencies off, into
    /// an empty root.
    ///
    /// # Errors
    /// [`SolveError::Unsolvable`] with all that is missing or in conflict; otherwise the error
    /// in the request or the metadata.
    pub fn solve(&mut self, request: &SolveRequest<'_>) -> Result<Solution, SolveError> {
        self.prepare()?;
        let texts = || request.install.iter().chain(&request.forbid);
        for text in texts() {
            Requirement::parse(text)?;
        }
        let paths: Vec<&str> = texts().flat_map(|text| requirement::paths(text)).collect();
        if self.lacks_filelists() && !paths.iter().all(|path| requirement::in_primary(path)) {
            self.read_filelists()?;
            self.prepare()?;
        }
        for path in paths {
            self.find_owners(path);
        }
        let jobs = self.jobs(request)?;
        match self.raw.solve(&jobs) {
            Ok(ids) => self.solution(&ids),
            Err(problems) => Err(UnsolvableError::from_problems(self, &problems).into()),
        }
    }

    /// Of the packages of one repository that are about to be published, the `noarch` ones with a
    /// requirement that nothing provides, each with such a requirement. Providers are all other
    /// repositories and the packages to be published, without those that lack something themselves.
    /// Rich requirements are skipped.
    ///
    /// # Errors
    /// When there is no such repository, or file lists that are needed cannot be read.
    pub fn lacking(
        &mut self,
        repository: &str,
        shown: &HashSet<Nevra>,
    ) -> Result<Vec<(Nevra, String)>, PoolError> {
        self.prepare()?;
        let (mut hidden, mut looked_at) = (HashSet::new(), Vec::new());
        for (nevra, id) in self.added(repository)? {
            if !shown.contains(&nevra) {
                hidden.insert(id);
            } else if nevra.arch == "noarch" {
                looked_at.push((nevra, id));
            }
        }
        let mut lacking = Vec::new();
        loop {
            let before = hidden.len();
            // A requirement is looked up once per round, however many packages have it.
            let mut known = HashMap::new();
            looked_at.retain(|(nevra, id)| {
                let missing = self.raw.requires(*id).into_iter().find(|dep| {
                    *known.entry(*dep).or_insert_with(|| self.is_missing_without(*dep, &hidden))
                });
                if let Some(dep) = missing {
                    lacking.push((nevra.clone(), self.raw.dependency_text(dep)));
                    hidden.insert(*id);
                }
                missing.is_none()
            });
            if hidden.len() == before {
                return Ok(lacking);
            }
        }
    }

    /// The same as [`Self::solve`], without those packages of `repository` that were added one by
    /// one and are not `wanted`, by their full name and their source package. Packages of the
    /// solution can be pinned in later ones.
    ///
    /// # Errors
    /// As [`Self::solve`]; when there is no such repository.
    pub fn solve_apart(
        &mut self,
        request: &SolveRequest<'_>,
        repository: &str,
        wanted: impl Fn(&Nevra, &str) -> bool,
    ) -> Result<Solution, SolveError> {
        self.prepare()?;
        let mut hidden = Vec::new();
        for (nevra, id) in self.added(repository)? {
            let source = self.source_of(id, &nevra);
            if !wanted(&nevra, &source) {
                hidden.push(id);
            }
        }
        if hidden.is_empty() {
            return self.solve(request);
        }
        self.hide_for_now(&hidden, true);
        let solved = self.solve(request);
        self.hide_for_now(&hidden, false);
        solved
    }

    /// Packages of an earlier solution as this state of the pool has them, for pinning. `None` when
    /// one of them may be another one by now: what was added one by one may have been replaced.
    #[must_use]
    pub fn renewed(&self, packages: &[Package], added: &str) -> Option<Vec<Package>> {
        let renew = |package: &Package| {
            let known = self.repository_of(package.id.id)? == package.repository;
            let id = PackageId { stamp: self.stamp(), id: package.id.id };
            (known && package.repository != added).then(|| Package { id, ..package.clone() })
        };
        packages.iter().map(renew).collect()
    }

    /// Whether nothing fulfils a dependency without these packages. Rich dependencies never count as
    /// missing.
    pub(crate) fn is_missing_without(&mut self, dep: Id, hidden: &HashSet<Id>) -> bool {
        let text = self.raw.dependency_text(dep);
        if text.starts_with('(') || text.starts_with("rpmlib(") {
            return false;
        }
        self.raw.providers(dep).iter().all(|id| hidden.contains(id))
    }

    /// Whether nothing fulfils a dependency. Rich dependencies never count as missing: the absence
    /// of a package can fulfil them.
    pub(crate) fn is_missing(&mut self, dep: Id) -> bool {
        let text = self.raw.dependency_text(dep);
        !text.starts_with('(') && !text.starts_with("rpmlib(") && self.raw.providers(dep).is_empty()
    }

    /// libsolv looks up only those paths in file lists that some package requires; requested paths
    /// are looked up here.
    pub(crate) fn find_owners(&mut self, path: &str) {
        let dep = self.raw.dependency(path);
        if !self.known_paths.insert(dep) {
            return;
        }
        let mut providers = self.raw.providers(dep);
        let known = providers.len();
        for owner in self.raw.owners(path) {
            if !providers.contains(&owner) {
                providers.push(owner);
            }
        }
        if providers.len() > known {
            // In the order of ids, as libsolv keeps them.
            providers.sort_unstable();
            self.raw.set_providers(dep, &providers);
        }
    }

    fn jobs(&mut self, request: &SolveRequest<'_>) -> Result<Vec<Job>, SolveError> {
        let mut jobs = Vec::new();
        for pin in &request.pinned {
            if pin.stamp != self.stamp() || self.raw.repo_of(pin.id).is_none() {
                return Err(SolveError::StalePin);
            }
            jobs.push(Job::Package(pin.id));
        }
        for text in &request.install {
            jobs.push(Job::Provider(self.dependency(text)?));
        }
        for text in &request.forbid {
            jobs.push(Job::Forbid(self.dependency(text)?));
        }
        Ok(jobs)
    }

    pub(crate) fn dependency(&mut self, text: &str) -> Result<Id, RequirementError> {
        match Requirement::parse(text)? {
            Requirement::Plain(name) => Ok(self.raw.dependency(name)),
            Requirement::Versioned { name, relation, evr } => {
                Ok(self.raw.versioned_dependency(name, relation.0, evr))
            }
            Requirement::Rich(rich) => self
                .raw
                .rich_dependency(rich)
                .ok_or_else(|| RequirementError::Syntax(rpmfarm_core::name::shown(text))),
        }
    }

    fn solution(&mut self, ids: &[Id]) -> Result<Solution, SolveError> {
        let mut packages = ids.iter().map(|id| self.package(*id)).collect::<Result<Vec<_>, _>>()?;
        packages
            .sort_by(|a, b| (&a.nevra.name, &a.nevra.arch).cmp(&(&b.nevra.name, &b.nevra.arch)));
        Ok(Solution { packages })
    }

    pub(crate) fn package(&mut self, id: Id) -> Result<Package, SolveError> {
        let repository = self.repository_of(id).unwrap_or_default().to_owned();
        let nevra = self.nevra(id);
        let digest = self.raw.checksum(id).and_then(|hex| hex.parse().ok());
        let (Some(nevra), Some(digest), Some(size)) = (nevra, digest, self.raw.size(id)) else {
            let name = self.raw.string(id, Key::Name).unwrap_or_default();
            return Err(SolveError::NoDigest { package: name, repository });
        };
        Ok(Package {
            id: PackageId { stamp: self.stamp(), id },
            digest,
            size,
            location: self.raw.location(id).unwrap_or_default(),
            base: self.raw.string(id, Key::MediaBase).unwrap_or_default(),
            module: self.module_of(id, &nevra),
            nevra,
            repository,
            source: self.raw.string(id, Key::SourceName).unwrap_or_default(),
        })
    }
}
