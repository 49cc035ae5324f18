//! The stages that a build went through, and how long each took.

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::status::BuildState;
use rpmfarm_proto::v1::Build;

use super::verdict;

/// One stage of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// import, srpm, resolve, dispatch, build, accept, sign, publish.
    pub(crate) name: String,
    /// When it was completed; `None` for the current stage.
    pub(crate) done_us: Option<i64>,
    /// From the end of the stage before, or the beginning of the last try, to its own end or to
    /// now.
    pub(crate) took_us: i64,
}

/// The completed stages, by time, and the current one.
pub(crate) fn stages(build: &Build, now: i64) -> Vec<Stage> {
    let mut done: Vec<_> = build.milestones.iter().filter(|stone| stone.at_us != 0).collect();
    done.sort_by_key(|stone| stone.at_us);
    let mut before = build.created_us;
    let mut stages = Vec::new();
    for stone in done {
        // A milestone before the retry counts with its own time, later ones from the retry on.
        if stone.at_us >= build.retried_us {
            before = before.max(build.retried_us);
        }
        stages.push(Stage {
            name: stone.stage.clone(),
            done_us: Some(stone.at_us),
            took_us: (stone.at_us - before).max(0),
        });
        before = stone.at_us;
    }
    stages.extend(current(build).map(|name| Stage {
        name: name.into(),
        done_us: None,
        took_us: (now - before.max(build.retried_us)).max(0),
    }));
    stages
}

/// The stage that a build is in.
fn current(build: &Build) -> Option<&'static str> {
    Some(match verdict::state(build)? {
        BuildState::Importing => Milestone::Import.as_str(),
        BuildState::Srpm => Milestone::Srpm.as_str(),
        BuildState::Waiting => Milestone::Resolve.as_str(),
        BuildState::Queued => Milestone::Dispatch.as_str(),
        BuildState::Building => Milestone::Build.as_str(),
        BuildState::Accepting => Milestone::Accept.as_str(),
        BuildState::Claimed => NextStep::Claim.as_str(),
        BuildState::Signing => Milestone::Sign.as_str(),
        BuildState::Publishing => Milestone::Publish.as_str(),
        BuildState::Published | BuildState::Failed | BuildState::Cancelled => return None,
    })
}

#[cfg(test)]
mod tests {
    use rpmfarm_proto::v1::Milestone;

    use super::{Build, Stage, stages};

    #[test]
    fn each_stage_lasts_from_the_end_of_the_one_before() {
        let stone =
            |stage: &str, at_us| Milestone { stage: stage.into(), at_us, ..Milestone::default() };
        let build = Build {
            state: "building".into(),
            created_us: 100,
            milestones: vec![stone("srpm", 400), stone("import", 150), stone("publish", 0)],
            ..Build::default()
        };
        let stage = |name: &str, done_us, took_us| Stage { name: name.into(), done_us, took_us };
        let expected = [
            stage("import", Some(150), 50),
            stage("srpm", Some(400), 250),
            stage("build", None, 600),
        ];
        assert_eq!(stages(&build, 1000), expected);
    }

    #[test]
    fn the_time_until_a_retry_belongs_to_no_stage() {
        let stone =
            |stage: &str, at_us| Milestone { stage: stage.into(), at_us, ..Milestone::default() };
        let build = Build {
            state: "published".into(),
            created_us: 100,
            retried_us: 10_000,
            milestones: vec![
                stone("import", 150),
                stone("srpm", 400),
                stone("build", 10_070),
                stone("publish", 10_100),
            ],
            ..Build::default()
        };
        let took: Vec<_> = stages(&build, 20_000).into_iter().map(|stage| stage.took_us).collect();
        assert_eq!(took, [50, 250, 70, 30]);
        let open = Build { state: "building".into(), milestones: Vec::new(), ..build };
        assert_eq!(stages(&open, 10_500)[0].took_us, 500);
    }
}
