//! The stage that reads what a worker has uploaded, and accepts it whole or not at all.
//!
//! From the moment of acceptance the packages are in the solver's pool, unless they take what packages of
//! other sources own: then they wait for a person ([`crate::claims`]). Nothing that the worker
//! said is believed: names, architectures and digests are read from the files. Where there is an
//! acceptor, it reads them once more and signs that it accepts them.
//!
//! Here are the stage and the one transaction that accepts. `check` reads the files before, `acceptor`
//! asks the process of that name, `srpm` says what follows from a source package, and `repeat` whether
//! another worker makes the same once more.

mod acceptor;
mod check;
mod repeat;
mod srpm;

use std::sync::Arc;

use rpmfarm_core::noarch::Difference;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::why::NOT_ACCEPTED;
use rpmfarm_core::{Arch, AttemptId, Failure, FailureStage, Fault, Stage, Target, TaskId};
use rpmfarm_core::{owners, results};
use tracing::Instrument as _;

pub use acceptor::AcceptorClient;
pub use check::{CheckError, Checked};

use self::acceptor::Acceptances;
use crate::blobs::Blobs;
use crate::claims::{self, Claims, Verdict};
use crate::clock::Clock;
use crate::dispatch::quarantine;
use crate::fleet::Fleet;
use crate::noarch;
use crate::plan;
use crate::retry::Retries;
use crate::store::{
    AcceptedTask, Build, EndedAttempt, FencedStore, MadePackage, NewPackage, StoreError, Task, Tx,
};
use crate::targets::Targets;
use crate::waits::Waits;
use crate::work::{self, KeyedTaskPool};

/// Checks every success that is not accepted, some at once.
#[derive(Clone)]
pub struct AcceptStage {
    /// What is rebuilt.
    pub targets: Targets,
    /// The files.
    pub blobs: Blobs,
    /// Who builds what natively, and who is quarantined.
    pub fleet: Fleet,
    /// Who owns what builds make.
    pub claims: Claims,
    /// Asks for acceptances; none where the coordinator's own verdict is enough.
    pub acceptor: Option<AcceptorClient>,
    /// Where it is said why results are not accepted now.
    pub waits: Waits,
    /// Whether there is a next try.
    pub retries: Retries,
    /// What time it has become.
    pub clock: Clock,
    /// Checks attempts side by side.
    pub checks: KeyedTaskPool<AttemptId>,
}

impl work::Stage for AcceptStage {
    const NAME: Stage = Stage::Accept;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for ended in store.attempts_to_accept(now_us).await? {
            let (stage, store) = (self.clone(), store.clone());
            let (attempt, task) = (ended.attempt.id, ended.attempt.task);
            let span = tracing::info_span!("accept", build = ended.build.0, task, attempt);
            let work = async move { stage.accept(&store, &ended).await };
            self.checks.spawn(AttemptId(attempt), work.instrument(span));
        }
        Ok(())
    }
}

impl AcceptStage {
    /// Checks one success and accepts or refuses it.
    ///
    /// # Errors
    /// Database errors; a bad result is no error but a refusal that is recorded.
    pub async fn accept(&self, store: &FencedStore, ended: &EndedAttempt) -> anyhow::Result<()> {
        let Outcome::Succeeded(success) = &ended.outcome else { return Ok(()) };
        let Some(task) = store.task(TaskId(ended.attempt.task)).await? else { return Ok(()) };
        match self.check_and_record(store, ended, &task, success).await {
            Ok(()) => {
                tracing::info!(
                    build = ended.build.0,
                    task = task.id.0,
                    attempt = ended.attempt.id,
                    files = success.files.len(),
                    "results accepted"
                );
                let (builder, now) = (&ended.attempt.worker, self.clock.now());
                quarantine::after_acceptance(store, &self.fleet, task.id, builder, now).await
            }
            Err(Refused::Failure(failure)) => {
                let now = self.clock.now_us();
                let retry_us =
                    self.retries.at(store, ended.build, Some(task.id), &failure, now).await?;
                tracing::warn!(build = ended.build.0, task = task.id.0, "refused: {failure}");
                Ok(store.refuse_attempt(ended, &failure, retry_us, now).await?)
            }
            Err(Refused::Error(error)) => Err(error),
        }
    }

