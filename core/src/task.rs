//! The work of a worker: its assignments, and its reports on their progress and outcome.
//!
//! The protocol is level-triggered. A worker sends the state of all its attempts; the answer is the
//! set of attempts that it should have. It starts those that it lacks, kills and forgets those that
//! it has beyond that, and reports an attempt that has ended until it is no longer in the answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::LeaseTerms;
use crate::limits::Limits;
use crate::noarch::NOARCH;
use crate::results::ResultFile;
use crate::source::SourceFile;
use crate::statement::Proof;
use crate::terms::AllTerms;
use crate::{Allowed, Arch, AttemptId, BuildId, Epoch, Failure, Sha256, TaskId};

words! {
    /// The kinds of work.
    pub enum TaskKind: "kind of task" {
        /// Make the SRPM from a source bundle, in the base root.
        Srpm = "srpm",
        /// Build binary packages from the SRPM.
        Build = "build",
        /// Build them again with rpm's target `noarch`, in a root of the task's architecture: a
        /// spec that names `noarch` beside others in `ExclusiveArch` makes packages only then.
        Noarch = "noarch",
        /// Build binary packages once more, on another worker and in the same root, to compare them
        /// with the first ones ([`crate::repeat`]).
        Repeat = "repeat",
    }
}

impl TaskKind {
    /// Whether it makes binary packages.
    #[must_use]
    pub const fn is_build(self) -> bool {
        matches!(self, Self::Build | Self::Noarch | Self::Repeat)
    }

    /// Whether its packages are the build's: those of a repetition are only compared.
    #[must_use]
    pub const fn makes_packages(self) -> bool {
        matches!(self, Self::Build | Self::Noarch)
    }

    /// The rpm target of such a task on an architecture.
    #[must_use]
    pub const fn rpm_target(self, arch: Arch) -> &'static str {
        match self {
            Self::Srpm | Self::Build | Self::Repeat => arch.as_str(),
            Self::Noarch => NOARCH,
        }
    }
}

/// The input of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskInput {
    /// A spec and its sources, for [`TaskKind::Srpm`].
    Sources {
        spec: SourceFile,
        sources: Vec<SourceFile>,
        /// The steps that must be applied first, in the cage (a plan of `rpmfarm-sources`). The
        /// spec and the sources are then the result.
        plan: Option<SourceFile>,
        /// The architectures whose terms must be reported in addition to those of the SRPM's own
        /// ([`Success::terms`]).
        #[serde(default)]
        arches: Vec<Arch>,
    },
    /// A source package, for [`TaskKind::Build`] and [`TaskKind::Noarch`].
    Srpm {
        file: SourceFile,
        /// Whether its spec has `%generate_buildrequires`.
        dynamic_requires: bool,
        /// Whether rpm's target is `noarch` and not the architecture of the root.
        #[serde(default)]
        noarch: bool,
    },
}

impl TaskInput {
    /// The files that the work needs at first. With a plan, it is the plan only, which names the
    /// others.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        let (first, rest) = match self {
            Self::Sources { plan: Some(plan), .. } => (plan, [].as_slice()),
            Self::Sources { spec, sources, plan: None, .. } => (spec, sources.as_slice()),
            Self::Srpm { file, .. } => (file, [].as_slice()),
        };
        std::iter::once(first).chain(rest)
    }
}

/// One attempt that a worker should have, with everything it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub attempt: AttemptId,
    /// The task of the attempt.
    pub task: TaskId,
    /// The build that the task belongs to.
    pub build: BuildId,
    /// The fencing number that every report and upload of the attempt carries.
    pub epoch: Epoch,
    /// The input, which determines the kind of the task.
    pub input: TaskInput,
    /// Name of the package, for logs and messages.
    pub package: String,
    /// Name of the target.
    pub target: String,
    /// Architecture to build on.
    pub arch: Arch,
    /// The lock (a blob) of the round.
    pub lock: Sha256,
    /// 0 at first; one more each time the lock was extended by requirements that
    /// `%generate_buildrequires` found.
    pub round: u32,
    /// Text of the rpm macros file that the target puts into the root.
    pub macros: String,
    /// Whether `%check` is left out.
    #[serde(default)]
    pub nocheck: bool,
    /// Patterns of the files to keep when the build fails ([`crate::kept_files`]).
    #[serde(default)]
    pub keep: Vec<String>,
    /// Limits on its time, memory, disk and files.
    pub limits: Limits,
    /// Allowances beyond those of every build.
    pub allow: Allowed,
}

impl Assignment {
    /// The kind of the work. A worker does not know that it repeats the work of another one.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self.input {
            TaskInput::Sources { .. } => TaskKind::Srpm,
            TaskInput::Srpm { noarch: true, .. } => TaskKind::Noarch,
            TaskInput::Srpm { .. } => TaskKind::Build,
        }
    }
}

