//! The engine: from an assignment and its lock to packages, or to a failure that says why.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::diagnosis::RunEnd;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::{Assignment, LogName, Phase, TaskInput, TaskKind};
use rpmfarm_core::terms::{self, AllTerms};
use rpmfarm_core::{Failure, FailureStage, Fault, Lock};

use super::caged::{CagedCommand, CagedRun};
use super::home::{build_directory, tampered};
use super::log::{LogFile, Observer};
use super::modify::{ModifiedFile, ModifiedSources};
use super::{home, kept_files, requires, results, script};
use crate::cages::cage::{Bind, BindSource};
use crate::cages::scratch::{Scratch, ScratchPool};
use crate::cages::{CageRunner, CancelFlag, CancelReason};
use crate::files::{FileSource, FilesError, WantedFile};
use crate::roots::{RootError, RootHandle, Roots};

/// Makes SRPMs and packages.
#[derive(Debug)]
pub struct Engine {
    pub sandbox: CageRunner,
    pub roots: Roots,
    pub scratch: ScratchPool,
    /// The number of processors that one build sees, and how they are limited.
    pub cpus: u32,
    /// Whether a build is limited to the time of its processors, or may use idle ones, too.
    pub cap_cpus: bool,
    /// The worker's data directory.
    pub data: PathBuf,
    /// How many MiB builds leave free there.
    pub reserve_mib: u64,
}

/// How a round of an attempt ended.
#[derive(Debug)]
pub enum FinishedBuild {
    Made(BuildOutput),
    /// `%generate_buildrequires` found requirements that the lock does not fulfil.
    NeedsRequires(Vec<String>),
    Failed(Failure),
    Cancelled(CancelReason),
}

/// The packages of an attempt, and the resources that it used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOutput {
    /// The packages; they lie in `results/` of the attempt's directory.
    pub files: Vec<ResultFile>,
    /// For an SRPM: names that its spec says its packages provide and obsolete.
    pub provides: Vec<String>,
    /// For an SRPM: names of the binary packages that its spec makes.
    pub predicts: Vec<String>,
    /// For an SRPM: what its spec says with other rpm targets.
    pub terms: AllTerms,
    /// How long rpmbuild itself ran, in milliseconds.
    pub rpmbuild_ms: u64,
    /// The peak memory use of its processes, in MiB; 0 when it was not measured.
    pub memory_mib: u64,
    /// The disk space that it used, in MiB; 0 when it was not measured.
    pub disk_mib: u64,
}

/// Ends a round early: [`FinishedBuild`] without the successful ends.
pub(super) enum EarlyEnd {
    Failed(Failure),
    Cancelled(CancelReason),
}

impl From<Failure> for EarlyEnd {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RootError> for EarlyEnd {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Cancelled(why) => Self::Cancelled(why),
            other => Self::Failed(other.failure()),
        }
    }
}

/// One round of an attempt.
pub struct RequiresRound<'a> {
    /// The attempt, with its input.
    pub assignment: &'a Assignment,
    pub lock: &'a Lock,
    /// The attempt's own directory, for logs and results.
    pub directory: &'a Path,
    /// The source of packages and sources.
    pub files: &'a dyn FileSource,
    /// Is notified of the attempt's progress.
    pub observer: &'a dyn Observer,
    pub cancel: &'a CancelFlag,
}

/// An error of the worker's own.
pub(super) fn worker(stage: FailureStage, what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(Fault::Worker, stage, format!("cannot {what}: {error}"))
}

impl Engine {
    /// Runs one round of an attempt to its end.
    pub fn run(&self, round: &RequiresRound<'_>) -> FinishedBuild {
        match self.try_run(round) {
            Ok(done) => done,
            Err(EarlyEnd::Failed(failure)) => FinishedBuild::Failed(failure),
            Err(EarlyEnd::Cancelled(why)) => FinishedBuild::Cancelled(why),
        }
    }

