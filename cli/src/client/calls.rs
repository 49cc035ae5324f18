//! One method for each call.
//!
//! Owns the requests and which part of an answer is returned, and that a request for builds may be
//! sent again. `client` knows how to reach a coordinator, and what its failures mean.

use std::time::Duration;

use rpmfarm_core::queue::PriorityClass;
use rpmfarm_proto::v1::{self, Build};
use tonic::Streaming;

use super::Client;
use super::changes::{BUILDS_OF_WATCH, Changes};
use crate::exit::Error;

/// Pauses before a request for builds is sent again, when its answer got lost.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Workers, packages that are followed, and pushes that are asked for at once.
const PAGE: u32 = 500;

impl Client {
    /// Version, clock and health of the coordinator.
    pub(crate) async fn info(&mut self) -> Result<v1::Info, Error> {
        let request = self.reading(v1::GetInfoRequest {});
        let reply = self.farm.get_info(request).await;
        self.explained(reply)
    }

    pub(crate) async fn targets(&mut self) -> Result<Vec<v1::Target>, Error> {
        let request = self.reading(v1::ListTargetsRequest {});
        let reply = self.farm.list_targets(request).await;
        Ok(self.explained(reply)?.targets)
    }

    pub(crate) async fn target(&mut self, name: &str) -> Result<v1::Target, Error> {
        let request = self.reading(v1::GetTargetRequest { name: name.into() });
        let reply = self.farm.get_target(request).await;
        self.explained(reply)
    }

