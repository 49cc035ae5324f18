//! What a build of a batch costs the coordinator: statements and processor time, for batches of
//! several sizes.
//!
//! The packages are trivial, each in a repository of its own, and are built by real workers, so
//! that all that the farm does for a build is in it. `--only batch.cost.3000` measures the largest
//! batch, which takes an hour and is left out otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::cpu;
use super::figure::{Figure, Report};
use super::scrape;
use crate::distgit::{BRANCH, Commit, Entry, create};
use crate::farm::{Client, Farm, Settings, World};

/// A batch: the names of its figures, and how many builds it has.
struct Batch {
    statements: &'static str,
    cpu: &'static str,
    watched: &'static str,
    builds: usize,
}

const BATCHES: [Batch; 3] = [
    Batch {
        statements: "batch.cost.30",
        cpu: "batch.cost.30.cpu",
        watched: "batch.cost.30.watched",
        builds: 30,
    },
    Batch {
        statements: "batch.cost.300",
        cpu: "batch.cost.300.cpu",
        watched: "batch.cost.300.watched",
        builds: 300,
    },
    Batch {
        statements: "batch.cost.3000",
        cpu: "batch.cost.3000.cpu",
        watched: "batch.cost.3000.watched",
        builds: 3000,
    },
];

/// All figures of this kind.
pub(super) const ALL: [&str; 9] = [
    BATCHES[0].statements,
    BATCHES[0].cpu,
    BATCHES[0].watched,
    BATCHES[1].statements,
    BATCHES[1].cpu,
    BATCHES[1].watched,
    BATCHES[2].statements,
    BATCHES[2].cpu,
    BATCHES[2].watched,
];

/// The largest batch that is measured without being asked for by its name.
const LARGEST: usize = 300;

/// Statements that a build may cost.
const STATEMENTS: f64 = 150.0;

/// The permitted cost of a watcher, compared with no watcher.
const WATCHER: f64 = 1.05;

/// How long a build of a batch may take, of the whole of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the builds of a batch cost, each.
#[derive(Debug, Clone, Copy)]
struct Cost {
    statements: f64,
    /// Processor time of the coordinator, in milliseconds.
    cpu_ms: f64,
    /// By the clock, in milliseconds.
    wall_ms: f64,
}

/// Measures each batch that is asked for, unwatched and watched.
pub(super) fn measure(directory: &Path, world: &World, report: &mut Report) -> anyhow::Result<()> {
    let mut smallest = None;
    for batch in &BATCHES {
        let names = [batch.statements, batch.cpu, batch.watched];
        let is_wanted =
            if batch.builds > LARGEST { report.asks_any(&names) } else { report.wants_any(&names) };
        if !is_wanted {
            continue;
        }
        let at = directory.join(batch.builds.to_string());
        let alone = cost(&at.join("alone"), world, batch.builds, false)?;
        let peer = *smallest.get_or_insert((batch.builds, alone));
        figures(batch, alone, peer, report);
        if report.wants(batch.watched) {
            let watched = cost(&at.join("watched"), world, batch.builds, true)?;
            report.add(of_watcher(batch, alone, watched));
        }
    }
    Ok(())
}

fn figures(batch: &Batch, alone: Cost, (builds, smallest): (usize, Cost), report: &mut Report) {
    let Cost { statements, cpu_ms, wall_ms } = alone;
    let note = format!(
        "a batch of {}, nobody watches: {statements:.0} statements, {cpu_ms:.0} ms of a processor and \
         {wall_ms:.0} ms by the clock for each build",
        batch.builds
    );
    report.add(Figure {
        name: batch.statements,
        value: statements,
        unit: "statements",
        budget: STATEMENTS,
        peer: format!("a batch of {builds}: {:.0}", smallest.statements),
        ratio: Some(statements / smallest.statements),
        note: note.clone(),
    });
    report.add(Figure {
        name: batch.cpu,
        value: cpu_ms,
        unit: "ms",
        budget: smallest.cpu_ms * 1.2,
        peer: format!("a batch of {builds}: {:.0} ms", smallest.cpu_ms),
        ratio: Some(cpu_ms / smallest.cpu_ms),
        note,
    });
}

