//! The stage that reads the uploads of a worker, and accepts all or none of them.
//!
//! From the moment of acceptance the packages are in the solver's pool, unless they have names that
//! packages of other sources own: then they wait for a person ([`crate::claims`]). Nothing that the
//! worker reports is trusted: names, architectures and digests are read from the files. Where there
//! is an acceptor, it reads them once more and signs that it accepts them.
//!
//! Here are the stage and the one transaction that accepts. `check` reads the files before,
//! `acceptor` calls the process of that name, `srpm` derives the tasks that follow from a source
//! package, and `repeat` decides whether another worker repeats a task. `refused` has the reasons
//! of refusals.
//!
//! An SRPM's acceptance records its facts and the build tasks (ExclusiveArch and ExcludeArch
//! applied). What a task made goes to `results`; the last accepted task of a build makes them
//! `packages`, in one transaction. The owners that were looked up are valid only while the target's
//! row in `pools` has the generation of the look-up.

mod acceptor;
mod check;
mod refused;
mod repeat;
mod srpm;

use std::sync::Arc;

use rpmfarm_core::noarch::Difference;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::why::NOT_ACCEPTED;
use rpmfarm_core::{Arch, AttemptId, Stage, Target, Timestamp};
use rpmfarm_core::{owners, results};
use tracing::Instrument as _;

pub use acceptor::AcceptorClient;
pub use check::{CheckError, CheckedPackage};

use self::acceptor::Acceptances;
use self::refused::AcceptError;
use crate::blobs::Blobs;
use crate::blocking;
use crate::claims::{self, Claims, ClaimsVerdict};
use crate::clock::Clock;
use crate::dispatch::quarantine;
use crate::fleet::Fleet;
use crate::noarch;
use crate::plan;
use crate::random::RandomSource;
use crate::retry::Retries;
use crate::store::{
    AcceptedTask, Build, EndedAttempt, FencedStore, NewPackage, ResultPackage, Task, Tx,
};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, KeyedTaskPool};

/// Checks the results of each successful attempt that is not accepted yet, several side by side.
#[derive(Clone)]
pub struct AcceptStage {
    pub targets: Targets,
    pub blobs: Blobs,
    /// Who builds natively, and who is quarantined.
    pub fleet: Fleet,
    /// Who owns the names that builds make.
    pub claims: Claims,
    /// Asks for acceptances; `None` where no acceptor is set up.
    pub acceptor: Option<AcceptorClient>,
    /// Where the reason is shown when results cannot be accepted now.
    pub waits: LocalWaitReasons,
    /// Decides whether there is a next try.
    pub retries: Retries,
    /// The clock that is read while the pass works.
    pub clock: Clock,
    /// Draws which builds are repeated.
    pub random: RandomSource,
    /// The checks that run side by side.
    pub checks: KeyedTaskPool<AttemptId>,
}

impl work::Stage for AcceptStage {
    const NAME: Stage = Stage::Accept;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for ended in store.attempt_list_to_accept(now).await? {
            let (stage, store) = (self.clone(), store.clone());
            let (attempt, task) = (ended.attempt.id, ended.attempt.task);
            let (build, task, number) = (ended.build.0, task.0, attempt.0);
            let span = tracing::info_span!("accept", build, task, attempt = number);
            let work = async move { stage.accept(&store, &ended).await };
            self.checks.spawn(attempt, work.instrument(span));
        }
        Ok(())
    }
}

