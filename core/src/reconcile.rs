//! A worker's actions when it receives its desired state.

use crate::task::{Assignment, Progress};
use crate::{AttemptId, Epoch};

/// An attempt that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldAttempt<'a> {
    pub attempt: AttemptId,
    pub epoch: Epoch,
    /// How far it has come.
    pub progress: &'a Progress,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReconcileAction<'a> {
    /// Kill it if it runs, and forget it: it is no longer desired.
    Drop(AttemptId, Epoch),
    Start(&'a Assignment),
    /// Continue it: it has waited for the lock of this round.
    Resume(&'a Assignment),
}

/// Compares the attempts of a worker with its desired state. After the actions a second comparison
/// yields none, so a message that comes twice does no harm.
///
/// Attempts that go come first, because they make room for new ones.
#[must_use]
pub fn reconcile<'a>(
    held: &[HeldAttempt<'_>],
    desired: &'a [Assignment],
) -> Vec<ReconcileAction<'a>> {
    let is = |held: &HeldAttempt<'_>, wanted: &Assignment| {
        (held.attempt, held.epoch) == (wanted.attempt, wanted.epoch)
    };
    let unwanted = held.iter().filter(|held| !desired.iter().any(|wanted| is(held, wanted)));
    let mut actions: Vec<ReconcileAction<'a>> =
        unwanted.map(|held| ReconcileAction::Drop(held.attempt, held.epoch)).collect();
    for wanted in desired {
        match held.iter().find(|held| is(held, wanted)).map(|held| held.progress) {
            None => actions.push(ReconcileAction::Start(wanted)),
            Some(Progress::NeedsRequires { round, .. }) if wanted.round > *round => {
                actions.push(ReconcileAction::Resume(wanted));
            }
            Some(_) => {}
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::source::SourceFile;
    use crate::task::{Phase, TaskInput};
    use crate::{Arch, BuildId, Sha256, TaskId};

    fn wanted(attempt: i64, epoch: i64, round: u32) -> Assignment {
        let file = SourceFile {
            name: "a.src.rpm".into(),
            digest: Sha256::compute(b"a"),
            size: 1,
            executable: false,
        };
        Assignment {
            attempt: AttemptId(attempt),
            task: TaskId(1),
            build: BuildId(1),
            epoch: Epoch(epoch),
            input: TaskInput::Srpm { file, dynamic_requires: true, noarch: false },
            package: "a".into(),
            target: "lab".into(),
            arch: Arch::X86_64,
            lock: Sha256::compute(b"lock"),
            round,
            macros: String::new(),
            nocheck: false,
            keep: Vec::new(),
            limits: Limits::default(),
            allow: crate::Allowed::new(),
        }
    }

    fn held(attempt: i64, epoch: i64, progress: &Progress) -> HeldAttempt<'_> {
        HeldAttempt { attempt: AttemptId(attempt), epoch: Epoch(epoch), progress }
    }

    #[test]
    fn what_lacks_is_started_and_what_is_beyond_goes() {
        let running = Progress::Running(Phase::Build);
        let desired = [wanted(1, 1, 0), wanted(2, 1, 0)];
        let held = [held(1, 1, &running), held(3, 1, &running)];
        assert_eq!(
            reconcile(&held, &desired),
            [ReconcileAction::Drop(AttemptId(3), Epoch(1)), ReconcileAction::Start(&desired[1])]
        );
    }

    #[test]
    fn another_epoch_is_another_attempt() {
        let running = Progress::Running(Phase::Build);
        let desired = [wanted(1, 2, 0)];
        assert_eq!(
            reconcile(&[held(1, 1, &running)], &desired),
            [ReconcileAction::Drop(AttemptId(1), Epoch(1)), ReconcileAction::Start(&desired[0])]
        );
    }

    #[test]
    fn an_attempt_goes_on_when_its_round_has_come() {
        let waits = Progress::NeedsRequires { round: 0, requires: vec!["x".into()] };
        let (same, next) = ([wanted(1, 1, 0)], [wanted(1, 1, 1)]);
        assert_eq!(reconcile(&[held(1, 1, &waits)], &same), []);
        assert_eq!(reconcile(&[held(1, 1, &waits)], &next), [ReconcileAction::Resume(&next[0])]);
        let running = Progress::Running(Phase::Build);
        assert_eq!(reconcile(&[held(1, 1, &running)], &next), [], "a repeated message");
    }
}
