//! Everything that a pass, a session or the API asks has the same answer on both sides.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::status::CountedState;
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{AttemptId, BatchId, BuildId, TaskId, Timestamp};
use rpmfarm_sim::state;

use super::{CHANNEL, KEY, ModelPair, TARGET};

/// More than there is.
const ALL: i64 = 10_000;

/// The named fields of rows, in text: rows of both sides have them.
macro_rules! show {
    ($rows:expr; $($field:ident)*) => {
        $rows.iter().map(|row| plain(&format!("{:?}", ($(&row.$field,)*)))).collect::<Vec<_>>()
    };
}

/// The same rows in the same order, by the fields that rules look at, under the names that they have
/// in the real store and in the model.
macro_rules! same {
    ($twins:ident, $call:ident ( $($argument:expr),* ); $($field:ident)*) => {
        same!($twins, $call($($argument),*); $($field)*; $($field)*);
    };
    ($twins:ident, $call:ident ( $($argument:expr),* ); $($field:ident)*; $($modelled:ident)*) => {
        let expected = $twins.model.$call($($argument),*);
        let found = $twins.real.$call($($argument),*).await.unwrap();
        assert_eq!(show!(found; $($field)*), show!(expected; $($modelled)*), stringify!($call));
    };
}

/// The same rows: the real store orders them by ranks, which the model lacks.
macro_rules! same_set {
    ($call:expr, $found:expr, $expected:expr; $($field:ident)*) => {
        same_set!($call, $found, $expected; $($field)*; $($field)*);
    };
    ($call:expr, $found:expr, $expected:expr; $($field:ident)*; $($modelled:ident)*) => {
        let (mut found, mut expected) = (show!($found; $($field)*), show!($expected; $($modelled)*));
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, $call);
    };
}

/// The text of a value without the types of points in time and ids: the model has numbers.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for name in ["Timestamp", "BuildId", "TaskId", "AttemptId", "Epoch", "BatchId"] {
        let open = format!("{name}(");
        while let Some(start) = plain.find(&open) {
            let end = start + plain[start..].find(')').expect("it is closed");
            plain.remove(end);
            plain.replace_range(start..start + open.len(), "");
        }
    }
    plain
}

/// A point in time as the model has it.
fn us(at: Option<Timestamp>) -> i64 {
    Timestamp::or_zero(at).as_us()
}

impl ModelPair {
    pub(super) async fn compare(&mut self) {
        self.compare_work().await;
        self.compare_attempts().await;
        self.compare_queue().await;
        self.compare_states().await;
        let (build, task) = (self.a_build(), self.a_task());
        self.compare_build(build).await;
        self.compare_task(task).await;
    }

