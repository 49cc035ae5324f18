//! The next step of a build or a task. The store keeps an index by it, so that each pass reads its
//! own work and not everything that is open.
//!
//! Steps are finer than [stages](crate::stage): one stage may have several, as `resolve` has.

use crate::status::TaskFacts;
use crate::task::TaskKind;

words! {
    /// The step that a build or a task waits for.
    pub enum NextStep: "next step" {
        /// A build lacks its sources.
        Import = "import",
        /// A build lacks its SRPM task.
        Plan = "plan",
        /// The task of an SRPM lacks its lock.
        Lock = "lock",
        /// A task that builds packages lacks its lock, and may have to wait for others of its
        /// batch.
        Order = "order",
        /// A task waits for a worker.
        Dispatch = "dispatch",
        /// A running attempt waits for a wider lock.
        Round = "round",
        /// A success waits to be accepted.
        Accept = "accept",
        /// A build makes names that others own: a person decides.
        Claim = "claim",
        /// A build is accepted, to be signed and published.
        Finish = "finish",
    }
}

impl NextStep {
    /// Whether new work of a build begins with this step. In a paused batch no such step is done;
    /// running work continues.
    #[must_use]
    pub const fn begins(self) -> bool {
        matches!(self, Self::Import | Self::Plan | Self::Lock | Self::Order | Self::Dispatch)
    }
}

/// The step that an open build as a whole waits for. `claims` says whether it makes names that
/// others own without approval. `None` when the build waits for its tasks.
#[must_use]
pub fn for_build(
    imported: bool,
    claims: bool,
    tasks: &[(TaskKind, TaskFacts)],
) -> Option<NextStep> {
    if !imported {
        return Some(NextStep::Import);
    }
    if tasks.is_empty() {
        return Some(NextStep::Plan);
    }
    let builds = tasks.iter().any(|(kind, _)| kind.is_build());
    let accepted = builds && tasks.iter().all(|(_, task)| task.accepted);
    accepted.then_some(if claims { NextStep::Claim } else { NextStep::Finish })
}

/// The step that a task of an open build waits for. `asks` is whether its running attempt has found
/// requirements that no lock answers yet. `None` while a worker has the task, or when it is done.
#[must_use]
pub fn for_task(kind: TaskKind, task: &TaskFacts, asks: bool) -> Option<NextStep> {
    if task.accepted {
        return None;
    }
    if task.running {
        return asks.then_some(NextStep::Round);
    }
    if task.reported {
        return Some(NextStep::Accept);
    }
    Some(match (task.locked, kind) {
        (true, _) => NextStep::Dispatch,
        (false, TaskKind::Srpm) => NextStep::Lock,
        (false, TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat) => NextStep::Order,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lets_end_what_is_under_way() {
        let goes_on = NextStep::ALL.into_iter().filter(|step| !step.begins());
        let expected = [NextStep::Round, NextStep::Accept, NextStep::Claim, NextStep::Finish];
        assert_eq!(goes_on.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_build_goes_from_step_to_step() {
        assert_eq!(for_build(false, false, &[]), Some(NextStep::Import));
        assert_eq!(for_build(true, false, &[]), Some(NextStep::Plan));
        let open = TaskFacts { locked: true, ..TaskFacts::default() };
        let done = TaskFacts { accepted: true, ..open };
        let (srpm, build) = (TaskKind::Srpm, TaskKind::Build);
        assert_eq!(for_build(true, false, &[(srpm, open)]), None);
        assert_eq!(
            for_build(true, false, &[(srpm, done)]),
            None,
            "its build tasks come in the same step"
        );
        assert_eq!(for_build(true, false, &[(srpm, done), (build, done), (build, open)]), None);
        assert_eq!(for_build(true, false, &[(srpm, done), (build, done)]), Some(NextStep::Finish));
        assert_eq!(for_build(true, true, &[(srpm, done), (build, done)]), Some(NextStep::Claim));
        assert_eq!(for_build(true, true, &[(srpm, done), (build, open)]), None);
        let noarch = TaskKind::Noarch;
        assert_eq!(for_build(true, false, &[(srpm, done), (build, done), (noarch, open)]), None);
        assert_eq!(for_build(true, false, &[(srpm, done), (noarch, done)]), Some(NextStep::Finish));
    }

    #[test]
    fn a_task_has_one_next_step_at_most() {
        let of = |task: TaskFacts| for_task(TaskKind::Build, &task, false);
        let mut task = TaskFacts::default();
        assert_eq!(of(task), Some(NextStep::Order));
        assert_eq!(for_task(TaskKind::Srpm, &task, false), Some(NextStep::Lock));
        task.locked = true;
        assert_eq!(of(task), Some(NextStep::Dispatch));
        task.running = true;
        assert_eq!(of(task), None);
        assert_eq!(for_task(TaskKind::Build, &task, true), Some(NextStep::Round));
        (task.running, task.reported) = (false, true);
        assert_eq!(of(task), Some(NextStep::Accept));
        task.accepted = true;
        assert_eq!(of(task), None);
    }
}
