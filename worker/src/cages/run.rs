//! Running a cage to its end: forwarding its log, watching its limits, killing it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpmfarm_core::Allowance;
use serde_json::Value;

use super::cage::{BindSource, Cage, CageRoot};
use super::cgroup::{Cgroup, CgroupEvents, Cgroups};
use super::compiled_filters::CompiledFilters;
use super::devices::{self, CageDevices};
use super::ids::{CageIds, TakenIds};
use super::kernel_log::{KernelLog, OomVictims};
use super::loops::LoopDevices;
use super::stage::{Mapped, MountedLayers};
use super::users::CageUsers;
use super::{oci, seccomp, stage};

/// The parts that all cages of a worker share.
#[derive(Debug, Clone)]
pub struct CageRunner {
    pub crun: PathBuf,
    /// The worker's own program, which also runs the stages.
    pub program: PathBuf,
    /// The worker's data directory.
    pub data: PathBuf,
    /// A directory for the cages' configurations, in that one.
    pub directory: PathBuf,
    /// The host's ids of cages and of their files.
    pub ids: CageIds,
    /// Limits on memory, processes and processors.
    pub cgroups: Cgroups,
    /// The filters of earlier cages.
    pub filters: CompiledFilters,
}

/// How a run ended.
#[derive(Debug)]
pub struct CageResult {
    pub exit: CageExit,
    /// The events of its control group.
    pub events: CgroupEvents,
    /// The processes that the kernel killed for memory, as far as its log tells.
    pub victims: OomVictims,
    /// The most memory that its processes were seen to have at once, in bytes; 0 when it was too
    /// short to be measured, or nothing tells.
    pub memory_used: u64,
    /// How long it took.
    pub took: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CageExit {
    /// The command in the cage ended by itself; signals are 128 and their number.
    Code(u8),
    /// Its watcher ended it.
    Stopped(StopReason),
}

/// Why a watcher ends a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Its time is over.
    Time,
    /// It has written nothing for too long.
    Silence,
    /// Its log is too long.
    Log,
    /// The worker's own disk is nearly full, or the cage uses more of it than it may.
    HostDisk,
    /// The cage uses more disk space, or has more files, than it may.
    Disk,
    /// It was cancelled from outside.
    Cancelled,
}

/// Why a cage could not be made or run. Never the fault of what runs in it.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// The cage could not be set up.
    #[error("cannot {what}: {source}")]
    Setup { what: &'static str, source: io::Error },
    /// crun or a stage reported an error.
    #[error("the cage failed: {0}")]
    Runtime(String),
    /// The log could not be written.
    #[error("cannot write the log: {0}")]
    Log(io::Error),
}

/// Watches a run: receives the log, and decides several times a second whether the run continues.
pub trait Watcher {
    /// Receives the cage's output.
    ///
    /// # Errors
    /// When it cannot be stored; the cage is killed.
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Whether to end the run, and why. `running` is how long it has run, `silent` since when it
    /// wrote nothing.
    fn check(&mut self, running: Duration, silent: Duration) -> Option<StopReason>;
}

/// How often a watcher is asked.
const TICK: Duration = Duration::from_millis(100);

/// How many bytes of the output of a cage that never began are shown.
const MOST_SAID: usize = 512;

/// How long the kernel gets to tear a cage down before the worker gives up on it.
const KILL_TIME: Duration = Duration::from_secs(30);

impl CageRunner {
    /// The host's id of root in files of a cage, on disk; the others follow it.
    #[must_use]
    pub const fn uid_base(&self) -> u32 {
        self.ids.disk().first()
    }

    /// Runs a cage to its end. When this returns, none of its processes and mounts is left.
    ///
    /// # Errors
    /// When the cage cannot be made or its log cannot be written. A command that fails is not an
    /// error.
    pub fn run(&self, cage: &Cage, watcher: &mut dyn Watcher) -> Result<CageResult, CageError> {
        let directory = self.directory.join(&cage.name);
        // The ids are free again when no process of the cage is left.
        let ids = self
            .ids
            .acquire()
            .map_err(|source| CageError::Setup { what: "get ids for the cage", source })?;
        let group = self
            .cgroups
            .create(&cage.name, &cage.caps)
            .map_err(|source| CageError::Setup { what: "make the control group", source })?;
        let rules = seccomp::filter(&cage.allow);
        let prepared = self.prepare(cage, &directory, &group, &ids, &rules);
        let ended = prepared
            .map_err(|source| CageError::Setup { what: "write the configuration", source })
            // The loop devices go when the cage has ended.
            .and_then(|_loops| self.run_prepared(&directory, &group, watcher));
        self.filters.keep(&rules, &directory);
        let _ = fs::remove_dir_all(&directory);
        ended
    }

