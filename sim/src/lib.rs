//! The farm in a bottle: one coordinator or two, workers, users and the network between them,
//! simulated from a seed, with every decision taken by `rpmfarm-core` and the invariants I1 to I10
//! checked after every step.
//!
//! Time is virtual, there is one thread and one source of chance: a seed is a run. The store is a
//! model: the rules that are SQL in the coordinator, written out a second time. A test of the
//! coordinator (`tests/model`) does the same random steps on both and compares all that they say.
//!
//! - `scenario` and `profile`: what a seed chooses — packages, workers, and how bad the day is.
//! - `world`: time and the queue of events; `network`, `faults`, `users`: what comes from outside.
//! - `coordinator`, `worker`: the processes; `rules`: where they ask `core`.
//! - [`store`], `repo`: what survives the death of a process.
//! - `invariants`: what must hold; [`planted`]: rules broken on purpose, which it must catch.
//! - [`trace`]: what happened, a line each.

mod coordinator;
mod faults;
mod invariants;
mod network;
pub mod planted;
mod profile;
mod repo;
mod rng;
mod rules;
mod scenario;
pub mod store;
pub mod trace;
mod users;
mod worker;
mod world;

pub use invariants::Violation;
pub use rng::Rng;
pub use rules::state;
pub use world::Outcome;

use planted::PlantedBug;
use trace::Trace;
use world::World;

/// Seeds of `make test`.
pub const SEEDS: u64 = 2000;

/// Runs a seed and looks for a violation.
#[must_use]
pub fn run(seed: u64, plant: Option<PlantedBug>) -> Outcome {
    World::new(seed, plant, Trace::default()).run()
}

/// Runs a seed again with every line of what happens: the same seed, the same run.
#[must_use]
pub fn replay(seed: u64, plant: Option<PlantedBug>) -> Outcome {
    World::new(seed, plant, Trace::on()).run()
}

/// The report on a violation: what broke, the last lines before it, and how to see them all.
#[must_use]
pub fn report(seed: u64, plant: Option<PlantedBug>) -> String {
    const LAST: usize = 40;
    let outcome = replay(seed, plant);
    let lines = outcome.trace.lines();
    let last = lines[lines.len().saturating_sub(LAST)..].join("\n");
    let broken = outcome.violation.map_or("nothing broke".into(), |v| v.to_string());
    format!("{last}\n\nseed {seed} ({}): {broken}\nreplay: make sim SEED={seed}\n", outcome.profile)
}
