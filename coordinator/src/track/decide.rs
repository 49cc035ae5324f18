//! The decide stage, which turns pushes into builds.
//!
//! The verdict on a push and the key of the request that follows are recorded in one transaction.
//! The request is made afterwards under that key, which identifies the pushes, so that making it
//! twice makes no second build.

use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::{PlannedPush, SortedPlans, sort};
use rpmfarm_core::track::push::{Push, request_key};
use rpmfarm_core::track::storm::{self, RecentBuilds, StormDecision};
use rpmfarm_core::{BuildOptions, PushId, Stage, Target, Timestamp};

use super::{SUBMITTER, plan};
use crate::store::{BuildRequest, FencedStore, NewBuild};
use crate::targets::Targets;
use crate::work;

/// Decides on every open push, and makes the requests that follow.
#[derive(Clone)]
pub struct DecideStage {
    /// The targets, with their policies.
    pub targets: Targets,
}

impl work::Stage for DecideStage {
    const NAME: Stage = Stage::Decide;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for name in store.push_list_targets().await? {
            // A target whose file is not valid waits until the file is repaired.
            let Ok(target) = self.targets.get(&name) else { continue };
            decide_target(store, &target, now).await?;
        }
        for key in store.push_request_list().await? {
            make_request(store, &self.targets, &key, now).await?;
        }
        Ok(())
    }
}

async fn decide_target(store: &FencedStore, target: &Target, now: Timestamp) -> anyhow::Result<()> {
    let since = now - target.track.storm().window;
    let sorted = sort(plan::for_target(store, target, now).await?, since);
    let is_admitted = is_admitted(store, target, &sorted, now).await?;
    let SortedPlans { mut ends, approved: mut builds, unasked, .. } = sorted;
    if is_admitted {
        builds.extend(unasked);
    }
    let pushes: Vec<(PushId, Push)> =
        builds.iter().flat_map(PlannedPush::pushes).map(|push| (push.id, push.push())).collect();
    let key = if pushes.is_empty() { String::new() } else { request_key(&target.name, &pushes) };
    ends.extend(builds.iter().flat_map(|planned| planned.ends(PushVerdict::Build, None)));
    if !ends.is_empty() {
        store.push_end(&ends, &key, now).await?;
    }
    Ok(())
}

/// Whether builds that need no approval are started. If there are too many, they are held as a
/// storm.
async fn is_admitted(
    store: &FencedStore,
    target: &Target,
    sorted: &SortedPlans,
    now: Timestamp,
) -> anyhow::Result<bool> {
    if sorted.unasked.is_empty() {
        return Ok(true);
    }
    let limit = target.track.storm();
    let open = match sorted.storm {
        Some(storm) => store.storm_fetch(storm).await?.map(|storm| (storm.id, storm.at)),
        None => None,
    };
    let recent = RecentBuilds {
        started: store.push_count_built_since(&target.name, now - limit.window).await?,
        held: sorted.held,
        open,
    };
    let pushes: Vec<PushId> = sorted.unasked.iter().map(|planned| planned.push.id).collect();
    match storm::admit(&limit, &recent, pushes.len(), now) {
        StormDecision::Start => return Ok(true),
        StormDecision::Join(storm) => {
            store.storm_join(storm, &pushes).await?;
            let (target, builds) = (&target.name, pushes.len());
            tracing::warn!(storm = storm.0, target, builds, "more builds are held");
        }
        StormDecision::Hold(storm) => {
            let reason = storm.to_string();
            let id = store.storm_insert(&target.name, &reason, &pushes, now).await?;
            tracing::warn!(storm = id.0, target = target.name, reason, "builds are held");
        }
    }
    Ok(false)
}

/// Makes a request that was decided on.
async fn make_request(
    store: &FencedStore,
    targets: &Targets,
    key: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut builds: Vec<NewBuild> = Vec::new();
    for (target, package, pair) in store.push_list_of_request(key).await? {
        if builds.iter().all(|build| build.package != package) {
            let PushPair { git_ref, modification: modification_ref } = pair;
            let (class, arches) = (PriorityClass::Tracking, Vec::new());
            let options = BuildOptions::default();
            builds.push(NewBuild {
                target,
                package,
                git_ref,
                modification_ref,
                class,
                arches,
                options,
            });
        }
    }
    if let Some(first) = builds.first() {
        // All of a request are of one target.
        let order = targets.get(&first.target).map(|target| target.order).unwrap_or_default();
        let request =
            BuildRequest { builds: &builds, submitter: SUBMITTER, key, bump: false, order };
        let started = store.build_insert_request(&request, now).await?;
        tracing::info!(builds = started.ids.len(), first = started.ids[0].0, "pushes are built");
    }
    Ok(store.push_request_finish(key).await?)
}
