//! The boundary to libsolv: the only module with `unsafe`. Owns every pointer, and returns plain
//! numbers and owned strings.
//!
//! An [`Id`] is an index into one of the pool's tables. Ids of packages are checked against the
//! pool in each function that takes one (`repo_of`); ids of dependencies come only from this module
//! and are never freed while the pool lives.
#![allow(unsafe_code)]

mod queue;
mod solver;
mod sys;

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};

use queue::Queue;
use solver::Solver;
pub(crate) use solver::{Rule, RuleKind};
use sys::*;

/// libsolv's number for strings, dependencies and packages.
pub(crate) type Id = c_int;

/// A repository of a [`RawPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RepoIndex(usize);

/// The text attributes of a package.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    Name,
    Evr,
    Arch,
    SourceName,
    /// `xml:base` of its location.
    MediaBase,
}

/// A job of the solver.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    /// Install exactly this package.
    Package(Id),
    /// Install something that provides this dependency.
    Provider(Id),
    /// Install nothing that provides this dependency.
    Forbid(Id),
    /// Install something that provides this dependency: with `weak` only if that is possible, with
    /// `best` only in its best version.
    Module { dep: Id, weak: bool, best: bool },
}

/// A pool of libsolv and its repositories.
pub(crate) struct RawPool {
    pool: NonNull<CPool>,
    repos: Vec<NonNull<CRepo>>,
}

// SAFETY: everything a pool consists of is reachable only through `RawPool`, which is neither
// Clone nor Sync and gives out no pointers. libsolv has no thread-local state, and its few
// static variables are constants. So a pool may be used from one thread after the other.
unsafe impl Send for RawPool {}

impl Drop for RawPool {
    fn drop(&mut self) {
        // SAFETY: made by pool_create, freed once; it takes its repositories with it.
        unsafe {
            farm_free_seen(self.pool.as_ptr());
            pool_free(self.pool.as_ptr());
        }
    }
}

impl RawPool {
    /// An empty pool for packages of `arch` and noarch.
    pub(crate) fn new(arch: &str) -> Self {
        let policy = c_text(arch);
        // SAFETY: pool_create aborts rather than returning null; the rest takes a live pool and
        // copies the text. Distributions build libsolv with other defaults than RPM's.
        let pool = unsafe {
            let pool = NonNull::new(pool_create()).expect("libsolv aborts when out of memory");
            pool_setdisttype(pool.as_ptr(), farm_disttype_rpm);
            pool_setdebugmask(pool.as_ptr(), 0);
            pool_setarchpolicy(pool.as_ptr(), policy.as_ptr());
            pool
        };
        Self { pool, repos: Vec::new() }
    }

    /// Adds an empty repository. Of two packages that fulfil a request, the one from the repository
    /// with the higher `priority` wins; if they are equal otherwise, that of the higher
    /// `subpriority`.
    pub(crate) fn add_repo(&mut self, name: &str, priority: i32, subpriority: i32) -> RepoIndex {
        let name = c_text(name);
        // SAFETY: the pool is live and copies the name; the repository lives as long as the pool.
        let repo = unsafe {
            let repo = repo_create(self.pool.as_ptr(), name.as_ptr());
            farm_set_priority(repo, priority, subpriority);
            NonNull::new(repo).expect("libsolv aborts when out of memory")
        };
        self.repos.push(repo);
        RepoIndex(self.repos.len() - 1)
    }

