//! Wire ↔ domain, in both directions, each with its checks.

use rpmfarm_core::fault::{Failure, Fault};
use rpmfarm_core::limits::Limits;
use rpmfarm_core::needs::check_label;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::{
    Assignment, AttemptReport, DesiredState, Input, Outcome, Phase, Progress, Success, WorkerState,
};
use rpmfarm_core::{Arch, AttemptId, BuildId, Epoch, Sha256, TaskId, name};

use crate::v1;

/// A message that does not say what its type needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field is absent.
    #[error("{message} lacks its {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("{field}: {reason}")]
    Bad {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Requirements or names beyond this number are no list that a package has.
const MAX_NAMES: usize = 100_000;

/// Labels of one worker at most.
const MAX_LABELS: usize = 64;

fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse().map_err(|error: T::Err| WireError::Bad { field, reason: error.to_string() })
}

fn present<T>(
    message: &'static str,
    field: &'static str,
    value: Option<T>,
) -> Result<T, WireError> {
    value.ok_or(WireError::Missing { message, field })
}

fn bounded(field: &'static str, list: Vec<String>) -> Result<Vec<String>, WireError> {
    if list.len() <= MAX_NAMES {
        return Ok(list);
    }
    Err(WireError::Bad { field, reason: format!("{} entries, at most {MAX_NAMES}", list.len()) })
}

impl From<&SourceFile> for v1::FileRef {
    fn from(file: &SourceFile) -> Self {
        Self { name: file.name.clone(), digest: file.digest.hex(), size: file.size }
    }
}

impl TryFrom<v1::FileRef> for SourceFile {
    type Error = WireError;

    fn try_from(file: v1::FileRef) -> Result<Self, WireError> {
        name::check_file(&file.name)
            .map_err(|error| WireError::Bad { field: "file name", reason: error.to_string() })?;
        Ok(Self { digest: parse("file digest", &file.digest)?, name: file.name, size: file.size })
    }
}

impl From<&ResultFile> for v1::ResultFile {
    fn from(file: &ResultFile) -> Self {
        let kind = file.kind.as_str().into();
        let file =
            v1::FileRef { name: file.name.clone(), digest: file.digest.hex(), size: file.size };
        Self { file: Some(file), kind }
    }
}

impl TryFrom<v1::ResultFile> for ResultFile {
    type Error = WireError;

    fn try_from(wire: v1::ResultFile) -> Result<Self, WireError> {
        let SourceFile { name, digest, size } = present("result", "file", wire.file)?.try_into()?;
        let kind = match wire.kind.as_str() {
            "rpm" => ResultKind::Rpm,
            "srpm" => ResultKind::Srpm,
            other => {
                return Err(WireError::Bad { field: "result kind", reason: name::shown(other) });
            }
        };
        Ok(Self { name, kind, digest, size })
    }
}

