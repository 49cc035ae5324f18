//! Uploads: only announced files, within bounds, by the worker that has the attempt, and only for
//! the attempt that announced them.

use rpmfarm_core::Sha256;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::task::{Outcome, Success};
use rpmfarm_core::{AttemptId, Epoch, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use std::time::{Duration, Instant};
use tonic::{Code, Request, Status};

use crate::coordinator::{Coordinator, Keys};

fn query(attempt: AttemptId, epoch: Epoch, data: &[u8], size: u64) -> v1::UploadQuery {
    let digest = Sha256::compute(data).hex();
    let file = v1::FileRef { name: "hello-1-1.src.rpm".into(), digest, size, executable: false };
    v1::UploadQuery { attempt: attempt.0, epoch: epoch.0, file: Some(file), ..Default::default() }
}

async fn ask(
    coordinator: &Coordinator,
    keys: &Keys,
    query: v1::UploadQuery,
) -> Result<u64, Status> {
    let mut client = WorkersClient::new(coordinator.tls(Some(keys)));
    Ok(client.upload_offset(query).await?.into_inner().have)
}

async fn upload(
    coordinator: &Coordinator,
    keys: &Keys,
    query: v1::UploadQuery,
    data: &[u8],
) -> Result<u64, Status> {
    let data = data.to_vec().into();
    let chunk = v1::UploadChunk { query: Some(query), offset: 0, data };
    let mut client = WorkersClient::new(coordinator.tls(Some(keys)));
    Ok(client.upload(tokio_stream::iter([chunk])).await?.into_inner().have)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_announced_by_its_holder_and_within_bounds() {
    let coordinator = Coordinator::start().await;
    let (a, b) = (coordinator.enrol("a").await, coordinator.enrol("b").await);
    let (_, attempt) = coordinator.attempt("hello", "a").await;
    let (id, epoch) = (attempt.id, attempt.epoch);

    assert_eq!(upload(&coordinator, &a, query(id, epoch, b"1234", 4), b"1234").await.unwrap(), 4);
    // More than was announced.
    let status = upload(&coordinator, &a, query(id, epoch, b"abc", 3), b"abcdef").await;
    assert_eq!(status.unwrap_err().code(), Code::OutOfRange);
    // The same file with another size.
    let status = ask(&coordinator, &a, query(id, epoch, b"1234", 5)).await.unwrap_err();
    assert!(status.message().contains("announced with 4 bytes, now with 5"), "{status:?}");
    // Together more than results_mib.
    let large = query(id, epoch, b"large", 1 << 42);
    let status = ask(&coordinator, &a, large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    for n in 0..40_u64 {
        let one = query(id, epoch, &n.to_be_bytes(), 200 << 20);
        if let Err(status) = ask(&coordinator, &a, one).await {
            assert!(n > 0 && status.message().contains("results_mib"), "{status:?}");
            break;
        }
        assert!(n < 39, "there is no end to it");
    }
    // Another's attempt, an old epoch, no attempt.
    let foreign = ask(&coordinator, &b, query(id, epoch, b"1234", 4)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::PermissionDenied);
    let foreign = upload(&coordinator, &b, query(id, epoch, b"1234", 4), b"1234").await;
    assert_eq!(foreign.unwrap_err().code(), Code::PermissionDenied);
    for (id, epoch) in [(id, Epoch(epoch.0 + 1)), (AttemptId(id.0 + 100), Epoch(1))] {
        let status = ask(&coordinator, &a, query(id, epoch, b"1234", 4)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
    // With the token, under the worker's name in the request.
    let mut client = WorkersClient::new(coordinator.plain());
    let as_b = coordinator.of_worker("b", query(id, epoch, b"1234", 4));
    assert_eq!(client.upload_offset(as_b).await.unwrap_err().code(), Code::PermissionDenied);
    let as_a: Request<_> = coordinator.of_worker("a", query(id, epoch, b"1234", 4));
    assert_eq!(client.upload_offset(as_a).await.unwrap().into_inner().have, 4);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_attempts_do_not_mix() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let (_, first) = coordinator.attempt("hello", "w").await;
    upload(&coordinator, &keys, query(first.id, first.epoch, b"1234", 4), b"1234").await.unwrap();

    // The file is in the blob store; but this attempt has not uploaded it.
    let (build, second) = coordinator.attempt("other", "w").await;
    let file = ResultFile {
        name: "hello-1-1.src.rpm".into(),
        kind: ResultKind::Srpm,
        digest: Sha256::compute(b"1234"),
        size: 4,
    };
    let success = Success { files: vec![file], ..Success::default() };
    let outcome = Outcome::Succeeded(success);
    let (id, epoch) = (second.id, second.epoch);
    assert!(
        coordinator
            .store
            .attempt_end_succeeded(id, epoch, &outcome, Timestamp::from_us(2))
            .await
            .unwrap()
    );
    let begun = Instant::now();
    let failure = loop {
        let failures = coordinator.store.failure_list(build, None).await.unwrap();
        if let Some(row) = failures.iter().find(|row| row.failure.stage.as_str() == "accept") {
            break row.failure.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not refused: {failures:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(failure.message.contains("results of attempts do not mix"), "{failure}");
    assert_eq!(failure.fault, rpmfarm_core::Fault::Worker);
    coordinator.stop().await;
}
