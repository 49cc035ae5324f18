//! What the stages and the API share: the store, the blobs, and the engines of the stages.
//!
//! Owns no rule and no state of its own; whoever holds it can reach what the farm has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rpmfarm_core::Target;

use crate::accept::AcceptorClient;
use crate::blobs::Blobs;
use crate::bus::{Bus, Voice};
use crate::claims::Bases;
use crate::dispatch::heads::Further;
use crate::fleet::Fleet;
use crate::identity::Connections;
use crate::identity::Enrolment;
use crate::import::Importer;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::publish::Publisher;
use crate::resolve::Resolver;
use crate::scrub::Damaged;
use crate::sign::SignerClient;
use crate::store::{Build, Store};
use crate::streams::Streams;
use crate::targets::Targets;
use crate::token::Token;
use crate::track::Tracker;
use crate::waits::Waits;

/// The farm. Cheap to clone.
#[derive(Clone)]
pub struct Farm {
    /// Facts.
    pub store: Store,
    /// Files by digest.
    pub blobs: Blobs,
    /// Those that were found damaged.
    pub damaged: Damaged,
    /// Logs of attempts.
    pub logs: Logs,
    /// What is rebuilt.
    pub targets: Targets,
    /// What was heard of the workers.
    pub fleet: Fleet,
    /// How far queues were read.
    pub further: Further,
    /// Rings when a fact was written.
    pub bus: Bus,
    /// This coordinator among the others.
    pub peers: Peers,
    /// Tells the others.
    pub voice: Voice,
    /// Rings when a worker has reported, be it only a phase.
    pub progress: Bus,
    /// Rings when a log has grown.
    pub log_bell: Bus,
    /// The secret of calls that write.
    pub token: Token,
    /// Makes hosts workers; none without TLS.
    pub enrolment: Option<Arc<Enrolment>>,
    /// The connections of workers with certificates.
    pub connections: Connections,
    /// The streams that callers have.
    pub streams: Streams,
    /// Why builds wait, as the passes last saw it.
    pub waits: Waits,
    /// What operators see.
    pub metrics: Metrics,
    /// Fetches sources.
    pub importer: Importer,
    /// Hears of pushes.
    pub tracker: Tracker,
    /// Solves roots.
    pub resolver: Resolver,
    /// Who has the files of base roots.
    pub bases: Bases,
    /// Asks for acceptances; none where the coordinator's own verdict is enough.
    pub acceptor: Option<AcceptorClient>,
    /// Asks for signatures.
    pub signer: SignerClient,
    /// Makes repositories.
    pub publisher: Publisher,
    /// The largest result file that is taken, in bytes.
    pub max_result_bytes: u64,
    /// Where the published trees lie.
    pub repos: PathBuf,
    /// The address under which users reach this farm, without a slash at its end.
    pub base_url: Arc<str>,
}

impl Farm {
    /// The definition of a build's target, with the options that the build was asked for with.
    ///
    /// # Errors
    /// When the target cannot be used; database errors.
    pub async fn target_of(&self, build: &Build) -> anyhow::Result<Arc<Target>> {
        let target = self.targets.get(&build.target)?;
        let options = self.store.build_options(build.id()).await?;
        if options.is_nothing() {
            return Ok(target);
        }
        Ok(Arc::new(target.for_build(&build.package, &options)))
    }

    /// The farm for work on a stage: whatever it writes stands behind the stage's lease. `None`
    /// when the stage is not this coordinator's to run now.
    #[must_use]
    pub fn for_stage(&self, stage: &'static str, now: Instant) -> Option<Self> {
        let fence = self.peers.fence(stage, now)?;
        Some(Self { store: self.store.behind(fence), ..self.clone() })
    }
}
