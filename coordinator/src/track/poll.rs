//! The stage that looks at what is followed, when it is due: after a webhook at once, else by its schedule, and
//! never more at once than a host is to bear.
//!
//! One look is at a package and at its modifications, one after the other: what was pushed to
//! both is seen together.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rpmfarm_core::track::host::{Answer, HostLimits};
use rpmfarm_core::track::poll::{ModificationsTip, PollOutcome, PolledPackage, WebhookHint};
use rpmfarm_core::track::schedule::Jitter;
use rpmfarm_core::track::seen::TrackRef;
use rpmfarm_core::track::{Question, Tip};
use rpmfarm_core::{Stage, Target};

use super::look::LookError;
use super::{POLLS, Tracker};
use crate::clock::Clock;
use crate::http::host_of;
use crate::store::{FencedStore, Looked, StoreError, Tracked};
use crate::targets::Targets;
use crate::work;

/// Asks for every package whose time has come, as far as its host has room.
#[derive(Clone)]
pub struct PollStage {
    /// What is rebuilt.
    pub targets: Targets,
    /// Asks upstream.
    pub tracker: Tracker,
    /// What time it has become.
    pub clock: Clock,
}

impl work::Stage for PollStage {
    const NAME: Stage = Stage::Poll;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for (name, loaded) in self.targets.all() {
            let Ok(target) = loaded else { continue };
            self.start_due(store, &name, &target, now_us).await?;
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
        now_us: i64,
    ) -> Result<(), StoreError> {
        let tracker = &self.tracker.0;
        let asked = Asked::of(target, tracker);
        let under_way = tracker.polls.keys();
        let busy = under_way.len();
        let room = asked.room(tracker).min(POLLS.saturating_sub(busy));
        if room == 0 {
            return Ok(());
        }
        // Those that are under way are still due and come first.
        let due = store.tracked_due(name, now_us, room + busy).await?;
        let mut started = 0;
        for row in due {
            let key = (row.target.clone(), row.package.clone());
            // One that ended while the list was read is on it as it was before: it is due no more.
            if started == room || under_way.contains(&key) {
                continue;
            }
            let Some(slot) = tracker.polls.reserve(key) else { continue };
            started += 1;
            asked.start(tracker);
            let look = OneLook {
                store: store.clone(),
                tracker: self.tracker.clone(),
                clock: self.clock,
                target: target.clone(),
                asked: asked.clone(),
                row,
            };
            slot.spawn(look.run().map(Ok));
        }
        Ok(())
    }
}

/// The hosts of a target's repositories, which do not depend on the package.
#[derive(Debug, Clone)]
struct Asked {
    upstream: String,
    /// The host of the modifications, where that is another one and not resting.
    other: Option<String>,
    /// Whether the modifications are not to be asked for now.
    rests: bool,
    limits: HostLimits,
}

impl Asked {
    fn of(target: &Target, tracker: &super::Asking) -> Self {
        let upstream = host_of(&target.git_url("x"));
        let modifications = target.modifications.as_ref();
        let other = modifications.map(|m| host_of(&m.url.expand(&[("name", "x")])));
        let other = other.filter(|other| *other != upstream);
        let rests = other.as_ref().is_some_and(|other| tracker.hosts.rests(other));
        let other = other.filter(|_| !rests);
        Self { upstream, other, rests, limits: target.track.host_limits() }
    }

    /// How many looks may be started now.
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

/// One look that is under way.
struct OneLook {
    store: FencedStore,
    tracker: Tracker,
    clock: Clock,
    target: Arc<Target>,
    asked: Asked,
    row: Tracked,
}

impl OneLook {
    async fn run(self) {
        let began_us = self.clock.now_us();
        let inner = &self.tracker.0;
        let turn = self.row.looks.unsigned_abs();
        let jitter = Jitter::new(inner.seed, &self.row.package, turn);
        let upstream = self.upstream().await;
        let answer = upstream.as_ref().err().map_or(Answer::Well, LookError::answer);
        // Upstream cannot be read: its modifications are not asked for.
        let (modified, other) = match &upstream {
            Ok(_) => self.modifications().await,
            Err(_) => (ModificationsTip::Nowhere, Answer::Well),
        };
        match &self.asked.other {
            Some(host) => {
                inner.hosts.end(&self.asked.upstream, answer, jitter);
                inner.hosts.end(host, other, jitter);
            }
            None if answer == Answer::Well => inner.hosts.end(&self.asked.upstream, other, jitter),
            None => inner.hosts.end(&self.asked.upstream, answer, jitter),
        }
        let looked = self.looked(upstream, modified, began_us, jitter).await;
        inner.batcher.record(self.store.clone(), looked).await;
    }

