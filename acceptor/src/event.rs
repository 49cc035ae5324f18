//! The entries of the log, as JSON.

use rpmfarm_core::statement::PublicKey;
use rpmfarm_core::{AttemptId, BuildId, Sha256, TaskId};
use serde::{Deserialize, Serialize};

/// A line of the log, without its place in the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// The log was begun.
    Began { key: PublicKey },
    /// The key of a worker is trusted from now on.
    Worker {
        worker: String,
        key: PublicKey,
        /// Whether an operator did that; otherwise it was the first key of that name.
        by_hand: bool,
    },
    /// A package was accepted.
    Package {
        /// Name of the target.
        target: String,
        build: BuildId,
        /// The attempt that made it.
        attempt: AttemptId,
        worker: String,
        nevra: String,
        /// SHA-256 of its file.
        file: Sha256,
        /// SHA-256 of its main header.
        header: Sha256,
    },
    /// All packages of an attempt were accepted: those of the lines before.
    Attempt {
        task: TaskId,
        attempt: AttemptId,
        /// Digest of its results.
        set: Sha256,
        /// Digest of its input, as the worker signed it.
        input: Sha256,
        /// The trusted key of the worker.
        key: PublicKey,
        /// The time of the acceptances, in seconds since 1970.
        at: u64,
    },
    /// Something was not accepted.
    Denied {
        /// The worker that the request named.
        worker: String,
        attempt: AttemptId,
        reason: String,
    },
    /// An operator let attempts be accepted again.
    Forgot {
        /// The first of these attempts.
        from: AttemptId,
        reason: String,
        /// User id of the operator.
        uid: u32,
    },
}

impl Entry {
    /// An entry with the present time.
    #[must_use]
    pub fn now(event: Event) -> Self {
        Self { time: jiff::Timestamp::now().to_string(), event }
    }
}
