//! The state of a build and of its tasks, derived from their facts and never stored.
//!
//! The stages add facts; this is the one place that derives the state from them. An absent fact
//! means that its stage has not run, so the facts are checked in the order of the pipeline, from
//! its end.
//!
//! Failures, cancellations and retries count in their order, whatever the wall clock does: it may
//! jump.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Timestamp;
use crate::fault::{Failure, FailureStage, Fault};
use crate::name::shown;
use crate::task::Outcome;
use crate::words::UnknownWord;

words! {
    /// Where a build is.
    pub enum BuildState: "state of a build" {
        /// Its sources are being fetched.
        Importing = "importing",
        /// Its SRPM is being made, or waits for a worker.
        Srpm = "srpm",
        /// It waits for packages of other builds, or for its root to be solved.
        Waiting = "waiting",
        /// It waits for a worker.
        Queued = "queued",
        /// A worker builds it.
        Building = "building",
        /// Its results are being read and checked.
        Accepting = "accepting",
        /// It makes names that packages of other sources own, and waits for a person.
        Claimed = "claimed",
        /// Its packages are being signed.
        Signing = "signing",
        /// They are being published.
        Publishing = "publishing",
        /// A repository contains its packages. Final.
        Published = "published",
        /// It failed; there is a [`Failure`]. Final.
        Failed = "failed",
        /// It was cancelled. Final.
        Cancelled = "cancelled",
    }
}

impl BuildState {
    /// Whether the state is final.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Published | Self::Failed | Self::Cancelled)
    }

    /// The state under which metrics count it.
    #[must_use]
    pub const fn counted(self) -> CountedState {
        match self {
            Self::Importing => CountedState::Importing,
            Self::Srpm => CountedState::Srpm,
            Self::Waiting | Self::Queued | Self::Building | Self::Accepting => {
                CountedState::Building
            }
            Self::Claimed | Self::Signing | Self::Publishing => CountedState::Finishing,
            Self::Published => CountedState::Published,
            Self::Failed => CountedState::Failed,
            Self::Cancelled => CountedState::Cancelled,
        }
    }
}

words! {
    /// The state under which metrics count a build. Coarser than [`BuildState`], because SQL counts
    /// by absent facts alone, without reading tasks and packages.
    pub enum CountedState: "counted state of builds" {
        /// As [`BuildState::Importing`].
        Importing = "importing",
        /// As [`BuildState::Srpm`].
        Srpm = "srpm",
        /// A task is not accepted yet: it waits, runs or is being accepted.
        Building = "building",
        /// All tasks are accepted, and the packages are in no repository yet.
        Finishing = "finishing",
        /// As [`BuildState::Published`].
        Published = "published",
        /// As [`BuildState::Cancelled`].
        Cancelled = "cancelled",
        /// As [`BuildState::Failed`].
        Failed = "failed",
    }
}

/// A filter of builds by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StateFilter {
    /// All builds; an empty text.
    #[default]
    Any,
    /// Builds that have not ended.
    Running,
    /// Builds in this state.
    In(BuildState),
}

impl StateFilter {
    const RUNNING: &str = "running";

    /// Whether the filter selects builds in this state.
    #[must_use]
    pub fn admits(self, state: BuildState) -> bool {
        match self {
            Self::Any => true,
            Self::Running => !state.is_end(),
            Self::In(wanted) => state == wanted,
        }
    }
}

impl fmt::Display for StateFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Any => "",
            Self::Running => Self::RUNNING,
            Self::In(state) => state.as_str(),
        })
    }
}

impl FromStr for StateFilter {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "" => Ok(Self::Any),
            Self::RUNNING => Ok(Self::Running),
            word => word.parse().map(Self::In).map_err(|_| UnknownWord {
                what: "state of builds",
                text: shown(word),
                known: format!(
                    "{}, {}",
                    Self::RUNNING,
                    BuildState::ALL.map(BuildState::as_str).join(", ")
                ),
            }),
        }
    }
}

