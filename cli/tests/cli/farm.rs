//! A fake farm on a port of its own with prepared answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_proto::v1::batches_server::{Batches, BatchesServer};
use rpmfarm_proto::v1::farm_server::{Farm, FarmServer};
use rpmfarm_proto::v1::fleet_server::{Fleet, FleetServer};
use rpmfarm_proto::v1::*;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::{TOKEN, facts};

/// The prepared answers, and the received requests.
#[derive(Debug, Default)]
pub struct Facts {
    pub builds: Vec<Build>,
    /// The changes that a watch sends, in order, each after a short pause.
    pub changes: Vec<Build>,
    /// A watch does not end after its changes.
    pub open_end: bool,
    pub log: Vec<u8>,
    pub lock: (Vec<u8>, String),
    pub info: Option<Info>,
    /// So many requests for builds are carried out without an answer.
    pub lose_answers: u32,
    /// Workers beside the first one.
    pub more_workers: u32,
    /// The farm has one target instead of two.
    pub lone_target: bool,
    pub started: Vec<StartBuildsRequest>,
    /// The answers about batches, one after the other; the last one is repeated.
    pub batches: Vec<BatchDetails>,
    /// The requests that were planned.
    pub planned: Vec<StartBuildsRequest>,
    /// The calls that changed batches, each by its word.
    pub changed: Vec<String>,
    pub log_requests: Vec<ReadLogRequest>,
    pub lists: Vec<ListBuildsRequest>,
    pub invited: Vec<InviteWorkerRequest>,
    pub decided: Vec<SetWorkerStateRequest>,
    /// Reading needs the token, too.
    pub private: bool,
    /// How many builds each watch was for.
    pub watched: Vec<usize>,
}

/// The content of every kept file.
pub const KEPT: &[u8] = b"configure: \x1b[31mnothing is missing\n";

type Shared = Arc<Mutex<Facts>>;

/// A farm that serves while it lives.
pub struct FakeFarm {
    pub facts: Shared,
    runtime: Runtime,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl FakeFarm {
    /// Serves on a free port.
    pub fn start(facts: Facts) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut farm = Self { facts: Arc::new(Mutex::new(facts)), runtime, address, serving: None };
        farm.resume();
        farm
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops every connection and listens no more.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = self.runtime.block_on(serving);
        }
    }

    /// Listens again, where it listened before.
    pub fn resume(&mut self) {
        let listener = self.runtime.block_on(TcpListener::bind(self.address)).expect("a port");
        self.address = listener.local_addr().expect("it is bound");
        let service = FarmServer::new(Answers(self.facts.clone()));
        let fleet = FleetServer::new(Answers(self.facts.clone()));
        let batches = BatchesServer::new(Answers(self.facts.clone()));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let connections = TcpListenerStream::new(listener);
        self.serving = Some(self.runtime.spawn(async move {
            // Aborting this task drops `end`, which cuts every connection.
            let _end = end;
            let _ = Server::builder()
                .add_service(service)
                .add_service(fleet)
                .add_service(batches)
                .serve_with_incoming(cut_with(connections, ended))
                .await;
        }));
    }
}

/// Connections that break when `ended` does.
fn cut_with(
    connections: TcpListenerStream,
    ended: tokio::sync::oneshot::Receiver<()>,
) -> impl Stream<Item = std::io::Result<cut::Connection>> {
    let switch = cut::Switch::new(ended);
    connections.map(move |connection| Ok(switch.guard(connection?)))
}

mod cut {
    //! TCP connections with a switch that breaks them all.

    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::TcpStream;
    use tokio::sync::{oneshot, watch};
    use tonic::transport::server::Connected;

    pub(super) struct Switch(watch::Receiver<()>);

    impl Switch {
        pub(super) fn new(ended: oneshot::Receiver<()>) -> Self {
            let (open, watched) = watch::channel(());
            tokio::spawn(async move {
                let _ = ended.await;
                drop(open);
            });
            Self(watched)
        }

