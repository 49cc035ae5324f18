//! Everything that a coordinator has opened, and the values composed from them: stages, services
//! and pages, each with the parts that it needs.
//!
//! This is the one place that knows all parts. It is for [`crate::start`] and [`crate::server`]
//! only: no stage, service or page takes it, so that this file shows what each of them can access.

use std::path::PathBuf;
use std::sync::Arc;

use rpmfarm_core::Stage;

use crate::accept::{AcceptStage, AcceptorClient};
use crate::blobs::Blobs;
use crate::bus::{Bus, PeerNotifier};
use crate::claims::{BaseRootFileOwners, Claims};
use crate::clock::Clock;
use crate::dispatch::assignment::Assignments;
use crate::dispatch::leases::LeasePass;
use crate::dispatch::pass::DispatchPass;
use crate::dispatch::queue_heads::QueueCursors;
use crate::dispatch::report::Reports;
use crate::doctor::Doctor;
use crate::fleet::Fleet;
use crate::identity::guard::Guard;
use crate::identity::revocation::Revocations;
use crate::identity::{CertificateConnections, Enrolment};
use crate::import::{ImportStage, Importer};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::observe::Operations;
use crate::peers::{Peers, notify};
use crate::plan::PlanStage;
use crate::publish::{
    BucketPass, BucketView, ChannelContents, Channels, KnownProofs, Proofs, PublishStage,
    PublishWork, Publisher,
};
use crate::random::RandomSource;
use crate::resolve::{Batches, Refresh, ResolveStage, ResolveWork, Resolver};
use crate::retry::Retries;
use crate::rpc::batches::{BatchService, Plans};
use crate::rpc::blobs::BlobService;
use crate::rpc::enrolment::EnrolmentService;
use crate::rpc::farm::FarmService;
use crate::rpc::fleet::FleetService;
use crate::rpc::packages::PackageService;
use crate::rpc::proofs::ProofService;
use crate::rpc::session::Sessions;
use crate::rpc::shared_views::SharedViews;
use crate::rpc::sources::SourceService;
use crate::rpc::tracking::TrackingService;
use crate::rpc::view::Views;
use crate::rpc::workers::WorkerService;
use crate::scrub::DamagedFiles;
use crate::sign::{SignStage, SignedBuilds, SignerClient, Signing};
use crate::snapshots::{SnapshotPass, WaitReasons};
use crate::store::{FencedStore, Store};
use crate::streams::StreamLimits;
use crate::targets::Targets;
use crate::token::FarmToken;
use crate::track::{DecideStage, Hooks, PollStage, Tracker, Webhooks};
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, CoalescedTasks, KeyedTaskPool, Runner};

/// The sizes of the task pools: imports, locks, checks and signatures at once. Each is bound by the
/// network or the disk. At most half of the imports may be from one git host, and half of the locks
/// for one target.
const IMPORTS: usize = 16;
const LOCKS: usize = 8;
const CHECKS: usize = 2;
const SIGNATURES: usize = 2;

/// Everything that was opened. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    pub store: Store,
    pub blobs: Blobs,
    /// Files that were found damaged.
    pub damaged: DamagedFiles,
    pub logs: Logs,
    pub targets: Targets,
    /// The last reports of the workers.
    pub fleet: Fleet,
    /// How far dispatch has read the queues.
    pub cursors: QueueCursors,
    /// Woken when a fact was written.
    pub bus: Bus,
    /// This coordinator among the others.
    pub peers: Peers,
    pub notifier: PeerNotifier,
    /// Woken when a worker has reported, also when only a phase changed.
    pub progress: Bus,
    /// Woken when a log has grown.
    pub log_bus: Bus,
    /// The farm's token, for calls that write.
    pub token: FarmToken,
    /// Enrols workers; `None` without TLS.
    pub enrolment: Option<Arc<Enrolment>>,
    /// The connections of workers with certificates.
    pub connections: CertificateConnections,
    /// Limits the streams of callers.
    pub streams: StreamLimits,
    /// The plans of batches that are made.
    pub plans: Plans,
    /// Why builds wait, as the passes last found.
    pub waits: LocalWaitReasons,
    pub metrics: Metrics,
    pub importer: Importer,
    pub tracker: Tracker,
    pub webhooks: Webhooks,
    pub resolver: Resolver,
    /// The orders of the open batches, where this coordinator resolves.
    pub batches: Batches,
    /// The owners of the files of base roots.
    pub bases: BaseRootFileOwners,
    /// Asks for acceptances; `None` where no acceptor is set up.
    pub acceptor: Option<AcceptorClient>,
    pub signer: SignerClient,
    pub publisher: Publisher,
    /// The contents of channels, as they were last read or written.
    pub channel_contents: ChannelContents,
    /// Shows the repositories in a bucket; `None` without one.
    pub bucket_view: Option<BucketView>,
    /// The largest permitted result file, in bytes.
    pub max_result_bytes: u64,
    /// The size of the blobs that are here although a bucket has them, in bytes.
    pub blob_cache_bytes: u64,
    /// Builds of one request at most.
    pub max_batch: usize,
    /// The directory of the published repositories.
    pub repos: PathBuf,
    /// The address under which users reach this farm, without a slash at its end.
    pub base_url: Arc<str>,
    pub clock: Clock,
    pub random: RandomSource,
}