    async fn check_and_record(
        &self,
        store: &FencedStore,
        ended: &EndedAttempt,
        task: &Task,
        success: &Success,
    ) -> Result<(), Refused> {
        let attempt = AttemptId(ended.attempt.id);
        let build = store
            .build(ended.build)
            .await?
            .ok_or_else(|| anyhow::anyhow!("attempt {} belongs to no build", ended.attempt.id))?;
        let target = self.targets.of_build(store, &build).await?;
        let limits = target.limits_of(&build.package);
        let checked =
            check::files(store, &self.blobs, (ended.build, attempt), task, success, limits.clone())
                .await?;
        if task.kind == TaskKind::Srpm {
            // Before the acceptor signs: it does not know what was imported.
            let expected = srpm::Expected::of(store, &self.blobs, &build, &target).await?;
            expected.check(&checked, &target)?;
        }
        let acceptances = self.acceptances(store, (ended, task), success, &build, &limits).await?;
        let mut made: Vec<MadePackage> = checked.iter().map(made).collect();
        self.keep_known(store, &build, &mut made).await?;
        let arches = plan::arches(store, &build, &target).await?;
        let siblings = store.tasks(ended.build).await?;
        let builders = siblings.iter().filter(|task| task.kind.makes_packages()).count();
        let maker = &ended.attempt.worker;
        let fleet = (&self.fleet, self.clock.instant());
        let is_repeated = repeat::is_due(fleet, task, &target, &build.package, maker);
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
            let verdict = work.verdict(self, store).await?;
            if work.record(self, store, verdict).await? {
                return Ok(());
            }
        }
        Err(Refused::Error(anyhow::anyhow!(
            "the packages of {} change all the time while attempt {} is accepted",
            work.build.target,
            ended.attempt.id
        )))
    }

    /// Packages of no architecture that an earlier build made with the same content: the bytes of their
    /// headers say where they were built, so the earlier ones stay and count as this build's.
    async fn keep_known(
        &self,
        store: &FencedStore,
        of: &Build,
        made: &mut [MadePackage],
    ) -> anyhow::Result<()> {
        for MadePackage { package, content } in made {
            let Some(content) = *content else { continue };
            let Some(known) = store.package(&of.target, &package.nevra).await? else { continue };
            if known.digest == package.digest {
                continue;
            }
            // One of another source says so in its header.
            let maker = store.build(known.build).await?;
            if maker.is_none_or(|maker| maker.package != of.package) {
                continue;
            }
            let (blobs, digest) = (self.blobs.clone(), known.digest);
            let before =
                tokio::task::spawn_blocking(move || noarch::content_of_blob(&blobs, digest))
                    .await??;
            if before == content {
                package.digest = known.digest;
                package.size = known.size;
                package.repodata = known.repodata;
            }
        }
        Ok(())
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
                Self::Failure(Failure::new(Fault::Package, FailureStage::Accept, error.to_string()))
            }
            error => Self::Error(error.into()),
        }
    }
}