words! {
    /// The state of a task.
    pub enum TaskState: "state of a task" {
        /// It has no lock yet.
        Waiting = "waiting",
        /// It waits for a worker.
        Queued = "queued",
        /// A worker has it.
        Running = "running",
        /// Its results are being read and checked.
        Accepting = "accepting",
        /// Its results are accepted. Final.
        Succeeded = "succeeded",
        /// Its build has ended, and its last attempt failed. Final.
        Failed = "failed",
        /// Its build has ended before it did. Final.
        Cancelled = "cancelled",
    }
}

/// The state of a task's last attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastAttempt {
    #[default]
    Missing,
    /// A worker has it.
    Running,
    /// The worker has reported success.
    Succeeded,
    Failed,
    /// It was taken from its worker, because its build ended.
    Cancelled,
}

impl LastAttempt {
    /// The state of an attempt that ended with this outcome.
    #[must_use]
    pub const fn ended(outcome: Option<&Outcome>) -> Self {
        match outcome {
            Some(Outcome::Succeeded(_)) => Self::Succeeded,
            Some(Outcome::Failed(_)) => Self::Failed,
            None => Self::Cancelled,
        }
    }
}

/// The facts of a task that decide its state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskFacts {
    /// Whether it has a lock.
    pub locked: bool,
    /// Whether a worker holds an attempt of it.
    pub running: bool,
    /// Whether a worker has reported success, and the results are not accepted yet.
    pub reported: bool,
    /// Whether its results are accepted.
    pub accepted: bool,
}

impl TaskFacts {
    /// The facts of a task, from its lock, its last attempt and its acceptance.
    #[must_use]
    pub const fn new(locked: bool, last: LastAttempt, accepted: bool) -> Self {
        Self {
            locked,
            running: matches!(last, LastAttempt::Running),
            reported: matches!(last, LastAttempt::Succeeded),
            accepted,
        }
    }
}

/// The state of a task. `open` is whether its build has not ended, `failed` whether its last
/// attempt has failed.
#[must_use]
pub const fn task_state(task: &TaskFacts, failed: bool, open: bool) -> TaskState {
    match task {
        TaskFacts { accepted: true, .. } => TaskState::Succeeded,
        TaskFacts { running: true, .. } => TaskState::Running,
        _ if !open && failed => TaskState::Failed,
        _ if !open => TaskState::Cancelled,
        TaskFacts { reported: true, .. } => TaskState::Accepting,
        TaskFacts { locked: true, .. } => TaskState::Queued,
        _ => TaskState::Waiting,
    }
}

/// The facts of a build that decide its state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildFacts<'a> {
    pub cancelled: bool,
    /// Whether it failed finally, and was not retried since.
    pub failed: bool,
    /// Whether its sources were imported.
    pub imported: bool,
    /// Whether its SRPM is accepted.
    pub srpm: bool,
    /// Its build tasks, one for each architecture.
    pub tasks: &'a [TaskFacts],
    /// Whether it makes names that others own, and nobody has approved that.
    pub claimed: bool,
    /// Whether all its packages are signed.
    pub signed: bool,
    /// Whether a published revision of its channel contains them.
    pub published: bool,
}

/// The state of a build.
#[must_use]
pub fn derive(facts: &BuildFacts<'_>) -> BuildState {
    let all = |is: fn(&TaskFacts) -> bool| facts.tasks.iter().all(is);
    let any = |is: fn(&TaskFacts) -> bool| facts.tasks.iter().any(is);
    if facts.published {
        BuildState::Published
    } else if facts.cancelled {
        BuildState::Cancelled
    } else if facts.failed {
        BuildState::Failed
    } else if !facts.imported {
        BuildState::Importing
    } else if !facts.srpm {
        BuildState::Srpm
    } else if facts.tasks.is_empty() {
        BuildState::Waiting
    } else if all(|task| task.accepted) {
        match facts {
            BuildFacts { claimed: true, .. } => BuildState::Claimed,
            BuildFacts { signed: true, .. } => BuildState::Publishing,
            _ => BuildState::Signing,
        }
    } else if any(|task| task.running) {
        BuildState::Building
    } else if all(|task| task.reported || task.accepted) {
        BuildState::Accepting
    } else if any(|task| !task.locked) {
        BuildState::Waiting
    } else {
        BuildState::Queued
    }
}

