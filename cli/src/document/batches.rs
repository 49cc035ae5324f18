//! Batches and their plans, as JSON.

use rpmfarm_proto::v1;
use serde::Serialize;

use super::build::FailureDocument;
use super::known;
use crate::show::{batch, time};

#[derive(Debug, Serialize)]
pub(crate) struct BatchListDocument {
    batches: Vec<BatchDocument>,
}

#[derive(Debug, Serialize)]
struct BatchDocument {
    id: i64,
    target: String,
    /// requires, bootstrap, none.
    order: String,
    /// running, paused, ended.
    state: &'static str,
    paused_at: Option<String>,
    submitter: String,
    created_at: Option<String>,
    ended_at: Option<String>,
    builds: u32,
    without_srpm: u32,
    waiting: u32,
    building: u32,
    finishing: u32,
    published: u32,
    failed: u32,
    cancelled: u32,
}

/// A batch with everything that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct BatchDetailsDocument {
    #[serde(flatten)]
    batch: BatchDocument,
    /// Whether the coordinator that answered orders the batch; if not, `note` names the missing
    /// details.
    ordered_here: bool,
    note: Option<String>,
    left_ms: i64,
    unlearned: u32,
    work_ms: i64,
    expected_end_at: Option<String>,
    critical_path: Vec<MemberDocument>,
    critical_path_ms: i64,
    holders: Vec<HolderDocument>,
    losses: Vec<LossDocument>,
    stuck: Vec<CircleDocument>,
    failed_by_package: u32,
    failed_by_farm: u32,
}

#[derive(Debug, Serialize)]
struct MemberDocument {
    /// Null in a plan.
    build: Option<i64>,
    package: String,
}

#[derive(Debug, Serialize)]
struct HolderDocument {
    #[serde(flatten)]
    member: MemberDocument,
    holds: u32,
}

#[derive(Debug, Serialize)]
struct LossDocument {
    #[serde(flatten)]
    member: MemberDocument,
    /// Null when it was cancelled.
    failure: Option<FailureDocument>,
    took: Vec<MemberDocument>,
    without: Vec<MemberDocument>,
}

#[derive(Debug, Serialize)]
struct CircleDocument {
    members: Vec<MemberDocument>,
    breakers: Vec<BreakerDocument>,
    text: String,
}

#[derive(Debug, Serialize)]
struct BreakerDocument {
    #[serde(flatten)]
    member: MemberDocument,
    requirements: Vec<String>,
    frees: u32,
}

/// A batch after a change.
#[derive(Debug, Serialize)]
pub(crate) struct BatchChangeDocument {
    batch: BatchDocument,
    /// How many builds were cancelled or are tried again.
    builds: u32,
}

