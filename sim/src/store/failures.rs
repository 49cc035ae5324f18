//! Failures of builds: for good, or until a time.

use rpmfarm_core::{BuildId, Failure, TaskId};

use super::{FailureRow, Store};
use crate::planted::PlantedBug;

impl Store {
    /// Records a failure. Without a time for a retry it ends the build and takes its other
    /// attempts from their workers. False when the build had ended before.
    pub fn failure_insert(
        &mut self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) -> bool {
        let added = self.failure_insert_row(build, task, failure, retry_us, now_us);
        self.version += 1;
        added
    }

    pub(crate) fn failure_insert_row(
        &mut self,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
        retry_us: Option<i64>,
        now_us: i64,
    ) -> bool {
        let open = match retry_us {
            Some(_) => self.build_is_open(build),
            None => self.build_close(build),
        };
        if !open {
            return false;
        }
        let at_us = self.build_fetch_event_us(build, now_us);
        let key = (build.0, task.map_or(0, |task| task.0), at_us);
        self.failures.entry(key).or_insert_with(|| (failure.clone(), retry_us.unwrap_or(0)));
        if retry_us.is_none() {
            self.attempt_end_all_of_build(build, now_us);
        }
        true
    }

    /// Failures of a build since a time, oldest first.
    #[must_use]
    pub fn failure_list(&self, build: BuildId, since_us: i64) -> Vec<FailureRow> {
        let of = self.failures.range((build.0, i64::MIN, i64::MIN)..=(build.0, i64::MAX, i64::MAX));
        let mut rows: Vec<FailureRow> = of
            .filter(|((_, _, at_us), _)| *at_us > since_us)
            .map(|((_, task, at_us), (failure, retry_us))| FailureRow {
                task: (*task != 0).then_some(TaskId(*task)),
                failure: failure.clone(),
                at_us: *at_us,
                retry_us: (*retry_us != 0).then_some(*retry_us),
            })
            .collect();
        rows.sort_by_key(|row| row.at_us);
        rows
    }

    /// The time at which a failure, a cancellation or a retry of a build is recorded: now, or
    /// just after the one before, should a clock have jumped back.
    pub(crate) fn build_fetch_event_us(&self, build: BuildId, now_us: i64) -> i64 {
        if self.planted(PlantedBug::WallClock) {
            return now_us;
        }
        let id = build.0;
        let failures = self.failures.range((id, i64::MIN, i64::MIN)..=(id, i64::MAX, i64::MAX));
        let failed = failures.map(|((.., at_us), _)| *at_us).max().unwrap_or(0);
        let newest = failed
            .max(self.build_fetch_cancelled_us(build))
            .max(self.build_fetch_retried_us(build));
        now_us.max(newest + 1)
    }
}