    fn prepare(
        &self,
        cage: &Cage,
        directory: &Path,
        group: &Cgroup,
        ids: &TakenIds,
        rules: &Value,
    ) -> io::Result<Option<LoopDevices>> {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory)?;
        let loops = cage.allow.contains(&Allowance::Loop).then(|| LoopDevices::create(directory));
        let loops = loops.transpose()?;
        let mut all: Vec<(MountedLayers, PathBuf)> = Vec::new();
        let mut place = |layers: MountedLayers| {
            let at = directory.join(format!("layers-{}", all.len()));
            all.push((layers, at.clone()));
            at
        };
        let root = place(match &cage.root {
            CageRoot::ReadOnly(path) => MountedLayers::Root(path.clone()),
            CageRoot::Overlay(overlay) => MountedLayers::Overlay(overlay.clone()),
        });
        let sources: Vec<PathBuf> = cage
            .binds
            .iter()
            .map(|bind| match &bind.source {
                BindSource::Directory(path) => place(MountedLayers::Shown(path.clone())),
                BindSource::Overlay(overlay) => place(MountedLayers::Overlay(overlay.clone())),
            })
            .collect();
        let binds: Vec<_> = cage
            .binds
            .iter()
            .zip(&sources)
            .map(|(bind, source)| (source.as_path(), bind.target.as_path(), bind.writable))
            .collect();
        let devices = devices_of(cage, directory, ids, loops.as_ref());
        let users = CageUsers::next(ids.range(), self.ids.disk(), &cage.allow);
        let namespace = CageUsers::place(directory);
        let compiled = self.filters.get(rules);
        let config = oci::config(
            cage,
            &root,
            &binds,
            &devices,
            (ids.range(), &namespace),
            (rules, compiled.as_deref()),
        );
        let plan = stage::StagePlan {
            name: cage.name.clone(),
            worker: std::process::id(),
            crun: self.crun.clone(),
            cgroups: group.join_files(),
            layers: all,
            devices,
            allow: cage.allow.clone(),
            copy_filter: compiled.is_none(),
            users,
            mapped: ids
                .are_own()
                .then(|| Mapped { disk: self.ids.disk(), data: self.data.clone() }),
        };
        fs::write(directory.join(stage::CONFIG), serde_json::to_vec(&config)?)?;
        fs::write(directory.join(stage::PLAN), serde_json::to_vec(&plan)?)?;
        Ok(loops)
    }

    /// Removes what cages of an earlier process left outside of their namespaces.
    pub fn clear_left(cages: &Path) {
        super::loops::clear_left(cages);
    }

    fn run_prepared(
        &self,
        directory: &Path,
        group: &Cgroup,
        watcher: &mut dyn Watcher,
    ) -> Result<CageResult, CageError> {
        let setup = |what| move |source| CageError::Setup { what, source };
        let kernel_log = KernelLog::from_now();
        let started = Instant::now();
        let (log, child) = self.start(directory).map_err(setup("start the cage"))?;
        let mut running = RunningCage {
            child,
            log,
            started,
            heard: started,
            memory_used: 0,
            first_output: Vec::new(),
            signal: None,
        };
        let pumped = running.pump(group, watcher);
        let ended = match pumped {
            Ok(None) => running.finish(watcher),
            Ok(Some(stop)) => running.kill().map(|_| CageExit::Stopped(stop)),
            Err(error) => {
                let _ = running.kill();
                return Err(CageError::Log(error));
            }
        };
        let exit = ended.map_err(setup("wait for the cage"))?;
        let events = group.events();
        // The stages and crun are in the cage's groups: when a limit takes memory or processes from
        // them, the build has reached its limit, and the error is not theirs.
        let limited = events.oom_kills > 0 || events.forks_refused > 0;
        if let CageExit::Code(code) = exit
            && code != 0
            && !limited
            && let Some(error) = runtime_error(directory)
                .or_else(|| never_began(directory, code, &running.first_output))
                .or_else(|| running.killed_outside())
        {
            return Err(CageError::Runtime(error));
        }
        let victims = match (events.oom_kills, group.name()) {
            (1.., Some(name)) => kernel_log.victims(&name),
            _ => OomVictims::default(),
        };
        let memory_used = running.memory_used;
        Ok(CageResult { exit, events, victims, memory_used, took: started.elapsed() })
    }

    /// Starts the outer stage with one pipe for all output. Its standard input is a pipe that is
    /// closed at once, not `/dev/null`: crun hands its standard streams over to the user in the
    /// cage, and would do that to the host's device.
    fn start(&self, directory: &Path) -> io::Result<(io::PipeReader, Child)> {
        let (log, writer) = io::pipe()?;
        let mut child = Command::new(&self.program)
            .arg("cage-outer")
            .arg(directory)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?;
        drop(child.stdin.take());
        Ok((log, child))
    }
}

/// The devices of each system of a cage.
fn devices_of(
    cage: &Cage,
    directory: &Path,
    ids: &TakenIds,
    loops: Option<&LoopDevices>,
) -> Vec<CageDevices> {
    let bound = !devices::can_make_nodes(directory);
    let devices = |number: usize| CageDevices {
        at: directory.join(format!("devices-{number}")),
        owner: ids.range().first(),
        fuse: cage.allow.contains(&Allowance::Fuse),
        loops: loops.map(|loops| loops.numbers().to_vec()).unwrap_or_default(),
        bound,
    };
    (0..cage.system_at.len()).map(devices).collect()
}

