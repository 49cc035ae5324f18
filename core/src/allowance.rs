//! What a build may do beyond what every build may: devices and system calls that some test suites
//! use, each closed unless a target or one of its packages opens it.
//!
//! Owns the words of `allow = [...]` in a target file and what each stands for. It must not know
//! how a worker opens or closes them.

use std::collections::BTreeSet;

words! {
    /// One thing that is closed to builds by default.
    pub enum Allowance: "permission" {
        /// `/dev/fuse`. Mounting through it needs [`Self::UserNamespaces`] too.
        Fuse = "fuse",
        /// Four loop devices of the build's own.
        Loop = "loop",
        /// `add_key`, `keyctl` and `request_key`: the kernel's keyrings.
        Keyring = "keyring",
        /// User namespaces, and with them every other namespace, mounts and `clone3`.
        UserNamespaces = "user_namespaces",
        /// `io_uring_setup`, `io_uring_enter` and `io_uring_register`.
        IoUring = "io_uring",
        /// `perf_event_open`.
        PerfEvent = "perf_event",
        /// `userfaultfd`.
        Userfaultfd = "userfaultfd",
        /// `bpf`.
        Bpf = "bpf",
        /// `move_pages` and `migrate_pages`.
        Numa = "numa",
        /// `fanotify_init`.
        Fanotify = "fanotify",
        /// `name_to_handle_at` and `open_by_handle_at`.
        FileHandles = "file_handles",
        /// `kcmp`, `pidfd_getfd` and `process_madvise`.
        ProcessHandles = "process_handles",
        /// `vmsplice`.
        Vmsplice = "vmsplice",
        /// `syslog`: the log of the host's kernel.
        KernelLog = "kernel_log",
        /// Sockets of the family `AF_ALG`: the kernel's own cryptography.
        CryptoSockets = "crypto_sockets",
        /// Sockets of the family `AF_VSOCK`: the hypervisor and its other guests.
        Vsock = "vsock",
        /// Sockets of every family for programs of 32 bits that make them by `socketcall`.
        SocketsOf32Bits = "sockets_of_32_bits",
    }
}

/// What one build is allowed.
pub type Allowed = BTreeSet<Allowance>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = Allowance::ALL.map(Allowance::as_str).into();
        assert_eq!(words.len(), Allowance::ALL.len());
        for allowance in Allowance::ALL {
            assert_eq!(allowance.as_str().parse(), Ok(allowance));
        }
        let error = "mount".parse::<Allowance>().expect_err("not one of them").to_string();
        assert!(error.starts_with("unknown permission `mount` (known: fuse, loop"), "{error}");
    }
}