/// The plan of a request.
#[derive(Debug, Serialize)]
pub(crate) struct PlanDocument {
    target: String,
    order: String,
    components: Vec<ComponentDocument>,
    work_ms: i64,
    path_ms: i64,
    /// The larger of the two.
    least_ms: i64,
    /// Null when some build never starts.
    expected_ms: Option<i64>,
    slots: Vec<SlotsDocument>,
    refused: Vec<String>,
    stuck: Vec<CircleDocument>,
    unknown: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ComponentDocument {
    packages: Vec<String>,
    /// Places in the plan, from 0.
    needs: Vec<u32>,
    work_ms: i64,
    /// Null when it is not built.
    starts_ms: Option<i64>,
    ends_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct SlotsDocument {
    arch: String,
    slots: u32,
}

const fn ms(us: i64) -> i64 {
    us / 1000
}

fn member(member: Option<&v1::BatchMember>) -> MemberDocument {
    let member = member.cloned().unwrap_or_default();
    MemberDocument { build: (member.build != 0).then_some(member.build), package: member.package }
}

fn members(all: &[v1::BatchMember]) -> Vec<MemberDocument> {
    all.iter().map(|one| member(Some(one))).collect()
}

impl From<&[v1::Batch]> for BatchListDocument {
    fn from(batches: &[v1::Batch]) -> Self {
        Self { batches: batches.iter().map(Into::into).collect() }
    }
}

impl From<&v1::Batch> for BatchDocument {
    fn from(batch: &v1::Batch) -> Self {
        Self {
            id: batch.id,
            target: batch.target.clone(),
            order: batch.order.clone(),
            state: batch::state(batch),
            paused_at: time::rfc3339(batch.paused_us),
            submitter: batch.submitter.clone(),
            created_at: time::rfc3339(batch.created_us),
            ended_at: time::rfc3339(batch.ended_us),
            builds: batch.builds,
            without_srpm: batch.without_srpm,
            waiting: batch.waiting,
            building: batch.building,
            finishing: batch.finishing,
            published: batch.published,
            failed: batch.failed,
            cancelled: batch.cancelled,
        }
    }
}

impl From<&v1::BatchDetails> for BatchDetailsDocument {
    fn from(details: &v1::BatchDetails) -> Self {
        let holder = |holder: &v1::BatchHolder| HolderDocument {
            member: member(holder.member.as_ref()),
            holds: holder.holds,
        };
        let loss = |loss: &v1::BatchLoss| LossDocument {
            member: member(loss.member.as_ref()),
            failure: loss.failure.as_ref().map(Into::into),
            took: members(&loss.took),
            without: members(&loss.without),
        };
        Self {
            batch: (&details.batch.clone().unwrap_or_default()).into(),
            ordered_here: details.ordered_here,
            note: known(&details.note),
            left_ms: ms(details.left_us),
            unlearned: details.unlearned,
            work_ms: ms(details.work_us),
            expected_end_at: time::rfc3339(details.expected_end_us),
            critical_path: members(&details.critical_path),
            critical_path_ms: ms(details.critical_path_us),
            holders: details.holders.iter().map(holder).collect(),
            losses: details.losses.iter().map(loss).collect(),
            stuck: details.stuck.iter().map(Into::into).collect(),
            failed_by_package: details.failed_by_package,
            failed_by_farm: details.failed_by_farm,
        }
    }
}

impl From<&v1::StuckCircle> for CircleDocument {
    fn from(circle: &v1::StuckCircle) -> Self {
        let breaker = |breaker: &v1::CircleBreaker| BreakerDocument {
            member: member(breaker.member.as_ref()),
            requirements: breaker.requirements.clone(),
            frees: breaker.frees,
        };
        Self {
            members: members(&circle.members),
            breakers: circle.breakers.iter().map(breaker).collect(),
            text: circle.text.clone(),
        }
    }
}

impl From<&v1::BatchChange> for BatchChangeDocument {
    fn from(change: &v1::BatchChange) -> Self {
        let batch = (&change.batch.clone().unwrap_or_default()).into();
        Self { batch, builds: change.builds }
    }
}

impl From<&v1::BatchPlan> for PlanDocument {
    fn from(plan: &v1::BatchPlan) -> Self {
        let component = |one: &v1::PlannedComponent| {
            let is_built = one.ends_us != 0;
            ComponentDocument {
                packages: one.packages.clone(),
                needs: one.needs.clone(),
                work_ms: ms(one.work_us),
                starts_ms: is_built.then_some(ms(one.starts_us)),
                ends_ms: is_built.then_some(ms(one.ends_us)),
            }
        };
        let slots =
            |one: &v1::PlanSlots| SlotsDocument { arch: one.arch.clone(), slots: one.slots };
        Self {
            target: plan.target.clone(),
            order: plan.order.clone(),
            components: plan.components.iter().map(component).collect(),
            work_ms: ms(plan.work_us),
            path_ms: ms(plan.path_us),
            least_ms: ms(plan.work_us.max(plan.path_us)),
            expected_ms: (plan.expected_us != 0).then_some(ms(plan.expected_us)),
            slots: plan.slots.iter().map(slots).collect(),
            refused: plan.refused.clone(),
            stuck: plan.stuck.iter().map(Into::into).collect(),
            unknown: plan.unknown.clone(),
            notes: plan.notes.clone(),
        }
    }
}
