//! Builds as the API shows them, put together from facts.

use std::collections::HashMap;

use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::status::{BuildFacts, BuildState, TaskFacts, derive};
use rpmfarm_core::task::{Outcome, Phase};
use rpmfarm_core::terms::without_noarch;
use rpmfarm_core::track::superseded;
use rpmfarm_core::{Arch, AttemptId, BuildId, BuildOptions, Failure, Target};
use rpmfarm_proto::v1;

use crate::farm::Farm;
use crate::peers::notes;
use crate::store::{
    Attempt, AttemptEnd, Build, Ended, FailureRow, Lacking, LateResult, SignedPackage, Srpm,
    StoreError, Task,
};
use crate::track;

type Result<T> = std::result::Result<T, StoreError>;

/// One build with everything that is known of it.
///
/// # Errors
/// Database errors.
pub async fn build(farm: &Farm, build: &Build) -> Result<v1::Build> {
    let facts = Facts::load(farm, build).await?;
    Ok(facts.show())
}

/// What the store says of a build.
struct Facts<'a> {
    build: &'a Build,
    arches: Vec<Arch>,
    import: Option<crate::store::Import>,
    srpm: Option<crate::store::Srpm>,
    tasks: Vec<TaskView>,
    packages: Vec<SignedPackage>,
    publication: Option<crate::store::Publication>,
    failures: Vec<FailureRow>,
    cancelled_us: i64,
    retried_us: i64,
    signed_us: i64,
    open: bool,
    waits: String,
    options: BuildOptions,
    kept_files: u32,
    cves: Vec<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

struct TaskView {
    task: Task,
    lock: Option<crate::store::LockRow>,
    attempts: Vec<(Attempt, Option<AttemptEnd>)>,
    acceptance: Option<(AttemptId, u64, i64)>,
    phase: Option<Phase>,
    late: Vec<LateResult>,
}

impl TaskView {
    fn facts(&self) -> TaskFacts {
        let last = self.attempts.last();
        TaskFacts {
            locked: self.lock.is_some(),
            running: last.is_some_and(|(_, end)| end.is_none()),
            reported: last.is_some_and(|(_, end)| {
                end.as_ref().is_some_and(|end| matches!(end.outcome, Some(Outcome::Succeeded(_))))
            }),
            accepted: self.acceptance.is_some(),
        }
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.attempts.last()?.1.as_ref()?.outcome {
            Some(Outcome::Failed(failure)) => Some(failure),
            _ => None,
        }
    }

    fn show(&self, open: bool) -> v1::Task {
        let facts = self.facts();
        let state = if facts.accepted {
            "succeeded"
        } else if facts.running {
            "running"
        } else if !open {
            if self.failure().is_some() { "failed" } else { "cancelled" }
        } else if facts.reported {
            "accepting"
        } else if facts.locked {
            "queued"
        } else {
            "waiting"
        };
        let last = self.attempts.last();
        let ended_us = last.and_then(|(_, end)| end.as_ref()).map_or(0, |end| end.at_us);
        v1::Task {
            id: self.task.id.0,
            kind: self.task.kind.to_string(),
            arch: self.task.arch.to_string(),
            state: state.into(),
            phase: self.phase.filter(|_| facts.running).map_or_else(String::new, |p| p.to_string()),
            worker: last.map_or_else(String::new, |(attempt, _)| attempt.worker.clone()),
            started_us: last.map_or(0, |(attempt, _)| attempt.started_us),
            ended_us,
            attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
            failure: self.failure().filter(|_| !facts.accepted).map(Into::into),
            rpmbuild_ms: self.acceptance.map_or(0, |(_, ms, _)| ms),
            lock: self.lock.map_or_else(String::new, |lock| lock.digest.hex()),
            notes: self.late.iter().map(note).collect(),
        }
    }
}

