//! Builds in the form of the API, composed from facts.

use std::collections::{BTreeMap, HashMap};

use rpmfarm_core::missing_requirements::LackingPackage;
use rpmfarm_core::name::counted;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::status::{
    BuildFacts, BuildState, LastAttempt, StateFilter, TaskFacts, TaskState, derive, task_state,
};
use rpmfarm_core::task::{Outcome, Phase, TaskKind};
use rpmfarm_core::terms::without_noarch;
use rpmfarm_core::track::{check_newer, superseded};
use rpmfarm_core::why::held_by_pause;
use rpmfarm_core::{AttemptId, BuildId, BuildOptions, Evr, Failure, Nevra, Target, Timestamp};
use rpmfarm_proto::v1;

use super::{count, us};
use crate::claims;
use crate::clock;
use crate::commands;
use crate::fleet::Fleet;
use crate::snapshots::WaitReasons;
use crate::store::{
    Build, BuildDetailRows, BuildEnd, ClaimDecision, EndedFilter, FailureRow,
    FarmReplacementDetail, FarmReplacementRow, LateResult, PublishedEvr, SignedPackage,
    SrpmDetailRow, Store, StoreError, TaskDetailRows,
};
use crate::targets::Targets;

type Result<T> = std::result::Result<T, StoreError>;

/// Composes the API's view of builds. Cheap to clone.
#[derive(Clone)]
pub struct Views {
    pub store: Store,
    /// Channels and keys of targets.
    pub targets: Targets,
    /// The phases of running attempts.
    pub fleet: Fleet,
    pub reasons: WaitReasons,
}

/// A build as it is shown, and its attempts that run: their phases are not in the database.
pub(super) struct LiveView {
    pub(super) shown: v1::Build,
    pub(super) running: Vec<AttemptId>,
}

impl Views {
    /// One build with all its facts.
    pub async fn build(&self, build: &Build) -> Result<v1::Build> {
        let mut shown = self.builds(std::slice::from_ref(build)).await?;
        Ok(shown.pop().expect("each build is shown"))
    }

    /// Builds with all their facts, in their order. However many there are, each kind of fact is
    /// queried once.
    pub async fn builds(&self, builds: &[Build]) -> Result<Vec<v1::Build>> {
        let facts = BuildDetails::load(self, builds).await?;
        Ok(facts.iter().map(BuildDetails::show).collect())
    }

    /// The same for followers.
    pub(super) async fn live_builds(&self, builds: &[Build]) -> Result<Vec<LiveView>> {
        let facts = BuildDetails::load(self, builds).await?;
        let live = |facts: &BuildDetails<'_>| LiveView {
            shown: facts.show(),
            running: facts.tasks.iter().filter_map(TaskView::running).collect(),
        };
        Ok(facts.iter().map(live).collect())
    }
}

/// The facts from which the view of a build is composed.
struct BuildDetails<'a> {
    build: &'a Build,
    stored: BuildDetailRows,
    tasks: Vec<TaskView>,
    packages: Vec<SignedPackage>,
    signed_at: Option<Timestamp>,
    waits: String,
    warnings: Vec<String>,
    notes: Vec<String>,
    now: Timestamp,
}

struct TaskView {
    stored: TaskDetailRows,
    phase: Option<Phase>,
}

/// The state of a build. `signed` is whether all its packages are signed.
#[must_use]
pub fn state<'a>(
    stored: &BuildDetailRows,
    tasks: impl IntoIterator<Item = &'a TaskDetailRows>,
    signed: bool,
) -> BuildState {
    let builds = tasks.into_iter().filter(|shown| shown.task.kind.is_build());
    let tasks: Vec<TaskFacts> = builds.map(task_facts).collect();
    derive(&BuildFacts {
        cancelled: stored.cancelled_at > stored.retried_at,
        failed: final_failure(stored).is_some(),
        imported: stored.import.is_some(),
        srpm: stored.srpm.is_some(),
        tasks: &tasks,
        claimed: stored.is_claimed(),
        signed,
        published: stored.publication.is_some(),
    })
}

fn task_facts(shown: &TaskDetailRows) -> TaskFacts {
    let TaskDetailRows { lock, attempts, acceptance, .. } = shown;
    let last = match attempts.last() {
        None => LastAttempt::Missing,
        Some((_, None)) => LastAttempt::Running,
        Some((_, Some(end))) => LastAttempt::ended(end.outcome.as_ref()),
    };
    TaskFacts::new(lock.is_some(), last, acceptance.is_some())
}

