//! The pool: all packages for the builds of one architecture, from several repositories.
//!
//! Owns loading, replacing and removing packages, excludes, priorities, and when file lists are
//! read. It must not know where metadata come from.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rpmfarm_core::{Arch, Nevra};
use serde::{Deserialize, Serialize};

use crate::ffi::{Id, Key, RawPool, RepoIndex};
use crate::{excludes, requirement};

/// Settings of a repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Repository {
    /// Its id; solutions name it.
    pub id: String,
    /// As in dnf: of two packages that fulfil a request, the one from the repository with the lower
    /// number wins, whatever the versions.
    pub priority: i32,
    /// As in dnf: of the same package in two repositories of one priority, that of the lower cost
    /// is chosen.
    pub cost: i32,
    /// Hidden packages: shell patterns on the name, `name.arch`, `name-version`,
    /// `name-version-release`, or the full name.
    pub excludes: Vec<String>,
    /// If not empty, only packages that match one of these patterns are visible.
    pub includes: Vec<String>,
    /// Whether its packages are visible whatever modules are active, as with dnf's
    /// `module_hotfixes`.
    pub module_hotfixes: bool,
}

/// The metadata of one package as `createrepo_c` writes them: its `<package>` elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The `<package type="rpm">` element of primary.xml.
    pub primary: String,
    /// The `<package pkgid="…">` element of filelists.xml.
    pub filelists: String,
}

/// Why packages could not be loaded.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum PoolError {
    /// The file cannot be read, or is not repository metadata.
    #[error("repository `{repository}`: cannot read {path}: {reason}")]
    Metadata {
        /// The id that the target gives the repository.
        repository: String,
        /// The file of metadata, such as primary.xml.gz.
        path: PathBuf,
        /// libsolv's error message.
        reason: String,
    },
    /// A fragment of metadata is malformed; no fragment of the same call was added.
    #[error("repository `{repository}`: malformed package metadata: {reason}")]
    Fragment {
        /// The id that the target gives the repository.
        repository: String,
        /// libsolv's error message.
        reason: String,
    },
    /// No repository has this id.
    #[error("no repository `{0}` in the pool")]
    UnknownRepository(String),
    /// Two repositories with one id.
    #[error("repository `{0}` is in the pool already")]
    DuplicateRepository(String),
}

/// All packages for the builds of one architecture.
pub struct Pool {
    pub(crate) raw: RawPool,
    pub(crate) arch: Arch,
    pub(crate) repositories: Vec<LoadedRepository>,
    /// Unique to this content of this pool; ids of packages carry it.
    stamp: u64,
    /// Whether the index is up to date with the content.
    indexed: bool,
    /// Requested paths that have been looked up since the index was built.
    pub(crate) known_paths: HashSet<Id>,
    /// The packages of active module streams, each with its stream.
    pub(crate) modular: HashMap<Nevra, String>,
    /// The packages with each file of primary metadata, for all packages with ids below `scanned`.
    pub(crate) files: HashMap<String, Vec<Id>>,
    pub(crate) scanned: Id,
}

pub(crate) struct LoadedRepository {
    pub(crate) about: Repository,
    pub(crate) index: RepoIndex,
    /// File lists that have not been read yet.
    filelists: Option<PathBuf>,
    /// Packages that were added one by one, by their full name.
    fragments: HashMap<Nevra, Id>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("arch", &self.arch)
            .field("packages", &self.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool for packages of `arch` and noarch ones.
    #[must_use]
    pub fn new(arch: Arch) -> Self {
        Self {
            raw: RawPool::new(arch.as_str()),
            arch,
            repositories: Vec::new(),
            stamp: next_stamp(),
            indexed: false,
            known_paths: HashSet::new(),
            modular: HashMap::new(),
            files: HashMap::new(),
            scanned: 0,
        }
    }

    /// The number of packages, including source packages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.repositories.iter().map(|repository| self.raw.count(repository.index)).sum()
    }

    /// Whether it has no packages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a repository without packages, for [`Self::add_packages`].
    ///
    /// # Errors
    /// When its id is in use.
    pub fn add_repository(&mut self, about: Repository) -> Result<(), PoolError> {
        if self.find(&about.id).is_ok() {
            return Err(PoolError::DuplicateRepository(about.id));
        }
        // libsolv prefers high numbers, dnf and its configuration low ones.
        let (priority, cost) = (about.priority.saturating_neg(), about.cost.saturating_neg());
        let index = self.raw.add_repo(&about.id, priority, cost);
        self.repositories.push(LoadedRepository {
            about,
            index,
            filelists: None,
            fragments: HashMap::new(),
        });
        Ok(())
    }

