//! The coordinator's side of a solver: starting it, asking it, and reporting how it ended.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpmfarm_core::owners::{KnownOwners, OwnerQuery};
use rpmfarm_core::{Lock, Nevra};
use rpmfarm_solv::Repository;

use super::super::lock::{FarmReplacement, Requirements};
use super::super::metadata::RepoMetadata;
use super::super::pools::{MAX_ADDITIONS, PoolContent, PoolStats, PoolsError};
use super::super::proof::{ContentFindings, ContentProof};
use super::wire::{SolverRequest, SolverResponse, SolverSetup, SolverTask, read, write};
use super::{ARGUMENT, child};

/// How long a process whose pipes are closed may take to end: it writes no core file, but the
/// kernel has some GiB to free.
const ENDING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// After so many additions another process is prepared in the background, so that no build has to
/// wait for a new pool.
const WORN: usize = MAX_ADDITIONS / 4 * 3;

/// A solver that is started at its first question, and again after it ended.
#[derive(Debug)]
pub(in super::super) struct SolverProcess {
    program: SolverProgram,
    start: SolverSetup,
    running: Option<RunningSolver>,
    /// Whether another process is being prepared to take the place of this one.
    is_renewing: bool,
}

/// The environment of the solver's process.
#[derive(Debug, Clone)]
pub(in super::super) enum SolverProgram {
    /// A process of this program.
    Process(PathBuf),
    /// A simulation.
    #[cfg(feature = "simulation")]
    Simulated(std::sync::Arc<dyn super::SimulatedSolver>),
}

/// A running process, and the content of its pool.
#[derive(Debug)]
struct RunningSolver {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    external: Vec<RepoMetadata>,
    /// The version of the farm's packages in it; none when it has to get all of them.
    version: Option<i64>,
    prepared: PoolStats,
}

impl SolverProcess {
    /// A solver that is not started yet.
    pub(in super::super) const fn new(program: SolverProgram, start: SolverSetup) -> Self {
        Self { program, start, running: None, is_renewing: false }
    }

    /// The version of the farm's packages that its pool has, if it has a pool of these repositories
    /// that takes more packages: then it needs only what came after that.
    pub(in super::super) fn version(&self, external: &[(Repository, RepoMetadata)]) -> Option<i64> {
        let running = self.running.as_ref().filter(|running| running.takes_more(external));
        running.and_then(|running| running.version)
    }

    /// Whether another process should be prepared to take the place of the one that runs.
    pub(in super::super) fn is_worn(&self, external: &[(Repository, RepoMetadata)]) -> bool {
        let running = self.running.as_ref().filter(|running| running.takes_more(external));
        !self.is_renewing && running.is_some_and(|running| running.prepared.additions >= WORN)
    }

    /// Another process is being prepared: [`Self::end_renewal`] has to follow.
    pub(in super::super) const fn begin_renewal(&mut self) {
        self.is_renewing = true;
    }

    /// Continues with the process of another solver, if that could be prepared. The old process is
    /// ended, which takes time.
    pub(in super::super) fn end_renewal(&mut self, next: Option<Self>) {
        self.is_renewing = false;
        if let Some(next) = next {
            self.running = next.running;
        }
    }

