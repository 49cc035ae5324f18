//! The pool: all packages for the builds of one architecture, from several repositories.
//!
//! Owns loading, replacing and removing packages, excludes, priorities, and when file lists are
//! read. It must not know where metadata come from.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rpmfarm_core::{Arch, Nevra};
use serde::{Deserialize, Serialize};

use crate::cache::{CachedRepository, RepositoryFiles, SolverCache};
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
    /// Packages have checksums of others, by which file lists find their package; none of the batch
    /// was added.
    #[error("repository `{repository}`: {}", twins_text(.twins))]
    SameChecksum {
        /// The id that the target gives the repository.
        repository: String,
        /// All that have the checksum of another one.
        twins: Vec<Twin>,
    },
    /// Solver data cannot be kept; packages are read from the metadata then, which takes longer.
    #[error("solver data in {path}: {reason}")]
    Cache {
        /// The file that was to be written or read.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No repository has this id.
    #[error("no repository `{0}` in the pool")]
    UnknownRepository(String),
    /// Two repositories with one id.
    #[error("repository `{0}` is in the pool already")]
    DuplicateRepository(String),
}

/// A package that has the checksum of another one. The metadata of at most one of them can be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// Its place among those that were to be added.
    pub place: usize,
    /// Its full name.
    pub package: Nevra,
    /// The one that was there before.
    pub other: Nevra,
    /// The checksum in hex.
    pub checksum: String,
}

/// The first few of them, as text.
fn twins_text(twins: &[Twin]) -> String {
    const SAID: usize = 3;
    let one = |twin: &Twin| {
        let Twin { package, other, checksum, .. } = twin;
        format!("{package} has the checksum of {other}, {checksum}")
    };
    let mut text = twins.iter().take(SAID).map(one).collect::<Vec<_>>().join("; ");
    if twins.len() > SAID {
        text.push_str(&format!("; and {} more", twins.len() - SAID));
    }
    text
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
    /// Warnings about the metadata that were read.
    warnings: Vec<String>,
}

pub(crate) struct LoadedRepository {
    pub(crate) about: Repository,
    pub(crate) index: RepoIndex,
    /// File lists that have not been read yet.
    filelists: Option<UnreadFilelists>,
    /// Packages that were added one by one, by their full name.
    fragments: HashMap<Nevra, Id>,
    /// The checksums of these packages, in hex.
    checksums: HashMap<String, Nevra>,
}

