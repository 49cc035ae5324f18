//! A mass rebuild with real processes: some hundreds of trivial packages of the lab in one batch,
//! compared with bare rpmbuild of the same packages, with as many builds at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rpmfarm_core::Lock;
use rpmfarm_core::task::TaskKind;
use serde_json::Value;

use super::packages::{BASE, Fate, Package, circle, packages};
use crate::bench::bare::BareRoot;
use crate::bench::figure::{Figure, Report};
use crate::farm::{Client, Farm, Settings, TARGET, World};

const WALL: &str = "mass.lab";
const IDLE: &str = "mass.lab.idle";

/// The names of all figures of this module.
pub(in crate::bench) const ALL: [&str; 2] = [WALL, IDLE];

/// The number of builds at once, on the farm and with bare rpmbuild.
const SLOTS: usize = 6;
/// The time limit for the batch, and the additional time for each package.
const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_EACH: Duration = Duration::from_secs(10);
/// How often the bench checks whether the batch has ended: a check costs the farm little compared
/// with a build.
const PACE: Duration = Duration::from_millis(200);

/// Builds `count` packages on a farm of its own, and with bare rpmbuild.
pub(in crate::bench) fn measure(
    directory: &Path,
    world: &World,
    repository: &Path,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let packages = packages(count)?;
    let farm = start(&directory.join("farm"), world)?;
    let lock = begin(&farm.client(), world)?;
    for package in &packages {
        package.push(world)?;
    }
    let rebuild = rebuild(&farm.client(), &packages)?;
    // The farm must not run during the bare builds that it is compared with.
    drop(farm);
    let bare = bare(directory, &lock, repository, &packages)?;
    report.add(wall_figure(&packages, &rebuild, bare));
    report.add(idle_figure(&rebuild));
    Ok(())
}

/// A farm whose base root contains the farm's own builds of the base packages.
fn start(directory: &Path, world: &World) -> anyhow::Result<Farm> {
    let mut target = world.target()?;
    target.base_from_farm = BASE.map(str::to_owned).to_vec();
    let mut settings = Settings::new(directory);
    settings.worker_arguments = vec!["--slots".into(), SLOTS.to_string()];
    Farm::start(&settings, &toml::to_string_pretty(&target)?)
}

/// Builds first versions of the circle's members without their requirements, so that the circle can
/// begin; afterwards roots and metadata are cached, too. Returns the lock of a root without
/// packages of the farm.
fn begin(client: &Client, world: &World) -> anyhow::Result<Lock> {
    let seeds: Vec<Package> = circle().map(Package::seed).collect();
    for seed in &seeds {
        seed.push(world)?;
    }
    let names: Vec<&str> = seeds.iter().map(|seed| seed.name.as_str()).collect();
    let built = client.publish(&names, PATIENCE)?;
    let id = built.first().and_then(|build| build["id"].as_i64()).context("no number")?;
    let lock = client.run(&["--json", "lock", &id.to_string()])?;
    ensure!(lock.code == 0, "no lock of build {id}: {}", lock.err);
    Ok(Lock::from_bytes(lock.out.as_bytes())?)
}

/// A batch that has ended.
struct Rebuild {
    /// Seconds from the request until all builds were published or had failed.
    wall: f64,
    /// The most builds at once.
    most: usize,
}

fn rebuild(client: &Client, packages: &[Package]) -> anyhow::Result<Rebuild> {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let begun = Instant::now();
    let ids = client.build(&names)?;
    wait(client, begun, packages.len())?;
    let wall = begun.elapsed().as_secs_f64();
    // The first versions of the circle's members are older, and not in this list.
    let limit = packages.len().to_string();
    let listed = client.json(&["list", "--target", TARGET, "--limit", &limit])?;
    let builds = listed["builds"].as_array().context("no builds")?;
    for (package, id) in packages.iter().zip(ids) {
        let build = builds.iter().find(|build| build["id"].as_i64() == Some(id));
        let state = build.and_then(|build| build["state"].as_str()).unwrap_or("unknown");
        let expected = package.fate.state();
        ensure!(state == expected.as_str(), "{} is {state}, not {expected}", package.name);
    }
    Ok(Rebuild { wall, most: most_at_once(builds) })
}

/// Waits until no build runs.
fn wait(client: &Client, begun: Instant, count: usize) -> anyhow::Result<()> {
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(count)?;
    loop {
        let running = client.json(&["list", "--state", "running", "--limit", "1"])?;
        match running["builds"].as_array().map(Vec::as_slice) {
            Some([]) => return Ok(()),
            Some(_) if begun.elapsed() < patience => thread::sleep(PACE),
            Some(_) => bail!("{count} packages were not built in {patience:?}: {running:#}"),
            None => bail!("no builds in {running}"),
        }
    }
}