/// The stages, in the order of the pipeline, and the passes that each coordinator runs. Each call
/// makes a new stage with an empty task pool, so it is called once and the stage is kept.
impl Parts {
    /// The parts that every pass is run with.
    #[must_use]
    pub fn runner(&self) -> Runner {
        Runner { peers: self.peers.clone(), store: self.store.clone(), clock: self.clock }
    }

    /// The store for work on a stage that may begin now; `None` when another coordinator runs the
    /// stage.
    #[must_use]
    pub fn fenced(&self, stage: Stage) -> Option<FencedStore> {
        self.peers.fenced(&self.store, stage, self.clock.instant())
    }

    /// Asks upstream for pushes.
    #[must_use]
    pub fn poll(&self) -> PollStage {
        PollStage {
            targets: self.targets.clone(),
            tracker: self.tracker.clone(),
            clock: self.clock,
        }
    }

    /// Decides what becomes of pushes.
    #[must_use]
    pub fn decide(&self) -> DecideStage {
        DecideStage { targets: self.targets.clone() }
    }

    #[must_use]
    pub fn import(&self) -> ImportStage {
        ImportStage {
            targets: self.targets.clone(),
            importer: self.importer.clone(),
            blobs: self.blobs.clone(),
            waits: self.waits.clone(),
            retries: self.retries(),
            clock: self.clock,
            imports: self.pool(Stage::Import, IMPORTS).measured(self.metrics.clone()),
        }
    }

    /// Makes the first task of each build.
    #[must_use]
    pub fn plan(&self) -> PlanStage {
        PlanStage { targets: self.targets.clone(), waits: self.waits.clone() }
    }

    #[must_use]
    pub fn resolve(&self) -> ResolveStage {
        let locks = self.pool(Stage::Resolve, LOCKS).measured(self.metrics.clone());
        ResolveStage {
            targets: self.targets.clone(),
            resolver: self.resolver.clone(),
            blobs: self.blobs.clone(),
            fleet: self.fleet.clone(),
            waits: self.waits.clone(),
            batches: self.batches.clone(),
            retries: self.retries(),
            bus: self.bus.clone(),
            clock: self.clock,
            work: ResolveWork::new(locks),
        }
    }

    /// Asks external repositories for new metadata.
    #[must_use]
    pub fn refresh(&self) -> Refresh {
        Refresh {
            targets: self.targets.clone(),
            resolver: self.resolver.clone(),
            batches: self.batches.clone(),
            bus: self.bus.clone(),
            clock: self.clock,
            refreshes: CoalescedTasks::new("refresh"),
        }
    }

