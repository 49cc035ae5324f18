//! The stage that reads what a worker has uploaded, and accepts it whole or not at all.
//!
//! From the moment of acceptance the packages are in the solver's pool. Nothing that the worker
//! said is believed: names, architectures and digests are read from the files.

mod check;
mod srpm;

use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{AttemptId, Failure, Fault, TaskId};
use tracing::Instrument as _;

pub use check::{CheckError, Checked};

use crate::clock::now_us;
use crate::farm::Farm;
use crate::retry;
use crate::store::{EndedAttempt, NewPackage, StoreError, Task};
use crate::work::Crew;

/// One look: every success that is not accepted is checked.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, crew: &Crew<AttemptId>, now_us: i64) -> anyhow::Result<()> {
    for ended in farm.store.attempts_to_accept(now_us).await? {
        let farm = farm.clone();
        let (attempt, task) = (ended.attempt.id, ended.attempt.task);
        let span = tracing::info_span!("accept", build = ended.build.0, task, attempt);
        let work = async move { accept(&farm, &ended).await };
        crew.start(AttemptId(attempt), work.instrument(span));
    }
    Ok(())
}

/// Checks one success and accepts or refuses it.
///
/// # Errors
/// Database errors; a bad result is no error but a refusal that is recorded.
pub async fn accept(farm: &Farm, ended: &EndedAttempt) -> anyhow::Result<()> {
    let Outcome::Succeeded(success) = &ended.outcome else { return Ok(()) };
    let Some(task) = farm.store.task(TaskId(ended.attempt.task)).await? else { return Ok(()) };
    match check_and_record(farm, ended, &task, success).await {
        Ok(()) => {
            tracing::info!(
                build = ended.build.0,
                task = task.id.0,
                attempt = ended.attempt.id,
                files = success.files.len(),
                "results accepted"
            );
            Ok(())
        }
        Err(Refused::Failure(failure)) => {
            let now = now_us();
            let retry_us = retry::at(farm, ended.build, Some(task.id), &failure, now).await?;
            tracing::warn!(build = ended.build.0, task = task.id.0, "refused: {failure}");
            Ok(farm.store.refuse_attempt(ended, &failure, retry_us, now).await?)
        }
        Err(Refused::Error(error)) => Err(error),
    }
}

/// Why results are not accepted: they are bad, or the farm could not tell.
enum Refused {
    Failure(Failure),
    Error(anyhow::Error),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            // A release that was built before with other content is the package's to mend.
            StoreError::SameNevra { .. } => {
                Self::Failure(Failure::new(Fault::Package, "accept", error.to_string()))
            }
            error => Self::Error(error.into()),
        }
    }
}

impl From<CheckError> for Refused {
    fn from(error: CheckError) -> Self {
        match error.fault() {
            Some(fault) => Self::Failure(Failure::new(fault, "accept", error.to_string())),
            None => Self::Error(error.into()),
        }
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

async fn check_and_record(
    farm: &Farm,
    ended: &EndedAttempt,
    task: &Task,
    success: &Success,
) -> Result<(), Refused> {
    let attempt = AttemptId(ended.attempt.id);
    let checked = check::files(farm, (ended.build, attempt), task, success).await?;
    let packages: Vec<NewPackage> = checked
        .iter()
        .map(|file| NewPackage {
            nevra: file.nevra.clone(),
            digest: file.digest,
            size: file.size,
            repodata: file.repodata,
        })
        .collect();
    let build = farm
        .store
        .build(ended.build)
        .await?
        .ok_or_else(|| anyhow::anyhow!("attempt {} belongs to no build", ended.attempt.id))?;
    let now = now_us();
    let mut tx = farm.store.write().await?;
    if !tx.hold_open(ended.build).await? {
        return Ok(());
    }
    if !tx.accept(task.id, attempt, success.rpmbuild_ms, now).await? {
        return Ok(());
    }
    tx.add_packages(&build.target, ended.build, task.id, task.arch, &packages).await?;
    if task.kind == TaskKind::Srpm {
        let target = farm.targets.get(&build.target).map_err(anyhow::Error::from)?;
        srpm::check_tag(&checked, &target, &build.git_ref)?;
        let (srpm, tasks) = srpm::plan(&checked, &success.predicts, &target.arches)?;
        tx.add_srpm(ended.build, &srpm).await?;
        tx.add_tasks(ended.build, &tasks, now).await?;
    }
    Ok(tx.commit().await?)
}
