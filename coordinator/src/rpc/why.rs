//! Why a build is where it is, and when it goes on: what people ask first. The reasons are `core`'s; here
//! are the facts of which they follow, read once for all tasks of a build.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rpmfarm_core::fleet::holds_back;
use rpmfarm_core::lease::Liveness;
use rpmfarm_core::matching::Waiting;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::why::{
    Ahead, BuildFacts, Failed, Reason, Running, Seen, TaskFacts, Why, next_try, reasons, why,
};
use rpmfarm_core::{BuildId, TaskId, Timestamp};
use rpmfarm_proto::v1;

use super::view::Views;
use crate::commands::with_command;
use crate::dispatch::pass::{Standings, allows_emulation, matched};
use crate::fleet::{Load, WorkerView};
use crate::store::{Build, FailureRow, Result};

/// Everything that a build waits for, or that goes on with it.
///
/// # Errors
/// Database errors.
pub async fn build(views: &Views, build: &Build, now_us: i64) -> Result<v1::WhyReply> {
    let shown = views.build(build).await?;
    let reasons = reasons_of(views, build.id(), &shown, now_us).await?;
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
    build: BuildId,
    shown: &v1::Build,
    now_us: i64,
) -> Result<Vec<Reason>> {
    let mut facts = BuildFacts {
        state: shown.known_state(),
        has_ended: shown.ended_us != 0,
        channel: &shown.channel,
        revision: shown.revision,
        reason: &shown.reason,
        failures: &[],
        imports_ahead: 0,
        waits: "",
        tasks: &[],
    };
    if facts.has_ended {
        return Ok(reasons(&facts, now_us));
    }
    let store = &views.store;
    let rows = store.failures(build, store.retried_us(build).await?).await?;
    let failures: Vec<Failed<'_>> = rows.iter().map(failed).collect();
    let tasks = tasks(views, &shown.tasks, &failures, now_us).await?;
    let is_told = |task: &TaskFacts<'_>| {
        matches!(task.state, Some(TaskState::Accepting | TaskState::Waiting))
    };
    let waits = if tasks.iter().any(is_told) {
        views.reasons.of(store, build).await?
    } else {
        String::new()
    };
    if facts.state == Some(BuildState::Importing) {
        facts.imports_ahead = store.imports_ahead(build).await?;
    }
    let facts = BuildFacts { failures: &failures, waits: &waits, tasks: &tasks, ..facts };
    Ok(reasons(&facts, now_us))
}

/// The tasks of a build. Why one is in its queue is asked only if it is not tried again later.
async fn tasks<'a>(
    views: &Views,
    shown: &'a [v1::Task],
    failures: &[Failed<'_>],
    now_us: i64,
) -> Result<Vec<TaskFacts<'a>>> {
    let mut crowd = None;
    let mut tasks = Vec::with_capacity(shown.len());
    for task in shown {
        let (id, state) = (TaskId(task.id), task.known_state());
        let queued = match state {
            Some(TaskState::Queued) if next_try(failures, Some(id), now_us).is_none() => {
                let crowd = match &mut crowd {
                    Some(crowd) => crowd,
                    none => none.insert(Crowd::read(views).await?),
                };
                crowd.why(views, id, now_us).await?
            }
            _ => None,
        };
        tasks.push(TaskFacts {
            id,
            name: name(task),
            state,
            worker: &task.worker,
            phase: &task.phase,
            started_us: task.started_us,
            queued,
        });
    }
    Ok(tasks)
}

fn failed(row: &FailureRow) -> Failed<'_> {
    Failed { task: row.task, failure: &row.failure, retry_us: row.retry_us }
}

/// `srpm`, `build x86_64`.
fn name(task: &v1::Task) -> String {
    match task.kind.parse() {
        Ok(TaskKind::Srpm) => task.kind.clone(),
        _ => format!("{} {}", task.kind, task.arch),
    }
}

fn reason(reason: Reason) -> v1::Reason {
    let Reason { code, task, text, remedy, ahead, starts_us } = reason;
    let text = with_command(text, remedy.as_ref());
    v1::Reason { code: code.to_string(), task, text, ahead, starts_us }
}

/// The workers and what they do.
struct Crowd {
    workers: BTreeMap<String, WorkerView>,
    loads: HashMap<String, Load>,
    running: HashMap<String, Vec<Running>>,
    standings: Standings,
}

impl Crowd {
    async fn read(views: &Views) -> Result<Self> {
        let store = &views.store;
        let mut running = HashMap::<String, Vec<Running>>::new();
        for row in store.running().await? {
            let one = Running { started_us: row.started_us, takes_us: row.takes_us };
            running.entry(row.worker).or_default().push(one);
        }
        let workers = views.fleet.workers(Instant::now());
        let standings = store.standings().await?;
        Ok(Self { workers, loads: views.fleet.held().loads(), running, standings })
    }

    /// Why a task waits; `None` when it is in no queue any more.
    async fn why(&self, views: &Views, task: TaskId, now_us: i64) -> Result<Option<Why>> {
        let store = &views.store;
        let Some(place) = store.place(task).await? else { return Ok(None) };
        let avoid = store.workers_that_failed(task).await?;
        let emulation = match store.task(task).await? {
            Some(task) => allows_emulation(store, &views.targets, task.build).await?,
            None => false,
        };
        let maker = store.maker_of_repeated(task).await?;
        let waiting = Waiting {
            arch: place.arch,
            emulation,
            needs: &place.needs,
            avoid: &avoid,
            except: &maker,
        };
        let ahead = Ahead { tasks: place.ahead, known: place.known, known_us: place.known_us };
        Ok(Some(why(&waiting, &self.seen(), &ahead, now_us)))
    }

    fn seen(&self) -> Vec<Seen<'_>> {
        let seen = matched(&self.workers, &self.loads, &self.standings).into_iter();
        seen.map(|worker| {
            let name = worker.candidate.name;
            let (view, standing) = (&self.workers[name], self.standings.get(name));
            let reason = standing.map_or("", |row| row.reason.as_str());
            let standing = standing.map(|row| row.standing).unwrap_or_default();
            Seen {
                connected: view.liveness == Liveness::Alive,
                heard: Timestamp::from_us(view.heard_us),
                holds_back: holds_back(&view.state, standing, reason),
                running: self.running.get(name).map_or(&[][..], Vec::as_slice),
                worker,
            }
        })
        .collect()
    }
}
