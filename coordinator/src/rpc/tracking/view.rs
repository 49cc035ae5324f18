//! Tracked packages and their pushes, in the form of the API.
//!
//! Owns the words for what became of a push. It must not query anything: it is given rows and
//! rules.

use rpmfarm_core::track::plan::{self, PlannedPush};
use rpmfarm_core::track::policy::EffectivePolicy;
use rpmfarm_core::track::seen::{self, TrackRef};
use rpmfarm_core::track::{PushDecision, PushVerdict};
use rpmfarm_core::{BuildId, Target};
use rpmfarm_proto::v1;

use crate::rpc::us;
use crate::store::{PolicyOverrideRow, PushRow, TrackedPackage};

pub(super) fn tracked(
    target: &Target,
    row: TrackedPackage,
    rule: &EffectivePolicy,
    known: &[TrackRef],
) -> v1::Tracked {
    let tip = seen::upstream(target, &row.package, &row.git_ref, known);
    let commit = tip.map(|seen| seen.commit_id.clone()).unwrap_or_default();
    let modifications = target.modifications_of(&row.package).map(|(repository, branch)| {
        let seen = seen::modifications(target, &row.package, known);
        let commit = seen.map(|seen| seen.commit_id.clone()).unwrap_or_default();
        v1::ModificationsFollowed { repository, branch, commit }
    });
    let asked = Some(row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
    let (policy, reason) = match &rule.freeze {
        Some(freeze) => (PushVerdict::Frozen.to_string(), freeze.reason.clone()),
        None => (rule.policy.to_string(), rule.reason.clone()),
    };
    v1::Tracked {
        branch: target.git_ref(&row.package, asked).unwrap_or_default(),
        repository: target.git_url(&row.package),
        commit,
        modifications,
        policy,
        reason,
        until_us: us(rule.freeze.as_ref().map(|freeze| freeze.until)),
        added_us: row.added.as_us(),
        looked_us: us(row.polled_at),
        due_us: row.due.as_us(),
        problem: row.problem,
        push: String::new(),
        typed_push: v1::PushVerdict::Unspecified.into(),
        target: row.target,
        package: row.package,
        git_ref: row.git_ref,
    }
}

/// Shows the verdict on the open push of a package, if it has one.
pub(super) fn set_push(tracked: &mut v1::Tracked, verdict: Option<PushVerdict>) {
    tracked.push = verdict.map_or("", PushVerdict::as_str).into();
    tracked.typed_push = verdict.map_or(v1::PushVerdict::Unspecified, v1::PushVerdict::from).into();
}

pub(super) fn planned(target: &str, planned: &PlannedPush, rule: &EffectivePolicy) -> v1::Push {
    let push = &planned.push;
    let until = match planned.verdict {
        PushDecision::Gathering { until } | PushDecision::Frozen { until, .. } => Some(until),
        _ => None,
    };
    v1::Push {
        id: push.id.0,
        target: target.into(),
        package: push.package.clone(),
        repository: push.repository.clone(),
        branch: push.branch.clone(),
        commit: push.commit_id.clone(),
        before: push.before_id.clone(),
        told_by: push.told_by.clone(),
        seen_us: push.seen_at.as_us(),
        verdict: planned.verdict.word().to_string(),
        typed_verdict: v1::PushVerdict::from(planned.verdict.word()).into(),
        reason: plan::reason(&planned.verdict, rule) + returned(push.returns()),
        ended_us: 0,
        build: number(planned.done_by),
        until_us: us(until),
        storm: push.storm.map_or(0, |storm| storm.0),
        modifies: push.modifies,
        with_commit: planned.pair.commit.clone(),
        with_modification: planned.pair.modification.clone().unwrap_or_default(),
    }
}

/// The number of a build, as messages have it; 0 stands for `None`.
fn number(build: Option<BuildId>) -> i64 {
    build.map_or(0, |build| build.0)
}

/// A note about a push to a commit that the branch had left.
const fn returned(returns: bool) -> &'static str {
    if returns { "; the branch went back to this commit" } else { "" }
}

pub(super) fn push(row: PushRow, failed: Option<String>) -> v1::Push {
    let ended = row.ended();
    let reason = match ended {
        Some(PushVerdict::Build) => match failed {
            Some(why) => format!("its build has failed: {why}"),
            None => "built".to_owned(),
        },
        Some(PushVerdict::Done) => {
            format!("build {} had these sources already", number(row.build))
        }
        Some(PushVerdict::Superseded) => "a later push came before it was built".to_owned(),
        Some(PushVerdict::Removed) => "it is no longer tracked".to_owned(),
        _ => "a later push supersedes it".to_owned(),
    } + returned(row.left_by.is_some());
    v1::Push {
        id: row.id.0,
        target: row.target,
        package: row.package,
        repository: row.repository,
        branch: row.branch,
        commit: row.commit_id,
        before: row.before_id,
        told_by: row.told_by,
        seen_us: row.seen_at.as_us(),
        verdict: row.verdict,
        typed_verdict: ended.map_or(v1::PushVerdict::Unspecified, v1::PushVerdict::from).into(),
        reason,
        ended_us: us(row.ended_at),
        build: number(row.build),
        until_us: 0,
        storm: 0,
        modifies: row.modifies,
        with_commit: String::new(),
        with_modification: String::new(),
    }
}

pub(super) fn policy_override(row: PolicyOverrideRow) -> v1::TrackOrder {
    v1::TrackOrder {
        word: row.word,
        reason: row.reason,
        until_us: us(row.until),
        who: row.who,
        at_us: row.at.as_us(),
    }
}