/// Whether a build in this state waits for something to begin.
const fn has_to_begin(state: BuildState) -> bool {
    use BuildState::{Importing, Queued, Srpm, Waiting};
    matches!(state, Importing | Srpm | Waiting | Queued)
}

/// The failure that ended a build.
fn final_failure(stored: &BuildDetailRows) -> Option<&FailureRow> {
    stored.failures.iter().rev().find(|row| row.retry.is_none() && !stored.open)
}

impl TaskView {
    fn new(stored: TaskDetailRows, phases: &HashMap<AttemptId, Phase>) -> Self {
        let last = stored.attempts.last();
        let phase = last.and_then(|(attempt, _)| phases.get(&attempt.id).copied());
        Self { stored, phase }
    }

    /// Its attempt that runs.
    fn running(&self) -> Option<AttemptId> {
        let (attempt, end) = self.stored.attempts.last()?;
        end.is_none().then_some(attempt.id)
    }

    /// The state of a task; `open` is whether its build has not ended.
    fn state(&self, open: bool) -> TaskState {
        task_state(&task_facts(&self.stored), self.failure().is_some(), open)
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.stored.attempts.last()?.1.as_ref()?.outcome {
            Some(Outcome::Failed(failure)) => Some(failure),
            _ => None,
        }
    }

    fn show(&self, open: bool) -> v1::Task {
        let state = self.state(open);
        let phase = self.phase.filter(|_| state == TaskState::Running);
        let TaskDetailRows { task, lock, attempts, acceptance, late } = &self.stored;
        let last = attempts.last();
        let ended = last.and_then(|(_, end)| end.as_ref()).map(|end| end.at);
        v1::Task {
            id: task.id.0,
            kind: task.kind.to_string(),
            arch: task.arch.to_string(),
            state: state.to_string(),
            typed_state: v1::TaskState::from(state).into(),
            phase: phase.map_or("", Phase::as_str).into(),
            typed_phase: phase.map_or(v1::Phase::Unspecified, v1::Phase::from).into(),
            worker: last.map_or_else(String::new, |(attempt, _)| attempt.worker.clone()),
            started_us: us(last.map(|(attempt, _)| attempt.started)),
            ended_us: us(ended),
            attempts: count(attempts.len()),
            failure: self.failure().filter(|_| acceptance.is_none()).map(Into::into),
            rpmbuild_ms: acceptance.map_or(0, |(_, ms, _)| ms),
            lock: lock.map_or_else(String::new, |lock| lock.digest.hex()),
            notes: late.iter().map(note).collect(),
        }
    }
}

impl<'a> BuildDetails<'a> {
    async fn load(views: &Views, builds: &'a [Build]) -> Result<Vec<Self>> {
        let store = &views.store;
        let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
        let mut stored = store.build_list_details(&ids).await?;
        let published = store.channel_list_evrs_of_builds(&ids).await?;
        let phases = views.fleet.phases();
        let (mut packages, mut signed) = (HashMap::new(), HashMap::new());
        let mut by_target = BTreeMap::<&str, Vec<BuildId>>::new();
        for build in builds {
            by_target.entry(&build.target).or_default().push(build.id);
        }
        let mut targets = HashMap::new();
        for (name, ids) in by_target {
            let target = views.targets.get(name);
            if let Ok(target) = &target {
                targets.insert(name, target.clone());
            }
            let key = target.map(|target| target.signing_key.clone()).unwrap_or_default();
            packages.extend(store.package_list_of_builds(name, &ids, &key).await?);
            signed.extend(store.build_list_signed_at(&ids, &key).await?);
        }
        let open = ids.iter().filter(|id| stored.get(*id).is_some_and(|build| build.open));
        let mut waits = views.reasons.of_each(store, &open.copied().collect::<Vec<_>>()).await?;
        let now = clock::now();
        let facts = builds.iter().map(|build| {
            let mut stored = stored.remove(&build.id).unwrap_or_default();
            let tasks = std::mem::take(&mut stored.tasks);
            let packages = packages.remove(&build.id).unwrap_or_default();
            let target = targets.get(build.target.as_str());
            let channel = target.map(|target| target.first_channel());
            let mut warned = std::mem::take(&mut stored.source_notes);
            warned.extend(warnings(build, &stored, &published, channel));
            let mut notes = std::mem::take(&mut stored.notes);
            notes.extend(names(build, &stored));
            if let (Some(target), Some(srpm)) = (target, &stored.srpm) {
                notes.extend(kept_away(target, srpm, &packages));
            }
            notes.extend(stored.lacking.iter().map(lacks));
            notes.extend(stored.unplaced.iter().map(is_in_no_repository));
            Self {
                build,
                warnings: warned,
                notes,
                tasks: tasks.into_iter().map(|task| TaskView::new(task, &phases)).collect(),
                packages,
                signed_at: signed.remove(&build.id),
                waits: waits.remove(&build.id).unwrap_or_default(),
                stored,
                now,
            }
        });
        Ok(facts.collect())
    }

