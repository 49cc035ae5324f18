//! The rows of lists of builds.
//!
//! Owns that the cost of a list depends on what it shows: for ended builds, which are nearly all,
//! it reads neither tasks nor packages. `view` shows builds with all details.

use std::collections::HashMap;

use rpmfarm_core::BuildId;
use rpmfarm_proto::v1;

use super::us;
use super::view::Views;
use crate::store::{Build, BuildEnd, EndedBuildRow, StoreError};

/// Builds that have not ended are read in parts of so many.
const PART: usize = 200;

impl Views {
    /// The rows of builds for a list, in their order.
    pub async fn list_rows(&self, builds: &[Build]) -> Result<Vec<v1::Build>, StoreError> {
        let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
        let ended = self.store.build_list_ended(&ids).await?;
        let others = builds.iter().filter(|build| !ended.contains_key(&build.id));
        let others: Vec<Build> = others.cloned().collect();
        let mut shown = HashMap::new();
        for part in others.chunks(PART) {
            for build in self.builds(part).await? {
                shown.insert(build.id, shortened(build));
            }
        }
        let row = |build: &Build| match ended.get(&build.id) {
            Some(facts) => Some(ended_row(build, facts)),
            None => shown.remove(&build.id.0),
        };
        Ok(builds.iter().filter_map(row).collect())
    }
}

/// An open build, with only the fields that a list shows.
fn shortened(build: v1::Build) -> v1::Build {
    v1::Build {
        artifacts: Vec::new(),
        from_farm: Vec::new(),
        milestones: Vec::new(),
        cves: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        options: None,
        option_words: Vec::new(),
        ..build
    }
}

/// A build that has ended.
fn ended_row(build: &Build, facts: &EndedBuildRow) -> v1::Build {
    let state = facts.end.state();
    let publication = facts.publication.as_ref().filter(|_| facts.end == BuildEnd::Published);
    let failure = facts.failure.as_ref().map(|(failure, _)| failure);
    let ended = match facts.end {
        BuildEnd::Published => publication.map(|publication| publication.at),
        BuildEnd::Cancelled => facts.cancelled_at,
        BuildEnd::Failed => facts.failure.as_ref().map(|(_, at)| *at),
    };
    v1::Build {
        id: build.id.0,
        target: build.target.clone(),
        package: build.package.clone(),
        git_ref: build.git_ref.clone(),
        batch: build.batch.0,
        submitter: build.submitter.clone(),
        created_us: build.created.as_us(),
        state: state.to_string(),
        typed_state: v1::BuildState::from(state).into(),
        ended_us: us(ended),
        reason: failure.map_or_else(String::new, ToString::to_string),
        failure: failure.map(Into::into),
        srpm: facts.srpm.clone(),
        channel: publication.map_or_else(String::new, |publication| publication.channel.clone()),
        revision: publication.map_or(0, |publication| publication.revision),
        priority: build.priority.clone(),
        retried_us: us(facts.retried_at),
        ..v1::Build::default()
    }
}
