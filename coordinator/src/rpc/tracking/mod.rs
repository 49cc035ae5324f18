//! What people and scripts call to follow upstream.
//!
//! Owns what a request must be and what is done for it; `view` says how packages and pushes look.
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpmfarm_core::name::{check_git_ref, check_package, shown};
use rpmfarm_core::track::plan::{PlannedPush, PolicyOverrides};
use rpmfarm_core::track::policy::Policy;
use rpmfarm_core::track::schedule::first;
use rpmfarm_core::track::seen::TrackRef;
use rpmfarm_core::track::{Forge, PushVerdict, Verdict};
use rpmfarm_core::{BuildId, Target};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::tracking_server::Tracking;
use tonic::{Request, Response, Status};

use super::asked::named;
use super::internal;
use crate::clock::now_us;
use crate::store::{NewTracked, OrderRow, PushFilter, PushRow, Store, Tracked};
use crate::targets::Targets;
use crate::track::{ForgeFailure, Tracker, plan};

/// The service.
#[derive(Clone)]
pub struct TrackingService {
    /// What is followed.
    pub store: Store,
    /// What is rebuilt.
    pub targets: Targets,
    /// Asks forges, and is told what to look at.
    pub tracker: Tracker,
}

type Reply<T> = Result<Response<T>, Status>;

/// Packages of one request at most.
const MAX_PACKAGES: usize = 20_000;

/// Pushes that are shown of one package.
const SHOWN_PUSHES: i64 = 50;

impl From<ForgeFailure> for Status {
    fn from(failure: ForgeFailure) -> Self {
        let message = failure.to_string();
        match failure {
            ForgeFailure::NoNamespace { .. } => Self::not_found(message),
            ForgeFailure::NoForge { .. } => Self::failed_precondition(message),
            ForgeFailure::Forge(_) | ForgeFailure::Server(_) => Self::aborted(message),
        }
    }
}

fn bad(message: impl ToString) -> Status {
    Status::invalid_argument(message.to_string())
}

fn checked(packages: Vec<String>) -> Result<Vec<String>, Status> {
    if packages.len() > MAX_PACKAGES {
        return Err(bad(format!("{} packages, at most {MAX_PACKAGES}", packages.len())));
    }
    let packages: BTreeSet<String> = packages.into_iter().collect();
    packages.into_iter().map(|name| check_package(&name).map(|()| name).map_err(bad)).collect()
}

impl TrackingService {
    async fn followed(&self, target: &str, package: &str) -> Result<Tracked, Status> {
        let row = self.store.tracked(target, package).await?;
        row.ok_or_else(|| {
            Status::not_found(format!(
                "{} is not followed for {target} (rpmfarm track list)",
                shown(package)
            ))
        })
    }

    /// The targets that are meant: one, or all that can be used.
    fn meant(&self, name: &str) -> Result<Vec<Arc<Target>>, Status> {
        if !name.is_empty() {
            return Ok(vec![self.targets.get(name)?]);
        }
        Ok(self.targets.all().into_values().filter_map(Result::ok).collect())
    }

    async fn orders(&self, target: &str) -> Result<PolicyOverrides, Status> {
        Ok(plan::orders(&self.store, target).await?)
    }

    /// Why the build that a push led to has failed; none when it has not.
    async fn failed(&self, row: &PushRow) -> Result<Option<String>, Status> {
        if row.ended() != Some(PushVerdict::Build) || row.build == 0 {
            return Ok(None);
        }
        let build = BuildId(row.build);
        let since_us = self.store.retried_us(build).await?;
        let failures = self.store.failures(build, since_us).await?;
        let last = failures.into_iter().next_back().filter(|row| row.retry_us.is_none());
        Ok(last.map(|row| shown(&row.failure.message)))
    }

    /// The open pushes of a target as they are shown.
    async fn open(
        &self,
        target: &Target,
        now_us: i64,
    ) -> Result<Vec<(PlannedPush, v1::Push)>, Status> {
        let planned = plan::of_target(&self.store, target, now_us).await?;
        let orders = self.orders(&target.name).await?;
        let show = |planned: PlannedPush| {
            let rule = orders.rule(target, &planned.push.package, now_us);
            let push = view::planned(&target.name, &planned, &rule);
            (planned, push)
        };
        Ok(planned.into_iter().map(show).collect())
    }
}

