//! The world: virtual time, the queue of events, and what survives the death of a process.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::{AttemptId, Epoch, Nevra, Sha256, Snapshot, StageEpoch};

use crate::coordinator::{Coordinator, Pass, Work};
use crate::invariants::{Monitor, Violation};
use crate::network::{Down, Link, Up};
use crate::planted::{Invariant, PlantedBug};
use crate::profile::Profile;
use crate::repo::Repo;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::store::Store;
use crate::trace::{Trace, note};
use crate::users::Action;
use crate::worker::{Key, Worker};

/// Microseconds.
pub(crate) const MS: u64 = 1_000;
pub(crate) const S: u64 = 1_000_000;

/// Once faults stop, everything must have ended within this time: the pauses of all retries, a
/// lease for each try, and the longest builds one after the other.
const DRAIN: u64 = 5_400 * S;

/// One thing that happens. A number beside a process is its life: an event for an earlier life
/// of it is void.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Pass(usize, u64, Pass),
    Work(usize, u64, Work),
    CoordinatorStarts(usize),
    /// A coordinator raises its beat, and looks at the others.
    Beat(usize, u64),
    /// Of a worker, to a coordinator, on a connection.
    Up(usize, usize, u64, Up),
    /// To a worker, on a connection.
    Down(usize, u64, Down),
    WorkerStarts(usize),
    Tick(usize, u64),
    /// The next step of an attempt's life on a worker.
    Life(usize, u64, Key, u64),
    Fault,
    FaultsStop,
    User(Action),
    /// A reader of the repository fetches the documents of a generation.
    Reads(u64),
}

/// A file as the blob store has it: what its header says, and who really made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) nevra: Nevra,
    pub(crate) source_rpm: String,
    pub(crate) whole: bool,
    /// `None` when any attempt would have made the same bytes.
    pub(crate) made_by: Option<(AttemptId, Epoch)>,
}

