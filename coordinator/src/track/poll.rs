//! The poll stage, which polls tracked packages when they are due: after a webhook at once,
//! otherwise by their schedule, and never more at once than the limits of a host allow.
//!
//! One poll reads a package and its modifications, one after the other, so that pushes to both are
//! observed together.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rpmfarm_core::track::host::{HostLimits, HostResponse};
use rpmfarm_core::track::poll::{ModificationsTip, PollOutcome, PolledPackage, WebhookHint};
use rpmfarm_core::track::schedule::Jitter;
use rpmfarm_core::track::seen::TrackRef;
use rpmfarm_core::track::{RefQuery, RefTip};
use rpmfarm_core::{Stage, Target, Timestamp};

use super::ref_poll::PollError;
use super::{POLLS, Tracker};
use crate::clock::Clock;
use crate::http::host_of;
use crate::store::{FencedStore, PollResult, StoreError, TrackedPackage};
use crate::targets::Targets;
use crate::work;

/// Polls every package that is due, as far as the limits of its host allow.
#[derive(Clone)]
pub struct PollStage {
    pub targets: Targets,
    pub tracker: Tracker,
    pub clock: Clock,
}

impl work::Stage for PollStage {
    const NAME: Stage = Stage::Poll;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for (name, loaded) in self.targets.all() {
            let Ok(target) = loaded else { continue };
            self.start_due(store, &name, &target, now).await?;
        }
        Ok(())
    }
}

impl PollStage {
    async fn start_due(
        &self,
        store: &FencedStore,
        name: &str,
        target: &Arc<Target>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tracker = &self.tracker.0;
        let asked = PollHosts::for_target(target, tracker);
        let under_way = tracker.polls.keys();
        let busy = under_way.len();
        let room = asked.room(tracker).min(POLLS.saturating_sub(busy));
        if room == 0 {
            return Ok(());
        }
        // Polls that are under way are still due and come first in the list.
        let due = store.tracked_list_due(name, now, room + busy).await?;
        let mut started = 0;
        for row in due {
            let key = (row.target.clone(), row.package.clone());
            // A poll that ended while the list was read is on it as it was before, and is not due
            // any more.
            if started == room || under_way.contains(&key) {
                continue;
            }
            let Some(slot) = tracker.polls.reserve(key) else { continue };
            started += 1;
            asked.start(tracker);
            let poll = PackagePoll {
                store: store.clone(),
                tracker: self.tracker.clone(),
                clock: self.clock,
                target: target.clone(),
                asked: asked.clone(),
                row,
            };
            slot.spawn(poll.run().map(Ok));
        }
        Ok(())
    }
}

/// The hosts of a target's repositories, which do not depend on the package.
#[derive(Debug, Clone)]
struct PollHosts {
    upstream: String,
    /// The host of the modifications, if it is another one that may be asked now.
    other: Option<String>,
    /// Whether the modifications must not be asked for now, because their host is left alone.
    rests: bool,
    limits: HostLimits,
}

impl PollHosts {
    fn for_target(target: &Target, tracker: &super::Asking) -> Self {
        let upstream = host_of(&target.git_url("x"));
        let modifications = target.modifications.as_ref();
        let other = modifications.map(|m| host_of(&m.url.expand(&[("name", "x")])));
        let other = other.filter(|other| *other != upstream);
        let rests = other.as_ref().is_some_and(|other| tracker.hosts.rests(other));
        let other = other.filter(|_| !rests);
        Self { upstream, other, rests, limits: target.track.host_limits() }
    }

    /// How many polls may be started now.
    fn room(&self, tracker: &super::Asking) -> usize {
        let room = tracker.hosts.room(&self.upstream, &self.limits);
        let other = self.other.as_ref().map(|other| tracker.hosts.room(other, &self.limits));
        other.map_or(room, |other| other.min(room))
    }

    fn start(&self, tracker: &super::Asking) {
        tracker.hosts.start(&self.upstream, &self.limits);
        if let Some(other) = &self.other {
            tracker.hosts.start(other, &self.limits);
        }
    }
}

/// One poll that is under way.
struct PackagePoll {
    store: FencedStore,
    tracker: Tracker,
    clock: Clock,
    target: Arc<Target>,
    asked: PollHosts,
    row: TrackedPackage,
}