impl<'a> Facts<'a> {
    async fn load(farm: &Farm, build: &'a Build) -> Result<Self> {
        let id = build.id();
        let phases = farm.fleet.phases();
        let mut tasks = Vec::new();
        for task in farm.store.tasks(id).await? {
            tasks.push(task_view(farm, task, &phases).await?);
        }
        let target = farm.targets.get(&build.target);
        let key = target.as_ref().map(|target| target.signing_key.clone()).unwrap_or_default();
        let retried_us = farm.store.retried_us(id).await?;
        let srpm = farm.store.srpm(id).await?;
        let open = farm.store.is_open(id).await?;
        let mut warnings = farm.store.source_notes(id).await?;
        if let (true, Ok(target), Some(srpm)) = (open, &target, &srpm)
            && let Err(why) = track::check_above(farm, target, build, &srpm.nevra.evr).await?
        {
            warnings.push(why.to_string());
        }
        let packages = farm.store.packages_of(id, &key).await?;
        let mut notes = farm.store.build_notes(id).await?;
        if let (Ok(target), Some(srpm)) = (&target, &srpm) {
            notes.extend(kept_away(target, srpm, &packages));
        }
        notes.extend(farm.store.lacking(id).await?.iter().map(lacks));
        let publication = farm.store.publication(id).await?;
        if let (Some(shown), Some(srpm)) = (&publication, &srpm) {
            // Whoever asked for an older one must not look for it in the repository.
            let all = farm.store.published_evrs(&build.target, &shown.channel, &build.package);
            let (made, all) = (&srpm.nevra.evr, all.await?);
            warnings.extend(superseded(&build.package, made, all, &shown.channel));
        }
        Ok(Self {
            build,
            warnings,
            arches: farm.store.build_arches(id).await?,
            import: farm.store.import(id).await?,
            srpm,
            tasks,
            packages,
            notes,
            signed_us: farm.store.signed_us(id, &key).await?,
            publication,
            failures: farm.store.failures(id, retried_us).await?,
            cancelled_us: farm.store.cancelled_us(id).await?,
            retried_us,
            open,
            cves: farm.store.cves(id).await?,
            options: farm.store.build_options(id).await?,
            kept_files: farm.store.kept_count(id).await?,
            waits: notes::wait_reason(farm, id).await?,
        })
    }

    fn state(&self) -> BuildState {
        let facts: Vec<TaskFacts> = self
            .tasks
            .iter()
            .filter(|view| view.task.kind.is_build())
            .map(TaskView::facts)
            .collect();
        derive(&BuildFacts {
            cancelled: self.cancelled_us > self.retried_us,
            failed: self.final_failure().is_some(),
            imported: self.import.is_some(),
            srpm: self.srpm.is_some(),
            tasks: &facts,
            signed: self.packages.iter().all(|package| package.signature.is_some()),
            published: self.publication.is_some(),
        })
    }

    fn final_failure(&self) -> Option<&FailureRow> {
        self.failures.iter().rev().find(|row| row.retry_us.is_none() && !self.open)
    }

    fn ended_us(&self, state: BuildState) -> i64 {
        match state {
            BuildState::Published => self.publication.as_ref().map_or(0, |row| row.at_us),
            BuildState::Failed => self.final_failure().map_or(0, |row| row.at_us),
            BuildState::Cancelled => self.cancelled_us,
            _ => 0,
        }
    }

    /// Why it waits, or why it failed.
    fn reason(&self, state: BuildState) -> String {
        if state == BuildState::Published || state == BuildState::Cancelled {
            return String::new();
        }
        match self.failures.last() {
            Some(row) if row.retry_us.is_some() && self.open => {
                format!("will be tried again after: {}", row.failure)
            }
            Some(row) if !self.open => row.failure.to_string(),
            _ => self.waits.clone(),
        }
    }

    fn milestones(&self) -> Vec<v1::Milestone> {
        let mut all = Vec::new();
        let mut add = |stage: &str, at_us: Option<i64>| {
            if let Some(at_us) = at_us {
                all.push(v1::Milestone { stage: stage.into(), at_us });
            }
        };
        let accepted = |builds: bool| {
            let mut of_kind = self
                .tasks
                .iter()
                .filter(move |view| view.task.kind.is_build() == builds)
                .peekable();
            of_kind.peek()?;
            of_kind
                .map(|view| view.acceptance.map(|(_, _, at_us)| at_us))
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .max()
        };
        let builds = || self.tasks.iter().filter(|view| view.task.kind.is_build());
        add("import", self.import.as_ref().map(|import| import.at_us));
        add("srpm", accepted(false));
        add("resolve", builds().filter_map(|view| view.lock.map(|lock| lock.at_us)).max());
        add("dispatch", builds().filter_map(|view| Some(view.attempts.last()?.0.started_us)).max());
        add("build", accepted(true).and(builds().filter_map(TaskView::ended_us).max()));
        add("accept", accepted(true));
        let signed = !self.packages.is_empty()
            && self.packages.iter().all(|package| package.signature.is_some());
        add("sign", (signed && accepted(true).is_some()).then_some(self.signed_us));
        add("publish", self.publication.as_ref().map(|row| row.at_us));
        all
    }