    fn state(&self) -> BuildState {
        let tasks = self.tasks.iter().map(|view| &view.stored);
        state(&self.stored, tasks, self.is_signed())
    }

    /// Whether all its packages are signed; true when it has none.
    fn is_signed(&self) -> bool {
        self.packages.iter().all(|package| package.signature.is_some())
    }

    fn ended_at(&self, state: BuildState) -> Option<Timestamp> {
        match state {
            BuildState::Published => self.stored.publication.as_ref().map(|row| row.at),
            BuildState::Failed => final_failure(&self.stored).map(|row| row.at),
            BuildState::Cancelled => self.stored.cancelled_at,
            _ => None,
        }
    }

    /// When the last try began: by a call, or by itself after a failure. `None` when there was only
    /// one try.
    fn retried_at(&self) -> Option<Timestamp> {
        let by_itself = self.stored.failures.iter().filter_map(|row| row.retry);
        let begun = by_itself.filter(|at| *at <= self.now);
        begun.max().max(self.stored.retried_at)
    }

    /// Why the build waits, or why it failed.
    fn reason(&self, state: BuildState) -> String {
        if state == BuildState::Published || state == BuildState::Cancelled {
            return String::new();
        }
        match self.stored.failures.last() {
            Some(row) if row.retry.is_some() && self.stored.open => {
                format!("will be tried again after: {}", row.failure)
            }
            Some(row) if !self.stored.open => row.failure.to_string(),
            _ if state == BuildState::Claimed => claims::reason(self.build.id, &self.stored.claims),
            _ if self.stored.paused && has_to_begin(state) => held_by_pause(self.build.batch),
            _ => self.waits.clone(),
        }
    }

    /// Its packages, including withdrawn ones.
    fn artifacts(&self) -> Vec<v1::Artifact> {
        let away = self.stored.withdrawn.iter().map(|row| v1::Artifact {
            nevra: row.nevra.to_string(),
            digest: row.digest.hex(),
            size: row.size,
            signed_digest: String::new(),
            withdrawn: format!("by {}: {}", row.who, row.reason),
        });
        let mut all: Vec<v1::Artifact> = self.packages.iter().map(artifact).chain(away).collect();
        all.sort_by(|a, b| a.nevra.cmp(&b.nevra));
        all
    }

    fn milestones(&self) -> Vec<v1::Milestone> {
        let mut all = Vec::new();
        let mut add = |stage: Milestone, at: Option<Timestamp>| {
            all.extend(at.map(|at| v1::Milestone::new(stage, at)));
        };
        let accepted = |builds: bool| {
            let mut of_kind =
                self.tasks.iter().filter(move |view| view.kind().is_build() == builds).peekable();
            of_kind.peek()?;
            of_kind
                .map(|view| view.stored.acceptance.map(|(_, _, at)| at))
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .max()
        };
        let builds = || self.tasks.iter().filter(|view| view.kind().is_build());
        add(Milestone::Import, self.stored.import.as_ref().map(|import| import.at));
        add(Milestone::Srpm, accepted(false));
        add(
            Milestone::Resolve,
            builds().filter_map(|view| view.stored.lock.map(|lock| lock.at)).max(),
        );
        add(
            Milestone::Dispatch,
            builds().filter_map(|view| Some(view.stored.attempts.last()?.0.started)).max(),
        );
        add(Milestone::Build, accepted(true).and(builds().filter_map(TaskView::ended_at).max()));
        add(Milestone::Accept, accepted(true));
        let signed = !self.packages.is_empty() && self.is_signed();
        add(Milestone::Sign, self.signed_at.filter(|_| signed && accepted(true).is_some()));
        add(Milestone::Publish, self.stored.publication.as_ref().map(|row| row.at));
        all
    }

