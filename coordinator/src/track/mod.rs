//! Following upstream: pushes are heard of, looked at, and become builds.
//!
//! Owns the two ways to hear of a push, webhooks and looks at the refs of followed repositories,
//! and what becomes of each; the decisions themselves are `core`'s. A webhook is only a hint: what is
//! built is what the tracked repository itself shows. It must not know how a build runs: it asks for
//! builds as everybody does. To read from the top:
//!
//! - `hooks` takes webhooks over HTTP: `bodies` who may send one now, `secrets` and `verify` whether it
//!   is genuine, `followed` what it is about, `taker` that it is recorded.
//! - `poll` is the stage that looks at repositories, [`PollStage`]: `look` asks one, `hosts` how much
//!   each host is to bear, `writer` records what was seen.
//! - `decide` is the stage that makes builds of pushes, [`DecideStage`]; `plan` asks what would become of
//!   each.
//! - `exists` and `forges` ask upstream for people.

mod bodies;
mod decide;
mod exists;
mod followed;
mod forges;
mod hooks;
mod hosts;
mod look;
pub mod plan;
mod poll;
mod secrets;
mod taker;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use decide::DecideStage;
pub(crate) use exists::Existence;
pub use forges::{ForgeFailure, Listed};
pub use hooks::{Hooks, router};
pub use look::LookLimits;
pub use poll::PollStage;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::http::Http;
use crate::store::Store;
use bodies::Bodies;
use followed::Repositories;
use hosts::Hosts;
use look::Looker;
use secrets::Secrets;
use taker::Taker;
use writer::Writer;

/// Who asks for the builds that follow from pushes.
pub const SUBMITTER: &str = "track";

/// Asks upstream: what polls need, and what people ask of forges. Cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Asking>);

struct Asking {
    looker: Looker,
    hosts: Hosts,
    writer: Writer,
    /// Rings when something is due sooner than was known.
    bell: Bus,
    /// What jitter is derived from.
    seed: u64,
}

impl Tracker {
    /// Starts what writes in the background. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(clock: Clock, limits: LookLimits, seed: u64) -> anyhow::Result<Self> {
        let bell = Bus::default();
        Ok(Self(Arc::new(Asking {
            looker: Looker::new(Http::new()?, limits),
            hosts: Hosts::new(clock),
            writer: Writer::start(bell.clone()),
            bell,
            seed,
        })))
    }

    /// Rings when the pass `poll` should look again.
    #[must_use]
    pub fn bell(&self) -> Bus {
        self.0.bell.clone()
    }

    /// Has the pass `poll` look again.
    pub fn ring(&self) {
        self.0.bell.ring();
    }
}

/// Takes webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Taking>);

struct Taking {
    taker: Taker,
    secrets: Secrets,
    bodies: Bodies,
    repositories: Repositories,
}

impl Webhooks {
    /// Starts what writes in the background, and rings this bell for it. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the file of secrets holds none.
    pub fn new(
        store: &Store,
        bell: Bus,
        secrets: Option<&Path>,
        default_secrets: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Taking {
            taker: Taker::start(store.clone(), bell),
            secrets: Secrets::open(secrets, default_secrets)?,
            bodies: Bodies::default(),
            repositories: Repositories::default(),
        })))
    }
}
