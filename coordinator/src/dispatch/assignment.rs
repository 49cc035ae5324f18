//! What a worker should have: its live attempts, each with everything it needs.

use std::collections::HashMap;

use anyhow::Context as _;
use rpmfarm_core::lease::{HEARTBEAT, LEASE};
use rpmfarm_core::source::{SourceBundle, SourceFile};
use rpmfarm_core::task::{Assignment, DesiredState, Input, TaskKind};
use rpmfarm_core::{AttemptId, BuildId, Epoch, TaskId};

use crate::farm::Farm;
use crate::store::LiveAttempt;

/// Largest source bundle or lock that is read into memory, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Assignments that a session has put together already, by attempt.
pub type Cache = HashMap<i64, Assignment>;

/// The desired state of a worker.
///
/// # Errors
/// Database and blob store errors.
pub async fn desired(farm: &Farm, worker: &str, cache: &mut Cache) -> anyhow::Result<DesiredState> {
    let live = farm.store.live_attempts(Some(worker)).await?;
    cache.retain(|id, _| live.iter().any(|attempt| attempt.id == *id));
    let mut assignments = Vec::with_capacity(live.len());
    for attempt in &live {
        assignments.push(assignment(farm, attempt, cache).await?);
    }
    Ok(DesiredState {
        assignments,
        heartbeat_ms: u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX),
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX),
    })
}

async fn assignment(
    farm: &Farm,
    attempt: &LiveAttempt,
    cache: &mut Cache,
) -> anyhow::Result<Assignment> {
    let task = TaskId(attempt.task);
    let lock = farm.store.lock(task).await?.context("a granted task has a lock")?;
    if let Some(assignment) = cache.get_mut(&attempt.id) {
        (assignment.lock, assignment.round) = (lock.digest, lock.round);
        return Ok(assignment.clone());
    }
    let build_id = BuildId(attempt.build);
    let build = farm.store.build(build_id).await?.context("an attempt has a build")?;
    let target = farm.targets.get(&build.target)?;
    let task = farm.store.task(task).await?.context("an attempt has a task")?;
    let input = match task.kind {
        TaskKind::Srpm => {
            let import = farm.store.import(build_id).await?.context("a task has an import")?;
            let bytes = farm.blobs.read_small(import.bundle, MAX_DOCUMENT)?;
            let bundle = SourceBundle::from_bytes(&bytes)?;
            Input::Sources { spec: bundle.spec, sources: bundle.sources, plan: bundle.plan }
        }
        TaskKind::Build => {
            let srpm = farm.store.srpm(build_id).await?.context("a build task has an SRPM")?;
            let file =
                SourceFile { name: srpm.nevra.file_name(), digest: srpm.digest, size: srpm.size };
            Input::Srpm { file, dynamic_requires: srpm.dynamic }
        }
    };
    let assignment = Assignment {
        attempt: AttemptId(attempt.id),
        task: task.id,
        build: build_id,
        epoch: Epoch(attempt.epoch),
        input,
        limits: target.limits_of(&build.package),
        macros: target.macro_file(&build.package),
        package: build.package,
        target: build.target,
        arch: task.arch,
        lock: lock.digest,
        round: lock.round,
    };
    cache.insert(attempt.id, assignment.clone());
    Ok(assignment)
}