/// The decision after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt, not before this much time has passed.
    TryAfter(Duration),
    /// No more attempts.
    GiveUp,
}

/// The longest pause before another try. A longer one must come from a clock that has jumped.
pub const MAX_PAUSE: Duration = Duration::from_secs(120);

/// The latest time at which a retry can be due: no pause is longer than [`MAX_PAUSE`]. A later time
/// is from before the clock was set back.
#[must_use]
pub fn latest_due(now: Timestamp) -> Timestamp {
    now + MAX_PAUSE
}

/// Whether a retry that is due at a time is to be made now.
#[must_use]
pub fn is_due(due: Timestamp, now: Timestamp) -> bool {
    due <= now || due > latest_due(now)
}

/// The most attempts of a task that fails again and again, until its build is retried: all failures
/// of workers and of the farm that do not end it, and the one that does.
pub const MAX_ATTEMPTS: u32 = Fault::Worker.attempts() + Fault::Farm.attempts() - 1;

/// Decides on a failure after those of `earlier` faults since the task was last (re)started.
///
/// A failure of the package is final. Others are tried again up to the bound of their fault: a
/// worker's after a pause that grows from a quarter of a second by a factor of four, because
/// another worker may succeed at once; the farm's after a pause that doubles from one second to two
/// minutes, because all builds are affected alike. Each fault is counted by itself: a server that
/// was down for a while must not take workers' tries from a task.
#[must_use]
pub fn after_failure(failure: &Failure, earlier: impl IntoIterator<Item = Fault>) -> RetryDecision {
    let before = earlier.into_iter().filter(|fault| *fault == failure.fault).count();
    let before = u32::try_from(before).unwrap_or(u32::MAX);
    if before >= failure.fault.attempts() - 1 {
        return RetryDecision::GiveUp;
    }
    match failure.fault {
        Fault::Package => RetryDecision::GiveUp,
        Fault::Worker => RetryDecision::TryAfter(Duration::from_millis(250 << (2 * before.min(4)))),
        Fault::Farm => {
            RetryDecision::TryAfter(Duration::from_secs(1 << before.min(7)).min(MAX_PAUSE))
        }
    }
}

