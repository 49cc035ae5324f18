//! The calls of people and scripts.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, StreamExt as _};
use rpmfarm_core::lock::Lock;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::status::{BuildState, StateFilter};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, name};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::farm_server::Farm as FarmApi;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::request_checks::{self, optional};
use super::shared_views::SharedViews;
use super::view::{self, Views};
use super::{count, fleet, internal, logs, pages, pieces, to_the_end, watch, why};
use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::clock;
use crate::dispatch::report::Reports;
use crate::doctor::Doctor;
use crate::store::{Build, BuildFilter, BuildRequest, EndedFilter, KeptFileRow, Store, Task};
use crate::streams::StreamLimits;
use crate::targets::{LoadedTarget, TargetError, Targets};
use crate::track::Tracker;

#[derive(Clone)]
pub struct FarmService {
    /// Shows builds; with the store and the targets.
    pub views: Views,
    /// Builds that are watched.
    pub shared: SharedViews,
    /// Locks and kept files.
    pub blobs: Blobs,
    /// Woken when a fact was written.
    pub bus: Bus,
    /// Woken when a log has grown.
    pub log_bus: Bus,
    /// Logs of attempts, and what follows when attempts end.
    pub reports: Reports,
    /// Limits the streams of callers.
    pub streams: StreamLimits,
    /// Asks upstream whether it has the requested packages.
    pub tracker: Tracker,
    /// Finds problems of the farm.
    pub doctor: Doctor,
    /// Builds of one request at most.
    pub max_batch: usize,
    /// The address under which users reach this farm, without a slash at its end.
    pub base_url: Arc<str>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How many builds are read at once for a list.
const PAGE: usize = 200;

/// How many builds one call reads at most to find those in a state.
const MAX_READ: usize = 10_000;

/// The largest lock that is read into memory, in bytes.
const MAX_LOCK: u64 = 64 << 20;

impl From<TargetError> for Status {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Unknown { .. } => Self::not_found(error.to_string()),
            TargetError::Bad { .. } => Self::failed_precondition(error.to_string()),
        }
    }
}

impl FarmService {
    fn store(&self) -> &Store {
        &self.views.store
    }

    fn targets(&self) -> &Targets {
        &self.views.targets
    }

    async fn find_build(&self, id: BuildId) -> Result<Build, Status> {
        self.store()
            .build_fetch(id)
            .await?
            .ok_or_else(|| Status::not_found(format!("no build {id}")))
    }

    async fn show(&self, id: BuildId) -> Result<v1::Build, Status> {
        Ok(self.views.build(&self.find_build(id).await?).await?)
    }

    /// The task whose log is followed; waits for it while the build is open.
    async fn task_to_come(&self, request: &v1::ReadLogRequest) -> Result<Task, Status> {
        let mut facts = self.bus.listen();
        loop {
            let read_at = Instant::now();
            let build = BuildId(request.build);
            let picked = self.pick_task(build, &request.kind, &request.arch).await;
            match picked {
                Err(status) if status.code() == Code::NotFound => {
                    if !self.store().build_is_open(build).await? {
                        return Err(status);
                    }
                    facts.woken().await;
                    logs::rest(read_at).await;
                }
                picked => return picked,
            }
        }
    }

    /// For a build without the requested log, returns an error that says why there is none: a build
    /// that failed before anything was built has its reason in its failure only.
    async fn or_no_log<T>(&self, build: BuildId, found: Result<T, Status>) -> Result<T, Status> {
        let status = match found {
            Err(status) if status.code() == Code::NotFound => status,
            found => return found,
        };
        // An unknown build has an error of its own.
        let Ok(shown) = self.show(build).await else { return Err(status) };
        let Some(failure) = &shown.failure else {
            let state = &shown.state;
            return Err(Status::not_found(format!("{}: it is {state}", status.message())));
        };
        let mut lines = vec![format!(
            "build {build} failed at {} and has no such log: {} ({}'s fault)",
            failure.stage,
            failure.message,
            failure.whose()
        )];
        lines.extend(failure.excerpt.iter().map(|line| format!("| {line}")));
        lines.push(format!("what to do about it: rpmfarm show {build}"));
        Err(Status::not_found(lines.join("\n")))
    }

