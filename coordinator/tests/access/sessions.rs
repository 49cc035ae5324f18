//! Sessions: the worker that a session belongs to, the notices for outdated workers, and the end of
//! the sessions of revoked workers.

use std::time::{Duration, Instant};

use rpmfarm_core::worker_standing::PROTOCOL;
use rpmfarm_core::{AttemptId, Epoch, Failure, FailureStage, Fault, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::attempt_report::Progress;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::coordinator::Coordinator;

/// A worker that sends the states of a test.
struct Speaker {
    say: mpsc::Sender<v1::WorkerState>,
    heard: Streaming<v1::DesiredState>,
}

fn state(name: &str) -> v1::WorkerState {
    v1::WorkerState {
        name: name.into(),
        version: "0.1.0".into(),
        arches: vec!["x86_64".into()],
        // None, so that only the test gives it work: the passes of the coordinator run, too.
        slots: 0,
        cpus: 1,
        memory_mib: 1,
        disk_free_mib: 1,
        protocol: PROTOCOL,
        ..Default::default()
    }
}

fn failed(attempt: AttemptId, epoch: Epoch) -> v1::AttemptReport {
    let failure = Failure::new(Fault::Package, FailureStage::Build, "a lie");
    let (attempt, epoch) = (attempt.0, epoch.0);
    v1::AttemptReport { attempt, epoch, progress: Some(Progress::Failed((&failure).into())) }
}

impl Speaker {
    async fn new(channel: Channel, first: v1::WorkerState) -> Result<Self, Status> {
        Self::as_said(channel, first, Request::new).await
    }

    async fn as_said(
        channel: Channel,
        first: v1::WorkerState,
        ask: impl FnOnce(ReceiverStream<v1::WorkerState>) -> Request<ReceiverStream<v1::WorkerState>>,
    ) -> Result<Self, Status> {
        let (say, states) = mpsc::channel(4);
        say.send(first).await.unwrap();
        let heard = WorkersClient::new(channel).session(ask(ReceiverStream::new(states))).await?;
        Ok(Self { say, heard: heard.into_inner() })
    }

    async fn hear(&mut self) -> Result<v1::DesiredState, Status> {
        let heard = tokio::time::timeout(Duration::from_secs(20), self.heard.message());
        heard.await.expect("an answer").map(|heard| heard.expect("no end"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_speaks_for_itself_alone() {
    let coordinator = Coordinator::start().await;
    let (a, b) = (coordinator.enrol("a").await, coordinator.enrol("b").await);
    let (_, attempt) = coordinator.attempt("hello", "b").await;
    let live = async || coordinator.store.attempt_list_live(Some("b")).await.unwrap().len();

    // Under another name than the certificate's.
    let mut speaker = Speaker::new(coordinator.tls(Some(&a)), state("b")).await.unwrap();
    let status = speaker.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("is worker b's, not a's"), "{}", status.message());

    // Under its own, on another's attempt; at once, and later.
    let mut lying = state("a");
    lying.attempts = vec![failed(attempt.id, attempt.epoch)];
    let mut speaker = Speaker::new(coordinator.tls(Some(&a)), lying.clone()).await.unwrap();
    assert_eq!(speaker.hear().await.unwrap_err().code(), Code::PermissionDenied);
    let mut speaker = Speaker::new(coordinator.tls(Some(&a)), state("a")).await.unwrap();
    assert!(speaker.hear().await.unwrap().assignments.is_empty());
    speaker.say.send(lying).await.unwrap();
    let status = speaker.hear().await.unwrap_err();
    assert!(status.message().contains("is worker b's, not a's"), "{}", status.message());
    assert_eq!(live().await, 1, "nothing of it changed anything");

    // An old epoch of its own is no lie, and changes nothing.
    let mut old = state("b");
    // (It names its attempt, too: an attempt that a new session does not name is lost.)
    let runs = v1::AttemptReport {
        attempt: attempt.id.0,
        epoch: attempt.epoch.0,
        progress: Some(Progress::Phase("build".into())),
    };
    old.attempts = vec![failed(attempt.id, Epoch(attempt.epoch.0 - 1)), runs];
    drop(Speaker::new(coordinator.tls(Some(&b)), old).await.unwrap());

    // Logs.
    let chunk = v1::LogChunk {
        attempt: attempt.id.0,
        epoch: attempt.epoch.0,
        log: "build".into(),
        data: b"x".to_vec().into(),
        ..Default::default()
    };
    let append = async |channel: Channel, chunk: Request<v1::LogChunk>| {
        WorkersClient::new(channel).append_log(chunk).await.map(drop)
    };
    let by_a = append(coordinator.tls(Some(&a)), Request::new(chunk.clone())).await.unwrap_err();
    assert_eq!(by_a.code(), Code::PermissionDenied);
    append(coordinator.tls(Some(&b)), Request::new(chunk.clone())).await.unwrap();
    // The same with the token, under the worker's name in the request.
    let by_a = append(coordinator.plain(), coordinator.of_worker("a", chunk.clone())).await;
    assert_eq!(by_a.unwrap_err().code(), Code::PermissionDenied);
    append(coordinator.plain(), coordinator.of_worker("b", chunk)).await.unwrap();
    let speaker = Speaker::as_said(coordinator.plain(), state("b"), |states| {
        coordinator.of_worker("a", states)
    });
    let status = speaker.await.unwrap().hear().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_builds_only_for_what_it_was_enrolled() {
    let coordinator = Coordinator::start().await;
    let token = coordinator.invite("w", &["x86_64"], 0).await;
    let (_, keys) = coordinator.enrol_with(&token).await.unwrap();
    let mut wide = state("w");
    wide.arches.push("ppc64le".into());
    let mut speaker = Speaker::new(coordinator.tls(Some(&keys)), wide).await.unwrap();
    let status = speaker.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("not enrolled for ppc64le"), "{}", status.message());
    let mut speaker = Speaker::new(coordinator.tls(Some(&keys)), state("w")).await.unwrap();
    speaker.hear().await.unwrap();
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_is_told_so_keeps_what_it_has_and_a_newer_one_works() {
    let coordinator = Coordinator::start().await;
    let (_, attempt) = coordinator.attempt("hello", "old").await;
    let old = v1::WorkerState {
        protocol: 0,
        attempts: vec![v1::AttemptReport {
            attempt: attempt.id.0,
            epoch: attempt.epoch.0,
            progress: Some(Progress::Phase("build".into())),
        }],
        ..state("old")
    };
    let ask = |states| coordinator.authorized(states);
    let mut speaker = Speaker::as_said(coordinator.plain(), old, ask).await.unwrap();
    let answer = speaker.hear().await.unwrap();
    assert!(answer.notice.contains("speaks protocol 0"), "{}", answer.notice);
    assert_eq!(answer.assignments.len(), 1, "it finishes what it has");
    let mut client = FarmClient::new(coordinator.plain());
    let workers = client.list_workers(v1::ListWorkersRequest::default()).await.unwrap();
    let workers = workers.into_inner().workers;
    let shown = workers.iter().find(|worker| worker.name == "old").unwrap();
    assert!(shown.outdated.contains("speaks protocol 0"), "{shown:?}");
    assert_eq!(shown.running.len(), 1);

    let newer = v1::WorkerState { protocol: PROTOCOL + 5, ..state("newer") };
    let ask = |states| coordinator.authorized(states);
    let mut speaker = Speaker::as_said(coordinator.plain(), newer, ask).await.unwrap();
    assert_eq!(speaker.hear().await.unwrap().notice, "");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_and_resumed_workers_are_told_at_once() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let mut speaker = Speaker::new(coordinator.tls(Some(&keys)), state("w")).await.unwrap();
    assert_eq!(speaker.hear().await.unwrap().notice, "");
    coordinator.decide("w", "drained").await.unwrap();
    let notice = speaker.hear().await.unwrap().notice;
    assert!(notice.contains("drained") && notice.contains("a test's"), "{notice}");
    coordinator.decide("w", "active").await.unwrap();
    assert_eq!(speaker.hear().await.unwrap().notice, "");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_worker_is_cut_off_within_a_second_and_loses_what_it_has() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let channel = coordinator.tls(Some(&keys));
    let mut speaker = Speaker::new(channel.clone(), state("w")).await.unwrap();
    speaker.hear().await.unwrap();
    let (build, attempt) = coordinator.attempt("hello", "w").await;

    // As another coordinator of the farm would do it: by the store alone.
    let begun = Instant::now();
    let revoked = rpmfarm_core::worker_standing::Standing::Revoked;
    coordinator
        .store
        .standing_set("w", revoked, "stolen", Timestamp::from_us(5))
        .await
        .unwrap()
        .unwrap();
    while speaker.hear().await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    while !coordinator.store.attempt_list_live(Some("w")).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it keeps its attempt");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failures = coordinator.store.failure_list(build, None).await.unwrap();
    let last = failures.last().unwrap();
    assert_eq!(last.failure.fault, Fault::Worker);
    assert!(last.failure.message.contains("was revoked (stolen)"), "{}", last.failure.message);
    assert!(last.retry.is_some(), "the task goes to another");
    let details = FleetClient::new(coordinator.plain())
        .get_worker(v1::GetWorkerRequest { name: "w".into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(details.worker.unwrap().state, "revoked");
    assert_eq!(details.certificates[0].ended, "revoked: stolen");
    assert_eq!(details.faults[0].package, "hello");
    let _ = attempt;

    // It comes again, by the same connection and by a new one.
    for channel in [channel, coordinator.tls(Some(&keys))] {
        let again = Speaker::new(channel, state("w")).await;
        let refused = match again {
            Ok(mut speaker) => speaker.hear().await.map(drop),
            Err(status) => Err(status),
        };
        assert!(refused.is_err());
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_long_lists_are_refused_at_both_ports() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let report =
        v1::AttemptReport { attempt: 1, epoch: 1, progress: Some(Progress::Phase("build".into())) };
    let many = v1::WorkerState { attempts: vec![report; 200_000], ..state("w") };
    let long = "a".repeat(64);
    let labels = (0..300_000).map(|number| format!("l{number}")).collect();
    for (state, says) in [
        (state("w\u{202e}1"), "is not a worker's name"),
        (state(&long), "is not a worker's name"),
        (state("w/../x"), "is not a worker's name"),
        (v1::WorkerState { labels: vec!["a\u{202e}".into()], ..state("w") }, "is not a label"),
        (v1::WorkerState { labels, ..state("w") }, "300000 labels, at most 64"),
        (many, "200000 attempts, at most 16"),
    ] {
        let plain = |states| coordinator.of_worker("w", states);
        let by_token = Speaker::as_said(coordinator.plain(), state.clone(), plain).await;
        let by_certificate = Speaker::new(coordinator.tls(Some(&keys)), state).await;
        for speaker in [by_token, by_certificate] {
            let status = speaker.unwrap().hear().await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(status.message().contains(says), "{}", status.message());
            assert!(!status.message().contains('\u{202e}'), "{:?}", status.message());
        }
    }
    let odd = |states| {
        let mut request = coordinator.authorized(states);
        request.metadata_mut().insert(rpmfarm_proto::WORKER, "a b".parse().unwrap());
        request
    };
    let status = Speaker::as_said(coordinator.plain(), state("w"), odd).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // Nothing of it is a worker now.
    let mut client = FarmClient::new(coordinator.plain());
    let workers =
        client.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    let names: Vec<&str> = workers.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["w"]);
    coordinator.stop().await;
}

/// A worker that connects anew all the time, or somebody with its key.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_sessions_of_one_worker_hold_nobody_up() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let channel = coordinator.tls(Some(&keys));
        for _ in 0..100 {
            held.push(Speaker::new(channel.clone(), state("w")).await.unwrap());
        }
    }
    let mut client = FarmClient::new(coordinator.plain());
    let begun = Instant::now();
    client.list_builds(v1::ListBuildsRequest { limit: 5, ..Default::default() }).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut last = Speaker::new(coordinator.tls(Some(&keys)), state("w")).await.unwrap();
    assert!(last.hear().await.unwrap().assignments.is_empty());
    let workers =
        client.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(workers.workers.len(), 1);
    drop(held);
    coordinator.stop().await;
}
