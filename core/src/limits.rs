//! The limits that hold for one build.

use serde::{Deserialize, Serialize};

/// The limits of one build. Every field has a default that suits most packages; a target or a
/// package overrides single ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whole time of the build, in seconds.
    pub seconds: u64,
    /// Whole time of making the SRPM, in seconds; the other builds of a batch wait for it.
    pub srpm_seconds: u64,
    /// The longest time without a line in the build log, in seconds.
    pub silence_seconds: u64,
    /// Memory of all processes of the build together, in MiB.
    pub memory_mib: u64,
    /// Number of processes and threads at once.
    pub processes: u64,
    /// The space that the build may use in its root and build directory, in MiB.
    pub disk_mib: u64,
    /// Size of the build log, in MiB; a longer log ends the build.
    pub log_mib: u64,
    /// Size of all result files together, in MiB.
    pub results_mib: u64,
    /// Size of all result files together when they are unpacked, in MiB.
    pub results_unpacked_mib: u64,
    /// Number of files, directories and links in all result files together.
    pub results_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            seconds: 24 * 3600,
            srpm_seconds: 15 * 60,
            silence_seconds: 3 * 3600,
            memory_mib: 8 * 1024,
            processes: 8192,
            disk_mib: 40 * 1024,
            log_mib: 256,
            results_mib: 16 * 1024,
            // The largest packages of a distribution, debuginfo of browsers and kernels, reach a
            // tenth of either.
            results_unpacked_mib: 64 * 1024,
            results_files: 2_000_000,
        }
    }
}

impl Limits {
    /// Those that hold while the SRPM is made.
    #[must_use]
    pub fn for_srpm(self) -> Self {
        let seconds = self.seconds.min(self.srpm_seconds);
        Self { seconds, silence_seconds: self.silence_seconds.min(seconds), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_srpm_has_minutes() {
        let limits = Limits::default().for_srpm();
        assert_eq!((limits.seconds, limits.silence_seconds), (900, 900));
        let short = Limits { seconds: 60, ..Limits::default() }.for_srpm();
        assert_eq!((short.seconds, short.memory_mib), (60, Limits::default().memory_mib));
    }
}
