//! Following upstream: pushes are heard of, looked at, and become builds.
//!
//! Owns the two ways to hear of a push, webhooks and looks at the refs of followed repositories,
//! and the pass that decides what becomes of each; the decisions themselves are `core`'s. A
//! webhook is only a hint: what is built is what the tracked repository itself shows. It must not
//! know how a build runs: it asks for builds as everybody does.

mod bodies;
pub mod decide;
mod exists;
mod followed;
mod forges;
mod hooks;
mod hosts;
mod look;
mod pair;
pub mod plan;
pub mod poll;
mod secrets;
mod taker;
mod tip;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub(crate) use exists::Existence;
pub use forges::{ForgeFailure, Listed};
pub use hooks::router;
pub use look::LookLimits;
pub(crate) use tip::{modifications as seen_modifications, upstream as seen_upstream};

use crate::bus::Bus;
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

/// What following upstream needs beside the store. Cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Inner>);

struct Inner {
    looker: Looker,
    hosts: Hosts,
    writer: Writer,
    taker: Taker,
    secrets: Secrets,
    bodies: Bodies,
    repositories: Repositories,
    /// Rings when something is due sooner than was known.
    bell: Bus,
    /// What jitter is derived from.
    seed: u64,
}

impl Tracker {
    /// Starts what writes in the background. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be made, or the file of secrets holds none.
    pub fn new(
        store: &Store,
        secrets: Option<&Path>,
        default_secrets: &Path,
        limits: LookLimits,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let bell = Bus::default();
        Ok(Self(Arc::new(Inner {
            looker: Looker::new(Http::new()?, limits),
            hosts: Hosts::default(),
            writer: Writer::start(store.clone(), bell.clone()),
            taker: Taker::start(store.clone(), bell.clone()),
            secrets: Secrets::open(secrets, default_secrets)?,
            bodies: Bodies::default(),
            repositories: Repositories::default(),
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
