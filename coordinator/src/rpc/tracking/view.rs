//! Packages that are followed and their pushes, as they are shown.
//!
//! Owns the words of what became of a push. It must not ask anything: it is given rows and rules.

use rpmfarm_core::Target;
use rpmfarm_core::track::plan::{self, PlannedPush};
use rpmfarm_core::track::policy::Rule;
use rpmfarm_core::track::seen::{self, TrackRef};
use rpmfarm_core::track::{PushVerdict, Verdict};
use rpmfarm_proto::v1;

use crate::store::{OrderRow, PushRow, Tracked};

pub(super) fn tracked(
    target: &Target,
    row: Tracked,
    rule: &Rule,
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
    let (policy, reason, until_us) = match &rule.freeze {
        Some(freeze) => (PushVerdict::Frozen.to_string(), freeze.reason.clone(), freeze.until_us),
        None => (rule.policy.to_string(), rule.reason.clone(), 0),
    };
    v1::Tracked {
        branch: target.git_ref(&row.package, asked).unwrap_or_default(),
        repository: target.git_url(&row.package),
        commit,
        modifications,
        policy,
        reason,
        until_us,
        added_us: row.added_us,
        looked_us: row.looked_us,
        due_us: row.due_us,
        problem: row.problem,
        push: String::new(),
        typed_push: v1::PushVerdict::Unspecified.into(),
        target: row.target,
        package: row.package,
        git_ref: row.git_ref,
    }
}

/// Says what becomes of the open push of a package, if it has one.
pub(super) fn set_push(tracked: &mut v1::Tracked, verdict: Option<PushVerdict>) {
    tracked.push = verdict.map_or("", PushVerdict::as_str).into();
    tracked.typed_push = verdict.map_or(v1::PushVerdict::Unspecified, v1::PushVerdict::from).into();
}

pub(super) fn planned(target: &str, planned: &PlannedPush, rule: &Rule) -> v1::Push {
    let push = &planned.push;
    let until_us = match planned.verdict {
        Verdict::Gathering { until_us } | Verdict::Frozen { until_us, .. } => until_us,
        _ => 0,
    };
    v1::Push {
        id: push.id,
        target: target.into(),
        package: push.package.clone(),
        repository: push.repository.clone(),
        branch: push.branch.clone(),
        commit: push.commit_id.clone(),
        before: push.before_id.clone(),
        told_by: push.told_by.clone(),
        seen_us: push.seen_us,
        verdict: planned.verdict.word().to_string(),
        typed_verdict: v1::PushVerdict::from(planned.verdict.word()).into(),
        reason: plan::reason(&planned.verdict, rule) + returned(push.returns()),
        ended_us: 0,
        build: planned.done_by,
        until_us,
        storm: push.storm,
        modifies: push.modifies,
        with_commit: planned.pair.commit.clone(),
        with_modification: planned.pair.modification.clone().unwrap_or_default(),
    }
}

/// What is said of a push to a commit that the branch had left.
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
        Some(PushVerdict::Done) => format!("build {} had these sources already", row.build),
        Some(PushVerdict::Superseded) => "a later push came before it was built".to_owned(),
        Some(PushVerdict::Removed) => "it is followed no longer".to_owned(),
        _ => "a later push stands for it".to_owned(),
    } + returned(row.left_by != 0);
    v1::Push {
        id: row.id,
        target: row.target,
        package: row.package,
        repository: row.repository,
        branch: row.branch,
        commit: row.commit_id,
        before: row.before_id,
        told_by: row.told_by,
        seen_us: row.seen_us,
        verdict: row.verdict,
        typed_verdict: ended.map_or(v1::PushVerdict::Unspecified, v1::PushVerdict::from).into(),
        reason,
        ended_us: row.ended_us,
        build: row.build,
        until_us: 0,
        storm: 0,
        modifies: row.modifies,
        with_commit: String::new(),
        with_modification: String::new(),
    }
}

pub(super) fn order(row: OrderRow) -> v1::TrackOrder {
    v1::TrackOrder {
        word: row.word,
        reason: row.reason,
        until_us: row.until_us,
        who: row.who,
        at_us: row.at_us,
    }
}
