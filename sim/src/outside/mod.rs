//! The systems around a coordinator: upstream, the solver and external repositories, the signer,
//! and the files that builds make. The coordinator's own code calls them.

mod rpm;
mod signer;
mod solver;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_coordinator::blobs::{BlobError, Blobs};
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{Arch, Evr, Nevra};

pub(crate) use rpm::Rpm;
pub(crate) use signer::Signer;
pub(crate) use solver::Solver;
pub(crate) use upstream::Upstream;

use crate::rng::Rng;
use crate::scenario::Scenario;

/// The true state, shared by the world and the simulated systems. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OutsideWorld(Arc<Mutex<OutsideState>>);

/// The true state at this moment.
#[derive(Debug)]
pub(crate) struct OutsideState {
    pub(crate) scenario: Scenario,
    /// Microseconds since the run began, on the clocks of everything except coordinators.
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    /// Rate of failures that are the farm's fault, per mille.
    pub(crate) farm_fails: u32,
    /// Until when the signer does not answer.
    pub(crate) signer_down_until: u64,
    /// A published state that no reader may see.
    pub(crate) shown_damage: Option<String>,
    /// A coordinator that has just signed or shown a generation, and has not recorded it.
    pub(crate) publishing: Option<usize>,
}

impl OutsideWorld {
    pub(crate) fn new(scenario: Scenario, farm_fails: u32, seed: u64) -> Self {
        let rng = Rng::new(seed ^ 0x6f75_7473_6964_6521);
        let truth = OutsideState {
            scenario,
            now: 0,
            rng,
            farm_fails,
            signer_down_until: 0,
            shown_damage: None,
            publishing: None,
        };
        Self(Arc::new(Mutex::new(truth)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, OutsideState> {
        self.0.lock()
    }

    /// The delay of an answer, and whether it arrives.
    fn answer(&self, low_ms: u64, high_ms: u64) -> (Duration, bool) {
        let truth = &mut *self.lock();
        let took = truth.rng.range(low_ms, high_ms);
        let fails = truth.rng.chance(truth.farm_fails);
        (Duration::from_millis(took), !fails)
    }
}

/// A package of the external repositories: there is one of every name and architecture.
fn base_package(name: &str, arch: Arch) -> Rpm {
    Rpm {
        nevra: Nevra::new(name, Evr::new(0, "0", "1"), arch.as_str()),
        source_rpm: format!("{name}-0-1.src.rpm"),
        ..Rpm::default()
    }
}

/// The names that external repositories have for an architecture.
fn base_names(scenario: &Scenario, arch: Arch) -> impl Iterator<Item = &str> {
    let sources = scenario.sources.iter().filter(move |source| source.in_base.contains(&arch));
    ["base", "base-0", "base-1", "base-2"].into_iter().chain(sources.map(|one| one.name.as_str()))
}

/// Stores the packages of external repositories where roots are fetched from.
pub(crate) fn store_base_packages(blobs: &Blobs, scenario: &Scenario) -> Result<(), BlobError> {
    for arch in &scenario.arches {
        for name in base_names(scenario, *arch) {
            blobs.put(&base_package(name, *arch).bytes())?;
        }
    }
    Ok(())
}

/// The same package as an entry of a lock.
fn locked_package(name: &str, arch: Arch) -> LockedPackage {
    let package = base_package(name, arch);
    let bytes = package.bytes();
    LockedPackage {
        nevra: package.nevra,
        digest: rpmfarm_core::Sha256::compute(&bytes),
        size: bytes.len() as u64,
        source: name.to_owned(),
        origin: "base".into(),
        location: String::new(),
        base: String::new(),
        module: String::new(),
    }
}