    fn show(&self) -> v1::Build {
        let state = self.state();
        let failure = match state {
            BuildState::Failed => final_failure(&self.stored).map(|row| (&row.failure).into()),
            _ => None,
        };
        v1::Build {
            id: self.build.id.0,
            target: self.build.target.clone(),
            package: self.build.package.clone(),
            git_ref: self.build.git_ref.clone(),
            batch: self.build.batch.0,
            submitter: self.build.submitter.clone(),
            created_us: self.build.created.as_us(),
            state: state.to_string(),
            typed_state: v1::BuildState::from(state).into(),
            ended_us: us(self.ended_at(state)),
            reason: self.reason(state),
            failure,
            commit: self.stored.import.as_ref().map_or_else(String::new, |row| row.commit.clone()),
            srpm: self.stored.srpm.as_ref().map_or_else(String::new, |row| row.nevra.to_string()),
            tasks: self.tasks.iter().map(|view| view.show(self.stored.open)).collect(),
            artifacts: self.artifacts(),
            from_farm: self.stored.taken.iter().map(taken).collect(),
            channel: self
                .stored
                .publication
                .as_ref()
                .map_or_else(String::new, |row| row.channel.clone()),
            revision: self.stored.publication.as_ref().map_or(0, |row| row.revision),
            milestones: self.milestones(),
            cves: self.stored.cves.clone(),
            warnings: self.warnings.clone(),
            notes: self.notes.clone(),
            priority: self.build.priority.clone(),
            arches: self.stored.arches.iter().map(ToString::to_string).collect(),
            options: (!self.stored.options.is_nothing())
                .then(|| shown_options(&self.stored.options)),
            option_words: commands::option_words(&self.stored.options),
            kept_files: self.stored.kept_files,
            retried_us: us(self.retried_at()),
        }
    }
}

/// The options without the keys, which are too long to show.
fn shown_options(options: &BuildOptions) -> v1::BuildOptions {
    let mut shown = v1::BuildOptions::from(options);
    shown.repositories.iter_mut().for_each(|added| added.keys.clear());
    shown
}

impl TaskView {
    const fn kind(&self) -> TaskKind {
        self.stored.task.kind
    }

    fn ended_at(&self) -> Option<Timestamp> {
        Some(self.stored.attempts.last()?.1.as_ref()?.at)
    }
}

