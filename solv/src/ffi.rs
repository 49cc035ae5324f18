//! The border to libsolv: the only file with `unsafe`. Owns every pointer; what it hands out are
//! plain numbers and owned strings.
//!
//! Numbers: an [`Id`] is an index into one of the pool's tables. Ids of packages are checked
//! against the pool wherever they are taken (`repo_of`); ids of dependencies come from this file
//! alone and are never freed while the pool lives.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};

/// libsolv's number for strings, dependencies and packages.
pub(crate) type Id = c_int;

#[repr(C)]
struct CPool {
    _opaque: [u8; 0],
}
#[repr(C)]
struct CRepo {
    _opaque: [u8; 0],
}
#[repr(C)]
struct CSolver {
    _opaque: [u8; 0],
}
#[repr(C)]
struct CFile {
    _opaque: [u8; 0],
}

/// `struct s_Queue` of solv/queue.h, a growing list of ids.
#[repr(C)]
struct CQueue {
    elements: *mut Id,
    count: c_int,
    alloc: *mut Id,
    left: c_int,
}

unsafe extern "C" {
    // src/shim.c
    safe static farm_key_name: Id;
    safe static farm_key_evr: Id;
    safe static farm_key_arch: Id;
    safe static farm_key_checksum: Id;
    safe static farm_key_size: Id;
    safe static farm_key_source_name: Id;
    safe static farm_key_requires: Id;
    safe static farm_marker_prereq: Id;
    safe static farm_disttype_rpm: c_int;
    safe static farm_extend_solvables: c_int;
    safe static farm_select_files: c_int;
    safe static farm_select_provider: c_int;
    safe static farm_job_install_package: c_int;
    safe static farm_job_install_provider: c_int;
    safe static farm_job_forbid_provider: c_int;
    safe static farm_flag_ignore_recommended: c_int;
    safe static farm_flag_best_obey_policy: c_int;
    safe static farm_flag_yum_obsoletes: c_int;
    safe static farm_flag_urpm_reorder: c_int;
    safe static farm_rule_nothing_provides: c_int;
    safe static farm_rule_requires: c_int;
    safe static farm_rule_job: c_int;
    safe static farm_rule_job_nothing_provides: c_int;
    safe static farm_rule_job_unknown_package: c_int;
    fn farm_repo_of(pool: *const CPool, id: Id) -> *mut CRepo;
    fn farm_end(pool: *const CPool) -> Id;
    fn farm_location(pool: *mut CPool, id: Id) -> *const c_char;
    fn farm_set_priority(repo: *mut CRepo, priority: c_int);
    fn farm_count(repo: *const CRepo) -> c_int;

    // libsolv
    fn pool_create() -> *mut CPool;
    fn pool_free(pool: *mut CPool);
    fn pool_setdisttype(pool: *mut CPool, disttype: c_int) -> c_int;
    fn pool_setarchpolicy(pool: *mut CPool, policy: *const c_char);
    fn pool_setdebugmask(pool: *mut CPool, mask: c_int);
    fn pool_errstr(pool: *mut CPool) -> *const c_char;
    fn pool_str2id(pool: *mut CPool, text: *const c_char, create: c_int) -> Id;
    fn pool_rel2id(pool: *mut CPool, name: Id, evr: Id, flags: c_int, create: c_int) -> Id;
    fn pool_dep2str(pool: *mut CPool, dep: Id) -> *const c_char;
    fn pool_lookup_str(pool: *mut CPool, id: Id, key: Id) -> *const c_char;
    fn pool_lookup_num(pool: *mut CPool, id: Id, key: Id, notfound: u64) -> u64;
    fn pool_lookup_void(pool: *mut CPool, id: Id, key: Id) -> c_int;
    fn pool_lookup_checksum(pool: *mut CPool, id: Id, key: Id, kind: *mut Id) -> *const c_char;
    fn pool_addfileprovides_queue(pool: *mut CPool, found: *mut CQueue, installed: *mut CQueue);
    fn pool_createwhatprovides(pool: *mut CPool);
    fn pool_job2solvables(pool: *mut CPool, packages: *mut CQueue, how: Id, what: Id);
    fn pool_queuetowhatprovides(pool: *mut CPool, queue: *mut CQueue) -> Id;
    fn pool_set_whatprovides(pool: *mut CPool, id: Id, providers: Id);
    fn repo_create(pool: *mut CPool, name: *const c_char) -> *mut CRepo;
    fn repo_free_solvable(repo: *mut CRepo, id: Id, reuse_ids: c_int);
    fn repo_lookup_deparray(
        repo: *mut CRepo,
        id: Id,
        key: Id,
        queue: *mut CQueue,
        marker: Id,
    ) -> c_int;
    fn selection_make(
        pool: *mut CPool,
        selection: *mut CQueue,
        name: *const c_char,
        flags: c_int,
    ) -> c_int;
    fn queue_init(queue: *mut CQueue);
    fn queue_free(queue: *mut CQueue);
    fn queue_insertn(queue: *mut CQueue, position: c_int, count: c_int, elements: *const Id);
    fn solver_create(pool: *mut CPool) -> *mut CSolver;
    fn solver_free(solver: *mut CSolver);
    fn solver_set_flag(solver: *mut CSolver, flag: c_int, value: c_int) -> c_int;
    fn solver_solve(solver: *mut CSolver, jobs: *mut CQueue) -> c_int;
    fn solver_get_decisionqueue(solver: *mut CSolver, decisions: *mut CQueue);
    fn solver_problem_count(solver: *mut CSolver) -> c_uint;
    fn solver_findallproblemrules(solver: *mut CSolver, problem: Id, rules: *mut CQueue);
    fn solver_ruleinfo(
        solver: *mut CSolver,
        rule: Id,
        source: *mut Id,
        target: *mut Id,
        dep: *mut Id,
    ) -> c_int;
    fn solver_problemruleinfo2str(
        solver: *mut CSolver,
        kind: c_int,
        source: Id,
        target: Id,
        dep: Id,
    ) -> *const c_char;

    // libsolvext
    fn pool_parserpmrichdep(pool: *mut CPool, dep: *const c_char) -> Id;
    fn repo_add_rpmmd(
        repo: *mut CRepo,
        file: *mut CFile,
        language: *const c_char,
        flags: c_int,
    ) -> c_int;
    fn solv_xfopen(path: *const c_char, mode: *const c_char) -> *mut CFile;

    // libc
    fn fmemopen(buffer: *mut c_void, size: usize, mode: *const c_char) -> *mut CFile;
    fn fclose(file: *mut CFile) -> c_int;
}