    /// The task of a build by kind and architecture; empty words take the first architecture, and
    /// the last kind in the order of the pipeline.
    async fn pick_task(&self, build: BuildId, kind: &str, arch: &str) -> Result<Task, Status> {
        let kind: Option<TaskKind> = optional(kind)?;
        let arch: Option<Arch> = optional(arch)?;
        self.find_build(build).await?;
        let tasks = self.store().task_list(build).await?;
        let fits = |task: &&Task| {
            kind.is_none_or(|kind| task.kind == kind) && arch.is_none_or(|arch| task.arch == arch)
        };
        tasks
            .iter()
            .filter(fits)
            .max_by_key(|task| (task.kind.is_build(), std::cmp::Reverse(task.id)))
            .cloned()
            .ok_or_else(|| Status::not_found(format!("build {build} has no such task yet")))
    }
}

fn shown_target(name: &str, loaded: &LoadedTarget) -> v1::Target {
    match loaded {
        Ok(target) => v1::Target {
            name: name.into(),
            description: target.description.clone(),
            arches: target.arches.iter().map(ToString::to_string).collect(),
            channels: target.channels.clone(),
            dist: target.dist.clone(),
            definition: serde_json::to_string(&**target).unwrap_or_default(),
            problems: Vec::new(),
        },
        Err(problem) => {
            let problems = problem.lines().map(str::to_owned).collect();
            v1::Target { name: name.into(), problems, ..Default::default() }
        }
    }
}

#[tonic::async_trait]
impl FarmApi for FarmService {
    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Result<Response<v1::Info>, Status> {
        let database = match self.store().dialect() {
            crate::store::Dialect::Sqlite => "sqlite",
            crate::store::Dialect::Postgres => "postgres",
        };
        Ok(Response::new(v1::Info {
            version: env!("CARGO_PKG_VERSION").into(),
            now_us: clock::now().as_us(),
            database: database.into(),
            checks: self.doctor.checks().await,
        }))
    }

    async fn list_targets(
        &self,
        _: Request<v1::ListTargetsRequest>,
    ) -> Result<Response<v1::ListTargetsReply>, Status> {
        let all = self.targets().all();
        let targets = all.iter().map(|(name, loaded)| shown_target(name, loaded)).collect();
        Ok(Response::new(v1::ListTargetsReply { targets }))
    }

    async fn get_target(
        &self,
        request: Request<v1::GetTargetRequest>,
    ) -> Result<Response<v1::Target>, Status> {
        let name = request.into_inner().name;
        let all = self.targets().all();
        match all.get(&name) {
            Some(loaded) => Ok(Response::new(shown_target(&name, loaded))),
            None => Err(self.targets().get(&name).expect_err("it was not there").into()),
        }
    }

    async fn start_builds(
        &self,
        request: Request<v1::StartBuildsRequest>,
    ) -> Result<Response<v1::StartBuildsReply>, Status> {
        let request = request.into_inner();
        let target = self.targets().get(&request.target)?;
        let builds = request_checks::builds(&request, &target, self.max_batch)?;
        let order = request_checks::order(&request, &target)?;
        let warnings =
            request_checks::check_upstream(self.store(), &self.tracker, &target, &builds).await?;
        let submitter = name::shown(&request.submitter);
        let key = name::shown(&request.idempotency_key);
        let (store, bump) = (self.store().clone(), request.bump);
        let started = to_the_end(async move {
            let (builds, submitter, key) = (&builds[..], &submitter[..], &key[..]);
            let request = BuildRequest { builds, submitter, key, bump, order };
            store.build_insert_request(&request, clock::now()).await
        })
        .await??;
        let mut rows = self.store().build_list_by_id(&started.ids).await?;
        // In the order of the request.
        let place: HashMap<BuildId, usize> =
            started.ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        rows.sort_by_key(|build| place.get(&build.id).copied());
        let builds = self.views.builds(&rows).await?;
        Ok(Response::new(v1::StartBuildsReply { builds, warnings }))
    }

    async fn list_builds(
        &self,
        request: Request<v1::ListBuildsRequest>,
    ) -> Result<Response<v1::ListBuildsReply>, Status> {
        let request = request.into_inner();
        let state: StateFilter = request_checks::word(&request.state)?;
        let wanted = if request.limit == 0 { 50 } else { request.limit.min(1000) } as usize;
        let most = if request.brief { wanted } else { PAGE };
        let mut filter = BuildFilter {
            target: request.target,
            package: request.package,
            ended: view::ended_of_filter(state),
            before: (request.before != 0).then_some(BuildId(request.before)),
            limit: i64::try_from(most).unwrap_or(0),
        };
        let mut reply = v1::ListBuildsReply::default();
        let (target, package) = (filter.target.clone(), filter.package.clone());
        // The state of open builds is derived, so these are filtered here, page by page; the store
        // leaves out those that cannot have it.
        let mut read = 0;
        loop {
            let missing = wanted - reply.builds.len();
            if filter.ended != EndedFilter::Open {
                filter.limit = i64::try_from(missing.min(most)).unwrap_or(0);
            }
            let page = self.store().build_list(&filter).await?;
            let Some(last) = page.last() else { break };
            let oldest = last.id;
            filter.before = Some(oldest);
            read += page.len();
            let shown = if request.brief {
                self.views.list_rows(&page).await?
            } else {
                self.views.builds(&page).await?
            };
            let fits = shown.into_iter().filter(|shown| view::matches_filter(state, shown));
            reply.builds.extend(fits.take(missing));
            if reply.builds.len() == wanted {
                break;
            }
            if read >= MAX_READ {
                reply.note = format!(
                    "{read} builds were checked, down to build {oldest}; older ones were not"
                );
                return Ok(Response::new(reply));
            }
        }
        if reply.builds.is_empty() && request.before == 0 {
            reply.note =
                request_checks::nothing_listed(self.store(), self.targets(), &target, &package)
                    .await?;
        }
        Ok(Response::new(reply))
    }