    /// Prepares the pool, and the roots that all builds share. Takes time, too.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub(in super::super) fn prepare(&mut self, content: PoolContent) -> Result<(), PoolsError> {
        match self.ask(&SolverRequest { content, task: SolverTask::Prepare })? {
            SolverResponse::Ready => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a lock. Slow, so it must not run on a thread of the runtime.
    ///
    /// # Errors
    /// When there is no solution, or the process ended; the next call starts it again.
    pub(in super::super) fn lock(
        &mut self,
        content: PoolContent,
        wanted: Requirements,
    ) -> Result<Lock, PoolsError> {
        match self.ask(&SolverRequest { content, task: SolverTask::Lock(wanted) })? {
            SolverResponse::Lock(lock) => Ok(*lock),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds packages with a missing requirement. Slow, too.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub(in super::super) fn lacking(
        &mut self,
        content: PoolContent,
        shown: HashSet<Nevra>,
    ) -> Result<Vec<(Nevra, String)>, PoolsError> {
        match self.ask(&SolverRequest { content, task: SolverTask::Lacking(shown) })? {
            SolverResponse::Lacking(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds the owners of the names in the query; `paths` are the paths that builds have required.
    /// Slow, too.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub(in super::super) fn owners(
        &mut self,
        content: PoolContent,
        questions: OwnerQuery,
        paths: BTreeSet<String>,
    ) -> Result<KnownOwners, PoolsError> {
        let task = SolverTask::Owners(questions, paths);
        match self.ask(&SolverRequest { content, task })? {
            SolverResponse::Owners(known) => Ok(known),
            other => Err(unexpected(&other)),
        }
    }

    /// For each of the farm's packages in a root, the package that the root would have without it.
    /// Slow, too.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub(in super::super) fn taken(
        &mut self,
        content: PoolContent,
        wanted: Requirements,
    ) -> Result<Vec<FarmReplacement>, PoolsError> {
        match self.ask(&SolverRequest { content, task: SolverTask::Taken(wanted) })? {
            SolverResponse::Taken(taken) => Ok(taken),
            other => Err(unexpected(&other)),
        }
    }

    /// Compares two contents of a channel. Slow, too.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub(in super::super) fn prove(
        &mut self,
        content: PoolContent,
        question: ContentProof,
    ) -> Result<ContentFindings, PoolsError> {
        match self.ask(&SolverRequest { content, task: SolverTask::Prove(question) })? {
            SolverResponse::Proof(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, question: &SolverRequest) -> Result<SolverResponse, PoolsError> {
        let program = match &self.program {
            SolverProgram::Process(program) => program.as_path(),
            #[cfg(feature = "simulation")]
            SolverProgram::Simulated(solver) => {
                return solve_simulated(&**solver, &self.start, question);
            }
        };
        // Taken out first, so that a process that failed half way is not asked again.
        let external = &question.content.external;
        let kept = self.running.take().filter(|running| running.takes_more(external));
        let mut running = match kept {
            Some(running) => running,
            None => RunningSolver::start(program, &self.start, &question.content)?,
        };
        match running.call(question) {
            Ok(answer) => {
                self.running = Some(running);
                match answer {
                    SolverResponse::Failed(error) => Err(error),
                    answer => Ok(answer),
                }
            }
            Err(SolverExit { ready, error }) => Err(running.died(ready, &error, &self.start)),
        }
    }
}

/// Answers as a process would.
#[cfg(feature = "simulation")]
fn solve_simulated(
    solver: &dyn super::SimulatedSolver,
    start: &SolverSetup,
    question: &SolverRequest,
) -> Result<SolverResponse, PoolsError> {
    use super::super::lock::LockError;
    use rpmfarm_solv::{MissingRequirement, Requirer, UnsolvableError};
    // There is no process that could have a part of them: it gets all of them each time.
    let farm = &question.content.farm.present;
    let wanted = match &question.task {
        SolverTask::Lock(wanted) => wanted,
        SolverTask::Lacking(_) => return Ok(SolverResponse::Lacking(Vec::new())),
        SolverTask::Owners(..) => return Ok(SolverResponse::Owners(KnownOwners::default())),
        SolverTask::Taken(_) => return Ok(SolverResponse::Taken(Vec::new())),
        SolverTask::Prove(_) => return Ok(SolverResponse::Proof(ContentFindings::default())),
        SolverTask::Prepare => return Ok(SolverResponse::Ready),
    };
    match solver.lock(&start.target, start.arch, farm, wanted) {
        Ok(lock) => Ok(SolverResponse::Lock(Box::new(lock))),
        Err(missing) if missing.is_empty() => {
            Err(PoolsError::Died { how: "the repositories do not answer".into(), ready: false })
        }
        Err(missing) => {
            let by = || Requirer::Request;
            let missing =
                missing.into_iter().map(|requirement| MissingRequirement { requirement, by: by() });
            let missing = missing.collect();
            Err(LockError::Package(UnsolvableError { missing, ..UnsolvableError::default() })
                .into())
        }
    }
}

/// The end of a process during a question.
struct SolverExit {
    ready: bool,
    error: io::Error,
}

impl RunningSolver {
    fn start(
        program: &Path,
        start: &SolverSetup,
        content: &PoolContent,
    ) -> Result<Self, PoolsError> {
        let failed = |error: io::Error| PoolsError::Died {
            how: format!("the solver {} cannot be started: {error}", program.display()),
            ready: false,
        };
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // In a process group of its own: an interrupt at the terminal goes to the coordinator
            // only, which ends the solver.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let to = BufWriter::new(child.stdin.take().expect("it is a pipe"));
        let from = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let external = content.external.iter().map(|(_, metadata)| metadata.clone()).collect();
        let prepared = PoolStats::default();
        let mut running = Self { child, to, from, external, version: None, prepared };
        write(&mut running.to, start).map_err(failed)?;
        Ok(running)
    }

    /// Whether its pool is made of these repositories, and has not reached the limit of additions.
    fn takes_more(&self, external: &[(Repository, RepoMetadata)]) -> bool {
        self.external.iter().eq(external.iter().map(|(_, metadata)| metadata))
            && self.prepared.additions <= MAX_ADDITIONS
    }

    fn call(&mut self, question: &SolverRequest) -> Result<SolverResponse, SolverExit> {
        // After a failure in between the pool has to get all packages again.
        self.version = None;
        write(&mut self.to, question).map_err(|error| SolverExit { ready: false, error })?;
        let mut first = self.receive(false)?;
        if let SolverResponse::Warnings(warnings) = first {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            first = self.receive(false)?;
        }
        match first {
            SolverResponse::Prepared(prepared) => {
                if self.prepared == PoolStats::default() {
                    tracing::info!(packages = prepared.packages, "made a solver pool");
                }
                self.prepared = prepared;
                self.version = Some(question.content.farm.version);
                self.receive(true)
            }
            answer => Ok(answer),
        }
    }

    fn receive(&mut self, ready: bool) -> Result<SolverResponse, SolverExit> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        read(&mut self.from)
            .and_then(|answer| answer.ok_or_else(gone))
            .map_err(|error| SolverExit { ready, error })
    }

    /// Waits for the process to end, and describes how it did.
    fn died(mut self, ready: bool, error: &io::Error, start: &SolverSetup) -> PoolsError {
        let status = self.end();
        let what = if ready { "solved" } else { "read packages" };
        let SolverSetup { target, arch, .. } = start;
        let ended = status.map_or_else(|| error.to_string(), ended);
        let how = format!("the solver of {} on {arch} ended while it {what}: {ended}", target.name);
        tracing::warn!("{how}");
        PoolsError::Died { how, ready: ready && !status.is_some_and(was_asked_to_end) }
    }
}

impl RunningSolver {
    /// How the process ended; `None` when it still runs and sent a malformed answer. Its pipes
    /// close a moment before it has ended.
    fn end(&mut self) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < ENDING {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(PAUSE),
                ended => return ended.ok().flatten(),
            }
        }
        None
    }
}

impl Drop for RunningSolver {
    fn drop(&mut self) {
        // The process has no state that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody ended the process, as when the service is stopped: that is no package's fault.
fn was_asked_to_end(status: ExitStatus) -> bool {
    let asked = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    status.signal().is_some_and(|signal| asked.iter().any(|one| *one as i32 == signal))
}

/// How a process ended, in words.
fn ended(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else { return status.to_string() };
    match Signal::try_from(signal) {
        Ok(Signal::SIGSEGV) => "it overran its stack or its memory (SIGSEGV)".into(),
        Ok(Signal::SIGABRT) => "it ran out of stack or memory (SIGABRT)".into(),
        Ok(Signal::SIGALRM) => {
            format!("it needed more than {} seconds (SIGALRM)", child::SOLVING.as_secs())
        }
        Ok(other) => format!("it was killed ({other})"),
        Err(_) => format!("it was killed (signal {signal})"),
    }
}

fn unexpected(answer: &SolverResponse) -> PoolsError {
    PoolsError::Died { how: format!("unexpected answer of the solver: {answer:?}"), ready: false }
}
