//! Builds, targets, channels and workers as a farm could have them.

use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::{Arch, Lock, Sha256};
use rpmfarm_proto::v1::{
    Artifact, Batch, BatchDetails, BatchLoss, BatchMember, BatchPlan, Build, Channel, Check,
    Failure, Fault, Info, Invitation, InviteWorkerRequest, Milestone, PlanSlots, PlannedComponent,
    Reason, StartBuildsRequest, Target, Task, WhyReply, Worker, WorkerCertificate, WorkerDecision,
    WorkerDetails, WorkerFault,
};

/// 2026-01-02 03:04:05 UTC, in microseconds.
pub const CREATED: i64 = 1_767_323_045_000_000;
const SECOND: i64 = 1_000_000;

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_micros()).expect("before 292278")
}

/// Build 7 of hello, while an architecture is built.
pub fn building() -> Build {
    Build {
        id: 7,
        target: "lab".into(),
        package: "hello".into(),
        git_ref: "c9s".into(),
        batch: 3,
        submitter: "alice@desk".into(),
        priority: "interactive".into(),
        created_us: CREATED,
        state: "building".into(),
        commit: "0123456789abcdef0123456789abcdef01234567".into(),
        srpm: "hello-2.12-1.lab9.src".into(),
        milestones: vec![
            stone("import", CREATED + SECOND / 2),
            stone("srpm", CREATED + 2 * SECOND),
            stone("resolve", CREATED + 2 * SECOND + 40_000),
        ],
        tasks: vec![srpm_task(), running_task()],
        ..Build::default()
    }
}

pub fn published() -> Build {
    let mut build = building();
    build.state = "published".into();
    build.ended_us = CREATED + 125 * SECOND;
    build.milestones.extend([
        stone("build", CREATED + 120 * SECOND),
        stone("accept", CREATED + 121 * SECOND),
        stone("sign", CREATED + 122 * SECOND),
        stone("publish", CREATED + 125 * SECOND),
    ]);
    build.tasks[1] = Task {
        state: "succeeded".into(),
        phase: String::new(),
        ended_us: CREATED + 120 * SECOND,
        rpmbuild_ms: 90_500,
        ..running_task()
    };
    build.artifacts = vec![Artifact {
        nevra: "hello-2.12-1.lab9.x86_64".into(),
        digest: "a".repeat(64),
        size: 71_680,
        signed_digest: "b".repeat(64),
        withdrawn: String::new(),
    }];
    build.channel = "testing".into();
    build.revision = 4;
    build
}

/// The same, failed in %build by this one's fault.
pub fn failed(fault: Fault) -> Build {
    let failure = Failure {
        fault: fault.into(),
        stage: "build".into(),
        message: "hello.c:3: error: 'foo' undeclared\u{1b}[31m".into(),
        excerpt: vec!["gcc -c hello.c".into(), "hello.c:3: error: 'foo' undeclared\u{7}".into()],
        ..Failure::default()
    };
    let mut build = building();
    build.state = "failed".into();
    build.ended_us = CREATED + 10 * SECOND;
    build.reason = format!("{} (somebody's fault, at build)", failure.message);
    build.tasks[1].state = "failed".into();
    build.tasks[1].ended_us = CREATED + 10 * SECOND;
    build.tasks[1].failure = Some(failure.clone());
    build.failure = Some(failure);
    build
}

pub fn cancelled() -> Build {
    Build { state: "cancelled".into(), ended_us: CREATED + SECOND, ..building() }
}

fn stone(stage: &str, at_us: i64) -> Milestone {
    Milestone { stage: stage.into(), at_us, ..Milestone::default() }
}

fn srpm_task() -> Task {
    Task {
        id: 11,
        kind: "srpm".into(),
        arch: "x86_64".into(),
        state: "succeeded".into(),
        worker: "w1".into(),
        started_us: CREATED + SECOND,
        ended_us: CREATED + 2 * SECOND,
        attempts: 1,
        ..Task::default()
    }
}