    /// Grants tasks to workers.
    #[must_use]
    pub fn dispatch(&self) -> DispatchPass {
        DispatchPass {
            targets: self.targets.clone(),
            fleet: self.fleet.clone(),
            cursors: self.cursors.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Takes attempts from workers that are silent.
    #[must_use]
    pub fn leases(&self) -> LeasePass {
        LeasePass { fleet: self.fleet.clone(), peers: self.peers.clone(), reports: self.reports() }
    }

    #[must_use]
    pub fn accept(&self) -> AcceptStage {
        AcceptStage {
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            fleet: self.fleet.clone(),
            claims: self.claims(),
            acceptor: self.acceptor.clone(),
            waits: self.waits.clone(),
            retries: self.retries(),
            clock: self.clock,
            random: self.random,
            checks: self.pool(Stage::Accept, CHECKS).measured(self.metrics.clone()),
        }
    }

    #[must_use]
    pub fn sign(&self) -> SignStage {
        SignStage {
            targets: self.targets.clone(),
            signing: self.signing(),
            waits: self.waits.clone(),
            metrics: self.metrics.clone(),
            signatures: self.pool(Stage::Sign, SIGNATURES),
            signed: SignedBuilds::default(),
        }
    }

    #[must_use]
    pub fn publish(&self) -> PublishStage {
        PublishStage {
            targets: self.targets.clone(),
            channels: self.channels(),
            signing: self.signing(),
            resolver: self.resolver.clone(),
            proofs: self.proofs(),
            waits: self.waits.clone(),
            retries: self.retries(),
            metrics: self.metrics.clone(),
            base_url: self.base_url.clone(),
            clock: self.clock,
            work: PublishWork::default(),
        }
    }

    /// Cuts off revoked workers.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations {
            connections: self.connections.clone(),
            fleet: self.fleet.clone(),
            reports: self.reports(),
        }
    }

    /// Shares the state in memory with the other coordinators.
    #[must_use]
    pub fn snapshot_pass(&self) -> SnapshotPass {
        SnapshotPass::new(self.fleet.clone(), self.wait_reasons(), self.notifier.clone())
    }

    /// Shows the repositories in a bucket; `None` without one.
    #[must_use]
    pub fn bucket_pass(&self) -> Option<BucketPass> {
        let view = self.bucket_view.clone()?;
        let (targets, publisher) = (self.targets.clone(), self.publisher.clone());
        Some(BucketPass::new(targets, publisher, view, self.peers.clone()))
    }

    /// Wakes the passes at messages of the other coordinators.
    #[must_use]
    pub fn peer_listener(&self) -> notify::PeerListener {
        notify::PeerListener {
            peers: self.peers.clone(),
            bus: self.bus.clone(),
            fleet: self.fleet.clone(),
            progress: self.progress.clone(),
        }
    }

    fn pool<K>(&self, stage: Stage, slots: usize) -> KeyedTaskPool<K> {
        // A slot that is free is news for the stage alone.
        let own = work::steps(stage).get(..1).unwrap_or_default();
        KeyedTaskPool::new(stage.as_str(), slots, self.bus.for_steps(own))
    }
}

/// The parts that stages, services and pages share.
impl Parts {
    #[must_use]
    pub fn retries(&self) -> Retries {
        Retries { metrics: self.metrics.clone() }
    }

    /// Applies reports on attempts.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Reports {
            fleet: self.fleet.clone(),
            logs: self.logs.clone(),
            retries: self.retries(),
            metrics: self.metrics.clone(),
            clock: self.clock,
        }
    }

    /// Finds the owners of what builds make.
    #[must_use]
    pub fn claims(&self) -> Claims {
        Claims {
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            bases: self.bases.clone(),
            resolver: self.resolver.clone(),
            fleet: self.fleet.clone(),
            clock: self.clock,
        }
    }

    #[must_use]
    pub fn signing(&self) -> Signing {
        Signing { blobs: self.blobs.clone(), signer: self.signer.clone(), clock: self.clock }
    }

    /// Finds out what a new content of a channel would break for users.
    #[must_use]
    pub fn proofs(&self) -> Proofs {
        Proofs {
            resolver: self.resolver.clone(),
            blobs: self.blobs.clone(),
            clock: self.clock,
            known: KnownProofs::default(),
        }
    }

    /// Reads the contents of channels.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels {
            publisher: self.publisher.clone(),
            blobs: self.blobs.clone(),
            contents: self.channel_contents.clone(),
        }
    }

    /// The reasons why builds wait.
    #[must_use]
    pub fn wait_reasons(&self) -> WaitReasons {
        WaitReasons {
            peers: self.peers.clone(),
            waits: self.waits.clone(),
            batches: self.batches.clone(),
        }
    }

    #[must_use]
    pub fn views(&self) -> Views {
        Views {
            store: self.store.clone(),
            targets: self.targets.clone(),
            fleet: self.fleet.clone(),
            reasons: self.wait_reasons(),
        }
    }

    /// Finds problems of the farm.
    #[must_use]
    pub fn doctor(&self) -> Doctor {
        Doctor {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            damaged: self.damaged.clone(),
            targets: self.targets.clone(),
            fleet: self.fleet.clone(),
            peers: self.peers.clone(),
            acceptor: self.acceptor.clone(),
            signer: self.signer.clone(),
            channels: self.channels(),
            repos: self.repos.clone(),
            base_url: self.base_url.clone(),
        }
    }
}

