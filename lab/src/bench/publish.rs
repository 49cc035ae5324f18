//! Publications of a large channel: one more build beside `createrepo_c --update` on the same
//! packages, and builds that end together, as a reader sees them.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::figure::{Figure, Report};
use crate::farm::programs;
use crate::tool;

const APPEND: &str = "publish.append";
const APPEND_RATIO: &str = "publish.append_ratio";
const APPEND_FILES: &str = "publish.append_files";
const COALESCE: &str = "publish.coalesce";
const COALESCE_RATE: &str = "publish.coalesce_rate";

/// All figures of this kind.
pub(super) const ALL: [&str; 5] = [APPEND, APPEND_RATIO, APPEND_FILES, COALESCE, COALESCE_RATE];

/// A build of three packages that was added to a channel.
#[derive(Debug, Deserialize)]
struct Appended {
    packages: u32,
    wall_s: f64,
    files: u32,
    bytes: u64,
}

/// The output of `bench_publish append`.
#[derive(Debug, Deserialize)]
struct AppendFigures {
    large: Appended,
    small: Appended,
    createrepo_s: f64,
}

/// The output of `bench_publish coalesce`.
#[derive(Debug, Deserialize)]
struct CoalesceFigures {
    builds: u32,
    slowest_s: f64,
    median_s: f64,
    generations: u32,
    shortest_s: Option<f64>,
}

pub(super) fn measure(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    if report.wants_any(&[APPEND, APPEND_RATIO, APPEND_FILES]) {
        append(&run(&directory.join("append"), "append")?, report);
    }
    if report.wants_any(&[COALESCE, COALESCE_RATE]) {
        coalesce(&run(&directory.join("coalesce"), "coalesce")?, report);
    }
    Ok(())
}

/// Lets the coordinator's example measure one of the scenes.
fn run<T: DeserializeOwned>(directory: &Path, what: &str) -> anyhow::Result<T> {
    std::fs::create_dir_all(directory)?;
    let mut command = Command::new(programs().join("examples/bench_publish"));
    command.arg("--directory").arg(directory);
    command.arg("--signer").arg(programs().join("rpmfarm-signer")).arg(what);
    Ok(serde_json::from_slice(&tool::output(&mut command)?)?)
}

fn append(measured: &AppendFigures, report: &mut Report) {
    let AppendFigures { large, small, createrepo_s } = measured;
    let peer = || format!("createrepo_c --update on the same packages: {createrepo_s:.2} s");
    let ratio = large.wall_s / createrepo_s;
    let written = |one: &Appended| {
        format!("{} files of {:.1} MiB", one.files, one.bytes as f64 / f64::from(1 << 20))
    };
    report.add(Figure {
        name: APPEND,
        value: large.wall_s,
        unit: "s",
        budget: 2.0,
        peer: peer(),
        ratio: Some(ratio),
        note: format!(
            "one build of 3 packages into {}, from its facts to the recorded revision, with all \
             signatures; new in the tree: {}",
            large.packages,
            written(large)
        ),
    });
    report.add(Figure {
        name: APPEND_RATIO,
        value: ratio,
        unit: "x",
        budget: 0.1,
        peer: peer(),
        ratio: Some(ratio),
        note: format!("{:.3} s for the same build", large.wall_s),
    });
    report.add(Figure {
        name: APPEND_FILES,
        value: f64::from(large.files) / f64::from(small.files),
        unit: "x",
        budget: 1.0,
        peer: format!("itself with {} packages: {}", small.packages, written(small)),
        ratio: None,
        note: format!(
            "files written with {} packages: {}; {:.3} s instead of {:.3} s",
            large.packages,
            written(large),
            large.wall_s,
            small.wall_s
        ),
    });
}

fn coalesce(measured: &CoalesceFigures, report: &mut Report) {
    let CoalesceFigures { builds, slowest_s, median_s, generations, shortest_s } = measured;
    let peer = format!("itself, the median of the builds: {median_s:.2} s");
    report.add(Figure {
        name: COALESCE,
        value: *slowest_s,
        unit: "s",
        budget: 3.0,
        peer: peer.clone(),
        ratio: Some(slowest_s / median_s),
        note: format!(
            "{builds} builds that end together in a channel of 20000 packages, from the end of a \
             build until a reader of repomd.xml sees it, the slowest; {generations} generations"
        ),
    });
    // One generation has no time to another one.
    let rate = shortest_s.map_or(0.0, |shortest| 1.0 / shortest);
    report.add(Figure {
        name: COALESCE_RATE,
        value: rate,
        unit: "generations/s",
        budget: 1.0,
        peer,
        ratio: None,
        note: format!("by the shortest time between two of {generations} generations"),
    });
}