fn of_watcher(batch: &Batch, alone: Cost, watched: Cost) -> Figure {
    let ratio = watched.statements / alone.statements;
    Figure {
        name: batch.watched,
        value: ratio,
        unit: "x",
        budget: WATCHER,
        peer: format!("nobody watches: {:.0} statements a build", alone.statements),
        ratio: Some(ratio),
        note: format!(
            "with somebody who watches the batch of {}: {:.0} statements, {:.0} ms of a processor and \
             {:.0} ms by the clock for each build",
            batch.builds, watched.statements, watched.cpu_ms, watched.wall_ms
        ),
    }
}

/// Builds a batch on a farm of its own.
fn cost(directory: &Path, world: &World, builds: usize, watch: bool) -> anyhow::Result<Cost> {
    let names: Vec<String> = (0..=builds).map(|number| format!("trivial{number:04}")).collect();
    for name in &names {
        package(world, name)?;
    }
    let farm = Farm::start(&Settings::new(directory), &world.target_text()?)?;
    let client = farm.client();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (&first, batch) = names.split_first().context("a batch has builds")?;
    // The first build creates roots, fetches packages and loads metadata.
    client.publish(&[first], Duration::from_secs(300))?;
    let before = (scrape::text(&farm)?, cpu::seconds(&farm.coordinator)?);
    let begun = Instant::now();
    let ids = client.build(batch)?;
    let watcher = if watch { Some(watcher(&client, &ids)?) } else { None };
    published(&farm, builds, begun)?;
    let wall = begun.elapsed().as_secs_f64();
    let processor = cpu::seconds(&farm.coordinator)? - before.1;
    // Values of the metrics are cached for 2 s.
    std::thread::sleep(Duration::from_millis(2100));
    let statements = statements(&scrape::text(&farm)?)? - statements(&before.0)?;
    if let Some(mut watcher) = watcher {
        ensure!(watcher.wait()?.success(), "a watched build was not published");
    }
    let each = builds as f64;
    Ok(Cost {
        statements: statements / each,
        cpu_ms: processor * 1000.0 / each,
        wall_ms: wall * 1000.0 / each,
    })
}

fn statements(text: &str) -> anyhow::Result<f64> {
    scrape::value(text, "rpmfarm_statements_total")
}

/// Waits until the first build and all of the batch are published. The metrics cost the same few
/// statements whatever the farm does.
fn published(farm: &Farm, builds: usize, begun: Instant) -> anyhow::Result<()> {
    let patience = PATIENCE * u32::try_from(builds)?;
    loop {
        let text = scrape::text(farm)?;
        let count = |state: &str| {
            let name = format!("rpmfarm_builds{{state=\"{state}\"}}");
            scrape::value(&text, &name).unwrap_or_default()
        };
        ensure!(count("failed") + count("cancelled") < 0.5, "a trivial build failed");
        if count("published") > builds as f64 {
            return Ok(());
        }
        ensure!(begun.elapsed() < patience, "{builds} builds took more than {patience:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A client that watches builds to their end.
fn watcher(client: &Client, ids: &[i64]) -> anyhow::Result<Child> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let arguments: Vec<&str> =
        std::iter::once("watch").chain(ids.iter().map(String::as_str)).collect();
    let mut command = client.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start rpmfarm watch")
}

/// A package that is built in no time.
fn package(world: &World, name: &str) -> anyhow::Result<()> {
    let repository = world.repository_of(name);
    if repository.exists() {
        return Ok(());
    }
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1%{{?dist}}\nSummary: Trivial\nLicense: MIT\n\
         BuildArch: noarch\n\n%description\nTrivial.\n\n%files\n"
    );
    let file = format!("{name}.spec");
    let tree = BTreeMap::from([(file.as_str(), Entry::File(spec.as_bytes()))]);
    create(&repository, BRANCH, &[Commit { message: "Begin", tree }])?;
    Ok(())
}
