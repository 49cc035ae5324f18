//! The meaning of a worker's reports for its attempts.

use std::time::Duration;

use crate::results::check_requires;
use crate::task::{AttemptReport, Outcome, Progress};
use crate::{AttemptId, Epoch, Failure, FailureStage, Fault};

/// The news about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptNews<'a> {
    Ended(&'a Outcome),
    /// It waits for the lock of the next round.
    NeedsRequires {
        /// The round in which these were found.
        round: u32,
        /// Requirement strings as rpm prints them.
        requires: &'a [String],
    },
    /// The worker does not have the attempt any more.
    Lost,
    /// Nothing has changed.
    Nothing,
}

/// The news in the reports of a worker about one of its live attempts. Reports under another epoch
/// are about another attempt, so they are ignored.
///
/// `before` is whether the worker was given the attempt before its session began: the first report
/// of a session names all attempts that the worker has, so an attempt that is missing is lost. In
/// later reports the worker may not have received the attempt yet.
#[must_use]
pub fn attempt_news(
    attempt: AttemptId,
    epoch: Epoch,
    before: bool,
    reports: &[AttemptReport],
) -> AttemptNews<'_> {
    let report = reports.iter().find(|report| (report.attempt, report.epoch) == (attempt, epoch));
    match report.map(|report| &report.progress) {
        Some(Progress::Ended(outcome)) => AttemptNews::Ended(outcome),
        Some(Progress::NeedsRequires { round, requires }) => {
            AttemptNews::NeedsRequires { round: *round, requires }
        }
        Some(Progress::Running(_)) => AttemptNews::Nothing,
        None if before => AttemptNews::Lost,
        None => AttemptNews::Nothing,
    }
}

/// The failure of an attempt that its worker does not have any more.
#[must_use]
pub fn lost(worker: &str) -> Failure {
    let message = format!("worker {worker} was restarted and lost the attempt");
    Failure::new(Fault::Worker, FailureStage::Lease, message)
}

/// The failure of an attempt that is taken from its worker because of the worker's silence.
#[must_use]
pub fn silent(worker: &str, silence: Duration) -> Failure {
    let seconds = silence.as_secs();
    let message =
        format!("worker {worker} was silent for {seconds} s; the task goes to another worker");
    Failure::new(Fault::Worker, FailureStage::Lease, message)
}

/// The failure of an attempt whose requirements are refused; `None` when they are valid.
#[must_use]
pub fn refused_requires(requires: &[String]) -> Option<Failure> {
    let refusal = check_requires("%generate_buildrequires", requires).err()?;
    Some(Failure::new(refusal.fault(), FailureStage::Resolve, refusal.to_string()))
}

/// The record of a report on an attempt that is not live, in one line; `None` when the report is no
/// end.
#[must_use]
pub fn late(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Ended(Outcome::Succeeded(_)) => Some("succeeded".to_owned()),
        Progress::Ended(Outcome::Failed(failure)) => Some(format!("failed: {}", failure.message)),
        Progress::Running(_) | Progress::NeedsRequires { .. } => None,
    }
}

/// Whether an attempt was taken from its worker, because the worker was silent or came back without
/// it. `outcome` is how the attempt has ended.
#[must_use]
pub fn was_taken(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.stage == FailureStage::Lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Phase, Success};

    #[test]
    fn only_the_epoch_that_is_held_is_heard_and_only_a_fresh_silence_is_a_loss() {
        let done = Outcome::Succeeded(Success::default());
        let report = |epoch, progress| AttemptReport {
            attempt: AttemptId(7),
            epoch: Epoch(epoch),
            progress,
        };
        let said = |before, reports: &[AttemptReport]| {
            format!("{:?}", attempt_news(AttemptId(7), Epoch(2), before, reports))
        };
        let ended = report(2, Progress::Ended(done.clone()));
        let old = report(1, Progress::Ended(done));
        let runs = report(2, Progress::Running(Phase::Build));
        assert!(said(true, &[old.clone(), ended]).starts_with("Ended"));
        assert_eq!(said(true, &[runs]), "Nothing");
        assert_eq!(said(false, std::slice::from_ref(&old)), "Nothing");
        assert_eq!(said(true, &[old]), "Lost");
    }

    #[test]
    fn what_the_farm_has_taken_from_a_worker_is_told_from_what_it_has_ended() {
        assert!(was_taken(&Outcome::Failed(lost("w1"))));
        let silent = silent("w1", Duration::from_millis(30_900));
        assert_eq!(
            silent.message,
            "worker w1 was silent for 30 s; the task goes to another worker"
        );
        assert!(was_taken(&Outcome::Failed(silent)));
        let own = Failure::new(Fault::Package, FailureStage::Build, "no compiler");
        assert!(!was_taken(&Outcome::Failed(own.clone())));
        let done = Outcome::Succeeded(Success::default());
        assert!(!was_taken(&done));
        assert_eq!(late(&Progress::Ended(done)).as_deref(), Some("succeeded"));
        let failed = Progress::Ended(Outcome::Failed(own));
        assert_eq!(late(&failed).as_deref(), Some("failed: no compiler"));
        assert_eq!(late(&Progress::Running(Phase::Build)), None);
    }

    #[test]
    fn requirements_that_were_found_are_checked_like_those_of_a_spec() {
        assert_eq!(refused_requires(&["gcc".to_owned()]), None);
        let many = vec!["gcc".to_owned(); 1 << 20];
        let failure = refused_requires(&many).expect("that is too much");
        assert_eq!((failure.fault, failure.stage), (Fault::Package, FailureStage::Resolve));
    }
}
