//! Why a build is where it is, and when it goes on: what people ask first.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rpmfarm_core::fleet::outdated;
use rpmfarm_core::lease::Liveness;
use rpmfarm_core::matching::Waiting;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::why::{Seen, UNKNOWN_US, Why, about, starts_in_us, why_none};
use rpmfarm_core::{TaskId, Timestamp};
use rpmfarm_proto::v1;

use super::view::Views;
use crate::accept;
use crate::dispatch::pass::{Standings, allows_emulation, matched};
use crate::fleet::WorkerView;
use crate::store::{Build, FailureRow, Place, Result, Running, StandingRow};

/// Everything that a build waits for, or that goes on with it.
pub async fn build(views: &Views, build: &Build, now_us: i64) -> Result<v1::WhyReply> {
    let shown = views.build(build).await?;
    let reasons = reasons(views, build, &shown, now_us).await?;
    Ok(v1::WhyReply {
        build: shown.id,
        package: shown.package,
        target: shown.target,
        state: shown.state,
        typed_state: shown.typed_state,
        priority: shown.priority,
        reasons,
    })
}

async fn reasons(
    views: &Views,
    build: &Build,
    shown: &v1::Build,
    now_us: i64,
) -> Result<Vec<v1::Reason>> {
    let whole =
        |code: &str, text: String| v1::Reason { code: code.into(), text, ..v1::Reason::default() };
    let state = shown.known_state();
    if shown.ended_us != 0 {
        let text = match state {
            Some(BuildState::Published) => {
                format!("it is published in {}, revision {}", shown.channel, shown.revision)
            }
            Some(BuildState::Failed) => format!("it failed: {}", shown.reason),
            _ => format!("it is {}", shown.state),
        };
        return Ok(vec![whole("ended", text)]);
    }
    let store = &views.store;
    let failures = store.failures(build.id(), store.retried_us(build.id()).await?).await?;
    // The newest of each task, and of what is no task's: a later one of another says nothing of it.
    let newest: BTreeMap<Option<TaskId>, &FailureRow> =
        failures.iter().map(|row| (row.task, row)).collect();
    let retry = |of: Option<TaskId>| {
        let row = newest.get(&of)?;
        let at = row.retry_us.filter(|at| *at > now_us)?;
        let text = format!("is tried again {} after: {}", in_time(at - now_us), row.failure);
        Some(v1::Reason { starts_us: at, ..whole("retry", text) })
    };
    let mut reasons: Vec<v1::Reason> = retry(None).into_iter().collect();
    match state {
        Some(BuildState::Importing) if reasons.is_empty() => {
            let text = match store.imports_ahead(build.id()).await? {
                0 => "its sources are being fetched".to_owned(),
                ahead => format!("its sources are fetched after those of {ahead} other builds"),
            };
            reasons.push(whole("import", text));
        }
        Some(BuildState::Claimed) => reasons.push(whole("claim", shown.reason.clone())),
        Some(BuildState::Signing) => {
            reasons.push(whole("sign", or(&shown.reason, "its packages are being signed")))
        }
        Some(BuildState::Publishing) => {
            reasons.push(whole("publish", or(&shown.reason, "its packages are being published")));
        }
        _ => {}
    }
    let tasks = store.tasks(build.id()).await?;
    let mut crowd = None;
    for task in &shown.tasks {
        let name = match task.kind.parse() {
            Ok(TaskKind::Srpm) => task.kind.clone(),
            _ => format!("{} {}", task.kind, task.arch),
        };
        let of_task = |reason: v1::Reason| v1::Reason { task: name.clone(), ..reason };
        let state = task.known_state();
        if matches!(state, Some(TaskState::Waiting | TaskState::Queued))
            && let Some(reason) = retry(Some(TaskId(task.id)))
        {
            reasons.push(of_task(reason));
            continue;
        }
        match state {
            Some(TaskState::Running) => {
                let text = format!(
                    "runs on {} ({}) for {}",
                    task.worker,
                    or(&task.phase, "begins"),
                    span(now_us - task.started_us)
                );
                reasons.push(of_task(whole("runs", text)));
            }
            Some(TaskState::Accepting) => {
                let waits = views.reasons.of(store, build.id()).await?;
                let waits = if waits.starts_with(accept::WAITS) { waits.as_str() } else { "" };
                let text = or(waits, "its results are being checked");
                reasons.push(of_task(whole("accept", text)));
            }
            Some(TaskState::Waiting) => {
                let waits = views.reasons.of(store, build.id()).await?;
                let code = if waits.is_empty() { "lock" } else { "packages" };
                let text = or(&waits, "its build root is being solved and fetched");
                reasons.push(of_task(whole(code, text)));
            }
            Some(TaskState::Queued) => {
                let Some(known) = tasks.iter().find(|known| known.id.0 == task.id) else {
                    continue;
                };
                let crowd = match &mut crowd {
                    Some(crowd) => crowd,
                    none => none.insert(Crowd::look(views).await?),
                };
                reasons.push(of_task(match crowd.why(views, known.id, now_us).await? {
                    Some(why) => reason(&why, now_us),
                    // On its way into its queue, or out of it.
                    None => whole("queue", "goes on in a moment".into()),
                }));
            }
            _ => {}
        }
    }
    if reasons.is_empty() {
        // Between two stages: the next pass has it.
        reasons.push(whole("lock", or(&shown.reason, "goes on in a moment")));
    }
    Ok(reasons)
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

fn in_time(us: i64) -> String {
    if us < 50_000_000 { format!("in {} s", us.max(0) / 1_000_000 + 1) } else { about(us) }
}

fn span(us: i64) -> String {
    let seconds = us.max(0) / 1_000_000;
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

fn reason(why: &Why, now_us: i64) -> v1::Reason {
    let (ahead, starts_us) = match why {
        Why::Behind { tasks, starts_in_us } => (*tasks, now_us + starts_in_us),
        _ => (0, 0),
    };
    v1::Reason {
        code: why.code().into(),
        task: String::new(),
        text: why.to_string(),
        ahead,
        starts_us,
    }
}

/// The workers and what they do, looked at once for all tasks of a build.
struct Crowd {
    workers: BTreeMap<String, WorkerView>,
    running: HashMap<String, Vec<Running>>,
    standings: Standings,
}

impl Crowd {
    async fn look(views: &Views) -> Result<Self> {
        let store = &views.store;
        let mut running = HashMap::<String, Vec<Running>>::new();
        for one in store.running().await? {
            running.entry(one.worker.clone()).or_default().push(one);
        }
        let workers = views.fleet.workers(Instant::now());
        let standings = store.standings().await?;
        Ok(Self { workers, running, standings })
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
        let loads = views.fleet.held().loads();
        let seen: Vec<Seen<'_>> = matched(&self.workers, &loads, &self.standings)
            .into_iter()
            .map(|worker| {
                let view = &self.workers[worker.candidate.name];
                Seen {
                    connected: view.liveness == Liveness::Alive,
                    heard: Timestamp::from_us(view.heard_us),
                    holds_back: holds_back(view, self.standings.get(worker.candidate.name)),
                    worker,
                }
            })
            .collect();
        if let Some(why) = why_none(&waiting, &seen) {
            return Ok(Some(why));
        }
        let mut busy_us = Vec::new();
        for worker in seen.iter().map(|seen| &seen.worker).filter(|worker| worker.is_able(&waiting))
        {
            let none = Vec::new();
            let running = self.running.get(worker.candidate.name).unwrap_or(&none);
            let left = |one: &Running| {
                let takes = if one.takes_us > 0 { one.takes_us } else { UNKNOWN_US };
                // What is over its time ends some time.
                (takes - (now_us - one.started_us)).max(takes / 10)
            };
            busy_us.extend(running.iter().map(left));
            let idle = (worker.candidate.slots as usize).saturating_sub(running.len());
            busy_us.extend(std::iter::repeat_n(0, idle));
        }
        let starts_in_us = starts_in_us(&busy_us, ahead_us(&place)).unwrap_or(0);
        Ok(Some(Why::Behind { tasks: place.ahead, starts_in_us }))
    }
}

/// What all tasks that go first take. Of those of which nothing is known, as much as the others,
/// one by one.
fn ahead_us(place: &Place) -> i64 {
    let known = i64::try_from(place.known).unwrap_or(i64::MAX);
    let unknown = i64::try_from(place.ahead - place.known.min(place.ahead)).unwrap_or(i64::MAX);
    let each = if known > 0 { place.known_us / known } else { UNKNOWN_US };
    place.known_us.saturating_add(unknown.saturating_mul(each))
}

/// Why a worker that is connected takes nothing new.
fn holds_back(view: &WorkerView, standing: Option<&StandingRow>) -> String {
    if let Some(row) = standing.filter(|row| !row.standing.takes_work()) {
        return format!("is {}: {}", row.standing, or(&row.reason, "somebody said so"));
    }
    if outdated(&view.state).is_some() {
        return format!("is too old ({})", view.state.version);
    }
    if view.state.draining { "is stopping".into() } else { "is not ready".into() }
}
