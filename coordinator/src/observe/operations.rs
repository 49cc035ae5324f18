//! The parts of a coordinator that metrics and readiness are about.

use std::path::PathBuf;

use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::sign::SignerClient;
use crate::store::Store;
use crate::targets::Targets;
use crate::token::FarmToken;

/// What the pages of operators need. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    /// Queues, builds and leases.
    pub store: Store,
    /// The disk that must be writable.
    pub blobs: Blobs,
    /// Whose keys the signer must have.
    pub targets: Targets,
    pub fleet: Fleet,
    /// The other coordinators, and whether the database answers.
    pub peers: Peers,
    pub signer: SignerClient,
    pub metrics: Metrics,
    /// Who may read metrics where they are not open.
    pub token: FarmToken,
    /// Where the published trees lie.
    pub repos: PathBuf,
}
