//! Why a build is in its state: the reasons, in their order.

use std::time::Duration;

use super::{ReasonCode, WaitReason, about};
use crate::remedy::Remedy;
use crate::status::{BuildState, TaskState};
use crate::{BatchId, Failure, TaskId, Timestamp};

/// The beginning of the wait reason of a build whose results cannot be accepted now.
pub const NOT_ACCEPTED: &str = "not accepted yet";

/// The reason of a build that is between two stages: the next pass continues it.
const IN_A_MOMENT: &str = "will continue in a moment";

/// A reason why a build, or one of its tasks, is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The reason as a word for programs.
    pub code: ReasonCode,
    /// The task that it concerns; empty for the whole build.
    pub task: String,
    /// One line.
    pub text: String,
    /// The remedy that the text does not contain.
    pub remedy: Option<Remedy>,
    /// How many tasks go first.
    pub ahead: u64,
    /// When the task will start, as far as is known.
    pub starts: Option<Timestamp>,
}

/// The facts of a build.
#[derive(Debug, Clone)]
pub struct BuildFacts<'a> {
    /// Its state; `None` when it is unknown.
    pub state: Option<BuildState>,
    /// Whether it has reached its end.
    pub has_ended: bool,
    /// The channel that it is published in.
    pub channel: &'a str,
    /// The revision of the channel that contains it.
    pub revision: i64,
    /// Why it failed or waits, from its state; may be empty.
    pub reason: &'a str,
    /// The failures since the last retry, oldest first.
    pub failures: &'a [Failed<'a>],
    /// Its batch, when that is paused.
    pub paused: Option<BatchId>,
    /// How many other builds are imported before it.
    pub imports_ahead: u64,
    /// The wait reason that a stage set; empty for none.
    pub waits: &'a str,
    /// Its tasks, in the order in which they are shown.
    pub tasks: &'a [TaskFacts<'a>],
}

/// A failure of a build or of one of its tasks.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// The task; `None` when the build failed before it had tasks.
    pub task: Option<TaskId>,
    pub failure: &'a Failure,
    /// When it is tried again; `None` when the failure is final.
    pub retry: Option<Timestamp>,
}

/// The facts of a task.
#[derive(Debug, Clone)]
pub struct TaskFacts<'a> {
    pub id: TaskId,
    /// `build x86_64`.
    pub name: String,
    /// Its state; `None` when it is unknown.
    pub state: Option<TaskState>,
    pub worker: &'a str,
    /// The phase of its attempt; empty before it begins.
    pub phase: &'a str,
    /// Since when it has been running.
    pub started: Timestamp,
    /// Why it waits in its queue; `None` when it is in no queue, as shortly before and after.
    pub queued: Option<WaitReason>,
}

/// All reasons of a build and its tasks; at least one.
#[must_use]
pub fn reasons(build: &BuildFacts<'_>, now: Timestamp) -> Vec<Reason> {
    if build.has_ended {
        return vec![build.ended()];
    }
    let retry = retry(build.failures, None, now);
    let of_build = build.stage(retry.is_some());
    let of_tasks = build.tasks.iter().filter_map(|task| build.task(task, now));
    let of_build = build.paused.map(paused).into_iter().chain(retry).chain(of_build);
    let reasons: Vec<Reason> = of_build.chain(of_tasks).collect();
    if reasons.is_empty() {
        return vec![reason(ReasonCode::Lock, or(build.reason, IN_A_MOMENT))];
    }
    reasons
}

