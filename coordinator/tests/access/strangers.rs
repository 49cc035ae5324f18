//! A worker with a certificate that makes calls which no correct worker makes: paths instead of
//! digests and names, offsets beyond the largest number, messages without an end.

use rpmfarm_core::Sha256;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::blobs_client::BlobsClient;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::builds::bundle;
use crate::coordinator::Coordinator;

/// Reads a blob as a worker: the announced size, and the number of received bytes.
async fn fetch(channel: &Channel, digest: &str, offset: u64) -> Result<(u64, usize), Status> {
    let request = v1::FetchRequest { digest: digest.into(), offset, ..Default::default() };
    let mut chunks = BlobsClient::new(channel.clone()).fetch(request).await?.into_inner();
    let (mut size, mut length) = (0_u64, 0);
    while let Some(chunk) = chunks.message().await? {
        size = size.max(chunk.size);
        length += chunk.data.len();
    }
    Ok((size, length))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_no_path_and_an_offset_has_an_end() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    coordinator.attempt("hello", "w").await;
    let channel = coordinator.tls(Some(&keys));
    for digest in [
        "",
        "AB",
        "../../../token",
        "../farm.db",
        "/etc/passwd",
        &format!("{}/../../token", "0".repeat(51)),
        &"g".repeat(64),
        &"0".repeat(63),
        &"0".repeat(1 << 20),
    ] {
        let status = fetch(&channel, digest, 0).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{digest:.80}: {status}");
        assert!(status.message().len() < 1000, "{} bytes", status.message().len());
    }
    let status = fetch(&channel, &"0".repeat(64), 0).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");

    let bytes = bundle("hello").to_bytes();
    let (digest, size) = (Sha256::compute(&bytes).hex(), bytes.len() as u64);
    assert_eq!(fetch(&channel, &digest, 0).await.unwrap(), (size, bytes.len()));
    assert_eq!(fetch(&channel, &digest, size - 1).await.unwrap(), (size, 1));
    for offset in [size, size + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        assert_eq!(fetch(&channel, &digest, offset).await.unwrap(), (size, 0), "{offset}");
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_epochs_are_those_of_the_attempt() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let (_, attempt) = coordinator.attempt("hello", "w").await;
    let client = || WorkersClient::new(coordinator.tls(Some(&keys)));
    let chunk = |log: &str| v1::LogChunk {
        attempt: attempt.id.0,
        epoch: attempt.epoch.0,
        log: log.into(),
        data: b"x".to_vec().into(),
        ..Default::default()
    };
    for log in ["../../x", "/etc/passwd", "build/../../x", "Build", "root\0", "build.log", " "] {
        let status = client().append_log(chunk(log)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{log:?}: {status}");
    }
    for epoch in [i64::MIN, -1, 0, attempt.epoch.0 - 1, attempt.epoch.0 + 1, i64::MAX] {
        let status = client().append_log(v1::LogChunk { epoch, ..chunk("build") }).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{epoch}: {status}");
    }
    for id in [i64::MIN, -1, 0, attempt.id.0 + 1, i64::MAX] {
        let status = client().append_log(v1::LogChunk { attempt: id, ..chunk("build") }).await;
        assert_eq!(status.unwrap_err().code(), Code::FailedPrecondition, "{id}");
    }
    let good = "0".repeat(64);
    for (name, digest) in [
        ("../../x", good.as_str()),
        ("a/b", &good),
        ("..", &good),
        ("-rf", &good),
        ("a\nb", &good),
        ("a\u{1b}[2J", &good),
        ("", &good),
        ("x.rpm", "../../x"),
        ("x.rpm", ""),
    ] {
        let file = v1::FileRef { name: name.into(), digest: digest.into(), ..Default::default() };
        let (attempt, epoch) = (attempt.id.0, attempt.epoch.0);
        let query = v1::UploadQuery { attempt, epoch, file: Some(file), ..Default::default() };
        let status = client().upload_offset(query.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status}");
        assert!(!status.message().contains(char::is_control), "{status:?}");
        let first = v1::UploadChunk { query: Some(query), ..Default::default() };
        let status = client().upload(tokio_stream::iter([first])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status}");
        let kept = v1::KeptUpload { path: format!("{name}/.."), digest: good.clone(), size: 1 };
        let request = v1::KeepFilesRequest { attempt, epoch, files: vec![kept] };
        let status = client().keep_files(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status}");
    }
    // The first chunk names the file.
    let status = client().upload(tokio_stream::iter([v1::UploadChunk::default()])).await;
    assert_eq!(status.unwrap_err().code(), Code::InvalidArgument);
    // It is the attempt's all the same.
    assert_eq!(client().append_log(chunk("build")).await.unwrap().into_inner().next, 1);
    coordinator.stop().await;
}

/// A message above the limit is refused by its length before it is received, and compressed
/// messages are not decompressed.
#[tokio::test(flavor = "multi_thread")]
async fn messages_have_an_end() {
    let coordinator = Coordinator::start().await;
    let keys = coordinator.enrol("w").await;
    let (_, attempt) = coordinator.attempt("hello", "w").await;
    let chunk = |data: Vec<u8>| v1::LogChunk {
        attempt: attempt.id.0,
        epoch: attempt.epoch.0,
        log: "build".into(),
        data: data.into(),
        ..Default::default()
    };
    let mut client = WorkersClient::new(coordinator.tls(Some(&keys)));
    assert!(client.append_log(chunk(vec![b'x'; 64 << 20])).await.is_err());

    let mut packed = Request::new(chunk(vec![b'x'; 10]));
    packed.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    let status = WorkersClient::new(coordinator.tls(Some(&keys))).append_log(packed).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);

    let mut client = FarmClient::new(coordinator.plain());
    let ids = (0..2_000_000).collect();
    assert!(client.watch_builds(v1::WatchBuildsRequest { ids }).await.is_err());
    // None of it was stored, and the attempt continues.
    let mut client = WorkersClient::new(coordinator.tls(Some(&keys)));
    let next = client.append_log(chunk(b"good".to_vec())).await.unwrap().into_inner().next;
    assert_eq!(next, 4);
    coordinator.stop().await;
}