/// A cage that runs.
struct RunningCage {
    child: Child,
    log: io::PipeReader,
    started: Instant,
    heard: Instant,
    memory_used: u64,
    /// The first output of the cage: crun's own message, when the command never began.
    first_output: Vec<u8>,
    /// The signal that killed the outer stage. Nothing in the cage can send it one.
    signal: Option<i32>,
}

impl RunningCage {
    /// Hands on the log until it ends or the watcher stops it.
    fn pump(
        &mut self,
        group: &Cgroup,
        watcher: &mut dyn Watcher,
    ) -> io::Result<Option<StopReason>> {
        let mut buffer = vec![0; 64 * 1024];
        let mut asked = Instant::now();
        loop {
            let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
            let ready = {
                let mut fds = [PollFd::new(self.log.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, timeout)?
            };
            if ready > 0 {
                let count = self.log.read(&mut buffer)?;
                if count == 0 {
                    return Ok(None);
                }
                self.heard = Instant::now();
                let room = MOST_SAID.saturating_sub(self.first_output.len());
                self.first_output.extend(buffer[..count].iter().take(room));
                watcher.wrote(&buffer[..count])?;
            }
            if asked.elapsed() >= TICK {
                asked = Instant::now();
                self.memory_used = self.memory_used.max(group.memory_used());
                if let Some(stop) = watcher.check(self.started.elapsed(), self.heard.elapsed()) {
                    return Ok(Some(stop));
                }
            }
        }
    }

    /// Waits for a cage whose log has ended; nearly always it has ended, too.
    fn finish(&mut self, watcher: &mut dyn Watcher) -> io::Result<CageExit> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.signal = status.signal();
                return Ok(CageExit::Code(code(status)));
            }
            if let Some(stop) = watcher.check(self.started.elapsed(), self.heard.elapsed()) {
                self.kill()?;
                return Ok(CageExit::Stopped(stop));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
    }

    /// The message for a cage whose outer stage was killed by somebody on the host.
    fn killed_outside(&self) -> Option<String> {
        let signal = self.signal?;
        Some(format!("somebody on the host killed its outer process (signal {signal})"))
    }

    /// Kills everything in the cage and waits until it is gone.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(id), Signal::SIGTERM)?;
        let deadline = Instant::now() + KILL_TIME;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                return self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for RunningCage {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill();
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128 + 9)
}

/// If crun ended without a message in its log, before there was a process in the cage, crun itself
/// has failed: nothing of a package has run.
fn never_began(directory: &Path, code: u8, first_output: &[u8]) -> Option<String> {
    if directory.join(stage::FIRST_PROCESS).exists() {
        return None;
    }
    let first_output = String::from_utf8_lossy(first_output);
    let first_output = first_output.trim();
    let colon = if first_output.is_empty() { "" } else { ": " };
    Some(format!(
        "crun ended with exit status {code} before anything ran in it{colon}{first_output}"
    ))
}

/// The error of crun or of a stage, if one of them failed.
fn runtime_error(directory: &Path) -> Option<String> {
    let read = |name: &str| {
        let mut text = String::new();
        let file = File::open(directory.join(name)).ok()?;
        file.take(16 * 1024).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let crun = || read(stage::CRUN_LOG).and_then(|log| crun_error(&log));
    read(stage::STAGE_ERROR).or_else(crun)
}

/// The errors in crun's log: one JSON object a line. Warnings are ignored.
fn crun_error(log: &str) -> Option<String> {
    let errors: Vec<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|entry| entry["level"] == "error")
        .filter_map(|entry| Some(entry["msg"].as_str()?.to_owned()))
        .collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// A watcher that stores the log and ends the run by time or when cancelled: enough for what the
/// farm itself runs in a cage.
pub struct PlainWatcher<'a, W> {
    pub log: W,
    /// How long the run may take.
    pub time: Duration,
    pub cancel: &'a super::CancelFlag,
}

impl<W: Write> Watcher for PlainWatcher<'_, W> {
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.write_all(bytes)
    }

    fn check(&mut self, running: Duration, _silent: Duration) -> Option<StopReason> {
        if self.cancel.raised().is_some() {
            return Some(StopReason::Cancelled);
        }
        (running > self.time).then_some(StopReason::Time)
    }
}

#[cfg(test)]
mod tests {
    use super::crun_error;

    #[test]
    fn only_cruns_errors_are_errors() {
        let warning = r#"{"msg":"no cgroups","level":"warning","time":"2026-01-01T00:00:00Z"}"#;
        let error = r#"{"msg":"no /bin/sh","level":"error","time":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(crun_error(warning), None);
        assert_eq!(crun_error(&format!("{warning}\n{error}\n")), Some("no /bin/sh".into()));
        assert_eq!(crun_error("not JSON\n"), None);
    }
}
