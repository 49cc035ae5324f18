//! Remedies: what a person can do about a problem, as a command of one of the programs.
//!
//! Owns which remedies there are. It must not know the commands: whoever shows a remedy writes its
//! command.

use crate::BatchId;

/// What a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    StartWorker,
    /// Build the same sources of a package again, with a higher release.
    BuildHigherRelease {
        /// Name of the package.
        package: String,
    },
    /// Enrol a worker again.
    EnrolWorker,
    /// Resume a batch that is paused.
    ResumeBatch {
        batch: BatchId,
    },
}
