//! The system calls that a cage may make.
//!
//! An allow-list, as container runtimes have it: an unlisted call fails with ENOSYS, which
//! libraries take as "an older kernel" and work around; a known call that is refused fails with
//! EPERM, as a kernel says to who is not privileged. The container's other walls (no capabilities,
//! no network) stand on their own; this one keeps the kernel's rarely used corners away from what
//! upstream sent. What some test suites need is opened by [`Allowance`].
//!
//! No answer is made up: a call that is allowed is the kernel's to answer, also when the answer is
//! an error that a configure script looks for. Only `sync`, which has no answer, is not done: it
//! would write out every file system of the host. That builds do not wait for the disk comes from
//! where they write ([`super::stage`] mounts it so that nothing is made durable).
//!
//! `ptrace` and `process_vm_readv` are allowed: debuggers and tracers use them in their tests, and
//! sanitizers in others'. A build has a pid namespace of its own, so that no number stands for a
//! process outside; within it all processes are the build's, and none has privileges to take.
//! They lead around no filter either: since Linux 4.8 a call is filtered after its tracer had it.
//!
//! Families of sockets are not checked here but in [`super::sockets`]: programs of 32 bits may
//! make sockets by a call that hides its arguments, which libseccomp cannot express.

use rpmfarm_core::{Allowance, Allowed};
use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The flags of `clone` and `unshare` that make a namespace. `CLONE_NEWTIME` (0x80) is one of
/// `unshare` alone: in those of `clone` it is part of a signal's number.
const NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
const NEW_TIME: u64 = 0x80;

const REFUSED: &str = "acct clock_settime clock_settime64 delete_module finit_module init_module ioperm iopl \
     kexec_file_load kexec_load quotactl quotactl_fd reboot settimeofday stime swapoff swapon \
     vhangup";

const ALLOWED: &str = "_llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 \
     arm_sync_file_range bind breakpoint brk cacheflush cachestat capget capset chdir chmod \
     chown chown32 chroot clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
     clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range \
     connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl \
     epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve \
     execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
     fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 \
     fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 \
     fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait \
     futex_waitv futex_wake futimesat get_mempolicy get_robust_list get_thread_area get_tls \
     getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 \
     getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority \
     getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid \
     getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat \
     inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy \
     io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get \
     ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown \
     lchown32 lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek \
     lsetxattr lstat lstat64 madvise map_shadow_stack mbind membarrier memfd_create \
     memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 \
     modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 \
     mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync \
     munlock munlockall munmap nanosleep newfstatat nice oldfstat oldlstat oldolduname oldstat \
     olduname open openat openat2 pause personality pidfd_open pidfd_send_signal pipe pipe2 \
     pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 \
     prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 \
     ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv recv \
     recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat \
     rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction \
     rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
     sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
     sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
     semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy \
     set_mempolicy_home_node set_robust_list set_thread_area set_tid_address set_tls setfsgid \
     setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid \
     setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
     setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat sgetmask shmat \
     shmctl shmdt shmget shutdown sigaction sigaltstack signal signalfd signalfd4 sigpending \
     sigprocmask sigreturn sigsuspend socket socketpair splice ssetmask stat stat64 statfs \
     statfs64 statx swapcontext symlink symlinkat sync_file_range sync_file_range2 syncfs \
     sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime \
     timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
     timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
     ugetrlimit umask uname unlink unlinkat usr26 usr32 utime utimensat utimensat_time64 utimes \
     vfork wait4 waitid waitpid write writev";