/// File lists that have not been read.
struct UnreadFilelists {
    path: PathBuf,
    /// Where they are kept in libsolv's form, if they are.
    cached: Option<CachedRepository>,
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
            warnings: Vec::new(),
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
            checksums: HashMap::new(),
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
        let unread = |path: &Path| UnreadFilelists { path: path.to_owned(), cached: None };
        repository.filelists = filelists.map(unread);
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
        self.remove_twins(first);
        Ok(())
    }

    /// The same through `cache`: the first process that needs the metadata reads them, and the
    /// others load what it wrote. Where the cache cannot be used, metadata are read, with a
    /// warning.
    ///
    /// # Errors
    /// As [`Self::load_repository`].
    pub fn load_cached_repository(
        &mut self,
        about: Repository,
        files: &RepositoryFiles,
        cache: &SolverCache,
    ) -> Result<(), PoolError> {
        let cached = CachedRepository::new(cache, &about, files);
        match self.load_packages(&cached, cached.filelists()) {
            Err(error @ PoolError::Cache { .. }) => {
                self.warnings.push(error.to_string());
                self.load_repository(about, &files.primary, files.filelists.as_deref())
            }
            loaded => loaded,
        }
    }

    /// Adds a repository with what is kept of it; `filelists` are read later.
    pub(crate) fn load_packages(
        &mut self,
        cached: &CachedRepository,
        filelists: Option<&Path>,
    ) -> Result<(), PoolError> {
        let (file, warnings) = cached.packages()?;
        self.warnings.extend(warnings);
        self.add_repository(cached.about().clone())?;
        let repository = self.repositories.last_mut().expect("just added");
        let first = self.raw.end();
        self.indexed = false;
        self.stamp = next_stamp();
        if let Err(reason) = self.raw.read_solv(repository.index, file, false) {
            self.remove_from(first);
            self.repositories.pop();
            return Err(cached.refused(reason));
        }
        let unread =
            |path: &Path| UnreadFilelists { path: path.to_owned(), cached: Some(cached.clone()) };
        repository.filelists = filelists.map(unread);
        Ok(())
    }

    /// Takes the warnings since the last call, such as those about packages that were left out.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes out packages that have the checksum of one before them: file lists find packages by
    /// it.
    fn remove_twins(&mut self, first: Id) {
        let (mut seen, mut twins) = (HashMap::new(), Vec::new());
        for id in first..self.raw.end() {
            let Some(checksum) = self.raw.checksum(id) else { continue };
            match seen.entry(checksum) {
                Entry::Occupied(other) => twins.push((id, *other.get())),
                Entry::Vacant(free) => {
                    free.insert(id);
                }
            }
        }
        let Some(&(twin, other)) = twins.first() else { return };
        let mut name = |id| self.nevra(id).map_or_else(|| "?".into(), |nevra| nevra.to_string());
        let (twin, other) = (name(twin), name(other));
        let repository = self.repositories.last().map_or("", |repository| &*repository.about.id);
        self.warnings.push(format!(
            "repository `{repository}`: {} packages have the checksum of another one and are left out: \
             the first is {twin}, as {other}",
            twins.len()
        ));
        twins.into_iter().for_each(|(id, _)| self.raw.remove(id));
    }

    /// Adds packages to a repository, all or none; one of the same full name is replaced, and one
    /// that is there with the same checksum stays.
    ///
    /// # Errors
    /// [`PoolError::SameChecksum`] when packages of different names have one checksum, or the batch
    /// has a checksum twice; when there is no such repository, or the metadata are malformed.
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
        let first = self.raw.end();
        let added = self.read_fragments(at, fragments).inspect_err(|_| self.remove_from(first))?;
        for (nevra, id) in added {
            self.forget(at, &nevra);
            let checksum = self.raw.checksum(id);
            let repository = &mut self.repositories[at];
            repository.checksums.extend(checksum.map(|checksum| (checksum, nevra.clone())));
            repository.fragments.insert(nevra, id);
        }
        Ok(())
    }

    /// Reads packages into a repository; returns those that it did not have before. After an error
    /// some of them may be there.
    fn read_fragments(
        &mut self,
        at: usize,
        fragments: &[Fragment],
    ) -> Result<Vec<(Nevra, Id)>, PoolError> {
        let LoadedRepository { index, about, .. } = &self.repositories[at];
        let (index, repository) = (*index, about.id.clone());
        let malformed =
            |reason: String| PoolError::Fragment { repository: repository.clone(), reason };
        let first = self.raw.end();
        let primary = document("metadata", "common", fragments.iter().map(|f| &*f.primary));
        self.raw.read_bytes(index, primary.as_bytes(), false).map_err(malformed)?;
        let added: Vec<(Nevra, Id)> =
            (first..self.raw.end()).filter_map(|id| Some((self.nevra(id)?, id))).collect();
        // A fragment may hold elements that become packages without a name; these count, too.
        let read = usize::try_from(self.raw.end() - first).unwrap_or_default();
        if added.len() != fragments.len() || read != added.len() {
            return Err(malformed(format!("{read} packages in {} parts", fragments.len())));
        }
        let twins = self.twins(at, &added);
        if !twins.is_empty() {
            return Err(PoolError::SameChecksum { repository, twins });
        }
        let (mut new, mut lists) = (Vec::new(), Vec::new());
        for ((nevra, id), fragment) in added.into_iter().zip(fragments) {
            let checksum = self.raw.checksum(id);
            check_filelists(&fragment.filelists, checksum.as_deref())
                .map_err(|reason| malformed(format!("{nevra}: {reason}")))?;
            let old = self.repositories[at].fragments.get(&nevra).copied();
            if old.is_some_and(|old| self.raw.checksum(old) == checksum) {
                self.raw.remove(id);
            } else {
                new.push((nevra, id));
                lists.push(&*fragment.filelists);
            }
        }
        let filelists = document("filelists", "filelists", lists.into_iter());
        self.raw.read_bytes(index, filelists.as_bytes(), true).map_err(malformed)?;
        Ok(new)
    }

    /// Those of new packages that have the checksum of another one of the repository, or of one
    /// before them.
    fn twins(&mut self, at: usize, added: &[(Nevra, Id)]) -> Vec<Twin> {
        let mut twins = Vec::new();
        let mut seen = HashMap::<String, &Nevra>::new();
        for (place, (nevra, id)) in added.iter().enumerate() {
            let Some(checksum) = self.raw.checksum(*id) else { continue };
            let known = self.repositories[at].checksums.get(&checksum);
            let known = known.filter(|known| *known != nevra);
            if let Some(other) = known.or_else(|| seen.get(&checksum).copied()) {
                let (package, other) = (nevra.clone(), other.clone());
                twins.push(Twin { place, package, other, checksum });
            } else {
                seen.insert(checksum, nevra);
            }
        }
        twins
    }

    /// Removes a package that was added one by one; returns whether the pool had it.
    fn forget(&mut self, at: usize, nevra: &Nevra) -> bool {
        let Some(id) = self.repositories[at].fragments.remove(nevra) else { return false };
        if let Some(checksum) = self.raw.checksum(id) {
            self.repositories[at].checksums.remove(&checksum);
        }
        self.raw.remove(id);
        true
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
            if self.forget(at, nevra) {
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
            let Some(unread) = &repository.filelists else { continue };
            self.indexed = false;
            let (index, id) = (repository.index, &repository.about.id);
            let warnings = &mut self.warnings;
            if !read_cached_filelists(&mut self.raw, index, unread, warnings)? {
                self.raw.read_file(index, &unread.path, true).map_err(|reason| {
                    let (repository, path) = (id.clone(), unread.path.clone());
                    PoolError::Metadata { repository, path, reason }
                })?;
            }
            repository.filelists = None;
        }
        Ok(())
    }

    /// Reads file lists of the packages that the repository has that was added last.
    pub(crate) fn extend_last(&mut self, filelists: &Path) -> Result<(), PoolError> {
        let unread = UnreadFilelists { path: filelists.to_owned(), cached: None };
        if let Some(repository) = self.repositories.last_mut() {
            repository.filelists = Some(unread);
        }
        self.read_filelists()
    }

    /// Writes the packages of its only repository in libsolv's own form, or of `extension` what was
    /// read of them last.
    pub(crate) fn write_solv(&mut self, file: File, extension: bool) -> Result<(), String> {
        let repository = self.repositories.first().ok_or("the pool has no repository")?;
        self.raw.write_solv(repository.index, file, extension)
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
fn document<'a>(root: &str, schema: &str, parts: impl ExactSizeIterator<Item = &'a str>) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://linux.duke.edu/metadata/{schema}\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n",
        parts.len()
    );
    for part in parts {
        xml.push_str(part);
        xml.push('\n');
    }
    xml.push_str(&format!("</{root}>\n"));
    xml
}