        pub(super) fn guard(&self, stream: TcpStream) -> Connection {
            let mut watched = self.0.clone();
            let broken = Box::pin(async move { while watched.changed().await.is_ok() {} });
            Connection { stream, broken }
        }
    }

    pub struct Connection {
        stream: TcpStream,
        broken: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    impl Connected for Connection {
        type ConnectInfo = ();
        fn connect_info(&self) {}
    }

    impl AsyncRead for Connection {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Connection {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}

struct Answers(Shared);

type Reply<T> = Result<Response<T>, Status>;
type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Answers {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock()
    }

    fn may_read<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if self.facts().private { authorize(request) } else { Ok(()) }
    }

    fn find(&self, id: i64) -> Result<Build, Status> {
        let found = self.facts().builds.iter().find(|build| build.id == id).cloned();
        found.ok_or_else(|| Status::not_found(format!("there is no build {id} (rpmfarm list)")))
    }
}

fn authorize<T>(request: &Request<T>) -> Result<(), Status> {
    let value = request.metadata().get(rpmfarm_proto::AUTHORIZATION);
    if value.is_some_and(|value| value == format!("Bearer {TOKEN}").as_str()) {
        return Ok(());
    }
    Err(Status::unauthenticated("it is not this coordinator's"))
}

#[tonic::async_trait]
impl Farm for Answers {
    async fn get_info(&self, request: Request<GetInfoRequest>) -> Reply<Info> {
        self.may_read(&request)?;
        Ok(Response::new(self.facts().info.clone().unwrap_or_else(facts::info)))
    }

    async fn list_targets(&self, _: Request<ListTargetsRequest>) -> Reply<ListTargetsReply> {
        let broken =
            Target { name: "broken".into(), problems: vec!["no key".into()], ..Target::default() };
        let mut targets = vec![facts::target(), broken];
        targets.truncate(if self.facts().lone_target { 1 } else { 2 });
        Ok(Response::new(ListTargetsReply { targets }))
    }

    async fn get_target(&self, request: Request<GetTargetRequest>) -> Reply<Target> {
        match request.into_inner().name.as_str() {
            "lab" => Ok(Response::new(facts::target())),
            name => {
                Err(Status::not_found(format!("there is no target `{name}` (rpmfarm target list)")))
            }
        }
    }

    async fn start_builds(&self, request: Request<StartBuildsRequest>) -> Reply<StartBuildsReply> {
        authorize(&request)?;
        let mut facts = self.facts();
        facts.started.push(request.into_inner());
        if facts.lose_answers > 0 {
            facts.lose_answers -= 1;
            return Err(Status::unavailable("going away"));
        }
        Ok(Response::new(StartBuildsReply { builds: facts.builds.clone(), warnings: Vec::new() }))
    }

    async fn list_builds(&self, request: Request<ListBuildsRequest>) -> Reply<ListBuildsReply> {
        self.may_read(&request)?;
        let request = request.into_inner();
        let mut facts = self.facts();
        let before = if request.before == 0 { i64::MAX } else { request.before };
        let mut builds = facts.builds.clone();
        builds.retain(|build| build.id < before);
        builds.truncate(request.limit as usize);
        facts.lists.push(request);
        Ok(Response::new(ListBuildsReply { builds, note: String::new() }))
    }

    async fn get_build(&self, request: Request<GetBuildRequest>) -> Reply<Build> {
        self.may_read(&request)?;
        self.find(request.into_inner().id).map(Response::new)
    }

    type WatchBuildsStream = Pieces<Build>;

    async fn watch_builds(
        &self,
        request: Request<WatchBuildsRequest>,
    ) -> Reply<Self::WatchBuildsStream> {
        self.may_read(&request)?;
        let ids = request.into_inner().ids;
        for id in &ids {
            self.find(*id)?;
        }
        let (changes, open_end) = {
            let mut facts = self.facts();
            facts.watched.push(ids.len());
            let mut changes = facts.changes.clone();
            changes.retain(|build| ids.contains(&build.id));
            (changes, facts.open_end)
        };
        let pause = Duration::from_millis(if changes.len() > 100 { 0 } else { 20 });
        let changes = tokio_stream::iter(changes).map(Ok).throttle(pause);
        if open_end {
            return Ok(Response::new(Box::pin(changes.chain(tokio_stream::pending()))));
        }
        Ok(Response::new(Box::pin(changes)))
    }