impl AcceptStage {
    /// Checks the results of one attempt, and accepts or refuses them.
    ///
    /// # Errors
    /// Database errors. A bad result is not an error: its refusal is recorded.
    pub async fn accept(&self, store: &FencedStore, ended: &EndedAttempt) -> anyhow::Result<()> {
        let Outcome::Succeeded(success) = &ended.outcome else { return Ok(()) };
        let Some(task) = store.task_fetch(ended.attempt.task).await? else { return Ok(()) };
        match self.check_and_record(store, ended, &task, success).await {
            Ok(()) => {
                tracing::info!(
                    build = ended.build.0,
                    task = task.id.0,
                    attempt = ended.attempt.id.0,
                    files = success.files.len(),
                    "results accepted"
                );
                let (builder, now) = (&ended.attempt.worker, self.clock.now());
                quarantine::after_acceptance(store, &self.fleet, task.id, builder, now).await?;
                Ok(())
            }
            Err(AcceptError::Failure(failure)) => {
                let now = self.clock.time();
                let retry = self
                    .retries
                    .retry_time(store, ended.build, Some(task.id), &failure, now)
                    .await?;
                tracing::warn!(build = ended.build.0, task = task.id.0, "refused: {failure}");
                Ok(store.attempt_refuse(ended, &failure, retry, now).await?)
            }
            Err(AcceptError::Error(error)) => Err(error),
        }
    }

    async fn check_and_record(
        &self,
        store: &FencedStore,
        ended: &EndedAttempt,
        task: &Task,
        success: &Success,
    ) -> Result<(), AcceptError> {
        let work = self.check(store, ended, task, success).await?;
        for _ in 0..TRIES {
            // The query comes before the transaction, because the answer may need a solver pool
            // that takes seconds to make.
            let verdict = work.verdict(self, store).await?;
            if work.record(self, store, verdict).await? {
                return Ok(());
            }
        }
        Err(AcceptError::Error(anyhow::anyhow!(
            "the packages of {} change all the time while attempt {} is accepted",
            work.build.target,
            ended.attempt.id
        )))
    }

    /// Checks the files of an attempt, has the acceptor sign them, and reads what else their
    /// acceptance needs.
    async fn check<'a>(
        &self,
        store: &FencedStore,
        ended: &'a EndedAttempt,
        task: &'a Task,
        success: &'a Success,
    ) -> Result<AttemptToAccept<'a>, AcceptError> {
        let attempt = ended.attempt.id;
        let build = store
            .build_fetch(ended.build)
            .await?
            .ok_or_else(|| anyhow::anyhow!("attempt {} belongs to no build", ended.attempt.id))?;
        let target = self.targets.of_build(store, &build).await?;
        let limits = target.limits_of(&build.package);
        let checked =
            check::files(store, &self.blobs, (ended.build, attempt), task, success, limits.clone())
                .await?;
        if task.kind == TaskKind::Srpm {
            // Before the acceptor signs: it does not know what was imported.
            let expected =
                srpm::ExpectedSrpm::for_build(store, &self.blobs, &build, &target).await?;
            expected.check(&checked, &target)?;
        }
        let acceptor = (self.acceptor.as_ref(), &self.waits);
        let acceptances =
            acceptor::acceptances(acceptor, store, (ended, task), success, &build, &limits).await?;
        let mut made: Vec<ResultPackage> = checked.iter().map(made).collect();
        self.keep_known(store, &build, &mut made).await?;
        let arches = plan::arches(store, &build, &target).await?;
        let siblings = store.task_list(ended.build).await?;
        let builders = siblings.iter().filter(|task| task.kind.makes_packages()).count();
        let maker = &ended.attempt.worker;
        let fleet = (&self.fleet, self.clock.instant());
        let is_repeated = repeat::is_due(fleet, self.random, task, &target, &build.package, maker);
        Ok(AttemptToAccept {
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
        })
    }

    /// `noarch` packages that an earlier build made with the same content. Only their headers
    /// differ (build host and time), so the earlier files stay and count as packages of this build,
    /// too.
    async fn keep_known(
        &self,
        store: &FencedStore,
        of: &Build,
        made: &mut [ResultPackage],
    ) -> anyhow::Result<()> {
        for ResultPackage { package, content } in made {
            let Some(content) = *content else { continue };
            let Some(known) = store.package_fetch(&of.target, &package.nevra).await? else {
                continue;
            };
            if known.digest == package.digest {
                continue;
            }
            // A package of another source package says so in its header.
            let maker = store.build_fetch(known.build).await?;
            if maker.is_none_or(|maker| maker.package != of.package) {
                continue;
            }
            let (blobs, digest) = (self.blobs.clone(), known.digest);
            let before = blocking::run(move || noarch::content_of_blob(&blobs, digest)).await??;
            if before == content {
                package.digest = known.digest;
                package.size = known.size;
                package.repodata = known.repodata;
            }
        }
        Ok(())
    }
}

