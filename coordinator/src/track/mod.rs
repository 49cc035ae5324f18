//! Following upstream: pushes are found, and become builds.
//!
//! Owns the two ways to hear of a push, webhooks and polls of the refs of tracked repositories, and
//! what becomes of each; the decisions themselves are `core`'s. A webhook is only a hint: the thing
//! that is built is what the tracked repository itself shows. It must not know how a build runs: it
//! asks for builds as everybody does. To read from the top:
//!
//! - `hooks` takes webhooks over HTTP: `body_permits` who may send one now, `secrets` and `verify`
//!   whether it is genuine, `tracked_repositories` what it is about, `hook_batcher` that it is
//!   recorded.
//! - `poll` is the stage that polls repositories, [`PollStage`]: `ref_poll` asks one, `hosts` how
//!   much each host is to bear, `poll_batcher` records what was seen.
//! - `decide` is the stage that makes builds of pushes, [`DecideStage`]; `plan` asks what would
//!   become of each.
//! - `existence` and `forges` ask upstream for people.

mod body_permits;
mod decide;
mod existence;
mod forges;
mod hook_batcher;
mod hooks;
mod hosts;
pub mod plan;
mod poll;
mod poll_batcher;
mod ref_poll;
mod secrets;
mod tracked_repositories;
mod verify;

use std::path::Path;
use std::sync::Arc;

use rpmfarm_core::Stage;

pub use decide::DecideStage;
pub(crate) use existence::Existence;
pub use forges::{ForgeListError, NamespaceListing};
pub use hooks::{Hooks, router};
pub use poll::PollStage;
pub use ref_poll::PollLimits;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::http::Http;
use crate::store::Store;
use crate::work::KeyedTaskPool;
use body_permits::BodyPermits;
use hook_batcher::HookBatcher;
use hosts::HostThrottles;
use poll_batcher::PollBatcher;
use ref_poll::RefPoller;
use secrets::HookSecrets;
use tracked_repositories::TrackedRepositories;

/// How many polls are under way at all hosts together; each needs a connection and little else.
const POLLS: usize = 256;

/// The submitter of builds that follow from pushes.
pub const SUBMITTER: &str = "track";

/// Asks upstream, for polls and for people. Cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Asking>);

struct Asking {
    looker: RefPoller,
    hosts: HostThrottles,
    /// Polls that are under way or are being recorded, by target and package.
    polls: KeyedTaskPool<(String, String)>,
    batcher: PollBatcher,
    /// Woken when a poll is due earlier than was known.
    bus: Bus,
    /// The seed for the random spread of polls.
    seed: u64,
}

impl Tracker {
    /// Starts the task that records polls. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(clock: Clock, limits: PollLimits, seed: u64) -> anyhow::Result<Self> {
        let bus = Bus::default();
        Ok(Self(Arc::new(Asking {
            looker: RefPoller::new(Http::new()?, limits),
            hosts: HostThrottles::new(clock),
            polls: KeyedTaskPool::new(Stage::Poll.as_str(), POLLS, bus.clone()),
            batcher: PollBatcher::start(),
            bus,
            seed,
        })))
    }

    /// Wakes the pass `poll`.
    #[must_use]
    pub fn bus(&self) -> Bus {
        self.0.bus.clone()
    }

    /// Has the pass `poll` run again.
    pub fn wake(&self) {
        self.0.bus.wake();
    }
}

/// Records webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Taking>);

struct Taking {
    batcher: HookBatcher,
    secrets: HookSecrets,
    permits: BodyPermits,
    repositories: TrackedRepositories,
}

impl Webhooks {
    /// Starts the task that records webhooks, and wakes this bus after each write. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the file of secrets is not valid.
    pub fn new(
        store: &Store,
        bus: Bus,
        secrets: Option<&Path>,
        default_secrets: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Taking {
            batcher: HookBatcher::start(store.clone(), bus),
            secrets: HookSecrets::open(secrets, default_secrets)?,
            permits: BodyPermits::default(),
            repositories: TrackedRepositories::default(),
        })))
    }
}