impl From<&Failure> for v1::Failure {
    fn from(failure: &Failure) -> Self {
        let fault = match failure.fault {
            Fault::Package => v1::Fault::Package,
            Fault::Worker => v1::Fault::Worker,
            Fault::Farm => v1::Fault::Farm,
        };
        Self {
            fault: fault.into(),
            stage: failure.stage.clone(),
            message: failure.message.clone(),
            excerpt: failure.excerpt.clone(),
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = WireError;

    fn try_from(wire: v1::Failure) -> Result<Self, WireError> {
        let fault = match wire.fault() {
            v1::Fault::Package => Fault::Package,
            v1::Fault::Worker => Fault::Worker,
            v1::Fault::Farm => Fault::Farm,
            v1::Fault::Unspecified => {
                return Err(WireError::Missing { message: "failure", field: "fault" });
            }
        };
        let excerpt = wire.excerpt.iter().take(10).map(|line| clip(line, 400)).collect();
        Ok(Self {
            fault,
            stage: clip(&wire.stage, 40),
            message: clip(&wire.message, 1000),
            excerpt,
        })
    }
}

/// A stranger's line: no control characters, no endless length.
fn clip(line: &str, chars: usize) -> String {
    line.chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .take(chars)
        .collect()
}

impl From<&Limits> for v1::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            seconds: limits.seconds,
            silence_seconds: limits.silence_seconds,
            memory_mib: limits.memory_mib,
            processes: limits.processes,
            disk_mib: limits.disk_mib,
            log_mib: limits.log_mib,
            results_mib: limits.results_mib,
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(wire: v1::Limits) -> Self {
        Self {
            seconds: wire.seconds,
            silence_seconds: wire.silence_seconds,
            memory_mib: wire.memory_mib,
            processes: wire.processes,
            disk_mib: wire.disk_mib,
            log_mib: wire.log_mib,
            results_mib: wire.results_mib,
        }
    }
}

impl From<&Success> for v1::Success {
    fn from(success: &Success) -> Self {
        Self {
            files: success.files.iter().map(Into::into).collect(),
            predicts: success.predicts.clone(),
            rpmbuild_ms: success.rpmbuild_ms,
            memory_mib: success.memory_mib,
            disk_mib: success.disk_mib,
        }
    }
}

impl TryFrom<v1::Success> for Success {
    type Error = WireError;

    fn try_from(wire: v1::Success) -> Result<Self, WireError> {
        Ok(Self {
            files: wire.files.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            predicts: bounded("predicted packages", wire.predicts)?,
            rpmbuild_ms: wire.rpmbuild_ms,
            memory_mib: wire.memory_mib,
            disk_mib: wire.disk_mib,
        })
    }
}

impl From<&AttemptReport> for v1::AttemptReport {
    fn from(report: &AttemptReport) -> Self {
        use v1::attempt_report::Progress as Wire;
        let progress = match &report.progress {
            Progress::Running(phase) => Wire::Phase(phase.as_str().into()),
            Progress::NeedsRequires { round, requires } => {
                Wire::Requires(v1::DynamicRequires { round: *round, requires: requires.clone() })
            }
            Progress::Ended(Outcome::Succeeded(success)) => Wire::Succeeded(success.into()),
            Progress::Ended(Outcome::Failed(failure)) => Wire::Failed(failure.into()),
        };
        Self { attempt: report.attempt.0, epoch: report.epoch.0, progress: Some(progress) }
    }
}

impl TryFrom<v1::AttemptReport> for AttemptReport {
    type Error = WireError;

    fn try_from(wire: v1::AttemptReport) -> Result<Self, WireError> {
        use v1::attempt_report::Progress as Wire;
        let progress = match present("attempt report", "progress", wire.progress)? {
            Wire::Phase(phase) => Progress::Running(parse::<Phase>("phase", &phase)?),
            Wire::Requires(wire) => Progress::NeedsRequires {
                round: wire.round,
                requires: bounded("requirements", wire.requires)?,
            },
            Wire::Succeeded(success) => Progress::Ended(Outcome::Succeeded(success.try_into()?)),
            Wire::Failed(failure) => Progress::Ended(Outcome::Failed(failure.try_into()?)),
        };
        Ok(Self { attempt: AttemptId(wire.attempt), epoch: Epoch(wire.epoch), progress })
    }
}

fn arches(words: &[String]) -> Result<Vec<Arch>, WireError> {
    words.iter().map(|word| parse("arch", word)).collect()
}

impl From<&WorkerState> for v1::WorkerState {
    fn from(state: &WorkerState) -> Self {
        Self {
            name: state.name.clone(),
            version: state.version.clone(),
            protocol: state.protocol,
            arches: state.arches.iter().map(ToString::to_string).collect(),
            emulated: state.emulated.iter().map(ToString::to_string).collect(),
            slots: state.slots,
            cpus: state.cpus,
            memory_mib: state.memory_mib,
            disk_free_mib: state.disk_free_mib,
            labels: state.labels.clone(),
            draining: state.draining,
            attempts: state.attempts.iter().map(Into::into).collect(),
            // Numbered and counted by the session that sends it.
            sequence: 0,
            root_hits: 0,
            root_misses: 0,
            unready: state.unready.clone(),
        }
    }
}

impl TryFrom<v1::WorkerState> for WorkerState {
    type Error = WireError;

