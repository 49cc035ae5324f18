//! The progress of builds and tasks, in words.

use rpmfarm_core::Nevra;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::task::{Phase, TaskKind};
use rpmfarm_proto::v1::{Build, Task};

use super::failure::fault;
use super::{escape, time, verdict};

/// The phase of a running task.
fn phase(task: &Task) -> String {
    let Some(phase) = task.known_phase() else {
        return if task.phase.is_empty() { RUNNING.into() } else { escape::line(&task.phase) };
    };
    let text = match phase {
        Phase::Fetch => "fetching packages",
        Phase::Root => "making the root",
        Phase::Requires => "%generate_buildrequires",
        Phase::Srpm => "writing the SRPM",
        Phase::Prep => "%prep",
        Phase::Build => "%build",
        Phase::Install => "%install",
        Phase::Check => "%check",
        Phase::Package => "writing packages",
        Phase::Upload => "uploading results",
    };
    text.into()
}

const RUNNING: &str = TaskState::Running.as_str();

/// Whether a task has not ended, or has failed.
pub(crate) fn is_open(task: &Task) -> bool {
    !matches!(task.known_state(), Some(TaskState::Succeeded | TaskState::Cancelled))
}

/// The progress of a task, without its time: `%build on worker-1`, `queued`.
pub(crate) fn task(task: &Task) -> String {
    if task.known_state() != Some(TaskState::Running) {
        return escape::line(&task.state);
    }
    let doing = phase(task);
    if task.worker.is_empty() {
        return doing;
    }
    format!("{doing} on {}", escape::line(&task.worker))
}

/// How long a task has been running, or ran. `None` before it starts.
pub(crate) fn task_took(task: &Task, now: i64) -> Option<i64> {
    let end = if task.ended_us == 0 { now } else { task.ended_us };
    (task.started_us != 0).then(|| (end - task.started_us).max(0))
}

/// How long a build has been going on since its request, or took.
pub(crate) fn build_took(build: &Build, now: i64) -> i64 {
    (end(build, now) - build.created_us).max(0)
}

/// The same for its last try only: the time before a retry, as a night until somebody came, says
/// nothing about how long a build takes.
pub(crate) fn last_try_took(build: &Build, now: i64) -> i64 {
    (end(build, now) - build.created_us.max(build.retried_us)).max(0)
}

fn end(build: &Build, now: i64) -> i64 {
    if build.ended_us == 0 { now } else { build.ended_us }
}

/// The version and release of its SRPM, once it is made.
pub(crate) fn version(build: &Build) -> String {
    build.srpm.parse::<Nevra>().map_or_else(|_| String::new(), |nevra| nevra.evr.to_string())
}

/// The progress of a build, in one line without its time, so that a new line means a change.
pub(crate) fn build(build: &Build) -> String {
    let state = escape::line(&build.state);
    match verdict::state(build) {
        Some(BuildState::Published) => format!("{state}{}", place(build)),
        Some(BuildState::Srpm | BuildState::Building) => {
            let tasks = running(build);
            if tasks.is_empty() {
                format!("{state}{}", why(build))
            } else {
                format!("{state}: {tasks}")
            }
        }
        _ => format!("{state}{}", why(build)),
    }
}

/// Why a build waits, or how and by whose fault it failed, if that is known.
pub(crate) fn why(build: &Build) -> String {
    let text = match verdict::failure(build) {
        Some(failure) => format!("{} ({}'s fault)", failure.message, fault(failure)),
        None => build.reason.clone(),
    };
    if text.is_empty() { text } else { format!(": {}", escape::flat(&text)) }
}

/// The channel and revision of a build.
fn place(build: &Build) -> String {
    if build.channel.is_empty() {
        return String::new();
    }
    format!(" in {}, revision {}", escape::line(&build.channel), build.revision)
}

fn running(build: &Build) -> String {
    let makes_srpm = verdict::state(build) == Some(BuildState::Srpm);
    let of_stage =
        |task: &&Task| (task.kind.parse::<TaskKind>() == Ok(TaskKind::Srpm)) == makes_srpm;
    let text = |one: &Task| format!("{} {}", escape::line(&one.arch), task(one));
    let tasks = build.tasks.iter().filter(|task| is_open(task)).filter(of_stage).map(text);
    tasks.collect::<Vec<_>>().join("; ")
}

/// The stages of a build with their times, in one line.
pub(crate) fn stages(build: &Build, now: i64) -> String {
    let text = |stage: super::stages::Stage| {
        let open = if stage.done_us.is_none() { "…" } else { "" };
        format!("{}{open} {}", escape::line(&stage.name), time::duration(stage.took_us))
    };
    super::stages::stages(build, now).into_iter().map(text).collect::<Vec<_>>().join(" · ")
}
