//! Stages and their passes: a pass runs on the coordinator that has the stage lease, with a fenced
//! store.

use std::time::Duration;

use rpmfarm_core::Timestamp;
use rpmfarm_core::next_step::NextStep;

use super::{PERIOD, run_every};
use crate::bus::Bus;
use crate::clock::{Clock, Now};
use crate::peers::Peers;
use crate::store::{FencedStore, Store};

/// A stage: a value that has the parts which its pass needs, and no others. It runs on one
/// coordinator at a time.
///
/// The store is not among the parts: each pass is given one that is fenced by the stage's lease,
/// and work that outlives the pass takes a clone of that.
pub trait Stage: Send + Sync + 'static {
    /// Its name, which is also that of its lease; one of [`crate::peers::STAGES`].
    const NAME: rpmfarm_core::Stage;

    /// One pass: does the work for facts that lack its result, or starts it, and records the
    /// result. A second run changes nothing.
    ///
    /// # Errors
    /// Errors that keep the whole pass from working. An error that affects one build is recorded or
    /// shown instead.
    fn pass(
        &self,
        store: &FencedStore,
        now: Timestamp,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The steps of builds for which a stage's pass is woken, its own first. Other changes that concern
/// it, such as new packages, wake all passes.
#[must_use]
pub const fn steps(stage: rpmfarm_core::Stage) -> &'static [NextStep] {
    use rpmfarm_core::Stage as S;
    match stage {
        S::Poll | S::Decide => &[],
        S::Import => &[NextStep::Import],
        S::Plan => &[NextStep::Plan],
        // Builds of a batch wait for others until these are accepted or claimed.
        S::Resolve => {
            &[NextStep::Lock, NextStep::Order, NextStep::Round, NextStep::Claim, NextStep::Finish]
        }
        S::Dispatch => &[NextStep::Dispatch],
        S::Accept => &[NextStep::Accept],
        S::Sign | S::Publish => &[NextStep::Finish],
    }
}

/// A pass that each coordinator runs for the workers and callers that are connected to it. It has
/// no lease: where two of them might do the same, a transaction decides who was first.
pub trait LocalPass: Send + Sync + 'static {
    /// Its name, for the log.
    const NAME: &'static str;

    /// Whether it runs while the database does not answer, too.
    const WHILE_DOWN: bool = false;

    /// The longest time between two runs.
    fn period(&self) -> Duration {
        PERIOD
    }

    /// One pass, as [`Stage::pass`].
    ///
    /// # Errors
    /// Errors that keep the whole pass from working.
    fn pass(&self, store: &Store, now: Now) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The parts that every pass is run with.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Say which stages this coordinator runs, and whether the database answers.
    pub peers: Peers,
    /// The store, which stages get with a fence.
    pub store: Store,
    /// The clock for the time at which a pass begins.
    pub clock: Clock,
}

impl Runner {
    /// Runs the pass of a stage whenever the bus is woken, while this coordinator has the stage
    /// lease.
    pub async fn stage<S: Stage>(self, stage: S, bus: Bus) {
        let (runner, stage) = (&self, &stage);
        run_every(S::NAME.as_str(), PERIOD, bus, move || runner.pass(stage)).await;
    }

    /// Runs the pass of a stage once; does nothing while another coordinator has the lease.
    ///
    /// # Errors
    /// Those of the pass.
    pub async fn pass<S: Stage>(&self, stage: &S) -> anyhow::Result<()> {
        let now = self.clock.now();
        match self.peers.fenced(&self.store, S::NAME, now.instant) {
            Some(store) => stage.pass(&store, now.time).await,
            None => Ok(()),
        }
    }

    /// Runs a local pass whenever the bus is woken.
    pub async fn local<P: LocalPass>(self, pass: P, bus: Bus) {
        let (runner, pass) = (&self, &pass);
        run_every(P::NAME, pass.period(), bus, move || async move {
            if !P::WHILE_DOWN && runner.peers.database_down().is_some() {
                return Ok(());
            }
            pass.pass(&runner.store, runner.clock.now()).await
        })
        .await;
    }
}