    /// Adds a repository with its metadata. The file names determine the compression (`.gz`, `.xz`,
    /// `.zst`, `.bz2`, none). File lists are read only when a path is requested that primary
    /// metadata do not have, so their file must stay in place.
    ///
    /// # Errors
    /// When the id is in use, or primary metadata cannot be read.
    pub fn load_repository(
        &mut self,
        about: Repository,
        primary: &Path,
        filelists: Option<&Path>,
    ) -> Result<(), PoolError> {
        self.add_repository(about)?;
        let repository = self.repositories.last_mut().expect("just added");
        let first = self.raw.end();
        self.indexed = false;
        self.stamp = next_stamp();
        if let Err(reason) = self.raw.read_file(repository.index, primary, false) {
            let id = repository.about.id.clone();
            self.remove_from(first);
            self.repositories.pop();
            return Err(PoolError::Metadata { repository: id, path: primary.into(), reason });
        }
        repository.filelists = filelists.map(Path::to_owned);
        let Repository { excludes, includes, .. } = &repository.about;
        if !excludes.is_empty() || !includes.is_empty() {
            let (excludes, includes) = (excludes.clone(), includes.clone());
            for id in first..self.raw.end() {
                let is_hidden = |nevra: &Nevra| {
                    excludes::matches(&excludes, nevra)
                        || (!includes.is_empty() && !excludes::matches(&includes, nevra))
                };
                if self.nevra(id).is_some_and(|nevra| is_hidden(&nevra)) {
                    self.raw.remove(id);
                }
            }
        }
        Ok(())
    }

    /// Adds packages to a repository, all or none; one of the same full name is replaced.
    ///
    /// # Errors
    /// When there is no such repository, or the metadata are malformed.
    pub fn add_packages(
        &mut self,
        repository: &str,
        fragments: &[Fragment],
    ) -> Result<(), PoolError> {
        let at = self.find(repository)?;
        if fragments.is_empty() {
            return Ok(());
        }
        self.indexed = false;
        self.stamp = next_stamp();
        let index = self.repositories[at].index;
        let first = self.raw.end();
        let primary = document("metadata", "common", fragments, |f| &f.primary);
        let filelists = document("filelists", "filelists", fragments, |f| &f.filelists);
        let mut added = Vec::new();
        let read = self.raw.read_bytes(index, primary.as_bytes(), false).and_then(|()| {
            added = (first..self.raw.end()).filter_map(|id| Some((self.nevra(id)?, id))).collect();
            // A fragment may hold elements that become packages without a name; these count, too.
            let read = usize::try_from(self.raw.end() - first).unwrap_or_default();
            if added.len() != fragments.len() || read != added.len() {
                return Err(format!("{read} packages in {} parts", fragments.len()));
            }
            // File lists refer to packages by checksum, so no two packages may have the same one.
            added.retain(|(nevra, id)| {
                let old = self.repositories[at].fragments.get(nevra);
                let known =
                    old.is_some_and(|old| self.raw.checksum(*old) == self.raw.checksum(*id));
                if known {
                    self.raw.remove(*id);
                }
                !known
            });
            self.raw.read_bytes(index, filelists.as_bytes(), true)
        });
        if let Err(reason) = read {
            self.remove_from(first);
            return Err(PoolError::Fragment { repository: repository.into(), reason });
        }
        for (nevra, id) in added {
            if let Some(old) = self.repositories[at].fragments.insert(nevra, id) {
                self.raw.remove(old);
            }
        }
        Ok(())
    }

