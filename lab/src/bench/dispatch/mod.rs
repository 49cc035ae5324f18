//! Dispatch: how fast tasks get to workers with much in the queue, and after something died.
//!
//! A real coordinator serves a thousand sessions of workers that build nothing. The queue is
//! filled beforehand. Two moments are measured: a task gets ready while workers of its
//! architecture are idle (`rpmfarm retry` of an urgent build, from the call on), and a slot gets
//! free while the queue is long (from the worker's report on). Both end when the worker has its
//! assignment, so that the coordinator's transactions, both ways over the network and the fleet's
//! own delays are in it.

mod chart;
mod fleet;
mod latencies;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::figure::{Figure, PER_SECOND, Report};
use super::memory::peak_mib;
use crate::farm::{Farm, Postgres, Settings, TARGET, programs};
use crate::fixtures::TargetFile;
use crate::tool;
use chart::Line;
use fleet::Fleet;
use latencies::{DispatchTimes, Latencies, MeasuredLatencies, turns};

/// Figures of one database.
struct Names {
    p99: &'static str,
    growth: &'static str,
    rate: &'static str,
    rss: &'static str,
    coordinator: &'static str,
    worker: &'static str,
}

const SQLITE: Names = Names {
    p99: "dispatch.p99.sqlite",
    growth: "dispatch.growth.sqlite",
    rate: "dispatch.rate.sqlite",
    rss: "dispatch.rss.sqlite",
    coordinator: "recovery.coordinator.sqlite",
    worker: "recovery.worker.sqlite",
};

const POSTGRES: Names = Names {
    p99: "dispatch.p99.postgres",
    growth: "dispatch.growth.postgres",
    rate: "dispatch.rate.postgres",
    rss: "dispatch.rss.postgres",
    coordinator: "recovery.coordinator.postgres",
    worker: "recovery.worker.postgres",
};

impl Names {
    const fn all(&self) -> [&'static str; 6] {
        [self.p99, self.growth, self.rate, self.rss, self.coordinator, self.worker]
    }
}

/// All figures of this kind.
pub(super) const ALL: [&str; 12] = {
    let (a, b) = (SQLITE.all(), POSTGRES.all());
    [a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3], b[4], b[5]]
};

/// Queue lengths, the longest last.
const LENGTHS: [u32; 3] = [1_000, 10_000, 100_000];
/// Workers of the queue's architecture, all of which are busy.
const BUSY: u32 = 950;
/// Workers of the architecture for which no task waits.
const IDLE: u32 = 50;
/// Tasks that become ready, and the pause between two.
const RETRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(25);
/// The pause after a whole fleet has connected: its last workers still receive assignments while
/// the first are busy.
const SETTLE: Duration = Duration::from_secs(2);
/// How long workers hold a task, and for how long they are watched then.
const HOLD_MS: u32 = 20_000;
const WATCH: Duration = Duration::from_secs(10);
/// Tasks that leave the queue while it is measured.
const TAKEN: u32 = 2 * BUSY + 500;
/// How long the rate is measured.
const RATE: Duration = Duration::from_secs(15);
/// The timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(120);
const BUDGET_MS: f64 = 50.0;

/// Measures with both databases and draws the chart.
pub(super) fn measure(directory: &Path, chart: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let postgres = Postgres::start_durable()?;
    for (names, name) in [(SQLITE, "SQLite"), (POSTGRES, "PostgreSQL")] {
        if !report.wants_any(&names.all()) {
            continue;
        }
        let mut all = Vec::new();
        for length in LENGTHS {
            let directory = directory.join(format!("{name}-{length}"));
            let database = match name {
                "PostgreSQL" => Some(postgres.database(&format!("queue{length}"))?),
                _ => None,
            };
            let mut scene = Scene::set(&directory, database, length)?;
            let measured = scene.latencies()?;
            if length == LENGTHS[LENGTHS.len() - 1] {
                scene.rest(&names, report)?;
            }
            all.push((length, measured));
        }
        figures(&names, name, &all, report);
        let point = |(length, measured): &(u32, MeasuredLatencies)| {
            (f64::from(*length), measured.median(), measured.p99())
        };
        lines.push(Line { name, points: all.iter().map(point).collect() });
    }
    if lines.len() == 2 {
        std::fs::write(chart, chart::draw(&lines, BUDGET_MS))
            .with_context(|| format!("cannot write {}", chart.display()))?;
    }
    Ok(())
}