/// When a task, or the build outside of its tasks, is retried after its newest failure; `None` when
/// it is not, or when that time has passed. Failures of other tasks do not count.
#[must_use]
pub fn next_try(failures: &[Failed<'_>], of: Option<TaskId>, now: Timestamp) -> Option<Timestamp> {
    let newest = failures.iter().rfind(|failed| failed.task == of)?;
    newest.retry.filter(|at| *at > now)
}

/// Why a build waits whose batch is paused.
#[must_use]
pub fn held_by_pause(batch: BatchId) -> String {
    format!("batch {batch} is paused: what runs goes on, and nothing more of it begins")
}

fn paused(batch: BatchId) -> Reason {
    let text = held_by_pause(batch);
    Reason { remedy: Some(Remedy::ResumeBatch { batch }), ..reason(ReasonCode::Paused, text) }
}

fn retry(failures: &[Failed<'_>], of: Option<TaskId>, now: Timestamp) -> Option<Reason> {
    let starts = next_try(failures, of, now)?;
    let newest = failures.iter().rfind(|failed| failed.task == of)?;
    let text = format!("is tried again {} after: {}", in_time(starts.since(now)), newest.failure);
    Some(Reason { starts: Some(starts), ..reason(ReasonCode::Retry, text) })
}

impl BuildFacts<'_> {
    fn ended(&self) -> Reason {
        let text = match self.state {
            Some(BuildState::Published) => {
                format!("it is published in {}, revision {}", self.channel, self.revision)
            }
            Some(BuildState::Failed) => format!("it failed: {}", self.reason),
            state => format!("it is {}", state.map_or("over", BuildState::as_str)),
        };
        reason(ReasonCode::Ended, text)
    }

    /// The reason of the stage that works on the whole build. `is_retried` says whether the build
    /// has failed there, and is tried again later.
    fn stage(&self, is_retried: bool) -> Option<Reason> {
        let (code, text) = match self.state? {
            BuildState::Importing if !is_retried => {
                let text = match self.imports_ahead {
                    0 => "its sources are being fetched".to_owned(),
                    ahead => format!("its sources are fetched after those of {ahead} other builds"),
                };
                (ReasonCode::Import, text)
            }
            BuildState::Claimed => (ReasonCode::Claim, self.reason.to_owned()),
            BuildState::Signing => {
                (ReasonCode::Sign, or(self.reason, "its packages are being signed"))
            }
            BuildState::Publishing => {
                (ReasonCode::Publish, or(self.reason, "its packages are being published"))
            }
            _ => return None,
        };
        Some(reason(code, text))
    }

    fn task(&self, task: &TaskFacts<'_>, now: Timestamp) -> Option<Reason> {
        let is_idle = matches!(task.state, Some(TaskState::Waiting | TaskState::Queued));
        let retry = retry(self.failures, Some(task.id), now).filter(|_| is_idle);
        let of_task = match (retry, task.state?) {
            (Some(retry), _) => retry,
            (None, TaskState::Running) => {
                let (phase, time) = (or(task.phase, "begins"), span(now.since(task.started)));
                let text = format!("runs on {} ({phase}) for {time}", task.worker);
                reason(ReasonCode::Runs, text)
            }
            (None, TaskState::Accepting) => {
                let waits = if self.waits.starts_with(NOT_ACCEPTED) { self.waits } else { "" };
                reason(ReasonCode::Accept, or(waits, "its results are being checked"))
            }
            (None, TaskState::Waiting) => {
                let is_solved = self.waits.is_empty();
                let code = if is_solved { ReasonCode::Lock } else { ReasonCode::Packages };
                reason(code, or(self.waits, "its build root is being solved and fetched"))
            }
            (None, TaskState::Queued) => match &task.queued {
                Some(why) => queued(why, now),
                None => reason(ReasonCode::Queue, IN_A_MOMENT.to_owned()),
            },
            _ => return None,
        };
        Some(Reason { task: task.name.clone(), ..of_task })
    }
}

fn queued(why: &WaitReason, now: Timestamp) -> Reason {
    let (ahead, starts) = match why {
        WaitReason::Behind { tasks, starts_in } => (*tasks, Some(now + *starts_in)),
        _ => (0, None),
    };
    Reason { remedy: why.remedy(), ahead, starts, ..reason(why.code(), why.to_string()) }
}

fn reason(code: ReasonCode, text: String) -> Reason {
    Reason { code, task: String::new(), text, remedy: None, ahead: 0, starts: None }
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

fn in_time(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 50 { format!("in {} s", seconds + 1) } else { about(time) }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arch, FailureStage, Fault};

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_us(seconds * 1_000_000)
    }

    fn build(state: BuildState) -> BuildFacts<'static> {
        BuildFacts {
            state: Some(state),
            has_ended: false,
            channel: "testing",
            revision: 7,
            reason: "",
            failures: &[],
            paused: None,
            imports_ahead: 0,
            waits: "",
            tasks: &[],
        }
    }

    fn task(id: i64, state: TaskState) -> TaskFacts<'static> {
        TaskFacts {
            id: TaskId(id),
            name: format!("build {id}"),
            state: Some(state),
            worker: "w1",
            phase: "",
            started: at(0),
            queued: None,
        }
    }

    fn reasons_of(build: &BuildFacts<'_>, now: Timestamp) -> Vec<(String, &'static str, String)> {
        let short = |reason: Reason| (reason.task, reason.code.as_str(), reason.text);
        reasons(build, now).into_iter().map(short).collect()
    }

    fn one(build: &BuildFacts<'_>) -> (&'static str, String) {
        let mut reasons = reasons_of(build, at(0));
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        let (_, code, text) = reasons.remove(0);
        (code, text)
    }

    #[test]
    fn what_has_ended_says_only_how() {
        let tasks = [task(1, TaskState::Running)];
        let ended = |state| BuildFacts { has_ended: true, tasks: &tasks, ..build(state) };
        let published = one(&ended(BuildState::Published));
        assert_eq!(published, ("ended", "it is published in testing, revision 7".to_owned()));
        let failed = BuildFacts { reason: "no sources", ..ended(BuildState::Failed) };
        assert_eq!(one(&failed).1, "it failed: no sources");
        assert_eq!(one(&ended(BuildState::Cancelled)).1, "it is cancelled");
    }

    #[test]
    fn a_stage_says_what_it_does_with_the_build() {
        let import = build(BuildState::Importing);
        assert_eq!(one(&import), ("import", "its sources are being fetched".to_owned()));
        let after = BuildFacts { imports_ahead: 3, ..import };
        assert_eq!(one(&after).1, "its sources are fetched after those of 3 other builds");
        let signing = build(BuildState::Signing);
        assert_eq!(one(&signing), ("sign", "its packages are being signed".to_owned()));
        let waits = BuildFacts { reason: "not signed yet: no signer", ..signing };
        assert_eq!(one(&waits).1, "not signed yet: no signer");
        let between = build(BuildState::Building);
        assert_eq!(one(&between), ("lock", "will continue in a moment".to_owned()));
    }

    #[test]
    fn a_build_of_a_paused_batch_says_so_before_all_else() {
        let tasks = [task(1, TaskState::Running)];
        let held =
            BuildFacts { paused: Some(BatchId(3)), tasks: &tasks, ..build(BuildState::Building) };
        let reasons = reasons(&held, at(0));
        let codes: Vec<ReasonCode> = reasons.iter().map(|reason| reason.code).collect();
        assert_eq!(codes, [ReasonCode::Paused, ReasonCode::Runs]);
        assert_eq!(reasons[0].remedy, Some(Remedy::ResumeBatch { batch: BatchId(3) }));
        let ended = BuildFacts { has_ended: true, ..held };
        assert_eq!(one(&ended).0, "ended");
    }

    #[test]
    fn a_retry_is_of_the_newest_failure_of_what_failed() {
        let failure = Failure::new(Fault::Farm, FailureStage::Import, "no route");
        let failed = |task: Option<i64>, retry: Option<i64>| Failed {
            task: task.map(TaskId),
            failure: &failure,
            retry: retry.map(at),
        };
        let failures = [failed(None, None), failed(None, Some(9)), failed(Some(1), Some(1))];
        assert_eq!(next_try(&failures, None, at(0)), Some(at(9)));
        assert_eq!(next_try(&failures, Some(TaskId(1)), at(0)), Some(at(1)));
        assert_eq!(next_try(&failures, Some(TaskId(1)), at(1)), None, "that time is over");
        assert_eq!(next_try(&failures, Some(TaskId(2)), at(0)), None);
        // The retry stands in the place of what the stage does.
        let import = BuildFacts { failures: &failures[..2], ..build(BuildState::Importing) };
        let (code, text) = one(&import);
        assert_eq!(code, "retry");
        assert!(text.starts_with("is tried again in 10 s after: "), "{text}");
        // Of a task only while it does nothing.
        let tasks = [task(1, TaskState::Queued), task(2, TaskState::Waiting)];
        let both =
            BuildFacts { failures: &failures[2..], tasks: &tasks, ..build(BuildState::Building) };
        let codes: Vec<_> =
            reasons_of(&both, at(0)).into_iter().map(|(task, code, _)| (task, code)).collect();
        assert_eq!(codes, [("build 1".to_owned(), "retry"), ("build 2".to_owned(), "lock")]);
        let tasks = [task(1, TaskState::Running)];
        assert_eq!(one(&BuildFacts { tasks: &tasks, ..both }).0, "runs");
    }

    #[test]
    fn each_task_says_what_it_does_or_waits_for() {
        let never = WaitReason::NoWorker { arch: Arch::X86_64, heard: None };
        let behind = WaitReason::Behind { tasks: 2, starts_in: Duration::from_secs(60) };
        let tasks = [
            TaskFacts { phase: "tests", ..task(1, TaskState::Running) },
            task(2, TaskState::Accepting),
            task(3, TaskState::Waiting),
            task(4, TaskState::Queued),
            TaskFacts { queued: Some(never), ..task(5, TaskState::Queued) },
            TaskFacts { queued: Some(behind), ..task(6, TaskState::Queued) },
            task(7, TaskState::Succeeded),
        ];
        let waits = "waits for foo-devel, which build 41 (foo) makes; order: requires";
        let facts = BuildFacts { waits, tasks: &tasks, ..build(BuildState::Building) };
        let reasons = reasons(&facts, at(200));
        let short: Vec<_> = reasons
            .iter()
            .map(|reason| (reason.task.as_str(), reason.code, reason.text.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                ("build 1", ReasonCode::Runs, "runs on w1 (tests) for 3 min"),
                ("build 2", ReasonCode::Accept, "its results are being checked"),
                ("build 3", ReasonCode::Packages, waits),
                ("build 4", ReasonCode::Queue, "will continue in a moment"),
                (
                    "build 5",
                    ReasonCode::NoWorker,
                    "no worker for x86_64 was ever connected; start one"
                ),
                ("build 6", ReasonCode::Queue, "behind 2 tasks, about 1 min"),
            ]
        );
        assert_eq!(reasons[4].remedy, Some(Remedy::StartWorker));
        assert_eq!((reasons[5].ahead, reasons[5].starts), (2, Some(at(260))));
        let facts = BuildFacts { waits: "not accepted yet: no acceptor", ..facts };
        assert_eq!(reasons_of(&facts, at(0))[1].2, "not accepted yet: no acceptor");
    }
}
