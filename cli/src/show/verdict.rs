//! How builds ended, and the exit code that follows.

use rpmfarm_core::Fault;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_proto::v1::{self, Build};

use crate::exit::Exit;

/// The state of a build. `None` for a word that this version does not know: the build has not
/// ended.
pub(crate) fn state(build: &Build) -> Option<BuildState> {
    build.known_state()
}

/// Whether a build has reached a final state.
pub(crate) fn has_ended(build: &Build) -> bool {
    build.ended_us != 0 || state(build).is_some_and(BuildState::is_end)
}

/// Why a build failed: its own failure, or that of the task that failed it.
pub(crate) fn failure(build: &Build) -> Option<&v1::Failure> {
    let of_tasks = || build.tasks.iter().find_map(failed_for_good);
    build.failure.as_ref().or_else(|| has_failed(build).then(of_tasks).flatten())
}

fn failed_for_good(task: &v1::Task) -> Option<&v1::Failure> {
    task.failure.as_ref().filter(|_| task.known_state() == Some(TaskState::Failed))
}

fn has_failed(build: &Build) -> bool {
    state(build) == Some(BuildState::Failed)
}

/// The result of several builds. What a maintainer must act on comes first: failed packages, then
/// failures of the farm, then cancelled builds.
pub(crate) fn of_all<'a>(builds: impl IntoIterator<Item = &'a Build>) -> Exit {
    const ORDER: [Exit; 3] = [Exit::PackageFailed, Exit::FarmFailed, Exit::Cancelled];
    let ends: Vec<Exit> = builds.into_iter().map(of_one).collect();
    ORDER.into_iter().find(|exit| ends.contains(exit)).unwrap_or(Exit::Done)
}

fn of_one(build: &Build) -> Exit {
    match state(build) {
        Some(BuildState::Cancelled) => Exit::Cancelled,
        Some(BuildState::Failed) => {
            let fault = failure(build).map(v1::Failure::whose);
            if fault == Some(Fault::Package) { Exit::PackageFailed } else { Exit::FarmFailed }
        }
        _ => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_proto::v1::Fault;

    use super::{Build, Exit, has_ended, of_all, v1};

    fn build(state: &str, fault: Option<Fault>) -> Build {
        let failure =
            fault.map(|fault| v1::Failure { fault: fault.into(), ..v1::Failure::default() });
        Build { state: state.into(), failure, ..Build::default() }
    }

    #[test]
    fn the_worst_end_counts() {
        let published = build("published", None);
        let cancelled = build("cancelled", None);
        let farm = build("failed", Some(Fault::Worker));
        let package = build("failed", Some(Fault::Package));
        assert_eq!(of_all([&published]), Exit::Done);
        assert_eq!(of_all([&published, &cancelled]), Exit::Cancelled);
        assert_eq!(of_all([&cancelled, &farm]), Exit::FarmFailed);
        assert_eq!(of_all([&farm, &cancelled, &package]), Exit::PackageFailed);
    }

    #[test]
    fn a_failure_that_nobody_explains_is_not_the_packages() {
        assert_eq!(of_all([&build("failed", None)]), Exit::FarmFailed);
    }

    #[test]
    fn a_state_of_the_future_has_not_ended() {
        assert!(!has_ended(&build("rebasing", None)));
    }
}