fn figures(names: &Names, database: &str, all: &[(u32, MeasuredLatencies)], report: &mut Report) {
    let (Some((_, first)), Some((length, last))) = (all.first(), all.last()) else { return };
    report.add(Figure {
        name: names.p99,
        value: last.p99(),
        unit: "ms",
        budget: BUDGET_MS,
        peer: format!("itself with {} queued: {:.1} ms", LENGTHS[0], first.p99()),
        ratio: Some(last.p99() / first.p99()),
        note: format!("{database}, {length} queued, {} workers: {}", BUSY + IDLE, last.note()),
    });
    let each: Vec<String> = all
        .iter()
        .map(|(length, measured)| {
            format!("{length}: {:.1} / {:.1} ms", measured.median(), measured.p99())
        })
        .collect();
    report.add(Figure {
        name: names.growth,
        value: last.median() / first.median(),
        unit: "x",
        budget: 1.5,
        peer: format!("itself with {} queued", LENGTHS[0]),
        ratio: Some(last.median() / first.median()),
        note: format!("medians; median / p99 by length: {}", each.join(", ")),
    });
}

/// A coordinator with a queue and a fleet.
struct Scene {
    settings: Settings,
    farm: Farm,
    fleet: Fleet,
    /// The builds that can be retried.
    ended: std::ops::Range<u32>,
}

impl Scene {
    fn set(directory: &Path, database: Option<String>, length: u32) -> anyhow::Result<Self> {
        let data = directory.join("coordinator");
        std::fs::create_dir_all(&data)?;
        let settings = Settings { database, workers: 0, ..Settings::new(directory) };
        let sqlite = || format!("sqlite://{}", data.join("farm.db").display());
        let queued = length + TAKEN;
        let mut seed = Command::new(programs().join("examples/bench_queue"));
        seed.args(["--database", &settings.database.clone().unwrap_or_else(sqlite)]);
        seed.args(["--target", TARGET, "--queued", &queued.to_string()]);
        seed.args(["--ended", &RETRIES.to_string()]);
        tool::output(&mut seed)?;
        let farm = Farm::start(&settings, &target())?;
        let mut command = Command::new(programs().join("examples/bench_fleet"));
        command.args(["--server", farm.server()]).arg("--token-file").arg(data.join("token"));
        command.arg("--workers").arg(format!("x86_64={BUSY}"));
        command.arg("--workers").arg(format!("aarch64={IDLE}"));
        let fleet = Fleet::start(&mut command)?;
        let (mut connected, mut assigned) = (0, 0);
        fleet.watch(PATIENCE, "all workers are there and busy", |event| {
            connected += u32::from(event.event == "connected");
            assigned += u32::from(event.event == "assigned");
            connected >= BUSY + IDLE && assigned >= BUSY
        })?;
        fleet.listen(SETTLE);
        Ok(Self { settings, farm, fleet, ended: queued + 1..queued + 1 + RETRIES })
    }

    fn latencies(&mut self) -> anyhow::Result<MeasuredLatencies> {
        Ok(MeasuredLatencies { ready: self.ready()?, turn: self.turn()? })
    }

    /// From the call that makes a task ready to its assignment.
    fn ready(&mut self) -> anyhow::Result<Latencies> {
        self.fleet.send("hold 0")?;
        let mut seen = DispatchTimes::default();
        for build in self.ended.clone() {
            self.fleet.send(&format!("retry {build}"))?;
            for event in self.fleet.listen(PAUSE) {
                seen.note(&event);
            }
        }
        if !seen.is_all() {
            self.fleet.watch(PATIENCE, "all that got ready is assigned", |event| {
                seen.note(event);
                seen.is_all()
            })?;
        }
        let late = |(build, at): (&i64, &i64)| seen.assigned.get(build).map(|got| got - at);
        Ok(Latencies::of(seen.asked.iter().filter_map(late)))
    }

    /// From a worker's report to its next assignment, when reports arrive one by one.
    fn turn(&mut self) -> anyhow::Result<Latencies> {
        self.fleet.send(&format!("hold {HOLD_MS}"))?;
        self.fleet.send("release")?;
        let mut assigned = 0;
        self.fleet.watch(PATIENCE, "all have something new", |event| {
            assigned += u32::from(event.event == "assigned");
            assigned >= BUSY
        })?;
        // The earliest tasks are held for half of the time.
        self.fleet.listen(Duration::from_millis(u64::from(HOLD_MS / 2)));
        let mut events = self.fleet.listen(WATCH);
        let late: HashSet<String> = events
            .iter()
            .filter(|event| event.event == "ended")
            .map(|event| event.worker.clone())
            .collect();
        events.extend(self.fleet.listen(Duration::from_secs(1)));
        let latencies = Latencies::of(turns(&events));
        ensure!(
            latencies.0.len() >= late.len() * 9 / 10,
            "{} of {} free workers got something new",
            latencies.0.len(),
            late.len()
        );
        Ok(latencies)
    }

