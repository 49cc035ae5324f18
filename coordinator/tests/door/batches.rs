//! Batches as a whole: pausing, cancelling and retrying them, their losses, and their plans.

use rpmfarm_coordinator::listen::ConnectionLimits;
use rpmfarm_coordinator::store::{BuildFilter, NewBuild, Srpm};
use rpmfarm_core::{BatchId, BuildId, Failure, FailureStage, Fault};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::batches_client::BatchesClient;
use rpmfarm_proto::v1::farm_client::FarmClient;
use tonic::Code;
use tonic::transport::Channel;

use super::builds::{add_srpm, new_build, srpm};
use super::{NOW, Served};

impl Served {
    async fn batches(&self) -> BatchesClient<Channel> {
        BatchesClient::new(self.channel().await)
    }

    /// A batch of these packages.
    async fn batch(&self, packages: &[&str]) -> (BatchId, Vec<BuildId>) {
        let builds: Vec<NewBuild> =
            packages.iter().map(|package| new_build("lab", package)).collect();
        let store = &self.farm.store;
        let ids = store.build_insert(&builds, "ann", "", NOW).await.unwrap().ids;
        let batch = store.build_fetch(ids[0]).await.unwrap().unwrap().batch;
        (batch, ids)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_paused_cancelled_and_tried_again_as_a_whole() {
    let served = Served::start(ConnectionLimits::default()).await;
    let mut client = served.batches().await;
    let (BatchId(id), builds) = served.batch(&["a", "b", "c"]).await;
    let shown = client.get_batch(v1::GetBatchRequest { id }).await.unwrap().into_inner();
    let batch = shown.batch.unwrap();
    assert_eq!((batch.builds, batch.without_srpm, batch.ended_us), (3, 3, 0));
    assert_eq!((batch.order.as_str(), batch.submitter.as_str()), ("requires", "ann"));
    assert!(!shown.ordered_here && !shown.note.is_empty(), "its order is not known here");
    assert_eq!((shown.unlearned, shown.expected_end_us), (3, 0), "no worker takes work");

    let nobody = client.pause_batch(v1::PauseBatchRequest { id }).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let pause = || served.authorized(v1::PauseBatchRequest { id });
    let paused = client.pause_batch(pause()).await.unwrap().into_inner().batch.unwrap();
    assert_ne!(paused.paused_us, 0);
    let why = v1::WhyBuildRequest { id: builds[1].0 };
    let mut farm = FarmClient::new(served.channel().await);
    let reasons = farm.why_build(why).await.unwrap().into_inner().reasons;
    assert_eq!(reasons[0].code, "paused");
    let says = format!("(rpmfarm batch resume {id})");
    assert!(reasons[0].text.ends_with(&says), "{}", reasons[0].text);
    let build = || v1::GetBuildRequest { id: builds[1].0 };
    let shown = farm.get_build(build()).await.unwrap().into_inner();
    assert!(shown.reason.starts_with(&format!("batch {id} is paused: ")), "{}", shown.reason);
    let resume = served.authorized(v1::ResumeBatchRequest { id });
    let resumed = client.resume_batch(resume).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(resumed.paused_us, 0);
    assert_eq!(farm.get_build(build()).await.unwrap().into_inner().reason, "");

    let cancel = || served.authorized(v1::CancelBatchRequest { id });
    let cancelled = client.cancel_batch(cancel()).await.unwrap().into_inner();
    assert_eq!(cancelled.builds, 3);
    let batch = cancelled.batch.unwrap();
    assert_eq!((batch.cancelled, batch.paused_us), (3, 0));
    assert_ne!(batch.ended_us, 0);
    let again = client.cancel_batch(cancel()).await.unwrap_err();
    assert_eq!((again.code(), again.message()), (Code::FailedPrecondition, "batch 1 has ended"));
    let ended = client.pause_batch(pause()).await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition);

    let retry = || served.authorized(v1::RetryBatchRequest { id });
    let retried = client.retry_batch(retry()).await.unwrap().into_inner();
    let batch = retried.batch.unwrap();
    assert_eq!((retried.builds, batch.without_srpm, batch.paused_us), (3, 3, 0));
    let again = client.retry_batch(retry()).await.unwrap_err();
    assert!(again.message().starts_with("no build of batch 1 failed"), "{}", again.message());
    let missing = client.get_batch(v1::GetBatchRequest { id: 99 }).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.message()),
        (Code::NotFound, "no batch 99 (rpmfarm batch list)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_somebody_paused_stays_so_when_it_is_tried_again() {
    let served = Served::start(ConnectionLimits::default()).await;
    let mut client = served.batches().await;
    let (BatchId(id), builds) = served.batch(&["a", "b"]).await;
    let store = &served.farm.store;
    store.build_cancel(builds[0], NOW).await.unwrap();
    client.pause_batch(served.authorized(v1::PauseBatchRequest { id })).await.unwrap();
    let retry = served.authorized(v1::RetryBatchRequest { id });
    let retried = client.retry_batch(retry).await.unwrap().into_inner();
    assert_eq!(retried.builds, 1);
    assert_ne!(retried.batch.unwrap().paused_us, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_told_with_what_it_took_whoever_ordered_the_batch() {
    let served = Served::start(ConnectionLimits::default()).await;
    let (BatchId(id), builds) = served.batch(&["lib", "app"]).await;
    let store = &served.farm.store;
    let makes = Srpm { predicts: vec!["lib-devel".into()], ..srpm("lib-1-1.src") };
    add_srpm(store, builds[0], &makes).await;
    let needs = Srpm { requires: vec!["lib-devel >= 1".into()], ..srpm("app-1-1.src") };
    add_srpm(store, builds[1], &needs).await;
    for (build, stage) in [(builds[0], FailureStage::Build), (builds[1], FailureStage::Resolve)] {
        let failure = Failure::new(Fault::Package, stage, "no way");
        assert!(store.failure_insert(build, None, &failure, None, NOW).await.unwrap());
    }
    let request = v1::GetBatchRequest { id };
    let details = served.batches().await.get_batch(request).await.unwrap().into_inner();
    assert_eq!((details.failed_by_package, details.failed_by_farm), (2, 0));
    let [loss] = &details.losses[..] else { panic!("one loss: {:?}", details.losses) };
    assert_eq!(loss.member.as_ref().unwrap().package, "lib");
    assert_eq!(loss.failure.as_ref().unwrap().message, "no way");
    let took: Vec<(i64, &str)> =
        loss.took.iter().map(|member| (member.build, member.package.as_str())).collect();
    assert_eq!(took, [(builds[1].0, "app")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_listed_page_by_page() {
    let served = Served::start(ConnectionLimits::default()).await;
    let mut client = served.batches().await;
    let first = served.batch(&["a", "b"]).await.0.0;
    served.batch(&["single"]).await;
    let second = served.batch(&["c", "d", "e"]).await.0.0;
    let mut listed = async |limit, before| {
        let request = v1::ListBatchesRequest { limit, before };
        let batches = client.list_batches(request).await.unwrap().into_inner().batches;
        batches.into_iter().map(|batch| (batch.id, batch.builds)).collect::<Vec<_>>()
    };
    assert_eq!(listed(0, 0).await, [(second, 3), (first, 2)]);
    assert_eq!(listed(1, 0).await, [(second, 3)]);
    assert_eq!(listed(9, second).await, [(first, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_records_nothing_and_names_what_was_never_built() {
    let served = Served::start(ConnectionLimits::default()).await;
    let mut client = served.batches().await;
    let package = |name: &str| v1::PackageRef { package: name.into(), git_ref: String::new() };
    let asked = |order: &str, names: &[&str]| v1::StartBuildsRequest {
        target: "lab".into(),
        packages: names.iter().map(|name| package(name)).collect(),
        order: order.into(),
        ..v1::StartBuildsRequest::default()
    };
    let request = served.authorized(asked("none", &["a", "b"]));
    let plan = client.plan_builds(request).await.unwrap().into_inner();
    assert_eq!((plan.target.as_str(), plan.order.as_str()), ("lab", "none"));
    assert_eq!(plan.unknown, ["a", "b"]);
    assert_eq!((plan.components.len(), plan.expected_us), (2, 0));
    assert_eq!((plan.slots[0].arch.as_str(), plan.slots[0].slots), ("x86_64", 0));
    let says = "no worker takes work for x86_64 now";
    assert!(plan.notes.iter().any(|note| note.starts_with(says)), "{:?}", plan.notes);
    let all = BuildFilter { limit: 9, ..BuildFilter::default() };
    assert!(served.farm.store.build_list(&all).await.unwrap().is_empty());

    let refused = [
        (asked("random", &["a"]), "unknown order `random` (known: requires, bootstrap, none)"),
        (asked("", &["a", "a"]), "package a is named twice"),
        (asked("", &[]), "no packages"),
    ];
    for (request, says) in refused {
        let status = client.plan_builds(served.authorized(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{}", status.message());
    }
    let nobody = client.plan_builds(asked("", &["a"])).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}
