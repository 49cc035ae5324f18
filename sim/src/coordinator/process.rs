//! The parts of a simulated coordinator: the parts, stages and services of a real one, put together
//! as `coordinator/src/parts.rs` does, with simulated hosts, processes and networks around it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rpmfarm_coordinator::accept::AcceptStage;
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::bus::{Bus, PeerMessages, PeerNotifier};
use rpmfarm_coordinator::claims::{BaseRootFileOwners, Claims};
use rpmfarm_coordinator::clock::Clock;
use rpmfarm_coordinator::dispatch::assignment::Assignments;
use rpmfarm_coordinator::dispatch::leases::LeasePass;
use rpmfarm_coordinator::dispatch::pass::DispatchPass;
use rpmfarm_coordinator::dispatch::queue_heads::QueueCursors;
use rpmfarm_coordinator::dispatch::report::Reports;
use rpmfarm_coordinator::fleet::Fleet;
use rpmfarm_coordinator::import::{ImportStage, Importer};
use rpmfarm_coordinator::logs::Logs;
use rpmfarm_coordinator::metrics::Metrics;
use rpmfarm_coordinator::peers::{Peers, heartbeat};
use rpmfarm_coordinator::plan::PlanStage;
use rpmfarm_coordinator::planted_bugs::{PlantedBug, is_planted};
use rpmfarm_coordinator::publish::{
    ChannelContents, Channels, KnownProofs, Proofs, PublishStage, PublishStep, PublishWork,
    Publisher,
};
use rpmfarm_coordinator::random::RandomSource;
use rpmfarm_coordinator::resolve::{Batches, ResolveStage, ResolveWork, Resolver};
use rpmfarm_coordinator::retry::Retries;
use rpmfarm_coordinator::rpc::session::Sessions;
use rpmfarm_coordinator::rpc::workers::WorkerService;
use rpmfarm_coordinator::sign::{SignStage, SignedBuilds, SignerClient, Signing};
use rpmfarm_coordinator::simulation;
use rpmfarm_coordinator::snapshots::{SnapshotPass, WaitReasons};
use rpmfarm_coordinator::store::{CoordinatorRow, Store};
use rpmfarm_coordinator::targets::Targets;
use rpmfarm_coordinator::wait_reasons::LocalWaitReasons;
use rpmfarm_coordinator::work::{self, KeyedTaskPool, LocalPass, Runner, Stage};
use rpmfarm_core::Stage as StageName;
use rpmfarm_core::lease::LeaseTerms;
use rpmfarm_core::stage_lease::TAKEOVER;
use rpmfarm_proto::v1;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::Status;

use super::Reply;
use crate::outside::{OutsideWorld, Signer, Solver, Upstream};
use crate::tree::PublishedTree;

/// How long a failed pass waits.
const REST: Duration = Duration::from_secs(1);

/// The least time between two runs of a pass: longer than in a farm, so that fewer queries are
/// made.
const GAP: Duration = Duration::from_millis(150);

/// The largest result file, in bytes.
const MAX_RESULT: u64 = 1 << 20;

/// The files and the database that survive a process: on a file system in memory.
#[derive(Clone)]
pub(crate) struct FarmStorage {
    pub(crate) url: String,
    pub(crate) blobs: Blobs,
    pub(crate) repos: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) targets: Targets,
    /// A resolver whose network nobody uses, kept since creating one takes long.
    pub(crate) resolver: Resolver,
}

/// Replies that the simulation has not handled yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Vec<Reply>>>);

impl Inbox {
    pub(crate) fn put(&self, reply: Reply) {
        self.0.lock().push(reply);
    }

