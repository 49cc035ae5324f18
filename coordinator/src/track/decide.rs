//! The stage that makes builds of pushes.
//!
//! What becomes of a push and the request that follows are recorded in one transaction; the
//! request is then made under a key that is the pushes' identity, so that making it twice makes
//! no second build.

use rpmfarm_core::queue::Class;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::{PlannedPush, SortedPlans, sort};
use rpmfarm_core::track::push::{Push, request_key};
use rpmfarm_core::track::storm::{self, Admission, Recent};
use rpmfarm_core::{BuildOptions, Stage, Target};

use super::{SUBMITTER, plan};
use crate::store::{FencedStore, NewBuild};
use crate::targets::Targets;
use crate::work;

/// Decides on every open push, and makes the requests that follow.
#[derive(Clone)]
pub struct DecideStage {
    /// What is rebuilt, and what is built without asking.
    pub targets: Targets,
}

impl work::Stage for DecideStage {
    const NAME: Stage = Stage::Decide;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for name in store.targets_pushed().await? {
            // A target with a fault in its file waits until that is mended.
            let Ok(target) = self.targets.get(&name) else { continue };
            decide_target(store, &target, now_us).await?;
        }
        for key in store.push_requests().await? {
            make_request(store, &key, now_us).await?;
        }
        Ok(())
    }
}

async fn decide_target(store: &FencedStore, target: &Target, now_us: i64) -> anyhow::Result<()> {
    let since_us = now_us - target.track.storm().window_us;
    let sorted = sort(plan::of_target(store, target, now_us).await?, since_us);
    let is_admitted = is_admitted(store, target, &sorted, now_us).await?;
    let SortedPlans { mut ends, approved: mut builds, unasked, .. } = sorted;
    if is_admitted {
        builds.extend(unasked);
    }
    let pushes: Vec<(i64, Push)> =
        builds.iter().flat_map(PlannedPush::pushes).map(|push| (push.id, push.push())).collect();
    let key = if pushes.is_empty() { String::new() } else { request_key(&target.name, &pushes) };
    ends.extend(builds.iter().flat_map(|planned| planned.ends(PushVerdict::Build, 0)));
    if !ends.is_empty() {
        store.end_pushes(&ends, &key, now_us).await?;
    }
    Ok(())
}

/// Whether what would be built without asking is built. If not, it is held as a storm.
async fn is_admitted(
    store: &FencedStore,
    target: &Target,
    sorted: &SortedPlans,
    now_us: i64,
) -> anyhow::Result<bool> {
    if sorted.unasked.is_empty() {
        return Ok(true);
    }
    let limit = target.track.storm();
    let recent = Recent {
        started: store.pushes_built_since(&target.name, now_us - limit.window_us).await?,
        held: sorted.held,
        open: store.storm(sorted.storm).await?.map(|storm| (storm.id, storm.at_us)),
    };
    let pushes: Vec<i64> = sorted.unasked.iter().map(|planned| planned.push.id).collect();
    match storm::admit(&limit, &recent, pushes.len(), now_us) {
        Admission::Start => return Ok(true),
        Admission::Join(storm) => {
            store.join_storm(storm, &pushes).await?;
            let (target, builds) = (&target.name, pushes.len());
            tracing::warn!(storm, target, builds, "more builds are held");
        }
        Admission::Hold(storm) => {
            let reason = storm.to_string();
            let id = store.add_storm(&target.name, &reason, &pushes, now_us).await?;
            tracing::warn!(storm = id, target = target.name, reason, "builds are held");
        }
    }
    Ok(false)
}

/// Makes a request that was decided on.
async fn make_request(store: &FencedStore, key: &str, now_us: i64) -> anyhow::Result<()> {
    let mut builds: Vec<NewBuild> = Vec::new();
    for (target, package, pair) in store.pushes_of(key).await? {
        if builds.iter().all(|build| build.package != package) {
            let PushPair { git_ref, modification: modification_ref } = pair;
            let (class, arches) = (Class::Tracking, Vec::new());
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
    if !builds.is_empty() {
        let started = store.start_builds(&builds, SUBMITTER, key, now_us).await?;
        tracing::info!(builds = started.ids.len(), first = started.ids[0].0, "pushes are built");
    }
    Ok(store.push_request_made(key).await?)
}