impl Blob {
    pub(crate) fn digest(&self) -> Sha256 {
        Sha256::compute(format!("{self:?}").as_bytes())
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The invariant that broke, if one did.
    pub violation: Option<Violation>,
    /// What happened.
    pub trace: Trace,
    /// The day that the seed chose.
    pub profile: &'static str,
    /// Events.
    pub steps: u64,
    /// Builds, and how many of them were published.
    pub builds: usize,
    /// See `builds`.
    pub published: usize,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) steps: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) rng: Rng,
    pub(crate) profile: Profile,
    pub(crate) scenario: Scenario,
    pub(crate) plant: Option<PlantedBug>,
    pub(crate) trace: Trace,
    pub(crate) faulty: bool,

    pub(crate) store: Store,
    pub(crate) blobs: BTreeMap<Sha256, Blob>,
    /// Which attempt uploaded what, for one planted bug only.
    pub(crate) uploads: BTreeMap<i64, BTreeSet<Sha256>>,
    /// The names in the root of each lock.
    pub(crate) locks: BTreeMap<Sha256, BTreeSet<String>>,
    /// The snapshots of revisions, by digest.
    pub(crate) snapshots: BTreeMap<Sha256, Snapshot>,
    pub(crate) repo: Repo,

    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) workers: Vec<Worker>,
    /// Of each worker, to each coordinator.
    pub(crate) links: Vec<[Link; 2]>,
    pub(crate) database_down_until: u64,
    pub(crate) signer_down_until: u64,
    /// Until when the disk of the blobs and the repositories is full.
    pub(crate) data_full_until: u64,
    /// What the step has written for stages, and under which epoch.
    pub(crate) written: Vec<(&'static str, StageEpoch)>,
    pub(crate) acknowledged: BTreeSet<i64>,
    pub(crate) requests: u64,
    pub(crate) monitor: Monitor,
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(seed: u64, plant: Option<PlantedBug>, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::of(&mut rng);
        let scenario = Scenario::of(&mut rng, &profile);
        let pair = rng.chance(profile.pairs);
        let store = Store { plant, ..Store::default() };
        let mut world = Self {
            now: 0,
            steps: 0,
            order: 0,
            events: BTreeMap::new(),
            workers: scenario
                .hosts
                .iter()
                .enumerate()
                .map(|(w, host)| Worker::new(w, host))
                .collect(),
            links: scenario.hosts.iter().map(|_| Default::default()).collect(),
            coordinators: (0..=usize::from(pair)).map(|_| Coordinator::default()).collect(),
            rng,
            profile,
            scenario,
            plant,
            trace,
            faulty: true,
            store,
            blobs: BTreeMap::new(),
            uploads: BTreeMap::new(),
            locks: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            repo: Repo::default(),
            database_down_until: 0,
            signer_down_until: 0,
            data_full_until: 0,
            written: Vec::new(),
            acknowledged: BTreeSet::new(),
            requests: 0,
            monitor: Monitor::default(),
            violation: None,
        };
        let coordinators = world.coordinators.len();
        note!(world, "seed {seed}: a day of {}, coordinators: {coordinators}", world.profile.name);
        for host in &world.scenario.hosts {
            world.trace.line(0, format_args!("{host:?}"));
        }
        for source in &world.scenario.sources {
            world.trace.line(0, format_args!("{source:?}"));
        }
        for c in 0..world.coordinators.len() {
            world.after(0, Event::CoordinatorStarts(c));
        }
        for worker in 0..world.workers.len() {
            let delay = world.rng.below(3_000) * MS;
            world.after(delay, Event::WorkerStarts(worker));
        }
        world.after(world.scenario.faulty_s * S, Event::FaultsStop);
        world.first_actions();
        world.next_fault();
        world
    }

    /// Something happens after so many microseconds.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    pub(crate) fn planted(&self, plant: PlantedBug) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn violated(&mut self, invariant: Invariant, message: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, message: message.into() });
        }
    }

    /// Runs to the end: everything has ended, an invariant broke, or time is up.
    pub(crate) fn run(mut self) -> Outcome {
        while self.violation.is_none() {
            let Some(((at, _), event)) = self.events.pop_first() else {
                self.violated(Invariant::I9, "nothing happens any more");
                break;
            };
            self.now = at;
            self.steps += 1;
            self.happen(event);
            self.check();
            if !self.faulty {
                if self.is_drained() {
                    break;
                }
                if self.now > self.scenario.faulty_s * S + DRAIN {
                    let stuck = self.stuck();
                    self.violated(Invariant::I9, stuck);
                }
            }
        }
        if let Some(violation) = &self.violation {
            note!(self, "*** {violation}");
        }
        Outcome {
            violation: self.violation,
            trace: self.trace,
            profile: self.profile.name,
            steps: self.steps,
            builds: self.store.builds.len(),
            published: self.store.publications.len(),
        }
    }

    /// Whether some stage's work is under way: of one that was stopped, with what is over by now.
    pub(crate) fn is_at_work(&self) -> bool {
        self.events.values().any(|event| matches!(event, Event::Work(_, _, Work::Piece(..))))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(c, life, pass) => self.pass_comes(c, life, pass),
            Event::Work(c, life, work) => self.work_comes(c, life, work),
            Event::CoordinatorStarts(c) => self.start_coordinator(c),
            Event::Beat(c, life) => self.beat_comes(c, life),
            Event::Up(w, c, connection, message) => self.heard(w, c, connection, message),
            Event::Down(w, connection, message) => self.told(w, connection, message),
            Event::WorkerStarts(w) => self.start_worker(w),
            Event::Tick(w, life) => self.tick(w, life),
            Event::Life(w, life, key, step) => self.live(w, life, key, step),
            Event::Fault => {
                self.fault();
                self.next_fault();
            }
            Event::FaultsStop => self.stop_faults(),
            Event::User(action) => self.act(action),
            Event::Reads(generation) => self.read_documents(generation),
        }
    }
}