    pub(super) fn take(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A connection of a worker.
pub(super) struct WorkerConnection {
    pub(super) worker: usize,
    pub(super) states: mpsc::UnboundedSender<Result<v1::WorkerState, Status>>,
    /// How many states of the worker have arrived.
    pub(super) heard: u64,
    pub(super) answers: mpsc::Receiver<Result<v1::DesiredState, Status>>,
}

/// A running process.
pub(crate) struct RunningCoordinator {
    /// Dropped first, so that all of its tasks end.
    pub(crate) runtime: Runtime,
    pub(super) service: WorkerService,
    pub(super) bus: Bus,
    pub(super) words: PeerMessages,
    pub(super) inbox: Inbox,
    pub(super) connections: BTreeMap<u64, WorkerConnection>,
}

impl RunningCoordinator {
    /// Starts a coordinator; none of its tasks has run yet.
    pub(crate) fn start(
        storage: &FarmStorage,
        outside: &OutsideWorld,
        signer: &Signer,
        c: usize,
        is_alone: bool,
        pace_us: u64,
    ) -> Self {
        let runtime = simulation::new_runtime().expect("the system gives a runtime");
        let (notifier, words) = PeerNotifier::new();
        let bus = Bus::with_notifier(notifier.clone());
        simulation::run_within(&runtime, c, || ());
        // Nobody else is at the database: no step is open.
        let store = runtime.block_on(Store::open(&storage.url, bus.clone()));
        let store = store.expect("the database opens");
        let inbox = Inbox::default();
        let pace = Duration::from_micros(pace_us);
        let parts = simulation::run_within(&runtime, c, || {
            Parts::new(storage, outside, signer, store, bus.clone(), notifier, c, is_alone)
        });
        let parts = Parts { inbox: inbox.clone(), pace, ..parts };
        let service = parts.worker_service();
        runtime.spawn(parts.run(is_alone));
        Self { runtime, service, bus, words, inbox, connections: BTreeMap::new() }
    }

    /// The connections of workers.
    pub(super) fn workers(&self) -> Vec<(u64, usize)> {
        self.connections.iter().map(|(connection, port)| (*connection, port.worker)).collect()
    }

    pub(super) fn store(&self) -> &Store {
        &self.service.sessions.store
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.service.sessions.fleet
    }
}

/// The parts of the process, opened.
struct Parts {
    store: Store,
    blobs: Blobs,
    targets: Targets,
    fleet: Fleet,
    bus: Bus,
    notifier: PeerNotifier,
    peers: Peers,
    waits: LocalWaitReasons,
    batches: Batches,
    metrics: Metrics,
    logs: Logs,
    importer: Importer,
    resolver: Resolver,
    signer: SignerClient,
    publisher: Publisher,
    inbox: Inbox,
    pace: Duration,
}

impl Parts {
    #[allow(clippy::too_many_arguments, reason = "it is called in one place")]
    fn new(
        storage: &FarmStorage,
        outside: &OutsideWorld,
        signer: &Signer,
        store: Store,
        bus: Bus,
        notifier: PeerNotifier,
        c: usize,
        is_alone: bool,
    ) -> Self {
        let now = Clock.now();
        let me = CoordinatorRow {
            id: name(c).into(),
            address: format!("http://{}", name(c)),
            base_url: BASE_URL.into(),
            version: "sim".into(),
            started: now.time,
            beat: 0,
        };
        let (blobs, tree) = (storage.blobs.clone(), PublishedTree::new(&storage.repos));
        let seen = outside.clone();
        // Checks what a client would read at the moment of a publication.
        let on_step = move |step: PublishStep| {
            if matches!(step, PublishStep::Signed | PublishStep::Shown) {
                seen.lock().publishing = Some(c);
            }
            if step == PublishStep::Shown
                && let Some(broken) = tree.find_damage()
            {
                seen.lock().shown_damage.get_or_insert(broken);
            }
        };
        let upstream = Upstream { outside: outside.clone(), blobs: blobs.clone() };
        Self {
            peers: Peers::new(me, None, TAKEOVER, is_alone, now.instant),
            fleet: Fleet::new(now.instant, LeaseTerms::default()).with_notifier(notifier.clone()),
            publisher: Publisher::new(&storage.repos, blobs.clone()).on_step(on_step),
            importer: Importer::simulated(Arc::new(upstream)),
            resolver: storage.resolver.simulated(Arc::new(Solver(outside.clone()))),
            signer: SignerClient::simulated(Arc::new(signer.clone())),
            logs: Logs::open(&storage.logs).expect("the directory is there"),
            targets: storage.targets.clone(),
            waits: LocalWaitReasons::default(),
            batches: Batches::default(),
            metrics: Metrics::new("sqlite"),
            inbox: Inbox::default(),
            pace: REST,
            store,
            blobs,
            bus,
            notifier,
        }
    }

    /// Registers among the coordinators, and runs every pass of a coordinator.
    async fn run(self, is_alone: bool) {
        while heartbeat::begin(&self.peers, &self.store, Clock.instant()).await.is_err() {
            Clock.sleep(REST).await;
        }
        self.stage(PlanStage { targets: self.targets.clone(), waits: self.waits.clone() });
        self.stage(self.import());
        self.stage(self.resolve());
        self.stage(self.accept());
        self.stage(self.sign());
        self.stage(self.publish());
        self.local(
            self.pace,
            self.bus.for_steps(work::steps(StageName::Dispatch)),
            DispatchPass {
                targets: self.targets.clone(),
                fleet: self.fleet.clone(),
                cursors: QueueCursors::default(),
                metrics: self.metrics.clone(),
            },
        );
        // Nothing wakes these passes for a silence or a snapshot.
        let leases = LeasePass {
            fleet: self.fleet.clone(),
            peers: self.peers.clone(),
            reports: self.reports(),
        };
        self.local(leases.period(), Bus::default(), leases);
        if is_alone {
            return;
        }
        let reasons = WaitReasons {
            peers: self.peers.clone(),
            waits: self.waits.clone(),
            batches: self.batches.clone(),
        };
        let notes = SnapshotPass::new(self.fleet.clone(), reasons, self.notifier.clone());
        self.local(notes.period(), Bus::default(), notes);
        heartbeat::run(self.peers, self.store, self.bus).await;
    }

    fn runner(&self) -> Runner {
        Runner { peers: self.peers.clone(), store: self.store.clone(), clock: Clock }
    }

    /// Runs the pass of a stage, while this coordinator has its lease.
    fn stage<S: Stage>(&self, stage: S) {
        let (runner, stage) = (Arc::new(self.runner()), Arc::new(stage));
        let bus = self.bus.for_steps(work::steps(S::NAME));
        let schedule = Schedule { bus, ..self.schedule(S::NAME.as_str(), self.pace) };
        tokio::spawn(schedule.run(move || {
            let (runner, stage) = (runner.clone(), stage.clone());
            async move { runner.pass(&*stage).await }
        }));
    }

    /// Runs a pass of this coordinator's own.
    fn local<P: LocalPass>(&self, pace: Duration, bus: Bus, pass: P) {
        let (runner, pass) = (Arc::new(self.runner()), Arc::new(pass));
        let schedule = Schedule { bus, ..self.schedule(P::NAME, pace) };
        tokio::spawn(schedule.run(move || {
            let (runner, pass) = (runner.clone(), pass.clone());
            async move {
                if !P::WHILE_DOWN && runner.peers.database_down().is_some() {
                    return Ok(());
                }
                pass.pass(&runner.store, Clock.now()).await
            }
        }));
    }

    fn schedule(&self, name: &'static str, pace: Duration) -> Schedule {
        Schedule { name, pace, bus: self.bus.clone(), inbox: self.inbox.clone() }
    }

    fn pool<K>(&self, stage: StageName, slots: usize) -> KeyedTaskPool<K> {
        let own = work::steps(stage).get(..1).unwrap_or_default();
        KeyedTaskPool::new(stage.as_str(), slots, self.bus.for_steps(own))
    }

    fn retries(&self) -> Retries {
        Retries { metrics: self.metrics.clone() }
    }

    fn reports(&self) -> Reports {
        Reports {
            fleet: self.fleet.clone(),
            logs: self.logs.clone(),
            retries: self.retries(),
            metrics: self.metrics.clone(),
            clock: Clock,
        }
    }

    fn import(&self) -> ImportStage {
        ImportStage {
            targets: self.targets.clone(),
            importer: self.importer.clone(),
            blobs: self.blobs.clone(),
            waits: self.waits.clone(),
            retries: self.retries(),
            clock: Clock,
            imports: self.pool(StageName::Import, 8),
        }
    }

    fn resolve(&self) -> ResolveStage {
        ResolveStage {
            targets: self.targets.clone(),
            resolver: self.resolver.clone(),
            blobs: self.blobs.clone(),
            fleet: self.fleet.clone(),
            waits: self.waits.clone(),
            batches: self.batches.clone(),
            retries: self.retries(),
            bus: self.bus.clone(),
            clock: Clock,
            work: ResolveWork::new(self.pool(StageName::Resolve, 8)),
        }
    }

    fn accept(&self) -> AcceptStage {
        let claims = Claims {
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            bases: BaseRootFileOwners::default(),
            resolver: self.resolver.clone(),
            fleet: self.fleet.clone(),
            clock: Clock,
        };
        AcceptStage {
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            fleet: self.fleet.clone(),
            claims,
            acceptor: None,
            waits: self.waits.clone(),
            retries: self.retries(),
            clock: Clock,
            random: RandomSource,
            checks: self.pool(StageName::Accept, 2),
        }
    }

    fn signing(&self) -> Signing {
        Signing { blobs: self.blobs.clone(), signer: self.signer.clone(), clock: Clock }
    }

    fn sign(&self) -> SignStage {
        SignStage {
            targets: self.targets.clone(),
            signing: self.signing(),
            waits: self.waits.clone(),
            metrics: self.metrics.clone(),
            signatures: self.pool(StageName::Sign, 2),
            signed: SignedBuilds::default(),
        }
    }

    fn publish(&self) -> PublishStage {
        let (publisher, blobs) = (self.publisher.clone(), self.blobs.clone());
        let contents = ChannelContents::default();
        PublishStage {
            targets: self.targets.clone(),
            channels: Channels { publisher, blobs, contents },
            signing: self.signing(),
            resolver: self.resolver.clone(),
            proofs: Proofs {
                resolver: self.resolver.clone(),
                blobs: self.blobs.clone(),
                clock: Clock,
                known: KnownProofs::default(),
            },
            waits: self.waits.clone(),
            retries: self.retries(),
            metrics: self.metrics.clone(),
            base_url: BASE_URL.into(),
            clock: Clock,
            work: PublishWork::default(),
        }
    }

    fn worker_service(&self) -> WorkerService {
        WorkerService {
            sessions: Sessions {
                store: self.store.clone(),
                fleet: self.fleet.clone(),
                peers: self.peers.clone(),
                assignments: Assignments {
                    targets: self.targets.clone(),
                    blobs: self.blobs.clone(),
                    fleet: self.fleet.clone(),
                    reports: self.reports(),
                    clock: Clock,
                    random: RandomSource,
                },
                bus: self.bus.for_steps(work::steps(StageName::Dispatch)),
                progress: Bus::default(),
                metrics: self.metrics.clone(),
                clock: Clock,
            },
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            log_bus: Bus::default(),
            waits: self.waits.clone(),
            max_result_bytes: MAX_RESULT,
        }
    }
}

/// When a pass runs.
struct Schedule {
    name: &'static str,
    pace: Duration,
    bus: Bus,
    inbox: Inbox,
}

impl Schedule {
    /// Runs a pass whenever the bus is woken, and at least at its pace, as `coordinator/src/work`
    /// does.
    async fn run<F>(self, pass: impl Fn() -> F)
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut listener = self.bus.listen();
        loop {
            if pass().await.is_err() {
                self.inbox.put(Reply::PassFailed(self.name));
                Clock.sleep(REST).await;
            }
            Clock.sleep(GAP).await;
            if is_planted(PlantedBug::NoPoll) {
                listener.woken().await;
                continue;
            }
            tokio::select! {
                biased;
                () = listener.woken() => {}
                () = Clock.sleep(self.pace) => {}
            }
        }
    }
}

const BASE_URL: &str = "http://farm";

/// The name of a coordinator in the database.
pub(crate) const fn name(c: usize) -> &'static str {
    if c == 0 { "c0" } else { "c1" }
}
