//! The calls that decide on claims and withdraw packages.

use std::collections::{BTreeSet, HashMap};

use rpmfarm_core::name::shown;
use rpmfarm_core::owners::Claim;
use rpmfarm_core::{BuildId, Nevra};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::packages_server::Packages;
use tonic::{Request, Response, Status};

use super::view::Views;
use super::{count, internal, to_the_end};
use crate::claims::{Claims, DecisionError, DecisionOutcome};
use crate::clock;
use crate::store::{Build, ClaimDecision, ImpactRow, StoreError, WithdrawnPackage};

#[derive(Clone)]
pub struct PackageService {
    pub views: Views,
    /// Carries out the decisions of persons.
    pub claims: Claims,
}

type Reply<T> = Result<Response<T>, Status>;

/// How many builds with claims are listed at most.
const LISTED: i64 = 500;

/// How many claims of each build a list shows.
const FIRST: usize = 3;

/// The longest reason, in bytes.
const MAX_REASON: usize = 1000;

impl From<DecisionError> for Status {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Store(
                error @ (StoreError::SameNevra { .. }
                | StoreError::SameFile { .. }
                | StoreError::Withdrawn { .. }),
            ) => Self::failed_precondition(error.to_string()),
            DecisionError::Store(error) => error.into(),
            DecisionError::Unknown(error) => internal(error),
        }
    }
}

/// The packages that a call is about.
struct SelectedPackages {
    target: String,
    packages: Vec<Nevra>,
    withdrawn: Vec<WithdrawnPackage>,
}

pub(super) fn checked_reason(reason: &str) -> Result<String, Status> {
    let reason = shown(reason.trim());
    if reason.is_empty() || reason.len() > MAX_REASON {
        return Err(Status::invalid_argument(format!(
            "a reason is needed, of {MAX_REASON} bytes at most (--reason TEXT)"
        )));
    }
    Ok(reason)
}

pub(super) fn named(who: &str) -> String {
    let who = shown(who);
    if who.is_empty() { "unknown user".to_owned() } else { who }
}

impl PackageService {
    async fn find_build(&self, id: BuildId) -> Result<Build, Status> {
        let build = self.views.store.build_fetch(id).await?;
        build.ok_or_else(|| Status::not_found(format!("no build {id}")))
    }

    async fn claimed(&self, build: &Build, most: usize) -> Result<v1::ClaimedBuild, Status> {
        let claims = self.views.store.claim_list(build.id).await?;
        let shown = self.views.build(build).await?;
        let decisions = self.views.store.claim_decision_list(build.id).await?;
        Ok(v1::ClaimedBuild {
            build: build.id.0,
            target: build.target.clone(),
            package: build.package.clone(),
            typed_state: shown.typed_state,
            state: shown.state,
            count: count(claims.len()),
            claims: claims.iter().take(most).map(claim).collect(),
            decisions: decisions.into_iter().map(decision).collect(),
        })
    }

    async fn meant(
        &self,
        build: i64,
        target: &str,
        nevra: &str,
    ) -> Result<SelectedPackages, Status> {
        if build != 0 {
            let build = self.find_build(BuildId(build)).await?;
            let packages = self.views.store.package_list_own(build.id).await?;
            let withdrawn = self.views.store.withdrawal_list_of_builds(&[build.id]).await?;
            return Ok(SelectedPackages { target: build.target, packages, withdrawn });
        }
        let nevra: Nevra =
            nevra.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        if target.is_empty() {
            return Err(Status::invalid_argument("a target is missing"));
        }
        let withdrawn = self.views.store.withdrawal_list(target, &nevra).await?;
        let known = self.views.store.package_fetch(target, &nevra).await?;
        if known.is_none() && withdrawn.is_empty() {
            return Err(Status::not_found(format!("{target} has no package {nevra}")));
        }
        let packages = known.into_iter().map(|package| package.nevra).collect();
        Ok(SelectedPackages { target: target.to_owned(), packages, withdrawn })
    }

    async fn shown_impact(
        &self,
        target: &str,
        packages: &[Nevra],
        withdrawn: bool,
        rows: &[ImpactRow],
    ) -> Result<v1::Impact, Status> {
        let ids: BTreeSet<BuildId> = rows.iter().map(|row| row.build).collect();
        let ids: Vec<BuildId> = ids.into_iter().collect();
        let mut states = HashMap::new();
        for ids in ids.chunks(200) {
            let builds = self.views.store.build_list_by_id(ids).await?;
            for shown in self.views.builds(&builds).await? {
                states.insert(shown.id, (shown.package, shown.state, shown.typed_state));
            }
        }
        let show = |row: &ImpactRow| {
            let (package, state, typed_state) =
                states.get(&row.build.0).cloned().unwrap_or_default();
            v1::ImpactedBuild {
                build: row.build.0,
                package,
                state,
                typed_state,
                nevra: row.nevra.to_string(),
                through: row.through.map_or(0, |build| build.0),
            }
        };
        Ok(v1::Impact {
            target: target.to_owned(),
            packages: packages.iter().map(ToString::to_string).collect(),
            withdrawn,
            builds: rows.iter().map(show).collect(),
        })
    }
}

fn claim(claim: &Claim) -> v1::Claim {
    let owner = |owner: &rpmfarm_core::owners::Owner| v1::ClaimOwner {
        source: owner.source.clone(),
        package: owner.package.to_string(),
        repository: owner.repository.clone(),
    };
    v1::Claim {
        kind: claim.kind.to_string(),
        what: claim.what.clone(),
        package: claim.package.to_string(),
        owners: claim.owners.iter().map(owner).collect(),
        text: claim.to_string(),
    }
}

fn decision(row: ClaimDecision) -> v1::ClaimDecision {
    v1::ClaimDecision { word: row.word, who: row.who, reason: row.reason, at_us: row.at.as_us() }
}