#[tonic::async_trait]
impl Tracking for TrackingService {
    async fn track(&self, request: Request<v1::TrackRequest>) -> Reply<v1::TrackReply> {
        let request = request.into_inner();
        let target = self.targets.get(&request.target)?;
        if !request.git_ref.is_empty() {
            check_git_ref(&request.git_ref).map_err(bad)?;
        }
        let policy: Option<Policy> = Some(request.policy.as_str())
            .filter(|p| !p.is_empty())
            .map(str::parse)
            .transpose()
            .map_err(bad)?;
        let mut packages = request.packages;
        let mut skipped = 0;
        if !request.forge.is_empty() {
            let forge: Forge = request.forge.parse().map_err(bad)?;
            let listed = self.tracker.list(&target, forge, &request.namespace).await?;
            skipped = listed.skipped;
            packages.extend(listed.packages);
        }
        let packages = checked(packages)?;
        if packages.is_empty() {
            return Err(bad("no packages: name some, or a namespace that has any"));
        }
        let (now_us, who) = (now_us(), shown(&request.who));
        let pause_us = 1_000_000 / i64::from(target.track.host_requests.max(1));
        let new: Vec<NewTracked> = packages
            .iter()
            .enumerate()
            .map(|(index, package)| NewTracked {
                package: package.clone(),
                git_ref: request.git_ref.clone(),
                build_first: request.build,
                due_us: first(index, pause_us, now_us),
            })
            .collect();
        // Policy first, so that no push is decided on before it holds.
        if let Some(policy) = policy {
            for package in &packages {
                let row = order(package, policy.as_str(), "", 0, &who, now_us);
                self.store.add_track_order(&target.name, &row).await?;
            }
        }
        let added = self.store.track(&target.name, &new, &who, now_us).await?;
        self.tracker.ring();
        let known = count(packages.len() - added.len());
        Ok(Response::new(v1::TrackReply { added, known, skipped: count(skipped) }))
    }

    async fn untrack(&self, request: Request<v1::UntrackRequest>) -> Reply<v1::UntrackReply> {
        let request = request.into_inner();
        named(&request.packages, "package")?;
        for package in &request.packages {
            self.followed(&request.target, package).await?;
        }
        let who = shown(&request.who);
        let mut removed = Vec::new();
        for package in request.packages {
            if self.store.untrack(&request.target, &package, &who, now_us()).await? {
                removed.push(package);
            }
        }
        Ok(Response::new(v1::UntrackReply { removed }))
    }

    async fn list_tracked(
        &self,
        request: Request<v1::ListTrackedRequest>,
    ) -> Reply<v1::ListTrackedReply> {
        let wanted = request.into_inner().target;
        let now_us = now_us();
        let mut packages = Vec::new();
        for target in self.meant(&wanted)? {
            let orders = self.orders(&target.name).await?;
            let open = self.open(&target, now_us).await?;
            let open: BTreeMap<&str, PushVerdict> = open
                .iter()
                .map(|(planned, _)| (planned.push.package.as_str(), planned.verdict.word()))
                .collect();
            let seen = self.store.seen_of_target(&target.name).await?;
            let mut of_package: BTreeMap<String, Vec<TrackRef>> = BTreeMap::new();
            for seen in seen {
                of_package.entry(seen.package.clone()).or_default().push(seen);
            }
            let seen = of_package;
            for row in self.store.all_tracked(&target.name).await? {
                let rule = orders.rule(&target, &row.package, now_us);
                let seen = seen.get(&row.package).map_or(&[][..], Vec::as_slice);
                let verdict = open.get(row.package.as_str()).copied();
                let mut tracked = view::tracked(&target, row, &rule, seen);
                view::set_push(&mut tracked, verdict);
                packages.push(tracked);
            }
        }
        Ok(Response::new(v1::ListTrackedReply { packages }))
    }

    async fn get_tracked(
        &self,
        request: Request<v1::GetTrackedRequest>,
    ) -> Reply<v1::TrackedDetails> {
        let v1::GetTrackedRequest { target, package } = request.into_inner();
        let loaded = self.targets.get(&target)?;
        let row = self.followed(&target, &package).await?;
        let now_us = now_us();
        let rule = self.orders(&target).await?.rule(&loaded, &package, now_us);
        let seen = self.store.seen(&target, &package).await?;
        let mut tracked = view::tracked(&loaded, row, &rule, &seen);
        let mut open: BTreeMap<i64, v1::Push> = BTreeMap::new();
        for (planned, push) in self.open(&loaded, now_us).await? {
            if push.package == package {
                view::set_push(&mut tracked, Some(planned.verdict.word()));
                open.insert(planned.push.id, push);
            }
        }
        let filter =
            PushFilter { target: target.clone(), package: package.clone(), limit: SHOWN_PUSHES };
        let mut pushes = Vec::new();
        for row in self.store.pushes(&filter).await? {
            let shown = match open.remove(&row.id) {
                Some(push) => push,
                None => {
                    let failed = self.failed(&row).await?;
                    view::push(row, failed)
                }
            };
            pushes.push(shown);
        }
        let orders = self.store.track_history(&target, &package).await?;
        Ok(Response::new(v1::TrackedDetails {
            tracked: Some(tracked),
            pushes,
            orders: orders.into_iter().map(view::order).collect(),
        }))
    }