/// The most build tasks that ran at once.
fn most_at_once(builds: &[Value]) -> usize {
    let tasks = builds.iter().filter_map(|build| build["tasks"].as_array()).flatten();
    let of_builds = tasks.filter(|task| task["kind"] == TaskKind::Build.as_str());
    let mut changes = Vec::new();
    for task in of_builds {
        if let (Some(started), Some(ended)) =
            (task["started_at"].as_str(), task["ended_at"].as_str())
        {
            changes.extend([(sortable(started), 1_isize), (sortable(ended), -1)]);
        }
    }
    // At the same time, ends come before starts.
    changes.sort_unstable();
    let mut running = 0_isize;
    let mut most = 0;
    for (_, change) in changes {
        running += change;
        most = most.max(running);
    }
    most.unsigned_abs()
}

/// A point in time (RFC 3339, UTC) as a text in the same order: with all nine digits of the
/// fraction.
fn sortable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

/// The time of bare rpmbuild for the same packages in seconds, in as many roots at once as there
/// are slots.
fn bare(
    directory: &Path,
    lock: &Lock,
    repository: &Path,
    packages: &[Package],
) -> anyhow::Result<f64> {
    let specs = specs(&directory.join("specs"), packages)?;
    let root = |slot| BareRoot::install(&directory.join(format!("bare{slot}")), lock, repository);
    let roots = (0..SLOTS).map(root).collect::<anyhow::Result<Vec<BareRoot>>>()?;
    // The first build in a root is not measured.
    for root in &roots {
        root.build(&specs[0].0)?;
    }
    let next = AtomicUsize::new(0);
    let (specs, next) = (specs.as_slice(), &next);
    let begun = Instant::now();
    thread::scope(|scope| {
        let slots: Vec<_> =
            roots.iter().map(|root| scope.spawn(move || build_some(root, specs, next))).collect();
        slots.into_iter().try_for_each(|slot| {
            slot.join().map_err(|_| anyhow!("a bare build panicked")).flatten()
        })
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The specs of the packages that a farm can begin to build, each with whether its build succeeds;
/// those that succeed come first.
fn specs(directory: &Path, packages: &[Package]) -> anyhow::Result<Vec<(PathBuf, bool)>> {
    std::fs::create_dir_all(directory)?;
    let mut specs = Vec::new();
    for package in packages.iter().filter(|package| package.fate != Fate::Lost) {
        let path = directory.join(format!("{}.spec", package.name));
        std::fs::write(&path, package.spec())?;
        specs.push((path, package.fate == Fate::Published));
    }
    specs.sort_by_key(|(_, is_good)| !is_good);
    Ok(specs)
}

/// Builds the next spec until none is left.
fn build_some(
    root: &BareRoot,
    specs: &[(PathBuf, bool)],
    next: &AtomicUsize,
) -> anyhow::Result<()> {
    while let Some((spec, is_good)) = specs.get(next.fetch_add(1, Ordering::Relaxed)) {
        match root.build(spec) {
            Err(error) if *is_good => return Err(error),
            Ok(_) if !is_good => bail!("{} does not fail", spec.display()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn wall_figure(packages: &[Package], rebuild: &Rebuild, bare: f64) -> Figure {
    let count = |fate| packages.iter().filter(|package| package.fate == fate).count();
    Figure {
        name: WALL,
        value: rebuild.wall / bare,
        unit: "x",
        budget: 1.3,
        peer: format!(
            "bare rpmbuild -ba of the same packages by chroot, {SLOTS} at once: {bare:.1} s"
        ),
        ratio: Some(rebuild.wall / bare),
        note: format!(
            "{} packages in one batch, from the request to the last one's end: {:.1} s; {} published, \
             {} failed, {} could not be built without those",
            packages.len(),
            rebuild.wall,
            count(Fate::Published),
            count(Fate::Fails),
            count(Fate::Lost)
        ),
    }
}

fn idle_figure(rebuild: &Rebuild) -> Figure {
    Figure {
        name: IDLE,
        value: SLOTS.saturating_sub(rebuild.most) as f64,
        unit: "slots",
        budget: 0.0,
        peer: format!("all {SLOTS} slots of the worker"),
        ratio: None,
        note: format!(
            "never taken beside the others: the most builds at once were {}",
            rebuild.most
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn builds_at_once_are_counted_and_ends_come_before_starts() {
        let task = |kind: &str, started: &str, ended: &str| {
            let at = |second: &str| format!("2026-01-01T00:00:{second}Z");
            json!({"tasks": [{"kind": kind, "started_at": at(started), "ended_at": at(ended)}]})
        };
        let builds = [
            task("build", "01", "03.5"),
            task("build", "02.25", "03"),
            task("build", "03", "04"),
            task("srpm", "01", "09"),
            json!({"tasks": [{"kind": "build", "started_at": null, "ended_at": null}]}),
        ];
        assert_eq!(most_at_once(&builds), 2);
        assert_eq!(most_at_once(&builds[..1]), 1);
        assert_eq!(most_at_once(&[]), 0);
    }
}