impl From<CheckError> for Refused {
    fn from(error: CheckError) -> Self {
        match error.fault() {
            Some(fault) => Self::Failure(Failure::new(fault, FailureStage::Accept, error.told())),
            None => Self::Error(error.into()),
        }
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
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
    async fn verdict(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
    ) -> anyhow::Result<Option<Verdict>> {
        if self.task.kind == TaskKind::Srpm || self.is_repeated {
            return Ok(None);
        }
        let tasks = store.tasks(self.ended.build).await?;
        for task in tasks.iter().filter(|task| task.kind.is_build() && task.id != self.task.id) {
            if store.acceptance(task.id).await?.is_none() {
                return Ok(None);
            }
        }
        let mut packages = store.made_packages(self.ended.build).await?;
        if self.task.kind != TaskKind::Repeat {
            packages.extend(self.made.iter().map(|made| made.package.clone()));
        }
        let found = stage.claims.verdict(store, &self.build, &packages).await;
        match &found {
            Ok(_) => stage.waits.clear_said(self.ended.build, NOT_ACCEPTED),
            Err(error) => stage.waits.set(self.ended.build, format!("{NOT_ACCEPTED}: {error:#}")),
        }
        Ok(Some(found?))
    }

    /// Accepts it in one transaction. False when the verdict is not of the packages that there are
    /// now: then nothing was recorded.
    async fn record(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
        verdict: Option<Verdict>,
    ) -> Result<bool, Refused> {
        let Work { ended, task, success, build, .. } = self;
        let attempt = AttemptId(ended.attempt.id);
        let now = stage.clock.now_us();
        let mut tx = store.write().await?;
        if !tx.hold_open(ended.build).await? {
            return Ok(true);
        }
        if !tx.accept(task.id, attempt, success.rpmbuild_ms, now).await? {
            return Ok(true);
        }
        tx.add_acceptances(&build.target, &self.acceptances).await?;
        match task.kind {
            TaskKind::Srpm => self.record_srpm(stage, tx, now).await,
            TaskKind::Repeat => {
                self.compare(stage, store, &mut tx, now).await?;
                self.finish(tx, verdict, now).await
            }
            TaskKind::Build | TaskKind::Noarch => {
                self.record_packages(stage, &mut tx, now).await?;
                self.finish(tx, verdict, now).await
            }
        }
    }

    /// Records a source package, and the tasks that follow from it.
    async fn record_srpm(
        &self,
        stage: &AcceptStage,
        mut tx: Tx,
        now: i64,
    ) -> Result<bool, Refused> {
        let Work { ended, task, success, arches, checked, made, .. } = self;
        let native = stage.fleet.native_arches();
        let (srpm, tasks) = srpm::plan(checked, success, task.arch, arches, &native)?;
        for made in made {
            tx.check_unused(ended.build, &made.package).await?;
        }
        tx.add_srpm(ended.build, &srpm).await?;
        tx.add_tasks(ended.build, &tasks, now).await?;
        tx.add_results(ended.build, task.id, task.arch, made).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records the packages of a task. They are the build's only together with what the other tasks make:
    /// so no other build meets packages of one that fails elsewhere, and what it fails at can be mended
    /// without raising the release.
    async fn record_packages(
        &self,
        stage: &AcceptStage,
        tx: &mut Tx,
        now: i64,
    ) -> Result<(), Refused> {
        let Work { ended, task, build, target, builders, checked, made, .. } = self;
        tx.add_results(ended.build, task.id, task.arch, made).await?;
        let left: Vec<String> = checked.iter().flat_map(macros_left).collect();
        tx.add_notes(ended.build, &left).await?;
        let accepted = claims::accepted(tx, ended.build).await?;
        let differences = noarch_differences(&stage.blobs, &accepted).await?;
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
        Ok(())
    }

    /// Compares what was made again with what was made first, and records what differs.
    async fn compare(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
        tx: &mut Tx,
        now: i64,
    ) -> Result<(), Refused> {
        let all = tx.accepted_tasks(self.ended.build, TaskKind::Build).await?;
        let first = all.into_iter().find(|one| one.arch == self.task.arch);
        let first = first.ok_or_else(|| anyhow::anyhow!("what is repeated was not accepted"))?;
        let maker = store.maker_of_repeated(self.task.id).await?;
        let (blobs, made) = (stage.blobs.clone(), self.made.clone());
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
            if let Some(failure) = owners::too_many(&verdict.claims) {
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

/// What differs between packages of no architecture that several tasks made. Read within the transaction,
/// so that nobody accepts another task meanwhile: descriptions are some kilobytes for most packages, and
/// agree in most builds.
async fn noarch_differences(
    blobs: &Blobs,
    accepted: &[AcceptedTask],
) -> anyhow::Result<Vec<Difference>> {
    if noarch::agree(accepted) {
        return Ok(Vec::new());
    }
    let (blobs, accepted) = (blobs.clone(), accepted.to_vec());
    tokio::task::spawn_blocking(move || noarch::differences(&blobs, &accepted)).await?
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
