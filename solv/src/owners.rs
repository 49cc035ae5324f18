//! The owners of names and files in a pool: the packages with a name, and the providers of
//! something. It must not know what follows from the answer.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::Nevra;
use rpmfarm_core::owners::merged;

use crate::ffi::{Id, Key};
use crate::{Package, Pool, PoolError};

/// A binary package of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPackage {
    /// Its name, epoch, version, release and architecture.
    pub nevra: Nevra,
    /// Id of its repository.
    pub repository: String,
    /// Its source package; its own name where the metadata have none.
    pub source: String,
}

impl Pool {
    /// The source package of a package; its own name where the metadata have none.
    pub(crate) fn source_of(&mut self, id: Id, nevra: &Nevra) -> String {
        let source = self.raw.string(id, Key::SourceName).filter(|name| !name.is_empty());
        source.unwrap_or_else(|| nevra.name.clone())
    }

    fn held(&mut self, id: Id) -> Option<PoolPackage> {
        let nevra = self.nevra(id).filter(|nevra| !nevra.is_source())?;
        let repository = self.repository_of(id)?.to_owned();
        let source = self.source_of(id, &nevra);
        Some(PoolPackage { nevra, repository, source })
    }

    /// All binary packages with these names, including those that a module hides.
    pub fn named(&mut self, names: &BTreeSet<String>) -> BTreeMap<String, Vec<PoolPackage>> {
        let mut all = BTreeMap::<String, Vec<PoolPackage>>::new();
        for id in 0..self.raw.end() {
            let Some(name) = self.raw.string(id, Key::Name) else { continue };
            if names.contains(&name)
                && let Some(held) = self.held(id)
            {
                all.entry(name).or_default().push(held);
            }
        }
        all
    }

    /// The providers of each of these, as [`Self::solve`] would find them. For `paths`, which
    /// builds ask for, file lists are read; other paths are found where a package requires them.
    ///
    /// # Errors
    /// When file lists are needed and cannot be read.
    pub fn providing(
        &mut self,
        capabilities: &BTreeSet<String>,
        paths: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<PoolPackage>>, PoolError> {
        self.prepare()?;
        let listed = |path: &String| crate::requirement::in_primary(path);
        if self.lacks_filelists() && !paths.iter().all(listed) {
            self.read_filelists()?;
            self.prepare()?;
        }
        for path in paths {
            self.find_owners(path);
        }
        let mut all = BTreeMap::new();
        for capability in capabilities {
            let Some(dep) = self.raw.known_dependency(capability) else { continue };
            let ids = self.raw.providers(dep);
            let held: Vec<PoolPackage> = ids.into_iter().filter_map(|id| self.held(id)).collect();
            if !held.is_empty() {
                all.insert(capability.clone(), held);
            }
        }
        Ok(all)
    }

    /// The packages with each of these files, as far as primary metadata list files: programs and
    /// files below `/etc`, by their paths below `/usr`.
    pub fn having(&mut self, paths: &BTreeSet<String>) -> BTreeMap<String, Vec<PoolPackage>> {
        for id in self.scanned..self.raw.end() {
            for path in self.raw.primary_files(id) {
                self.files.entry(merged(&path)).or_default().push(id);
            }
        }
        self.scanned = self.raw.end();
        let mut all = BTreeMap::new();
        for path in paths {
            let ids = self.files.get(path).cloned().unwrap_or_default();
            let held: Vec<PoolPackage> = ids.into_iter().filter_map(|id| self.held(id)).collect();
            if !held.is_empty() {
                all.insert(path.clone(), held);
            }
        }
        all
    }

    /// The packages of one repository that fulfil a requirement.
    pub fn fulfilling(&mut self, repository: &str, requirement: &str) -> Vec<Nevra> {
        // Providers are found in the index.
        if self.prepare().is_err() {
            return Vec::new();
        }
        let Ok(dep) = self.dependency(requirement) else { return Vec::new() };
        let ids = self.raw.providers(dep);
        let held: Vec<PoolPackage> = ids.into_iter().filter_map(|id| self.held(id)).collect();
        held.into_iter()
            .filter(|held| held.repository == repository)
            .map(|held| held.nevra)
            .collect()
    }

    /// The replacement for a package of a solution from another repository: with the same name, or
    /// else a package that fulfils one of the requirements for which it was chosen. Of several, the
    /// one that the solver would choose.
    pub fn instead(&mut self, package: &Package, requests: &[&str]) -> Option<PoolPackage> {
        let id = package.id.id;
        let named = self.raw.known_dependency(&package.nevra.name)?;
        let same = |nevra: &Nevra| nevra.name == package.nevra.name;
        if let Some(found) = self.best_of(named, &package.repository, same) {
            return Some(found);
        }
        requests.iter().find_map(|text| {
            let dep = self.dependency(text).ok()?;
            let fulfils = self.raw.providers(dep).contains(&id);
            fulfils.then(|| self.best_of(dep, &package.repository, |_| true)).flatten()
        })
    }

    /// The best provider from any repository but this one.
    fn best_of(
        &mut self,
        dep: Id,
        but: &str,
        fits: impl Fn(&Nevra) -> bool,
    ) -> Option<PoolPackage> {
        let mut found = Vec::new();
        for id in self.raw.providers(dep) {
            let priority = self.about(id).map_or(i32::MAX, |about| about.priority);
            let fitting = self.held(id).filter(|held| held.repository != but && fits(&held.nevra));
            found.extend(fitting.map(|held| (priority, held)));
        }
        let best = found.into_iter().min_by(|(a, one), (b, other)| {
            a.cmp(b).then_with(|| other.nevra.evr.cmp(&one.nevra.evr))
        });
        best.map(|(_, held)| held)
    }
}