    async fn get_build(
        &self,
        request: Request<v1::GetBuildRequest>,
    ) -> Result<Response<v1::Build>, Status> {
        Ok(Response::new(self.show(BuildId(request.into_inner().id)).await?))
    }

    type WatchBuildsStream = Answers<v1::Build>;

    async fn watch_builds(
        &self,
        request: Request<v1::WatchBuildsRequest>,
    ) -> Result<Response<Self::WatchBuildsStream>, Status> {
        let place = self.streams.acquire(&request)?;
        let ids = request.into_inner().ids;
        request_checks::named(&ids, "build")?;
        let ids: Vec<BuildId> = ids.into_iter().map(BuildId).collect();
        let builds = self.store().build_list_by_id(&ids).await?;
        if let Some(missing) = ids.iter().find(|id| builds.iter().all(|build| build.id != **id)) {
            return Err(Status::not_found(format!("no build {missing}")));
        }
        let (sender, receiver) = mpsc::channel(4);
        let service = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(status) = watch::builds(&service.shared, builds, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type ReadLogStream = Answers<v1::LogData>;

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let place = self.streams.acquire(&request)?;
        let request = request.into_inner();
        let (log, build) = (request_checks::word(&request.log)?, BuildId(request.build));
        let picked = if request.follow {
            self.task_to_come(&request).await
        } else {
            self.pick_task(build, &request.kind, &request.arch).await
        };
        let task = self.or_no_log(build, picked).await?;
        let (sender, receiver) = mpsc::channel(2);
        let reader = logs::LogTail {
            store: self.store().clone(),
            logs: self.reports.logs.clone(),
            grown: self.log_bus.clone(),
            facts: self.bus.clone(),
            task: task.id,
            log,
            follow: request.follow,
            place,
        };
        let service = self.clone();
        tokio::spawn(async move {
            let sent = reader.send(request.offset, &sender).await;
            if let Err(status) = service.or_no_log(build, sent).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cancel_build(
        &self,
        request: Request<v1::CancelBuildRequest>,
    ) -> Result<Response<v1::Build>, Status> {
        let id = BuildId(request.into_inner().id);
        self.find_build(id).await?;
        // A worker that is granted a task in between gets the news with its next heartbeat.
        let workers = self.store().worker_list_on_build(id).await?;
        let store = self.store().clone();
        let cancel = async move { store.build_cancel(id, clock::now()).await };
        let cancelled = to_the_end(cancel).await??;
        for worker in workers {
            self.views.fleet.wake_session(&worker);
        }
        for task in self.store().task_list(id).await? {
            for (attempt, _) in self.store().attempt_list(task.id).await? {
                self.reports.finish_logs(attempt.id);
            }
        }
        let build = self.show(id).await?;
        if !cancelled && build.known_state() != Some(BuildState::Cancelled) {
            return Err(Status::failed_precondition(format!(
                "build {id} has ended: it is {}",
                build.state
            )));
        }
        Ok(Response::new(build))
    }

    async fn retry_build(
        &self,
        request: Request<v1::RetryBuildRequest>,
    ) -> Result<Response<v1::Build>, Status> {
        let id = BuildId(request.into_inner().id);
        self.find_build(id).await?;
        let store = self.store().clone();
        let retry = async move { store.build_retry(id, clock::now()).await };
        if !to_the_end(retry).await?? {
            let state = self.show(id).await?.state;
            return Err(Status::failed_precondition(format!(
                "build {id} is {state}; only what failed or was cancelled is tried again"
            )));
        }
        Ok(Response::new(self.show(id).await?))
    }

    async fn set_priority(
        &self,
        request: Request<v1::SetPriorityRequest>,
    ) -> Result<Response<v1::Build>, Status> {
        let v1::SetPriorityRequest { id, priority } = request.into_inner();
        let class: PriorityClass = optional(&priority)?
            .ok_or_else(|| Status::invalid_argument("a priority is missing"))?;
        let id = BuildId(id);
        self.find_build(id).await?;
        if !self.store().build_set_priority(id, class, clock::now()).await? {
            let state = self.show(id).await?.state;
            return Err(Status::failed_precondition(format!(
                "build {id} has ended: it is {state}"
            )));
        }
        Ok(Response::new(self.show(id).await?))
    }

    async fn why_build(
        &self,
        request: Request<v1::WhyBuildRequest>,
    ) -> Result<Response<v1::WhyReply>, Status> {
        let build = self.find_build(BuildId(request.into_inner().id)).await?;
        Ok(Response::new(why::build(&self.views, &build, clock::now()).await?))
    }

    async fn get_lock(
        &self,
        request: Request<v1::GetLockRequest>,
    ) -> Result<Response<v1::LockReply>, Status> {
        let request = request.into_inner();
        let build = BuildId(request.build);
        let task = self.pick_task(build, &request.kind, &request.arch).await?;
        let row =
            self.store().lock_fetch(task.id).await?.ok_or_else(|| {
                Status::not_found(format!("build {} has no lock yet", request.build))
            })?;
        let bytes = self.blobs.read_small(row.digest, MAX_LOCK)?;
        let lock = Lock::from_bytes(&bytes).map_err(internal)?;
        let lock = serde_json::to_vec_pretty(&lock).map_err(internal)?;
        Ok(Response::new(v1::LockReply { digest: row.digest.hex(), lock: lock.into() }))
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesReply>, Status> {
        let build = self.find_build(BuildId(request.into_inner().build)).await?;
        let shown = |row: KeptFileRow| v1::BuildFile {
            attempt: row.attempt.0,
            kind: row.kind,
            arch: row.arch,
            path: row.file.path,
            size: row.file.size,
            digest: row.file.digest.hex(),
        };
        let rows = self.store().kept_file_list(build.id).await?;
        Ok(Response::new(v1::ListFilesReply { files: rows.into_iter().map(shown).collect() }))
    }

    type ReadFileStream = Answers<v1::FileData>;

    async fn read_file(
        &self,
        request: Request<v1::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let place = self.streams.acquire(&request)?;
        let v1::ReadFileRequest { build, attempt, path } = request.into_inner();
        let build = self.find_build(BuildId(build)).await?;
        let rows = self.store().kept_file_list(build.id).await?;
        let wanted = |row: &&KeptFileRow| row.attempt.0 == attempt && row.file.path == path;
        let digest = rows.iter().find(wanted).map(|row| row.file.digest).ok_or_else(|| {
            Status::not_found(format!(
                "attempt {attempt} of build {} left no file {}",
                build.id,
                name::shown(&path)
            ))
        })?;
        let file = self.blobs.read(digest)?;
        let pieces = pieces(file).map(move |piece| {
            let _place = &place;
            piece.map(|data| v1::FileData { data })
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn list_channels(
        &self,
        request: Request<v1::ListChannelsRequest>,
    ) -> Result<Response<v1::ListChannelsReply>, Status> {
        let wanted = request.into_inner().target;
        if !wanted.is_empty() {
            self.targets().get(&wanted)?;
        }
        let base = &self.base_url;
        let channels = self
            .store()
            .channel_list()
            .await?
            .into_iter()
            .filter(|row| wanted.is_empty() || row.target == wanted)
            .map(|row| v1::Channel {
                repo_url: format!("{base}/repo/{0}/{0}-{1}.repo", row.target, row.channel),
                key_url: format!("{base}/repo/{0}/RPM-GPG-KEY-{0}", row.target),
                revision: row.revision,
                packages: count(row.packages),
                published_us: row.at.as_us(),
                target: row.target,
                name: row.channel,
            })
            .collect();
        Ok(Response::new(v1::ListChannelsReply { channels }))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        let v1::ListWorkersRequest { limit, after } = request.into_inner();
        let all = fleet::all(self.store(), &self.views.fleet, Instant::now()).await?;
        let mut workers: Vec<v1::Worker> =
            all.into_values().filter(|worker| worker.name > after).collect();
        let more = pages::cut(&mut workers, pages::size(limit));
        let last = workers.last().filter(|_| more);
        let next = last.map_or_else(String::new, |worker| worker.name.clone());
        Ok(Response::new(v1::ListWorkersReply { workers, next }))
    }
}
