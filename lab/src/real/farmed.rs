//! Rebuilds branches on a farm of real processes, and stores the published packages.
//!
//! Owns the targets (one for each branch's name), requesting the builds and waiting. Must not know
//! what the packages are compared with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_core::snapshot::RepositoryKind;
use rpmfarm_core::{Nevra, Target};
use serde_json::Value;

use super::release::Release;
use super::state::{Farmed, Record, State};
use super::upstream::Branch;
use crate::distro::real_macros;
use crate::farm::{Client, Farm, Settings, World};
use crate::tool;

/// How often the states of the builds are read.
const PACE: Duration = Duration::from_millis(500);

/// The target of a release: the lab's, with the branch's name, dist tag, macros and base.
///
/// # Errors
/// When the lab's target or the recipe is broken.
pub fn target(world: &World, release: &Release) -> anyhow::Result<Target> {
    let mut target = world.target()?;
    target.name.clone_from(&release.branch);
    target.description = format!("Real packages of {}", release.branch);
    target.dist = release.dist();
    target.upstream.git_ref = release.branch.as_str().into();
    // Digests of old imports may be MD5; each file was checked against the list.
    target.upstream.allow_md5 = true;
    target.modifications = None;
    target.base.extend(release.base().iter().map(|name| (*name).to_owned()));
    target.macros.clear();
    target.macros.extend(real_macros()?);
    target.macros.extend(release.macros());
    Ok(target)
}

/// Builds the branches of `wanted` that have no result yet; each result is stored as soon as its
/// build has ended.
///
/// # Errors
/// When the farm does not start, or refuses everything.
pub fn run(state: &State, world: &World, wanted: &[&Branch]) -> anyhow::Result<()> {
    let mut by_release: BTreeMap<&str, Vec<&Branch>> = BTreeMap::new();
    for branch in wanted {
        by_release.entry(&branch.release.branch).or_default().push(branch);
    }
    let directory = tempfile::Builder::new().prefix("rpmfarm-real-").tempdir()?;
    let mut settings = Settings::new(directory.path().join("farm"));
    settings.worker_data = Some(state.directory("worker")?);
    // A build gets as many processors as plain rpmbuild will.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    settings.worker_arguments = ["--slots", "2", "--cpus", &cpus].map(str::to_owned).to_vec();
    for branches in by_release.values() {
        let mut target = target(world, &branches[0].release)?;
        for branch in branches {
            // The distribution has Debian's packages, which say that they are of other sources.
            let package = target.packages.entry(branch.package.clone()).or_default();
            package.may_own.push("*".to_owned());
        }
        settings.more_targets.push((target.name.clone(), toml::to_string_pretty(&target)?));
    }
    let farm = Farm::start(&settings, &world.target_text()?)?;
    let client = farm.client();
    let mut pending = Vec::new();
    for (target, branches) in &by_release {
        // Not as one batch: those that are named like packages of the base root would be built one
        // after the other, and each root would wait for all of them.
        for branch in branches {
            let asked = client.json(&["build", "--target", target, &branch.package])?;
            let id = asked["builds"][0]["id"].as_i64().context("a build without a number")?;
            pending.push((id, *branch));
        }
    }
    let all = pending.len();
    let mut done = 0;
    while !pending.is_empty() {
        let mut left = Vec::new();
        for (id, branch) in pending {
            let shown = client.show(id)?;
            if shown["ended"].as_bool() != Some(true) {
                left.push((id, branch));
                continue;
            }
            keep(state, &farm, &client, branch, id, &shown)?;
            let state = shown["state"].as_str().unwrap_or("?");
            done += 1;
            tracing::info!("{} {state}; {} of {all} to go", branch.name(), all - done);
        }
        pending = left;
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// Stores the record, the log, the lock and the packages of an ended build.
fn keep(
    state: &State,
    farm: &Farm,
    client: &Client,
    branch: &Branch,
    id: i64,
    shown: &Value,
) -> anyhow::Result<()> {
    let directory = state.of(&branch.name());
    std::fs::create_dir_all(&directory)?;
    let log = client.run(&["log", &id.to_string()])?;
    std::fs::write(directory.join("farm.log"), log.out)?;
    let lock = client.run(&["--json", "lock", &id.to_string(), "--kind", "build"])?;
    let mut farmed = farmed(shown);
    // Without a lock of its own, the build would show that of its source package.
    farmed.locked = lock.code == 0 && has_root(shown);
    if farmed.locked {
        std::fs::write(directory.join("lock.json"), lock.out)?;
    }
    if farmed.is_published() {
        let packages = directory.join("farm");
        let _ = std::fs::remove_dir_all(&packages);
        std::fs::create_dir_all(&packages)?;
        let names = shown["artifacts"].as_array().map(Vec::as_slice).unwrap_or_default();
        for name in names.iter().filter_map(|artifact| artifact["nevra"].as_str()) {
            fetch(farm, &branch.release.branch, &name.parse()?, &packages)?;
        }
    }
    let (package, name) = (&branch.package, &branch.release.branch);
    let record = Record { farm: Some(farmed), ..state.load(package, name, &branch.commit) };
    state.save(&record)
}

/// Whether a task of packages has a root.
fn has_root(shown: &Value) -> bool {
    let tasks = shown["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    tasks.iter().any(|task| task["kind"] == "build" && task["lock"].is_string())
}

/// The result of a build, from the output of `rpmfarm show --json`.
fn farmed(shown: &Value) -> Farmed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tasks = shown["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |name: &str| -> f64 {
        tasks.iter().filter_map(|task| task[name].as_f64()).sum::<f64>() / 1000.0
    };
    let rpmbuild = sum("rpmbuild_ms");
    let failure = &shown["failure"];
    Farmed {
        state: text(&shown["state"]),
        srpm: shown["srpm"].as_str().map(str::to_owned),
        fault: text(&failure["fault"]),
        stage: text(&failure["stage"]),
        message: text(&failure["message"]),
        rpmbuild,
        around: (sum("took_ms") - rpmbuild).max(0.0),
        locked: false,
    }
}

/// Fetches a package as a user's dnf would.
fn fetch(farm: &Farm, target: &str, nevra: &Nevra, to: &Path) -> anyhow::Result<()> {
    let file = nevra.file_name();
    let (kind, arch) = (RepositoryKind::for_package(nevra).dir(), &nevra.arch);
    let first = nevra.name.chars().next().unwrap_or('_').to_ascii_lowercase();
    let repository = format!("{}/repo/{target}/testing/x86_64/{kind}", farm.server());
    let url = format!("{repository}/Packages/{arch}/{first}/{file}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output"]).arg(to.join(&file)).arg(&url);
    tool::output(&mut curl).with_context(|| format!("cannot fetch {url}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failed_build_is_read() {
        let found = farmed(&json!({
            "state": "failed", "srpm": "a-1-1.src", "failure":
                {"fault": "package", "stage": "build", "message": "%check failed"},
            "tasks": [{"kind": "srpm", "took_ms": 900, "rpmbuild_ms": 100, "lock": "x"},
                      {"kind": "build", "took_ms": 3000, "rpmbuild_ms": 2000}],
        }));
        assert_eq!((found.state.as_str(), found.stage.as_str()), ("failed", "build"));
        assert!((found.rpmbuild - 2.1).abs() < 1e-9 && (found.around - 1.8).abs() < 1e-9);
    }

    #[test]
    fn the_root_of_the_source_package_is_not_the_builds() {
        let task = |kind: &str| json!({"tasks": [{"kind": kind, "lock": "x"}]});
        assert!(has_root(&task("build")));
        assert!(!has_root(&task("srpm")));
    }
}
