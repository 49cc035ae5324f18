//! Everything that a pass, a session or the API asks has the same answer on both sides.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::status::CountedState;
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{AttemptId, BatchId, BuildId, TaskId, Timestamp};
use rpmfarm_sim::state;

use super::{CHANNEL, KEY, TARGET, Twins};

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

impl Twins {
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
        let (found, expected) = (real.builds_to_import(at).await, model.builds_to_import(now));
        same_set!("import", found.unwrap(), expected;
            id batch target package submitter created; id batch target package submitter created_us);
        let (found, expected) = (real.builds_to_plan().await, model.builds_to_plan());
        same_set!("plan", found.unwrap(), expected; id batch package);
        let (found, expected) = (real.builds_accepted().await, model.builds_accepted());
        same_set!("finish", found.unwrap(), expected; id batch package);
        let found = real.srpms_to_lock(at, ALL).await.unwrap();
        let expected = model.tasks_to_lock(TaskKind::Srpm, now);
        same_set!("lock", found, expected;
            id build kind arch created; id build kind arch created_us);
        let mut found = Vec::new();
        for (batch, target) in real.batches_to_order(at).await.unwrap() {
            for (task, build) in real.tasks_to_order(batch, at).await.unwrap() {
                assert_eq!((build.id, build.batch, &build.target), (task.build, batch, &target));
                found.push(task);
            }
        }
        let expected = model.tasks_to_lock(TaskKind::Build, now);
        same_set!("order", found, expected;
            id build kind arch created; id build kind arch created_us);
        let (found, expected) = (real.attempts_to_accept(at).await, model.attempts_to_accept(now));
        let found = found.unwrap();
        same_set!("accept", found, expected; build outcome);
        let ids = |ids: &mut dyn Iterator<Item = i64>| ids.collect::<BTreeSet<_>>();
        assert_eq!(
            ids(&mut found.iter().map(|row| row.attempt.id.0)),
            ids(&mut expected.iter().map(|row| row.attempt.id)),
        );
        let found = real.rounds_to_lock(at).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(task, round)| (task.id, round)).collect();
        let expected = model.rounds_to_lock(now).into_iter();
        let expected: Vec<_> = expected.map(|(task, round)| (task.id, round)).collect();
        assert_eq!(found, expected, "rounds_to_lock");
    }

    async fn compare_attempts(&mut self) {
        same!(self, live_attempts(None);
            id task build epoch worker started; id task build epoch worker started_us);
        same!(self, live_attempts(Some("w1")); id task build epoch worker);
        let live = self.model.live_attempts(None);
        let holders: BTreeSet<String> = live.iter().map(|live| live.worker.clone()).collect();
        let found = self.real.holders().await.unwrap();
        assert_eq!(found, holders.into_iter().collect::<Vec<_>>(), "holders");
        let held: BTreeSet<_> =
            live.iter().map(|live| (live.worker.clone(), AttemptId(live.id))).collect();
        let found = self.real.held().await.unwrap().into_iter();
        assert_eq!(found.map(|row| (row.0, row.1)).collect::<BTreeSet<_>>(), held, "held");
        let newest = self.granted.iter().map(|(id, _)| *id).max().unwrap_or(0);
        assert_eq!(self.real.newest_attempt().await.unwrap(), AttemptId(newest));

        let (attempt, epoch) = self.an_attempt();
        let expected = self.model.is_live(attempt, epoch);
        let found = self.real.holder(attempt, epoch).await.unwrap();
        assert_eq!(found.is_some(), expected, "the holder of {attempt} under {epoch}");
        let granted = self.granted.contains(&(attempt.0, epoch.0));
        let ended = self.real.ended(attempt, epoch).await.unwrap();
        assert_eq!(ended.is_some(), granted && !expected, "the end of {attempt} under {epoch}");
    }

    /// What waits for a worker: only what may, and once all that is due is queued, all of it.
    async fn compare_queue(&self) {
        let some_day = self.model.tasks_to_dispatch(i64::MAX);
        let queued = self.real.tasks_to_dispatch(ALL).await.unwrap();
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
        let found = self.real.tasks_to_dispatch(ALL).await.unwrap();
        let expected = self.model.tasks_to_dispatch(self.now_us);
        same_set!("dispatch", found, expected; id build kind arch);
    }

    /// The state of every build, as metrics count them.
    async fn compare_states(&self) {
        let mut expected = BTreeMap::<CountedState, i64>::new();
        for build in self.builds() {
            *expected.entry(state(&self.model, build, KEY).counted()).or_default() += 1;
        }
        let found = self.real.build_states().await.unwrap().into_iter();
        let found: BTreeMap<CountedState, i64> = found.filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, expected, "build_states");
        let found = self.real.channel(TARGET, CHANNEL).await.unwrap();
        let expected = self.model.channel(TARGET, CHANNEL);
        assert_eq!(
            found.map(|row| (row.revision, row.snapshot, row.at.as_us())),
            expected.map(|row| (row.revision, row.snapshot, row.at_us)),
        );
        same!(self, packages(TARGET); nevra build arch digest size);
        let (count, expected) = (self.real.package_count(TARGET), self.model.package_count(TARGET));
        assert_eq!(count.await.unwrap(), expected, "package_count");
    }

    async fn compare_build(&self, build: BuildId) {
        let (real, model) = (&self.real, &self.model);
        let batch = model.build(build).unwrap().batch;
        let found = real.open_mates(BatchId(batch)).await.unwrap();
        let expected = model.open_mates(batch);
        assert_eq!(show!(found; id package), show!(expected; id package), "open_mates");
        same!(self, tasks(build); id build kind arch created; id build kind arch created_us);
        self.compare_failures(build, None).await;
        let since = real.retried_at(build).await.unwrap();
        assert_eq!(us(since), model.retried_us(build), "retried_at");
        self.compare_failures(build, since).await;
        let cancelled = real.cancelled_at(build).await.unwrap();
        assert_eq!(us(cancelled), model.cancelled_us(build), "cancelled_at");
        let unaccepted = real.unaccepted_tasks(BatchId(batch)).await.unwrap();
        assert_eq!(unaccepted, model.unaccepted_tasks(batch), "unaccepted_tasks");
        let lacks = |id: &BuildId| {
            let of_batch = model.build(*id).is_some_and(|build| build.batch == batch);
            of_batch && model.is_open(*id) && model.srpm(*id).is_none()
        };
        let mate = real.mate_without_srpm(BatchId(batch)).await.unwrap();
        assert_eq!(mate.map(|build| build.id), self.builds().find(lacks), "mate_without_srpm");
        assert_eq!(real.is_open(build).await.unwrap(), model.is_open(build), "is_open");
        let found = real.import(build).await.unwrap().map(|row| (row.bundle, row.at.as_us()));
        assert_eq!(found, model.import(build).map(|row| (row.bundle, row.at_us)), "import");
        let found = real.packages_of(build, KEY).await.unwrap();
        let found: Vec<_> =
            found.iter().map(|row| (&row.package.nevra, row.signature.is_some())).collect();
        let expected = model.packages_of(build, KEY);
        let expected: Vec<_> =
            expected.iter().map(|row| (&row.package.nevra, row.signature.is_some())).collect();
        assert_eq!(found, expected, "packages_of {build}");
        let signed = real.signed_at(build, KEY).await.unwrap();
        assert_eq!(us(signed), model.signed_us(build, KEY), "signed_at");
        let found = real.publication(build).await.unwrap();
        let found = found.map(|row| (row.revision, row.at.as_us()));
        let expected = model.publication(build).map(|row| (row.revision, row.at_us));
        assert_eq!(found, expected, "publication");
        let live = model.live_attempts(None).into_iter();
        let at: BTreeSet<String> =
            live.filter(|live| live.build == build.0).map(|live| live.worker).collect();
        let found = real.workers_at(build).await.unwrap();
        assert_eq!(found, at.into_iter().collect::<Vec<_>>(), "workers_at");
    }

    async fn compare_failures(&self, build: BuildId, since: Option<Timestamp>) {
        let found = self.real.failures(build, since).await.unwrap();
        let expected = self.model.failures(build, us(since));
        let (found, expected) =
            (show!(found; task failure at retry), show!(expected; task failure at_us retry_us));
        assert_eq!(found, expected, "failures");
    }

    async fn compare_task(&self, task: TaskId) {
        let (real, model) = (&self.real, &self.model);
        let found = real.lock(task).await.unwrap();
        assert_eq!(
            found.map(|lock| (lock.round, lock.digest, lock.at.as_us())),
            model.lock(task).map(|lock| (lock.round, lock.digest, lock.at_us)),
            "lock"
        );
        let found = real.dynamic_requires(task).await.unwrap();
        assert_eq!(found, model.dynamic_requires(task), "dynamic_requires");
        let found = real.acceptance(task).await.unwrap();
        let found = found.map(|(attempt, ms, at)| (attempt, ms, at.as_us()));
        assert_eq!(found, model.acceptance(task), "acceptance");
        let found = real.attempts(task).await.unwrap().into_iter();
        let found = found.map(|(a, end)| {
            let end = end.map(|end| (end.outcome, end.at.as_us()));
            (a.id.0, a.epoch.0, a.worker, a.started.as_us(), end)
        });
        let expected = model.attempts(task).into_iter();
        let expected: Vec<_> = expected
            .map(|(a, end)| {
                (a.id, a.epoch, a.worker, a.started_us, end.map(|end| (end.outcome, end.at_us)))
            })
            .collect();
        assert_eq!(found.collect::<Vec<_>>(), expected, "attempts");
        let since = model.task(task).map_or(0, |task| model.retried_us(task.build));
        let failed = expected.into_iter().rev().filter(|(.., end)| match end {
            Some((Some(Outcome::Failed(_)), at_us)) => *at_us > since,
            _ => false,
        });
        let failed: Vec<String> = failed.map(|row| row.2).collect();
        assert_eq!(real.workers_that_failed(task).await.unwrap(), failed, "workers_that_failed");
    }
}