impl PackagePoll {
    async fn run(self) {
        let began = self.clock.time();
        let inner = &self.tracker.0;
        let turn = self.row.polls.unsigned_abs();
        let jitter = Jitter::new(inner.seed, &self.row.package, turn);
        let upstream = self.upstream().await;
        let answer = upstream.as_ref().err().map_or(HostResponse::Well, PollError::answer);
        // Upstream cannot be read: its modifications are not asked for.
        let (modified, other) = match &upstream {
            Ok(_) => self.modifications().await,
            Err(_) => (ModificationsTip::Nowhere, HostResponse::Well),
        };
        match &self.asked.other {
            Some(host) => {
                inner.hosts.end(&self.asked.upstream, answer, jitter);
                inner.hosts.end(host, other, jitter);
            }
            None if answer == HostResponse::Well => {
                inner.hosts.end(&self.asked.upstream, other, jitter)
            }
            None => inner.hosts.end(&self.asked.upstream, answer, jitter),
        }
        let result = self.result(upstream, modified, began, jitter).await;
        inner.batcher.record(self.store.clone(), result).await;
    }

    /// The result of the poll.
    async fn result(
        &self,
        upstream: Result<(String, Option<RefTip>), PollError>,
        modified: ModificationsTip,
        began: Timestamp,
        jitter: Jitter,
    ) -> PollResult {
        let row = &self.row;
        let seen =
            self.store.track_ref_list(&row.target, &row.package).await.unwrap_or_else(|error| {
                // Recording will fail as well, and then the poll is repeated.
                tracing::warn!(%error, "the last seen commits are unknown");
                Vec::new()
            });
        let polled = self.polled(&seen);
        let now = self.clock.time();
        let outcome = match upstream {
            Ok((git_ref, tip)) => polled.answered(&git_ref, tip, modified, jitter, now),
            Err(error) => {
                tracing::debug!(target = row.target, package = row.package, %error, "poll failed");
                polled.failed(&error.to_string(), error.answer(), jitter, now)
            }
        };
        let PollOutcome { next, failures, problem, hinted, observations } = outcome;
        PollResult {
            target: row.target.clone(),
            package: row.package.clone(),
            sequence: row.polls,
            began,
            at: now,
            due: next.due,
            interval: next.interval,
            failures,
            problem,
            hinted,
            observations,
        }
    }

    fn polled<'a>(&'a self, seen: &'a [TrackRef]) -> PolledPackage<'a> {
        let row = &self.row;
        let hint = row.hinted_at.map(|hinted_at| WebhookHint {
            hinted_at,
            commit: &row.hint_commit,
            modification: &row.hint_modification,
        });
        PolledPackage {
            target: &self.target,
            package: &row.package,
            git_ref: &row.git_ref,
            build_first: row.build_first,
            interval: row.interval,
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
            hint,
            seen,
        }
    }

    /// Polls the package: the ref, and the commit that it points to.
    async fn upstream(&self) -> Result<(String, Option<RefTip>), PollError> {
        let asked = Some(self.row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
        let git_ref = self
            .target
            .git_ref(&self.row.package, asked)
            .map_err(|error| PollError::Repository(error.to_string()))?;
        let question = RefQuery::for_ref(&git_ref, &self.row.package);
        let repository = self.target.git_url(&self.row.package);
        let looker = &self.tracker.0.looker;
        let tip = looker.poll(&repository, &question, &self.target.private_hosts).await?;
        Ok((git_ref, tip))
    }

    /// Polls the modifications, and returns what the answer means for the limits of their host.
    async fn modifications(&self) -> (ModificationsTip, HostResponse) {
        let Some((repository, branch)) = self.target.modifications_of(&self.row.package) else {
            return (ModificationsTip::Nowhere, HostResponse::Well);
        };
        let inner = &self.tracker.0;
        if self.asked.rests {
            let why = format!("{} fails and is left alone for now", host_of(&repository));
            return (ModificationsTip::Hidden(why), HostResponse::Well);
        }
        if self.asked.other.is_none() {
            inner.hosts.go_on(&self.asked.upstream, &self.asked.limits);
        }
        let question = RefQuery::name(&branch);
        match inner.looker.poll(&repository, &question, &self.target.private_hosts).await {
            Ok(tip) => {
                let commit = tip.map(|tip| tip.commit);
                (ModificationsTip::At { repository, branch, commit }, HostResponse::Well)
            }
            Err(PollError::Missing(_)) => {
                (ModificationsTip::At { repository, branch, commit: None }, HostResponse::Well)
            }
            Err(error) => (ModificationsTip::Hidden(error.to_string()), error.answer()),
        }
    }
}