fn running_task() -> Task {
    Task {
        id: 12,
        kind: "build".into(),
        arch: "x86_64".into(),
        state: "running".into(),
        phase: "check".into(),
        worker: "w1".into(),
        started_us: CREATED + 3 * SECOND,
        attempts: 2,
        lock: "c".repeat(64),
        ..Task::default()
    }
}

pub fn target() -> Target {
    Target {
        name: "lab".into(),
        description: "The lab's own distribution".into(),
        arches: vec!["x86_64".into(), "aarch64".into()],
        channels: vec!["testing".into(), "stable".into()],
        dist: ".lab9".into(),
        definition: r#"{"dist":".lab9"}"#.into(),
        problems: vec![],
    }
}

pub fn channel() -> Channel {
    Channel {
        target: "lab".into(),
        name: "testing".into(),
        revision: 4,
        packages: 12,
        published_us: CREATED,
        repo_url: "http://farm/repos/lab/testing/lab-testing.repo".into(),
        key_url: "http://farm/repos/lab/key.asc".into(),
    }
}

pub fn worker() -> Worker {
    Worker {
        name: "w1".into(),
        version: "0.1.0".into(),
        arches: vec!["x86_64".into(), "aarch64".into()],
        emulated: vec!["aarch64".into()],
        labels: vec!["ssd".into(), "gpu".into()],
        liveness: "alive".into(),
        slots: 2,
        busy: 1,
        srpm_slots: 1,
        cpus: 8,
        memory_mib: 16 * 1024,
        disk_free_mib: 100 * 1024,
        heard_us: now(),
        running: vec!["7/12 hello".into()],
        state: "active".into(),
        protocol: 1,
        enrolled: true,
        certificate_ends_us: now() + 20 * 24 * 3600 * 1_000_000,
        ..Worker::default()
    }
}

pub fn worker_details() -> WorkerDetails {
    let failure = Failure {
        fault: Fault::Worker.into(),
        stage: "root".into(),
        message: "no space left on /var/lib/rpmfarm-worker".into(),
        excerpt: Vec::new(),
        ..Failure::default()
    };
    WorkerDetails {
        worker: Some(worker()),
        decisions: vec![WorkerDecision {
            state: "active".into(),
            reason: "resumed \u{1b}[31m".into(),
            at_us: now(),
            ..WorkerDecision::default()
        }],
        certificates: vec![WorkerCertificate {
            fingerprint: "ab".repeat(32),
            serial: "07".into(),
            issued_us: now(),
            ends_us: now() + 20 * 24 * 3600 * 1_000_000,
            ended: String::new(),
        }],
        faults: vec![WorkerFault {
            build: 7,
            task: 12,
            package: "hello".into(),
            at_us: now(),
            failure: Some(failure),
        }],
        enrolled_arches: vec!["x86_64".into()],
    }
}

pub fn invitation(request: &InviteWorkerRequest) -> Invitation {
    Invitation {
        worker: request.worker.clone(),
        token: "rpmfarm1.aa.bb".into(),
        expires_us: now() + 3600 * 1_000_000,
        coordinator: "https://farm.example.org:7879".into(),
        authority: "bb".into(),
        arches: request.arches.clone(),
    }
}

pub fn info() -> Info {
    let check = |name: &str, level: &str, message: &str| Check {
        name: name.into(),
        level: level.into(),
        message: message.into(),
        remedy: String::new(),
    };
    Info {
        version: env!("CARGO_PKG_VERSION").into(),
        now_us: now(),
        database: "sqlite".into(),
        checks: vec![check("signer", "ok", "answers, 1 key")],
    }
}