    /// The figures that are measured with the longest queue only.
    fn rest(&mut self, names: &Names, report: &mut Report) -> anyhow::Result<()> {
        if report.wants(names.rate) {
            report.add(self.rate(names)?);
        }
        report.add(Figure {
            name: names.rss,
            value: peak_mib(self.farm.coordinator.pid())?,
            unit: "MiB",
            budget: 256.0,
            peer: format!("{} queued tasks, {} sessions", LENGTHS[2], BUSY + IDLE),
            ratio: None,
            note: "the coordinator's peak over all that was measured before".into(),
        });
        if report.wants(names.worker) {
            report.add(self.worker(names)?);
        }
        if report.wants(names.coordinator) {
            report.add(self.coordinator(names)?);
        }
        Ok(())
    }

    /// Assignments in a second, while workers end everything at once.
    fn rate(&mut self, names: &Names) -> anyhow::Result<Figure> {
        self.fleet.send("hold 0")?;
        self.fleet.send("release")?;
        self.fleet.listen(Duration::from_secs(2));
        let begun = Instant::now();
        let events = self.fleet.listen(RATE);
        let seconds = begun.elapsed().as_secs_f64();
        let assigned = events.iter().filter(|event| event.event == "assigned").count();
        self.fleet.send(&format!("hold {HOLD_MS}"))?;
        self.fleet.listen(Duration::from_secs(2));
        Ok(Figure {
            name: names.rate,
            value: assigned as f64 / seconds,
            unit: PER_SECOND,
            budget: 500.0,
            peer: format!("{BUSY} workers that end what they get at once, as failed"),
            ratio: None,
            note: format!("{assigned} assignments, and as many ends of builds, in {seconds:.1} s"),
        })
    }

    /// From the end of a worker's connection to its task's next assignment.
    fn worker(&mut self, names: &Names) -> anyhow::Result<Figure> {
        let mut held = HashMap::new();
        self.fleet.watch(PATIENCE, "somebody has something", |event| {
            if event.event == "assigned" {
                held.insert(event.worker.clone(), event.task);
            }
            held.len() >= 3
        })?;
        let mut dropped = HashMap::new();
        for worker in held.keys() {
            self.fleet.send(&format!("drop {worker}"))?;
        }
        let mut slowest = 0;
        self.fleet.watch(PATIENCE, "the tasks of dead workers run elsewhere", |event| {
            if event.event == "dropped" {
                dropped.insert(held[&event.worker], event.at);
            } else if event.event == "assigned"
                && let Some(at) = dropped.remove(&event.task)
            {
                slowest = slowest.max(event.at - at);
                held.retain(|_, task| *task != event.task);
            }
            held.is_empty()
        })?;
        Ok(Figure {
            name: names.worker,
            value: slowest as f64 / 1e6,
            unit: "s",
            budget: 30.0,
            peer: "a lease of 30 s".into(),
            ratio: Some(slowest as f64 / 30e6),
            note: "the slowest of 3 workers whose connections broke, as a kill's do".into(),
        })
    }

    /// From the coordinator's start after SIGKILL to the hundredth new assignment.
    fn coordinator(&mut self, names: &Names) -> anyhow::Result<Figure> {
        self.fleet.send("hold 2000")?;
        self.fleet.listen(Duration::from_secs(2));
        self.farm.coordinator.kill();
        self.fleet.listen(Duration::from_secs(1));
        let begun = Instant::now();
        self.farm.restart_coordinator(&self.settings)?;
        let up = begun.elapsed();
        let mut assigned = 0;
        self.fleet.watch(PATIENCE, "tasks are given away again", |event| {
            assigned += u32::from(event.event == "assigned");
            assigned >= 100
        })?;
        let took = begun.elapsed().as_secs_f64();
        Ok(Figure {
            name: names.coordinator,
            value: took,
            unit: "s",
            budget: 10.0,
            peer: format!("its start until it listens: {:.2} s", up.as_secs_f64()),
            ratio: Some(took / up.as_secs_f64()),
            note: format!("until 100 tasks of {} were given away", LENGTHS[2]),
        })
    }
}

/// A target of which only its name and architectures are used.
fn target() -> String {
    let arches = "arches = [\"x86_64\", \"aarch64\"]";
    TargetFile::small("127.0.0.1:9").named(TARGET).unsigned().with(arches).text()
}