    fn try_run(&self, round: &RequiresRound<'_>) -> Result<FinishedBuild, EarlyEnd> {
        let RequiresRound { assignment, observer, .. } = *round;
        observer.phase(Phase::Fetch);
        let input = self.fetch_input(round)?;
        observer.phase(Phase::Root);
        let lease = self.root(round)?;
        let sources = self.sources(round, &lease, &input)?;
        let scratch = self
            .scratch
            .acquire(assignment.limits.disk_mib)
            .map_err(worker(FailureStage::Root, "make scratch space"))?;
        home::fill(scratch.path(), self.sandbox.uid_base(), assignment, &input, sources.as_ref())
            .map_err(worker(FailureStage::Root, "prepare the build directory"))?;
        observer.phase(match assignment.input {
            TaskInput::Sources { .. } => Phase::Srpm,
            TaskInput::Srpm { .. } => Phase::Prep,
        });
        let run = self.rpmbuild(round, &lease, &scratch, (&input, sources.as_ref()))?;
        let mut done = self.conclude(round, &scratch, &run)?;
        if let FinishedBuild::Failed(failure) = &mut done
            && let Some(warning) = lease.warnings.first()
        {
            // The warning may be the cause, which the build log does not show.
            failure.message.push_str(&format!("; when its root was made: {warning}"));
        }
        Ok(done)
    }

    /// Puts the spec and sources, or the SRPM, into the attempt's `input/`.
    fn fetch_input(&self, round: &RequiresRound<'_>) -> Result<PathBuf, EarlyEnd> {
        let into = round.directory.join("input");
        fs::create_dir_all(&into).map_err(worker(FailureStage::Fetch, "make a directory"))?;
        let files = round.assignment.input.files();
        let wanted: Vec<WantedFile> = files
            .map(|SourceFile { name, digest, size, .. }| WantedFile {
                digest: *digest,
                size: *size,
                name: name.clone(),
            })
            .collect();
        self.place(round, &wanted, &into)?;
        Ok(into)
    }

    /// Gets files by digest.
    pub(super) fn place(
        &self,
        round: &RequiresRound<'_>,
        wanted: &[WantedFile],
        into: &Path,
    ) -> Result<(), EarlyEnd> {
        round.files.place(wanted, into, round.cancel).map_err(|error| match error {
            FilesError::Cancelled(why) => EarlyEnd::Cancelled(why),
            FilesError::Fetch { fault, .. } => {
                EarlyEnd::Failed(Failure::new(fault, FailureStage::Fetch, error.to_string()))
            }
            FilesError::Local { .. } => EarlyEnd::Failed(Failure::new(
                Fault::Worker,
                FailureStage::Fetch,
                error.to_string(),
            )),
        })
    }

    /// Names of the spec and the sources, after the steps of the plan; `None` for a build from an
    /// SRPM.
    fn sources(
        &self,
        round: &RequiresRound<'_>,
        lease: &RootHandle,
        input: &Path,
    ) -> Result<Option<ModifiedSources>, EarlyEnd> {
        match &round.assignment.input {
            TaskInput::Srpm { .. } => Ok(None),
            TaskInput::Sources { plan: Some(plan), .. } => {
                self.carry_out(round, lease, input, &plan.name).map(Some)
            }
            TaskInput::Sources { spec, sources, plan: None, .. } => {
                let ready = |file: &SourceFile| ModifiedFile {
                    name: file.name.clone(),
                    executable: file.executable,
                };
                Ok(Some(ModifiedSources {
                    spec: ready(spec),
                    sources: sources.iter().map(ready).collect(),
                }))
            }
        }
    }

    fn root(&self, round: &RequiresRound<'_>) -> Result<RootHandle, EarlyEnd> {
        let mut log = LogFile::open(round.directory, LogName::Root)
            .map_err(worker(FailureStage::Root, "write the root's log"))?;
        Ok(self.roots.lend(round.lock, round.files, &mut log, round.cancel)?)
    }