    /// Reads primary metadata from a file, or, with `extend`, file lists of packages that are
    /// loaded already. The file's name determines the compression.
    pub(crate) fn read_file(
        &mut self,
        repo: RepoIndex,
        path: &Path,
        extend: bool,
    ) -> Result<(), String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: both are C strings; the result is checked.
        let file = unsafe { solv_xfopen(name.as_ptr(), c"r".as_ptr()) };
        let Some(file) = NonNull::new(file) else {
            return Err(std::io::Error::last_os_error().to_string());
        };
        self.read(repo, file, extend)
    }

    /// The same from memory.
    pub(crate) fn read_bytes(
        &mut self,
        repo: RepoIndex,
        xml: &[u8],
        extend: bool,
    ) -> Result<(), String> {
        // SAFETY: opened for reading only, so the bytes are not written to; they outlive the
        // file, which `read` closes. The result is checked.
        let file = unsafe { fmemopen(xml.as_ptr().cast_mut().cast(), xml.len(), c"r".as_ptr()) };
        let Some(file) = NonNull::new(file) else {
            return Err(std::io::Error::last_os_error().to_string());
        };
        self.read(repo, file, extend)
    }

    fn read(&mut self, repo: RepoIndex, file: NonNull<CFile>, extend: bool) -> Result<(), String> {
        let flags = if extend { farm_extend_solvables } else { 0 };
        let repo = self.repos[repo.0].as_ptr();
        // SAFETY: repository and file are live; the file is closed once and not used again.
        let result = unsafe {
            let result = repo_add_rpmmd(repo, file.as_ptr(), ptr::null(), flags);
            fclose(file.as_ptr());
            result
        };
        self.outcome(result)
    }

    /// Reads what [`Self::write_solv`] wrote, or with `extend` file lists of packages that are
    /// there. File lists stay in the file: libsolv keeps it open and reads from it what is asked
    /// for.
    pub(crate) fn read_solv(
        &mut self,
        repo: RepoIndex,
        file: File,
        extend: bool,
    ) -> Result<(), String> {
        let file = stream(file, c"r")?;
        let flags = if extend { farm_extend_apart } else { 0 };
        let repo = self.repos[repo.0].as_ptr();
        // SAFETY: repository and file are live; the file is closed once and not used again, as
        // libsolv duplicates the descriptor of a file that it keeps.
        let result = unsafe {
            let result = repo_add_solv(repo, file.as_ptr(), flags);
            fclose(file.as_ptr());
            result
        };
        self.outcome(result)
    }

    /// Writes the packages of a repository in libsolv's own form, or with `extension` only what was
    /// read last: file lists of packages that were there.
    pub(crate) fn write_solv(
        &mut self,
        repo: RepoIndex,
        file: File,
        extension: bool,
    ) -> Result<(), String> {
        let file = stream(file, c"w")?;
        let repo = self.repos[repo.0].as_ptr();
        // SAFETY: repository and file are live; the file is closed once and not used again.
        let (result, closed) = unsafe {
            let result = if extension {
                farm_write_last(repo, file.as_ptr())
            } else {
                repo_write(repo, file.as_ptr())
            };
            (result, fclose(file.as_ptr()))
        };
        // What is in the buffer is written when the file is closed.
        if result == 0 && closed != 0 {
            return Err(std::io::Error::last_os_error().to_string());
        }
        self.outcome(result)
    }

    /// The outcome for libsolv's number of it.
    fn outcome(&self, result: c_int) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the pool is live; it keeps the text of its last error.
        Err(unsafe { text(pool_errstr(self.pool.as_ptr())) }.unwrap_or_default())
    }

    /// All ids of packages are below this.
    pub(crate) fn end(&self) -> Id {
        // SAFETY: the pool is live.
        unsafe { farm_end(self.pool.as_ptr()) }
    }

    /// The number of packages of a repository.
    pub(crate) fn count(&self, repo: RepoIndex) -> usize {
        // SAFETY: the repository is live.
        let count = unsafe { farm_count(self.repos[repo.0].as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The repository of a package; `None` if there is no such package (any more).
    pub(crate) fn repo_of(&self, id: Id) -> Option<RepoIndex> {
        // SAFETY: the pool is live; the function checks the range of the id.
        let repo = unsafe { farm_repo_of(self.pool.as_ptr(), id) };
        self.repos.iter().position(|known| known.as_ptr() == repo).map(RepoIndex)
    }

    /// Removes a package. Its id is not used again.
    pub(crate) fn remove(&mut self, id: Id) {
        if let Some(RepoIndex(repo)) = self.repo_of(id) {
            // SAFETY: the package is there and belongs to this live repository.
            unsafe { repo_free_solvable(self.repos[repo].as_ptr(), id, 0) };
        }
    }

    /// Hides a package until the pool ends, without removing it. Takes effect at the next
    /// [`Self::index`].
    pub(crate) fn hide(&mut self, id: Id) {
        if self.repo_of(id).is_some() {
            // SAFETY: the pool is live and has the package.
            unsafe { farm_hide(self.pool.as_ptr(), id) };
        }
    }

    /// Shows a hidden package again, from the next [`Self::index`] on.
    pub(crate) fn show(&mut self, id: Id) {
        if self.repo_of(id).is_some() {
            // SAFETY: the pool is live and has the package.
            unsafe { farm_show(self.pool.as_ptr(), id) };
        }
    }

    /// A text attribute of a package.
    pub(crate) fn string(&mut self, id: Id, key: Key) -> Option<String> {
        self.repo_of(id)?;
        let key = match key {
            Key::Name => farm_key_name,
            Key::Evr => farm_key_evr,
            Key::Arch => farm_key_arch,
            Key::MediaBase => farm_key_media_base,
            // A flag instead of a text means: the same as the package's own name.
            Key::SourceName => {
                // SAFETY: the pool is live and has the package.
                let same =
                    unsafe { pool_lookup_void(self.pool.as_ptr(), id, farm_key_source_name) != 0 };
                if same { farm_key_name } else { farm_key_source_name }
            }
        };
        // SAFETY: the pool is live and has the package; the text is copied at once.
        unsafe { text(pool_lookup_str(self.pool.as_ptr(), id, key)) }
    }

    /// The checksum of a package's file, in hex, whatever its kind.
    pub(crate) fn checksum(&mut self, id: Id) -> Option<String> {
        self.repo_of(id)?;
        let mut kind = 0;
        // SAFETY: the pool is live and has the package; the text is copied at once.
        unsafe { text(pool_lookup_checksum(self.pool.as_ptr(), id, farm_key_checksum, &mut kind)) }
    }

    /// The size of a package's file in bytes.
    pub(crate) fn size(&mut self, id: Id) -> Option<u64> {
        self.repo_of(id)?;
        // SAFETY: the pool is live and has the package.
        let size = unsafe { pool_lookup_num(self.pool.as_ptr(), id, farm_key_size, u64::MAX) };
        (size != u64::MAX).then_some(size)
    }

    /// The path of a package's file, relative to its repository.
    pub(crate) fn location(&mut self, id: Id) -> Option<String> {
        self.repo_of(id)?;
        // SAFETY: the pool is live and has the package; the text is copied at once.
        unsafe { text(farm_location(self.pool.as_ptr(), id)) }
    }

    /// The dependencies that a package requires.
    pub(crate) fn requires(&mut self, id: Id) -> Vec<Id> {
        self.dependencies(id, farm_key_requires)
    }

    /// The dependencies that a package provides, including files that others require.
    pub(crate) fn provides(&mut self, id: Id) -> Vec<Id> {
        self.dependencies(id, farm_key_provides)
    }

    /// The dependencies that a package conflicts with.
    pub(crate) fn conflicts(&mut self, id: Id) -> Vec<Id> {
        self.dependencies(id, farm_key_conflicts)
    }

    /// The packages that a package replaces.
    pub(crate) fn obsoletes(&mut self, id: Id) -> Vec<Id> {
        self.dependencies(id, farm_key_obsoletes)
    }

    fn dependencies(&mut self, id: Id, key: Id) -> Vec<Id> {
        let Some(RepoIndex(repo)) = self.repo_of(id) else { return Vec::new() };
        let mut queue = Queue::new();
        // SAFETY: the repository is live and has the package; the queue is initialised.
        unsafe {
            let repo = self.repos[repo].as_ptr();
            repo_lookup_deparray(repo, id, key, &mut queue.0, 0);
        }
        queue.to_vec().into_iter().filter(|dep| *dep != farm_marker_prereq).collect()
    }

    /// The dependency on a name or path.
    pub(crate) fn dependency(&mut self, name: &str) -> Id {
        let name = c_text(name);
        // SAFETY: the pool is live and copies the text.
        unsafe { pool_str2id(self.pool.as_ptr(), name.as_ptr(), 1) }
    }

    /// The dependency on a name or path that the pool has; `None` for one that no package mentions.
    pub(crate) fn known_dependency(&self, name: &str) -> Option<Id> {
        let name = c_text(name);
        // SAFETY: the pool is live and reads the text only.
        let id = unsafe { pool_str2id(self.pool.as_ptr(), name.as_ptr(), 0) };
        (id != 0).then_some(id)
    }

    /// The dependency on a name with a version; `flags` are libsolv's `REL_` bits.
    pub(crate) fn versioned_dependency(&mut self, name: &str, flags: c_int, evr: &str) -> Id {
        let (name, evr) = (self.dependency(name), self.dependency(evr));
        // SAFETY: both ids were just made by this live pool.
        unsafe { pool_rel2id(self.pool.as_ptr(), name, evr, flags, 1) }
    }

    /// A rich dependency; `None` if it cannot be parsed.
    pub(crate) fn rich_dependency(&mut self, dep: &str) -> Option<Id> {
        let dep = c_text(dep);
        // SAFETY: the pool is live and copies what it needs.
        let id = unsafe { pool_parserpmrichdep(self.pool.as_ptr(), dep.as_ptr()) };
        (id != 0).then_some(id)
    }

    /// A dependency as text.
    pub(crate) fn dependency_text(&mut self, dep: Id) -> String {
        // SAFETY: the pool is live, `dep` is one of its dependencies; the text is copied at once.
        unsafe { text(pool_dep2str(self.pool.as_ptr(), dep)) }.unwrap_or_default()
    }

    /// Looks up the paths that packages depend on in the file lists, and returns these paths.
    pub(crate) fn resolve_file_dependencies(&mut self) -> Vec<String> {
        let mut paths = Queue::new();
        // SAFETY: the pool is live, the queue initialised.
        unsafe {
            farm_add_file_provides(self.pool.as_ptr(), &mut paths.0);
        }
        paths.to_vec().into_iter().map(|id| self.dependency_text(id)).collect()
    }

    /// Builds the index of providers, which the functions below need.
    pub(crate) fn index(&mut self) {
        // SAFETY: the pool is live; its map of visible packages has a bit for each package then.
        unsafe {
            farm_see_new(self.pool.as_ptr());
            pool_createwhatprovides(self.pool.as_ptr());
        }
    }

    /// The packages that provide a dependency.
    pub(crate) fn providers(&mut self, dep: Id) -> Vec<Id> {
        let mut packages = Queue::new();
        // SAFETY: the pool is live and indexed, `dep` is one of its dependencies.
        unsafe {
            pool_job2solvables(self.pool.as_ptr(), &mut packages.0, farm_select_provider, dep);
        }
        packages.to_vec()
    }

    /// The packages whose file lists have this path.
    pub(crate) fn owners(&mut self, path: &str) -> Vec<Id> {
        let path = c_text(path);
        let (mut selection, mut packages) = (Queue::new(), Queue::new());
        // SAFETY: the pool is live and indexed, the queues initialised, the text a C string.
        unsafe {
            selection_make(self.pool.as_ptr(), &mut selection.0, path.as_ptr(), farm_select_files);
            // Of several owners the selection has not their ids but the place of a list.
            selection_solvables(self.pool.as_ptr(), &mut selection.0, &mut packages.0);
        }
        packages.to_vec()
    }

    /// The paths of a package's files that are in primary metadata.
    pub(crate) fn primary_files(&mut self, id: Id) -> Vec<String> {
        self.paths(id, farm_primary_files)
    }

    /// The paths of a package's files and directories, as far as its file list was read.
    pub(crate) fn files(&mut self, id: Id) -> Vec<String> {
        self.paths(id, farm_files)
    }

    /// What one of the shim's functions says of a package: paths, each with its NUL.
    fn paths(
        &mut self,
        id: Id,
        list: unsafe extern "C" fn(*mut CPool, Id, *mut c_int) -> *mut c_char,
    ) -> Vec<String> {
        if self.repo_of(id).is_none() {
            return Vec::new();
        }
        let mut length = 0;
        // SAFETY: the pool is live and has the package; the memory is read within its length, and
        // freed once.
        let bytes = unsafe {
            let memory = list(self.pool.as_ptr(), id, &mut length);
            if memory.is_null() {
                return Vec::new();
            }
            let length = usize::try_from(length).unwrap_or(0);
            let bytes = std::slice::from_raw_parts(memory.cast::<u8>(), length).to_vec();
            solv_free(memory.cast());
            bytes
        };
        let paths = bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    /// Which of these packages, without hidden ones, have a file or directory whose path has one of
    /// these hashes ([`path_hash`]), which are sorted: the package, and the place of the hash.
    pub(crate) fn find_files(&mut self, ids: &[Id], wanted: &[u64]) -> Vec<(Id, usize)> {
        let count = c_int::try_from(ids.len()).expect("fewer ids than libsolv can count");
        let hashes = c_int::try_from(wanted.len()).unwrap_or(c_int::MAX);
        let mut found = Queue::new();
        // SAFETY: the pool is live, both lists have as many elements as is said and are read only,
        // the queue is initialised; the function checks each id.
        unsafe {
            let pool = self.pool.as_ptr();
            farm_find_files(pool, ids.as_ptr(), count, wanted.as_ptr(), hashes, &mut found.0);
        }
        let pairs = found.to_vec();
        pairs
            .chunks_exact(2)
            .map(|pair| (pair[0], usize::try_from(pair[1]).unwrap_or_default()))
            .collect()
    }

    /// Whether the name and version of a package match a dependency.
    pub(crate) fn matches(&mut self, id: Id, dep: Id) -> bool {
        // SAFETY: the pool is live and has the package; `dep` is one of its dependencies.
        self.repo_of(id).is_some() && unsafe { farm_matches(self.pool.as_ptr(), id, dep) != 0 }
    }

    /// Sets the providers of a path, until the next [`Self::index`].
    pub(crate) fn set_providers(&mut self, path: Id, packages: &[Id]) {
        let mut queue = Queue::from_ids(packages);
        // SAFETY: the pool is live and indexed, and `path` is one of its strings.
        unsafe {
            let providers = pool_queuetowhatprovides(self.pool.as_ptr(), &mut queue.0);
            pool_set_whatprovides(self.pool.as_ptr(), path, providers);
        }
    }

    /// Solves: the ids of all packages to install, or the rules of each problem.
    pub(crate) fn solve(&mut self, jobs: &[Job]) -> Result<Vec<Id>, Vec<Vec<Rule>>> {
        Solver::new(self).solve(&job_ids(jobs))
    }

    /// Whether there is a solution; faster than [`Self::solve`] where there is none.
    pub(crate) fn can_solve(&mut self, jobs: &[Job]) -> bool {
        Solver::new(self).can_solve(&job_ids(jobs))
    }
}

/// Jobs as libsolv has them.
fn job_ids(jobs: &[Job]) -> Vec<Id> {
    jobs.iter()
        .flat_map(|job| match *job {
            Job::Package(id) => [farm_job_install_package, id],
            Job::Provider(dep) => [farm_job_install_provider, dep],
            Job::Forbid(dep) => [farm_job_forbid_provider, dep],
            Job::Module { dep, weak, best } => {
                let weak = if weak { farm_job_weak } else { 0 };
                let best = if best { farm_job_best } else { 0 };
                [farm_job_install_provider | weak | best, dep]
            }
        })
        .collect()
}

/// The hash of a path by which [`RawPool::find_files`] compares: FNV-1a of 64 bits. It only
/// preselects, so collisions do no harm.
pub(crate) fn path_hash(path: &str) -> u64 {
    path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// libsolv's version, such as `0.7.23`.
pub(crate) fn version() -> String {
    // SAFETY: the text is a constant of the library.
    unsafe { text(farm_version()) }.unwrap_or_default()
}

/// A C stream of an open file.
fn stream(file: File, mode: &CStr) -> Result<NonNull<CFile>, String> {
    // SAFETY: the descriptor is open, and the mode a C string. The result is checked.
    let stream = unsafe { fdopen(file.as_raw_fd(), mode.as_ptr()) };
    let stream = NonNull::new(stream).ok_or_else(|| std::io::Error::last_os_error().to_string())?;
    // The stream owns the descriptor from here on, and closes it.
    let _ = file.into_raw_fd();
    Ok(stream)
}

/// A C string from text that was checked before.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).expect("no NUL is left")
}

/// Copies a C string; bytes that are not UTF-8 are replaced.
///
/// # Safety
/// The pointer is null, or points to a C string that lives until this returns.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: not null, and a C string by this function's contract.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
