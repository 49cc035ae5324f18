//! Ten minutes on a bad link: how often a live worker's lease ends.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::figure::{Figure, Report};
use crate::farm::{Client, Farm, Settings, World};
use crate::net::{Link, Weather};

pub(super) const FALSE_DEATHS: &str = "link.false_deaths";

/// How long the worker is watched.
const TIME: Duration = Duration::from_secs(600);
/// The delay and loss of packets, in each direction.
const BAD: Weather = Weather { delay: Duration::from_millis(300), loss: 0.05 };
/// A package whose build takes some seconds and is the same each time.
const PACKAGE: &str = "lingers";
/// The timeout until the farm knows its worker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches a worker at the far end of a bad link, with the default lease, while it builds.
pub(super) fn measure(directory: &Path, world: &World, report: &mut Report) -> anyhow::Result<()> {
    let link = Link::make()?;
    let mut settings = Settings::new(directory.join("far-farm"));
    settings.workers = 0;
    settings.listen = format!("{}:0", link.here());
    settings.worker_wrapper = link.inside();
    let mut farm = Farm::start(&settings, &world.target_text()?)?;
    farm.add_worker(&settings)?;
    let client = farm.client();
    let begun = Instant::now();
    while liveness(&client)? != "alive" {
        ensure!(begun.elapsed() < PATIENCE, "no worker:\n{}", farm.workers[0].log_tail());
        std::thread::sleep(Duration::from_millis(200));
    }
    link.set_both(BAD);
    let watched = watch(&client)?;
    report.add(Figure {
        name: FALSE_DEATHS,
        value: f64::from(watched.deaths),
        unit: "deaths",
        budget: 0.0,
        peer: format!(
            "none; {} s at {} ms and {} % each way, {} builds",
            watched.time.as_secs(),
            BAD.delay.as_millis(),
            BAD.loss * 100.0,
            watched.builds
        ),
        ratio: None,
        note: format!(
            "a heartbeat of 5 s and a lease of 30 s; {} of {} readings found it late",
            watched.late, watched.checks
        ),
    });
    Ok(())
}

#[derive(Default)]
struct LinkObservation {
    time: Duration,
    builds: u32,
    deaths: u32,
    checks: u32,
    late: u32,
}

fn watch(client: &Client) -> anyhow::Result<LinkObservation> {
    let begun = Instant::now();
    let mut watched = LinkObservation::default();
    let mut build = client.build(&[PACKAGE])?[0];
    while begun.elapsed() < TIME {
        std::thread::sleep(Duration::from_millis(500));
        let liveness = liveness(client)?;
        watched.checks += 1;
        watched.late += u32::from(liveness != "alive");
        let shown = client.show(build)?;
        if shown["ended"] == true {
            ensure!(shown["state"] == "published", "build {build}: {shown:#}");
            watched.deaths += deaths(&shown)?;
            watched.builds += 1;
            build = client.build(&[PACKAGE])?[0];
        }
    }
    watched.deaths += deaths(&client.show(build)?)?;
    watched.time = begun.elapsed();
    Ok(watched)
}

/// Attempts after the first: on this farm only an ended lease causes one.
fn deaths(build: &Value) -> anyhow::Result<u32> {
    let tasks = build["tasks"].as_array().context("no tasks")?;
    let again: u64 =
        tasks.iter().filter_map(|task| task["attempts"].as_u64()?.checked_sub(1)).sum();
    u32::try_from(again).map_err(Into::into)
}

fn liveness(client: &Client) -> anyhow::Result<String> {
    let list = client.json(&["worker", "list"])?;
    Ok(list["workers"][0]["liveness"].as_str().unwrap_or_default().to_owned())
}
