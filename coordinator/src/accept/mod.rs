//! The stage that reads what a worker has uploaded, and accepts it whole or not at all.
//!
//! From the moment of acceptance the packages are in the solver's pool. Nothing that the worker
//! said is believed: names, architectures and digests are read from the files.

mod check;
mod noarch;
mod srpm;

use rpmfarm_core::results;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{AttemptId, Failure, Fault, TaskId};
use tracing::Instrument as _;

pub use check::{CheckError, Checked};

use crate::clock::now_us;
use crate::dispatch::quarantine;
use crate::farm::Farm;
use crate::plan;
use crate::retry;
use crate::store::{AcceptedTask, EndedAttempt, MadePackage, NewPackage, StoreError, Task};
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
            quarantine::after_acceptance(farm, task.id, &ended.attempt.worker, now_us()).await
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
            StoreError::SameNevra { .. }
            | StoreError::SameFile { .. }
            | StoreError::OtherOptions { .. } => {
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
    let build = farm
        .store
        .build(ended.build)
        .await?
        .ok_or_else(|| anyhow::anyhow!("attempt {} belongs to no build", ended.attempt.id))?;
    let target = farm.target_of(&build).await?;
    let limits = target.limits_of(&build.package);
    let checked = check::files(farm, (ended.build, attempt), task, success, limits).await?;
    let mut made: Vec<MadePackage> = checked.iter().map(made).collect();
    keep_known(farm, &build.target, &mut made).await?;
    let arches = plan::arches(farm, &build, &target).await?;
    let siblings = farm.store.tasks(ended.build).await?;
    let builders = siblings.iter().filter(|task| task.kind.is_build()).count();
    let expected = match task.kind {
        TaskKind::Srpm => Some(srpm::Expected::of(farm, &build, &target).await?),
        TaskKind::Build | TaskKind::Noarch => None,
    };
    let now = now_us();
    let mut tx = farm.store.write().await?;
    if !tx.hold_open(ended.build).await? {
        return Ok(());
    }
    if !tx.accept(task.id, attempt, success.rpmbuild_ms, now).await? {
        return Ok(());
    }
    if let Some(expected) = expected {
        expected.check(&checked, &target)?;
        let native = farm.fleet.native_arches();
        let (srpm, tasks) = srpm::plan(&checked, success, task.arch, &arches, &native)?;
        for made in &made {
            tx.check_unused(ended.build, &made.package).await?;
        }
        tx.add_srpm(ended.build, &srpm).await?;
        tx.add_tasks(ended.build, &tasks, now).await?;
    }
    // What a task made is the build's only together with what the others make: so no other build
    // meets packages of one that fails elsewhere, and what it fails at can be mended without
    // raising the release.
    tx.add_results(ended.build, task.id, task.arch, &made).await?;
    if task.kind == TaskKind::Srpm {
        return Ok(tx.commit().await?);
    }
    let left: Vec<String> = checked.iter().flat_map(macros_left).collect();
    tx.add_notes(ended.build, &left).await?;
    let mut accepted = tx.accepted_tasks(ended.build, TaskKind::Build).await?;
    accepted.extend(tx.accepted_tasks(ended.build, TaskKind::Noarch).await?);
    let differences = if noarch::agree(&accepted) {
        Vec::new()
    } else {
        // Read within the transaction, so that nobody accepts another task meanwhile: descriptions
        // are some kilobytes for most packages, and agree in most builds.
        let (blobs, accepted) = (farm.blobs.clone(), accepted.clone());
        let found = tokio::task::spawn_blocking(move || noarch::differences(&blobs, &accepted));
        found.await.map_err(anyhow::Error::from)??
    };
    if !target.noarch_may_differ(&build.package)
        && let Some(failure) = rpmfarm_core::noarch::verdict(&build.package, &differences)
    {
        return Err(Refused::Failure(failure));
    }
    if accepted.len() == builders {
        tx.add_notes(ended.build, &rpmfarm_core::noarch::notes(&differences)).await?;
        for (index, made) in noarch::taken(&arches, &accepted) {
            let AcceptedTask { task, arch, .. } = accepted[index];
            tx.add_packages(&build.target, ended.build, task, arch, &[made.package]).await?;
        }
        for source in tx.accepted_tasks(ended.build, TaskKind::Srpm).await? {
            let AcceptedTask { task, arch, packages, .. } = source;
            let srpm: Vec<NewPackage> = packages.into_iter().map(|made| made.package).collect();
            tx.add_packages(&build.target, ended.build, task, arch, &srpm).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// What is to be noted of macros in a package's dependencies.
fn macros_left(file: &Checked) -> Vec<String> {
    let metadata = &file.inspected.metadata;
    // A header without a tag has no such dependencies.
    let all = [
        ("Requires", metadata.get_requires().unwrap_or_default()),
        ("Provides", metadata.get_provides().unwrap_or_default()),
        ("Conflicts", metadata.get_conflicts().unwrap_or_default()),
        ("Obsoletes", metadata.get_obsoletes().unwrap_or_default()),
        ("Recommends", metadata.get_recommends().unwrap_or_default()),
        ("Suggests", metadata.get_suggests().unwrap_or_default()),
    ];
    let texts = all.iter().flat_map(|(tag, list)| {
        list.iter().flat_map(|one| [(*tag, one.name.as_str()), (*tag, one.version.as_str())])
    });
    results::macros_left(&file.nevra, texts)
}

fn made(file: &Checked) -> MadePackage {
    let package = NewPackage {
        nevra: file.nevra.clone(),
        digest: file.digest,
        size: file.size,
        repodata: file.repodata,
    };
    MadePackage { package, content: file.content }
}

/// Packages of no architecture that an earlier build made with the same content: the bytes of their
/// headers say where they were built, so the earlier ones stay and count as this build's.
async fn keep_known(farm: &Farm, target: &str, made: &mut [MadePackage]) -> anyhow::Result<()> {
    for MadePackage { package, content } in made {
        let Some(content) = *content else { continue };
        let Some(known) = farm.store.package(target, &package.nevra).await? else { continue };
        if known.digest == package.digest {
            continue;
        }
        let (blobs, digest) = (farm.blobs.clone(), known.digest);
        let before =
            tokio::task::spawn_blocking(move || noarch::content_of_blob(&blobs, digest)).await??;
        if before == content {
            package.digest = known.digest;
            package.size = known.size;
            package.repodata = known.repodata;
        }
    }
    Ok(())
}
