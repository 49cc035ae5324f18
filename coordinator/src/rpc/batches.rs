//! The calls of people and scripts about batches as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rpmfarm_core::batch::{BatchGraph, Lacking, Loss, OrderMode, Slots};
use rpmfarm_core::name::shown;
use rpmfarm_core::time::span_us;
use rpmfarm_core::{Arch, BatchId, BuildId, FailureStage, Fault, Stage, Target, Timestamp, why};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::batches_server::Batches;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};

use super::batch_plan::{PackageFacts, Planner};
use super::view::Views;
use super::{count, internal, request_checks, to_the_end, us};
use crate::blocking;
use crate::clock::Clock;
use crate::dispatch::pass::matched;
use crate::dispatch::report::Reports;
use crate::peers::Peers;
use crate::resolve::{self, ResolveError, Resolver};
use crate::store::{
    self, Batch, BatchBuildChange, BatchCounts, LostBuild, NewBuild, Srpm, Store, WorkLeft,
};

#[derive(Clone)]
pub struct BatchService {
    pub views: Views,
    /// The orders of the open batches: of none where this coordinator does not resolve.
    pub orders: resolve::Batches,
    /// Solves the roots of plans.
    pub resolver: Resolver,
    /// Who orders batches.
    pub peers: Peers,
    /// Ends the logs of attempts that are cancelled.
    pub reports: Reports,
    pub clock: Clock,
    /// The largest number of builds of one request.
    pub max_batch: usize,
    pub plans: Plans,
}

/// The plans that are made at the same time, so that they leave the solvers to builds. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Plans(Arc<Semaphore>);

impl Default for Plans {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLANS)))
    }
}

impl Plans {
    async fn begin(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("nobody closes it")
    }
}

/// Plans that are made at once.
const PLANS: usize = 2;

/// Batches of a list, where the caller names no number, and at most.
const LISTED: u32 = 20;
const MAX_LISTED: u32 = 200;

/// How many builds are cancelled or retried in one transaction.
const PAGE: i64 = 100;

/// How many lost builds are read for one answer, and how many of them are shown with the builds
/// that they took with them.
const MAX_LOST: i64 = 5_000;
const SHOWN_LOSSES: usize = 200;

type Reply<T> = Result<Response<T>, Status>;

impl From<ResolveError> for Status {
    /// Why there is no plan.
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Store(error) => error.into(),
            error => Self::failed_precondition(format!("no plan can be made: {error}")),
        }
    }
}

impl BatchService {
    fn store(&self) -> &Store {
        &self.views.store
    }

