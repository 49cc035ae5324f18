//! What a person can do about something, where that is a command of one of the programs.
//!
//! Owns which remedy there is. It must not know the command: whoever shows the remedy writes it.

use crate::BatchId;

/// What a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    StartWorker,
    /// Build the same sources of a package once more, with a higher release.
    BuildHigherRelease {
        /// Name of the package.
        package: String,
    },
    /// Enrol a worker anew.
    EnrolWorker,
    /// Let a batch that is paused go on.
    ResumeBatch {
        batch: BatchId,
    },
}