    /// Requests builds. When the connection breaks before the answer, it asks again: the key of the
    /// request prevents second builds.
    pub(crate) async fn start_builds(
        &mut self,
        request: &v1::StartBuildsRequest,
    ) -> Result<v1::StartBuildsReply, Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let authorized = self.authorized(request.clone())?;
            let reply = self.farm.start_builds(authorized).await;
            match (self.explained(reply), pauses.next()) {
                (Err(Error::Unreachable(_)), Some(pause)) => {
                    tokio::time::sleep(pause).await;
                    // If no coordinator answers, the next try reports it.
                    let _ = self.reconnect().await;
                }
                (result, _) => return result,
            }
        }
    }

    /// Builds, newest first.
    pub(crate) async fn builds(
        &mut self,
        request: v1::ListBuildsRequest,
    ) -> Result<v1::ListBuildsReply, Error> {
        let request = self.reading(request);
        let reply = self.farm.list_builds(request).await;
        self.explained(reply)
    }

    pub(crate) async fn build(&mut self, id: i64) -> Result<Build, Error> {
        let request = self.reading(v1::GetBuildRequest { id });
        let reply = self.farm.get_build(request).await;
        self.explained(reply)
    }

    /// Each build at once, and again after each change.
    pub(crate) async fn watch(&mut self, ids: &[i64]) -> Result<Changes, Error> {
        let mut changes = Changes::new();
        for ids in ids.chunks(BUILDS_OF_WATCH) {
            let request = self.reading(v1::WatchBuildsRequest { ids: ids.into() });
            let reply = self.farm.watch_builds(request).await;
            changes.join(self.explained(reply)?);
        }
        Ok(changes.begun())
    }

    /// A log, in pieces.
    pub(crate) async fn log(
        &mut self,
        request: v1::ReadLogRequest,
    ) -> Result<Streaming<v1::LogData>, Error> {
        let request = self.reading(request);
        let reply = self.farm.read_log(request).await;
        self.explained(reply)
    }

    pub(crate) async fn cancel(&mut self, id: i64) -> Result<Build, Error> {
        let request = self.authorized(v1::CancelBuildRequest { id })?;
        let reply = self.farm.cancel_build(request).await;
        self.explained(reply)
    }

    /// Retries the failed tasks of a build.
    pub(crate) async fn retry(&mut self, id: i64) -> Result<Build, Error> {
        let request = self.authorized(v1::RetryBuildRequest { id })?;
        let reply = self.farm.retry_build(request).await;
        self.explained(reply)
    }

    /// Changes the priority of a build.
    pub(crate) async fn set_priority(
        &mut self,
        id: i64,
        class: PriorityClass,
    ) -> Result<Build, Error> {
        let message = v1::SetPriorityRequest { id, priority: class.to_string() };
        let request = self.authorized(message)?;
        let reply = self.farm.set_priority(request).await;
        self.explained(reply)
    }

    /// Why a build is where it is.
    pub(crate) async fn why(&mut self, id: i64) -> Result<v1::WhyReply, Error> {
        let request = self.reading(v1::WhyBuildRequest { id });
        let reply = self.farm.why_build(request).await;
        self.explained(reply)
    }

    /// The plan of a request for builds.
    pub(crate) async fn plan_builds(
        &mut self,
        request: v1::StartBuildsRequest,
    ) -> Result<v1::BatchPlan, Error> {
        let request = self.authorized(request)?;
        let reply = self.batches.plan_builds(request).await;
        self.explained(reply)
    }

    /// Everything about one batch.
    pub(crate) async fn batch(&mut self, id: i64) -> Result<v1::BatchDetails, Error> {
        let request = self.reading(v1::GetBatchRequest { id });
        let reply = self.batches.get_batch(request).await;
        self.explained(reply)
    }

    /// Batches of several builds, newest first.
    pub(crate) async fn batches(
        &mut self,
        request: v1::ListBatchesRequest,
    ) -> Result<Vec<v1::Batch>, Error> {
        let request = self.reading(request);
        let reply = self.batches.list_batches(request).await;
        Ok(self.explained(reply)?.batches)
    }

    /// Pauses a batch: no more tasks of it begin.
    pub(crate) async fn pause_batch(&mut self, id: i64) -> Result<v1::BatchChange, Error> {
        let request = self.authorized(v1::PauseBatchRequest { id })?;
        let reply = self.batches.pause_batch(request).await;
        self.explained(reply)
    }

    pub(crate) async fn resume_batch(&mut self, id: i64) -> Result<v1::BatchChange, Error> {
        let request = self.authorized(v1::ResumeBatchRequest { id })?;
        let reply = self.batches.resume_batch(request).await;
        self.explained(reply)
    }

    /// Cancels all builds of a batch that have not ended.
    pub(crate) async fn cancel_batch(&mut self, id: i64) -> Result<v1::BatchChange, Error> {
        let request = self.authorized(v1::CancelBatchRequest { id })?;
        let reply = self.batches.cancel_batch(request).await;
        self.explained(reply)
    }

    /// Tries again what failed or was cancelled in a batch.
    pub(crate) async fn retry_batch(&mut self, id: i64) -> Result<v1::BatchChange, Error> {
        let request = self.authorized(v1::RetryBatchRequest { id })?;
        let reply = self.batches.retry_batch(request).await;
        self.explained(reply)
    }

    /// The lock of a task.
    pub(crate) async fn lock(
        &mut self,
        request: v1::GetLockRequest,
    ) -> Result<v1::LockReply, Error> {
        let request = self.reading(request);
        let reply = self.farm.get_lock(request).await;
        self.explained(reply)
    }

    /// The kept files of a build.
    pub(crate) async fn files(&mut self, build: i64) -> Result<Vec<v1::BuildFile>, Error> {
        let request = self.reading(v1::ListFilesRequest { build });
        let reply = self.farm.list_files(request).await;
        Ok(self.explained(reply)?.files)
    }

    /// A kept file, in pieces.
    pub(crate) async fn read_file(
        &mut self,
        request: v1::ReadFileRequest,
    ) -> Result<Streaming<v1::FileData>, Error> {
        let request = self.reading(request);
        let reply = self.farm.read_file(request).await;
        self.explained(reply)
    }

    /// Builds with claims.
    pub(crate) async fn claims(
        &mut self,
        request: v1::ListClaimsRequest,
    ) -> Result<Vec<v1::ClaimedBuild>, Error> {
        let reply = self.packages.list_claims(request).await;
        Ok(self.explained(reply)?.builds)
    }

    /// The claims of a build, and the packages whose roots would change.
    pub(crate) async fn claim(&mut self, build: i64) -> Result<v1::ClaimDetails, Error> {
        let request = self.authorized(v1::GetClaimRequest { build })?;
        let reply = self.packages.get_claim(request).await;
        self.explained(reply)
    }

    /// Approves or refuses the claims of a build.
    pub(crate) async fn decide_claim(
        &mut self,
        request: v1::DecideClaimRequest,
    ) -> Result<Build, Error> {
        let request = self.authorized(request)?;
        let reply = self.packages.decide_claim(request).await;
        self.explained(reply)
    }

    pub(crate) async fn withdraw(
        &mut self,
        request: v1::WithdrawRequest,
    ) -> Result<v1::WithdrawReply, Error> {
        let request = self.authorized(request)?;
        let reply = self.packages.withdraw(request).await;
        self.explained(reply)
    }

    pub(crate) async fn restore(
        &mut self,
        request: v1::WithdrawRequest,
    ) -> Result<v1::RestoreReply, Error> {
        let request = self.authorized(request)?;
        let reply = self.packages.restore(request).await;
        self.explained(reply)
    }

    /// Builds that were made with packages.
    pub(crate) async fn impact(
        &mut self,
        request: v1::GetImpactRequest,
    ) -> Result<v1::Impact, Error> {
        let request = self.authorized(request)?;
        let reply = self.packages.get_impact(request).await;
        self.explained(reply)
    }

    /// What the next content of a channel would break.
    pub(crate) async fn channel_problems(
        &mut self,
        request: v1::GetProblemsRequest,
    ) -> Result<v1::ChannelProblems, Error> {
        let request = self.reading(request);
        let reply = self.proofs.get_problems(request).await;
        self.explained(reply)
    }

    /// Accepts a problem of a channel.
    pub(crate) async fn accept_problem(
        &mut self,
        request: v1::AcceptProblemRequest,
    ) -> Result<v1::AcceptedProblem, Error> {
        let request = self.authorized(request)?;
        let reply = self.proofs.accept_problem(request).await;
        self.explained(reply)
    }

    /// The changes by modifications.
    pub(crate) async fn preview_modifications(
        &mut self,
        request: v1::PreviewModificationsRequest,
    ) -> Result<v1::ModificationsPreview, Error> {
        let request = self.authorized(request)?;
        let reply = self.sources.preview_modifications(request).await;
        self.explained(reply)
    }

    /// The sources of a build.
    pub(crate) async fn source(
        &mut self,
        request: v1::GetSourceRequest,
    ) -> Result<v1::Source, Error> {
        let request = self.reading(request);
        let reply = self.sources.get_source(request).await;
        self.explained(reply)
    }

    /// The differences between the sources of two builds.
    pub(crate) async fn diff_sources(
        &mut self,
        request: v1::DiffSourcesRequest,
    ) -> Result<v1::SourceDiff, Error> {
        let request = self.reading(request);
        let reply = self.sources.diff_sources(request).await;
        self.explained(reply)
    }

    /// Channels; an empty target stands for all.
    pub(crate) async fn channels(&mut self, target: &str) -> Result<Vec<v1::Channel>, Error> {
        let request = v1::ListChannelsRequest { target: target.into() };
        let request = self.reading(request);
        let reply = self.farm.list_channels(request).await;
        Ok(self.explained(reply)?.channels)
    }

    /// Requests all workers, page by page. A coordinator of an older version has no pages and sends
    /// all at once.
    pub(crate) async fn workers(&mut self) -> Result<Vec<v1::Worker>, Error> {
        let mut request = v1::ListWorkersRequest { limit: PAGE, after: String::new() };
        let mut workers = Vec::new();
        loop {
            let asked = self.reading(request.clone());
            let reply = self.farm.list_workers(asked).await;
            let page = self.explained(reply)?;
            workers.extend(page.workers);
            // A page that does not lead further would be asked for without end.
            if page.next <= request.after {
                return Ok(workers);
            }
            request.after = page.next;
        }
    }

    pub(crate) async fn track(
        &mut self,
        request: v1::TrackRequest,
    ) -> Result<v1::TrackReply, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.track(request).await;
        self.explained(reply)
    }

    /// Stops tracking packages; returns their names.
    pub(crate) async fn untrack(
        &mut self,
        request: v1::UntrackRequest,
    ) -> Result<Vec<String>, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.untrack(request).await;
        Ok(self.explained(reply)?.removed)
    }

    /// The tracked packages; an empty target stands for all.
    pub(crate) async fn tracked(&mut self, target: &str) -> Result<Vec<v1::Tracked>, Error> {
        let (target, after) = (target.into(), String::new());
        let mut request = v1::ListTrackedRequest { target, limit: PAGE, after };
        let mut packages = Vec::new();
        loop {
            let asked = self.reading(request.clone());
            let reply = self.tracking.list_tracked(asked).await;
            let page = self.explained(reply)?;
            let is_last = page.packages.is_empty() || page.next == request.after;
            packages.extend(page.packages);
            if is_last || page.next.is_empty() {
                return Ok(packages);
            }
            request.after = page.next;
        }
    }

    /// One tracked package, with its pushes.
    pub(crate) async fn tracked_details(
        &mut self,
        target: String,
        package: String,
    ) -> Result<v1::TrackedDetails, Error> {
        let request = self.reading(v1::GetTrackedRequest { target, package });
        let reply = self.tracking.get_tracked(request).await;
        self.explained(reply)
    }

    pub(crate) async fn order_policy(
        &mut self,
        request: v1::OrderPolicyRequest,
    ) -> Result<(), Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.order_policy(request).await;
        self.explained(reply).map(drop)
    }

    /// Approves pushes; returns those that were approved.
    pub(crate) async fn approve_pushes(
        &mut self,
        request: v1::ApprovePushesRequest,
    ) -> Result<Vec<v1::Push>, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.approve_pushes(request).await;
        Ok(self.explained(reply)?.pushes)
    }

    /// Has packages polled; returns how many.
    pub(crate) async fn look_now(&mut self, request: v1::LookNowRequest) -> Result<u32, Error> {
        let request = self.authorized(request)?;
        let reply = self.tracking.look_now(request).await;
        Ok(self.explained(reply)?.packages)
    }

    /// The verdicts on open pushes; an empty target stands for all.
    pub(crate) async fn plan_pushes(&mut self, target: &str) -> Result<v1::PlanPushesReply, Error> {
        let mut request = v1::PlanPushesRequest { target: target.into(), limit: PAGE, after: 0 };
        let mut plan = v1::PlanPushesReply::default();
        loop {
            let asked = self.reading(request.clone());
            let reply = self.tracking.plan_pushes(asked).await;
            let page = self.explained(reply)?;
            plan.pushes.extend(page.pushes);
            plan.storms.extend(page.storms);
            if page.next <= request.after {
                break;
            }
            request.after = page.next;
        }
        // Pages are by id, but people read one target after the other.
        plan.pushes.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(plan)
    }

    /// Everything about one worker.
    pub(crate) async fn worker(&mut self, name: &str) -> Result<v1::WorkerDetails, Error> {
        let request = self.reading(v1::GetWorkerRequest { name: name.into() });
        let reply = self.fleet.get_worker(request).await;
        self.explained(reply)
    }

    /// A token that makes a host a worker.
    pub(crate) async fn invite_worker(
        &mut self,
        request: v1::InviteWorkerRequest,
    ) -> Result<v1::Invitation, Error> {
        let request = self.authorized(request)?;
        let reply = self.fleet.invite_worker(request).await;
        self.explained(reply)
    }

    /// Drains, resumes or revokes a worker.
    pub(crate) async fn set_worker_state(
        &mut self,
        request: v1::SetWorkerStateRequest,
    ) -> Result<v1::WorkerDetails, Error> {
        let request = self.authorized(request)?;
        let reply = self.fleet.set_worker_state(request).await;
        self.explained(reply)
    }
}