    /// Asks the orders of batches, on a thread for computations.
    async fn ordered<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&resolve::Batches) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let orders = self.orders.clone();
        blocking::compute(move || ask(&orders)).await.map_err(internal)
    }

    async fn find(&self, id: i64) -> Result<Batch, Status> {
        let batch = self.store().batch_fetch(BatchId(id)).await?;
        batch.ok_or_else(|| Status::not_found(format!("no batch {id} (rpmfarm batch list)")))
    }

    /// Batches with the counts of their builds, in their order.
    async fn shown(&self, batches: &[Batch]) -> Result<Vec<v1::Batch>, Status> {
        let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
        let counts = self.store().batch_count_builds(&ids).await?;
        let counts: HashMap<BatchId, BatchCounts> = counts.into_iter().collect();
        let mut all = Vec::with_capacity(batches.len());
        for batch in batches {
            let counts = counts.get(&batch.id).copied().unwrap_or_default();
            let ended = match counts.open() {
                0 => self.store().batch_fetch_last_end(batch.id).await?,
                _ => None,
            };
            all.push(shown_batch(batch, &counts, ended));
        }
        Ok(all)
    }

    async fn shown_one(&self, id: i64) -> Result<v1::Batch, Status> {
        let batch = self.find(id).await?;
        let mut shown = self.shown(std::slice::from_ref(&batch)).await?;
        Ok(shown.pop().expect("each batch is shown"))
    }

    async fn change(&self, id: i64, builds: usize) -> Reply<v1::BatchChange> {
        let batch = Some(self.shown_one(id).await?);
        Ok(Response::new(v1::BatchChange { batch, builds: count(builds) }))
    }

    /// The known facts of the packages of a request.
    async fn facts(
        &self,
        target: &Target,
        builds: &[NewBuild],
    ) -> Result<Vec<PackageFacts>, Status> {
        let names: Vec<&str> = builds.iter().map(|build| build.package.as_str()).collect();
        let mut srpms = self.store().srpm_list_newest(&target.name, &names).await?;
        let took = self.store().learned_list_took(&target.name, &names).await?;
        let facts = builds.iter().map(|build| PackageFacts {
            package: build.package.clone(),
            takes: took.get(&build.package).copied(),
            srpm: srpms.remove(&build.package),
            arches: target.arches_among(&build.arches),
            additional: additional(target, build),
        });
        Ok(facts.collect())
    }

    /// The slots of the workers that take work now, for each architecture of a target.
    async fn slots(&self, target: &Target) -> Result<Slots, Status> {
        let workers = self.views.fleet.workers(self.clock.instant());
        let standings = self.store().standing_list().await?;
        let workers = matched(&workers, &HashMap::new(), &standings);
        let of_arch = |arch: &Arch| {
            let able = workers.iter().map(|worker| &worker.candidate);
            let able = able.filter(|one| one.ready && one.is_able(*arch, target.emulation));
            (*arch, able.map(|one| one.slots).fold(0, u32::saturating_add))
        };
        Ok(target.arches.iter().map(of_arch).collect())
    }

    /// Fills in the progress of a batch that has not ended.
    async fn set_progress(
        &self,
        details: &mut v1::BatchDetails,
        batch: &Batch,
    ) -> Result<(), Status> {
        let left = self.store().batch_fetch_work_left(batch.id).await?;
        details.unlearned = count(left.unknown);
        let id = batch.id;
        let asked = self.ordered(move |orders| (orders.progress(id), orders.stuck(id)));
        let (progress, stuck) = asked.await?;
        match progress {
            Some(progress) => {
                details.ordered_here = true;
                details.set_progress(&progress);
            }
            None => {
                details.left_us = left_us(&left);
                details.note = self.who_orders().await?;
            }
        }
        details.stuck = stuck.iter().flatten().map(Into::into).collect();
        if batch.paused.is_none()
            && let Ok(target) = self.views.targets.get(&batch.target)
        {
            let slots = self.slots(&target).await?.into_values().fold(0, u32::saturating_add);
            details.expected_end_us = expected_end_us(details, slots, self.clock.time());
        }
        Ok(())
    }

    /// Which coordinator knows the order of batches, if not this one.
    async fn who_orders(&self) -> Result<String, Status> {
        let now = self.clock.instant();
        if self.peers.stages(now).contains(&Stage::Resolve) {
            return Ok("the critical path, and what holds the batch, are not known yet".to_owned());
        }
        let leases = self.store().stage_lease_list().await?;
        let holder = leases.get(&Stage::Resolve).map(|lease| lease.holder.as_str());
        let others = self.peers.others(now);
        let leads = others.iter().find(|(row, alive)| *alive && Some(row.id.as_str()) == holder);
        Ok(match leads {
            Some((row, _)) => format!(
                "another coordinator orders batches, and knows the critical path and what holds \
                 the batch: ask it with --server {}",
                shown(&row.address)
            ),
            None => "no coordinator orders batches now: what is left is known by the facts alone"
                .to_owned(),
        })
    }

    /// Fills in the lost builds of a batch.
    async fn set_losses(&self, details: &mut v1::BatchDetails, id: BatchId) -> Result<(), Status> {
        let lost = self.store().batch_list_lost(id, MAX_LOST).await?;
        let of_package = |lost: &&LostBuild| {
            lost.failure.as_ref().is_some_and(|failure| failure.fault == Fault::Package)
        };
        let failed = lost.iter().filter(|lost| lost.failure.is_some()).count();
        let by_package = lost.iter().filter(of_package).count();
        details.failed_by_package = count(by_package);
        details.failed_by_farm = count(failed - by_package);
        let losses = match self.ordered(move |orders| orders.losses(id)).await? {
            Some(losses) => losses,
            None => {
                let builds: Vec<BuildId> = lost.iter().map(|lost| lost.build).collect();
                replayed(&lost, &self.store().srpm_list(&builds).await?)
            }
        };
        let without: Vec<BuildId> =
            losses.iter().take(SHOWN_LOSSES).flat_map(|loss| loss.without.clone()).collect();
        let mut packages: BTreeMap<BuildId, String> =
            lost.iter().map(|lost| (lost.build, lost.package.clone())).collect();
        for ids in without.chunks(request_checks::MAX_NAMED) {
            let builds = self.store().build_list_by_id(ids).await?;
            packages.extend(builds.into_iter().map(|build| (build.id, build.package)));
        }
        let lost: HashMap<BuildId, &LostBuild> =
            lost.iter().map(|lost| (lost.build, lost)).collect();
        let losses = losses.iter().take(SHOWN_LOSSES);
        details.losses = losses.map(|loss| shown_loss(loss, &lost, &packages)).collect();
        Ok(())
    }
}

