//! What the coordinator can say of its own health.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rpmfarm_core::fleet;
use rpmfarm_core::lease::Liveness;
use rpmfarm_core::{Arch, Target};
use rpmfarm_proto::v1::Check;

use crate::dispatch::fleet::WorkerView;
use crate::farm::Farm;
use crate::store::StandingRow;

/// Space below which the coordinator warns, in MiB.
const LOW_SPACE_MIB: u64 = 2048;

/// Checks the store, the space, the signer, the targets and the workers.
pub async fn checks(farm: &Farm) -> Vec<Check> {
    let mut checks = vec![store(farm).await, space(farm), signer(farm).await, workers(farm).await];
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

/// How many workers take work, and for which architectures of the targets nobody does.
async fn workers(farm: &Farm) -> Check {
    let seen = farm.fleet.workers(Instant::now());
    let standings = match farm.store.standings().await {
        Ok(standings) => standings,
        Err(error) => return check("workers", "error", error.to_string()),
    };
    let targets = farm.targets.all();
    let arches = targets.values().flatten().flat_map(|target| &target.arches);
    let wanted: BTreeSet<Arch> = arches.copied().collect();
    let seen = seen.iter().map(|(name, view)| Seen {
        name,
        arches: &view.state.arches,
        emulated: &view.state.emulated,
        idle: idle(view, standings.get(name)),
    });
    let (level, message) = told(&seen.collect::<Vec<_>>(), &wanted);
    check("workers", level, message)
}

/// A worker as it is counted.
struct Seen<'a> {
    name: &'a str,
    arches: &'a [Arch],
    emulated: &'a [Arch],
    /// Why it takes no work; `None` when it does.
    idle: Option<String>,
}

/// Why a worker takes no work.
fn idle(view: &WorkerView, decided: Option<&StandingRow>) -> Option<String> {
    let standing = decided.map(|row| row.standing).unwrap_or_default();
    if fleet::takes_work(&view.state, view.liveness, standing) {
        return None;
    }
    Some(match decided.filter(|_| !standing.takes_work()) {
        Some(row) if row.reason.is_empty() => format!("is {standing}"),
        Some(row) => format!("is {standing}: {}", row.reason),
        None if view.liveness != Liveness::Alive => format!("is {}", view.liveness.as_str()),
        None if view.state.draining => "is about to stop".to_owned(),
        None if !view.state.unready.is_empty() => view.state.unready.clone(),
        None => fleet::outdated(&view.state).unwrap_or_else(|| "takes no work".to_owned()),
    })
}

/// Of so many workers the reasons are told.
const TOLD: usize = 4;

/// Nobody to build at all is an error where there are workers, and a warning where none has come
/// yet; so is an architecture for which nobody builds.
fn told(seen: &[Seen<'_>], wanted: &BTreeSet<Arch>) -> (&'static str, String) {
    let taking = || seen.iter().filter(|worker| worker.idle.is_none());
    let mut message = format!("{} of {} known workers take work", taking().count(), seen.len());
    let mut counts = Vec::new();
    let mut without = Vec::new();
    for arch in wanted {
        let able = || taking().filter(|worker| worker.arches.contains(arch));
        match (able().count(), able().filter(|worker| worker.emulated.contains(arch)).count()) {
            (0, _) => without.push(arch.as_str()),
            (all, 0) => counts.push(format!("{arch} {all}")),
            (all, emulating) => counts.push(format!("{arch} {all} ({emulating} emulating)")),
        }
    }
    if !counts.is_empty() {
        message += &format!(" ({})", counts.join(", "));
    }
    let none = taking().next().is_none();
    if !none && !without.is_empty() {
        message += &format!("; none for {}", without.join(", "));
    }
    let mut reasons = seen.iter().filter_map(|worker| Some((worker.name, worker.idle.as_ref()?)));
    for (name, reason) in reasons.by_ref().take(TOLD) {
        message += &format!("; {name} {reason}");
    }
    let more = reasons.count();
    if more > 0 {
        message += &format!("; and {more} more (rpmfarm worker list)");
    }
    let level = match (none, seen.is_empty(), without.is_empty()) {
        (true, false, _) => "error",
        (true, true, _) | (false, _, false) => "warning",
        (false, _, true) => "ok",
    };
    (level, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_take_work_are_counted() {
        use Arch::{Aarch64, X86_64};
        fn seen<'a>(
            name: &'a str,
            arches: &'a [Arch],
            emulated: &'a [Arch],
            idle: Option<&str>,
        ) -> Seen<'a> {
            Seen { name, arches, emulated, idle: idle.map(str::to_owned) }
        }
        let both = BTreeSet::from([X86_64, Aarch64]);
        let plain = seen("a", &[X86_64], &[], None);
        let emulating = seen("b", &[X86_64, Aarch64], &[Aarch64], None);
        let out = seen("c", &[X86_64], &[], Some("is quarantined: it failed"));
        assert_eq!(told(&[], &both), ("warning", "0 of 0 known workers take work".into()));
        let said = "0 of 1 known workers take work; c is quarantined: it failed";
        assert_eq!(told(std::slice::from_ref(&out), &both), ("error", said.into()));
        let said = "1 of 2 known workers take work (x86_64 1); none for aarch64; c is quarantined: \
                    it failed";
        assert_eq!(told(&[plain, out], &both), ("warning", said.into()));
        let plain = seen("a", &[X86_64], &[], None);
        let said = "2 of 2 known workers take work (x86_64 2, aarch64 1 (1 emulating))";
        assert_eq!(told(&[plain, emulating], &both), ("ok", said.into()));
        let away: Vec<_> =
            ["a", "b", "c", "d", "e", "f"].map(|n| seen(n, &[], &[], Some("is gone"))).into();
        let (_, said) = told(&away, &both);
        assert!(said.ends_with("; d is gone; and 2 more (rpmfarm worker list)"), "{said}");
    }
}
