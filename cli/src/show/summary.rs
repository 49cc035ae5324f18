//! The summary of several followed builds: how many ended in which way, and which of them need an
//! action.

use std::collections::BTreeMap;

use rpmfarm_core::status::BuildState;
use rpmfarm_proto::v1::Build;

use super::{escape, progress, verdict, wrap};

/// A line with the numbers and one for each build that was not published; nothing for a single
/// build, whose end was shown already. Ends with a line break.
pub(crate) fn text<'a>(
    builds: impl IntoIterator<Item = &'a Build>,
    width: Option<usize>,
) -> Option<String> {
    let builds: Vec<&Build> = builds.into_iter().collect();
    if builds.len() < 2 {
        return None;
    }
    let mut counts = BTreeMap::<End, usize>::new();
    for build in &builds {
        *counts.entry(End::of(build)).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(end, count)| format!("{count} {}", end.text())).collect();
    let mut text = format!("{} builds: {}\n", builds.len(), counts.join(", "));
    for build in builds.into_iter().filter(|build| End::of(build) != End::Published) {
        let line = format!("{} {}", escape::line(&build.package), progress::build(build));
        text.push_str(&wrap::hanging(&format!("  build {} ", build.id), &line, 4, width));
        if End::of(build) == End::Failed {
            let arrow = console::style("→").cyan().to_string();
            text.push_str(&format!("    {arrow} rpmfarm show {}\n", build.id));
        }
    }
    Some(text)
}

/// How a build ended, in the order in which they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Published,
    Failed,
    Cancelled,
    /// In a state that this program does not know.
    Other,
    NotYet,
}

impl End {
    fn of(build: &Build) -> Self {
        match verdict::state(build) {
            Some(BuildState::Published) => Self::Published,
            Some(BuildState::Failed) => Self::Failed,
            Some(BuildState::Cancelled) => Self::Cancelled,
            _ if verdict::has_ended(build) => Self::Other,
            _ => Self::NotYet,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Published => BuildState::Published.as_str(),
            Self::Failed => BuildState::Failed.as_str(),
            Self::Cancelled => BuildState::Cancelled.as_str(),
            Self::Other => "ended",
            Self::NotYet => "not done yet",
        }
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_proto::v1::{Failure, Fault};

    use super::*;

    #[test]
    fn a_summary_counts_and_names_what_needs_somebody() {
        let build = |id: i64, state: &str| Build {
            id,
            package: format!("p{id}"),
            state: state.into(),
            failure: (state == "failed").then(|| Failure {
                fault: Fault::Package.into(),
                message: "no compiler".into(),
                ..Failure::default()
            }),
            ..Build::default()
        };
        let builds =
            [build(1, "published"), build(2, "failed"), build(3, "building"), build(4, "failed")];
        assert_eq!(
            text(&builds, None).expect("there are several"),
            "\
4 builds: 1 published, 2 failed, 1 not done yet
  build 2 p2 failed: no compiler (package's fault)
    → rpmfarm show 2
  build 3 p3 building
  build 4 p4 failed: no compiler (package's fault)
    → rpmfarm show 4
"
        );
        assert_eq!(text(&builds[..1], None), None);
    }
}
