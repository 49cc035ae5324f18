//! The stage that makes builds of pushes.
//!
//! What becomes of a push and the request that follows are recorded in one transaction; the
//! request is then made under a key that is the pushes' identity, so that making it twice makes
//! no second build.

use rpmfarm_core::queue::Class;
use rpmfarm_core::track::push::{Push, request_key};
use rpmfarm_core::track::storm::{self, Admission, Recent};
use rpmfarm_core::track::{PushVerdict, Verdict};
use rpmfarm_core::{BuildOptions, Stage, Target};

use super::SUBMITTER;
use super::plan::{self, Planned};
use crate::store::{FencedStore, NewBuild, PushEnd, PushPair};
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
    let mut ends = Vec::new();
    let mut builds = Vec::new();
    let mut unasked = Vec::new();
    let limit = target.track.storm();
    let since_us = now_us - limit.window_us;
    let mut recent = Recent::default();
    let mut storm = 0;
    for planned in plan::of_target(store, target, now_us).await? {
        if planned.moot {
            ends.extend(end(&planned, PushVerdict::Removed, 0));
            continue;
        }
        match planned.verdict {
            Verdict::Done(build) => ends.extend(end(&planned, PushVerdict::Done, build.0)),
            Verdict::Build if planned.push.approved_us != 0 => builds.push(planned),
            Verdict::Build => unasked.push(planned),
            Verdict::Storm(id) => {
                storm = storm.max(id);
                recent.held += usize::from(planned.push.seen_us > since_us);
            }
            _ => {}
        }
    }
    if !unasked.is_empty() {
        recent.started = store.pushes_built_since(&target.name, since_us).await?;
        recent.open = store.storm(storm).await?.map(|storm| (storm.id, storm.at_us));
        let pushes: Vec<i64> = unasked.iter().map(|planned| planned.push.id).collect();
        match storm::admit(&limit, &recent, unasked.len(), now_us) {
            Admission::Start => builds.append(&mut unasked),
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
    }
    let of = |planned: &Planned| -> Vec<(i64, Push)> {
        let pushes = std::iter::once(&planned.push).chain(&planned.beside);
        pushes.map(|push| (push.id, push.push())).collect()
    };
    let pushes: Vec<(i64, Push)> = builds.iter().flat_map(of).collect();
    let key = if pushes.is_empty() { String::new() } else { request_key(&target.name, &pushes) };
    ends.extend(builds.iter().flat_map(|planned| end(planned, PushVerdict::Build, 0)));
    if !ends.is_empty() {
        store.end_pushes(&ends, &key, now_us).await?;
    }
    Ok(())
}

/// The end of a push, of the one that is built with it, and of those that they stand for.
fn end(planned: &Planned, verdict: PushVerdict, build: i64) -> Vec<PushEnd> {
    let older = match verdict {
        PushVerdict::Removed => PushVerdict::Removed,
        _ => PushVerdict::Superseded,
    };
    let pair = (verdict == PushVerdict::Build).then(|| planned.pair.to_build());
    let newest = std::iter::once(&planned.push).chain(&planned.beside);
    let mut ends: Vec<_> =
        newest.map(|push| PushEnd { push: push.id, verdict, build, pair: pair.clone() }).collect();
    let superseded = |push: &i64| PushEnd { push: *push, verdict: older, build: 0, pair: None };
    ends.extend(planned.older.iter().map(superseded));
    ends
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
