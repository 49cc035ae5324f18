//! Looks at what is followed, when it is due: after a webhook at once, else by its schedule, and
//! never more at once than a host is to bear.

use std::collections::HashMap;
use std::sync::Arc;

use rpmfarm_core::Target;
use rpmfarm_core::track::host::Answer;
use rpmfarm_core::track::push::{Before, Change, Push, change};
use rpmfarm_core::track::schedule::{Jitter, Look, next};

use super::look::LookError;
use super::{Tracker, hosts};
use crate::clock::now_us;
use crate::farm::Farm;
use crate::store::{Looked, Store, StoreError, Tracked};

/// Looks under way at all hosts together: each takes a connection and little else.
const LOOKS: usize = 256;

/// A webhook is believed for so long while the server shows something else, in microseconds.
const BELIEVED_US: i64 = 120_000_000;

/// One look: every package whose time has come is asked for, as far as its host has room.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, now_us: i64) -> anyhow::Result<()> {
    for (name, loaded) in farm.targets.all() {
        let Ok(target) = loaded else { continue };
        start_due(farm, &name, &target, now_us).await?;
    }
    Ok(())
}

async fn start_due(
    farm: &Farm,
    name: &str,
    target: &Arc<Target>,
    now_us: i64,
) -> Result<(), StoreError> {
    let tracker = &farm.tracker.0;
    // The host of a target's repositories does not depend on the package.
    let host = hosts::name(&target.git_url("x"));
    let limits = target.track.host_limits();
    let busy = tracker.writer.busy();
    let room = tracker.hosts.room(&host, &limits).min(LOOKS.saturating_sub(busy));
    if room == 0 {
        return Ok(());
    }
    // Those that are under way are still due and come first.
    let due = farm.store.tracked_due(name, now_us, room + busy).await?;
    let mut started = 0;
    for row in due {
        if started == room || !tracker.writer.begin(&row.target, &row.package) {
            continue;
        }
        started += 1;
        tracker.hosts.start(&host, &limits);
        let look = OneLook {
            store: farm.store.clone(),
            tracker: farm.tracker.clone(),
            target: target.clone(),
            host: host.clone(),
            row,
        };
        tokio::spawn(look.run());
    }
    Ok(())
}

/// One look that is under way.
struct OneLook {
    store: Store,
    tracker: Tracker,
    target: Arc<Target>,
    host: String,
    row: Tracked,
}

impl OneLook {
    async fn run(self) {
        let began_us = now_us();
        let asked = Some(self.row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
        let repository = self.target.git_url(&self.row.package);
        let inner = &self.tracker.0;
        let seen = match self.target.git_ref(&self.row.package, asked) {
            Ok(branch) => inner
                .looker
                .look(&repository, &branch, &self.target.private_hosts)
                .await
                .map(|commit| (branch, commit)),
            Err(error) => Err(LookError::Repository(error.to_string())),
        };
        let turn = self.row.looks.unsigned_abs();
        let jitter = Jitter::new(inner.seed, &self.row.package, turn);
        let answer = seen.as_ref().err().map_or(Answer::Well, LookError::answer);
        inner.hosts.end(&self.host, answer, jitter);
        let known = self.store.seen(&self.row.target, &self.row.package).await;
        let known = known.unwrap_or_else(|error| {
            // Recording will fail as well, and the look is made again.
            tracing::warn!(%error, "what was seen before is not known");
            Vec::new()
        });
        let known: HashMap<_, _> = known
            .iter()
            .map(|seen| ((seen.repository.as_str(), seen.branch.as_str()), seen.commit_id.as_str()))
            .collect();
        let looked = match seen {
            Ok((branch, commit)) => {
                let before = known.get(&(repository.as_str(), branch.as_str())).copied();
                self.saw(repository.clone(), branch, commit, before, began_us, jitter)
            }
            Err(error) => self.failed(&error, began_us, jitter),
        };
        inner.writer.end(looked).await;
    }

    fn saw(
        &self,
        repository: String,
        branch: String,
        commit: Option<String>,
        before: Option<&str>,
        began_us: i64,
        jitter: Jitter,
    ) -> Looked {
        let row = &self.row;
        let now_us = now_us();
        let told = (row.hint_us != 0).then_some(row.hint_commit.as_str());
        let known = Before { commit: before, told, build_first: row.build_first != 0 };
        let change = change(&known, commit.as_deref());
        let hinted = told.is_some_and(|told| Some(told) != commit.as_deref())
            && now_us - row.hint_us < BELIEVED_US;
        let look = if hinted { Look::NotYet { told_us: row.hint_us } } else { Look::Saw(change) };
        let next = next(&self.target.track.pace(), row.interval_us, look, jitter, now_us);
        let problem = match change {
            Change::Gone => format!("{repository} has no branch or tag `{branch}`"),
            _ => String::new(),
        };
        Looked {
            failures: u32::from(change == Change::Gone),
            problem,
            due_us: next.due_us,
            interval_us: next.interval_us,
            hinted,
            saw: commit.map(|commit| (Push { repository, branch, commit }, change)),
            told_by: if told.is_some() { "webhook" } else { "poll" },
            ..self.looked(began_us, now_us)
        }
    }

    fn failed(&self, error: &LookError, began_us: i64, jitter: Jitter) -> Looked {
        let row = &self.row;
        let now_us = now_us();
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
            began_us,
            at_us,
            due_us: 0,
            interval_us: 0,
            failures: 0,
            problem: String::new(),
            hinted: false,
            saw: None,
            told_by: "poll",
        }
    }
}