/// Warnings for the requester of a build: that clients would not update to it, or that a newer one
/// is shown in its place.
fn warnings(
    build: &Build,
    stored: &BuildDetailRows,
    published: &[PublishedEvr],
    channel: Option<&str>,
) -> Vec<String> {
    let Some(srpm) = &stored.srpm else { return Vec::new() };
    // The build's own publication is no reason to warn: facts that are read one after the other may
    // show it both as open and as published.
    let beside = |in_channel: &str| -> Vec<Evr> {
        let is_beside = |(target, channel, package, other, _): &&PublishedEvr| {
            *target == build.target
                && channel == in_channel
                && *package == build.package
                && *other != build.id
        };
        published.iter().filter(is_beside).map(|(.., evr)| evr.clone()).collect()
    };
    if let Some(shown) = &stored.publication {
        let all = beside(&shown.channel);
        return superseded(&build.package, &srpm.nevra.evr, all, &shown.channel)
            .into_iter()
            .collect();
    }
    match channel {
        Some(channel) if stored.open => {
            let checked = check_newer(&build.package, &srpm.nevra.evr, beside(channel), channel);
            checked.err().as_ref().map(commands::not_newer).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Notes on the repositories that leave out the `noarch` packages of a build, because of its SRPM's
/// architectures.
fn kept_away(target: &Target, srpm: &SrpmDetailRow, packages: &[SignedPackage]) -> Option<String> {
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

/// One line about a requirement that a package lacks.
fn lacks(LackingPackage { nevra, arch, requirement }: &LackingPackage) -> String {
    match arch {
        Some(arch) => format!(
            "{nevra}: left out of the repositories of {arch}, where no package provides `{requirement}`"
        ),
        None => format!(
            "{nevra}: no package provides `{requirement}` on any architecture of the target; it is \
             published anyway"
        ),
    }
}

/// One line about a package that no rule of its target names.
fn is_in_no_repository((nevra, channel): &(Nevra, String)) -> String {
    format!(
        "{nevra}: in no repository of {channel}, because no rule names it; add it to \
         [[published_repositories]] of the target"
    )
}

/// One line about a result that was not applied.
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
        withdrawn: String::new(),
    }
}

/// `gcc-14-1.x86_64 (build 12) instead of gcc-13-1.x86_64 of appstream`.
fn taken(package: &FarmReplacementDetail) -> String {
    let FarmReplacementDetail { row: FarmReplacementRow { package, instead, repository }, build } =
        package;
    let by = build.map_or_else(String::new, |build| format!(" (build {build})"));
    match instead {
        Some(instead) => format!("{package}{by} instead of {instead} of {repository}"),
        None => format!("{package}{by}, which no other repository has"),
    }
}

/// Notes on a build's claims, on its withdrawn packages, and on withdrawn packages that it was made
/// with.
fn names(build: &Build, stored: &BuildDetailRows) -> Vec<String> {
    let mut lines = Vec::new();
    for ClaimDecision { word, who, reason, .. } in &stored.decisions {
        let claims = stored.claims.len();
        let what =
            if claims == 1 { "its claim".to_owned() } else { format!("its {claims} claims") };
        lines.push(format!("{who} {word} {what}: {reason} (rpmfarm claim show {})", build.id));
    }
    let mut seen = std::collections::BTreeSet::new();
    for row in &stored.withdrawn {
        if seen.insert((row.at, &row.who)) {
            let count = stored.withdrawn.iter().filter(|one| one.at == row.at).count();
            lines.push(format!(
                "withdrawn by {}: {} ({}; rpmfarm package impact {})",
                row.who,
                row.reason,
                counted(count, "package"),
                build.id
            ));
        }
    }
    for (nevra, through) in &stored.impacts {
        lines.push(match through {
            None => format!("made with {nevra}, which was withdrawn"),
            Some(build) => format!(
                "made with {nevra} of build {build}, which was made with withdrawn packages"
            ),
        });
    }
    lines
}

/// Whether a build matches a filter.
#[must_use]
pub fn matches_filter(filter: StateFilter, shown: &v1::Build) -> bool {
    shown.known_state().is_some_and(|state| filter.admits(state))
}

/// The store's filter for builds that may be in such a state.
#[must_use]
pub fn ended_of_filter(filter: StateFilter) -> EndedFilter {
    match filter {
        StateFilter::Any => EndedFilter::Any,
        StateFilter::In(state) => match BuildEnd::of(state) {
            Some(end) => EndedFilter::Ended(end),
            None => EndedFilter::Open,
        },
        StateFilter::Running => EndedFilter::Open,
    }
}

/// The number of a build, typed.
#[must_use]
pub const fn id(shown: &v1::Build) -> BuildId {
    BuildId(shown.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: i64) -> Build {
        Build {
            id: BuildId(id),
            batch: rpmfarm_core::BatchId(1),
            target: "lab".into(),
            package: "hello".into(),
            git_ref: String::new(),
            submitter: "ann".into(),
            created: Timestamp::ZERO,
            priority: "interactive".into(),
        }
    }

    fn brought(build: i64, channel: &str, evr: &str) -> PublishedEvr {
        let evr = evr.parse::<rpmfarm_core::Nevra>().unwrap().evr;
        ("lab".into(), channel.into(), "hello".into(), BuildId(build), evr)
    }

    #[test]
    fn nobody_is_warned_of_a_builds_own_publication() {
        let nevra = "hello-2-1.src".parse().unwrap();
        let srpm = Some(SrpmDetailRow { nevra, terms: Default::default() });
        // Facts that were read while it was published: still open, and in the channel already.
        let open = BuildDetailRows { srpm, open: true, ..BuildDetailRows::default() };
        let warnings_of =
            |published: &[PublishedEvr]| warnings(&build(7), &open, published, Some("testing"));
        assert_eq!(warnings_of(&[brought(7, "testing", "hello-2-1.src")]), [""; 0]);
        let other = [brought(6, "testing", "hello-2-1.src")];
        assert!(warnings_of(&other)[0].contains("the same as"), "{:?}", warnings_of(&other));
        // Packages of other channels do not matter.
        assert_eq!(warnings_of(&[brought(6, "stable", "hello-3-1.src")]), [""; 0]);
    }
}