    async fn order_policy(
        &self,
        request: Request<v1::OrderPolicyRequest>,
    ) -> Reply<v1::OrderPolicyReply> {
        let request = request.into_inner();
        let target = self.targets.get(&request.target)?;
        let now_us = now_us();
        match request.word.as_str() {
            "default" => {}
            "freeze" if request.until_us <= now_us => {
                return Err(bad("a freeze needs an end that is not past"));
            }
            "freeze" if request.reason.trim().is_empty() => {
                return Err(bad("a freeze needs a reason"));
            }
            "freeze" => {}
            word => drop(word.parse::<Policy>().map_err(bad)?),
        }
        let until_us = if request.word == "freeze" { request.until_us } else { 0 };
        let whole = request.packages.is_empty();
        let packages = if whole { vec![String::new()] } else { checked(request.packages)? };
        if !whole {
            for package in &packages {
                self.followed(&target.name, package).await?;
            }
        }
        let (reason, who) = (shown(&request.reason), shown(&request.who));
        for package in &packages {
            let row = order(package, &request.word, &reason, until_us, &who, now_us);
            self.store.add_track_order(&target.name, &row).await?;
        }
        Ok(Response::new(v1::OrderPolicyReply {}))
    }

    async fn approve_pushes(
        &self,
        request: Request<v1::ApprovePushesRequest>,
    ) -> Reply<v1::ApprovePushesReply> {
        let request = request.into_inner();
        named(&request.packages, "package")?;
        let mut name = request.target.clone();
        if request.storm != 0 {
            let storm = self.store.storm(request.storm).await?;
            let no_storm = || Status::not_found(format!("no storm {}", request.storm));
            name = storm.ok_or_else(no_storm)?.target;
        }
        let target = self.targets.get(&name)?;
        let wanted: BTreeSet<String> = request.packages.iter().cloned().collect();
        let open = self.open(&target, now_us()).await?;
        let mut chosen = Vec::new();
        for (planned, push) in open {
            let meant = wanted.contains(&push.package)
                || (request.storm != 0 && push.storm == request.storm)
                || request.all;
            if meant && planned.verdict.is_for_approval() {
                let beside = planned.beside.map(|beside| beside.id);
                chosen.push(([Some(planned.push.id), beside], push));
            } else if wanted.contains(&push.package)
                && let Verdict::Frozen { reason, .. } = &planned.verdict
            {
                return Err(Status::failed_precondition(format!(
                    "{} is frozen: {reason}; end the freeze first (rpmfarm track resume)",
                    push.package
                )));
            }
        }
        let named = |package: &&String| !chosen.iter().any(|(_, push)| push.package == **package);
        if let Some(package) = wanted.iter().find(named) {
            let package = shown(package);
            return Err(Status::not_found(format!("no push to {package} waits for approval")));
        }
        let ids: Vec<i64> = chosen.iter().flat_map(|(ids, _)| ids).flatten().copied().collect();
        self.store.approve(&ids, &shown(&request.who), now_us()).await?;
        let pushes = chosen.into_iter().map(|(_, push)| push).collect();
        Ok(Response::new(v1::ApprovePushesReply { pushes }))
    }

    async fn look_now(&self, request: Request<v1::LookNowRequest>) -> Reply<v1::LookNowReply> {
        let v1::LookNowRequest { target, mut packages } = request.into_inner();
        named(&packages, "package")?;
        self.targets.get(&target)?;
        if packages.is_empty() {
            let all = self.store.all_tracked(&target).await?;
            packages = all.into_iter().map(|row| row.package).collect();
        }
        for package in &packages {
            self.followed(&target, package).await?;
            self.store.look_now(&target, package).await?;
        }
        self.tracker.ring();
        Ok(Response::new(v1::LookNowReply { packages: count(packages.len()) }))
    }

    async fn plan_pushes(
        &self,
        request: Request<v1::PlanPushesRequest>,
    ) -> Reply<v1::PlanPushesReply> {
        let wanted = request.into_inner().target;
        let mut reply = v1::PlanPushesReply::default();
        for target in self.meant(&wanted)? {
            let mut storms: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for (planned, push) in self.open(&target, now_us()).await? {
                if planned.verdict.word() == PushVerdict::Storm {
                    storms.entry(push.storm).or_default().push(push.package.clone());
                }
                reply.pushes.push(push);
            }
            for (id, packages) in storms {
                let storm = self.store.storm(id).await?;
                let storm = storm.ok_or_else(|| internal(anyhow::anyhow!("storm {id} is gone")))?;
                let (target, reason, at_us) = (storm.target, storm.reason, storm.at_us);
                reply.storms.push(v1::Storm { id, target, reason, at_us, packages });
            }
        }
        Ok(Response::new(reply))
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn order(
    package: &str,
    word: &str,
    reason: &str,
    until_us: i64,
    who: &str,
    at_us: i64,
) -> OrderRow {
    OrderRow {
        package: package.into(),
        word: word.into(),
        reason: reason.into(),
        until_us,
        who: who.into(),
        at_us,
    }
}
