//! Finds the channels that a bucket has to show, on the coordinator that runs the publish stage.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::Stage;

use super::view::{BucketView, ViewOutcome};
use crate::clock::Now;
use crate::peers::Peers;
use crate::publish::Publisher;
use crate::store::Store;
use crate::targets::Targets;
use crate::work::LocalPass;

/// How often the farm's own tree is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// How often the bucket is asked for a channel that has not changed here: it is tidied, and somebody
/// may have removed something.
const LOOKED_AGAIN: Duration = Duration::from_secs(60);

/// Shows all channels in a bucket.
pub struct BucketPass {
    targets: Targets,
    publisher: Publisher,
    view: BucketView,
    peers: Peers,
    /// When each channel was last shown, and with which generation.
    shown: Mutex<HashMap<(String, String), (u64, Instant)>>,
}

impl BucketPass {
    /// Shows the channels of these targets.
    #[must_use]
    pub fn new(targets: Targets, publisher: Publisher, view: BucketView, peers: Peers) -> Self {
        Self { targets, publisher, view, peers, shown: Mutex::default() }
    }

    /// Shows one channel, if it is due. When that fails, the next pass tries again.
    async fn show(&self, target: &str, channel: &str, now: Instant) -> anyhow::Result<()> {
        let Some(generation) = self.publisher.shown(target, channel)? else { return Ok(()) };
        let name = (target.to_owned(), channel.to_owned());
        if !self.is_due(&name, generation, now) {
            return Ok(());
        }
        match self.view.show(target, channel).await {
            Ok(ViewOutcome::Shown(generation)) => {
                tracing::info!(target, channel, generation, "shown in the bucket");
            }
            Ok(ViewOutcome::Nothing | ViewOutcome::Unchanged(_)) => {}
            Err(error) => {
                tracing::warn!(target, channel, %error, "not shown in the bucket");
                return Ok(());
            }
        }
        self.shown.lock().insert(name, (generation, now));
        Ok(())
    }

    /// Whether the bucket has to be asked for a channel.
    fn is_due(&self, channel: &(String, String), generation: u64, now: Instant) -> bool {
        self.shown.lock().get(channel).is_none_or(|(shown, at)| {
            *shown != generation || now.duration_since(*at) >= LOOKED_AGAIN
        })
    }
}

impl LocalPass for BucketPass {
    const NAME: &'static str = "bucket";

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        // Only the coordinator that publishes writes there; where two of them believe to be it, the
        // pointer of the channel decides.
        if self.peers.fenced(store, Stage::Publish, now.instant).is_none() {
            return Ok(());
        }
        for (name, target) in self.targets.all() {
            // A target file that is broken keeps what is shown.
            let Ok(target) = target else { continue };
            for channel in &target.channels {
                self.show(&name, channel, now.instant).await?;
            }
        }
        Ok(())
    }
}
