//! The solver process: it reads questions from its standard input and answers them, within limits
//! that it sets for itself before it reads any data of a package.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::alarm;
use rpmfarm_solv::SolverCache;

use super::super::pools::{PoolStats, PoolsError, TargetPool};
use super::wire::{SolverRequest, SolverResponse, SolverSetup, SolverTask, read, write};
use crate::blobs::Blobs;

/// Bytes of stack: libsolv handles rich dependencies and long chains by recursion.
const STACK: usize = 256 << 20;
/// Bytes of address space. A pool of 60,000 packages with their file lists has less than one GiB.
const MEMORY: u64 = 8 << 30;
/// How long it may take to read repositories.
const READING: Duration = Duration::from_secs(600);
/// How long it may take to solve; the hardest that are known take some seconds.
pub(super) const SOLVING: Duration = Duration::from_secs(30);

/// How long a proof of two contents may take; one of a whole distribution takes some seconds.
const PROVING: Duration = Duration::from_secs(300);

/// Runs until the coordinator closes the standard input, or ends.
///
/// # Errors
/// When the limits cannot be set, or a question is malformed.
pub fn run() -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot limit core files")?;
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).context("cannot limit memory")?;
    let work = || serve(&mut BufReader::new(io::stdin()), &mut BufWriter::new(io::stdout()));
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    thread.context("cannot start a thread")?.join().expect("the solver does not panic")
}

fn serve(from: &mut impl Read, to: &mut impl Write) -> anyhow::Result<()> {
    let Some(start) = read::<SolverSetup>(from)? else { return Ok(()) };
    let blobs = Blobs::existing(&start.blobs);
    let mut pool = TargetPool::new(SolverCache::new(&start.cache));
    while let Some(question) = read::<SolverRequest>(from)? {
        let answer = answer(&start, &mut pool, &blobs, &question, to);
        write(to, &answer.unwrap_or_else(SolverResponse::Failed))?;
    }
    Ok(())
}

fn answer(
    start: &SolverSetup,
    pool: &mut TargetPool,
    blobs: &Blobs,
    question: &SolverRequest,
    to: &mut impl Write,
) -> Result<SolverResponse, PoolsError> {
    let SolverSetup { target, arch, .. } = start;
    // SIGALRM ends the process when its time is over, even while C code runs.
    let _within = TimeLimit::new(READING);
    let prepared = prepare(start, pool, blobs, question);
    let warnings = pool.take_warnings();
    if !warnings.is_empty() {
        let _ = write(to, &SolverResponse::Warnings(warnings));
    }
    let prepared = prepared?;
    // When the coordinator has ended, the next read finds it out.
    let _ = write(to, &SolverResponse::Prepared(prepared));
    let _within = TimeLimit::new(match &question.task {
        SolverTask::Prove(_) => PROVING,
        _ => SOLVING,
    });
    Ok(match &question.task {
        SolverTask::Lock(wanted) => {
            SolverResponse::Lock(Box::new(pool.lock(target, *arch, wanted)?))
        }
        SolverTask::Lacking(shown) => SolverResponse::Lacking(pool.lacking(shown)?),
        SolverTask::Owners(questions, paths) => {
            SolverResponse::Owners(pool.owners(questions, paths)?)
        }
        SolverTask::Taken(wanted) => SolverResponse::Taken(pool.taken(target, *arch, wanted)?),
        SolverTask::Prove(question) => SolverResponse::Proof(pool.prove(target, question)?),
        SolverTask::Prepare => SolverResponse::Ready,
    })
}

/// Reads everything that the question needs: what takes long is done before the time to solve
/// begins.
fn prepare(
    start: &SolverSetup,
    pool: &mut TargetPool,
    blobs: &Blobs,
    question: &SolverRequest,
) -> Result<PoolStats, PoolsError> {
    let SolverSetup { target, arch, modules, .. } = start;
    let prepared = pool.prepare(target, *arch, &question.content, modules, blobs)?;
    match &question.task {
        SolverTask::Lock(wanted) | SolverTask::Taken(wanted) => {
            pool.share(target, *arch)?;
            pool.prepare_for(wanted.all())?;
        }
        SolverTask::Owners(questions, paths) => {
            pool.prepare_for(questions.capabilities.intersection(paths).map(String::as_str))?;
        }
        SolverTask::Prepare => pool.share(target, *arch)?,
        SolverTask::Prove(question) => pool.prepare_for_proof(*arch, question, blobs)?,
        SolverTask::Lacking(_) => {}
    }
    Ok(prepared)
}

/// While it exists, SIGALRM ends the process after a time.
struct TimeLimit;

impl TimeLimit {
    fn new(time: Duration) -> Self {
        alarm::set(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        Self
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        alarm::cancel();
    }
}
