//! The calls of workers and users. Each call is served by the coordinator's own code, in a task of
//! its process.

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::identity::Caller;
use rpmfarm_coordinator::rpc::session;
use rpmfarm_coordinator::store::Store;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::WorkerState;
use rpmfarm_core::{AttemptId, BatchId, BuildId, Epoch, Sha256};
use rpmfarm_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use super::process::{Inbox, WorkerConnection, name};
use super::{Reply, new_build};
use crate::network::{Down, Up};
use crate::trace::note;
use crate::world::{Event, MS, World};

impl World {
    /// Delivers a message of a worker.
    pub(crate) fn receive_from_worker(&mut self, w: usize, c: usize, connection: u64, message: Up) {
        if !self.coordinators[c].is_up() {
            if !matches!(message, Up::Close) {
                self.send_down(w, c, connection, Down::Reset);
            }
            return;
        }
        if self.coordinators[c].frozen_until > self.now {
            let later = self.coordinators[c].frozen_until - self.now;
            return self.after(later, Event::Up(w, c, connection, message));
        }
        match message {
            Up::Hello(state) => self.hello(c, w, connection, &state),
            Up::State(state) => self.receive_state(c, w, connection, &state),
            Up::Close => {
                if let Some(running) = &mut self.coordinators[c].running {
                    running.connections.remove(&connection);
                }
            }
            Up::Upload { attempt, epoch, index, digest, sent } => {
                self.receive_upload(c, (w, connection), (attempt, epoch, index), digest, sent);
            }
        }
        self.settle(c);
    }

    fn hello(&mut self, c: usize, w: usize, connection: u64, state: &WorkerState) {
        note!(self, "c{c} hears {} anew, with {} attempts", state.name, state.attempts.len());
        let Some(running) = &mut self.coordinators[c].running else { return };
        if running.connections.contains_key(&connection) {
            return;
        }
        let (states, heard) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::channel(1);
        let mut port = WorkerConnection { worker: w, states, heard: 0, answers };
        port.send_state(state);
        running.connections.insert(connection, port);
        let sessions = running.service.sessions.clone();
        let caller = Caller::Token { worker: Some(state.name.clone()) };
        // As the service does it.
        running.runtime.spawn(async move {
            let states = UnboundedReceiverStream::new(heard);
            if let Err(status) = session::serve(&sessions, &caller, states, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
    }

    fn receive_state(&mut self, c: usize, w: usize, connection: u64, state: &WorkerState) {
        let running = self.coordinators[c].running.as_mut();
        match running.and_then(|running| running.connections.get_mut(&connection)) {
            Some(port) => port.send_state(state),
            None => self.refuse(w, c, connection),
        }
    }

    fn receive_upload(
        &mut self,
        c: usize,
        (worker, connection): (usize, u64),
        (attempt, epoch, index): (AttemptId, Epoch, usize),
        (digest, size): (Sha256, u64),
        sent: Vec<u8>,
    ) {
        let Some(running) = &self.coordinators[c].running else { return };
        let file = SourceFile { name: "a.rpm".into(), digest, size, executable: false };
        let query = v1::UploadQuery {
            attempt: attempt.0,
            epoch: epoch.0,
            file: Some((&file).into()),
            ..Default::default()
        };
        let chunk = v1::UploadChunk { query: Some(query), offset: 0, data: sent.into() };
        let (service, inbox) = (running.service.clone(), running.inbox.clone());
        let caller = Caller::Token { worker: Some(self.workers[worker].host.name.clone()) };
        running.runtime.spawn(async move {
            let chunks = tokio_stream::once(Ok::<_, Status>(chunk));
            let taken = match service.receive_upload(&caller, chunks).await {
                Ok(reply) => Some(reply.have == size),
                // This worker does not hold the attempt.
                Err(status) if status.code() == Code::FailedPrecondition => None,
                Err(_) => Some(false),
            };
            inbox.put(Reply::Upload { worker, connection, attempt, epoch, index, taken });
        });
    }

    /// A user asks for builds.
    pub(crate) fn request(&mut self, c: usize, key: &str, packages: &[String]) {
        let builds: Vec<_> = packages.iter().map(|package| new_build(package)).collect();
        let key = key.to_owned();
        self.call(c, |store, inbox| async move {
            let started = store.build_insert(&builds, "user", &key, clock::now()).await.ok();
            let answer = started.map(|started| (started.ids, started.new));
            inbox.put(Reply::Requested { key, answer });
        });
    }

    /// A user cancels a build, as `rpc::farm` does it.
    pub(crate) fn cancel(&mut self, c: usize, build: BuildId) {
        let Some(running) = &self.coordinators[c].running else { return };
        let fleet = running.fleet().clone();
        self.call(c, |store, inbox| async move {
            let workers = store.worker_list_on_build(build).await.unwrap_or_default();
            let done = store.build_cancel(build, clock::now()).await.ok();
            for worker in workers {
                fleet.wake_session(&worker);
            }
            inbox.put(Reply::Done { what: "cancels", build, done });
        });
    }

    /// A user retries a build.
    pub(crate) fn retry(&mut self, c: usize, build: BuildId) {
        self.call(c, |store, inbox| async move {
            let done = store.build_retry(build, clock::now()).await.ok();
            inbox.put(Reply::Done { what: "retries", build, done });
        });
    }

    /// A user pauses a batch: no more tasks of it begin.
    pub(crate) fn pause_batch(&mut self, c: usize, batch: BatchId) {
        self.call(c, |store, inbox| async move {
            let done = store.batch_pause(batch, clock::now()).await.ok();
            inbox.put(Reply::DoneToBatch { what: "pauses", batch, done });
        });
    }

    /// A user resumes a batch.
    pub(crate) fn resume_batch(&mut self, c: usize, batch: BatchId) {
        self.call(c, |store, inbox| async move {
            let done = store.batch_resume(batch).await.ok();
            inbox.put(Reply::DoneToBatch { what: "resumes", batch, done });
        });
    }

    /// A coordinator announces its shutdown and ends.
    pub(crate) fn stop_coordinator(&mut self, c: usize) {
        self.call(c, |store, _| async move {
            // The others wait for its lease to end if the announcement is lost.
            let _ = store.coordinator_delete(name(c)).await;
        });
        let life = self.coordinators[c].life;
        self.after(200 * MS, Event::CoordinatorEnds(c, life));
    }

    fn call<F>(&mut self, c: usize, call: impl FnOnce(Store, Inbox) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(running) = &self.coordinators[c].running else { return };
        running.runtime.spawn(call(running.store().clone(), running.inbox.clone()));
        self.settle(c);
    }
}

impl WorkerConnection {
    /// Delivers a state of the worker, with a sequence number that the answer repeats.
    fn send_state(&mut self, state: &WorkerState) {
        self.heard += 1;
        // A session that has ended receives nothing.
        let _ = self.states.send(Ok(v1::WorkerState { sequence: self.heard, ..state.into() }));
    }
}
