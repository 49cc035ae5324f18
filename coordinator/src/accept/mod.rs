//! The stage that reads what a worker has uploaded, and accepts it whole or not at all.
//!
//! From the moment of acceptance the packages are in the solver's pool, unless they take what packages of
//! other sources own: then they wait for a person ([`crate::claims`]). Nothing that the worker
//! said is believed: names, architectures and digests are read from the files. Where there is an
//! acceptor, it reads them once more and signs that it accepts them.

mod acceptor;
mod check;
mod repeat;
mod srpm;

use std::sync::Arc;

use rpmfarm_core::results;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{Arch, AttemptId, Failure, Fault, Target, TaskId};
use tracing::Instrument as _;

pub use acceptor::AcceptorClient;
pub use check::{CheckError, Checked};

use self::acceptor::Acceptances;
use crate::claims::{self, Verdict};
use crate::clock::now_us;
use crate::dispatch::quarantine;
use crate::farm::Farm;
use crate::noarch;
use crate::plan;
use crate::retry;
use crate::store::{Build, EndedAttempt, MadePackage, NewPackage, StoreError, Task, Tx};
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
            | StoreError::OtherOptions { .. }
            | StoreError::Withdrawn { .. } => {
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
    let checked = check::files(farm, (ended.build, attempt), task, success, limits.clone()).await?;
    let acceptances = acceptor::acceptances(farm, (ended, task), success, &build, &limits).await?;
    let mut made: Vec<MadePackage> = checked.iter().map(made).collect();
    keep_known(farm, &build, &mut made).await?;
    let arches = plan::arches(farm, &build, &target).await?;
    let siblings = farm.store.tasks(ended.build).await?;
    let makes = |task: &&Task| matches!(task.kind, TaskKind::Build | TaskKind::Noarch);
    let builders = siblings.iter().filter(makes).count();
    let maker = &ended.attempt.worker;
    let is_repeated = repeat::is_due(farm, task, &target, &build.package, maker);
    let work = Work {
        ended,
        task,
        success,
        build,
        target,
        arches,
        builders,
        is_repeated,
        checked,
        acceptances,
        made,
    };
    for _ in 0..TRIES {
        // Looked up before the transaction: a pool may have to be made for it.
        let verdict = work.verdict(farm).await?;
        if work.record(farm, verdict).await? {
            return Ok(());
        }
    }
    Err(Refused::Error(anyhow::anyhow!(
        "the packages of {} change all the time while attempt {} is accepted",
        work.build.target,
        ended.attempt.id
    )))
}

/// How often what a build makes is compared with what others own, while the target's packages change.
const TRIES: usize = 16;

/// A success whose files are what they should be, with what it belongs to.
struct Work<'a> {
    ended: &'a EndedAttempt,
    task: &'a Task,
    success: &'a Success,
    build: Build,
    target: Arc<Target>,
    /// The architectures of the build.
    arches: Vec<Arch>,
    /// How many tasks make the binary packages of the build.
    builders: usize,
    /// Whether another worker is to make the same, to compare it.
    is_repeated: bool,
    checked: Vec<Checked>,
    /// What the acceptor signed, where there is one.
    acceptances: Acceptances,
    made: Vec<MadePackage>,
}