/// A list of ids that libsolv can fill.
struct Queue(CQueue);

impl Queue {
    fn new() -> Self {
        let mut queue =
            CQueue { elements: ptr::null_mut(), count: 0, alloc: ptr::null_mut(), left: 0 };
        // SAFETY: queue_init writes to the struct and keeps no pointer to it.
        unsafe { queue_init(&mut queue) };
        Self(queue)
    }

    fn of(ids: &[Id]) -> Self {
        let mut queue = Self::new();
        let count = c_int::try_from(ids.len()).expect("fewer ids than libsolv can count");
        // SAFETY: the queue is initialised and `ids` holds `count` elements, which are copied.
        unsafe { queue_insertn(&mut queue.0, 0, count, ids.as_ptr()) };
        queue
    }

    fn to_vec(&self) -> Vec<Id> {
        let Ok(count @ 1..) = usize::try_from(self.0.count) else { return Vec::new() };
        // SAFETY: libsolv keeps `count` elements at `elements`, which is not null as count > 0.
        unsafe { std::slice::from_raw_parts(self.0.elements, count) }.to_vec()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, freed here only.
        unsafe { queue_free(&mut self.0) };
    }
}

/// A repository of a [`RawPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RepoIndex(usize);

/// The text attributes of a package that are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    Name,
    Evr,
    Arch,
    SourceName,
}

/// What a solver is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    /// Install exactly this package.
    Package(Id),
    /// Install something that provides this dependency.
    Provider(Id),
    /// Install nothing that provides this dependency.
    Forbid(Id),
}

/// One rule that takes part in a problem.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) kind: RuleKind,
    /// The rule in libsolv's words.
    pub(crate) text: String,
}

