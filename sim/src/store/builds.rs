//! Builds: requests, cancellations, retries, and which are open; and their sources.

use rpmfarm_core::next_step::{self, NextStep};
use rpmfarm_core::status::TaskFacts;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{BuildId, FailureStage};

use super::{Build, Import, NewBuild, Srpm, StartedBuilds, Store};
use crate::planted::PlantedBug;

impl Store {
    /// Records a request. The same `request_key` again makes nothing new.
    pub fn build_insert(
        &mut self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now_us: i64,
    ) -> StartedBuilds {
        if !request_key.is_empty() && !self.planted(PlantedBug::RequestTwice) {
            let before = self.builds.values().filter(|(_, key)| key == request_key);
            let ids: Vec<BuildId> = before.map(|(build, _)| BuildId(build.id)).collect();
            if !ids.is_empty() {
                return StartedBuilds { ids, new: false };
            }
        }
        self.next_batch += 1;
        let mut ids = Vec::new();
        for NewBuild { target, package, git_ref } in builds {
            self.next_build += 1;
            let build = Build {
                id: self.next_build,
                batch: self.next_batch,
                target: target.clone(),
                package: package.clone(),
                git_ref: git_ref.clone(),
                submitter: submitter.into(),
                created_us: now_us,
            };
            ids.push(BuildId(build.id));
            self.open_builds.insert(build.id);
            self.builds.insert(build.id, (build, request_key.into()));
        }
        self.version += 1;
        StartedBuilds { ids, new: true }
    }

    /// One build.
    #[must_use]
    pub fn build_fetch(&self, id: BuildId) -> Option<&Build> {
        self.builds.get(&id.0).map(|(build, _)| build)
    }

    fn open(&self) -> impl Iterator<Item = &Build> {
        self.open_builds.iter().filter_map(|id| self.builds.get(id)).map(|(build, _)| build)
    }

    /// Open builds whose sources are not there and that do not wait for a retry.
    #[must_use]
    pub fn build_list_to_import(&self, now_us: i64) -> Vec<Build> {
        let waits = |build: &Build| {
            let all = (build.id, i64::MIN, i64::MIN)..=(build.id, i64::MAX, i64::MAX);
            let failed =
                self.failures.range(all).filter(|(_, (f, _))| f.stage == FailureStage::Import);
            let newest = failed.max_by_key(|((.., at_us), _)| *at_us);
            newest.is_some_and(|(_, (_, retry_us))| self.is_later(*retry_us, now_us))
        };
        self.at(NextStep::Import).filter(|build| !waits(build)).cloned().collect()
    }

    /// Open builds that wait as a whole for a stage, by what `core` says of their facts.
    fn at(&self, stage: NextStep) -> impl Iterator<Item = &Build> {
        self.open().filter(move |build| self.is_at(build, stage))
    }

    fn is_at(&self, build: &Build, stage: NextStep) -> bool {
        let tasks = self.tasks_of.get(&build.id).into_iter().flatten();
        let facts: Vec<(TaskKind, TaskFacts)> = tasks
            .filter_map(|id| self.tasks.get(id))
            .map(|task| {
                let accepted = self.acceptances.contains_key(&task.id.0);
                (task.kind, TaskFacts { accepted, ..TaskFacts::default() })
            })
            .collect();
        next_step::of_build(self.imports.contains_key(&build.id), false, &facts) == Some(stage)
    }

    /// Open builds that are imported and have no task yet.
    #[must_use]
    pub fn build_list_to_plan(&self) -> Vec<Build> {
        self.at(NextStep::Plan).cloned().collect()
    }

    /// Open builds of which every task is accepted.
    #[must_use]
    pub fn build_list_accepted(&self) -> Vec<Build> {
        self.at(NextStep::Finish).cloned().collect()
    }

    /// Builds of one request that are neither accepted nor ended, oldest first.
    #[must_use]
    pub fn batch_member_list_open(&self, batch: i64) -> Vec<Build> {
        let of_batch = self.open().filter(|build| build.batch == batch);
        of_batch.filter(|build| !self.is_at(build, NextStep::Finish)).cloned().collect()
    }

    /// Cancels a build. False when it had ended before.
    pub fn build_cancel(&mut self, id: BuildId, now_us: i64) -> bool {
        if !self.build_close(id) && !self.planted(PlantedBug::CancelAfterEnd) {
            return false;
        }
        let at_us = self.build_fetch_event_us(id, now_us);
        self.cancellations.insert((id.0, at_us));
        self.attempt_end_all_of_build(id, now_us);
        self.version += 1;
        true
    }

    /// Opens an ended build again. False when it is open, or published.
    pub fn build_retry(&mut self, id: BuildId, now_us: i64) -> bool {
        let published = self.publications.keys().any(|(build, _)| *build == id.0);
        if !self.builds.contains_key(&id.0) || self.build_is_open(id) || published {
            return false;
        }
        let at_us = self.build_fetch_event_us(id, now_us);
        self.retries.insert((id.0, at_us));
        self.open_builds.insert(id.0);
        self.version += 1;
        true
    }

    /// When a build was last cancelled; 0 when never.
    #[must_use]
    pub fn build_fetch_cancelled_us(&self, id: BuildId) -> i64 {
        let mut of = self.cancellations.range((id.0, i64::MIN)..=(id.0, i64::MAX));
        of.next_back().map_or(0, |(_, at_us)| *at_us)
    }

    /// When a build was last retried; 0 when never.
    #[must_use]
    pub fn build_fetch_retried_us(&self, id: BuildId) -> i64 {
        let mut of = self.retries.range((id.0, i64::MIN)..=(id.0, i64::MAX));
        of.next_back().map_or(0, |(_, at_us)| *at_us)
    }

    /// Whether a build has not ended.
    #[must_use]
    pub fn build_is_open(&self, id: BuildId) -> bool {
        self.open_builds.contains(&id.0)
    }

    pub(crate) fn build_close(&mut self, id: BuildId) -> bool {
        self.open_builds.remove(&id.0)
    }

    /// Records an import.
    pub fn import_insert(&mut self, build: BuildId, import: &Import) {
        self.imports.entry(build.0).or_insert_with(|| import.clone());
        self.version += 1;
    }

    /// The import of a build.
    #[must_use]
    pub fn import_fetch(&self, build: BuildId) -> Option<&Import> {
        self.imports.get(&build.0)
    }

    /// The SRPM of a build.
    #[must_use]
    pub fn srpm_fetch(&self, build: BuildId) -> Option<&Srpm> {
        self.srpms.get(&build.0)
    }
}

impl Build {
    /// Its number, typed.
    #[must_use]
    pub const fn id(&self) -> BuildId {
        BuildId(self.id)
    }
}