/// The gRPC services, and the pages.
impl Parts {
    /// The service for people and scripts.
    #[must_use]
    pub fn farm_service(&self) -> FarmService {
        FarmService {
            views: self.views(),
            shared: SharedViews::new(self.views(), self.bus.clone(), self.progress.clone()),
            blobs: self.blobs.clone(),
            bus: self.bus.clone(),
            log_bus: self.log_bus.clone(),
            reports: self.reports(),
            streams: self.streams.clone(),
            tracker: self.tracker.clone(),
            doctor: self.doctor(),
            max_batch: self.max_batch,
            base_url: self.base_url.clone(),
        }
    }

    /// The service for batches as a whole.
    #[must_use]
    pub fn batch_service(&self) -> BatchService {
        BatchService {
            views: self.views(),
            orders: self.batches.clone(),
            resolver: self.resolver.clone(),
            peers: self.peers.clone(),
            reports: self.reports(),
            clock: self.clock,
            max_batch: self.max_batch,
            plans: self.plans.clone(),
        }
    }

    /// The service for sources of builds.
    #[must_use]
    pub fn source_service(&self) -> SourceService {
        SourceService {
            store: self.store.clone(),
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            importer: self.importer.clone(),
        }
    }

    #[must_use]
    pub fn tracking_service(&self) -> TrackingService {
        TrackingService {
            store: self.store.clone(),
            targets: self.targets.clone(),
            tracker: self.tracker.clone(),
        }
    }

    #[must_use]
    pub fn package_service(&self) -> PackageService {
        PackageService { views: self.views(), claims: self.claims() }
    }

    /// What the next contents of channels would break.
    #[must_use]
    pub fn proof_service(&self) -> ProofService {
        ProofService { views: self.views() }
    }

    /// The workers as people see them.
    #[must_use]
    pub fn fleet_service(&self) -> FleetService {
        FleetService {
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            enrolment: self.enrolment.clone(),
            revocations: self.revocations(),
        }
    }

    #[must_use]
    pub fn enrolment_service(&self) -> EnrolmentService {
        EnrolmentService { store: self.store.clone(), enrolment: self.enrolment.clone() }
    }

    #[must_use]
    pub fn blob_service(&self) -> BlobService {
        BlobService(self.blobs.clone())
    }

    #[must_use]
    pub fn worker_service(&self) -> WorkerService {
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
                    clock: self.clock,
                    random: self.random,
                },
                bus: self.bus.for_steps(work::steps(Stage::Dispatch)),
                progress: self.progress.clone(),
                metrics: self.metrics.clone(),
                clock: self.clock,
            },
            targets: self.targets.clone(),
            blobs: self.blobs.clone(),
            log_bus: self.log_bus.clone(),
            waits: self.waits.clone(),
            max_result_bytes: self.max_result_bytes,
        }
    }

    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { store: self.store.clone(), token: self.token.clone() }
    }

    #[must_use]
    pub fn operations(&self) -> Operations {
        Operations {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            targets: self.targets.clone(),
            fleet: self.fleet.clone(),
            peers: self.peers.clone(),
            signer: self.signer.clone(),
            metrics: self.metrics.clone(),
            token: self.token.clone(),
            repos: self.repos.clone(),
        }
    }

    #[must_use]
    pub fn hooks(&self) -> Hooks {
        Hooks {
            store: self.store.clone(),
            targets: self.targets.clone(),
            webhooks: self.webhooks.clone(),
        }
    }
}
