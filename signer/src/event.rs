//! The entries of the log, as JSON.

use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::{AttemptId, Sha256};
use serde::{Deserialize, Serialize};

/// A line of the log, without its place in the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogEntry {
    /// The time, as RFC 3339 in UTC; a signature has the same time, in seconds.
    pub time: String,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// The log was begun.
    Began {
        /// The name of the log: a random number. It stays when a new file is begun.
        log: String,
    },
    /// A new file was begun by an operator.
    Restarted {
        /// The name of the log.
        log: String,
        reason: String,
        /// What was wrong with the old file, or its new path.
        found: String,
    },
    /// The header of a package was signed.
    Header {
        /// Name of the key.
        key: String,
        /// Fingerprint of the key, hex.
        fingerprint: String,
        /// The target that it was signed for.
        target: String,
        nevra: String,
        /// SHA-256 of the header.
        header: Sha256,
        /// SHA-256 of the unsigned file, by the request.
        artifact: Sha256,
        /// Whether the signer has read the header from that file itself.
        file_read: bool,
        /// The build that was accepted, by the request.
        build: u64,
        /// The acceptance, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accepted: Option<Accepted>,
    },
    /// A `repomd.xml` was signed.
    Repomd {
        /// Name of the key.
        key: String,
        /// Fingerprint of the key, hex.
        fingerprint: String,
        #[serde(flatten)]
        place: RepositoryId,
        revision: u64,
        /// SHA-256 of the `repomd.xml`.
        sha256: Sha256,
    },
    /// A request was refused that nobody should have made.
    Refused {
        /// Name of the key.
        key: String,
        what: String,
        reason: String,
    },
    /// An operator paused the signer.
    Paused {
        reason: String,
        /// User id of the operator.
        uid: u32,
    },
    /// An operator resumed the signer.
    Resumed,
    /// An operator let older revisions be signed.
    Reset {
        /// Name of the target.
        target: String,
        /// Name of the channel.
        channel: String,
        /// Higher revisions than this are signed.
        to: u64,
        reason: String,
        /// User id of the operator.
        uid: u32,
    },
    /// An operator let another package be signed under a NEVRA.
    Forgot {
        /// Name of the target.
        target: String,
        nevra: String,
        reason: String,
        /// User id of the operator.
        uid: u32,
    },
}

/// The accepted attempt that made a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub attempt: AttemptId,
    /// The worker that has signed its results.
    pub worker: String,
}

/// A fact that the signer remembers of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fact {
    /// A target has this header under this NEVRA.
    Package {
        /// Name of the target.
        target: String,
        nevra: String,
        /// SHA-256 of the header.
        header: Sha256,
    },
    /// A key has signed this `repomd.xml`.
    Page {
        /// Name of the key.
        key: String,
        #[serde(flatten)]
        place: RepositoryId,
        revision: u64,
        /// SHA-256 of the `repomd.xml`.
        digest: Sha256,
    },
    /// The last `repomd.xml` of a repository.
    Newest {
        #[serde(flatten)]
        place: RepositoryId,
        revision: u64,
        /// SHA-256 of the `repomd.xml`.
        digest: Sha256,
    },
    /// Revisions of a channel above this one may be signed.
    Floor {
        /// Name of the target.
        target: String,
        /// Name of the channel.
        channel: String,
        to: u64,
    },
    /// The NEVRA of a target was forgotten.
    Forgotten {
        /// Name of the target.
        target: String,
        nevra: String,
    },
}

impl Event {
    /// The fact that is remembered of the event, if any.
    #[must_use]
    pub fn fact(&self) -> Option<Fact> {
        match self.clone() {
            Self::Header { target, nevra, header, .. } => {
                Some(Fact::Package { target, nevra, header })
            }
            Self::Repomd { key, place, revision, sha256, .. } => {
                Some(Fact::Page { key, place, revision, digest: sha256 })
            }
            Self::Reset { target, channel, to, .. } => Some(Fact::Floor { target, channel, to }),
            Self::Forgot { target, nevra, .. } => Some(Fact::Forgotten { target, nevra }),
            Self::Began { .. }
            | Self::Restarted { .. }
            | Self::Refused { .. }
            | Self::Paused { .. }
            | Self::Resumed => None,
        }
    }

    /// The name of the log, if the event has it.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Began { log } | Self::Restarted { log, .. } => Some(log),
            _ => None,
        }
    }
}