fn shown_batch(batch: &Batch, counts: &BatchCounts, ended: Option<Timestamp>) -> v1::Batch {
    v1::Batch {
        id: batch.id.0,
        target: batch.target.clone(),
        order: batch.order.to_string(),
        paused_us: us(batch.paused),
        submitter: batch.submitter.clone(),
        created_us: batch.created.as_us(),
        ended_us: us(ended),
        builds: count(counts.builds),
        without_srpm: count(counts.without_srpm),
        waiting: count(counts.waiting),
        building: count(counts.building),
        finishing: count(counts.finishing),
        published: count(counts.published),
        failed: count(counts.failed),
        cancelled: count(counts.cancelled),
    }
}

fn shown_loss(
    loss: &Loss,
    lost: &HashMap<BuildId, &LostBuild>,
    packages: &BTreeMap<BuildId, String>,
) -> v1::BatchLoss {
    let member = |build: &BuildId| {
        let package = packages.get(build).cloned().unwrap_or_default();
        v1::BatchMember { build: build.0, package }
    };
    let failure = lost.get(&loss.build).and_then(|lost| lost.failure.as_ref());
    v1::BatchLoss {
        member: Some(v1::BatchMember { build: loss.build.0, package: loss.package.clone() }),
        failure: failure.map(Into::into),
        took: loss.took.iter().map(member).collect(),
        without: loss.without.iter().map(member).collect(),
    }
}

/// The requirements of a build's root in addition to those of its spec.
fn additional(target: &Target, build: &NewBuild) -> Vec<String> {
    if build.options.additional_packages.is_empty() {
        return target.additional_packages(&build.package).to_vec();
    }
    let target = target.for_build(&build.package, &build.options);
    target.additional_packages(&build.package).to_vec()
}

/// The expected time of the remaining builds, where no coordinator has the graph of their batch.
fn left_us(left: &WorkLeft) -> i64 {
    let unknown = i64::try_from(left.unknown).unwrap_or(i64::MAX);
    span_us(left.known).saturating_add(span_us(why::UNKNOWN).saturating_mul(unknown))
}

/// When a batch ends, on so many slots: no sooner than its critical path and the work that is left.
/// 0 when nothing runs.
fn expected_end_us(details: &v1::BatchDetails, slots: u32, now: Timestamp) -> i64 {
    if slots == 0 {
        return 0;
    }
    let work_us = details.left_us / i64::from(slots);
    now.as_us().saturating_add(work_us.max(details.critical_path_us))
}

/// The builds that failed because of each lost build, from their facts, whichever coordinator
/// ordered the batch: those that were refused when their roots were solved, and required what the
/// lost build was to make.
fn replayed(lost: &[LostBuild], srpms: &HashMap<BuildId, Srpm>) -> Vec<Loss> {
    let arch = Arch::X86_64;
    let mut graph = BatchGraph::new(OrderMode::default());
    for one in lost {
        graph.add_member(one.build, &one.package, 0);
        let Some(srpm) = srpms.get(&one.build) else { continue };
        let names = srpm.predicts_anywhere();
        graph.set_srpm(one.build, &[arch], names.iter().map(String::as_str));
        let stage = one.failure.as_ref().map(|failure| &failure.stage);
        if stage == Some(&FailureStage::Resolve) {
            let of_terms = srpm.terms.values().flat_map(|terms| &terms.requires);
            let requires: Vec<String> = srpm.requires.iter().chain(of_terms).cloned().collect();
            graph.set_lacking(one.build, arch, 0, Lacking::Requirements(&requires));
        }
    }
    let mut in_order: Vec<&LostBuild> = lost.iter().collect();
    in_order.sort_by_key(|one| (one.at, one.build));
    for one in in_order {
        graph.lose(one.build);
    }
    graph.losses()
}