/// The calls that an allowance opens.
const fn opened(allowance: Allowance) -> &'static str {
    match allowance {
        Allowance::Keyring => "add_key keyctl request_key",
        Allowance::UserNamespaces => {
            "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setdomainname sethostname setns umount umount2"
        }
        Allowance::IoUring => "io_uring_enter io_uring_register io_uring_setup",
        Allowance::PerfEvent => "perf_event_open",
        Allowance::Userfaultfd => "userfaultfd",
        Allowance::Bpf => "bpf",
        Allowance::Numa => "migrate_pages move_pages",
        Allowance::Fanotify => "fanotify_init",
        Allowance::FileHandles => "name_to_handle_at open_by_handle_at",
        Allowance::ProcessHandles => "kcmp pidfd_getfd process_madvise",
        Allowance::Vmsplice => "vmsplice",
        Allowance::KernelLog => "syslog",
        // Devices and families of sockets.
        Allowance::Fuse
        | Allowance::Loop
        | Allowance::CryptoSockets
        | Allowance::Vsock
        | Allowance::SocketsOf32Bits => "",
    }
}

/// The `linux.seccomp` part of a container's configuration, for the architecture of the host.
pub(super) fn filter(allow: &Allowed) -> Value {
    let (mut allowed, mut refused) = (names(ALLOWED), names(REFUSED));
    for allowance in Allowance::ALL {
        let to = if allow.contains(&allowance) { &mut allowed } else { &mut refused };
        to.extend(names(opened(allowance)));
    }
    let mut calls = Vec::new();
    if allow.contains(&Allowance::UserNamespaces) {
        allowed.extend(["clone", "clone3", "unshare"]);
    } else {
        // clone3 keeps its flags where a filter cannot see them: it is not there (ENOSYS), and
        // libraries use clone.
        calls.extend(without("clone", &NAMESPACES));
        calls.extend(without("unshare", &[NAMESPACES.as_slice(), &[NEW_TIME]].concat()));
    }
    calls.extend([
        json!({ "names": allowed, "action": "SCMP_ACT_ALLOW" }),
        json!({ "names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM }),
        json!({ "names": ["sync"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }),
    ]);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": architectures(),
        "syscalls": calls,
    })
}

/// Rules that allow a call unless its first argument has one of these flags.
fn without(name: &str, flags: &[u64]) -> Vec<Value> {
    let masked = |mask: u64, value: u64| json!([{ "index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }]);
    let all = flags.iter().fold(0, |all, flag| all | flag);
    let mut rules =
        vec![json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": masked(all, 0) })];
    rules.extend(flags.iter().map(|flag| {
        json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM,
                "args": masked(*flag, *flag) })
    }));
    rules
}

fn names(list: &'static str) -> Vec<&'static str> {
    list.split_whitespace().collect()
}

/// All that the kernel of such a host runs: its programs of 32 bits too, under the same rules.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
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
        let opened = Allowance::ALL.map(opened);
        for name in [ALLOWED, REFUSED].into_iter().chain(opened).flat_map(names) {
            assert!(seen.insert(name), "{name} is listed twice");
        }
        for name in ["clone", "clone3", "unshare", "sync"] {
            assert!(!seen.contains(name), "{name} has rules of its own");
        }
    }

    /// The calls that a filter with these allowances refuses or allows without a condition.
    fn of(action: &str, allow: &Allowed) -> BTreeSet<String> {
        let filter = filter(allow);
        let rules = filter["syscalls"].as_array().expect("rules");
        let rules = rules.iter().filter(|rule| rule["action"] == action && rule["args"].is_null());
        rules
            .flat_map(|rule| rule["names"].as_array().expect("names"))
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    }

    #[test]
    fn an_allowance_opens_its_own_calls_and_no_others() {
        let closed = of("SCMP_ACT_ALLOW", &Allowed::new());
        for allowance in Allowance::ALL {
            let open = of("SCMP_ACT_ALLOW", &[allowance].into());
            let more: BTreeSet<&str> = open.difference(&closed).map(String::as_str).collect();
            let mut expected: BTreeSet<&str> = names(opened(allowance)).into_iter().collect();
            if allowance == Allowance::UserNamespaces {
                expected.extend(["clone", "clone3", "unshare"]);
            }
            assert_eq!(more, expected, "{allowance}");
            let refused = of("SCMP_ACT_ERRNO", &[allowance].into());
            assert!(more.iter().all(|name| !refused.contains(*name)), "{allowance}");
        }
    }
}