/// A lock with one package in its only layer, and its digest.
pub fn lock() -> (Vec<u8>, String) {
    let bash = LockedPackage {
        nevra: "bash-5.2-1.lab9.x86_64".parse().expect("a NEVRA"),
        digest: Sha256::compute(b"bash"),
        size: 2048,
        source: "bash".into(),
        origin: "baseos".into(),
        location: "b/bash.rpm".into(),
        base: String::new(),
        module: String::new(),
    };
    let lock = Lock {
        target: "lab".into(),
        arch: Arch::X86_64,
        bootstrap: Layer::default(),
        layers: vec![Layer::new(vec![bash])],
        options: Default::default(),
    };
    let bytes = lock.to_bytes();
    let digest = Sha256::compute(&bytes).hex();
    (bytes, digest)
}

/// Why a build waits.
pub fn why(build: &Build) -> WhyReply {
    let reason = |code: &str, task: &str, text: &str| Reason {
        code: code.into(),
        task: task.into(),
        text: text.into(),
        ..Reason::default()
    };
    WhyReply {
        build: build.id,
        package: build.package.clone(),
        target: build.target.clone(),
        state: "queued".into(),
        priority: "interactive".into(),
        reasons: vec![
            Reason {
                ahead: 12,
                starts_us: CREATED,
                ..reason("queue", "build x86_64", "behind 12 tasks, about 6 min")
            },
            reason("no-worker", "build ppc64le", "no worker for ppc64le connected since 14:02 UTC"),
        ],
        ..WhyReply::default()
    }
}

/// Batch 3, in which two of four builds are left.
pub fn batch() -> BatchDetails {
    let of = |build: i64, package: &str| BatchMember { build, package: package.into() };
    let failure = Failure {
        fault: Fault::Package.into(),
        stage: "build".into(),
        message: "hello.c:3: error: 'foo' undeclared\u{1b}[31m".into(),
        ..Failure::default()
    };
    BatchDetails {
        batch: Some(Batch {
            id: 3,
            target: "lab".into(),
            order: "requires".into(),
            submitter: "alice@desk".into(),
            created_us: CREATED,
            builds: 5,
            waiting: 1,
            building: 1,
            published: 1,
            failed: 2,
            ..Batch::default()
        }),
        ordered_here: true,
        left_us: 600 * SECOND,
        critical_path: vec![of(5, "gcc"), of(6, "glibc")],
        critical_path_us: 500 * SECOND,
        losses: vec![BatchLoss {
            member: Some(of(7, "hello")),
            failure: Some(failure),
            took: vec![of(8, "greet")],
            without: Vec::new(),
        }],
        failed_by_package: 2,
        ..BatchDetails::default()
    }
}

/// The same at its end.
pub fn ended_batch() -> BatchDetails {
    let mut details = batch();
    if let Some(batch) = &mut details.batch {
        (batch.waiting, batch.building, batch.published) = (0, 0, 3);
        batch.ended_us = CREATED + 3600 * SECOND;
    }
    details.critical_path = Vec::new();
    BatchDetails { left_us: 0, critical_path_us: 0, work_us: 7200 * SECOND, ..details }
}

/// A plan in which each package waits for the one before it, and none but the first was ever built.
pub fn plan(request: &StartBuildsRequest) -> BatchPlan {
    let packages: Vec<String> = request.packages.iter().map(|one| one.package.clone()).collect();
    let component = |(place, package): (u32, &String)| PlannedComponent {
        packages: vec![package.clone()],
        needs: place.checked_sub(1).into_iter().collect(),
        work_us: 60 * SECOND,
        starts_us: i64::from(place) * 60 * SECOND,
        ends_us: i64::from(place + 1) * 60 * SECOND,
    };
    let path_us = 60 * SECOND * i64::try_from(packages.len()).expect("a few");
    BatchPlan {
        target: request.target.clone(),
        order: if request.order.is_empty() { "requires".into() } else { request.order.clone() },
        components: (0..).zip(&packages).map(component).collect(),
        work_us: path_us / 2,
        path_us,
        expected_us: path_us,
        slots: vec![PlanSlots { arch: "x86_64".into(), slots: 2 }],
        unknown: packages[1..].to_vec(),
        notes: vec!["each build root was solved with the packages that are there now".into()],
        ..BatchPlan::default()
    }
}
