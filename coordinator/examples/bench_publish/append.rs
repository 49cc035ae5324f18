//! One more build in a large channel, and what it writes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::ensure;
use rpmfarm_core::BuildId;
use serde::Serialize;

use crate::farm::BenchFarm;
use crate::packages::{MadeBuild, PER_BUILD};

/// How often a build is added; the median counts.
const RUNS: usize = 3;

/// A build in a channel of so many packages.
#[derive(Debug, Serialize)]
pub(crate) struct Appended {
    packages: usize,
    /// Seconds of the publication, from the facts of the build to the recorded revision.
    wall_s: f64,
    /// New files in the tree of repositories.
    files: usize,
    /// Their bytes.
    bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct AppendFigures {
    large: Appended,
    /// The same in a channel of a tenth of the packages.
    small: Appended,
    /// Seconds of `createrepo_c --update` on the packages of the large channel.
    createrepo_s: f64,
}

pub(crate) async fn measure(
    farm: &mut BenchFarm,
    packages: usize,
) -> anyhow::Result<AppendFigures> {
    let stage = farm.parts.publish();
    let peer = farm.directory.join("peer");
    fs::create_dir(&peer)?;
    let tenth = packages / 10 / PER_BUILD;
    let few = farm.fill(&stage, tenth).await?;
    copy(farm, &few, &peer)?;
    let mut small = Vec::new();
    for _ in 0..RUNS {
        small.push(append(farm, &stage, few.len() * PER_BUILD, &peer).await?);
    }
    let rest = farm.fill(&stage, packages / PER_BUILD - tenth - RUNS).await?;
    copy(farm, &rest, &peer)?;
    createrepo(&peer, &[])?;
    let (mut large, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        large.push(append(farm, &stage, packages, &peer).await?);
        let begun = Instant::now();
        createrepo(&peer, &["--update"])?;
        theirs.push(begun.elapsed().as_secs_f64());
    }
    theirs.sort_by(f64::total_cmp);
    Ok(AppendFigures {
        large: median(large),
        small: median(small),
        createrepo_s: theirs[theirs.len() / 2],
    })
}

fn median(mut runs: Vec<Appended>) -> Appended {
    runs.sort_by(|one, other| one.wall_s.total_cmp(&other.wall_s));
    runs.swap_remove(runs.len() / 2)
}

/// Adds one build to the channel; its packages are also put into the peer's directory.
async fn append(
    farm: &mut BenchFarm,
    stage: &rpmfarm_coordinator::publish::PublishStage,
    packages: usize,
    peer: &Path,
) -> anyhow::Result<Appended> {
    let made = farm.make(1)?;
    farm.record(&made).await?;
    farm.end(made.iter().map(|(id, _)| *id)).await?;
    let before = inodes(&farm.parts.repos)?;
    let begun = Instant::now();
    farm.publish(stage).await?;
    let wall_s = begun.elapsed().as_secs_f64();
    for (build, _) in &made {
        let publication = farm.parts.store.publication_fetch(*build).await?;
        ensure!(publication.is_some(), "build {build} is not published");
    }
    let mut after = inodes(&farm.parts.repos)?;
    after.retain(|inode, _| !before.contains_key(inode));
    copy(farm, &made, peer)?;
    Ok(Appended { packages, wall_s, files: after.len(), bytes: after.into_values().sum() })
}

/// Puts packages into the directory of the peer.
fn copy(farm: &BenchFarm, made: &[(BuildId, MadeBuild)], peer: &Path) -> anyhow::Result<()> {
    for package in made.iter().flat_map(|(_, build)| &build.packages) {
        let file = peer.join(package.nevra.file_name());
        fs::hard_link(farm.parts.blobs.path(package.digest), file)?;
    }
    Ok(())
}

fn createrepo(directory: &Path, options: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("createrepo_c");
    let status =
        command.args(["--quiet", "--no-database"]).args(options).arg(directory).status()?;
    ensure!(status.success(), "createrepo_c ended with {status}");
    Ok(())
}

/// The files of a tree by their inodes, with their sizes.
fn inodes(directory: &Path) -> anyhow::Result<HashMap<u64, u64>> {
    let (mut found, mut left) = (HashMap::new(), vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() {
                found.insert(metadata.ino(), metadata.len());
            }
        }
    }
    Ok(found)
}
