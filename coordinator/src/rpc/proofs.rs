//! The calls about proofs of channels: what their next contents would break, and what persons
//! accept of it.

use rpmfarm_core::name::shown;
use rpmfarm_core::proof::{AcceptedProblem, Problem, ProblemKind, unaccepted};
use rpmfarm_core::{Arch, Nevra, Target, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::proofs_server::Proofs;
use tonic::{Request, Response, Status};

use super::packages::{checked_reason, named};
use super::view::Views;
use super::{count, to_the_end};
use crate::clock;
use crate::store::AcceptedProblemRow;

/// The longest requirement or path that is accepted, in bytes: longer than any that a proof shows.
const MAX_WHAT: usize = 2000;
/// The longest name of a package, in bytes.
const MAX_NAME: usize = 255;

#[derive(Clone)]
pub struct ProofService {
    pub views: Views,
}

type Reply<T> = Result<Response<T>, Status>;

impl ProofService {
    /// The target, if it has this channel.
    fn target(&self, target: &str, channel: &str) -> Result<std::sync::Arc<Target>, Status> {
        let target = self.views.targets.get(target)?;
        if target.channels.iter().any(|known| known == channel) {
            return Ok(target);
        }
        Err(Status::not_found(format!(
            "{} has no channel `{}` (known: {})",
            target.name,
            shown(channel),
            target.channels.join(", ")
        )))
    }
}

fn problem(problem: &Problem, accepted: bool) -> v1::Problem {
    v1::Problem {
        kind: problem.kind.to_string(),
        package: problem.package.to_string(),
        what: problem.what.clone(),
        other: problem.other.as_ref().map(Nevra::to_string).unwrap_or_default(),
        arches: problem.arches.iter().map(Arch::to_string).collect(),
        chain: problem.chain.clone(),
        text: problem.to_string(),
        accepted,
    }
}

fn accepted(row: AcceptedProblemRow) -> v1::AcceptedProblem {
    let AcceptedProblemRow { accepted, who, reason, at } = row;
    v1::AcceptedProblem {
        kind: accepted.kind.to_string(),
        package: accepted.package,
        what: accepted.what,
        until_us: accepted.until.map_or(0, Timestamp::as_us),
        who,
        reason,
        at_us: at.as_us(),
    }
}

/// What a person accepts, if it is within bounds.
fn checked(request: &v1::AcceptProblemRequest) -> Result<AcceptedProblem, Status> {
    let kind: ProblemKind =
        request.kind.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    let (package, what) = (&request.package, &request.what);
    if package.is_empty() || package.len() > MAX_NAME || what.len() > MAX_WHAT {
        return Err(Status::invalid_argument(format!(
            "name the package that has the problem, and what it is about, in {MAX_NAME} and \
             {MAX_WHAT} bytes at most"
        )));
    }
    if package.parse::<Nevra>().is_ok() {
        return Err(Status::invalid_argument(format!(
            "`{}` has a version: name the package alone",
            shown(package)
        )));
    }
    let until = (request.until_us != 0).then(|| Timestamp::from_us(request.until_us));
    Ok(AcceptedProblem { kind, package: package.clone(), what: what.clone(), until })
}

#[tonic::async_trait]
impl Proofs for ProofService {
    async fn get_problems(
        &self,
        request: Request<v1::GetProblemsRequest>,
    ) -> Reply<v1::ChannelProblems> {
        let v1::GetProblemsRequest { target, channel } = request.into_inner();
        let rule = self.target(&target, &channel)?.proof.closure.to_string();
        let store = &self.views.store;
        let rows = store.problem_accept_list(&target, &channel).await?;
        let all: Vec<AcceptedProblem> = rows.iter().map(|row| row.accepted.clone()).collect();
        let accepted = rows.into_iter().map(accepted).collect();
        let mut reply = v1::ChannelProblems { rule, accepted, ..v1::ChannelProblems::default() };
        if let Some(proof) = store.proof_fetch(&target, &channel).await? {
            let open = unaccepted(&proof.problems, &all, clock::now());
            reply.proved_us = proof.at.as_us();
            reply.total = count(proof.total);
            let problems = proof.problems.iter().map(|one| problem(one, !open.contains(one)));
            reply.problems = problems.collect();
            reply.unproven = proof.unproven;
        }
        (reply.target, reply.channel) = (target, channel);
        Ok(Response::new(reply))
    }

    async fn accept_problem(
        &self,
        request: Request<v1::AcceptProblemRequest>,
    ) -> Reply<v1::AcceptedProblem> {
        let request = request.into_inner();
        let v1::AcceptProblemRequest { target, channel, .. } = request.clone();
        self.target(&target, &channel)?;
        let row = AcceptedProblemRow {
            accepted: checked(&request)?,
            who: named(&request.who),
            reason: checked_reason(&request.reason)?,
            at: clock::now(),
        };
        let AcceptedProblemRow { who, reason, .. } = &row;
        let (kind, package) = (&request.kind, &request.package);
        tracing::info!(target, channel, kind, package, who, reason, "problem accepted");
        let (store, written) = (self.views.store.clone(), row.clone());
        to_the_end(async move { store.problem_accept_insert(&target, &channel, &written).await })
            .await??;
        Ok(Response::new(accepted(row)))
    }
}
