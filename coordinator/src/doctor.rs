//! What the coordinator can say of its own health.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rpmfarm_core::Target;
use rpmfarm_core::lease::Liveness;
use rpmfarm_proto::v1::Check;

use crate::farm::Farm;

/// Space below which the coordinator warns, in MiB.
const LOW_SPACE_MIB: u64 = 2048;

/// Checks the store, the space, the signer, the targets and the workers.
pub async fn checks(farm: &Farm) -> Vec<Check> {
    let mut checks = vec![store(farm).await, space(farm), signer(farm).await, workers(farm)];
    checks.extend(coordinators(farm));
    for (name, target) in farm.targets.all() {
        let problem = match target {
            Err(problem) => Some(problem),
            Ok(target) => missing_keys(&target, farm.targets.dir()),
        };
        checks.extend(problem.map(|problem| check(&format!("target {name}"), "error", problem)));
    }
    checks
}

/// The key files of a target's repositories that cannot be read; nothing when all can.
fn missing_keys(target: &Target, dir: &Path) -> Option<String> {
    let keys = target.repositories.iter().flat_map(|repository| &repository.keys);
    let files: BTreeSet<PathBuf> = keys.filter_map(|key| key.file(dir)).collect();
    let problem = |path: PathBuf| {
        let error = File::open(&path).err()?;
        Some(format!("the key file {} of its repositories: {error}", path.display()))
    };
    let missing: Vec<String> = files.into_iter().filter_map(problem).collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn check(name: &str, level: &str, message: impl Into<String>) -> Check {
    Check { name: name.into(), level: level.into(), message: message.into() }
}

/// The other coordinators, where there are any: how many live, and whether they publish under the
/// same address.
fn coordinators(farm: &Farm) -> Option<Check> {
    let others = farm.peers.others(Instant::now());
    let alive: Vec<_> = others.iter().filter(|(_, alive)| *alive).map(|(row, _)| row).collect();
    let apart = alive.iter().find(|row| *row.base_url != *farm.base_url);
    if let Some(row) = apart {
        let message = format!(
            "{} publishes as {} and this one as {}: give all the same --base-url",
            row.address, row.base_url, farm.base_url
        );
        return Some(check("coordinators", "error", message));
    }
    let message = format!("{} of {} others are alive", alive.len(), others.len());
    let level = if alive.len() == others.len() { "ok" } else { "warning" };
    (!others.is_empty()).then(|| check("coordinators", level, message))
}

async fn store(farm: &Farm) -> Check {
    match farm.store.ping().await {
        Ok(()) => check("store", "ok", "the database answers"),
        Err(error) => check("store", "error", error.to_string()),
    }
}

fn space(farm: &Farm) -> Check {
    match nix::sys::statvfs::statvfs(&farm.repos) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size() / (1 << 20);
            let level = if free < LOW_SPACE_MIB { "warning" } else { "ok" };
            let message = format!("{free} MiB free below {}", farm.repos.display());
            check("space", level, message)
        }
        Err(error) => check("space", "error", format!("{}: {error}", farm.repos.display())),
    }
}

async fn signer(farm: &Farm) -> Check {
    let targets = farm.targets.all().into_values().flatten();
    let keys: BTreeSet<String> = targets.map(|target| target.signing_key.clone()).collect();
    // A signer that is not there is one problem, however many keys it should have.
    let mut problems = BTreeMap::<String, Vec<&str>>::new();
    for key in &keys {
        let asked = farm.signer.public_key(key);
        let problem = match tokio::time::timeout(Duration::from_secs(3), asked).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        problems.entry(problem).or_default().push(key);
    }
    if problems.is_empty() {
        return check("signer", "ok", format!("{} keys", keys.len()));
    }
    let told =
        problems.into_iter().map(|(problem, keys)| format!("{}: {problem}", keys.join(", ")));
    check("signer", "error", told.collect::<Vec<_>>().join("; "))
}

fn workers(farm: &Farm) -> Check {
    let workers = farm.fleet.workers(Instant::now());
    let alive = workers.values().filter(|worker| worker.liveness == Liveness::Alive).count();
    let message = format!("{alive} of {} known workers are connected", workers.len());
    check("workers", if alive == 0 { "warning" } else { "ok" }, message)
}
