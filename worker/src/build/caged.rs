//! One command of an attempt in a cage, on the attempt's root: rpmbuild, or a script of its
//! modifications. Its output goes to the build log, and the attempt's limits apply.

use std::io::Write as _;
use std::path::PathBuf;

use rpmfarm_core::diagnosis::{Evidence, RunEnd};
use rpmfarm_core::excerpt::LogReader;
use rpmfarm_core::task::{Assignment, LogName};
use rpmfarm_core::{Allowed, Failure, FailureStage, Fault};

use super::engine::{EarlyEnd, Engine, RequiresRound, worker};
use super::log::LogFile;
use super::watch::{BuildWatcher, PERIOD};
use crate::cages::cage::{Bind, Overlay};
use crate::cages::run::CageResult;
use crate::cages::scratch::Scratch;
use crate::cages::{
    Cage, CageExit, CageLimits, CageRoot, CageUser, CancelFlag, CancelReason, StopReason,
};
use crate::roots::RootHandle;

/// A command, and the mounts in addition to the root.
pub(super) struct CagedCommand {
    pub(super) name: String,
    /// The stage for an error of the worker itself.
    pub(super) stage: FailureStage,
    /// Lines at the beginning of the build log.
    pub(super) heading: Vec<String>,
    pub(super) binds: Vec<Bind>,
    pub(super) command: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) allow: Allowed,
}

/// A command that has ended.
pub(super) struct CagedRun<'a> {
    /// How it failed; `None` when it succeeded.
    pub(super) failed: Option<RunEnd>,
    ended: CageResult,
    watch: BuildWatcher<'a>,
}

impl CagedRun<'_> {
    /// The evidence of the run, for a diagnosis.
    pub(super) fn evidence(&self, ending: RunEnd) -> Evidence {
        self.watch.evidence(ending, &self.ended)
    }

    /// The peak memory use, in bytes.
    pub(super) const fn memory_used(&self) -> u64 {
        self.ended.memory_used
    }

    /// The failure that follows from the evidence and the log.
    pub(super) fn diagnose(&self, evidence: &Evidence) -> Failure {
        self.watch.diagnose(evidence)
    }
}

impl Engine {
    /// Runs a command as the unprivileged user on a fresh upper layer in `scratch`.
    ///
    /// # Errors
    /// When it was cancelled, or the worker could not run it. A command that fails is not an error.
    pub(super) fn run_caged<'a>(
        &'a self,
        round: &RequiresRound<'a>,
        lease: &RootHandle,
        scratch: &'a Scratch,
        command: CagedCommand,
    ) -> Result<CagedRun<'a>, EarlyEnd> {
        let stage = command.stage.clone();
        let mut watch = BuildWatcher {
            log: open_log(round, &command)?,
            reader: LogReader::new(),
            limits: &round.assignment.limits,
            scratch,
            host: (&self.data, self.reserve_mib),
            cancel: round.cancel,
            observer: round.observer,
            disk_filled: false,
            inodes_filled: false,
            next_measurement: PERIOD,
        };
        let cage = self.cage(round.assignment, lease, scratch, command);
        let ended = self
            .sandbox
            .run(&cage, &mut watch)
            .map_err(|error| Failure::new(Fault::Worker, stage, error.to_string()))?;
        let failed = ending(&ended.exit, round.cancel)?;
        Ok(CagedRun { failed, ended, watch })
    }

    fn cage(
        &self,
        assignment: &Assignment,
        lease: &RootHandle,
        scratch: &Scratch,
        command: CagedCommand,
    ) -> Cage {
        Cage {
            name: command.name,
            root: CageRoot::Overlay(Overlay {
                layers: lease.layers.clone(),
                upper: scratch.path().join("upper"),
                work: scratch.path().join("work"),
            }),
            binds: command.binds,
            system_at: vec![PathBuf::from("/")],
            tmpfs: Vec::new(),
            user: CageUser::Builder,
            command: command.command,
            directory: command.directory,
            environment: command.environment,
            caps: CageLimits {
                memory_mib: assignment.limits.memory_mib,
                processes: assignment.limits.processes,
                cpus: self.cap_cpus.then_some(self.cpus),
                file_mib: scratch.largest_file_mib(),
            },
            allow: command.allow,
        }
    }
}

/// The build log, with the lines that come first.
fn open_log(round: &RequiresRound<'_>, command: &CagedCommand) -> Result<LogFile, Failure> {
    let failed = || worker(command.stage.clone(), "write the build log");
    let mut log = LogFile::open(round.directory, LogName::Build).map_err(failed())?;
    for line in &command.heading {
        writeln!(log, "{line}").map_err(failed())?;
    }
    Ok(log)
}

/// How a command failed; `None` when it succeeded.
fn ending(exit: &CageExit, cancel: &CancelFlag) -> Result<Option<RunEnd>, EarlyEnd> {
    Ok(Some(match exit {
        CageExit::Code(0) => return Ok(None),
        CageExit::Code(code) => RunEnd::Status(*code),
        CageExit::Stopped(StopReason::Cancelled) => {
            return Err(EarlyEnd::Cancelled(cancel.raised().unwrap_or(CancelReason::Unwanted)));
        }
        CageExit::Stopped(StopReason::Time) => RunEnd::Time,
        CageExit::Stopped(StopReason::Silence) => RunEnd::Silence,
        CageExit::Stopped(StopReason::Log) => RunEnd::Log,
        CageExit::Stopped(StopReason::HostDisk) => RunEnd::HostDisk,
        CageExit::Stopped(StopReason::Disk) => RunEnd::Disk,
    }))
}