    /// Removes packages that [`Self::add_packages`] added. Unknown ones are skipped.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn remove_packages(
        &mut self,
        repository: &str,
        packages: &[Nevra],
    ) -> Result<(), PoolError> {
        let at = self.find(repository)?;
        for nevra in packages {
            if let Some(id) = self.repositories[at].fragments.remove(nevra) {
                self.raw.remove(id);
                self.indexed = false;
                self.stamp = next_stamp();
            }
        }
        Ok(())
    }

    /// Prepares the pool for solving. [`Self::solve`] does so itself; an earlier call moves the
    /// time to a better moment.
    ///
    /// # Errors
    /// When file lists are needed and cannot be read.
    pub fn prepare(&mut self) -> Result<(), PoolError> {
        if self.indexed {
            return Ok(());
        }
        let paths = self.raw.resolve_file_dependencies();
        // This depends only on what packages require and not on earlier calls, so that the same
        // content always gives the same solutions.
        if self.lacks_filelists() && !paths.iter().all(|path| requirement::in_primary(path)) {
            self.read_filelists()?;
            self.raw.resolve_file_dependencies();
        }
        self.raw.index();
        self.known_paths.clear();
        self.indexed = true;
        Ok(())
    }

    /// The packages that [`Self::add_packages`] added to a repository.
    pub(crate) fn added(&self, repository: &str) -> Result<Vec<(Nevra, Id)>, PoolError> {
        let at = self.find(repository)?;
        let mut all: Vec<(Nevra, Id)> = self.repositories[at]
            .fragments
            .iter()
            .map(|(nevra, id)| (nevra.clone(), *id))
            .collect();
        all.sort_by_key(|(_, id)| *id);
        Ok(all)
    }

    /// Whether there are file lists that have not been read.
    pub(crate) fn lacks_filelists(&self) -> bool {
        self.repositories.iter().any(|repository| repository.filelists.is_some())
    }

    /// Reads all file lists that have not been read. The ids of packages stay.
    pub(crate) fn read_filelists(&mut self) -> Result<(), PoolError> {
        for repository in &mut self.repositories {
            let Some(path) = &repository.filelists else { continue };
            self.indexed = false;
            self.raw.read_file(repository.index, path, true).map_err(|reason| {
                PoolError::Metadata {
                    repository: repository.about.id.clone(),
                    path: path.clone(),
                    reason,
                }
            })?;
            repository.filelists = None;
        }
        Ok(())
    }

    /// The full name of a package; `None` when it was removed or has a name that is invalid in RPM.
    pub(crate) fn nevra(&mut self, id: Id) -> Option<Nevra> {
        let name = self.raw.string(id, Key::Name)?;
        let evr = self.raw.string(id, Key::Evr)?;
        let arch = self.raw.string(id, Key::Arch)?;
        format!("{name}-{evr}.{arch}").parse().ok()
    }

    /// The id of the repository that a package belongs to.
    pub(crate) fn repository_of(&self, id: Id) -> Option<&str> {
        let index = self.raw.repo_of(id)?;
        let found = self.repositories.iter().find(|repository| repository.index == index);
        found.map(|repository| repository.about.id.as_str())
    }

    /// The module stream of a package; empty if it has none.
    pub(crate) fn module_of(&self, id: Id, nevra: &Nevra) -> String {
        let masked = |loaded: &&LoadedRepository| !loaded.about.module_hotfixes;
        let repository = self.raw.repo_of(id).and_then(|index| {
            self.repositories.iter().find(|loaded| loaded.index == index).filter(masked)
        });
        repository.and_then(|_| self.modular.get(nevra).cloned()).unwrap_or_default()
    }

    /// Hides packages. The index and everything derived from it must be built again.
    pub(crate) fn hide(&mut self, ids: impl IntoIterator<Item = Id>) {
        ids.into_iter().for_each(|id| self.raw.hide(id));
        self.raw.index();
        self.known_paths.clear();
        self.stamp = next_stamp();
    }

    /// Hides packages, or shows them again, for one solve: the content is the same, so ids of
    /// packages stay valid.
    pub(crate) fn hide_for_now(&mut self, ids: &[Id], hidden: bool) {
        for id in ids {
            if hidden { self.raw.hide(*id) } else { self.raw.show(*id) }
        }
        self.raw.index();
        self.known_paths.clear();
    }

    /// The settings of the repository of a package.
    pub(crate) fn about(&self, id: Id) -> Option<&Repository> {
        let index = self.raw.repo_of(id)?;
        let found = self.repositories.iter().find(|repository| repository.index == index);
        found.map(|repository| &repository.about)
    }

    /// The stamp that valid ids of packages carry.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    fn find(&self, id: &str) -> Result<usize, PoolError> {
        self.repositories
            .iter()
            .position(|repository| repository.about.id == id)
            .ok_or_else(|| PoolError::UnknownRepository(id.to_owned()))
    }

    fn remove_from(&mut self, first: Id) {
        for id in first..self.raw.end() {
            self.raw.remove(id);
        }
    }
}

/// A whole metadata document around single packages.
fn document(
    root: &str,
    schema: &str,
    fragments: &[Fragment],
    part: impl Fn(&Fragment) -> &str,
) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://linux.duke.edu/metadata/{schema}\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n",
        fragments.len()
    );
    for fragment in fragments {
        xml.push_str(part(fragment));
        xml.push('\n');
    }
    xml.push_str(&format!("</{root}>\n"));
    xml
}

fn next_stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
