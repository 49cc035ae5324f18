//! The calls that follow upstream.
//!
//! Owns the checks and the effects of these requests; `view` shows packages and pushes.
mod view;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rpmfarm_core::name::{check_git_ref, check_package, shown};
use rpmfarm_core::track::plan::{PlannedPush, PolicyOverrides};
use rpmfarm_core::track::policy::Policy;
use rpmfarm_core::track::schedule::first;
use rpmfarm_core::track::seen::TrackRef;
use rpmfarm_core::track::{Forge, PushDecision, PushVerdict};
use rpmfarm_core::{PushId, StormId, Target, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::tracking_server::Tracking;
use tonic::{Request, Response, Status};

use super::request_checks::named;
use super::{count, internal, pages};
use crate::clock;
use crate::store::{NewTracked, PolicyOverrideRow, PushFilter, PushRow, Store, TrackedPackage};
use crate::targets::Targets;
use crate::track::{ForgeListError, Tracker, plan};

#[derive(Clone)]
pub struct TrackingService {
    pub store: Store,
    pub targets: Targets,
    /// Asks forges for lists of repositories, and schedules polls.
    pub tracker: Tracker,
}

type Reply<T> = Result<Response<T>, Status>;

/// How many packages one request may have.
const MAX_PACKAGES: usize = 20_000;

/// How many pushes of one package are shown.
const SHOWN_PUSHES: i64 = 50;

impl From<ForgeListError> for Status {
    fn from(failure: ForgeListError) -> Self {
        let message = failure.to_string();
        match failure {
            ForgeListError::NoNamespace { .. } => Self::not_found(message),
            ForgeListError::NoForge { .. } => Self::failed_precondition(message),
            ForgeListError::Forge(_) | ForgeListError::Server(_) => Self::aborted(message),
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
    async fn followed(&self, target: &str, package: &str) -> Result<TrackedPackage, Status> {
        let row = self.store.tracked_fetch(target, package).await?;
        row.ok_or_else(|| {
            Status::not_found(format!(
                "{} is not tracked for {target} (rpmfarm track list)",
                shown(package)
            ))
        })
    }

    /// The targets of a request: one, or all that can be used.
    fn meant(&self, name: &str) -> Result<Vec<Arc<Target>>, Status> {
        if !name.is_empty() {
            return Ok(vec![self.targets.get(name)?]);
        }
        Ok(self.targets.all().into_values().filter_map(Result::ok).collect())
    }

    async fn policy_overrides(&self, target: &str) -> Result<PolicyOverrides, Status> {
        Ok(plan::policy_overrides(&self.store, target).await?)
    }

    /// Packages that are followed for a target, in the order of their names, as they are shown.
    async fn shown_tracked(
        &self,
        target: &Target,
        rows: Vec<TrackedPackage>,
        now: Timestamp,
    ) -> Result<Vec<v1::Tracked>, Status> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(Vec::new());
        };
        let ends = (first.package.as_str(), last.package.as_str());
        let mut seen: BTreeMap<String, Vec<TrackRef>> = BTreeMap::new();
        for found in self.store.track_ref_list_between(&target.name, ends).await? {
            seen.entry(found.package.clone()).or_default().push(found);
        }
        let overrides = self.policy_overrides(&target.name).await?;
        let open = self.open(target, now).await?;
        let open: BTreeMap<&str, PushVerdict> = open
            .iter()
            .map(|(planned, _)| (planned.push.package.as_str(), planned.verdict.word()))
            .collect();
        let show = |row: TrackedPackage| {
            let rule = overrides.rule(target, &row.package, now);
            let seen = seen.get(&row.package).map_or(&[][..], Vec::as_slice);
            let verdict = open.get(row.package.as_str()).copied();
            let mut tracked = view::tracked(target, row, &rule, seen);
            view::set_push(&mut tracked, verdict);
            tracked
        };
        Ok(rows.into_iter().map(show).collect())
    }

    /// Why the build of a push has failed; `None` when it has not.
    async fn failed(&self, row: &PushRow) -> Result<Option<String>, Status> {
        let is_built = row.ended() == Some(PushVerdict::Build);
        let Some(build) = row.build.filter(|_| is_built) else { return Ok(None) };
        let since = self.store.build_retried_at(build).await?;
        let failures = self.store.failure_list(build, since).await?;
        let last = failures.into_iter().next_back().filter(|row| row.retry.is_none());
        Ok(last.map(|row| shown(&row.failure.message)))
    }

    /// The open pushes of a target, in the form of the API.
    async fn open(
        &self,
        target: &Target,
        now: Timestamp,
    ) -> Result<Vec<(PlannedPush, v1::Push)>, Status> {
        let planned = plan::for_target(&self.store, target, now).await?;
        let overrides = self.policy_overrides(&target.name).await?;
        let show = |planned: PlannedPush| {
            let rule = overrides.rule(target, &planned.push.package, now);
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
        let (now, who) = (clock::now(), shown(&request.who));
        let pause = Duration::from_secs(1) / target.track.host_requests.max(1);
        let new: Vec<NewTracked> = packages
            .iter()
            .enumerate()
            .map(|(index, package)| NewTracked {
                package: package.clone(),
                git_ref: request.git_ref.clone(),
                build_first: request.build,
                due: first(index, pause, now),
            })
            .collect();
        // The policy is set first, so that no push is decided on before it applies.
        if let Some(policy) = policy {
            for package in &packages {
                let row = override_row(package, policy.as_str(), "", None, &who, now);
                self.store.policy_override_insert(&target.name, &row).await?;
            }
        }
        let added = self.store.tracked_insert(&target.name, &new, &who, now).await?;
        self.tracker.wake();
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
            if self.store.tracked_delete(&request.target, &package, &who, clock::now()).await? {
                removed.push(package);
            }
        }
        Ok(Response::new(v1::UntrackReply { removed }))
    }

    async fn list_tracked(
        &self,
        request: Request<v1::ListTrackedRequest>,
    ) -> Reply<v1::ListTrackedReply> {
        let v1::ListTrackedRequest { target: wanted, limit, after } = request.into_inner();
        let (size, now) = (pages::size(limit), clock::now());
        let place = followed_place(&after)?;
        let mut reply = v1::ListTrackedReply::default();
        for target in self.meant(&wanted)? {
            let after = match target.name.as_str().cmp(place.0) {
                Ordering::Less => continue,
                Ordering::Equal => place.1,
                Ordering::Greater => "",
            };
            let missing = size - reply.packages.len();
            // One row more shows whether others follow.
            let one_more = missing.saturating_add(1);
            let mut rows = self.store.tracked_list_page(&target.name, after, one_more).await?;
            let more = pages::cut(&mut rows, missing);
            reply.packages.extend(self.shown_tracked(&target, rows, now).await?);
            if more {
                let last = reply.packages.last();
                reply.next = last.map_or_else(String::new, token_of_followed);
                break;
            }
        }
        Ok(Response::new(reply))
    }

    async fn get_tracked(
        &self,
        request: Request<v1::GetTrackedRequest>,
    ) -> Reply<v1::TrackedDetails> {
        let v1::GetTrackedRequest { target, package } = request.into_inner();
        let loaded = self.targets.get(&target)?;
        let row = self.followed(&target, &package).await?;
        let now = clock::now();
        let rule = self.policy_overrides(&target).await?.rule(&loaded, &package, now);
        let seen = self.store.track_ref_list(&target, &package).await?;
        let mut tracked = view::tracked(&loaded, row, &rule, &seen);
        let mut open: BTreeMap<PushId, v1::Push> = BTreeMap::new();
        for (planned, push) in self.open(&loaded, now).await? {
            if push.package == package {
                view::set_push(&mut tracked, Some(planned.verdict.word()));
                open.insert(planned.push.id, push);
            }
        }
        let filter =
            PushFilter { target: target.clone(), package: package.clone(), limit: SHOWN_PUSHES };
        let mut pushes = Vec::new();
        for row in self.store.push_list(&filter).await? {
            let shown = match open.remove(&row.id) {
                Some(push) => push,
                None => {
                    let failed = self.failed(&row).await?;
                    view::push(row, failed)
                }
            };
            pushes.push(shown);
        }
        let overrides = self.store.policy_override_list_history(&target, &package).await?;
        Ok(Response::new(v1::TrackedDetails {
            tracked: Some(tracked),
            pushes,
            orders: overrides.into_iter().map(view::policy_override).collect(),
        }))
    }

    async fn order_policy(
        &self,
        request: Request<v1::OrderPolicyRequest>,
    ) -> Reply<v1::OrderPolicyReply> {
        let request = request.into_inner();
        let target = self.targets.get(&request.target)?;
        let now = clock::now();
        match request.word.as_str() {
            "default" => {}
            "freeze" if Timestamp::from_us(request.until_us) <= now => {
                return Err(bad("a freeze needs an end in the future"));
            }
            "freeze" if request.reason.trim().is_empty() => {
                return Err(bad("a freeze needs a reason"));
            }
            "freeze" => {}
            word => drop(word.parse::<Policy>().map_err(bad)?),
        }
        let until = Timestamp::from_us(request.until_us);
        let until = (request.word == "freeze").then_some(until);
        let whole = request.packages.is_empty();
        let packages = if whole { vec![String::new()] } else { checked(request.packages)? };
        if !whole {
            for package in &packages {
                self.followed(&target.name, package).await?;
            }
        }
        let (reason, who) = (shown(&request.reason), shown(&request.who));
        for package in &packages {
            let row = override_row(package, &request.word, &reason, until, &who, now);
            self.store.policy_override_insert(&target.name, &row).await?;
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
            let storm = self.store.storm_fetch(StormId(request.storm)).await?;
            let no_storm = || Status::not_found(format!("no storm {}", request.storm));
            name = storm.ok_or_else(no_storm)?.target;
        }
        let target = self.targets.get(&name)?;
        let wanted: BTreeSet<String> = request.packages.iter().cloned().collect();
        let open = self.open(&target, clock::now()).await?;
        let mut chosen = Vec::new();
        for (planned, push) in open {
            let meant = wanted.contains(&push.package)
                || (request.storm != 0 && push.storm == request.storm)
                || request.all;
            if meant && planned.verdict.is_for_approval() {
                let beside = planned.beside.map(|beside| beside.id);
                chosen.push(([Some(planned.push.id), beside], push));
            } else if wanted.contains(&push.package)
                && let PushDecision::Frozen { reason, .. } = &planned.verdict
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
        let ids: Vec<PushId> = chosen.iter().flat_map(|(ids, _)| ids).flatten().copied().collect();
        self.store.push_approve(&ids, &shown(&request.who), clock::now()).await?;
        let pushes = chosen.into_iter().map(|(_, push)| push).collect();
        Ok(Response::new(v1::ApprovePushesReply { pushes }))
    }

    async fn look_now(&self, request: Request<v1::LookNowRequest>) -> Reply<v1::LookNowReply> {
        let v1::LookNowRequest { target, mut packages } = request.into_inner();
        named(&packages, "package")?;
        self.targets.get(&target)?;
        if packages.is_empty() {
            let all = self.store.tracked_list(&target).await?;
            packages = all.into_iter().map(|row| row.package).collect();
        }
        for package in &packages {
            self.followed(&target, package).await?;
            self.store.tracked_poll_now(&target, package).await?;
        }
        self.tracker.wake();
        Ok(Response::new(v1::LookNowReply { packages: count(packages.len()) }))
    }

    async fn plan_pushes(
        &self,
        request: Request<v1::PlanPushesRequest>,
    ) -> Reply<v1::PlanPushesReply> {
        let v1::PlanPushesRequest { target: wanted, limit, after } = request.into_inner();
        let mut reply = v1::PlanPushesReply::default();
        for target in self.meant(&wanted)? {
            let mut storms: BTreeMap<StormId, Vec<String>> = BTreeMap::new();
            for (planned, push) in self.open(&target, clock::now()).await? {
                if let PushDecision::Storm(storm) = planned.verdict {
                    storms.entry(storm).or_default().push(push.package.clone());
                }
                reply.pushes.push(push);
            }
            for (id, packages) in storms {
                let storm = self.store.storm_fetch(id).await?;
                let storm = storm
                    .ok_or_else(|| internal(anyhow::anyhow!("storm {id} no longer exists")))?;
                let (target, reason, at_us) = (storm.target, storm.reason, storm.at.as_us());
                reply.storms.push(v1::Storm { id: id.0, target, reason, at_us, packages });
            }
        }
        if limit != 0 || after != 0 {
            leave_page(&mut reply, limit, after);
        }
        Ok(Response::new(reply))
    }
}

/// Leaves the pushes of one page, by id, and the storms with the first one.
fn leave_page(reply: &mut v1::PlanPushesReply, limit: u32, after: i64) {
    if after != 0 {
        reply.storms.clear();
    }
    reply.pushes.retain(|push| push.id > after);
    reply.pushes.sort_by_key(|push| push.id);
    if pages::cut(&mut reply.pushes, pages::size(limit)) {
        reply.next = reply.pushes.last().map_or(0, |push| push.id);
    }
}

/// The name of a package in the list of all tracked packages: `target/package`.
fn token_of_followed(tracked: &v1::Tracked) -> String {
    format!("{}/{}", tracked.target, tracked.package)
}

/// The target and the package that such a name stands for; both are empty for the beginning of the
/// list.
fn followed_place(after: &str) -> Result<(&str, &str), Status> {
    if after.is_empty() {
        return Ok(("", ""));
    }
    after.split_once('/').ok_or_else(|| {
        bad(format!("`{}` follows no page (send `next` of the page before)", shown(after)))
    })
}

fn override_row(
    package: &str,
    word: &str,
    reason: &str,
    until: Option<Timestamp>,
    who: &str,
    at: Timestamp,
) -> PolicyOverrideRow {
    PolicyOverrideRow {
        package: package.into(),
        word: word.into(),
        reason: reason.into(),
        until,
        who: who.into(),
        at,
    }
}
