//! A worker that writes more than the limit of a log, and the readers of that log.

use rpmfarm_coordinator::listen::ConnectionLimits;
use rpmfarm_core::{BuildId, Fault};
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use rpmfarm_proto::{WORKER, v1};
use tonic::{Code, Status};

use super::{NOW, Served};

/// The accepted size where `log_mib` is 1.
const TAKEN: u64 = 5 << 20;

const PIECE: usize = 1 << 20;

async fn append(
    served: &Served,
    attempt: &rpmfarm_coordinator::store::Attempt,
    log: &str,
    offset: u64,
    length: usize,
) -> Result<u64, Status> {
    let chunk = v1::LogChunk {
        attempt: attempt.id.0,
        epoch: attempt.epoch.0,
        log: log.into(),
        offset,
        data: vec![b'a'; length].into(),
        last: false,
    };
    let mut request = served.authorized(chunk);
    request.metadata_mut().insert(WORKER, "w".parse().unwrap());
    let mut client = WorkersClient::new(served.channel().await);
    Ok(client.append_log(request).await?.into_inner().next)
}

async fn read(served: &Served, build: BuildId, log: &str, offset: u64) -> Result<u64, Status> {
    let mut client = FarmClient::new(served.channel().await);
    let request =
        v1::ReadLogRequest { build: build.0, log: log.into(), offset, ..Default::default() };
    let mut pieces = client.read_log(request).await?.into_inner();
    let mut length = 0;
    while let Some(piece) = pieces.message().await? {
        assert_eq!(piece.offset, offset + length);
        length += piece.data.len() as u64;
    }
    Ok(length)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_what_its_limit_allows_and_the_build_fails_for_more() {
    let served = Served::start(ConnectionLimits::default()).await;
    let build = served.build().await;
    let task = served.ready(build).await;
    let attempt = served.farm.store.attempt_grant(task, build, "w", NOW).await.unwrap().unwrap();

    // Places that no log has.
    for offset in [u64::MAX - 2, u64::MAX, 1 << 63, TAKEN + 1] {
        let status = append(&served, &attempt, "root", offset, 10).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{offset}: {status}");
    }
    // The root's log is cut, and its attempt continues.
    let mut offset = 0;
    let status = loop {
        match append(&served, &attempt, "root", offset, PIECE).await {
            Ok(next) => offset = next,
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), offset), (Code::OutOfRange, TAKEN));
    assert!(status.message().contains("more than 1 MiB (limit `log_mib`)"), "{status}");
    assert!(served.farm.store.attempt_fetch_live(attempt.id).await.unwrap().is_some());

    let mut offset = 0;
    let status = loop {
        match append(&served, &attempt, "build", offset, PIECE - 1).await {
            Ok(next) => offset = next,
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::OutOfRange);
    let failures = served.farm.store.failure_list(build, None).await.unwrap();
    let failure = &failures.last().unwrap().failure;
    assert_eq!(failure.fault, Fault::Package);
    assert_eq!(failure.message, "the build wrote a log of more than 1 MiB (limit `log_mib`)");
    let status = append(&served, &attempt, "build", offset, 10).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "the attempt has ended");

    for log in ["build", "root"] {
        assert_eq!(read(&served, build, log, 0).await.unwrap(), TAKEN, "{log}");
        assert_eq!(read(&served, build, log, TAKEN - 7).await.unwrap(), 7, "{log}");
        assert_eq!(read(&served, build, log, u64::MAX).await.unwrap(), 0, "{log}");
    }
}
