//! The stage that polls tracked packages when they are due: after a webhook at once, else by its schedule, and
//! never more at once than a host is to bear.
//!
//! One poll reads a package and its modifications, one after the other: what was pushed to
//! both is seen together.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rpmfarm_core::track::host::{Answer, HostLimits};
use rpmfarm_core::track::push::{Before, Change, Push, change};
use rpmfarm_core::track::schedule::{Jitter, Look, next};
use rpmfarm_core::track::{Pattern, Question, Tip};
use rpmfarm_core::{Stage, Target};

use super::look::LookError;
use super::{POLLS, Tracker, tip};
use crate::clock::Clock;
use crate::http::host_of;
use crate::store::{FencedStore, Looked, Saw, Seen, StoreError, Tracked};
use crate::targets::Targets;
use crate::work;

/// A webhook is believed for so long while the server shows something else, in microseconds.
const BELIEVED_US: i64 = 120_000_000;

/// Asks for every package whose time has come, as far as its host has room.
#[derive(Clone)]
pub struct PollStage {
    pub targets: Targets,
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
struct OneLook {
    store: FencedStore,
    tracker: Tracker,
    clock: Clock,
    target: Arc<Target>,
    asked: Asked,
    row: Tracked,
}

/// What was found of the modifications.
enum Modified {
    /// The package has no place for any.
    Nowhere,
    /// What their branch points to; nothing when there is no such repository or branch.
    At { repository: String, branch: String, commit: Option<String> },
    /// It cannot be told.
    Hidden(String),
}

impl OneLook {
    async fn run(self) {
        let began_us = self.clock.now_us();
        let inner = &self.tracker.0;
        let turn = self.row.looks.unsigned_abs();
        let jitter = Jitter::new(inner.seed, &self.row.package, turn);
        let upstream = self.upstream().await;
        let answer = upstream.as_ref().err().map_or(Answer::Well, LookError::answer);
        // What is not to be built for want of sources needs no modifications.
        let (modified, other) = match &upstream {
            Ok(_) => self.modifications().await,
            Err(_) => (Modified::Nowhere, Answer::Well),
        };
        match &self.asked.other {
            Some(host) => {
                inner.hosts.end(&self.asked.upstream, answer, jitter);
                inner.hosts.end(host, other, jitter);
            }
            None if answer == Answer::Well => inner.hosts.end(&self.asked.upstream, other, jitter),
            None => inner.hosts.end(&self.asked.upstream, answer, jitter),
        }
        let known = self.store.seen(&self.row.target, &self.row.package).await;
        let known = known.unwrap_or_else(|error| {
            // Recording will fail as well, and the look is made again.
            tracing::warn!(%error, "what was seen before is not known");
            Vec::new()
        });
        let looked = match upstream {
            Ok(found) => self.saw(found, modified, &known, began_us, jitter),
            Err(error) => self.failed(&error, began_us, jitter),
        };
        inner.batcher.record(self.store.clone(), looked).await;
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
    async fn modifications(&self) -> (Modified, Answer) {
        let Some((repository, branch)) = self.target.modifications_of(&self.row.package) else {
            return (Modified::Nowhere, Answer::Well);
        };
        let inner = &self.tracker.0;
        if self.asked.rests {
            let why = format!("{} fails and is left alone for now", host_of(&repository));
            return (Modified::Hidden(why), Answer::Well);
        }
        if self.asked.other.is_none() {
            inner.hosts.go_on(&self.asked.upstream, &self.asked.limits);
        }
        let question = Question::name(&branch);
        match inner.looker.look(&repository, &question, &self.target.private_hosts).await {
            Ok(tip) => {
                let commit = tip.map(|tip| tip.commit);
                (Modified::At { repository, branch, commit }, Answer::Well)
            }
            Err(LookError::Missing(_)) => {
                (Modified::At { repository, branch, commit: None }, Answer::Well)
            }
            Err(error) => (Modified::Hidden(error.to_string()), error.answer()),
        }
    }

    fn saw(
        &self,
        (git_ref, tip): (String, Option<Tip>),
        modified: Modified,
        known: &[Seen],
        began_us: i64,
        jitter: Jitter,
    ) -> Looked {
        let row = &self.row;
        let now_us = self.clock.now_us();
        let told =
            |commit: &str| (row.hint_us != 0 && !commit.is_empty()).then(|| commit.to_owned());
        let (told, told_modified) = (told(&row.hint_commit), told(&row.hint_modification));
        let mut problem = String::new();
        let mut saw = Vec::new();

        let before = tip::upstream(&self.target, &row.package, &row.git_ref, known);
        let commit = tip.as_ref().map(|tip| tip.commit.as_str());
        let of_package = self.change_of_package(&git_ref, tip.as_ref(), before, told.as_deref());
        if of_package == Change::Gone {
            problem = self.gone(&git_ref);
        }
        let mut not_yet = told.as_deref().is_some_and(|told| Some(told) != commit);
        let by = |told: bool| if told { "webhook" } else { "poll" };
        let repository = self.target.git_url(&row.package);
        if let Some(Tip { name: branch, commit }) = tip {
            let push = Push { repository, branch, commit };
            let told_by = by(told.is_some());
            saw.push(Saw { push, change: of_package, modifies: false, told_by });
        }
        match modified {
            Modified::Nowhere => {}
            Modified::Hidden(why) => {
                not_yet |= told_modified.is_some();
                problem = format!("modifications: {why}");
            }
            Modified::At { repository, branch, commit } => {
                let before = tip::modifications(&self.target, &row.package, known);
                let before = before.map(|seen| seen.commit_id.as_str());
                let told = told_modified.as_deref();
                let change = change_of_modifications(before, commit.as_deref(), told);
                not_yet |= told.is_some_and(|told| Some(told) != commit.as_deref());
                if change == Change::Gone {
                    problem = lost(&repository, &branch, &row.package);
                }
                let commit = commit.unwrap_or_default();
                let push = Push { repository, branch, commit };
                saw.push(Saw { push, change, modifies: true, told_by: by(told.is_some()) });
            }
        }

        let hinted = not_yet && now_us - row.hint_us < BELIEVED_US;
        let pushed = saw.iter().any(|saw| saw.change == Change::Pushed);
        let look = match () {
            () if hinted => Look::NotYet { told_us: row.hint_us },
            () if pushed => Look::Saw(Change::Pushed),
            () => Look::Saw(of_package),
        };
        let next = next(&self.target.track.pace(), row.interval_us, look, jitter, now_us);
        Looked {
            failures: u32::from(!problem.is_empty()),
            problem: rpmfarm_core::name::shown(&problem),
            due_us: next.due_us,
            interval_us: next.interval_us,
            hinted,
            saw,
            ..self.looked(began_us, now_us)
        }
    }

    /// What was found means a push, or nothing. Of a pattern, an older tag than the newest that
    /// was seen is none: upstream has taken a tag back.
    fn change_of_package(
        &self,
        git_ref: &str,
        tip: Option<&Tip>,
        before: Option<&Seen>,
        told: Option<&str>,
    ) -> Change {
        let (build_first, package) = (self.row.build_first, &self.row.package);
        if let (Some(pattern), Some(tip), Some(seen)) = (Pattern::of(git_ref), tip, before)
            && pattern.compare(package, &tip.name, &seen.branch).is_lt()
        {
            return Change::Same;
        }
        // A newer tag is a push even if it is of the same commit.
        let same_name = |seen: &&Seen| tip.is_none_or(|tip| tip.name == seen.branch);
        let commit = match before.filter(same_name) {
            Some(seen) => Some(seen.commit_id.as_str()),
            None => before.map(|_| ""),
        };
        let before = Before { commit, told, build_first };
        change(&before, tip.map(|tip| tip.commit.as_str()))
    }

    fn gone(&self, git_ref: &str) -> String {
        let repository = self.target.git_url(&self.row.package);
        match Pattern::of(git_ref) {
            Some(_) => {
                format!("{repository} has no tag `{git_ref}` with {{nvr}} of {}", self.row.package)
            }
            None => format!("{repository} has no branch or tag `{git_ref}`"),
        }
    }

    fn failed(&self, error: &LookError, began_us: i64, jitter: Jitter) -> Looked {
        let row = &self.row;
        let now_us = self.clock.now_us();
        let failures = u32::try_from(row.failures).unwrap_or(u32::MAX - 1) + 1;
        let pace = self.target.track.pace();
        // A host that is ill says nothing of the package: it keeps its pace, and waits with all
        // others until the host is asked again.
        let next = match error.answer() {
            Answer::Well => next(&pace, row.interval_us, Look::Failed(failures), jitter, now_us),
            Answer::Ill(_) => {
                next(&pace, row.interval_us, Look::Saw(Change::Begin), jitter, now_us)
            }
        };
        let hinted = row.hint_us != 0 && now_us - row.hint_us < BELIEVED_US;
        tracing::debug!(target = row.target, package = row.package, %error, "look failed");
        Looked {
            failures,
            problem: rpmfarm_core::name::shown(&error.to_string()),
            due_us: next.due_us,
            interval_us: next.interval_us,
            hinted,
            ..self.looked(began_us, now_us)
        }
    }

    fn looked(&self, began_us: i64, at_us: i64) -> Looked {
        Looked {
            target: self.row.target.clone(),
            package: self.row.package.clone(),
            turn: self.row.looks,
            began_us,
            at_us,
            due_us: 0,
            interval_us: 0,
            failures: 0,
            problem: String::new(),
            hinted: false,
            saw: Vec::new(),
        }
    }
}

/// What a look at modifications means. That there were none is remembered as an empty commit:
/// those that come after it are a push. Those that have gone are none: a package does not lose its
/// changes because a server forgot them.
fn change_of_modifications(before: Option<&str>, now: Option<&str>, told: Option<&str>) -> Change {
    match (before, now) {
        (None, None) => Change::Begin,
        (Some(""), None) => Change::Same,
        _ => change(&Before { commit: before, told, build_first: false }, now),
    }
}

fn lost(repository: &str, branch: &str, package: &str) -> String {
    format!(
        "modifications: {repository} had a branch `{branch}` and has none now; put it back, or \
         set packages.{package}.unmodified = true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifications_that_come_are_a_push_and_those_that_go_are_none() {
        for (before, now, told, expected) in [
            (None, None, None, Change::Begin),
            (None, Some("a"), None, Change::Begin),
            (None, Some("a"), Some("a"), Change::Pushed),
            (Some(""), None, None, Change::Same),
            (Some(""), Some("a"), None, Change::Pushed),
            (Some("a"), Some("a"), None, Change::Same),
            (Some("a"), Some("b"), None, Change::Pushed),
            (Some("a"), None, None, Change::Gone),
        ] {
            assert_eq!(change_of_modifications(before, now, told), expected, "{before:?} {now:?}");
        }
    }
}
