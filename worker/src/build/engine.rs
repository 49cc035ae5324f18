//! The engine: from an assignment and its lock to packages, or to a failure that says why.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::diagnosis::Ending;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::{Assignment, Input, LogName, Phase, TaskKind};
use rpmfarm_core::terms::{self, AllTerms};
use rpmfarm_core::{Failure, FailureStage, Fault, Lock};

use super::caged::{CagedCommand, CagedRun};
use super::home::{build_directory, tampered};
use super::log::{LogFile, Observer};
use super::modify::{Ready, ReadyFile};
use super::{home, kept, requires, results, script};
use crate::files::{Files, FilesError, Wanted};
use crate::roots::{Lease, RootError, Roots};
use crate::sandbox::cage::{Bind, Source};
use crate::sandbox::scratch::{Scratch, ScratchPool};
use crate::sandbox::{Cancel, Sandbox, Why};

/// Makes SRPMs and packages.
#[derive(Debug)]
pub struct Engine {
    /// Where builds run.
    pub sandbox: Sandbox,
    /// Their roots.
    pub roots: Roots,
    /// Their disk space.
    pub scratch: ScratchPool,
    /// Processors that one build is told of, and how it is held to them.
    pub cpus: u32,
    /// Whether a build is held to its processors' worth of time, or may use what is idle.
    pub cap_cpus: bool,
    /// The worker's data directory.
    pub data: PathBuf,
    /// MiB that builds leave free there.
    pub reserve_mib: u64,
}

/// How a round of an attempt ended.
#[derive(Debug)]
pub enum Done {
    /// With packages.
    Made(Made),
    /// `%generate_buildrequires` asks for more than the lock has.
    NeedsRequires(Vec<String>),
    /// With a failure.
    Failed(Failure),
    /// It was cancelled.
    Cancelled(Why),
}

/// What an attempt made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The packages; they lie in `results/` of the attempt's directory.
    pub files: Vec<ResultFile>,
    /// For an SRPM: names of what its spec says that its packages provide and obsolete.
    pub provides: Vec<String>,
    /// For an SRPM: names of the binary packages that its spec makes.
    pub predicts: Vec<String>,
    /// For an SRPM: what its spec says with other targets of rpm.
    pub terms: AllTerms,
    /// How long rpmbuild itself ran, in milliseconds.
    pub rpmbuild_ms: u64,
    /// The most memory that its processes had at once, in MiB; 0 when it was not seen.
    pub memory_mib: u64,
    /// The disk that it took, in MiB; 0 when nothing tells.
    pub disk_mib: u64,
}

/// Ends a round early; [`Done`] without the good ends.
pub(super) enum Early {
    Failed(Failure),
    Cancelled(Why),
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RootError> for Early {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Cancelled(why) => Self::Cancelled(why),
            other => Self::Failed(other.failure()),
        }
    }
}

/// One round of an attempt.
pub struct Round<'a> {
    /// What is asked for.
    pub assignment: &'a Assignment,
    /// Its lock.
    pub lock: &'a Lock,
    /// The attempt's own directory, for logs and results.
    pub directory: &'a Path,
    /// Gives packages and sources.
    pub files: &'a dyn Files,
    /// Is told how far it is.
    pub observer: &'a dyn Observer,
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// An error of the worker's own.
pub(super) fn worker(stage: FailureStage, what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(Fault::Worker, stage, format!("cannot {what}: {error}"))
}

impl Engine {
    /// Runs one round of an attempt to its end.
    pub fn run(&self, round: &Round<'_>) -> Done {
        match self.try_run(round) {
            Ok(done) => done,
            Err(Early::Failed(failure)) => Done::Failed(failure),
            Err(Early::Cancelled(why)) => Done::Cancelled(why),
        }
    }

    fn try_run(&self, round: &Round<'_>) -> Result<Done, Early> {
        let Round { assignment, observer, .. } = *round;
        observer.phase(Phase::Fetch);
        let input = self.fetch_input(round)?;
        observer.phase(Phase::Root);
        let lease = self.root(round)?;
        let sources = self.sources(round, &lease, &input)?;
        let scratch = self
            .scratch
            .take(assignment.limits.disk_mib)
            .map_err(worker(FailureStage::Root, "make scratch space"))?;
        home::fill(scratch.path(), self.sandbox.uid_base(), assignment, &input, sources.as_ref())
            .map_err(worker(FailureStage::Root, "prepare the build directory"))?;
        observer.phase(match assignment.input {
            Input::Sources { .. } => Phase::Srpm,
            Input::Srpm { .. } => Phase::Prep,
        });
        let run = self.rpmbuild(round, &lease, &scratch, (&input, sources.as_ref()))?;
        let mut done = self.conclude(round, &scratch, &run)?;
        if let Done::Failed(failure) = &mut done
            && let Some(warning) = lease.warnings.first()
        {
            // It may well be the cause, which the build log does not say.
            failure.message.push_str(&format!("; when its root was made: {warning}"));
        }
        Ok(done)
    }

