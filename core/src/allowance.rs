//! What a build may do beyond what every build may: devices and system calls that some test suites
//! use, each closed unless a target or one of its packages opens it.
//!
//! Owns the words of `allow = [...]` in a target file and what each stands for. It must not know
//! how a worker opens or closes them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that is closed to builds by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowance {
    /// `/dev/fuse`. Mounting through it needs [`Self::UserNamespaces`] too.
    Fuse,
    /// Four loop devices of the build's own.
    Loop,
    /// `add_key`, `keyctl` and `request_key`: the kernel's keyrings.
    Keyring,
    /// User namespaces, and with them every other namespace, mounts and `clone3`.
    UserNamespaces,
    /// `io_uring_setup`, `io_uring_enter` and `io_uring_register`.
    IoUring,
    /// `perf_event_open`.
    PerfEvent,
    /// `userfaultfd`.
    Userfaultfd,
    /// `bpf`.
    Bpf,
    /// `move_pages` and `migrate_pages`.
    Numa,
    /// `fanotify_init`.
    Fanotify,
    /// `name_to_handle_at` and `open_by_handle_at`.
    FileHandles,
    /// `kcmp`, `pidfd_getfd` and `process_madvise`.
    ProcessHandles,
    /// `vmsplice`.
    Vmsplice,
    /// `syslog`: the log of the host's kernel.
    KernelLog,
    /// Sockets of the family `AF_ALG`: the kernel's own cryptography.
    CryptoSockets,
    /// Sockets of the family `AF_VSOCK`: the hypervisor and its other guests.
    Vsock,
    /// Sockets of every family for programs of 32 bits that make them by `socketcall`.
    SocketsOf32Bits,
}

/// A word that names no allowance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` cannot be allowed (expected one of {})", known())]
pub struct UnknownAllowance {
    /// The word.
    pub word: String,
}

fn known() -> String {
    Allowance::ALL.map(Allowance::as_str).join(", ")
}

impl Allowance {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Fuse,
        Self::Loop,
        Self::Keyring,
        Self::UserNamespaces,
        Self::IoUring,
        Self::PerfEvent,
        Self::Userfaultfd,
        Self::Bpf,
        Self::Numa,
        Self::Fanotify,
        Self::FileHandles,
        Self::ProcessHandles,
        Self::Vmsplice,
        Self::KernelLog,
        Self::CryptoSockets,
        Self::Vsock,
        Self::SocketsOf32Bits,
    ];

    /// The word for it in target files and in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fuse => "fuse",
            Self::Loop => "loop",
            Self::Keyring => "keyring",
            Self::UserNamespaces => "user_namespaces",
            Self::IoUring => "io_uring",
            Self::PerfEvent => "perf_event",
            Self::Userfaultfd => "userfaultfd",
            Self::Bpf => "bpf",
            Self::Numa => "numa",
            Self::Fanotify => "fanotify",
            Self::FileHandles => "file_handles",
            Self::ProcessHandles => "process_handles",
            Self::Vmsplice => "vmsplice",
            Self::KernelLog => "kernel_log",
            Self::CryptoSockets => "crypto_sockets",
            Self::Vsock => "vsock",
            Self::SocketsOf32Bits => "sockets_of_32_bits",
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Allowance {
    type Err = UnknownAllowance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|allowance| allowance.as_str() == text)
            .ok_or_else(|| UnknownAllowance { word: crate::name::shown(text) })
    }
}

impl TryFrom<String> for Allowance {
    type Error = UnknownAllowance;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Allowance> for String {
    fn from(allowance: Allowance) -> Self {
        allowance.as_str().to_owned()
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
        assert!(
            error.starts_with("`mount` cannot be allowed (expected one of fuse, loop"),
            "{error}"
        );
    }
}