    fn rpmbuild<'a>(
        &'a self,
        round: &RequiresRound<'a>,
        lease: &RootHandle,
        scratch: &'a Scratch,
        (input, sources): (&Path, Option<&ModifiedSources>),
    ) -> Result<CagedRun<'a>, EarlyEnd> {
        let assignment = round.assignment;
        let heading = lease
            .warnings
            .iter()
            .map(|warning| format!("rpmfarm: when the root was made: {warning}"));
        let command = CagedCommand {
            name: format!("build-{}-{}", assignment.attempt, assignment.epoch),
            stage: FailureStage::Build,
            heading: heading.collect(),
            binds: vec![Bind {
                source: BindSource::Directory(input.to_path_buf()),
                target: PathBuf::from("/builddir/input"),
                writable: false,
            }],
            command: rpmbuild_command(assignment, sources),
            directory: PathBuf::from("/builddir"),
            environment: match assignment.kind() {
                TaskKind::Srpm => script::srpm_environment(),
                _ => vec![("RPM_BUILD_NCPUS".into(), self.cpus.to_string())],
            },
            allow: assignment.allow.clone(),
        };
        self.run_caged(round, lease, scratch, command)
    }

    fn conclude(
        &self,
        round: &RequiresRound<'_>,
        scratch: &Scratch,
        run: &CagedRun<'_>,
    ) -> Result<FinishedBuild, EarlyEnd> {
        let Some(ending) = run.failed else {
            let mut made = self.collect(round, scratch)?;
            made.memory_mib = run.memory_used().div_ceil(1 << 20);
            let limit = round.assignment.limits.disk_mib;
            made.disk_mib = scratch.free_mib().map_or(0, |free| limit.saturating_sub(free));
            return Ok(FinishedBuild::Made(made));
        };
        if ending == RunEnd::Status(UNMET)
            && let Some(requires) = unmet(round, scratch.path())?
        {
            return Ok(FinishedBuild::NeedsRequires(requires));
        }
        let evidence = run.evidence(ending);
        // An error of the disk here must not hide the failure.
        if let Err(error) =
            kept_files::collect(scratch.path(), &round.assignment.keep, round.directory)
        {
            tracing::warn!(%error, "files of the failed build are not kept");
        }
        Ok(FinishedBuild::Failed(run.diagnose(&evidence)))
    }

    fn collect(
        &self,
        round: &RequiresRound<'_>,
        scratch: &Scratch,
    ) -> Result<BuildOutput, Failure> {
        let build = build_directory(scratch.path())?;
        let (directory, kind) = match round.assignment.input {
            TaskInput::Sources { .. } => ("SRPMS", ResultKind::Srpm),
            TaskInput::Srpm { .. } => ("RPMS", ResultKind::Rpm),
        };
        let from = build.directory(directory).map_err(tampered)?;
        let into = round.directory.join("results");
        let files = results::collect(&from, kind, &into, round.assignment.limits.results_mib)?;
        let text = |name: &str| build.text(name, 1 << 20);
        let (predicts, provides, said) = match kind {
            ResultKind::Srpm => (
                names(&text(script::PREDICTS).map_err(tampered)?),
                names(&text(script::PROVIDES).map_err(tampered)?),
                build.text(script::TERMS, 16 << 20).map_err(tampered)?,
            ),
            ResultKind::Rpm => Default::default(),
        };
        let rpmbuild_ms = script::elapsed_ms(&text(script::TIMES).unwrap_or_default());
        let terms = terms::parse(&said);
        Ok(BuildOutput { files, predicts, provides, terms, rpmbuild_ms, ..BuildOutput::default() })
    }
}

/// The command in the cage: rpmbuild on the spec, whose name the modifications may have changed, or
/// on the SRPM.
fn rpmbuild_command(assignment: &Assignment, sources: Option<&ModifiedSources>) -> Vec<String> {
    match (&assignment.input, sources) {
        (TaskInput::Srpm { file, .. }, _) => {
            let target = assignment.kind().rpm_target(assignment.arch);
            script::build(target, &file.name, assignment.nocheck)
        }
        (TaskInput::Sources { arches, .. }, Some(ModifiedSources { spec, .. })) => {
            script::srpm(assignment.arch, &spec.name, arches)
        }
        (TaskInput::Sources { spec, arches, .. }, None) => {
            script::srpm(assignment.arch, &spec.name, arches)
        }
    }
}

/// rpmbuild's exit status when requirements are missing, dynamic ones or others.
const UNMET: u8 = 11;

/// The requirements that a build lacks: those that `%generate_buildrequires` found, or, once, those
/// of the spec on this architecture.
fn unmet(round: &RequiresRound<'_>, scratch: &Path) -> Result<Option<Vec<String>>, Failure> {
    if let Some(found) = dynamic_requires(scratch)? {
        return Ok(Some(found));
    }
    if round.assignment.round > 0 {
        return Ok(None);
    }
    let text = build_directory(scratch)?.text(script::REQUIRES, 1 << 20).unwrap_or_default();
    let all: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("rpmlib("))
        .map(str::to_owned)
        .collect();
    Ok((!all.is_empty()).then_some(all))
}

fn dynamic_requires(scratch: &Path) -> Result<Option<Vec<String>>, Failure> {
    let srpms = build_directory(scratch)?.directory("SRPMS").map_err(tampered)?;
    requires::read(&srpms).map_err(|error| {
        let message = format!("the list of generated build requirements is refused: {error}");
        Failure::new(Fault::Package, FailureStage::Requires, message)
    })
}

/// The names in rpm's answer, each once, in its order. rpm writes `(none)` for a list that is
/// empty.
fn names(answer: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = answer.lines().filter(|line| !line.is_empty() && *line != "(none)");
    names.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
}
