//! Asks the external repositories for new metadata, periodically and when the resolve stage has
//! moved to this coordinator.

use std::time::{Duration, Instant};

use rpmfarm_core::{Stage, Target};

use super::batches::Batches;
use super::{AgePolicy, Resolver};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::store::FencedStore;
use crate::targets::Targets;
use crate::work::{CoalescedTasks, Runner};

/// How often external repositories are asked.
const REFRESH: Duration = Duration::from_secs(600);

/// How often it is checked whether the resolve stage has moved to this coordinator.
const PERIOD: Duration = Duration::from_secs(5);

/// Refreshes the metadata of external repositories. Cheap to clone.
#[derive(Clone)]
pub struct Refresh {
    /// The targets, which name the repositories.
    pub targets: Targets,
    pub resolver: Resolver,
    /// The batches whose waiting tasks were solved with the old metadata.
    pub batches: Batches,
    /// Woken when there are new metadata.
    pub bus: Bus,
    pub clock: Clock,
    /// The refreshes of the targets, side by side.
    pub refreshes: CoalescedTasks<String>,
}

impl Refresh {
    /// Refreshes periodically while this coordinator runs the resolve stage, until the task is
    /// dropped.
    pub async fn run(self, runner: Runner) {
        let mut last = None::<Instant>;
        loop {
            let now = self.clock.instant();
            match runner.peers.fenced(&runner.store, Stage::Resolve, now) {
                Some(store) if last.is_none_or(|last| now.duration_since(last) >= REFRESH) => {
                    self.pass(&store).await;
                    last = Some(self.clock.instant());
                }
                Some(_) => {}
                None => last = None,
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Asks the repositories of every target that is built, each target's side by side.
    pub async fn pass(&self, store: &FencedStore) {
        for name in store.target_list_built().await.unwrap_or_default() {
            let Ok(target) = self.targets.get(&name) else { continue };
            let refresh = self.clone();
            self.refreshes.ask(name, move || {
                let (refresh, target) = (refresh.clone(), target.clone());
                async move {
                    refresh.target(&target).await;
                    Ok(())
                }
            });
        }
    }

    async fn target(&self, target: &Target) {
        for arch in &target.arches {
            let now = self.clock.system();
            match self.resolver.refresh(target, *arch, AgePolicy::Refuse, now).await {
                Ok(true) => {
                    tracing::info!(target = target.name, %arch, "repositories have changed");
                    self.batches.touch_all(&target.name).await;
                    self.bus.wake();
                }
                Ok(false) => {}
                Err(errors) => {
                    for error in errors {
                        tracing::warn!(
                            target = target.name,
                            %arch,
                            "a repository could not be refreshed: {error}"
                        );
                    }
                }
            }
        }
    }
}