#[tonic::async_trait]
impl Packages for PackageService {
    async fn list_claims(
        &self,
        request: Request<v1::ListClaimsRequest>,
    ) -> Reply<v1::ListClaimsReply> {
        let v1::ListClaimsRequest { target, all } = request.into_inner();
        if !target.is_empty() {
            self.views.targets.get(&target)?;
        }
        let mut builds = Vec::new();
        for build in self.views.store.build_list_with_claims(&target, all, LISTED).await? {
            builds.push(self.claimed(&build, FIRST).await?);
        }
        Ok(Response::new(v1::ListClaimsReply { builds }))
    }

    async fn get_claim(&self, request: Request<v1::GetClaimRequest>) -> Reply<v1::ClaimDetails> {
        let build = self.find_build(BuildId(request.into_inner().build)).await?;
        let shown = self.claimed(&build, usize::MAX).await?;
        if shown.count == 0 {
            return Err(Status::not_found(format!("build {} claims nothing", build.id)));
        }
        let claims = self.views.store.claim_list(build.id).await?;
        let found = self
            .claims
            .affected(&self.views.store, &build.target, claims)
            .await
            .map_err(internal)?;
        let affected = found
            .into_iter()
            .filter(|(package, _)| *package != build.package)
            .map(|(package, (build, holds))| v1::AffectedPackage {
                package,
                build: build.0,
                holds: holds.into_iter().collect(),
            })
            .collect();
        Ok(Response::new(v1::ClaimDetails { build: Some(shown), affected }))
    }

    async fn decide_claim(&self, request: Request<v1::DecideClaimRequest>) -> Reply<v1::Build> {
        let request = request.into_inner();
        let build = self.find_build(BuildId(request.build)).await?;
        let reason = checked_reason(&request.reason)?;
        let who = named(&request.who);
        let (service, of) = (self.clone(), build.clone());
        let decided = to_the_end(async move {
            let decided_by = (who.as_str(), reason.as_str());
            tracing::info!(
                build = of.id.0,
                approve = request.approve,
                who,
                reason,
                "claim decided"
            );
            if request.approve {
                service.claims.approve(&service.views.store, &of, decided_by).await
            } else {
                service.claims.refuse(&service.views.store, &of, decided_by).await
            }
        })
        .await??;
        match decided {
            DecisionOutcome::Done => Ok(Response::new(self.views.build(&build).await?)),
            DecisionOutcome::NotClaimed => {
                let state = self.views.build(&build).await?.state;
                Err(Status::failed_precondition(format!(
                    "build {} does not wait for a decision: it is {state}",
                    build.id
                )))
            }
            DecisionOutcome::More(more) => Err(Status::failed_precondition(format!(
                "build {} claims more now: it {} (see rpmfarm claim show {0})",
                build.id,
                more.iter().take(FIRST).map(ToString::to_string).collect::<Vec<_>>().join("; ")
            ))),
        }
    }

    async fn withdraw(&self, request: Request<v1::WithdrawRequest>) -> Reply<v1::WithdrawReply> {
        let request = request.into_inner();
        let meant = self.meant(request.build, &request.target, &request.nevra).await?;
        let reason = checked_reason(&request.reason)?;
        let who = named(&request.who);
        if meant.packages.is_empty() {
            let why = match meant.withdrawn.first() {
                Some(one) => format!("it is withdrawn already, by {}: {}", one.who, one.reason),
                None => "it has no packages in the pool".to_owned(),
            };
            return Err(Status::failed_precondition(why));
        }
        let (service, target, packages) = (self.clone(), meant.target.clone(), meant.packages);
        let (gone, rows) = to_the_end(async move {
            let (claims, store) = (service.claims, service.views.store);
            claims.withdraw(&store, &target, &packages, (&who, &reason)).await
        })
        .await?
        .map_err(internal)?;
        let impact = self.shown_impact(&meant.target, &gone, true, &rows).await?;
        let packages = gone.iter().map(ToString::to_string).collect();
        let target = meant.target;
        Ok(Response::new(v1::WithdrawReply { target, packages, impact: Some(impact) }))
    }

    async fn restore(&self, request: Request<v1::WithdrawRequest>) -> Reply<v1::RestoreReply> {
        let request = request.into_inner();
        let meant = self.meant(request.build, &request.target, &request.nevra).await?;
        let reason = checked_reason(&request.reason)?;
        let who = named(&request.who);
        if meant.withdrawn.is_empty() {
            return Err(Status::failed_precondition("it is not withdrawn"));
        }
        let packages = meant.withdrawn.iter().map(|one| one.nevra.to_string()).collect();
        let (store, target) = (self.views.store.clone(), meant.target.clone());
        let restored = to_the_end(async move {
            store.withdrawal_restore(&meant.withdrawn, &target, (&who, &reason), clock::now()).await
        })
        .await?;
        match restored {
            Ok(()) => Ok(Response::new(v1::RestoreReply { target: meant.target, packages })),
            Err(error @ StoreError::SameNevra { .. }) => {
                Err(Status::failed_precondition(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn get_impact(&self, request: Request<v1::GetImpactRequest>) -> Reply<v1::Impact> {
        let request = request.into_inner();
        let meant = self.meant(request.build, &request.target, &request.nevra).await?;
        let away = meant.packages.is_empty();
        let mut packages = meant.packages;
        packages.extend(meant.withdrawn.iter().map(|one| one.nevra.clone()));
        let found = self
            .claims
            .impact(&self.views.store, &meant.target, &packages)
            .await
            .map_err(internal)?;
        let impact = self.shown_impact(&meant.target, &packages, away, &found.rows).await?;
        Ok(Response::new(impact))
    }
}
