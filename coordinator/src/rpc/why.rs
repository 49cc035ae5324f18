//! Why a build is in its state, and when it continues: the answer of `rpmfarm why`. The reasons are
//! decided in `core`; here are the facts from which they follow, read once for all tasks of a
//! build.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rpmfarm_core::lease::Liveness;
use rpmfarm_core::matching::WaitingTask;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::why::{
    Ahead, BuildFacts, Failed, Reason, Running, TaskFacts, WaitReason, WorkerSummary, next_try,
    reasons, why,
};
use rpmfarm_core::worker_standing::holds_back;
use rpmfarm_core::{TaskId, Timestamp};
use rpmfarm_proto::v1;

use super::us;
use super::view::Views;
use crate::commands::with_command;
use crate::dispatch::pass::{Standings, allows_emulation, matched};
use crate::fleet::{WorkerLoad, WorkerView};
use crate::store::{Build, FailureRow, QueuePositionRow, Result};

/// The reasons of a build and of its tasks.
pub async fn build(views: &Views, build: &Build, now: Timestamp) -> Result<v1::WhyReply> {
    let shown = views.build(build).await?;
    let reasons = reasons_of(views, build, &shown, now).await?;
    Ok(v1::WhyReply {
        build: shown.id,
        package: shown.package,
        target: shown.target,
        state: shown.state,
        typed_state: shown.typed_state,
        priority: shown.priority,
        reasons: reasons.into_iter().map(reason).collect(),
    })
}

async fn reasons_of(
    views: &Views,
    build: &Build,
    shown: &v1::Build,
    now: Timestamp,
) -> Result<Vec<Reason>> {
    let mut facts = BuildFacts {
        state: shown.known_state(),
        has_ended: shown.ended_us != 0,
        channel: &shown.channel,
        revision: shown.revision,
        reason: &shown.reason,
        failures: &[],
        paused: None,
        imports_ahead: 0,
        waits: "",
        tasks: &[],
    };
    if facts.has_ended {
        return Ok(reasons(&facts, now));
    }
    let (store, batch, build) = (&views.store, build.batch, build.id);
    let paused = store.batch_fetch(batch).await?.and_then(|batch| batch.paused);
    facts.paused = paused.map(|_| batch);
    let rows = store.failure_list(build, store.build_retried_at(build).await?).await?;
    let failures: Vec<Failed<'_>> = rows.iter().map(failed).collect();
    let tasks = tasks(views, &shown.tasks, &failures, now).await?;
    let is_told = |task: &TaskFacts<'_>| {
        matches!(task.state, Some(TaskState::Accepting | TaskState::Waiting))
    };
    let waits = if tasks.iter().any(is_told) {
        views.reasons.of_build(store, build).await?
    } else {
        String::new()
    };
    if facts.state == Some(BuildState::Importing) {
        facts.imports_ahead = store.build_count_imports_ahead(build).await?;
    }
    let facts = BuildFacts { failures: &failures, waits: &waits, tasks: &tasks, ..facts };
    Ok(reasons(&facts, now))
}

/// The tasks of a build. Why a task is still in its queue is computed only if it is not waiting for
/// a retry.
async fn tasks<'a>(
    views: &Views,
    shown: &'a [v1::Task],
    failures: &[Failed<'_>],
    now: Timestamp,
) -> Result<Vec<TaskFacts<'a>>> {
    let mut crowd = None;
    let mut tasks = Vec::with_capacity(shown.len());
    for task in shown {
        let (id, state) = (TaskId(task.id), task.known_state());
        let queued = match state {
            Some(TaskState::Queued) if next_try(failures, Some(id), now).is_none() => {
                let crowd = match &mut crowd {
                    Some(crowd) => crowd,
                    none => none.insert(FleetSnapshot::read(views).await?),
                };
                crowd.why(views, id, now).await?
            }
            _ => None,
        };
        tasks.push(TaskFacts {
            id,
            name: name(task),
            state,
            worker: &task.worker,
            phase: &task.phase,
            started: Timestamp::from_us(task.started_us),
            queued,
        });
    }
    Ok(tasks)
}

fn failed(row: &FailureRow) -> Failed<'_> {
    Failed { task: row.task, failure: &row.failure, retry: row.retry }
}

/// `srpm`, `build x86_64`.
fn name(task: &v1::Task) -> String {
    match task.kind.parse() {
        Ok(TaskKind::Srpm) => task.kind.clone(),
        _ => format!("{} {}", task.kind, task.arch),
    }
}

fn reason(reason: Reason) -> v1::Reason {
    let Reason { code, task, text, remedy, ahead, starts } = reason;
    let text = with_command(text, remedy.as_ref());
    let starts_us = us(starts);
    v1::Reason { code: code.to_string(), task, text, ahead, starts_us }
}

/// The workers and their attempts.
struct FleetSnapshot {
    workers: BTreeMap<String, WorkerView>,
    loads: HashMap<String, WorkerLoad>,
    running: HashMap<String, Vec<Running>>,
    standings: Standings,
}

impl FleetSnapshot {
    async fn read(views: &Views) -> Result<Self> {
        let store = &views.store;
        let mut running = HashMap::<String, Vec<Running>>::new();
        for row in store.lease_list_running().await? {
            let one = Running { started: row.started, takes: row.takes, srpm: row.srpm };
            running.entry(row.worker).or_default().push(one);
        }
        let workers = views.fleet.workers(Instant::now());
        let standings = store.standing_list().await?;
        Ok(Self { workers, loads: views.fleet.live_leases().loads(), running, standings })
    }

    /// Why a task waits; `None` when it is in no queue any more.
    async fn why(&self, views: &Views, task: TaskId, now: Timestamp) -> Result<Option<WaitReason>> {
        let store = &views.store;
        let Some(place) = store.queue_position_fetch(task).await? else { return Ok(None) };
        let avoid = store.worker_list_failed_task(task).await?;
        let emulation = match store.task_fetch(task).await? {
            Some(task) => allows_emulation(store, &views.targets, task.build).await?,
            None => false,
        };
        let maker = store.worker_fetch_of_repeated_task(task).await?;
        let waiting = WaitingTask {
            arch: place.arch,
            emulation,
            srpm: place.srpm,
            needs: &place.needs,
            avoid: &avoid,
            except: &maker,
        };
        let QueuePositionRow { ahead: tasks, known, known_take, .. } = place;
        let ahead = Ahead { tasks, known, known_take };
        Ok(Some(why(&waiting, &self.seen(), &ahead, now)))
    }

    fn seen(&self) -> Vec<WorkerSummary<'_>> {
        let seen = matched(&self.workers, &self.loads, &self.standings).into_iter();
        seen.map(|worker| {
            let name = worker.candidate.name;
            let (view, standing) = (&self.workers[name], self.standings.get(name));
            let reason = standing.map_or("", |row| row.reason.as_str());
            let standing = standing.map(|row| row.standing).unwrap_or_default();
            WorkerSummary {
                connected: view.liveness == Liveness::Alive,
                heard: view.heard_at,
                holds_back: holds_back(&view.state, standing, reason),
                running: self.running.get(name).map_or(&[][..], Vec::as_slice),
                worker,
            }
        })
        .collect()
    }
}