/// The kinds of rule that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// Nothing provides what a package requires.
    NothingProvides { package: Id, dep: Id },
    /// A package requires something that is there.
    Requires,
    /// What was asked for itself.
    Job,
    /// Nothing provides what was asked for.
    JobNothingProvides { dep: Id },
    /// Conflicts, obsoletes, two versions of one name, …
    Conflict,
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
        unsafe { pool_free(self.pool.as_ptr()) };
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

    /// Adds an empty repository; of two packages that would do, that of the higher priority wins.
    pub(crate) fn add_repo(&mut self, name: &str, priority: i32) -> RepoIndex {
        let name = c_text(name);
        // SAFETY: the pool is live and copies the name; the repository lives as long as the pool.
        let repo = unsafe {
            let repo = repo_create(self.pool.as_ptr(), name.as_ptr());
            farm_set_priority(repo, priority);
            NonNull::new(repo).expect("libsolv aborts when out of memory")
        };
        self.repos.push(repo);
        RepoIndex(self.repos.len() - 1)
    }

    /// Reads primary metadata from a file, or with `extend` filelists of packages that are there.
    /// The compression is told by the file's name.
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

    /// How many packages a repository has.
    pub(crate) fn count(&self, repo: RepoIndex) -> usize {
        // SAFETY: the repository is live.
        let count = unsafe { farm_count(self.repos[repo.0].as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Where a package belongs; `None` if there is no such package (any more).
    pub(crate) fn repo_of(&self, id: Id) -> Option<RepoIndex> {
        // SAFETY: the pool is live; the function checks the range of the id.
        let repo = unsafe { farm_repo_of(self.pool.as_ptr(), id) };
        self.repos.iter().position(|known| known.as_ptr() == repo).map(RepoIndex)
    }

    /// Takes a package out. Its id is not used again.
    pub(crate) fn remove(&mut self, id: Id) {
        if let Some(RepoIndex(repo)) = self.repo_of(id) {
            // SAFETY: the package is there and belongs to this live repository.
            unsafe { repo_free_solvable(self.repos[repo].as_ptr(), id, 0) };
        }
    }

    /// A text attribute of a package.
    pub(crate) fn string(&mut self, id: Id, key: Key) -> Option<String> {
        self.repo_of(id)?;
        let key = match key {
            Key::Name => farm_key_name,
            Key::Evr => farm_key_evr,
            Key::Arch => farm_key_arch,
            // A flag instead of a text says that it is the package's own name.
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

    /// Where a package's file lies, relative to its repository.
    pub(crate) fn location(&mut self, id: Id) -> Option<String> {
        self.repo_of(id)?;
        // SAFETY: the pool is live and has the package; the text is copied at once.
        unsafe { text(farm_location(self.pool.as_ptr(), id)) }
    }

    /// The dependencies that a package requires.
    pub(crate) fn requires(&mut self, id: Id) -> Vec<Id> {
        let Some(RepoIndex(repo)) = self.repo_of(id) else { return Vec::new() };
        let mut queue = Queue::new();
        // SAFETY: the repository is live and has the package; the queue is initialised.
        unsafe {
            let repo = self.repos[repo].as_ptr();
            repo_lookup_deparray(repo, id, farm_key_requires, &mut queue.0, 0);
        }
        queue.to_vec().into_iter().filter(|dep| *dep != farm_marker_prereq).collect()
    }

    /// The dependency on a name or path.
    pub(crate) fn dependency(&mut self, name: &str) -> Id {
        let name = c_text(name);
        // SAFETY: the pool is live and copies the text.
        unsafe { pool_str2id(self.pool.as_ptr(), name.as_ptr(), 1) }
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
        // SAFETY: the pool is live, the queue initialised; null stands for "not wanted".
        unsafe {
            pool_addfileprovides_queue(self.pool.as_ptr(), &mut paths.0, ptr::null_mut());
        }
        paths.to_vec().into_iter().map(|id| self.dependency_text(id)).collect()
    }

    /// Makes the index of who provides what, which all below need.
    pub(crate) fn index(&mut self) {
        // SAFETY: the pool is live.
        unsafe { pool_createwhatprovides(self.pool.as_ptr()) };
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
        let mut selection = Queue::new();
        // SAFETY: the pool is live and indexed, the queue initialised, the text a C string.
        unsafe {
            selection_make(self.pool.as_ptr(), &mut selection.0, path.as_ptr(), farm_select_files);
        }
        // Pairs of "select this package" and its id.
        selection.to_vec().chunks_exact(2).map(|pair| pair[1]).collect()
    }

    /// Says who provides a path from now on, until the next [`Self::index`].
    pub(crate) fn set_providers(&mut self, path: Id, packages: &[Id]) {
        let mut queue = Queue::of(packages);
        // SAFETY: the pool is live and indexed, and `path` is one of its strings.
        unsafe {
            let providers = pool_queuetowhatprovides(self.pool.as_ptr(), &mut queue.0);
            pool_set_whatprovides(self.pool.as_ptr(), path, providers);
        }
    }

    /// Solves: the ids of all packages to install, or the rules of each problem.
    pub(crate) fn solve(&mut self, jobs: &[Job]) -> Result<Vec<Id>, Vec<Vec<Rule>>> {
        let jobs: Vec<Id> = jobs
            .iter()
            .flat_map(|job| match *job {
                Job::Package(id) => [farm_job_install_package, id],
                Job::Provider(dep) => [farm_job_install_provider, dep],
                Job::Forbid(dep) => [farm_job_forbid_provider, dep],
            })
            .collect();
        Solver::new(self).solve(&jobs)
    }
}

/// A solver at work on a pool.
struct Solver<'a> {
    solver: NonNull<CSolver>,
    pool: &'a RawPool,
}

impl Drop for Solver<'_> {
    fn drop(&mut self) {
        // SAFETY: made by solver_create, freed once, before its pool.
        unsafe { solver_free(self.solver.as_ptr()) };
    }
}

impl<'a> Solver<'a> {
    /// A solver that decides as dnf does, with weak dependencies off.
    fn new(pool: &'a mut RawPool) -> Self {
        // SAFETY: the pool is live and stays borrowed; libsolv aborts rather than returning null.
        let solver = unsafe { NonNull::new(solver_create(pool.pool.as_ptr())) }
            .expect("libsolv aborts when out of memory");
        for flag in [
            farm_flag_ignore_recommended,
            farm_flag_best_obey_policy,
            farm_flag_yum_obsoletes,
            farm_flag_urpm_reorder,
        ] {
            // SAFETY: the solver is live.
            unsafe { solver_set_flag(solver.as_ptr(), flag, 1) };
        }
        Self { solver, pool }
    }

    fn solve(&mut self, jobs: &[Id]) -> Result<Vec<Id>, Vec<Vec<Rule>>> {
        let mut jobs = Queue::of(jobs);
        // SAFETY: the solver and the queue are live; the queue is copied.
        let problems = unsafe { solver_solve(self.solver.as_ptr(), &mut jobs.0) };
        if problems != 0 {
            return Err(self.problems());
        }
        let mut decisions = Queue::new();
        // SAFETY: as above.
        unsafe { solver_get_decisionqueue(self.solver.as_ptr(), &mut decisions.0) };
        let chosen = |id: &Id| self.pool.repo_of(*id).is_some();
        Ok(decisions.to_vec().into_iter().filter(chosen).collect())
    }

    fn problems(&mut self) -> Vec<Vec<Rule>> {
        // SAFETY: the solver is live.
        let count = unsafe { solver_problem_count(self.solver.as_ptr()) };
        (1..=Id::try_from(count).unwrap_or(Id::MAX))
            .map(|problem| {
                let mut rules = Queue::new();
                // SAFETY: problems are numbered from 1 to their count.
                unsafe {
                    solver_findallproblemrules(self.solver.as_ptr(), problem, &mut rules.0);
                }
                rules.to_vec().into_iter().map(|rule| self.rule(rule)).collect()
            })
            .collect()
    }

    fn rule(&mut self, rule: Id) -> Rule {
        let (mut source, mut target, mut dep) = (0, 0, 0);
        // SAFETY: the rule comes from this live solver; what it says is handed back to it.
        let (kind, text) = unsafe {
            let solver = self.solver.as_ptr();
            let kind = solver_ruleinfo(solver, rule, &mut source, &mut target, &mut dep);
            (kind, text(solver_problemruleinfo2str(solver, kind, source, target, dep)))
        };
        let kind = if kind == farm_rule_nothing_provides {
            RuleKind::NothingProvides { package: source, dep }
        } else if kind == farm_rule_requires {
            RuleKind::Requires
        } else if kind == farm_rule_job {
            RuleKind::Job
        } else if [farm_rule_job_nothing_provides, farm_rule_job_unknown_package].contains(&kind) {
            RuleKind::JobNothingProvides { dep }
        } else {
            RuleKind::Conflict
        };
        Rule { kind, text: text.unwrap_or_default() }
    }
}

/// A C string of text that was checked before.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).expect("no NUL is left")
}

/// Copies a C string; bytes that are no UTF-8 are replaced.
///
/// # Safety
/// The pointer is null, or points to a C string that lives until this returns.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: not null, and a C string by this function's contract.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
