//! The parts of a coordinator that metrics and readiness show.

use std::path::PathBuf;

use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::sign::SignerClient;
use crate::store::Store;
use crate::targets::Targets;
use crate::token::FarmToken;

/// The parts that the pages for operators need. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    /// Queues, builds and leases.
    pub store: Store,
    /// The disk that must be writable.
    pub blobs: Blobs,
    /// Name the keys that the signer must have.
    pub targets: Targets,
    pub fleet: Fleet,
    /// The other coordinators, and whether the database answers.
    pub peers: Peers,
    pub signer: SignerClient,
    pub metrics: Metrics,
    /// Opens the metrics where they are not open to everybody.
    pub token: FarmToken,
    /// The directory of the published repositories.
    pub repos: PathBuf,
}
