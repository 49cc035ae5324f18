//! The simulated world at the start: packages with their dependencies and defects, workers with
//! their behaviour. It is the truth against which the invariants check the farm; no rule of the
//! farm reads it.

use rpmfarm_core::Arch;

use crate::profile::Profile;
use crate::rng::Rng;

/// The one target, its channel and its key.
pub(crate) const TARGET: &str = "lab";
pub(crate) const CHANNEL: &str = "testing";
pub(crate) const KEY: &str = "lab-key";

/// The defect of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Its dist-git has no such branch.
    NoSource,
    /// Its spec cannot be read.
    BadSpec,
    /// It does not compile.
    BadBuild,
    /// It requires a name that nothing provides.
    Unsolvable,
    /// Its build crashes the worker.
    KillsWorkers,
}

/// A source package upstream.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// Its version; upstream raises it with each change.
    pub(crate) version: u64,
    /// Names that its build requires.
    pub(crate) requires: Vec<String>,
    /// Names that `%generate_buildrequires` finds, one per round.
    pub(crate) dynamic: Vec<String>,
    pub(crate) arches: Vec<Arch>,
    pub(crate) defect: Defect,
    /// Whether another build gives the same bytes.
    pub(crate) reproducible: bool,
    /// The architectures for which the base repository has an older version.
    pub(crate) in_base: Vec<Arch>,
    /// How long its build takes, in milliseconds.
    pub(crate) build_ms: u64,
}

/// The behaviour of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    Good,
    Slow,
    /// Damages files, leaves out uploads, repeats old reports, reports attempts of others.
    Lying,
    /// Its process dies in the middle of most builds.
    Crashing,
}

/// A worker's host.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) arches: Vec<Arch>,
    pub(crate) slots: u32,
    /// Slots of SRPMs, in addition.
    pub(crate) srpm_slots: u32,
    pub(crate) temper: Temper,
}

/// Everything that a seed decides at the start.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) arches: Vec<Arch>,
    pub(crate) sources: Vec<Source>,
    pub(crate) hosts: Vec<Host>,
    /// How long faults happen, in seconds.
    pub(crate) faulty_s: u64,
}

impl Scenario {
    pub(crate) fn generate(rng: &mut Rng, profile: &Profile) -> Self {
        let arches: Vec<Arch> =
            Arch::ALL.into_iter().take(usize::try_from(rng.range(1, 3)).unwrap_or(1)).collect();
        let count = rng.range(2, 6);
        let name = |index: u64| format!("p{index}");
        let mut sources = Vec::new();
        for index in 0..count {
            // Any package may require any other, so there are cycles.
            let mut requires: Vec<String> =
                (0..count).filter(|other| *other != index && rng.chance(300)).map(name).collect();
            let defect = match rng.below(14) {
                0 => Defect::NoSource,
                1 => Defect::BadSpec,
                2 => Defect::BadBuild,
                3 => Defect::Unsolvable,
                4 => Defect::KillsWorkers,
                _ => Defect::None,
            };
            if defect == Defect::Unsolvable {
                requires.push("nothing".into());
            }
            let everywhere = rng.chance(400);
            let in_base =
                arches.iter().copied().filter(|_| everywhere || rng.chance(500)).collect();
            let rounds = if rng.chance(300) { rng.range(1, 3) } else { 0 };
            // Requirements found while building are mostly packages of the base, sometimes others.
            // A copy of the generator draws it, so that the rest of a seed stays what it was.
            let mut aside = rng.clone();
            let found: Vec<String> = (0..rounds)
                .map(|round| match aside.range(0, count) {
                    other if other != index && aside.chance(300) => name(other),
                    _ => format!("base-{round}"),
                })
                .collect();
            let builds_on = if rng.chance(200) {
                rng.pick(&arches).map(|arch| vec![*arch]).unwrap_or_default()
            } else {
                arches.clone()
            };
            sources.push(Source {
                name: name(index),
                version: 1,
                requires,
                dynamic: found,
                arches: builds_on,
                defect,
                reproducible: rng.chance(500),
                in_base,
                build_ms: rng.range(200, 20_000),
            });
        }
        let (least, most) = profile.faulty_s;
        let hosts = hosts(rng, profile, &arches);
        Self { hosts, arches, sources, faulty_s: rng.range(least, most) }
    }

    pub(crate) fn source(&self, name: &str) -> &Source {
        let found = self.sources.iter().find(|source| source.name == name);
        found.unwrap_or(&self.sources[0])
    }
}

/// Workers, of which at least one for each architecture is good.
fn hosts(rng: &mut Rng, profile: &Profile, arches: &[Arch]) -> Vec<Host> {
    let mut hosts = Vec::new();
    let count = arches.len() as u64 + rng.range(0, 3);
    for index in 0..count {
        let own = usize::try_from(index).unwrap_or(0);
        let temper = if own < arches.len() {
            Temper::Good
        } else if rng.chance(profile.liars) {
            Temper::Lying
        } else if rng.chance(profile.crashing) {
            Temper::Crashing
        } else if rng.chance(profile.slow) {
            Temper::Slow
        } else {
            Temper::Good
        };
        let arches = match arches.get(own) {
            Some(arch) if rng.chance(500) => vec![*arch],
            _ => arches.to_vec(),
        };
        let slots = u32::try_from(rng.range(1, 4)).unwrap_or(1);
        // A copy of the generator draws it, so that the rest of a seed stays what it was. Some are
        // of a version that has none.
        let srpm_slots = u32::try_from(rng.clone().range(0, 3)).unwrap_or(0);
        hosts.push(Host { name: format!("w{index}"), arches, slots, srpm_slots, temper });
    }
    hosts
}
