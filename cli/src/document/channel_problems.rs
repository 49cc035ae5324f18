//! Problems of the next content of a channel, as JSON.

use rpmfarm_proto::v1;
use serde::Serialize;

use super::known;
use crate::show::time;

/// The newest proof of a channel, and what persons accepted.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelProblemsDocument {
    target: String,
    channel: String,
    /// Either `refuse` or `warn`.
    rule: String,
    proved_at: Option<String>,
    /// How many problems there are; `problems` has a bounded number of them.
    total: u32,
    problems: Vec<ProblemDocument>,
    /// Why requirements could not be checked.
    unproven: Option<String>,
    accepted: Vec<AcceptedProblemDocument>,
}

#[derive(Debug, Serialize)]
struct ProblemDocument {
    /// requires, lost, install, upgrade, files, owner.
    kind: String,
    package: String,
    what: String,
    other: Option<String>,
    arches: Vec<String>,
    chain: Vec<String>,
    text: String,
    accepted: bool,
}

/// A problem that a person accepted.
#[derive(Debug, Serialize)]
pub(crate) struct AcceptedProblemDocument {
    kind: String,
    package: String,
    /// None for any.
    what: Option<String>,
    /// Absent when the acceptance has no end.
    until: Option<String>,
    who: String,
    reason: String,
    at: Option<String>,
}

impl From<&v1::ChannelProblems> for ChannelProblemsDocument {
    fn from(found: &v1::ChannelProblems) -> Self {
        Self {
            target: found.target.clone(),
            channel: found.channel.clone(),
            rule: found.rule.clone(),
            proved_at: time::rfc3339(found.proved_us),
            total: found.total,
            problems: found.problems.iter().map(ProblemDocument::from).collect(),
            unproven: known(&found.unproven),
            accepted: found.accepted.iter().map(AcceptedProblemDocument::from).collect(),
        }
    }
}

impl From<&v1::Problem> for ProblemDocument {
    fn from(problem: &v1::Problem) -> Self {
        let v1::Problem { kind, package, what, other, arches, chain, text, accepted } =
            problem.clone();
        Self { kind, package, what, other: known(&other), arches, chain, text, accepted }
    }
}

impl From<&v1::AcceptedProblem> for AcceptedProblemDocument {
    fn from(row: &v1::AcceptedProblem) -> Self {
        let v1::AcceptedProblem { kind, package, what, until_us, who, reason, at_us } = row.clone();
        let (what, until, at) = (known(&what), time::rfc3339(until_us), time::rfc3339(at_us));
        Self { kind, package, what, until, who, reason, at }
    }
}