/// How often the claims of a build are computed again because the target's packages changed
/// meanwhile.
const TRIES: usize = 16;

/// The checked files of a successful attempt, with its build and task.
struct AttemptToAccept<'a> {
    ended: &'a EndedAttempt,
    task: &'a Task,
    success: &'a Success,
    build: Build,
    target: Arc<Target>,
    /// The architectures of the build.
    arches: Vec<Arch>,
    /// How many tasks of the build make binary packages.
    builders: usize,
    /// Whether another worker repeats the task, so that the results can be compared.
    is_repeated: bool,
    checked: Vec<CheckedPackage>,
    /// The acceptor's signatures; empty where no acceptor is set up.
    acceptances: Acceptances,
    made: Vec<ResultPackage>,
}

impl AttemptToAccept<'_> {
    /// The claims of the build, when this is the last of its tasks.
    async fn verdict(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
    ) -> anyhow::Result<Option<ClaimsVerdict>> {
        if self.task.kind == TaskKind::Srpm || self.is_repeated {
            return Ok(None);
        }
        let tasks = store.task_list(self.ended.build).await?;
        for task in tasks.iter().filter(|task| task.kind.is_build() && task.id != self.task.id) {
            if store.acceptance_fetch(task.id).await?.is_none() {
                return Ok(None);
            }
        }
        let mut packages = store.result_list_packages(self.ended.build).await?;
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

    /// Accepts the results in one transaction. False when the target's packages changed since the
    /// claims were computed; then nothing was recorded.
    async fn record(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
        verdict: Option<ClaimsVerdict>,
    ) -> Result<bool, AcceptError> {
        let AttemptToAccept { ended, task, success, build, .. } = self;
        let attempt = ended.attempt.id;
        let now = stage.clock.time();
        let mut tx = store.write().await?;
        if !tx.build_lock_open(ended.build).await? {
            return Ok(true);
        }
        if !tx.acceptance_insert(task.id, attempt, success.rpmbuild_ms, now).await? {
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

    /// Records a source package, and creates the tasks that follow from it.
    async fn record_srpm(
        &self,
        stage: &AcceptStage,
        mut tx: Tx,
        now: Timestamp,
    ) -> Result<bool, AcceptError> {
        let AttemptToAccept { ended, task, success, arches, checked, made, .. } = self;
        let native = stage.fleet.native_arches();
        let (srpm, tasks) = srpm::plan(checked, success, task.arch, arches, &native)?;
        for made in made {
            tx.package_check_unused(ended.build, &made.package).await?;
        }
        tx.srpm_insert(ended.build, &srpm).await?;
        tx.task_insert(ended.build, &tasks, now).await?;
        tx.result_insert(ended.build, task.id, task.arch, made).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records the packages of a task. They become packages of the build only together with those
    /// of its other tasks. So other builds never see packages of a build that fails on another
    /// architecture, and such a build can be repaired without raising its release.
    async fn record_packages(
        &self,
        stage: &AcceptStage,
        tx: &mut Tx,
        now: Timestamp,
    ) -> Result<(), AcceptError> {
        let AttemptToAccept { ended, task, build, target, builders, checked, made, .. } = self;
        tx.result_insert(ended.build, task.id, task.arch, made).await?;
        let left: Vec<String> = checked.iter().flat_map(macros_left).collect();
        tx.build_note_insert(ended.build, &left).await?;
        let accepted = claims::accepted(tx, ended.build).await?;
        let differences = noarch_differences(&stage.blobs, &accepted).await?;
        if !target.noarch_may_differ(&build.package)
            && let Some(failure) = rpmfarm_core::noarch::verdict(&build.package, &differences)
        {
            return Err(AcceptError::Failure(failure));
        }
        if self.is_repeated {
            tx.task_insert_repeat(task, now).await?;
        }
        if accepted.len() == *builders {
            tx.build_note_insert(ended.build, &rpmfarm_core::noarch::notes(&differences)).await?;
        }
        Ok(())
    }

    /// Compares the packages of a repetition with those of the first worker, and records the
    /// differences.
    async fn compare(
        &self,
        stage: &AcceptStage,
        store: &FencedStore,
        tx: &mut Tx,
        now: Timestamp,
    ) -> Result<(), AcceptError> {
        let all = tx.task_list_accepted(self.ended.build, TaskKind::Build).await?;
        let first = all.into_iter().find(|one| one.arch == self.task.arch);
        let first = first.ok_or_else(|| anyhow::anyhow!("the task to repeat was not accepted"))?;
        let maker = store.worker_fetch_of_repeated_task(self.task.id).await?;
        let (blobs, made) = (stage.blobs.clone(), self.made.clone());
        let repeater = self.ended.attempt.worker.clone();
        let compare = move || repeat::differences(&blobs, (&maker, &first), (&repeater, &made));
        let found = blocking::run(compare).await.map_err(anyhow::Error::from)??;
        if !found.is_empty() {
            let (package, arch) = (&self.build.package, self.task.arch);
            tracing::warn!(package, %arch, "two workers made different packages: {}", found[0]);
            tx.claim_insert(self.ended.build, &found, now).await?;
        }
        Ok(())
    }

    /// Ends the transaction. When no task of the build is open any more, its packages enter the
    /// pool or wait for a person.
    async fn finish(
        &self,
        mut tx: Tx,
        verdict: Option<ClaimsVerdict>,
        now: Timestamp,
    ) -> Result<bool, AcceptError> {
        let AttemptToAccept { ended, build, arches, builders, .. } = self;
        let accepted = claims::accepted(&mut tx, ended.build).await?;
        if accepted.len() == *builders && tx.task_count_open_repeats(ended.build).await? == 0 {
            let generation = tx.pool_lock(&build.target).await?;
            let Some(verdict) = verdict.filter(|verdict| verdict.generation == generation) else {
                return Ok(false);
            };
            if let Some(failure) = owners::too_many(&verdict.claims) {
                return Err(AcceptError::Failure(failure));
            }
            let mut found = verdict.claims;
            found.extend(tx.claim_list_of_repeats(ended.build).await?);
            if found.is_empty() {
                claims::enter(&mut tx, build, arches, &accepted).await?;
            } else {
                tracing::warn!(package = build.package, claims = found.len(), "waits for a person");
                tx.claim_replace(ended.build, &found, now).await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// The differences between `noarch` packages that several tasks made. Read within the transaction,
/// so that no other task of the build is accepted meanwhile. For most packages the description has
/// some kilobytes, and in most builds the descriptions agree.
async fn noarch_differences(
    blobs: &Blobs,
    accepted: &[AcceptedTask],
) -> anyhow::Result<Vec<Difference>> {
    if noarch::agree(accepted) {
        return Ok(Vec::new());
    }
    let (blobs, accepted) = (blobs.clone(), accepted.to_vec());
    blocking::run(move || noarch::differences(&blobs, &accepted)).await?
}

/// Notes about macros that were left unexpanded in a package's dependencies.
fn macros_left(file: &CheckedPackage) -> Vec<String> {
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

fn made(file: &CheckedPackage) -> ResultPackage {
    let package = NewPackage {
        nevra: file.nevra.clone(),
        digest: file.digest,
        size: file.size,
        repodata: file.repodata,
    };
    ResultPackage { package, content: file.content }
}
