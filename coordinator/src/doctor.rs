//! What the coordinator can say of its own health.

use std::time::{Duration, Instant};

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
        if let Err(problem) = target {
            checks.push(check(&format!("target {name}"), "error", problem));
        }
    }
    checks
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
    let mut missing = Vec::new();
    let mut keys = 0;
    for target in farm.targets.all().into_values().flatten() {
        let key = farm.signer.public_key(&target.signing_key);
        match tokio::time::timeout(Duration::from_secs(3), key).await {
            Ok(Ok(_)) => keys += 1,
            Ok(Err(error)) => missing.push(format!("{}: {error:#}", target.signing_key)),
            Err(_) => missing.push(format!("{}: no answer", target.signing_key)),
        }
    }
    if missing.is_empty() {
        check("signer", "ok", format!("{keys} keys"))
    } else {
        check("signer", "error", missing.join("; "))
    }
}

fn workers(farm: &Farm) -> Check {
    let workers = farm.fleet.workers(Instant::now());
    let alive = workers.values().filter(|worker| worker.liveness == Liveness::Alive).count();
    let message = format!("{alive} of {} known workers are connected", workers.len());
    check("workers", if alive == 0 { "warning" } else { "ok" }, message)
}
