//! Fetching what a lock names, when its repository has moved on meanwhile, and looking at it as rpm
//! will.
//!
//! A busy repository removes a package as soon as there is a newer one, while the metadata here may
//! be an hour old. Then the metadata are read anew and the root is solved again, a few times at most.

use std::time::SystemTime;

use anyhow::Context as _;
use rpmfarm_core::target::Target;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Failure, FailureStage, Fault, Lock};

use super::pass::{Unsolved, Wanted, solve};
use super::{Older, Requirements, Resolver};
use crate::farm::Farm;
use crate::store::{Build, Task};

/// How often a root is solved again because one of its packages is gone.
const AGAIN: u32 = 2;

/// Fetches the packages of a lock. Returns the lock whose packages are there: another one when the
/// repositories have moved on.
///
/// # Errors
/// Outside, the database's; inside, why the packages cannot be had or make no root.
pub(super) async fn fetch(
    farm: &Farm,
    resolver: &Resolver,
    target: &Target,
    task: &Task,
    build: &Build,
    round: u32,
    lock: &Lock,
) -> anyhow::Result<Result<Lock, Failure>> {
    let mut lock = lock.clone();
    for left in (0..=AGAIN).rev() {
        let now = SystemTime::now();
        let Err(error) = resolver.fetch(target, &lock, now).await else {
            let checked = resolver.check_root(target, &lock).await;
            return Ok(checked.map(|()| lock).map_err(|problem| {
                Failure::new(problem.fault(), FailureStage::Resolve, problem.to_string())
            }));
        };
        let failure = Failure::new(Fault::Farm, FailureStage::Resolve, error.to_string());
        if left == 0 || !error.is_gone() {
            return Ok(Err(failure));
        }
        tracing::info!(%error, "reading the metadata anew");
        let refreshed = resolver.refresh(target, lock.arch, Older::Refuse, now).await;
        for error in refreshed.err().into_iter().flatten() {
            tracing::warn!(%error, "no news of a repository");
        }
        match solve(farm, build, task.arch, wanted(farm, task, round).await?).await {
            // Nothing has changed: the repository names what it does not have.
            Ok(same) if same == lock => return Ok(Err(failure)),
            Ok(other) => lock = other,
            Err(Unsolved { failure, .. }) => return Ok(Err(failure)),
        }
    }
    unreachable!("the last round returns")
}

/// What the root of a task is to have.
async fn wanted(farm: &Farm, task: &Task, round: u32) -> anyhow::Result<Requirements> {
    if task.kind == TaskKind::Srpm {
        return Ok(Requirements::default());
    }
    let srpm = farm.store.srpm(task.build).await?.context("a build task has an SRPM")?;
    let found = if round > 0 { farm.store.dynamic_requires(task.id).await? } else { Vec::new() };
    Ok(Wanted::new(task, &srpm, found).requirements)
}
