//! Lists that are too long, and streams that are too many.

use std::time::{Duration, Instant};

use rpmfarm_coordinator::listen::ConnectionLimits;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use rpmfarm_proto::v1::tracking_client::TrackingClient;
use tonic::{Code, Status};

use super::Served;

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, says: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(says), "no `{says}`: {}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_name_a_thousand_things_at_most_and_none_twice() {
    let served = Served::start(ConnectionLimits::default()).await;
    let build = served.build().await.0;
    let channel = served.channel().await;
    let mut farm = FarmClient::new(channel.clone());
    let watch = |ids: Vec<i64>| v1::WatchBuildsRequest { ids };
    refused(farm.watch_builds(watch(vec![build; 1_000_000])).await, "1000000 builds in one call");
    refused(farm.watch_builds(watch(vec![build; 2])).await, "build 1 is named twice");
    let status = farm.watch_builds(watch(vec![build, 4711])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no build 4711"));

    let many: Vec<String> = (0..1001).map(|number| format!("p{number}")).collect();
    let twice = vec!["hello".to_owned(), "hello".to_owned()];
    let mut tracking = TrackingClient::new(channel.clone());
    for (packages, says) in [(many.clone(), "1001 packages"), (twice, "hello is named twice")] {
        let target = || "lab".to_owned();
        let named = || packages.clone();
        let request = v1::UntrackRequest { target: target(), packages: named(), who: "".into() };
        refused(tracking.untrack(served.authorized(request)).await, says);
        let request = v1::LookNowRequest { target: target(), packages: named() };
        refused(tracking.look_now(served.authorized(request)).await, says);
        let request =
            v1::ApprovePushesRequest { target: target(), packages: named(), ..Default::default() };
        refused(tracking.approve_pushes(served.authorized(request)).await, says);
    }
    let request =
        v1::StartBuildsRequest { target: "lab".into(), arches: many.clone(), ..Default::default() };
    refused(farm.start_builds(served.authorized(request)).await, "1001 architectures");
    let request = v1::InviteWorkerRequest { arches: many, ..Default::default() };
    let status = FleetClient::new(channel).invite_worker(served.authorized(request)).await;
    // Without TLS there are no invitations, whatever the request names.
    assert!(status.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_are_bounded_and_their_places_come_back() {
    let served = Served::start(ConnectionLimits::default()).await;
    let build = served.build().await.0;
    let request = || v1::WatchBuildsRequest { ids: vec![build] };
    let mut held = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = FarmClient::new(served.channel().await);
        for _ in 0..64 {
            held.push(client.watch_builds(request()).await.unwrap());
        }
        clients.push(client);
    }
    let status = clients[0].watch_builds(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("64 logs, watches and files"), "{}", status.message());
    let log = v1::ReadLogRequest { build, log: "build".into(), follow: true, ..Default::default() };
    let status = clients[0].read_log(log.clone()).await.unwrap_err();
    assert!(status.message().contains("over this connection"), "{}", status.message());
    // Calls without streams are answered all the same.
    clients[0].get_build(v1::GetBuildRequest { id: build }).await.unwrap();
    let mut fifth = FarmClient::new(served.channel().await);
    let status = fifth.read_log(log).await.unwrap_err();
    assert!(status.message().starts_with("256 logs"), "{}", status.message());

    drop(held.pop());
    let begun = Instant::now();
    while let Err(status) = fifth.watch_builds(request()).await {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(begun.elapsed() < Duration::from_secs(20), "no place comes back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_builds_are_watched_by_one_call() {
    let served = Served::start(ConnectionLimits::default()).await;
    let mut ids = Vec::new();
    for _ in 0..150 {
        ids.push(served.build().await.0);
    }
    let mut client = FarmClient::new(served.channel().await);
    let request = v1::WatchBuildsRequest { ids: ids.clone() };
    let mut changes = client.watch_builds(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    for _ in &ids {
        seen.push(changes.message().await.unwrap().unwrap().id);
    }
    seen.sort_unstable();
    assert_eq!(seen, ids);
    for id in ids {
        served.farm.store.build_cancel(rpmfarm_core::BuildId(id), super::NOW).await.unwrap();
    }
    let mut ended = 0;
    while let Some(build) = changes.message().await.unwrap() {
        ended += usize::from(build.state == "cancelled");
    }
    assert_eq!(ended, 150);
}