/// Cancels all open builds of a batch, or retries all unpublished ones, page by page. Returns how
/// many were changed.
async fn change_all(
    store: &Store,
    id: BatchId,
    change: BatchBuildChange,
    clock: Clock,
) -> store::Result<usize> {
    let (mut after, mut changed) = (BuildId(0), 0);
    loop {
        let page = store.batch_change_page(id, change, after, PAGE, clock.time()).await?;
        let Some((more, last)) = page else { return Ok(changed) };
        changed += more;
        after = last;
    }
}

/// Cancels all builds of a batch. Returns how many were cancelled.
async fn cancel_all(store: &Store, id: BatchId, clock: Clock) -> store::Result<usize> {
    // The batch is paused meanwhile, so that no build begins, or is refused for want of the builds
    // that are cancelled already.
    store.batch_pause(id, clock.time()).await?;
    let cancelled = change_all(store, id, BatchBuildChange::Cancel, clock).await?;
    store.batch_resume(id).await?;
    Ok(cancelled)
}

/// Retries all builds of a batch that ended without being published. Returns how many there are.
async fn retry_all(store: &Store, id: BatchId, clock: Clock) -> store::Result<usize> {
    // The batch is paused meanwhile, so that builds that need others wait until these are open
    // again. A batch that a user had paused stays paused.
    let was_running = store.batch_pause(id, clock.time()).await?;
    let retried = change_all(store, id, BatchBuildChange::Retry, clock).await?;
    if was_running {
        store.batch_resume(id).await?;
    }
    Ok(retried)
}

#[tonic::async_trait]
impl Batches for BatchService {
    async fn plan_builds(&self, request: Request<v1::StartBuildsRequest>) -> Reply<v1::BatchPlan> {
        let request = request.into_inner();
        let target = self.views.targets.get(&request.target)?;
        let builds = request_checks::builds(&request, &target, self.max_batch)?;
        let order = request_checks::order(&request, &target)?;
        let _turn = self.plans.begin().await;
        let facts = self.facts(&target, &builds).await?;
        let slots = self.slots(&target).await?;
        let options = builds.first().map(|build| build.options.clone()).unwrap_or_default();
        let with = (self.resolver.clone(), self.store().clone());
        let planner = Planner::new(with, target, (order, options), self.clock.system());
        Ok(Response::new(Box::pin(planner.plan(facts, slots)).await?))
    }

