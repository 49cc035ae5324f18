//! Builds that end together, while a reader looks at the repository all the time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpmfarm_coordinator::work;
use rpmfarm_core::{BuildId, Stage};
use serde::Serialize;

use crate::farm::BenchFarm;
use crate::packages::{MadeBuild, PER_BUILD};

/// How often the reader looks.
const POLL: Duration = Duration::from_millis(20);

/// The longest that the builds may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
pub(crate) struct CoalesceFigures {
    builds: usize,
    /// Seconds from the end of a build until the reader sees its packages, of the slowest one.
    slowest_s: f64,
    /// The same of half of the builds.
    median_s: f64,
    /// Generations that were shown.
    generations: usize,
    /// The shortest time between two of them; none when there was one.
    shortest_s: Option<f64>,
}

pub(crate) async fn measure(
    farm: &mut BenchFarm,
    packages: usize,
    builds: usize,
) -> anyhow::Result<CoalesceFigures> {
    let stage = farm.parts.publish();
    farm.fill(&stage, packages / PER_BUILD).await?;
    let made = farm.make(builds)?;
    farm.record(&made).await?;
    let bus = farm.parts.bus.for_steps(work::steps(Stage::Publish));
    let runner = farm.parts.runner();
    let running = tokio::spawn(async move { runner.stage(stage, bus).await });
    let reader = {
        let (channel, wanted) = (farm.channel(), names(&made));
        std::thread::spawn(move || read(&channel, wanted))
    };
    let mut ended = HashMap::new();
    for (id, _) in &made {
        farm.end(std::iter::once(*id)).await?;
        ended.insert(*id, Instant::now());
    }
    let seen = tokio::task::spawn_blocking(move || reader.join()).await?;
    let seen = seen.ok().context("the reader panicked")??;
    running.abort();
    let waited = |(build, at): (&BuildId, &Instant)| {
        Some(at.saturating_duration_since(*ended.get(build)?).as_secs_f64())
    };
    let mut times: Vec<f64> = seen.builds.iter().filter_map(waited).collect();
    times.sort_by(f64::total_cmp);
    ensure!(times.len() == builds, "only {} builds were seen", times.len());
    let gaps = seen.generations.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
    Ok(CoalesceFigures {
        builds,
        slowest_s: times[times.len() - 1],
        median_s: times[times.len() / 2],
        generations: seen.generations.len(),
        shortest_s: gaps.min_by(f64::total_cmp),
    })
}

/// The name of a package of each build.
fn names(made: &[(BuildId, MadeBuild)]) -> HashMap<String, BuildId> {
    let first = |(id, build): &(BuildId, MadeBuild)| (build.packages[0].nevra.to_string(), *id);
    made.iter().map(first).collect()
}

/// What the reader saw, and when.
struct Seen {
    builds: HashMap<BuildId, Instant>,
    /// When each generation was seen first.
    generations: Vec<Instant>,
}

/// Looks at `repomd.xml` until all packages are there. When it has changed, the packages of that
/// generation are read from its list, which costs less than the repodata.
fn read(channel: &Path, mut wanted: HashMap<String, BuildId>) -> anyhow::Result<Seen> {
    let repomd = channel.join("x86_64/os/repodata/repomd.xml");
    let mut last = fs::read(&repomd)?;
    let mut seen = Seen { builds: HashMap::new(), generations: Vec::new() };
    let begun = Instant::now();
    while !wanted.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "{} builds are not seen", wanted.len());
        std::thread::sleep(POLL);
        let page = fs::read(&repomd)?;
        if page == last {
            continue;
        }
        last = page;
        let now = Instant::now();
        seen.generations.push(now);
        let packages = fs::read_to_string(channel.join("current/packages"))?;
        for line in packages.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            if let Some(build) = wanted.remove(name) {
                seen.builds.insert(build, now);
            }
        }
    }
    Ok(seen)
}