/// Reads file lists from where they are kept in libsolv's form; `false` when they must be read from
/// the metadata.
fn read_cached_filelists(
    raw: &mut RawPool,
    index: RepoIndex,
    unread: &UnreadFilelists,
    warnings: &mut Vec<String>,
) -> Result<bool, PoolError> {
    let Some(cached) = &unread.cached else { return Ok(false) };
    let read = cached
        .file_lists(&unread.path)
        .and_then(|file| raw.read_solv(index, file, true).map_err(|reason| cached.refused(reason)));
    match read {
        Ok(()) => Ok(true),
        Err(error @ PoolError::Cache { .. }) => {
            warnings.push(error.to_string());
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

/// Refuses file lists that are of another package than the one with this checksum, or of several:
/// libsolv would give them to that one. None at all are of every package.
fn check_filelists(text: &str, checksum: Option<&str>) -> Result<(), String> {
    let text = text.trim();
    let head = text.split('>').next().unwrap_or_default();
    let rest = head.split_once(" pkgid=\"").and_then(|(_, rest)| rest.split_once('"'));
    let pkgid = rest.map(|(pkgid, _)| pkgid.to_ascii_lowercase());
    let is_one = text.matches("<package").count() == 1 && !text.contains("<!");
    if text.is_empty() || (is_one && pkgid.is_some() && pkgid.as_deref() == checksum) {
        return Ok(());
    }
    let checksum = checksum.unwrap_or("none");
    Err(format!("its file lists are not those of one package with its checksum, {checksum}"))
}

fn next_stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
