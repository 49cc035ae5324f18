//! The reports of a worker: its properties, the progress of its attempts, and their ends.
//!
//! Only the form is checked here: lists are limited, and lines are cut.

use rpmfarm_core::fault::Failure;
use rpmfarm_core::needs::check_label;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::results::ResultFile;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::statement::Proof;
use rpmfarm_core::task::{AttemptReport, Outcome, Phase, Progress, Success, WorkerState};
use rpmfarm_core::terms::{AllTerms, Terms};
use rpmfarm_core::{Arch, AttemptId, Epoch, name};

use super::{WireError, arches, at_most, bounded, clip, parse, present};
use crate::v1;

/// Labels of one worker at most.
const MAX_LABELS: usize = 64;

/// Files that one task makes at most.
const MAX_FILES: usize = 20_000;

/// Slots of one worker at most.
const MAX_SLOTS: u32 = 1024;

/// A worker reports its running attempts, and ended ones until the coordinator has received their
/// end: some attempts for each of its slots.
const REPORTS_OF_SLOT: usize = 4;

/// A worker with fewer slots may have had more before it was restarted.
const LEAST_SLOTS: u32 = 4;

/// Targets of rpm whose terms one SRPM task reports, at most.
const MAX_TARGETS: usize = 64;

impl From<&WorkerState> for v1::WorkerState {
    fn from(state: &WorkerState) -> Self {
        Self {
            name: state.name.clone(),
            version: state.version.clone(),
            protocol: state.protocol,
            arches: state.arches.iter().map(ToString::to_string).collect(),
            emulated: state.emulated.iter().map(ToString::to_string).collect(),
            slots: state.slots,
            srpm_slots: state.srpm_slots,
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
        name::check_worker(&wire.name)
            .map_err(|error| WireError::Bad { field: "worker name", reason: error.to_string() })?;
        if wire.labels.len() > MAX_LABELS {
            let reason = format!("{} labels, at most {MAX_LABELS}", wire.labels.len());
            return Err(WireError::Bad { field: "labels", reason });
        }
        let slots = wire.slots.saturating_add(wire.srpm_slots);
        let most = REPORTS_OF_SLOT * slots.clamp(LEAST_SLOTS, MAX_SLOTS) as usize;
        if wire.attempts.len() > most {
            let reason = format!(
                "{} attempts, at most {most} from a worker with {slots} slots",
                wire.attempts.len()
            );
            return Err(WireError::Bad { field: "reports", reason });
        }
        for label in &wire.labels {
            check_label(label)
                .map_err(|error| WireError::Bad { field: "labels", reason: error.to_string() })?;
        }
        Ok(Self {
            name: wire.name,
            version: clip(&wire.version, 60),
            protocol: wire.protocol,
            arches: arches(&wire.arches)?,
            emulated: arches(&wire.emulated)?,
            slots: wire.slots.min(MAX_SLOTS),
            srpm_slots: wire.srpm_slots.min(MAX_SLOTS),
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

impl From<&Success> for v1::Success {
    fn from(success: &Success) -> Self {
        Self {
            files: success.files.iter().map(Into::into).collect(),
            predicts: success.predicts.clone(),
            provides: success.provides.clone(),
            terms: success.terms.iter().map(Into::into).collect(),
            rpmbuild_ms: success.rpmbuild_ms,
            memory_mib: success.memory_mib,
            disk_mib: success.disk_mib,
            proof: success.proof.as_deref().map(Into::into),
        }
    }
}

impl From<&Proof> for v1::Proof {
    fn from(proof: &Proof) -> Self {
        let Proof { key, input, signature } = proof;
        Self { key: key.to_string(), input: input.hex(), signature: signature.to_string() }
    }
}

impl TryFrom<v1::Proof> for Proof {
    type Error = WireError;

    fn try_from(wire: v1::Proof) -> Result<Self, WireError> {
        Ok(Self {
            key: parse("worker's key", &wire.key)?,
            input: parse("digest of the input", &wire.input)?,
            signature: parse("worker's signature", &wire.signature)?,
        })
    }
}

impl From<(&String, &Terms)> for v1::SpecTerms {
    fn from((target, terms): (&String, &Terms)) -> Self {
        Self {
            target: target.clone(),
            requires: terms.requires.clone(),
            conflicts: terms.conflicts.clone(),
            predicts: terms.predicts.clone(),
            provides: terms.provides.clone(),
            exclusive: terms.exclusive.clone(),
            excluded: terms.excluded.clone(),
            noarch: terms.noarch,
        }
    }
}

fn terms(all: Vec<v1::SpecTerms>) -> Result<AllTerms, WireError> {
    if all.len() > MAX_TARGETS {
        let reason = format!("of {} targets of rpm, at most {MAX_TARGETS}", all.len());
        return Err(WireError::Bad { field: "terms", reason });
    }
    let terms = |wire: v1::SpecTerms| {
        if wire.target != NOARCH {
            parse::<Arch>("terms", &wire.target)?;
        }
        let terms = Terms {
            requires: bounded("requirements", wire.requires)?,
            conflicts: bounded("conflicts", wire.conflicts)?,
            predicts: bounded("predicted packages", wire.predicts)?,
            provides: bounded("provides of the spec", wire.provides)?,
            exclusive: bounded("ExclusiveArch", wire.exclusive)?,
            excluded: bounded("ExcludeArch", wire.excluded)?,
            noarch: wire.noarch,
        };
        Ok((wire.target, terms))
    };
    all.into_iter().map(terms).collect()
}

impl TryFrom<v1::Success> for Success {
    type Error = WireError;

    fn try_from(wire: v1::Success) -> Result<Self, WireError> {
        Ok(Self {
            terms: terms(wire.terms)?,
            files: at_most(MAX_FILES, "result files", wire.files)?
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            predicts: bounded("predicted packages", wire.predicts)?,
            provides: bounded("provides of the spec", wire.provides)?,
            rpmbuild_ms: wire.rpmbuild_ms,
            memory_mib: wire.memory_mib,
            disk_mib: wire.disk_mib,
            proof: wire.proof.map(|proof| Proof::try_from(proof).map(Box::new)).transpose()?,
        })
    }
}

impl From<&ResultFile> for v1::ResultFile {
    fn from(file: &ResultFile) -> Self {
        let kind = file.kind.as_str().into();
        let (name, digest, size) = (file.name.clone(), file.digest.hex(), file.size);
        let file = v1::FileRef { name, digest, size, executable: false };
        Self { file: Some(file), kind }
    }
}

impl TryFrom<v1::ResultFile> for ResultFile {
    type Error = WireError;

    fn try_from(wire: v1::ResultFile) -> Result<Self, WireError> {
        let SourceFile { name, digest, size, .. } =
            present("result", "file", wire.file)?.try_into()?;
        let kind = parse("result kind", &wire.kind)?;
        Ok(Self { name, kind, digest, size })
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = WireError;

    fn try_from(wire: v1::Failure) -> Result<Self, WireError> {
        let fault = present("failure", "fault", wire.fault().word())?;
        let excerpt = wire.excerpt.iter().take(10).map(|line| clip(line, 400)).collect();
        Ok(Self { fault, stage: wire.known_stage(), message: clip(&wire.message, 1000), excerpt })
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::results::ResultKind;
    use rpmfarm_core::statement::Hex;
    use rpmfarm_core::{FailureStage, Fault, Sha256};

    use super::*;

    fn with_terms((target, noarch): (&str, bool)) -> (String, Terms) {
        let list = |word: &str| vec![format!("{word} of {target}")];
        let terms = Terms {
            requires: list("requires"),
            conflicts: list("conflicts"),
            predicts: list("predicts"),
            provides: list("provides"),
            exclusive: list("exclusive"),
            excluded: list("excluded"),
            noarch,
        };
        (target.into(), terms)
    }

    #[test]
    fn terms_are_of_a_target_that_there_is() {
        let of = |target: &str| v1::SpecTerms { target: target.into(), ..Default::default() };
        let success = |terms| Success::try_from(v1::Success { terms, ..Default::default() });
        assert!(success(vec![of("noarch"), of("ppc64le")]).is_ok());
        assert!(success(vec![of("../x")]).is_err());
        assert!(success(vec![of("noarch"); MAX_TARGETS + 1]).is_err());
    }

    #[test]
    fn worker_state_survives_the_wire() {
        let report = |progress| AttemptReport { attempt: AttemptId(7), epoch: Epoch(8), progress };
        let result = ResultFile {
            name: "a-1-1.src.rpm".into(),
            kind: ResultKind::Srpm,
            digest: Sha256::compute(b"a"),
            size: 1,
        };
        let success = Success {
            files: vec![result],
            predicts: vec!["a-libs".into()],
            provides: vec!["a-static".into()],
            terms: [("aarch64", true), ("noarch", false)].map(with_terms).into(),
            rpmbuild_ms: 12,
            memory_mib: 13,
            disk_mib: 14,
            proof: Some(Box::new(Proof {
                key: Hex([1; 32]),
                input: Sha256::compute(b"i"),
                signature: Hex([2; 64]),
            })),
        };
        let failure =
            Failure::new(Fault::Worker, FailureStage::Root, "no space left on /var/lib/rpmfarm");
        let state = WorkerState {
            name: "w1".into(),
            version: "0.1.0".into(),
            protocol: 3,
            arches: vec![rpmfarm_core::Arch::Ppc64le, rpmfarm_core::Arch::Aarch64],
            emulated: vec![rpmfarm_core::Arch::Aarch64],
            slots: 2,
            srpm_slots: 1,
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
    fn a_worker_has_a_plain_name_and_some_reports() {
        let state = |name: &str, slots, reports| {
            let report = v1::AttemptReport {
                attempt: 1,
                epoch: 1,
                progress: Some(v1::attempt_report::Progress::Phase("build".into())),
            };
            let attempts = vec![report; reports];
            let name = name.to_owned();
            WorkerState::try_from(v1::WorkerState { name, slots, attempts, ..Default::default() })
        };
        assert!(state("w1.example.org", 0, 16).is_ok());
        assert!(state("w1", 8, 32).is_ok());
        let more = v1::WorkerState {
            name: "w1".into(),
            srpm_slots: u32::MAX,
            slots: 8,
            ..Default::default()
        };
        assert_eq!(WorkerState::try_from(more).map(|state| state.srpm_slots), Ok(MAX_SLOTS));
        for (slots, reports) in [(0, 17), (8, 33), (u32::MAX, 4097)] {
            let error = state("w1", slots, reports).unwrap_err().to_string();
            assert!(error.contains(&format!("reports: {reports} attempts, at most")), "{error}");
        }
        for bad in ["w\u{202e}1", "", "a b", "é", &"a".repeat(64)] {
            let error = state(bad, 1, 0).unwrap_err().to_string();
            assert!(error.contains("is not a worker's name"), "{error}");
            assert!(!error.contains('\u{202e}'), "{error:?}");
        }
    }

    #[test]
    fn a_proof_has_a_key_and_a_signature_of_their_length() {
        let proof = |key: usize, signature: usize| {
            let input = Sha256::compute(b"i").hex();
            let (key, signature) = ("0".repeat(key), "0".repeat(signature));
            let proof = Some(v1::Proof { key, input, signature });
            Success::try_from(v1::Success { proof, ..Default::default() })
        };
        assert!(proof(64, 128).is_ok_and(|success| success.proof.is_some()));
        assert!(proof(63, 128).is_err() && proof(64, 126).is_err() && proof(0, 128).is_err());
    }

    #[test]
    fn a_failure_is_somebodys_fault() {
        assert!(Failure::try_from(v1::Failure::default()).is_err());
    }
}