    /// What each stage has to do.
    async fn compare_work(&self) {
        let (real, model, now, at) = (&self.real, &self.model, self.now_us, self.now());
        let (found, expected) =
            (real.build_list_to_import(at).await, model.build_list_to_import(now));
        same_set!("import", found.unwrap(), expected;
            id batch target package submitter created; id batch target package submitter created_us);
        let (found, expected) = (real.build_list_to_plan().await, model.build_list_to_plan());
        same_set!("plan", found.unwrap(), expected; id batch package);
        let (found, expected) = (real.build_list_accepted().await, model.build_list_accepted());
        same_set!("finish", found.unwrap(), expected; id batch package);
        let found = real.task_list_srpms_to_lock(at, ALL).await.unwrap();
        let expected = model.task_list_to_lock(TaskKind::Srpm, now);
        same_set!("lock", found, expected;
            id build kind arch created; id build kind arch created_us);
        let mut found = Vec::new();
        for (batch, target) in real.batch_list_to_order(at).await.unwrap() {
            for (task, build) in real.task_list_to_order(batch, at).await.unwrap() {
                assert_eq!((build.id, build.batch, &build.target), (task.build, batch, &target));
                found.push(task);
            }
        }
        let expected = model.task_list_to_lock(TaskKind::Build, now);
        same_set!("order", found, expected;
            id build kind arch created; id build kind arch created_us);
        let (found, expected) =
            (real.attempt_list_to_accept(at).await, model.attempt_list_to_accept(now));
        let found = found.unwrap();
        same_set!("accept", found, expected; build outcome);
        let ids = |ids: &mut dyn Iterator<Item = i64>| ids.collect::<BTreeSet<_>>();
        assert_eq!(
            ids(&mut found.iter().map(|row| row.attempt.id.0)),
            ids(&mut expected.iter().map(|row| row.attempt.id)),
        );
        let found = real.round_list_to_lock(at).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(task, round)| (task.id, round)).collect();
        let expected = model.round_list_to_lock(now).into_iter();
        let expected: Vec<_> = expected.map(|(task, round)| (task.id, round)).collect();
        assert_eq!(found, expected, "rounds_to_lock");
    }

    async fn compare_attempts(&mut self) {
        same!(self, attempt_list_live(None);
            id task build epoch worker started; id task build epoch worker started_us);
        same!(self, attempt_list_live(Some("w1")); id task build epoch worker);
        let live = self.model.attempt_list_live(None);
        let holders: BTreeSet<String> = live.iter().map(|live| live.worker.clone()).collect();
        let found = self.real.worker_list_with_leases().await.unwrap();
        assert_eq!(found, holders.into_iter().collect::<Vec<_>>(), "holders");
        let held: BTreeSet<_> =
            live.iter().map(|live| (live.worker.clone(), AttemptId(live.id))).collect();
        let found = self.real.lease_list().await.unwrap().into_iter();
        assert_eq!(found.map(|row| (row.0, row.1)).collect::<BTreeSet<_>>(), held, "held");
        let newest = self.granted.iter().map(|(id, _)| *id).max().unwrap_or(0);
        assert_eq!(self.real.attempt_fetch_newest_id().await.unwrap(), AttemptId(newest));

        let (attempt, epoch) = self.an_attempt();
        let expected = self.model.is_live(attempt, epoch);
        let found = self.real.lease_fetch_worker(attempt, epoch).await.unwrap();
        assert_eq!(found.is_some(), expected, "the holder of {attempt} under {epoch}");
        let granted = self.granted.contains(&(attempt.0, epoch.0));
        let ended = self.real.attempt_fetch_ended(attempt, epoch).await.unwrap();
        assert_eq!(ended.is_some(), granted && !expected, "the end of {attempt} under {epoch}");
    }

    /// What waits for a worker: only what may, and once all that is due is queued, all of it.
    async fn compare_queue(&self) {
        let some_day = self.model.task_list_to_dispatch(i64::MAX);
        let queued = self.real.task_list_to_dispatch(ALL).await.unwrap();
        let may = |id: TaskId| some_day.iter().any(|task| task.id == id);
        assert!(queued.iter().all(|task| may(task.id)), "{queued:?} of {some_day:?}");
        self.queue_due().await;
        if !self.steady {
            // What was queued stays so when the clock goes back, until its build is looked at.
            if !self.step.is_multiple_of(8) {
                return;
            }
            self.real.reindex(self.builds(), self.now()).await.unwrap();
        }
        let found = self.real.task_list_to_dispatch(ALL).await.unwrap();
        let expected = self.model.task_list_to_dispatch(self.now_us);
        same_set!("dispatch", found, expected; id build kind arch);
    }

    /// The state of every build, as metrics count them.
    async fn compare_states(&self) {
        let mut expected = BTreeMap::<CountedState, i64>::new();
        for build in self.builds() {
            *expected.entry(state(&self.model, build, KEY).counted()).or_default() += 1;
        }
        let found = self.real.build_count_by_state().await.unwrap().into_iter();
        let found: BTreeMap<CountedState, i64> = found.filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, expected, "build_states");
        let found = self.real.channel_fetch(TARGET, CHANNEL).await.unwrap();
        let expected = self.model.channel_fetch(TARGET, CHANNEL);
        assert_eq!(
            found.map(|row| (row.revision, row.snapshot, row.at.as_us())),
            expected.map(|row| (row.revision, row.snapshot, row.at_us)),
        );
        same!(self, package_list(TARGET); nevra build arch digest size);
        let (count, expected) =
            (self.real.pool_fetch_generation(TARGET), self.model.pool_fetch_generation(TARGET));
        assert_eq!(count.await.unwrap(), expected, "package_count");
    }

    async fn compare_build(&self, build: BuildId) {
        let (real, model) = (&self.real, &self.model);
        let batch = model.build_fetch(build).unwrap().batch;
        let found = real.batch_member_list_open(BatchId(batch)).await.unwrap();
        let expected = model.batch_member_list_open(batch);
        assert_eq!(show!(found; id package), show!(expected; id package), "open_mates");
        same!(self, task_list(build); id build kind arch created; id build kind arch created_us);
        self.compare_failures(build, None).await;
        let since = real.retried_at(build).await.unwrap();
        assert_eq!(us(since), model.build_fetch_retried_us(build), "retried_at");
        self.compare_failures(build, since).await;
        let cancelled = real.cancelled_at(build).await.unwrap();
        assert_eq!(us(cancelled), model.build_fetch_cancelled_us(build), "cancelled_at");
        let unaccepted = real.task_list_unaccepted(BatchId(batch)).await.unwrap();
        assert_eq!(unaccepted, model.task_list_unaccepted(batch), "unaccepted_tasks");
        let lacks = |id: &BuildId| {
            let of_batch = model.build_fetch(*id).is_some_and(|build| build.batch == batch);
            of_batch && model.build_is_open(*id) && model.srpm_fetch(*id).is_none()
        };
        let mate = real.batch_member_fetch_without_srpm(BatchId(batch)).await.unwrap();
        assert_eq!(mate.map(|build| build.id), self.builds().find(lacks), "mate_without_srpm");
        assert_eq!(real.build_is_open(build).await.unwrap(), model.build_is_open(build), "is_open");
        let found = real.import_fetch(build).await.unwrap().map(|row| (row.bundle, row.at.as_us()));
        assert_eq!(found, model.import_fetch(build).map(|row| (row.bundle, row.at_us)), "import");
        let found = real.package_list_of_build(build, KEY).await.unwrap();
        let found: Vec<_> =
            found.iter().map(|row| (&row.package.nevra, row.signature.is_some())).collect();
        let expected = model.package_list_of_build(build, KEY);
        let expected: Vec<_> =
            expected.iter().map(|row| (&row.package.nevra, row.signature.is_some())).collect();
        assert_eq!(found, expected, "packages_of {build}");
        let signed = real.signed_at(build, KEY).await.unwrap();
        assert_eq!(us(signed), model.build_fetch_signed_us(build, KEY), "signed_at");
        let found = real.publication_fetch(build).await.unwrap();
        let found = found.map(|row| (row.revision, row.at.as_us()));
        let expected = model.publication_fetch(build).map(|row| (row.revision, row.at_us));
        assert_eq!(found, expected, "publication");
        let live = model.attempt_list_live(None).into_iter();
        let at: BTreeSet<String> =
            live.filter(|live| live.build == build.0).map(|live| live.worker).collect();
        let found = real.worker_list_on_build(build).await.unwrap();
        assert_eq!(found, at.into_iter().collect::<Vec<_>>(), "workers_at");
    }

    async fn compare_failures(&self, build: BuildId, since: Option<Timestamp>) {
        let found = self.real.failure_list(build, since).await.unwrap();
        let expected = self.model.failure_list(build, us(since));
        let (found, expected) =
            (show!(found; task failure at retry), show!(expected; task failure at_us retry_us));
        assert_eq!(found, expected, "failures");
    }

    async fn compare_task(&self, task: TaskId) {
        let (real, model) = (&self.real, &self.model);
        let found = real.lock_fetch(task).await.unwrap();
        assert_eq!(
            found.map(|lock| (lock.round, lock.digest, lock.at.as_us())),
            model.lock_fetch(task).map(|lock| (lock.round, lock.digest, lock.at_us)),
            "lock"
        );
        let found = real.round_list(task).await.unwrap();
        assert_eq!(found, model.round_list(task), "dynamic_requires");
        let found = real.acceptance_fetch(task).await.unwrap();
        let found = found.map(|(attempt, ms, at)| (attempt, ms, at.as_us()));
        assert_eq!(found, model.acceptance_fetch(task), "acceptance");
        let found = real.attempt_list(task).await.unwrap().into_iter();
        let found = found.map(|(a, end)| {
            let end = end.map(|end| (end.outcome, end.at.as_us()));
            (a.id.0, a.epoch.0, a.worker, a.started.as_us(), end)
        });
        let expected = model.attempt_list(task).into_iter();
        let expected: Vec<_> = expected
            .map(|(a, end)| {
                (a.id, a.epoch, a.worker, a.started_us, end.map(|end| (end.outcome, end.at_us)))
            })
            .collect();
        assert_eq!(found.collect::<Vec<_>>(), expected, "attempts");
        let since =
            model.task_fetch(task).map_or(0, |task| model.build_fetch_retried_us(task.build));
        let failed = expected.into_iter().rev().filter(|(.., end)| match end {
            Some((Some(Outcome::Failed(_)), at_us)) => *at_us > since,
            _ => false,
        });
        let failed: Vec<String> = failed.map(|row| row.2).collect();
        assert_eq!(
            real.worker_list_failed_task(task).await.unwrap(),
            failed,
            "workers_that_failed"
        );
    }
}
