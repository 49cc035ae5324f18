//! From a push to a signed package that can be installed, with a webhook.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::{PATIENCE, PUSH, farm, wait};
use crate::bench::PACKAGE;
use crate::bench::builds::rpmbuild;
use crate::bench::checkout::Checkout;
use crate::bench::figure::Figure;
use crate::bench::spread::Spread;
use crate::distgit::BRANCH;
use crate::farm::{Client, Hook, TARGET, World};

const RUNS: u32 = 7;

pub(super) fn measure(
    directory: &Path,
    world: &World,
    checkout: &mut Checkout,
) -> anyhow::Result<Figure> {
    let farm = farm(directory, world, 1, |_| {})?;
    let (client, forge) = (farm.client(), farm.forge()?);
    client.json(&["track", "add", PACKAGE, "--target", TARGET])?;
    wait(|| {
        let shown = client.json(&["track", "show", PACKAGE, "--target", TARGET])?;
        Ok((!shown["tracked"]["commit"].is_null()).then_some(()))
    })?;
    // Roots and metadata are cached afterwards.
    checkout.release()?;
    client.publish(&[PACKAGE], PATIENCE)?;
    let mut overheads = Vec::new();
    let mut builds = Vec::new();
    for _ in 0..RUNS {
        let commit = checkout.release()?;
        let hook = Hook {
            repository: format!("rpms/{PACKAGE}"),
            branch: BRANCH.into(),
            delivery: commit.clone(),
            commit: commit.clone(),
        };
        let begun = Instant::now();
        let (status, answer) = forge.send(&hook)?;
        ensure!(status == 202, "webhook answered {status}: {answer}");
        let id = started(&client, &commit)?;
        // Shown when it is there for dnf.
        let watched = client.run(&["watch", &id.to_string()])?;
        let wall = begun.elapsed().as_secs_f64();
        ensure!(watched.code == 0, "build {id}: {}", watched.out);
        let own = rpmbuild(&client.show(id)?);
        overheads.push(wall - own);
        builds.push(own);
    }
    let (overhead, own) = (Spread::of(overheads), Spread::of(builds));
    Ok(Figure {
        name: PUSH,
        value: overhead.median,
        unit: "s",
        budget: 3.0,
        peer: format!("rpmbuild's own time, SRPM and packages: {:.3} s", own.median),
        ratio: Some(overhead.median / own.median),
        note: format!("from the webhook until `rpmfarm watch` says published, {overhead}"),
    })
}

/// The build of a commit, once it exists.
fn started(client: &Client, commit: &str) -> anyhow::Result<i64> {
    wait(|| {
        let list = client.json(&["list", "--package", PACKAGE, "--limit", "1"])?;
        let build = &list["builds"][0];
        if build["ref"] != commit {
            return Ok(None);
        }
        Ok(Some(build["id"].as_i64().context("no number")?))
    })
}