    type ReadLogStream = Pieces<LogData>;

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Reply<Self::ReadLogStream> {
        self.may_read(&request)?;
        let request = request.into_inner();
        self.find(request.build)?;
        let mut facts = self.facts();
        let from = usize::try_from(request.offset).expect("it fits");
        // Pieces of five bytes cut characters and lines.
        let pieces: Vec<_> = facts.log[from..]
            .chunks(5)
            .enumerate()
            .map(|(n, data)| {
                Ok(LogData { data: data.to_vec().into(), offset: (from + n * 5) as u64 })
            })
            .collect();
        facts.log_requests.push(request);
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn cancel_build(&self, request: Request<CancelBuildRequest>) -> Reply<Build> {
        authorize(&request)?;
        let build = self.find(request.into_inner().id)?;
        if build.state == "published" {
            return Err(Status::failed_precondition(
                "build 7 is published, it cannot be cancelled",
            ));
        }
        Ok(Response::new(Build { state: "cancelled".into(), ..build }))
    }

    async fn retry_build(&self, request: Request<RetryBuildRequest>) -> Reply<Build> {
        authorize(&request)?;
        let build = self.find(request.into_inner().id)?;
        Ok(Response::new(Build { state: "queued".into(), failure: None, ..build }))
    }

    async fn set_priority(&self, request: Request<SetPriorityRequest>) -> Reply<Build> {
        authorize(&request)?;
        let SetPriorityRequest { id, priority } = request.into_inner();
        Ok(Response::new(Build { priority, ..self.find(id)? }))
    }

    async fn why_build(&self, request: Request<WhyBuildRequest>) -> Reply<WhyReply> {
        let build = self.find(request.into_inner().id)?;
        Ok(Response::new(facts::why(&build)))
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Reply<LockReply> {
        self.find(request.into_inner().build)?;
        let (lock, digest) = self.facts().lock.clone();
        Ok(Response::new(LockReply { digest, lock: lock.into() }))
    }

    async fn list_files(&self, request: Request<ListFilesRequest>) -> Reply<ListFilesReply> {
        self.find(request.into_inner().build)?;
        let file = |attempt: i64, path: &str, size: u64| BuildFile {
            attempt,
            kind: "build".into(),
            arch: "x86_64".into(),
            path: path.into(),
            size,
            digest: "ab".repeat(32),
        };
        let text = KEPT.len() as u64;
        let files = vec![
            file(9, "x-1/config.log", text),
            file(8, "x-1/config.log", text),
            file(8, "x-1/tests/test-suite.log", text),
        ];
        Ok(Response::new(ListFilesReply { files }))
    }

    type ReadFileStream = Pieces<FileData>;

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Reply<Self::ReadFileStream> {
        self.find(request.into_inner().build)?;
        let pieces: Vec<_> =
            KEPT.chunks(5).map(|data| Ok(FileData { data: data.to_vec().into() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn list_channels(&self, _: Request<ListChannelsRequest>) -> Reply<ListChannelsReply> {
        Ok(Response::new(ListChannelsReply { channels: vec![facts::channel()] }))
    }

    async fn list_workers(&self, request: Request<ListWorkersRequest>) -> Reply<ListWorkersReply> {
        let ListWorkersRequest { limit, after } = request.into_inner();
        let more = (0..self.facts().more_workers).map(|number| format!("x{number:04}"));
        let names = std::iter::once(facts::worker().name).chain(more);
        let mut workers: Vec<Worker> = names
            .filter(|name| *name > after)
            .map(|name| Worker { name, ..facts::worker() })
            .collect();
        let follow = workers.len() > limit as usize;
        workers.truncate(limit as usize);
        let next = if follow { workers[limit as usize - 1].name.clone() } else { String::new() };
        Ok(Response::new(ListWorkersReply { workers, next }))
    }
}

impl Answers {
    /// The next answer about a batch.
    fn batch(&self, id: i64) -> Result<BatchDetails, Status> {
        let mut facts = self.facts();
        let details = match facts.batches.len() {
            0 => None,
            1 => facts.batches.first().cloned(),
            _ => Some(facts.batches.remove(0)),
        };
        let is_it = |details: &BatchDetails| details.batch.as_ref().is_some_and(|one| one.id == id);
        let missing = || Status::not_found(format!("no batch {id} (rpmfarm batch list)"));
        details.filter(is_it).ok_or_else(missing)
    }

    fn change<T>(&self, request: &Request<T>, word: &str, id: i64) -> Reply<BatchChange> {
        authorize(request)?;
        let batch = self.batch(id)?.batch;
        self.facts().changed.push(format!("{word} {id}"));
        Ok(Response::new(BatchChange { batch, builds: 2 }))
    }
}

#[tonic::async_trait]
impl Batches for Answers {
    async fn plan_builds(&self, request: Request<StartBuildsRequest>) -> Reply<BatchPlan> {
        authorize(&request)?;
        let request = request.into_inner();
        let plan = facts::plan(&request);
        self.facts().planned.push(request);
        Ok(Response::new(plan))
    }

    async fn get_batch(&self, request: Request<GetBatchRequest>) -> Reply<BatchDetails> {
        self.may_read(&request)?;
        self.batch(request.into_inner().id).map(Response::new)
    }

    async fn list_batches(&self, request: Request<ListBatchesRequest>) -> Reply<ListBatchesReply> {
        self.may_read(&request)?;
        let ListBatchesRequest { limit, before } = request.into_inner();
        let before = if before == 0 { i64::MAX } else { before };
        let facts = self.facts();
        let batches = facts.batches.iter().filter_map(|details| details.batch.clone());
        let batches = batches.filter(|batch| batch.id < before).take(limit as usize).collect();
        Ok(Response::new(ListBatchesReply { batches }))
    }

    async fn pause_batch(&self, request: Request<PauseBatchRequest>) -> Reply<BatchChange> {
        self.change(&request, "pause", request.get_ref().id)
    }

    async fn resume_batch(&self, request: Request<ResumeBatchRequest>) -> Reply<BatchChange> {
        self.change(&request, "resume", request.get_ref().id)
    }

    async fn cancel_batch(&self, request: Request<CancelBatchRequest>) -> Reply<BatchChange> {
        self.change(&request, "cancel", request.get_ref().id)
    }

    async fn retry_batch(&self, request: Request<RetryBatchRequest>) -> Reply<BatchChange> {
        self.change(&request, "retry", request.get_ref().id)
    }
}

#[tonic::async_trait]
impl Fleet for Answers {
    async fn invite_worker(&self, request: Request<InviteWorkerRequest>) -> Reply<Invitation> {
        authorize(&request)?;
        let request = request.into_inner();
        let invitation = facts::invitation(&request);
        self.facts().invited.push(request);
        Ok(Response::new(invitation))
    }

    async fn get_worker(&self, request: Request<GetWorkerRequest>) -> Reply<WorkerDetails> {
        self.may_read(&request)?;
        match request.into_inner().name.as_str() {
            "w1" => Ok(Response::new(facts::worker_details())),
            name => Err(Status::not_found(format!("no worker {name}"))),
        }
    }

    async fn set_worker_state(
        &self,
        request: Request<SetWorkerStateRequest>,
    ) -> Reply<WorkerDetails> {
        authorize(&request)?;
        let request = request.into_inner();
        let mut details = facts::worker_details();
        if let Some(worker) = &mut details.worker {
            worker.state.clone_from(&request.state);
        }
        self.facts().decided.push(request);
        Ok(Response::new(details))
    }
}
