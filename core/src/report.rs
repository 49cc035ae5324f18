//! What a worker's reports mean for an attempt that it holds.

use crate::task::{AttemptReport, Outcome, Progress};
use crate::{AttemptId, Epoch};

/// What was said of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    Ended(&'a Outcome),
    /// It waits for the lock of the next round.
    NeedsRequires {
        /// The round in which these were found.
        round: u32,
        /// Requirement strings as rpm prints them.
        requires: &'a [String],
    },
    /// The worker does not have it any more.
    Lost,
    /// Nothing that changes anything.
    Nothing,
}

/// What a worker says of a live attempt of its. Reports under another epoch are of another
/// attempt, so they say nothing of this one.
///
/// `before` is whether the worker was given the attempt before it spoke anew: with the first
/// report after that it names all that it has, so what it does not name is lost. Later it may
/// only not have heard of it yet.
#[must_use]
pub fn of(attempt: AttemptId, epoch: Epoch, before: bool, reports: &[AttemptReport]) -> Said<'_> {
    let report = reports.iter().find(|report| (report.attempt, report.epoch) == (attempt, epoch));
    match report.map(|report| &report.progress) {
        Some(Progress::Ended(outcome)) => Said::Ended(outcome),
        Some(Progress::NeedsRequires { round, requires }) => {
            Said::NeedsRequires { round: *round, requires }
        }
        Some(Progress::Running(_)) => Said::Nothing,
        None if before => Said::Lost,
        None => Said::Nothing,
    }
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
            format!("{:?}", of(AttemptId(7), Epoch(2), before, reports))
        };
        let ended = report(2, Progress::Ended(done.clone()));
        let old = report(1, Progress::Ended(done));
        let runs = report(2, Progress::Running(Phase::Build));
        assert!(said(true, &[old.clone(), ended]).starts_with("Ended"));
        assert_eq!(said(true, &[runs]), "Nothing");
        assert_eq!(said(false, std::slice::from_ref(&old)), "Nothing");
        assert_eq!(said(true, &[old]), "Lost");
    }
}
