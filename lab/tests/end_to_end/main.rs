//! Whole farms of real processes, judged by real rpm and dnf.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod arches;
mod coordinators;
mod crashes;
mod enrolment;
mod faults;
mod following;
mod modifications;
mod names;
mod rebuilds;
mod refusals;
mod rot;

use std::path::PathBuf;
use std::time::Duration;

use rpmfarm_core::Arch;
use rpmfarm_core::target::LimitOverrides;
use rpmfarm_lab::farm::{Farm, Settings, World};
use tempfile::TempDir;

/// The longest that a rebuild of a lab package may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A world and a farm that rebuilds it.
struct Scene {
    world: World,
    farm: Farm,
    settings: Settings,
    /// Dropped last: everything lies in it.
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(&[Arch::X86_64], change)
    }

    /// A world of several architectures.
    fn of(arches: &[Arch], change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = World::of(&directory.path().join("world"), arches).unwrap();
        let mut settings = Settings::new(directory.path().join("farm"));
        settings.worker_data = Some(warm_roots());
        change(&mut settings);
        let farm = Farm::start(&settings, &target(&world)).unwrap();
        Self { world, farm, settings, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The lab's target, with limits that the packages made to break them reach soon.
fn target(world: &World) -> String {
    let tight = [
        ("sleeps", LimitOverrides { silence_seconds: Some(5), ..Default::default() }),
        ("fills-disk", LimitOverrides { disk_mib: Some(256), ..Default::default() }),
        ("endless-log", LimitOverrides { log_mib: Some(8), ..Default::default() }),
        (
            "fork-bomb",
            LimitOverrides { processes: Some(200), seconds: Some(60), ..Default::default() },
        ),
    ];
    let mut target = world.target().unwrap();
    for (package, limits) in tight {
        target.packages.entry(package.into()).or_default().limits = limits;
    }
    toml::to_string_pretty(&target).unwrap()
}

/// Where the roots of all farms lie, which are the same: named by what is in them. Builds have
/// users of their own, so it is a place that every user can walk to.
fn warm_roots() -> PathBuf {
    PathBuf::from("/var/cache/rpmfarm-lab/worker")
}
