//! A world and a farm that rebuilds it, for one test.

use std::path::PathBuf;
use std::time::Duration;

use rpmfarm_core::Arch;
use rpmfarm_core::target::LimitOverrides;
use rpmfarm_lab::farm::{Farm, Settings, World};
use tempfile::TempDir;

/// The longest that a rebuild of a lab package may take, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// A world and a farm that rebuilds it.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) farm: Farm,
    pub(crate) settings: Settings,
    /// Dropped last: everything lies in it.
    pub(crate) directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(&[Arch::X86_64], change)
    }

    /// A world of several architectures.
    pub(crate) fn of(arches: &[Arch], change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = World::with_arches(&directory.path().join("world"), arches).unwrap();
        let mut settings = Settings::new(directory.path().join("farm"));
        settings.worker_data = Some(warm_roots());
        change(&mut settings);
        let farm = Farm::start(&settings, &target(&world)).unwrap();
        Self { world, farm, settings, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The lab's target, with limits that the packages made to break them reach soon.
pub(crate) fn target(world: &World) -> String {
    let tight = [
        ("sleeps", LimitOverrides { silence_seconds: Some(5), ..Default::default() }),
        ("fills-disk", LimitOverrides { disk_mib: Some(256), ..Default::default() }),
        ("endless-lua", LimitOverrides { srpm_seconds: Some(20), ..Default::default() }),
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

/// The directory of the roots of all farms, which share them: they are named by their content.
/// Builds have users of their own, so it is a place that every user can reach.
pub(crate) fn warm_roots() -> PathBuf {
    PathBuf::from("/var/cache/rpmfarm-lab/worker")
}
