//! The desired state that the coordinator sends to a worker, and each assignment in it.

use rpmfarm_core::limits::Limits;
use rpmfarm_core::task::{Assignment, DesiredState, TaskInput};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Sha256, TaskId};

use super::{WireError, arches, clip, parse, present};
use crate::v1;

impl From<&Assignment> for v1::Assignment {
    fn from(assignment: &Assignment) -> Self {
        use v1::assignment::Input as Wire;
        let input = match &assignment.input {
            TaskInput::Sources { spec, sources, plan, arches } => Wire::Sources(v1::SourcesInput {
                spec: Some(spec.into()),
                sources: sources.iter().map(Into::into).collect(),
                plan: plan.as_ref().map(Into::into),
                arches: arches.iter().map(ToString::to_string).collect(),
            }),
            TaskInput::Srpm { file, dynamic_requires, noarch } => Wire::Srpm(v1::SrpmInput {
                file: Some(file.into()),
                dynamic_requires: *dynamic_requires,
                noarch: *noarch,
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
            nocheck: assignment.nocheck,
            keep: assignment.keep.clone(),
            limits: Some((&assignment.limits).into()),
            allow: assignment.allow.iter().map(|one| one.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = WireError;

    fn try_from(wire: v1::Assignment) -> Result<Self, WireError> {
        use v1::assignment::Input as Wire;
        let input = match present("assignment", "input", wire.input)? {
            Wire::Sources(input) => TaskInput::Sources {
                spec: present("sources", "spec", input.spec)?.try_into()?,
                sources: input
                    .sources
                    .into_iter()
                    .map(TryInto::try_into)
                    .collect::<Result<_, _>>()?,
                plan: input.plan.map(TryInto::try_into).transpose()?,
                arches: arches(&input.arches)?,
            },
            Wire::Srpm(input) => TaskInput::Srpm {
                file: present("srpm", "file", input.file)?.try_into()?,
                dynamic_requires: input.dynamic_requires,
                noarch: input.noarch,
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
            nocheck: wire.nocheck,
            keep: wire.keep,
            limits: present("assignment", "limits", wire.limits)?.into(),
            // A newer coordinator's word is one that this worker cannot open: it stays closed.
            allow: wire.allow.iter().filter_map(|word| word.parse().ok()).collect(),
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
            results_unpacked_mib: limits.results_unpacked_mib,
            results_files: limits.results_files,
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(wire: v1::Limits) -> Self {
        let default = Self::default();
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        Self {
            seconds: wire.seconds,
            // A worker gets the one time limit that applies to its task.
            srpm_seconds: Self::default().srpm_seconds,
            silence_seconds: wire.silence_seconds,
            memory_mib: wire.memory_mib,
            processes: wire.processes,
            disk_mib: wire.disk_mib,
            log_mib: wire.log_mib,
            results_mib: wire.results_mib,
            results_unpacked_mib: or(wire.results_unpacked_mib, default.results_unpacked_mib),
            results_files: or(wire.results_files, default.results_files),
        }
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Allowance;

    use super::super::tests::file;
    use super::*;

    fn assignment(input: TaskInput) -> Assignment {
        Assignment {
            attempt: AttemptId(1),
            task: TaskId(2),
            build: BuildId(3),
            epoch: Epoch(4),
            input,
            package: "hello".into(),
            target: "lab".into(),
            arch: rpmfarm_core::Arch::X86_64,
            lock: Sha256::compute(b"lock"),
            round: 1,
            macros: "%dist .lab9\n".into(),
            nocheck: true,
            keep: vec!["*.log".into()],
            limits: Limits::default(),
            allow: Allowance::ALL.into(),
        }
    }

    #[test]
    fn desired_state_survives_the_wire() {
        let state = DesiredState {
            assignments: vec![
                assignment(TaskInput::Sources {
                    spec: file("a.spec"),
                    sources: vec![file("a.tar")],
                    plan: Some(file("plan.json")),
                    arches: vec![rpmfarm_core::Arch::Aarch64, rpmfarm_core::Arch::Ppc64le],
                }),
                assignment(TaskInput::Srpm {
                    file: file("a.src.rpm"),
                    dynamic_requires: true,
                    noarch: true,
                }),
            ],
            heartbeat_ms: 1000,
            lease_ms: 30_000,
            notice: "drained".into(),
            probe: 3,
        };
        assert_eq!(DesiredState::try_from(v1::DesiredState::from(&state)), Ok(state));
    }
}
