//! The system calls that a cage may make.
//!
//! An allow-list, as container runtimes have it: what is not named fails with ENOSYS, which
//! libraries take as "an older kernel" and work around; what is known and refused fails with
//! EPERM. The container's other walls (no capabilities, no network) stand on their own; this one
//! keeps the kernel's rarely used corners away from what upstream sent.
//!
//! `ptrace` and `process_vm_readv` are allowed: debuggers and tracers use them in their tests, and
//! sanitizers in others'. A build has a pid namespace of its own, so that no number stands for a
//! process outside; within it all processes are the build's, and none has privileges to take.
//! They lead around no filter either: since Linux 4.8 a call is filtered after its tracer had it.
//!
//! The calls that make data durable succeed without doing anything: nothing in a cage outlives
//! the cage but what the worker copies out, and that the worker syncs itself.

use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// `clone` with any of these flags would make a namespace.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;

/// The highest address family that is allowed: netlink (16). Above are packet sockets, AF_ALG,
/// and AF_VSOCK, which no network namespace holds back.
const MAX_FAMILY: u64 = 16;

const NO_OPERATION: &str = "fdatasync fsync sync sync_file_range sync_file_range2 syncfs";

const REFUSED: &str = "acct add_key bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64 \
     delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick init_module \
     io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load \
     kexec_load keyctl lookup_dcookie mount mount_setattr move_mount move_pages \
     name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd \
     pivot_root process_madvise quotactl quotactl_fd reboot request_key setdomainname \
     sethostname setns settimeofday stime swapoff swapon syslog umount umount2 unshare \
     userfaultfd uselib vhangup vmsplice";

const ALLOWED: &str = "_llseek _newselect accept accept4 access adjtimex alarm arch_prctl bind brk cachestat \
     capget capset chdir chmod chown chown32 chroot clock_getres clock_getres_time64 \
     clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range \
     connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl \
     epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve \
     execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
     fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 \
     fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs \
     fstatfs64 ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv \
     futex_wake futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd \
     getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups \
     getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
     getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname \
     getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch \
     inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents \
     io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set kill \
     landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 \
     lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek \
     lsetxattr lstat lstat64 madvise map_shadow_stack mbind membarrier memfd_create \
     memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 \
     modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
     mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl \
     msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat nice open \
     openat openat2 pause personality pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc \
     pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 \
     process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace \
     pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv recv recvfrom \
     recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename \
     renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
     rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
     sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
     sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
     semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy \
     set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setfsgid \
     setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid \
     setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
     setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl \
     shmdt shmget shutdown sigaction sigaltstack signal signalfd signalfd4 sigpending \
     sigprocmask sigreturn sigsuspend socketpair splice stat stat64 statfs statfs64 statx \
     swapcontext symlink symlinkat sysinfo tee tgkill time timer_create timer_delete \
     timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 \
     timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times \
     tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat \
     utimensat_time64 utimes vfork wait4 waitid waitpid write writev";

/// The `linux.seccomp` part of a container's configuration, for the architecture of the host.
pub(super) fn filter() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": architectures(),
        "syscalls": [
            { "names": names(ALLOWED), "action": "SCMP_ACT_ALLOW" },
            { "names": names(REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM },
            { "names": names(NO_OPERATION), "action": "SCMP_ACT_ERRNO", "errnoRet": 0 },
            // clone3 keeps its flags where a filter cannot see them; without it, libraries use
            // clone.
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0,
                         "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": MAX_FAMILY, "op": "SCMP_CMP_LE" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": EAFNOSUPPORT,
              "args": [{ "index": 0, "value": MAX_FAMILY, "op": "SCMP_CMP_GT" }] },
        ],
    })
}

fn names(list: &str) -> Vec<&str> {
    list.split_whitespace().collect()
}

/// The host's own architecture alone: a 32-bit program is killed by its first call. The old
/// interface of 32-bit programs (`socketcall`, `ipc`) hides its arguments from a filter.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64"],
        "aarch64" => &["SCMP_ARCH_AARCH64"],
        "powerpc64" => &["SCMP_ARCH_PPC64LE"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_call_has_two_answers() {
        let mut seen = BTreeSet::new();
        for name in [ALLOWED, REFUSED, NO_OPERATION].into_iter().flat_map(names) {
            assert!(seen.insert(name), "{name} is listed twice");
        }
        for name in ["clone", "clone3", "socket", "socketcall"] {
            assert!(!seen.contains(name), "{name} needs its arguments looked at, or is not safe");
        }
    }
}