    async fn get_batch(&self, request: Request<v1::GetBatchRequest>) -> Reply<v1::BatchDetails> {
        let batch = self.find(request.into_inner().id).await?;
        let shown = self.shown_one(batch.id.0).await?;
        let is_open = shown.ended_us == 0;
        let work_us = span_us(self.store().batch_fetch_work_done(batch.id).await?);
        let mut details =
            v1::BatchDetails { batch: Some(shown), work_us, ..v1::BatchDetails::default() };
        if is_open {
            self.set_progress(&mut details, &batch).await?;
        }
        self.set_losses(&mut details, batch.id).await?;
        Ok(Response::new(details))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Reply<v1::ListBatchesReply> {
        let v1::ListBatchesRequest { limit, before } = request.into_inner();
        let limit = if limit == 0 { LISTED } else { limit.min(MAX_LISTED) };
        let before = (before != 0).then_some(BatchId(before));
        let batches = self.store().batch_list(before, limit.into()).await?;
        Ok(Response::new(v1::ListBatchesReply { batches: self.shown(&batches).await? }))
    }

    async fn pause_batch(&self, request: Request<v1::PauseBatchRequest>) -> Reply<v1::BatchChange> {
        let id = request.into_inner().id;
        if self.shown_one(id).await?.ended_us != 0 {
            return Err(Status::failed_precondition(format!("batch {id} has ended")));
        }
        let (store, now) = (self.store().clone(), self.clock.time());
        if to_the_end(async move { store.batch_pause(BatchId(id), now).await }).await?? {
            tracing::info!(batch = id, "batch paused");
        }
        self.change(id, 0).await
    }

    async fn resume_batch(
        &self,
        request: Request<v1::ResumeBatchRequest>,
    ) -> Reply<v1::BatchChange> {
        let id = request.into_inner().id;
        self.find(id).await?;
        let store = self.store().clone();
        if to_the_end(async move { store.batch_resume(BatchId(id)).await }).await?? {
            tracing::info!(batch = id, "batch resumed");
        }
        self.change(id, 0).await
    }

    async fn cancel_batch(
        &self,
        request: Request<v1::CancelBatchRequest>,
    ) -> Reply<v1::BatchChange> {
        let id = request.into_inner().id;
        self.find(id).await?;
        // A worker that is granted a task in between gets the news with its next heartbeat.
        let live = self.store().batch_list_live_attempts(BatchId(id)).await?;
        let (store, clock) = (self.store().clone(), self.clock);
        let cancel = async move { cancel_all(&store, BatchId(id), clock).await };
        let cancelled = to_the_end(cancel).await??;
        for (worker, attempt) in live {
            self.views.fleet.wake_session(&worker);
            self.reports.finish_logs(attempt);
        }
        if cancelled == 0 {
            return Err(Status::failed_precondition(format!("batch {id} has ended")));
        }
        tracing::info!(batch = id, builds = cancelled, "batch cancelled");
        self.change(id, cancelled).await
    }

    async fn retry_batch(&self, request: Request<v1::RetryBatchRequest>) -> Reply<v1::BatchChange> {
        let id = request.into_inner().id;
        self.find(id).await?;
        let (store, clock) = (self.store().clone(), self.clock);
        let retry = async move { retry_all(&store, BatchId(id), clock).await };
        let retried = to_the_end(retry).await??;
        if retried == 0 {
            return Err(Status::failed_precondition(format!(
                "no build of batch {id} failed or was cancelled; only those are tried again"
            )));
        }
        tracing::info!(batch = id, builds = retried, "batch tried again");
        self.change(id, retried).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpmfarm_core::terms::AllTerms;
    use rpmfarm_core::{Failure, Sha256};

    use super::*;

    fn srpm(makes: &str, requires: &[&str]) -> Srpm {
        Srpm {
            digest: Sha256::compute(makes.as_bytes()),
            size: 1,
            nevra: format!("{makes}-1-1.src").parse().expect("a NEVRA"),
            requires: requires.iter().map(ToString::to_string).collect(),
            conflicts: Vec::new(),
            predicts: vec![makes.to_owned(), format!("{makes}-devel")],
            dynamic: false,
            terms: AllTerms::default(),
        }
    }

    fn lost(build: i64, at: i64, package: &str, stage: Option<FailureStage>) -> LostBuild {
        let failure = stage.map(|stage| Failure::new(Fault::Package, stage, "it failed"));
        let at = Timestamp::from_us(at);
        LostBuild { build: BuildId(build), package: package.into(), at, failure }
    }

    #[test]
    fn a_loss_has_what_was_refused_for_want_of_it() {
        let builds = [
            lost(1, 9, "app", Some(FailureStage::Resolve)),
            lost(2, 5, "lib", Some(FailureStage::Build)),
            lost(3, 7, "mid", Some(FailureStage::Resolve)),
            lost(4, 6, "other", None),
        ];
        let srpms = [
            (1, srpm("app", &["mid-devel >= 1", "gcc"])),
            (2, srpm("lib", &["gcc"])),
            (3, srpm("mid", &["lib-devel"])),
            (4, srpm("other", &["lib-devel"])),
        ];
        let srpms = srpms.into_iter().map(|(build, srpm)| (BuildId(build), srpm)).collect();
        let losses = replayed(&builds, &srpms);
        let found: Vec<_> =
            losses.iter().map(|loss| (loss.package.as_str(), loss.took.clone())).collect();
        let taken = vec![BuildId(1), BuildId(3)];
        assert_eq!(found, [("lib", taken), ("other", Vec::new())], "in the order of their ends");
    }

    #[test]
    fn a_batch_ends_no_sooner_than_its_longest_chain_and_its_work() {
        let known = Duration::from_secs(600);
        let left = WorkLeft { known, unknown: 1 };
        assert_eq!(left_us(&left), 600_000_000 + span_us(why::UNKNOWN));
        let details = |left_us: i64, critical_path_us: i64| v1::BatchDetails {
            left_us,
            critical_path_us,
            ..v1::BatchDetails::default()
        };
        let now = Timestamp::from_us(1000);
        assert_eq!(expected_end_us(&details(400, 50), 4, now), 1100);
        assert_eq!(expected_end_us(&details(400, 150), 4, now), 1150);
        assert_eq!(expected_end_us(&details(400, 150), 0, now), 0, "no worker takes work");
    }
}
