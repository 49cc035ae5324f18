//! A build as JSON.

use rpmfarm_proto::v1::{Artifact, Build, Failure, Task};
use serde::Serialize;

use super::known;
use crate::show::stages::{Stage, stages};
use crate::show::{failure, progress, time, verdict};

/// A build with all its facts.
#[derive(Debug, Serialize)]
pub(crate) struct BuildDocument {
    id: i64,
    /// Name of the target.
    target: String,
    /// Name of the package.
    package: String,
    /// Requested branch, tag or commit.
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    /// The requested architectures; empty for all of the target's.
    arches: Vec<String>,
    /// The options of its request, as words of a command line; empty without options.
    options: Vec<String>,
    /// How many files of failed attempts were kept (`rpmfarm files`).
    kept_files: u32,
    /// The full commit id, once imported.
    commit: Option<String>,
    /// Builds of one request share it.
    batch: i64,
    submitter: Option<String>,
    /// security, interactive, tracking, mass.
    priority: Option<String>,
    /// importing, srpm, waiting, queued, building, accepting, claimed, signing, publishing,
    /// published, failed, cancelled.
    state: String,
    /// Whether the state is final.
    ended: bool,
    /// Why it waits or failed.
    reason: Option<String>,
    created_at: Option<String>,
    ended_at: Option<String>,
    /// From the request to its end, or to now; includes failed tries and pauses before retries.
    took_ms: i64,
    /// When the last try began, if there was more than one.
    retried_at: Option<String>,
    /// How long the last try took so far.
    last_try_ms: i64,
    /// NEVRA of the SRPM, once made.
    srpm: Option<String>,
    /// The CVE ids that its sources fix.
    cves: Vec<String>,
    /// Warnings about it, before it has ended.
    warnings: Vec<String>,
    /// Accepted differences between architectures, and repositories that leave out a package.
    notes: Vec<String>,
    /// Packages of the farm in its roots instead of the distribution's, one line each.
    from_farm: Vec<String>,
    failure: Option<FailureDocument>,
    /// Where it is published.
    published: Option<PublicationDocument>,
    stages: Vec<StageDocument>,
    tasks: Vec<TaskDocument>,
    artifacts: Vec<ArtifactDocument>,
}

#[derive(Debug, Serialize)]
pub(super) struct FailureDocument {
    /// `package`, `worker` or `farm`.
    fault: &'static str,
    stage: String,
    /// The failure in one line.
    message: String,
    /// Up to ten lines of the log.
    excerpt: Vec<String>,
}

/// A revision of a channel.
#[derive(Debug, Serialize)]
struct PublicationDocument {
    channel: String,
    revision: i64,
}

#[derive(Debug, Serialize)]
struct StageDocument {
    /// import, srpm, resolve, dispatch, build, accept, sign, publish.
    stage: String,
    /// Null while the stage is not complete.
    done_at: Option<String>,
    took_ms: i64,
}

#[derive(Debug, Serialize)]
struct TaskDocument {
    id: i64,
    /// srpm or build.
    kind: String,
    arch: String,
    /// waiting, queued, running, accepting, succeeded, failed, cancelled.
    state: String,
    /// Of the running attempt.
    phase: Option<String>,
    worker: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    took_ms: Option<i64>,
    /// How long rpmbuild itself ran.
    rpmbuild_ms: Option<u64>,
    attempts: u32,
    /// SHA-256 of the lock.
    lock: Option<String>,
    /// Further notes on its attempts, one line each.
    notes: Vec<String>,
    failure: Option<FailureDocument>,
}

/// A package that was accepted.
#[derive(Debug, Serialize)]
struct ArtifactDocument {
    nevra: String,
    /// SHA-256 of the file as it was built.
    digest: String,
    size: u64,
    /// SHA-256 of the signed file, once signed.
    signed_digest: Option<String>,
    /// By whom and why it was withdrawn.
    withdrawn: Option<String>,
}

impl BuildDocument {
    /// The state of a build at `now`.
    pub(crate) fn new(build: &Build, now: i64) -> Self {
        Self {
            id: build.id,
            target: build.target.clone(),
            package: build.package.clone(),
            git_ref: known(&build.git_ref),
            arches: build.arches.clone(),
            options: build.option_words.clone(),
            kept_files: build.kept_files,
            commit: known(&build.commit),
            batch: build.batch,
            submitter: known(&build.submitter),
            priority: known(&build.priority),
            state: build.state.clone(),
            ended: verdict::has_ended(build),
            reason: known(&build.reason),
            created_at: time::rfc3339(build.created_us),
            ended_at: time::rfc3339(build.ended_us),
            took_ms: progress::build_took(build, now) / 1000,
            retried_at: time::rfc3339(build.retried_us),
            last_try_ms: progress::last_try_took(build, now) / 1000,
            srpm: known(&build.srpm),
            cves: build.cves.clone(),
            warnings: build.warnings.clone(),
            notes: build.notes.clone(),
            from_farm: build.from_farm.clone(),
            failure: verdict::failure(build).map(Into::into),
            published: known(&build.channel)
                .map(|channel| PublicationDocument { channel, revision: build.revision }),
            stages: stages(build, now).into_iter().map(Into::into).collect(),
            tasks: build.tasks.iter().map(|task| TaskDocument::new(task, now)).collect(),
            artifacts: build.artifacts.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Failure> for FailureDocument {
    fn from(wire: &Failure) -> Self {
        Self {
            fault: failure::fault(wire),
            stage: wire.stage.clone(),
            message: wire.message.clone(),
            excerpt: wire.excerpt.clone(),
        }
    }
}

impl From<Stage> for StageDocument {
    fn from(stage: Stage) -> Self {
        Self {
            stage: stage.name,
            done_at: stage.done_us.and_then(time::rfc3339),
            took_ms: stage.took_us / 1000,
        }
    }
}

impl TaskDocument {
    fn new(task: &Task, now: i64) -> Self {
        Self {
            id: task.id,
            kind: task.kind.clone(),
            arch: task.arch.clone(),
            state: task.state.clone(),
            phase: known(&task.phase),
            worker: known(&task.worker),
            started_at: time::rfc3339(task.started_us),
            ended_at: time::rfc3339(task.ended_us),
            took_ms: progress::task_took(task, now).map(|us| us / 1000),
            rpmbuild_ms: (task.rpmbuild_ms != 0).then_some(task.rpmbuild_ms),
            attempts: task.attempts,
            lock: known(&task.lock),
            notes: task.notes.clone(),
            failure: task.failure.as_ref().map(Into::into),
        }
    }
}

impl From<&Artifact> for ArtifactDocument {
    fn from(artifact: &Artifact) -> Self {
        Self {
            nevra: artifact.nevra.clone(),
            digest: artifact.digest.clone(),
            size: artifact.size,
            signed_digest: known(&artifact.signed_digest),
            withdrawn: known(&artifact.withdrawn),
        }
    }
}