    /// Puts the spec and sources, or the SRPM, into the attempt's `input/`.
    fn fetch_input(&self, round: &Round<'_>) -> Result<PathBuf, Early> {
        let into = round.directory.join("input");
        fs::create_dir_all(&into).map_err(worker(FailureStage::Fetch, "make a directory"))?;
        let files = round.assignment.input.files();
        let wanted: Vec<Wanted> = files
            .map(|SourceFile { name, digest, size, .. }| Wanted {
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
        round: &Round<'_>,
        wanted: &[Wanted],
        into: &Path,
    ) -> Result<(), Early> {
        round.files.place(wanted, into, round.cancel).map_err(|error| match error {
            FilesError::Cancelled(why) => Early::Cancelled(why),
            FilesError::Fetch { fault, .. } => {
                Early::Failed(Failure::new(fault, FailureStage::Fetch, error.to_string()))
            }
            FilesError::Local { .. } => {
                Early::Failed(Failure::new(Fault::Worker, FailureStage::Fetch, error.to_string()))
            }
        })
    }

    /// Names of the spec and the sources, after what is planned for them has been done; nothing
    /// for a build from an SRPM.
    fn sources(
        &self,
        round: &Round<'_>,
        lease: &Lease,
        input: &Path,
    ) -> Result<Option<Ready>, Early> {
        match &round.assignment.input {
            Input::Srpm { .. } => Ok(None),
            Input::Sources { plan: Some(plan), .. } => {
                self.carry_out(round, lease, input, &plan.name).map(Some)
            }
            Input::Sources { spec, sources, plan: None, .. } => {
                let ready = |file: &SourceFile| ReadyFile {
                    name: file.name.clone(),
                    executable: file.executable,
                };
                Ok(Some(Ready { spec: ready(spec), sources: sources.iter().map(ready).collect() }))
            }
        }
    }

    fn root(&self, round: &Round<'_>) -> Result<Lease, Early> {
        let mut log = LogFile::open(round.directory, LogName::Root)
            .map_err(worker(FailureStage::Root, "write the root's log"))?;
        Ok(self.roots.lend(round.lock, round.files, &mut log, round.cancel)?)
    }

    fn rpmbuild<'a>(
        &'a self,
        round: &Round<'a>,
        lease: &Lease,
        scratch: &'a Scratch,
        (input, sources): (&Path, Option<&Ready>),
    ) -> Result<CagedRun<'a>, Early> {
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
                source: Source::Directory(input.to_path_buf()),
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
        round: &Round<'_>,
        scratch: &Scratch,
        run: &CagedRun<'_>,
    ) -> Result<Done, Early> {
        let Some(ending) = run.failed else {
            let mut made = self.collect(round, scratch)?;
            made.memory_mib = run.memory_used().div_ceil(1 << 20);
            let limit = round.assignment.limits.disk_mib;
            made.disk_mib = scratch.free_mib().map_or(0, |free| limit.saturating_sub(free));
            return Ok(Done::Made(made));
        };
        if ending == Ending::Status(UNMET)
            && let Some(requires) = unmet(round, scratch.path())?
        {
            return Ok(Done::NeedsRequires(requires));
        }
        let evidence = run.evidence(ending);
        // That a disk fails here takes nothing from what is known of the failure.
        if let Err(error) = kept::collect(scratch.path(), &round.assignment.keep, round.directory) {
            tracing::warn!(%error, "files of the failed build are not kept");
        }
        Ok(Done::Failed(run.diagnose(&evidence)))
    }

    fn collect(&self, round: &Round<'_>, scratch: &Scratch) -> Result<Made, Failure> {
        let build = build_directory(scratch.path())?;
        let (directory, kind) = match round.assignment.input {
            Input::Sources { .. } => ("SRPMS", ResultKind::Srpm),
            Input::Srpm { .. } => ("RPMS", ResultKind::Rpm),
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
        Ok(Made { files, predicts, provides, terms, rpmbuild_ms, ..Made::default() })
    }
}

/// What runs in the cage: rpmbuild on the spec, whose name the modifications may have changed, or on
/// the SRPM.
fn rpmbuild_command(assignment: &Assignment, sources: Option<&Ready>) -> Vec<String> {
    match (&assignment.input, sources) {
        (Input::Srpm { file, .. }, _) => {
            let target = assignment.kind().rpm_target(assignment.arch);
            script::build(target, &file.name, assignment.nocheck)
        }
        (Input::Sources { arches, .. }, Some(Ready { spec, .. })) => {
            script::srpm(assignment.arch, &spec.name, arches)
        }
        (Input::Sources { spec, arches, .. }, None) => {
            script::srpm(assignment.arch, &spec.name, arches)
        }
    }
}

/// What rpmbuild exits with when requirements are missing, dynamic ones or others.
const UNMET: u8 = 11;

/// What a build that lacks something asks for: what `%generate_buildrequires` found, or, once,
/// what the spec requires on this architecture.
fn unmet(round: &Round<'_>, scratch: &Path) -> Result<Option<Vec<String>>, Failure> {
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

/// The names in rpm's answer, each once, in its order. rpm writes `(none)` for a list that is empty.
fn names(answer: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = answer.lines().filter(|line| !line.is_empty() && *line != "(none)");
    names.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
}
