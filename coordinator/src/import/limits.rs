//! The limits of one import, whatever upstream sends.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// The limits of imports. The size of a look-aside file is the target's `max_file_mib`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportLimits {
    /// The time for the whole import of one commit.
    pub time: Duration,
    /// The longest wait for a connection, an answer or the next bytes.
    pub silence: Duration,
    /// The slowest permitted transfer in bytes a second, measured over each `pace_window`.
    pub slowest: u64,
    /// How long a transfer may be slow.
    pub pace_window: Duration,
    /// How much the git server may send for one fetch, in bytes.
    pub git_bytes: u64,
    /// The greatest number of objects in one fetch.
    pub git_objects: usize,
    /// The greatest size of one unpacked git object, in bytes. libgit2 may hold it, and an object
    /// that is a delta of it, in memory.
    pub git_object: u64,
    /// The size of all unpacked objects of one fetch, in bytes.
    pub git_unpacked: u64,
    /// The size of the spec file, in bytes.
    pub spec: u64,
    /// The size of the look-aside list, in bytes.
    pub list: u64,
    /// The size of one committed file, in bytes. libgit2 holds it in memory while it is stored.
    pub committed_file: u64,
    /// The number of files in one source bundle.
    pub files: usize,
    /// The size of all files of one source bundle, in bytes.
    pub bundle: u64,
    /// How often a request is tried whose failure may be temporary.
    pub tries: u32,
    /// The pause before the second try; it doubles with each further one.
    pub backoff: Duration,
    /// How many redirects of a look-aside server are followed.
    pub redirects: u32,
    /// How many imports of one git host run at once, each on a thread of its own.
    pub lanes: usize,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(3600),
            silence: Duration::from_secs(60),
            slowest: 4096,
            pace_window: Duration::from_secs(120),
            git_bytes: 1024 * MIB,
            git_objects: 200_000,
            git_object: 256 * MIB,
            git_unpacked: 4 * 1024 * MIB,
            spec: 32 * MIB,
            list: 4 * MIB,
            committed_file: 128 * MIB,
            files: 5_000,
            bundle: 16 * 1024 * MIB,
            tries: 4,
            backoff: Duration::from_millis(500),
            redirects: 5,
            lanes: 8,
        }
    }
}
