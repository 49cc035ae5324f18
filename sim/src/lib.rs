//! A simulation of the whole farm from a seed: one coordinator or two, workers, users and the
//! network between them. The coordinators are the real ones: their stages, their sessions with
//! workers and their calls, on a real database and a real tree of repositories, both in memory. The
//! invariants I1 to I11 are checked after every step.
//!
//! Time is virtual, there is one thread and one source of chance: a seed is a run. Whatever a
//! coordinator does beyond pure code waits for the schedule (`rpmfarm_coordinator::simulation`):
//! each query, transaction and piece of work on the disk is an event, before and after which
//! anything can happen, and of which there is one at a time.
//!
//! - `scenario` and `profile`: what a seed chooses — packages, workers, and how bad the day is.
//! - `world`: time and the queue of events; `network`, `faults`, `users`: what comes from outside.
//! - `coordinator`: the real coordinators, and the schedule of their steps; `storage`: where their
//!   files lie; `outside`: upstream, solver, signer.
//! - `worker`: a model of the worker, that speaks the real protocol.
//! - `facts`, `tree`: what is in the database and what clients see; `invariants`: what must hold;
//!   [`planted_bugs`]: rules broken on purpose in the coordinator's code, which it must catch.
//! - `processor`: a run stays on one; [`trace`]: what happened, a line each.

mod coordinator;
mod facts;
mod faults;
mod invariants;
mod network;
mod outside;
pub mod planted_bugs;
mod processor;
mod profile;
mod rng;
mod scenario;
mod storage;
pub mod trace;
mod tree;
mod users;
mod worker;
mod world;

pub use invariants::Violation;
pub use rng::Rng;
pub use world::Outcome;

use planted_bugs::PlantedBug;
use processor::OneProcessor;
use profile::Profile;
use trace::Trace;
use world::World;

/// Seeds of `make test`.
pub const SEEDS: u64 = 200;

/// Seeds among which a planted bug is looked for.
const PLANTED_SEEDS: u64 = 500;

/// The seeds among which a planted bug is looked for: those that choose one of these kinds of day
/// ([`Outcome::profile`]), or all of them when no kind is named.
pub fn seeds_of(days: &[&str]) -> impl Iterator<Item = u64> {
    let is_chosen = move |seed: &u64| {
        days.is_empty() || days.contains(&Profile::generate(&mut Rng::new(*seed)).name)
    };
    (0..PLANTED_SEEDS).filter(is_chosen)
}

/// Runs a seed and checks the invariants.
#[must_use]
pub fn run(seed: u64, bug: Option<PlantedBug>) -> Outcome {
    let _processor = OneProcessor::choose();
    World::new(seed, bug, Trace::default()).run()
}

/// Runs a seed with a trace of every event: the same seed gives the same run.
#[must_use]
pub fn replay(seed: u64, bug: Option<PlantedBug>) -> Outcome {
    let _processor = OneProcessor::choose();
    World::new(seed, bug, Trace::on()).run()
}

/// The report on a violation: the broken invariant, the last lines of the trace, and the command
/// that shows all.
#[must_use]
pub fn report(seed: u64, bug: Option<PlantedBug>) -> String {
    const LAST: usize = 40;
    let outcome = replay(seed, bug);
    let lines = outcome.trace.lines();
    let last = lines[lines.len().saturating_sub(LAST)..].join("\n");
    let broken = outcome.violation.map_or("nothing broke".into(), |v| v.to_string());
    format!("{last}\n\nseed {seed} ({}): {broken}\nreplay: make sim SEED={seed}\n", outcome.profile)
}