    fn show(&self) -> v1::Build {
        let state = self.state();
        let failure = match state {
            BuildState::Failed => self.final_failure().map(|row| (&row.failure).into()),
            _ => None,
        };
        v1::Build {
            id: self.build.id,
            target: self.build.target.clone(),
            package: self.build.package.clone(),
            git_ref: self.build.git_ref.clone(),
            batch: self.build.batch,
            submitter: self.build.submitter.clone(),
            created_us: self.build.created_us,
            state: state.to_string(),
            ended_us: self.ended_us(state),
            reason: self.reason(state),
            failure,
            commit: self.import.as_ref().map_or_else(String::new, |row| row.commit.clone()),
            srpm: self.srpm.as_ref().map_or_else(String::new, |row| row.nevra.to_string()),
            tasks: self.tasks.iter().map(|view| view.show(self.open)).collect(),
            artifacts: self.packages.iter().map(artifact).collect(),
            channel: self.publication.as_ref().map_or_else(String::new, |row| row.channel.clone()),
            revision: self.publication.as_ref().map_or(0, |row| row.revision),
            milestones: self.milestones(),
            cves: self.cves.clone(),
            warnings: self.warnings.clone(),
            notes: self.notes.clone(),
            priority: self.build.priority.clone(),
            arches: self.arches.iter().map(ToString::to_string).collect(),
            options: (!self.options.is_nothing()).then(|| shown_options(&self.options)),
            option_words: self.options.words(),
            kept_files: self.kept_files,
        }
    }
}

/// Options without the keys, which are long and say little.
fn shown_options(options: &BuildOptions) -> v1::BuildOptions {
    let mut shown = v1::BuildOptions::from(options);
    shown.repositories.iter_mut().for_each(|added| added.keys.clear());
    shown
}

impl TaskView {
    fn ended_us(&self) -> Option<i64> {
        Some(self.attempts.last()?.1.as_ref()?.at_us)
    }
}

async fn task_view(
    farm: &Farm,
    task: Task,
    phases: &HashMap<AttemptId, Phase>,
) -> Result<TaskView> {
    let attempts = farm.store.attempts(task.id).await?;
    let phase =
        attempts.last().and_then(|(attempt, _)| phases.get(&AttemptId(attempt.id)).copied());
    Ok(TaskView {
        lock: farm.store.lock(task.id).await?,
        acceptance: farm.store.acceptance(task.id).await?,
        late: farm.store.late_results(task.id).await?,
        attempts,
        phase,
        task,
    })
}

/// The repositories that are without the `noarch` packages of a build, by its SRPM's word.
fn kept_away(target: &Target, srpm: &Srpm, packages: &[SignedPackage]) -> Option<String> {
    let without = without_noarch(&srpm.terms);
    let without: Vec<&str> = target
        .arches
        .iter()
        .filter(|arch| without.contains(arch))
        .map(|arch| arch.as_str())
        .collect();
    let noarch: Vec<&str> = packages
        .iter()
        .map(|row| &row.package.nevra)
        .filter(|nevra| nevra.arch == NOARCH)
        .map(|nevra| nevra.name.as_str())
        .collect();
    (!without.is_empty() && !noarch.is_empty()).then(|| {
        format!(
            "{} (noarch): not in the repositories of {}, by ExclusiveArch or ExcludeArch of the SRPM",
            noarch.join(", "),
            without.join(", ")
        )
    })
}

/// One line of what a package lacks.
fn lacks(Lacking { nevra, arch, requirement }: &Lacking) -> String {
    match arch {
        Some(arch) => format!(
            "{nevra}: kept from the repositories of {arch}, where nobody provides `{requirement}`"
        ),
        None => format!(
            "{nevra}: nobody provides `{requirement}` on any architecture of the target; it is \
             published nevertheless"
        ),
    }
}

/// One line of a result that was not applied.
fn note(late: &LateResult) -> String {
    let LateResult { attempt, worker, said, .. } = late;
    format!("late result of attempt {attempt} on {worker} ({said}), not applied")
}

fn artifact(row: &SignedPackage) -> v1::Artifact {
    v1::Artifact {
        nevra: row.package.nevra.to_string(),
        digest: row.package.digest.hex(),
        size: row.package.size,
        signed_digest: row
            .signature
            .map_or_else(String::new, |signature| signature.signed_digest.hex()),
    }
}

/// The state of a build in the words of a filter: running, published, failed, cancelled.
#[must_use]
pub fn matches_filter(filter: &str, shown: &v1::Build) -> bool {
    let ended = ["published", "failed", "cancelled"].contains(&shown.state.as_str());
    filter.is_empty() || shown.state == filter || (filter == "running" && !ended)
}

/// What the store knows of builds in such a state.
#[must_use]
pub fn ended_of_filter(filter: &str) -> Ended {
    match filter {
        "" => Ended::Any,
        "published" => Ended::Published,
        "failed" | "cancelled" => Ended::Unpublished,
        _ => Ended::Open,
    }
}

/// The number of a build, typed.
#[must_use]
pub const fn id(shown: &v1::Build) -> BuildId {
    BuildId(shown.id)
}