/// A failure of an attempt, reclassified by the earlier ones of its task since it was last
/// (re)started. If two attempts could not make a root from the same lock, the cause is the lock and
/// so the package, not a worker.
#[must_use]
pub fn confirmed<'a>(
    failure: &Failure,
    earlier: impl IntoIterator<Item = &'a Failure>,
) -> Option<Failure> {
    let is_refusal = |failure: &Failure| {
        failure.fault == Fault::Worker && failure.stage == FailureStage::Transaction
    };
    (is_refusal(failure) && earlier.into_iter().any(is_refusal)).then(|| Failure {
        fault: Fault::Package,
        message: format!("{} (tried twice)", failure.message),
        ..failure.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_two_could_not_make_is_the_packages() {
        let refused =
            Failure::new(Fault::Worker, FailureStage::Transaction, "%pre of a-1-1.noarch failed");
        let crash = Failure::new(Fault::Worker, FailureStage::Root, "no space left");
        assert_eq!(confirmed(&refused, []), None);
        assert_eq!(confirmed(&refused, [&crash]), None);
        assert_eq!(confirmed(&crash, [&refused]), None);
        let damaged = Failure::new(Fault::Worker, FailureStage::Accept, "a.rpm: truncated");
        assert_eq!(
            confirmed(&damaged, [&damaged, &refused]),
            None,
            "workers may break files again"
        );
        let final_failure = confirmed(&refused, [&crash, &refused]).expect("is the package's");
        assert_eq!(
            (final_failure.fault, &final_failure.stage),
            (Fault::Package, &FailureStage::Transaction)
        );
        assert_eq!(final_failure.message, "%pre of a-1-1.noarch failed (tried twice)");
        assert_eq!(after_failure(&final_failure, [Fault::Worker]), RetryDecision::GiveUp);
    }

    #[test]
    fn a_build_walks_through_its_states_as_facts_arrive() {
        let mut facts = BuildFacts::default();
        assert_eq!(derive(&facts), BuildState::Importing);
        facts.imported = true;
        assert_eq!(derive(&facts), BuildState::Srpm);
        facts.srpm = true;
        assert_eq!(derive(&facts), BuildState::Waiting);
        let with = |task: TaskFacts| derive(&BuildFacts { tasks: &[task], ..facts });
        assert_eq!(with(TaskFacts::default()), BuildState::Waiting);
        let locked = TaskFacts { locked: true, ..Default::default() };
        assert_eq!(with(locked), BuildState::Queued);
        assert_eq!(with(TaskFacts { running: true, ..locked }), BuildState::Building);
        assert_eq!(with(TaskFacts { reported: true, ..locked }), BuildState::Accepting);
        let accepted = [TaskFacts { accepted: true, ..locked }];
        facts.tasks = &accepted;
        assert_eq!(derive(&BuildFacts { claimed: true, ..facts }), BuildState::Claimed);
        assert_eq!(derive(&facts), BuildState::Signing);
        facts.signed = true;
        assert_eq!(derive(&facts), BuildState::Publishing);
        facts.published = true;
        assert_eq!(derive(&facts), BuildState::Published);
    }

    #[test]
    fn a_task_walks_through_its_states_as_facts_arrive() {
        let state = |locked, last: LastAttempt, accepted, open| {
            let failed = last == LastAttempt::Failed;
            task_state(&TaskFacts::new(locked, last, accepted), failed, open)
        };
        use LastAttempt::{Cancelled, Failed, Missing, Running, Succeeded};
        assert_eq!(state(false, Missing, false, true), TaskState::Waiting);
        assert_eq!(state(true, Missing, false, true), TaskState::Queued);
        assert_eq!(state(true, Running, false, true), TaskState::Running);
        assert_eq!(state(true, Failed, false, true), TaskState::Queued, "it is tried again");
        assert_eq!(state(true, Succeeded, false, true), TaskState::Accepting);
        assert_eq!(state(true, Succeeded, true, true), TaskState::Succeeded);
        // When the build has ended.
        assert_eq!(state(true, Succeeded, true, false), TaskState::Succeeded);
        assert_eq!(state(true, Failed, false, false), TaskState::Failed);
        for last in [Missing, Cancelled, Succeeded] {
            assert_eq!(state(true, last, false, false), TaskState::Cancelled);
        }
        let success = Outcome::Succeeded(crate::task::Success::default());
        assert_eq!(LastAttempt::ended(Some(&success)), Succeeded);
        assert_eq!(LastAttempt::ended(None), Cancelled);
    }

    #[test]
    fn a_filter_is_a_state_or_whatever_has_not_ended() {
        let admits = |filter: &str| {
            let filter: StateFilter = filter.parse().unwrap();
            BuildState::ALL.into_iter().filter(|state| filter.admits(*state)).collect::<Vec<_>>()
        };
        assert_eq!(admits(""), BuildState::ALL);
        assert_eq!(admits("running"), BuildState::ALL[..9]);
        assert_eq!(admits("claimed"), [BuildState::Claimed]);
        for filter in [StateFilter::Any, StateFilter::Running, StateFilter::In(BuildState::Failed)]
        {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
        let error = "done".parse::<StateFilter>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown state of builds `done` (known: running, imp"),
            "{error}"
        );
    }

    #[test]
    fn what_is_counted_keeps_the_words_of_the_states_that_it_has() {
        for state in BuildState::ALL {
            if let Ok(counted) = state.as_str().parse::<CountedState>() {
                assert_eq!(state.counted(), counted);
            }
            let is_end = matches!(
                state.counted(),
                CountedState::Published | CountedState::Cancelled | CountedState::Failed
            );
            assert_eq!(state.is_end(), is_end, "{state}");
        }
    }

    #[test]
    fn an_end_is_an_end() {
        let facts = BuildFacts { cancelled: true, failed: true, ..Default::default() };
        assert_eq!(derive(&facts), BuildState::Cancelled);
        assert_eq!(derive(&BuildFacts { cancelled: false, ..facts }), BuildState::Failed);
        // A published build stays published even if a cancellation comes later.
        assert_eq!(derive(&BuildFacts { published: true, ..facts }), BuildState::Published);
    }

    #[test]
    fn tries_are_bounded() {
        for fault in [Fault::Package, Fault::Worker, Fault::Farm] {
            let failure = Failure::new(fault, FailureStage::Build, "x");
            let goes_on =
                |n: &usize| after_failure(&failure, vec![fault; *n]) != RetryDecision::GiveUp;
            assert_eq!((0..).take_while(goes_on).count() as u32 + 1, fault.attempts());
        }
    }

    #[test]
    fn each_fault_has_a_count_of_its_own_and_all_together_an_end() {
        let failed = |fault| Failure::new(fault, FailureStage::Build, "x");
        let after = |millis| RetryDecision::TryAfter(Duration::from_millis(millis));
        // A mirror that was away thrice, and then a worker that crashed for the first time.
        let outage = [Fault::Farm; 3];
        assert_eq!(after_failure(&failed(Fault::Worker), outage), after(250));
        let crashes = [Fault::Worker; 3];
        assert_eq!(after_failure(&failed(Fault::Farm), crashes), after(1000));
        let both = [outage, crashes].concat();
        assert_eq!(after_failure(&failed(Fault::Worker), both), RetryDecision::GiveUp);
        // Whatever fails in turn, there is an end.
        let mut earlier = Vec::new();
        while let Some(fault) = [Fault::Farm, Fault::Worker].into_iter().find(|fault| {
            after_failure(&failed(*fault), earlier.iter().copied()) != RetryDecision::GiveUp
        }) {
            earlier.push(fault);
        }
        assert_eq!(earlier.len() as u32 + 1, MAX_ATTEMPTS);
    }

    #[test]
    fn what_is_due_does_not_wait_for_a_clock_that_went_back() {
        const DAY: Duration = Duration::from_secs(86_400);
        let at = Timestamp::from_us;
        assert!(is_due(at(10), at(10)) && !is_due(at(11), at(10)));
        assert!(!is_due(at(10) + MAX_PAUSE, at(10)) && is_due(at(11) + MAX_PAUSE, at(10)));
        assert!(is_due(at(0) + DAY, at(0)) && is_due(at(0), at(0) + DAY));
        assert!(is_due(at(0), at(i64::MAX)));
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let pauses = |fault| {
            let failure = Failure::new(fault, FailureStage::Build, "x");
            let pause = |before| match after_failure(&failure, vec![fault; before]) {
                RetryDecision::TryAfter(pause) => Some(pause),
                RetryDecision::GiveUp => None,
            };
            (0..).map_while(pause).collect::<Vec<_>>()
        };
        assert!(pauses(Fault::Package).is_empty());
        assert_eq!(pauses(Fault::Worker), [250, 1000, 4000].map(Duration::from_millis));
        let farm = pauses(Fault::Farm);
        assert_eq!(farm[..3], [1, 2, 4].map(Duration::from_secs));
        let whole: Duration = farm.iter().sum();
        assert!(whole > Duration::from_secs(120), "an outage of two minutes fails nothing");
        assert!(farm.iter().all(|pause| *pause <= MAX_PAUSE));
    }
}
