//! The result of solving: every requirement, from the farm where the farm has it and from external
//! repositories otherwise.

use std::collections::BTreeSet;

use rpmfarm_coordinator::resolve::solver::SimulatedSolver;
use rpmfarm_coordinator::resolve::{FARM, FarmPackage, Requirements};
use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, BuildOptions, Lock};

use super::{OutsideWorld, base_names, locked_package};

/// A solver.
#[derive(Debug)]
pub(crate) struct Solver(pub(crate) OutsideWorld);

impl SimulatedSolver for Solver {
    fn lock(
        &self,
        target: &Target,
        arch: Arch,
        farm: &[FarmPackage],
        wanted: &Requirements,
    ) -> Result<Lock, Vec<String>> {
        let (_, answers) = self.0.answer(0, 1);
        if !answers {
            return Err(Vec::new());
        }
        let truth = self.0.lock();
        let base: BTreeSet<&str> = base_names(&truth.scenario, arch).collect();
        let find = |name: &str| {
            let own = farm.iter().filter(|package| {
                package.nevra.name == name && package.nevra.arch == arch.as_str()
            });
            let newest = own.max_by(|one, other| one.nevra.evr.cmp(&other.nevra.evr));
            match newest {
                Some(package) => Some(lock_farm_package(package)),
                None => base.contains(name).then(|| locked_package(name, arch)),
            }
        };
        let mut missing = Vec::new();
        let mut there = BTreeSet::from(["base".to_owned()]);
        let mut layers = vec![Layer::new(vec![locked_package("base", arch)])];
        for list in &wanted.layers {
            let mut layer = Vec::new();
            for name in list.iter().filter(|name| !there.contains(*name)) {
                match find(name) {
                    Some(package) => layer.push(package),
                    None => missing.push(name.clone()),
                }
            }
            there.extend(list.iter().cloned());
            if !layer.is_empty() {
                layers.push(Layer::new(layer));
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(Lock {
            target: target.name.clone(),
            arch,
            bootstrap: Layer::new(vec![locked_package("base", arch)]),
            layers,
            options: BuildOptions::default(),
        })
    }
}

fn lock_farm_package(package: &FarmPackage) -> LockedPackage {
    LockedPackage {
        nevra: package.nevra.clone(),
        digest: package.digest,
        size: 1,
        source: package.nevra.name.clone(),
        origin: FARM.into(),
        location: String::new(),
        base: String::new(),
        module: String::new(),
    }
}
