//! Tracked packages and pushes, as JSON.

use rpmfarm_proto::v1;
use serde::Serialize;

use super::known;
use crate::show::time::rfc3339;

/// The result of `track add`.
#[derive(Debug, Serialize)]
pub(crate) struct TrackAddDocument {
    added: Vec<String>,
    already_followed: u32,
    skipped: u32,
}

impl From<&v1::TrackReply> for TrackAddDocument {
    fn from(reply: &v1::TrackReply) -> Self {
        Self { added: reply.added.clone(), already_followed: reply.known, skipped: reply.skipped }
    }
}

/// The result of `track remove`.
#[derive(Debug, Serialize)]
pub(crate) struct TrackRemoveDocument {
    pub(crate) removed: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PolicyOverrideResultDocument {
    pub(crate) policy: String,
    pub(crate) until: Option<String>,
}

/// How many packages are polled.
#[derive(Debug, Serialize)]
pub(crate) struct PollRequestDocument {
    pub(crate) packages: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct TrackedListDocument {
    packages: Vec<TrackedDocument>,
}

impl From<&[v1::Tracked]> for TrackedListDocument {
    fn from(packages: &[v1::Tracked]) -> Self {
        Self { packages: packages.iter().map(Into::into).collect() }
    }
}

/// A tracked package.
#[derive(Debug, Serialize)]
pub(crate) struct TrackedDocument {
    target: String,
    package: String,
    repository: String,
    branch: String,
    commit: Option<String>,
    policy: String,
    reason: Option<String>,
    until: Option<String>,
    added_at: Option<String>,
    looked_at: Option<String>,
    due_at: Option<String>,
    problem: Option<String>,
    push: Option<String>,
    modifications: Option<ModificationsDocument>,
}

/// The tracked modifications of a package.
#[derive(Debug, Serialize)]
struct ModificationsDocument {
    repository: String,
    branch: String,
    /// None when there are none, or before the first poll.
    commit: Option<String>,
}

impl From<&v1::Tracked> for TrackedDocument {
    fn from(row: &v1::Tracked) -> Self {
        Self {
            target: row.target.clone(),
            package: row.package.clone(),
            repository: row.repository.clone(),
            branch: row.branch.clone(),
            commit: known(&row.commit),
            policy: row.policy.clone(),
            reason: known(&row.reason),
            until: rfc3339(row.until_us),
            added_at: rfc3339(row.added_us),
            looked_at: rfc3339(row.looked_us),
            due_at: rfc3339(row.due_us),
            problem: known(&row.problem),
            push: known(&row.push),
            modifications: row.modifications.as_ref().map(|modifications| ModificationsDocument {
                repository: modifications.repository.clone(),
                branch: modifications.branch.clone(),
                commit: known(&modifications.commit),
            }),
        }
    }
}

/// A push and its verdict.
#[derive(Debug, Serialize)]
pub(crate) struct PushDocument {
    id: i64,
    target: String,
    package: String,
    repository: String,
    branch: String,
    commit: String,
    before: Option<String>,
    told_by: String,
    seen_at: Option<String>,
    verdict: String,
    reason: String,
    ended_at: Option<String>,
    until: Option<String>,
    build: Option<i64>,
    storm: Option<i64>,
    /// Whether it is a push to the package's modifications.
    modifies: bool,
    /// For an open push, the commit of the other repository of the pair.
    with_commit: Option<String>,
    with_modification: Option<String>,
}

impl From<&v1::Push> for PushDocument {
    fn from(push: &v1::Push) -> Self {
        let number = |number: i64| (number != 0).then_some(number);
        Self {
            id: push.id,
            target: push.target.clone(),
            package: push.package.clone(),
            repository: push.repository.clone(),
            branch: push.branch.clone(),
            commit: push.commit.clone(),
            before: known(&push.before),
            told_by: push.told_by.clone(),
            seen_at: rfc3339(push.seen_us),
            verdict: push.verdict.clone(),
            reason: push.reason.clone(),
            ended_at: rfc3339(push.ended_us),
            until: rfc3339(push.until_us),
            build: number(push.build),
            storm: number(push.storm),
            modifies: push.modifies,
            with_commit: known(&push.with_commit),
            with_modification: known(&push.with_modification),
        }
    }
}

/// Open pushes, and storms.
#[derive(Debug, Serialize)]
pub(crate) struct PushPlanDocument {
    pushes: Vec<PushDocument>,
    storms: Vec<StormDocument>,
}

impl PushPlanDocument {
    /// Those that were approved.
    pub(crate) fn approved(pushes: &[v1::Push]) -> Self {
        Self { pushes: pushes.iter().map(Into::into).collect(), storms: Vec::new() }
    }
}

impl From<&v1::PlanPushesReply> for PushPlanDocument {
    fn from(plan: &v1::PlanPushesReply) -> Self {
        let storm = |storm: &v1::Storm| StormDocument {
            id: storm.id,
            target: storm.target.clone(),
            reason: storm.reason.clone(),
            since: rfc3339(storm.at_us),
            packages: storm.packages.clone(),
        };
        Self {
            pushes: plan.pushes.iter().map(Into::into).collect(),
            storms: plan.storms.iter().map(storm).collect(),
        }
    }
}

/// A storm: too many builds at once.
#[derive(Debug, Serialize)]
struct StormDocument {
    id: i64,
    target: String,
    reason: String,
    since: Option<String>,
    packages: Vec<String>,
}

/// A package with its pushes and policy overrides.
#[derive(Debug, Serialize)]
pub(crate) struct TrackedDetailsDocument {
    tracked: Option<TrackedDocument>,
    pushes: Vec<PushDocument>,
    orders: Vec<PolicyOverrideDocument>,
}

impl From<&v1::TrackedDetails> for TrackedDetailsDocument {
    fn from(details: &v1::TrackedDetails) -> Self {
        let order = |order: &v1::TrackOrder| PolicyOverrideDocument {
            word: order.word.clone(),
            reason: known(&order.reason),
            until: rfc3339(order.until_us),
            who: order.who.clone(),
            at: rfc3339(order.at_us),
        };
        Self {
            tracked: details.tracked.as_ref().map(Into::into),
            pushes: details.pushes.iter().map(Into::into).collect(),
            orders: details.orders.iter().map(order).collect(),
        }
    }
}

/// A maintainer's policy override.
#[derive(Debug, Serialize)]
struct PolicyOverrideDocument {
    word: String,
    reason: Option<String>,
    until: Option<String>,
    who: String,
    at: Option<String>,
}
