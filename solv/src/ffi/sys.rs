//! Declarations of libsolv's functions. Only the modules beside this one may call them; each call
//! has a comment that says why it is sound.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::Id;

#[repr(C)]
pub(super) struct CPool {
    _opaque: [u8; 0],
}
#[repr(C)]
pub(super) struct CRepo {
    _opaque: [u8; 0],
}
#[repr(C)]
pub(super) struct CSolver {
    _opaque: [u8; 0],
}
#[repr(C)]
pub(super) struct CFile {
    _opaque: [u8; 0],
}

/// `struct s_Queue` of solv/queue.h, a growing list of ids.
#[repr(C)]
pub(super) struct CQueue {
    pub(super) elements: *mut Id,
    pub(super) count: c_int,
    pub(super) alloc: *mut Id,
    pub(super) left: c_int,
}

unsafe extern "C" {
    // src/shim.c
    pub(super) safe static farm_key_name: Id;
    pub(super) safe static farm_key_evr: Id;
    pub(super) safe static farm_key_arch: Id;
    pub(super) safe static farm_key_checksum: Id;
    pub(super) safe static farm_key_size: Id;
    pub(super) safe static farm_key_source_name: Id;
    pub(super) safe static farm_key_requires: Id;
    pub(super) safe static farm_key_provides: Id;
    pub(super) safe static farm_key_conflicts: Id;
    pub(super) safe static farm_key_obsoletes: Id;
    pub(super) safe static farm_key_media_base: Id;
    pub(super) safe static farm_marker_prereq: Id;
    pub(super) safe static farm_disttype_rpm: c_int;
    pub(super) safe static farm_extend_solvables: c_int;
    pub(super) safe static farm_extend_apart: c_int;
    pub(super) safe static farm_select_files: c_int;
    pub(super) safe static farm_select_provider: c_int;
    pub(super) safe static farm_job_install_package: c_int;
    pub(super) safe static farm_job_install_provider: c_int;
    pub(super) safe static farm_job_forbid_provider: c_int;
    pub(super) safe static farm_job_weak: c_int;
    pub(super) safe static farm_job_best: c_int;
    pub(super) safe static farm_flag_ignore_recommended: c_int;
    pub(super) safe static farm_flag_best_obey_policy: c_int;
    pub(super) safe static farm_flag_yum_obsoletes: c_int;
    pub(super) safe static farm_flag_urpm_reorder: c_int;
    pub(super) safe static farm_rule_nothing_provides: c_int;
    pub(super) safe static farm_rule_requires: c_int;
    pub(super) safe static farm_rule_conflicts: c_int;
    pub(super) safe static farm_rule_self_conflict: c_int;
    pub(super) safe static farm_rule_same_name: c_int;
    pub(super) safe static farm_rule_job: c_int;
    pub(super) safe static farm_rule_job_nothing_provides: c_int;
    pub(super) safe static farm_rule_job_unknown_package: c_int;
    pub(super) fn farm_repo_of(pool: *const CPool, id: Id) -> *mut CRepo;
    pub(super) fn farm_end(pool: *const CPool) -> Id;
    pub(super) fn farm_location(pool: *mut CPool, id: Id) -> *const c_char;
    pub(super) fn farm_version() -> *const c_char;
    pub(super) fn farm_write_last(repo: *mut CRepo, file: *mut CFile) -> c_int;
    pub(super) fn farm_set_priority(repo: *mut CRepo, priority: c_int, subpriority: c_int);
    pub(super) fn farm_count(repo: *const CRepo) -> c_int;
    pub(super) fn farm_add_file_provides(pool: *mut CPool, paths: *mut CQueue);
    pub(super) fn farm_see_new(pool: *mut CPool);
    pub(super) fn farm_hide(pool: *mut CPool, id: Id);
    pub(super) fn farm_show(pool: *mut CPool, id: Id);
    pub(super) fn farm_primary_files(pool: *mut CPool, id: Id, length: *mut c_int) -> *mut c_char;
    pub(super) fn farm_files(pool: *mut CPool, id: Id, length: *mut c_int) -> *mut c_char;
    pub(super) fn farm_find_files(
        pool: *mut CPool,
        ids: *const Id,
        count: c_int,
        wanted: *const u64,
        hashes: c_int,
        found: *mut CQueue,
    );
    pub(super) fn farm_matches(pool: *mut CPool, id: Id, dep: Id) -> c_int;
    pub(super) fn solv_free(memory: *mut c_void) -> *mut c_void;
    pub(super) fn farm_free_seen(pool: *mut CPool);

    // libsolv
    pub(super) fn pool_create() -> *mut CPool;
    pub(super) fn pool_free(pool: *mut CPool);
    pub(super) fn pool_setdisttype(pool: *mut CPool, disttype: c_int) -> c_int;
    pub(super) fn pool_setarchpolicy(pool: *mut CPool, policy: *const c_char);
    pub(super) fn pool_setdebugmask(pool: *mut CPool, mask: c_int);
    pub(super) fn pool_errstr(pool: *mut CPool) -> *const c_char;
    pub(super) fn pool_str2id(pool: *mut CPool, text: *const c_char, create: c_int) -> Id;
    pub(super) fn pool_rel2id(
        pool: *mut CPool,
        name: Id,
        evr: Id,
        flags: c_int,
        create: c_int,
    ) -> Id;
    pub(super) fn pool_dep2str(pool: *mut CPool, dep: Id) -> *const c_char;
    pub(super) fn pool_lookup_str(pool: *mut CPool, id: Id, key: Id) -> *const c_char;
    pub(super) fn pool_lookup_num(pool: *mut CPool, id: Id, key: Id, notfound: u64) -> u64;
    pub(super) fn pool_lookup_void(pool: *mut CPool, id: Id, key: Id) -> c_int;
    pub(super) fn pool_lookup_checksum(
        pool: *mut CPool,
        id: Id,
        key: Id,
        kind: *mut Id,
    ) -> *const c_char;
    pub(super) fn pool_createwhatprovides(pool: *mut CPool);
    pub(super) fn pool_job2solvables(pool: *mut CPool, packages: *mut CQueue, how: Id, what: Id);
    pub(super) fn pool_queuetowhatprovides(pool: *mut CPool, queue: *mut CQueue) -> Id;
    pub(super) fn pool_set_whatprovides(pool: *mut CPool, id: Id, providers: Id);
    pub(super) fn repo_create(pool: *mut CPool, name: *const c_char) -> *mut CRepo;
    pub(super) fn repo_write(repo: *mut CRepo, file: *mut CFile) -> c_int;
    pub(super) fn repo_add_solv(repo: *mut CRepo, file: *mut CFile, flags: c_int) -> c_int;
    pub(super) fn repo_free_solvable(repo: *mut CRepo, id: Id, reuse_ids: c_int);
    pub(super) fn repo_lookup_deparray(
        repo: *mut CRepo,
        id: Id,
        key: Id,
        queue: *mut CQueue,
        marker: Id,
    ) -> c_int;
    pub(super) fn selection_solvables(
        pool: *mut CPool,
        selection: *mut CQueue,
        packages: *mut CQueue,
    );
    pub(super) fn selection_make(
        pool: *mut CPool,
        selection: *mut CQueue,
        name: *const c_char,
        flags: c_int,
    ) -> c_int;
    pub(super) fn queue_init(queue: *mut CQueue);
    pub(super) fn queue_free(queue: *mut CQueue);
    pub(super) fn queue_insertn(
        queue: *mut CQueue,
        position: c_int,
        count: c_int,
        elements: *const Id,
    );
    pub(super) fn solver_create(pool: *mut CPool) -> *mut CSolver;
    pub(super) fn solver_free(solver: *mut CSolver);
    pub(super) fn solver_set_flag(solver: *mut CSolver, flag: c_int, value: c_int) -> c_int;
    pub(super) fn solver_solve(solver: *mut CSolver, jobs: *mut CQueue) -> c_int;
    pub(super) fn solver_get_decisionqueue(solver: *mut CSolver, decisions: *mut CQueue);
    pub(super) fn solver_problem_count(solver: *mut CSolver) -> c_uint;
    pub(super) fn solver_findallproblemrules(solver: *mut CSolver, problem: Id, rules: *mut CQueue);
    pub(super) fn solver_ruleinfo(
        solver: *mut CSolver,
        rule: Id,
        source: *mut Id,
        target: *mut Id,
        dep: *mut Id,
    ) -> c_int;
    pub(super) fn solver_problemruleinfo2str(
        solver: *mut CSolver,
        kind: c_int,
        source: Id,
        target: Id,
        dep: Id,
    ) -> *const c_char;

    // libsolvext
    pub(super) fn pool_parserpmrichdep(pool: *mut CPool, dep: *const c_char) -> Id;
    pub(super) fn repo_add_rpmmd(
        repo: *mut CRepo,
        file: *mut CFile,
        language: *const c_char,
        flags: c_int,
    ) -> c_int;
    pub(super) fn solv_xfopen(path: *const c_char, mode: *const c_char) -> *mut CFile;

    // libc
    pub(super) fn fmemopen(buffer: *mut c_void, size: usize, mode: *const c_char) -> *mut CFile;
    pub(super) fn fdopen(descriptor: c_int, mode: *const c_char) -> *mut CFile;
    pub(super) fn fclose(file: *mut CFile) -> c_int;
}