words! {
    /// The phase of a running attempt.
    pub enum Phase: "phase" {
        /// Packages and inputs are being fetched.
        Fetch = "fetch",
        /// The root is being made.
        Root = "root",
        /// `%generate_buildrequires` runs, or waits for the extended lock.
        Requires = "requires",
        /// The SRPM is being written.
        Srpm = "srpm",
        /// `%prep` runs.
        Prep = "prep",
        /// `%build` runs.
        Build = "build",
        /// `%install` runs.
        Install = "install",
        /// `%check` runs.
        Check = "check",
        /// Packages are being written.
        Package = "package",
        /// Results are being uploaded.
        Upload = "upload",
    }
}

words! {
    /// The logs of an attempt.
    pub enum LogName: "log" {
        /// The output of rpmbuild and everything under it. An empty word means this log.
        Build = "build" | "",
        /// The log of making the root.
        Root = "root",
    }
}

/// The progress of an attempt, as its worker reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    Running(Phase),
    /// `%generate_buildrequires` found these; the attempt waits for the lock of the next round.
    NeedsRequires {
        /// The round in which they were found.
        round: u32,
        /// Requirement strings as rpm prints them.
        requires: Vec<String>,
    },
    Ended(Outcome),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything was built and uploaded.
    Succeeded(Success),
    Failed(Failure),
}

/// The results of a successful attempt. The coordinator trusts none of it before it has read the
/// files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// All files, uploaded before this is reported.
    pub files: Vec<ResultFile>,
    /// For an SRPM: names of the binary packages that the spec makes.
    pub predicts: Vec<String>,
    /// For an SRPM: names that the spec says these packages provide and obsolete.
    #[serde(default)]
    pub provides: Vec<String>,
    /// For an SRPM: what its spec says on each other requested architecture, and with rpm's target
    /// `noarch` where its `ExclusiveArch` names that.
    #[serde(default)]
    pub terms: AllTerms,
    /// How long rpmbuild itself ran, in milliseconds.
    pub rpmbuild_ms: u64,
    /// The most memory that its processes had at once, in MiB; 0 when it was not measured.
    #[serde(default)]
    pub memory_mib: u64,
    /// The disk space that its root and build directory took in addition to the root's layers, in
    /// MiB; 0 when it was not measured.
    #[serde(default)]
    pub disk_mib: u64,
    /// The worker's signature of the results; `None` from a worker of an older version.
    #[serde(default)]
    pub proof: Option<Box<Proof>>,
}

/// The report on one attempt. `epoch` fences it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    pub attempt: AttemptId,
    /// The epoch under which the worker holds it.
    pub epoch: Epoch,
    /// Its progress.
    pub progress: Progress,
}

/// The state of a worker with all its attempts, as each heartbeat has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerState {
    /// Its name, unique in the farm.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Version of the protocol that it speaks; see [`crate::worker_standing::PROTOCOL`].
    pub protocol: u32,
    /// Architectures that it builds for.
    pub arches: Vec<Arch>,
    /// Those of them that it runs under emulation only.
    pub emulated: Vec<Arch>,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// How many attempts of SRPM tasks it runs in addition; 0 for a worker of an older version.
    #[serde(default)]
    pub srpm_slots: u32,
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Free space for roots and builds in MiB.
    pub disk_free_mib: u64,
    /// Labels that packages may need, as `ssd`.
    pub labels: Vec<String>,
    /// Whether it finishes its attempts and takes no new ones.
    pub draining: bool,
    /// Why it takes no new attempts for now, as a full disk. Empty when it takes work.
    pub unready: String,
    /// Every attempt that it has.
    pub attempts: Vec<AttemptReport>,
}

/// The desired state of a worker, and the terms of its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// The attempts that it should run or continue to report.
    pub assignments: Vec<Assignment>,
    /// The longest time between two states that it sends, in milliseconds.
    pub heartbeat_ms: u64,
    /// The length of its lease, in milliseconds. Without an answer for twice as long the worker
    /// kills what it runs.
    pub lease_ms: u64,
    /// A notice for the worker's administrator, as why it gets no work; empty for none.
    pub notice: String,
    /// Rises when the worker should try again which architectures it can run.
    pub probe: u64,
}

impl DesiredState {
    /// A state without attempts, under these terms.
    #[must_use]
    pub fn nothing(terms: LeaseTerms) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            assignments: Vec::new(),
            heartbeat_ms: milliseconds(terms.heartbeat()),
            lease_ms: milliseconds(terms.lease()),
            notice: String::new(),
            probe: 0,
        }
    }
}
