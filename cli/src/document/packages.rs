//! Claims and withdrawn packages, as JSON.

use rpmfarm_proto::v1;
use serde::Serialize;

use crate::show::time;

/// Builds with claims.
#[derive(Debug, Serialize)]
pub(crate) struct ClaimListDocument {
    builds: Vec<ClaimedBuildDocument>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ClaimedBuildDocument {
    build: i64,
    target: String,
    package: String,
    /// As in a build.
    state: String,
    /// In `claim show` all of them; in a list the first few.
    claims: Vec<ClaimDocument>,
    /// How many there are.
    count: u32,
    decisions: Vec<ClaimDecisionDocument>,
}

#[derive(Debug, Serialize)]
struct ClaimDocument {
    /// name, nevra, provides, obsoletes, file.
    kind: String,
    what: String,
    package: String,
    owners: Vec<OwnerDocument>,
    text: String,
}

#[derive(Debug, Serialize)]
struct OwnerDocument {
    source: String,
    package: String,
    repository: String,
}

#[derive(Debug, Serialize)]
struct ClaimDecisionDocument {
    /// Either `approved` or `refused`.
    word: String,
    who: String,
    reason: String,
    at: Option<String>,
}

/// The claims of a build, and the packages whose roots would change.
#[derive(Debug, Serialize)]
pub(crate) struct ClaimDetailsDocument {
    #[serde(flatten)]
    build: ClaimedBuildDocument,
    affected: Vec<AffectedPackageDocument>,
}

#[derive(Debug, Serialize)]
struct AffectedPackageDocument {
    package: String,
    build: i64,
    /// Packages of its root that own a claimed name.
    holds: Vec<String>,
}

/// Builds that were made with packages.
#[derive(Debug, Serialize)]
pub(crate) struct ImpactDocument {
    target: String,
    packages: Vec<String>,
    withdrawn: bool,
    builds: Vec<ImpactedBuildDocument>,
}

#[derive(Debug, Serialize)]
struct ImpactedBuildDocument {
    build: i64,
    package: String,
    state: String,
    nevra: String,
    /// The build that made that package; `None` when that package is one of the selected ones.
    through: Option<i64>,
}

/// Packages that were withdrawn or restored.
#[derive(Debug, Serialize)]
pub(crate) struct WithdrawalDocument {
    pub(crate) target: String,
    pub(crate) packages: Vec<String>,
}

impl From<&[v1::ClaimedBuild]> for ClaimListDocument {
    fn from(builds: &[v1::ClaimedBuild]) -> Self {
        Self { builds: builds.iter().map(Into::into).collect() }
    }
}

impl From<&v1::ClaimedBuild> for ClaimedBuildDocument {
    fn from(build: &v1::ClaimedBuild) -> Self {
        let owner = |owner: &v1::ClaimOwner| OwnerDocument {
            source: owner.source.clone(),
            package: owner.package.clone(),
            repository: owner.repository.clone(),
        };
        let claim = |claim: &v1::Claim| ClaimDocument {
            kind: claim.kind.clone(),
            what: claim.what.clone(),
            package: claim.package.clone(),
            owners: claim.owners.iter().map(owner).collect(),
            text: claim.text.clone(),
        };
        let decision = |decision: &v1::ClaimDecision| ClaimDecisionDocument {
            word: decision.word.clone(),
            who: decision.who.clone(),
            reason: decision.reason.clone(),
            at: time::rfc3339(decision.at_us),
        };
        Self {
            build: build.build,
            target: build.target.clone(),
            package: build.package.clone(),
            state: build.state.clone(),
            claims: build.claims.iter().map(claim).collect(),
            count: build.count,
            decisions: build.decisions.iter().map(decision).collect(),
        }
    }
}

impl From<&v1::ClaimDetails> for ClaimDetailsDocument {
    fn from(details: &v1::ClaimDetails) -> Self {
        let affected = |one: &v1::AffectedPackage| AffectedPackageDocument {
            package: one.package.clone(),
            build: one.build,
            holds: one.holds.clone(),
        };
        Self {
            build: (&details.build.clone().unwrap_or_default()).into(),
            affected: details.affected.iter().map(affected).collect(),
        }
    }
}

impl From<&v1::Impact> for ImpactDocument {
    fn from(impact: &v1::Impact) -> Self {
        let build = |build: &v1::ImpactedBuild| ImpactedBuildDocument {
            build: build.build,
            package: build.package.clone(),
            state: build.state.clone(),
            nevra: build.nevra.clone(),
            through: (build.through != 0).then_some(build.through),
        };
        Self {
            target: impact.target.clone(),
            packages: impact.packages.clone(),
            withdrawn: impact.withdrawn,
            builds: impact.builds.iter().map(build).collect(),
        }
    }
}
