//! Following upstream: pushes are heard of, looked at, and become builds.
//!
//! Owns the two ways to hear of a push, webhooks and looks at the refs of followed repositories,
//! and what becomes of each; the decisions themselves are `core`'s. A webhook is only a hint: what is
//! built is what the tracked repository itself shows. It must not know how a build runs: it asks for
//! builds as everybody does. To read from the top:
//!
//! - `hooks` takes webhooks over HTTP: `body_permits` who may send one now, `secrets` and `verify`
//!   whether it is genuine, `followed` what it is about, `hook_batcher` that it is recorded.
//! - `poll` is the stage that looks at repositories, [`PollStage`]: `look` asks one, `hosts` how much
//!   each host is to bear, `poll_batcher` records what was seen.
//! - `decide` is the stage that makes builds of pushes, [`DecideStage`]; `plan` asks what would become of
//!   each.
//! - `exists` and `forges` ask upstream for people.

mod body_permits;
mod decide;
mod exists;
mod followed;
mod forges;
mod hook_batcher;
mod hooks;
mod hosts;
mod look;
pub mod plan;
mod poll;
mod poll_batcher;
mod secrets;
mod verify;

use std::path::Path;
use std::sync::Arc;

use rpmfarm_core::Stage;

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
use crate::work::KeyedTaskPool;
use body_permits::BodyPermits;
use followed::Repositories;
use hook_batcher::HookBatcher;
use hosts::Hosts;
use look::Looker;
use poll_batcher::PollBatcher;
use secrets::Secrets;

/// Polls under way at all hosts together: each takes a connection and little else.
const POLLS: usize = 256;

/// Who asks for the builds that follow from pushes.
pub const SUBMITTER: &str = "track";

/// Asks upstream: what polls need, and what people ask of forges. Cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Asking>);

struct Asking {
    looker: Looker,
    hosts: Hosts,
    /// Polls that are under way or being recorded, by target and package.
    polls: KeyedTaskPool<(String, String)>,
    batcher: PollBatcher,
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
            polls: KeyedTaskPool::new(Stage::Poll.as_str(), POLLS, bell.clone()),
            batcher: PollBatcher::start(),
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
    batcher: HookBatcher,
    secrets: Secrets,
    permits: BodyPermits,
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
            batcher: HookBatcher::start(store.clone(), bell),
            secrets: Secrets::open(secrets, default_secrets)?,
            permits: BodyPermits::default(),
            repositories: Repositories::default(),
        })))
    }
}
