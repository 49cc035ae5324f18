//! Transfers by addresses of an object store, and without it. The coordinator is the test's; the store
//! takes requests that nobody signed, so that it can name addresses by itself.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use parking_lot::Mutex;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::{AttemptId, Epoch, Sha256};
use rpmfarm_lab::serve::s3::{LastRequest, S3Server};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::blobs_server::{Blobs, BlobsServer};
use rpmfarm_proto::v1::workers_server::{Workers, WorkersServer};
use rpmfarm_worker::files::WantedFile;
use rpmfarm_worker::transfer::download::fetch;
use rpmfarm_worker::transfer::upload::upload;
use rpmfarm_worker::transfer::{CoordinatorConnection, FileCache};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// A coordinator that has one file, and takes one.
#[derive(Clone)]
struct Coordinator {
    content: Arc<Vec<u8>>,
    /// The address that it gives out.
    address: String,
    seen: Arc<Mutex<Seen>>,
    /// Where the store keeps what is put at the address.
    object: PathBuf,
}

/// What the worker did with the coordinator itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    sent: usize,
    offset: u64,
    received: usize,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<v1::BlobChunk, Status>> + Send>>;

#[tonic::async_trait]
impl Blobs for Coordinator {
    type FetchStream = Chunks;

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<Chunks>, Status> {
        let request = request.into_inner();
        let chunk = if request.by_address {
            v1::BlobChunk { address: self.address.clone(), ..Default::default() }
        } else {
            let rest = &self.content[usize::try_from(request.offset).unwrap()..];
            (self.seen.lock().offset, self.seen.lock().sent) = (request.offset, rest.len());
            v1::BlobChunk { data: rest.to_vec().into(), ..Default::default() }
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(chunk)))))
    }
}

#[tonic::async_trait]
impl Workers for Coordinator {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::DesiredState, Status>> + Send>>;

    async fn session(
        &self,
        _: Request<Streaming<v1::WorkerState>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("session"))
    }

    async fn append_log(
        &self,
        _: Request<v1::LogChunk>,
    ) -> Result<Response<v1::LogOffset>, Status> {
        Err(Status::unimplemented("append_log"))
    }

    async fn upload_offset(
        &self,
        request: Request<v1::UploadQuery>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let query = request.into_inner();
        if query.placed {
            let there = fs::read(&self.object).unwrap_or_default();
            return if there == *self.content {
                Ok(Response::new(v1::UploadReply {
                    have: there.len() as u64,
                    ..Default::default()
                }))
            } else {
                Err(Status::data_loss("another file"))
            };
        }
        let address = if query.by_address { self.address.clone() } else { String::new() };
        Ok(Response::new(v1::UploadReply { have: 0, address }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let mut chunks = request.into_inner();
        while let Some(chunk) = chunks.next().await {
            self.seen.lock().received += chunk?.data.len();
        }
        Ok(Response::new(v1::UploadReply { have: self.content.len() as u64, ..Default::default() }))
    }

    async fn keep_files(
        &self,
        _: Request<v1::KeepFilesRequest>,
    ) -> Result<Response<v1::KeepFilesReply>, Status> {
        Err(Status::unimplemented("keep_files"))
    }
}

struct Scene {
    dir: tempfile::TempDir,
    store: S3Server,
    coordinator: Coordinator,
    connection: CoordinatorConnection,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = S3Server::start(&dir.path().join("s3"), &["farm"], true).await.unwrap();
        let coordinator = Coordinator {
            content: Arc::new((0..100_000_u32).map(|number| (number % 251) as u8).collect()),
            address: format!("{}/farm/object", store.url()),
            seen: Arc::default(),
            object: dir.path().join("s3/farm/object"),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(WorkersServer::new(coordinator.clone()))
            .add_service(BlobsServer::new(coordinator.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let connection = CoordinatorConnection::with_token(&[address], "secret", "w1").unwrap();
        Self { dir, store, coordinator, connection }
    }

    /// Fetches the file. Returns what came from the coordinator.
    async fn fetch(&self) -> Seen {
        let cache = FileCache::open(self.dir.path().join("cache")).unwrap();
        let digest = Sha256::compute(&self.coordinator.content);
        let size = self.coordinator.content.len() as u64;
        let wanted = [WantedFile { digest, size, name: "file".into() }];
        fetch(&self.connection, &cache, &wanted).await.unwrap();
        assert!(fs::read(cache.path(digest)).unwrap() == *self.coordinator.content);
        self.coordinator.seen.lock().take()
    }

    /// Uploads the file. Returns what the coordinator got.
    async fn upload(&self) -> Seen {
        let path = self.dir.path().join("result");
        fs::write(&path, &*self.coordinator.content).unwrap();
        let file = ResultFile {
            name: "a.rpm".into(),
            digest: Sha256::compute(&self.coordinator.content),
            size: self.coordinator.content.len() as u64,
            kind: ResultKind::Rpm,
        };
        upload(&self.connection, AttemptId(1), Epoch(1), &file, &path).await.unwrap();
        self.coordinator.seen.lock().take()
    }
}

impl Seen {
    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_from_the_store_and_go_there() {
    let scene = Scene::new().await;
    assert_eq!(scene.upload().await, Seen::default(), "nothing went over the coordinator");
    assert_eq!(scene.fetch().await, Seen::default());
    assert!(scene.connection.objects().is_usable());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_everything_goes_over_the_coordinator() {
    let scene = Scene::new().await;
    scene.store.cut_after(0, LastRequest::Lost);
    let all = scene.coordinator.content.len();
    assert_eq!(scene.upload().await, Seen { received: all, ..Seen::default() });
    assert!(!scene.connection.objects().is_usable(), "it is not asked again for some time");
    assert_eq!(scene.fetch().await, Seen { sent: all, ..Seen::default() });
    assert_eq!(scene.store.take_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_another_file_is_found_out() {
    let scene = Scene::new().await;
    let mut other = scene.coordinator.content.to_vec();
    other[99_999] ^= 1;
    fs::write(&scene.coordinator.object, &other).unwrap();
    let all = scene.coordinator.content.len();
    assert_eq!(scene.fetch().await, Seen { sent: all, ..Seen::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_from_the_store_goes_on_where_it_broke_off() {
    let scene = Scene::new().await;
    // What is here is not fetched again, or the damage would come along.
    let mut object = scene.coordinator.content.to_vec();
    object[..20_000].fill(0);
    fs::write(&scene.coordinator.object, &object).unwrap();
    let cache = FileCache::open(scene.dir.path().join("cache")).unwrap();
    let partial = cache.partial(Sha256::compute(&scene.coordinator.content));
    fs::write(partial, &scene.coordinator.content[..20_000]).unwrap();
    assert_eq!(scene.fetch().await, Seen::default());
}