    fn try_from(wire: v1::WorkerState) -> Result<Self, WireError> {
        name::check_file(&wire.name)
            .map_err(|error| WireError::Bad { field: "worker name", reason: error.to_string() })?;
        if wire.labels.len() > MAX_LABELS {
            let reason = format!("{} labels, at most {MAX_LABELS}", wire.labels.len());
            return Err(WireError::Bad { field: "labels", reason });
        }
        for label in &wire.labels {
            check_label(label).map_err(|reason| WireError::Bad { field: "labels", reason })?;
        }
        Ok(Self {
            name: wire.name,
            version: clip(&wire.version, 60),
            protocol: wire.protocol,
            arches: arches(&wire.arches)?,
            emulated: arches(&wire.emulated)?,
            slots: wire.slots.min(1024),
            cpus: wire.cpus,
            memory_mib: wire.memory_mib,
            disk_free_mib: wire.disk_free_mib,
            labels: wire.labels,
            draining: wire.draining,
            unready: clip(&wire.unready, 200),
            attempts: wire.attempts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Assignment> for v1::Assignment {
    fn from(assignment: &Assignment) -> Self {
        use v1::assignment::Input as Wire;
        let input = match &assignment.input {
            Input::Sources { spec, sources, plan } => Wire::Sources(v1::SourcesInput {
                spec: Some(spec.into()),
                sources: sources.iter().map(Into::into).collect(),
                plan: plan.as_ref().map(Into::into),
            }),
            Input::Srpm { file, dynamic_requires } => Wire::Srpm(v1::SrpmInput {
                file: Some(file.into()),
                dynamic_requires: *dynamic_requires,
            }),
        };
        Self {
            attempt: assignment.attempt.0,
            task: assignment.task.0,
            build: assignment.build.0,
            epoch: assignment.epoch.0,
            input: Some(input),
            package: assignment.package.clone(),
            target: assignment.target.clone(),
            arch: assignment.arch.to_string(),
            lock: assignment.lock.hex(),
            round: assignment.round,
            macros: assignment.macros.clone(),
            limits: Some((&assignment.limits).into()),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = WireError;

    fn try_from(wire: v1::Assignment) -> Result<Self, WireError> {
        use v1::assignment::Input as Wire;
        let input = match present("assignment", "input", wire.input)? {
            Wire::Sources(input) => Input::Sources {
                spec: present("sources", "spec", input.spec)?.try_into()?,
                sources: input
                    .sources
                    .into_iter()
                    .map(TryInto::try_into)
                    .collect::<Result<_, _>>()?,
                plan: input.plan.map(TryInto::try_into).transpose()?,
            },
            Wire::Srpm(input) => Input::Srpm {
                file: present("srpm", "file", input.file)?.try_into()?,
                dynamic_requires: input.dynamic_requires,
            },
        };
        Ok(Self {
            attempt: AttemptId(wire.attempt),
            task: TaskId(wire.task),
            build: BuildId(wire.build),
            epoch: Epoch(wire.epoch),
            input,
            package: wire.package,
            target: wire.target,
            arch: parse("arch", &wire.arch)?,
            lock: parse::<Sha256>("lock", &wire.lock)?,
            round: wire.round,
            macros: wire.macros,
            limits: present("assignment", "limits", wire.limits)?.into(),
        })
    }
}

impl From<&DesiredState> for v1::DesiredState {
    fn from(state: &DesiredState) -> Self {
        Self {
            assignments: state.assignments.iter().map(Into::into).collect(),
            heartbeat_ms: state.heartbeat_ms,
            lease_ms: state.lease_ms,
            notice: state.notice.clone(),
            // Both are the session's.
            heard: 0,
            hold: false,
            probe: state.probe,
        }
    }
}

impl TryFrom<v1::DesiredState> for DesiredState {
    type Error = WireError;

    fn try_from(wire: v1::DesiredState) -> Result<Self, WireError> {
        Ok(Self {
            assignments: wire
                .assignments
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            heartbeat_ms: wire.heartbeat_ms,
            lease_ms: wire.lease_ms,
            notice: clip(&wire.notice, 1000),
            probe: wire.probe,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> SourceFile {
        SourceFile { name: name.into(), digest: Sha256::of(name.as_bytes()), size: 3 }
    }

    fn assignment(input: Input) -> Assignment {
        Assignment {
            attempt: AttemptId(1),
            task: TaskId(2),
            build: BuildId(3),
            epoch: Epoch(4),
            input,
            package: "hello".into(),
            target: "lab".into(),
            arch: rpmfarm_core::Arch::X86_64,
            lock: Sha256::of(b"lock"),
            round: 1,
            macros: "%dist .lab9\n".into(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn desired_state_survives_the_wire() {
        let state = DesiredState {
            assignments: vec![
                assignment(Input::Sources {
                    spec: file("a.spec"),
                    sources: vec![file("a.tar")],
                    plan: Some(file("plan.json")),
                }),
                assignment(Input::Srpm { file: file("a.src.rpm"), dynamic_requires: true }),
            ],
            heartbeat_ms: 1000,
            lease_ms: 30_000,
            notice: "drained".into(),
            probe: 3,
        };
        assert_eq!(DesiredState::try_from(v1::DesiredState::from(&state)), Ok(state));
    }

    #[test]
    fn worker_state_survives_the_wire() {
        let report = |progress| AttemptReport { attempt: AttemptId(7), epoch: Epoch(8), progress };
        let result = ResultFile {
            name: "a-1-1.src.rpm".into(),
            kind: ResultKind::Srpm,
            digest: Sha256::of(b"a"),
            size: 1,
        };
        let success = Success {
            files: vec![result],
            predicts: vec!["a-libs".into()],
            rpmbuild_ms: 12,
            memory_mib: 13,
            disk_mib: 14,
        };
        let failure = Failure::new(Fault::Worker, "root", "no space left on /var/lib/rpmfarm");
        let state = WorkerState {
            name: "w1".into(),
            version: "0.1.0".into(),
            protocol: 3,
            arches: vec![rpmfarm_core::Arch::Ppc64le, rpmfarm_core::Arch::Aarch64],
            emulated: vec![rpmfarm_core::Arch::Aarch64],
            slots: 2,
            cpus: 4,
            memory_mib: 5,
            disk_free_mib: 6,
            labels: vec!["ssd".into()],
            draining: true,
            unready: "its disk is full".into(),
            attempts: vec![
                report(Progress::Running(Phase::Check)),
                report(Progress::NeedsRequires {
                    round: 2,
                    requires: vec!["python3dist(x)".into()],
                }),
                report(Progress::Ended(Outcome::Succeeded(success))),
                report(Progress::Ended(Outcome::Failed(failure))),
            ],
        };
        assert_eq!(WorkerState::try_from(v1::WorkerState::from(&state)), Ok(state));
    }

    #[test]
    fn what_is_no_file_name_or_digest_is_refused() {
        for name in ["../x", "a/b", ""] {
            let wire = v1::FileRef { name: name.into(), ..(&file("x")).into() };
            assert!(SourceFile::try_from(wire).is_err(), "{name}");
        }
        let wire = v1::FileRef { digest: "12".into(), ..(&file("x")).into() };
        assert!(SourceFile::try_from(wire).is_err());
        assert!(Failure::try_from(v1::Failure::default()).is_err());
    }
}
