//! The reasons of a build as JSON.

use rpmfarm_proto::v1::{Reason, WhyReply};
use serde::Serialize;

use super::known;
use crate::show::time;

/// Why a build is in its state.
#[derive(Debug, Serialize)]
pub(crate) struct WhyDocument {
    build: i64,
    package: String,
    target: String,
    /// As in a build.
    state: String,
    /// security, interactive, tracking, mass.
    priority: Option<String>,
    reasons: Vec<ReasonDocument>,
}

/// One reason why it waits, or one task that runs.
#[derive(Debug, Serialize)]
struct ReasonDocument {
    /// ended, import, retry, packages, lock, no-worker, no-worker-takes-work, needs-too-much,
    /// queue, runs, accept, claim, sign, publish.
    code: String,
    /// srpm, or build with the architecture; null for the whole build.
    task: Option<String>,
    text: String,
    /// How many tasks go first.
    ahead: u64,
    /// When it continues, as far as is known.
    starts_at: Option<String>,
}

impl From<&WhyReply> for WhyDocument {
    fn from(reply: &WhyReply) -> Self {
        Self {
            build: reply.build,
            package: reply.package.clone(),
            target: reply.target.clone(),
            state: reply.state.clone(),
            priority: known(&reply.priority),
            reasons: reply.reasons.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Reason> for ReasonDocument {
    fn from(reason: &Reason) -> Self {
        Self {
            code: reason.code.clone(),
            task: known(&reason.task),
            text: reason.text.clone(),
            ahead: reason.ahead,
            starts_at: time::rfc3339(reason.starts_us),
        }
    }
}