impl Work<'_> {
    /// What the build claims, when this is the last of its tasks.
    async fn verdict(&self, farm: &Farm) -> anyhow::Result<Option<Verdict>> {
        if self.task.kind == TaskKind::Srpm || self.is_repeated {
            return Ok(None);
        }
        let tasks = farm.store.tasks(self.ended.build).await?;
        for task in tasks.iter().filter(|task| task.kind.is_build() && task.id != self.task.id) {
            if farm.store.acceptance(task.id).await?.is_none() {
                return Ok(None);
            }
        }
        let mut packages = farm.store.made_packages(self.ended.build).await?;
        if self.task.kind != TaskKind::Repeat {
            packages.extend(self.made.iter().map(|made| made.package.clone()));
        }
        let found = claims::verdict(farm, &self.build, &packages).await;
        match &found {
            Ok(_) => farm.waits.clear_said(self.ended.build, WAITS),
            Err(error) => farm.waits.set(self.ended.build, format!("{WAITS}: {error:#}")),
        }
        Ok(Some(found?))
    }

    /// Accepts it in one transaction. False when the verdict is not of the packages that there are
    /// now: then nothing was recorded.
    async fn record(&self, farm: &Farm, verdict: Option<Verdict>) -> Result<bool, Refused> {
        let Work { ended, task, success, build, target, arches, builders, checked, made, .. } =
            self;
        let attempt = AttemptId(ended.attempt.id);
        let expected = match task.kind {
            TaskKind::Srpm => Some(srpm::Expected::of(farm, build, target).await?),
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => None,
        };
        let now = now_us();
        let mut tx = farm.store.write().await?;
        if !tx.hold_open(ended.build).await? {
            return Ok(true);
        }
        if !tx.accept(task.id, attempt, success.rpmbuild_ms, now).await? {
            return Ok(true);
        }
        tx.add_acceptances(&build.target, &self.acceptances).await?;
        if let Some(expected) = expected {
            expected.check(checked, target)?;
            let native = farm.fleet.native_arches();
            let (srpm, tasks) = srpm::plan(checked, success, task.arch, arches, &native)?;
            for made in made {
                tx.check_unused(ended.build, &made.package).await?;
            }
            tx.add_srpm(ended.build, &srpm).await?;
            tx.add_tasks(ended.build, &tasks, now).await?;
        }
        if task.kind == TaskKind::Repeat {
            self.compare(farm, &mut tx, now).await?;
            return self.finish(tx, verdict, now).await;
        }
        // What a task made is the build's only together with what the others make: so no other build
        // meets packages of one that fails elsewhere, and what it fails at can be mended without
        // raising the release.
        tx.add_results(ended.build, task.id, task.arch, made).await?;
        if task.kind == TaskKind::Srpm {
            tx.commit().await?;
            return Ok(true);
        }
        let left: Vec<String> = checked.iter().flat_map(macros_left).collect();
        tx.add_notes(ended.build, &left).await?;
        let accepted = claims::accepted(&mut tx, ended.build).await?;
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
        if self.is_repeated {
            tx.add_repeat(task, now).await?;
        }
        if accepted.len() == *builders {
            tx.add_notes(ended.build, &rpmfarm_core::noarch::notes(&differences)).await?;
        }
        self.finish(tx, verdict, now).await
    }

    /// Compares what was made again with what was made first, and records what differs.
    async fn compare(&self, farm: &Farm, tx: &mut Tx, now: i64) -> Result<(), Refused> {
        let all = tx.accepted_tasks(self.ended.build, TaskKind::Build).await?;
        let first = all.into_iter().find(|one| one.arch == self.task.arch);
        let first = first.ok_or_else(|| anyhow::anyhow!("what is repeated was not accepted"))?;
        let maker = farm.store.maker_of_repeated(self.task.id).await?;
        let (blobs, made) = (farm.blobs.clone(), self.made.clone());
        let repeater = self.ended.attempt.worker.clone();
        let compare = move || repeat::differences(&blobs, (&maker, &first), (&repeater, &made));
        let found = tokio::task::spawn_blocking(compare).await.map_err(anyhow::Error::from)??;
        if !found.is_empty() {
            let (package, arch) = (&self.build.package, self.task.arch);
            tracing::warn!(package, %arch, "two workers made different packages: {}", found[0]);
            tx.add_claims(self.ended.build, &found, now).await?;
        }
        Ok(())
    }

    /// Ends the transaction; when nothing of the build is open any more, its packages enter the pool or
    /// wait for a person.
    async fn finish(
        &self,
        mut tx: Tx,
        verdict: Option<Verdict>,
        now: i64,
    ) -> Result<bool, Refused> {
        let Work { ended, build, arches, builders, .. } = self;
        let accepted = claims::accepted(&mut tx, ended.build).await?;
        if accepted.len() == *builders && tx.open_repeats(ended.build).await? == 0 {
            let generation = tx.hold_pool(&build.target).await?;
            let Some(verdict) = verdict.filter(|verdict| verdict.generation == generation) else {
                return Ok(false);
            };
            if let Some(failure) = claims::too_many(&verdict.claims) {
                return Err(Refused::Failure(failure));
            }
            let mut found = verdict.claims;
            found.extend(tx.repeat_claims(ended.build).await?);
            if found.is_empty() {
                claims::enter(&mut tx, build, arches, &accepted).await?;
            } else {
                tracing::warn!(package = build.package, claims = found.len(), "waits for a person");
                tx.set_claims(ended.build, &found, now).await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// What is said of a build whose results cannot be accepted now begins so.
pub(crate) const WAITS: &str = "not accepted yet";

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
async fn keep_known(farm: &Farm, of: &Build, made: &mut [MadePackage]) -> anyhow::Result<()> {
    for MadePackage { package, content } in made {
        let Some(content) = *content else { continue };
        let Some(known) = farm.store.package(&of.target, &package.nevra).await? else { continue };
        if known.digest == package.digest {
            continue;
        }
        // One of another source says so in its header.
        let maker = farm.store.build(known.build).await?;
        if maker.is_none_or(|maker| maker.package != of.package) {
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