    /// What the poll has led to.
    async fn looked(
        &self,
        upstream: Result<(String, Option<Tip>), LookError>,
        modified: ModificationsTip,
        began_us: i64,
        jitter: Jitter,
    ) -> Looked {
        let row = &self.row;
        let seen = self.store.seen(&row.target, &row.package).await.unwrap_or_else(|error| {
            // Recording will fail as well, and the poll is repeated.
            tracing::warn!(%error, "what was seen before is not known");
            Vec::new()
        });
        let polled = self.polled(&seen);
        let now_us = self.clock.now_us();
        let outcome = match upstream {
            Ok((git_ref, tip)) => polled.answered(&git_ref, tip, modified, jitter, now_us),
            Err(error) => {
                tracing::debug!(target = row.target, package = row.package, %error, "look failed");
                polled.failed(&error.to_string(), error.answer(), jitter, now_us)
            }
        };
        let PollOutcome { next, failures, problem, hinted, saw } = outcome;
        Looked {
            target: row.target.clone(),
            package: row.package.clone(),
            turn: row.looks,
            began_us,
            at_us: now_us,
            due_us: next.due_us,
            interval_us: next.interval_us,
            failures,
            problem,
            hinted,
            saw,
        }
    }

    fn polled<'a>(&'a self, seen: &'a [TrackRef]) -> PolledPackage<'a> {
        let row = &self.row;
        let hint = WebhookHint {
            told_us: row.hint_us,
            commit: &row.hint_commit,
            modification: &row.hint_modification,
        };
        PolledPackage {
            target: &self.target,
            package: &row.package,
            git_ref: &row.git_ref,
            build_first: row.build_first,
            interval_us: row.interval_us,
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
            hint: Some(hint).filter(|hint| hint.told_us != 0),
            seen,
        }
    }

    /// What is asked for, and what it points to.
    async fn upstream(&self) -> Result<(String, Option<Tip>), LookError> {
        let asked = Some(self.row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
        let git_ref = self
            .target
            .git_ref(&self.row.package, asked)
            .map_err(|error| LookError::Repository(error.to_string()))?;
        let question = Question::of(&git_ref, &self.row.package);
        let repository = self.target.git_url(&self.row.package);
        let looker = &self.tracker.0.looker;
        let tip = looker.look(&repository, &question, &self.target.private_hosts).await?;
        Ok((git_ref, tip))
    }

    /// What there is of modifications, and what that says of their host.
    async fn modifications(&self) -> (ModificationsTip, Answer) {
        let Some((repository, branch)) = self.target.modifications_of(&self.row.package) else {
            return (ModificationsTip::Nowhere, Answer::Well);
        };
        let inner = &self.tracker.0;
        if self.asked.rests {
            let why = format!("{} fails and is left alone for now", host_of(&repository));
            return (ModificationsTip::Hidden(why), Answer::Well);
        }
        if self.asked.other.is_none() {
            inner.hosts.go_on(&self.asked.upstream, &self.asked.limits);
        }
        let question = Question::name(&branch);
        match inner.looker.look(&repository, &question, &self.target.private_hosts).await {
            Ok(tip) => {
                let commit = tip.map(|tip| tip.commit);
                (ModificationsTip::At { repository, branch, commit }, Answer::Well)
            }
            Err(LookError::Missing(_)) => {
                (ModificationsTip::At { repository, branch, commit: None }, Answer::Well)
            }
            Err(error) => (ModificationsTip::Hidden(error.to_string()), error.answer()),
        }
    }
}
