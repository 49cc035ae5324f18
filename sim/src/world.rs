//! The world: virtual time, the queue of events, and the state that survives the death of a
//! process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rpmfarm_coordinator::bus::PeerMessage;
use rpmfarm_coordinator::planted_bugs::{PlantedBug, plant};
use rpmfarm_coordinator::simulation::{self, WaitingStep};
use rpmfarm_core::{AttemptId, BuildId, Epoch, Sha256, Stage, StageEpoch, TaskId};

use crate::coordinator::{Coordinator, FarmStorage};
use crate::facts::{Facts, FactsReader};
use crate::invariants::{Monitor, Violation};
use crate::network::{Down, Link, Up};
use crate::outside::{OutsideWorld, Signer, store_base_packages};
use crate::planted_bugs::Invariant;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::scenario::{Host, Scenario, Source};
use crate::storage;
use crate::trace::{Trace, note};
use crate::tree::PublishedTree;
use crate::users::Action;
use crate::worker::{Key, Worker};

/// Microseconds.
pub(crate) const MS: u64 = 1_000;
pub(crate) const S: u64 = 1_000_000;

/// Once faults stop, everything must have ended within this time: the waits before all retries, a
/// lease for each attempt, and the longest builds one after the other.
const DRAIN: u64 = 5_400 * S;

/// One event. The number beside a process counts its starts: an event for an earlier start is void.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A step of a coordinator's task runs.
    Step(usize, u64, WaitingStep),
    CoordinatorStarts(usize),
    /// A coordinator that announced its shutdown ends.
    CoordinatorEnds(usize, u64),
    /// A message of another coordinator arrives.
    PeerMessage(usize, PeerMessage),
    /// A message of a worker arrives at a coordinator, on a connection.
    Up(usize, usize, u64, Up),
    /// A message arrives at a worker, on a connection.
    Down(usize, u64, Down),
    WorkerStarts(usize),
    Tick(usize, u64),
    /// The next step of an attempt on a worker.
    AttemptStep(usize, u64, Key, u64),
    Fault,
    FaultsStop,
    /// An operator cancels builds whose files are damaged.
    GivesUp,
    User(Action),
    /// A reader of the repository fetches the documents of a generation.
    Reads(u64),
}

/// A result file, with the attempt that really made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MadeFile {
    /// `None` when any attempt would have made the same bytes.
    pub(crate) by: Option<(AttemptId, Epoch)>,
    pub(crate) whole: bool,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The invariant that broke, if one did.
    pub violation: Option<Violation>,
    /// What happened.
    pub trace: Trace,
    /// The name of the profile that the seed chose.
    pub profile: &'static str,
    /// Number of events.
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
    pub(crate) trace: Trace,
    pub(crate) faulty: bool,
    /// How long faults happen, in microseconds.
    pub(crate) faulty_until: u64,

    pub(crate) outside: OutsideWorld,
    pub(crate) signer: Signer,
    pub(crate) storage: FarmStorage,
    pub(crate) database: FactsReader,
    pub(crate) facts: Facts,
    pub(crate) tree: PublishedTree,
    pub(crate) made: BTreeMap<Sha256, MadeFile>,
    /// The announced result files of each task, for a worker that copies them.
    pub(crate) uploads: BTreeMap<TaskId, Vec<Vec<rpmfarm_core::results::ResultFile>>>,

    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) workers: Vec<Worker>,
    /// The connections of each worker, by coordinator.
    pub(crate) links: Vec<[Link; 2]>,
    pub(crate) database_down_until: u64,
    /// Until when the disk of the blobs and the repositories is full.
    pub(crate) data_full_until: u64,
    /// The stage for which the step wrote, and the epoch of the write.
    pub(crate) written: Option<(Stage, StageEpoch)>,
    /// Whether the step has changed facts, or files.
    pub(crate) has_changed: bool,
    pub(crate) disk_used: bool,
    pub(crate) acknowledged: BTreeSet<BuildId>,
    /// Packages of which a file was damaged.
    pub(crate) damaged: BTreeSet<String>,
    /// Whether the next signed file is damaged.
    pub(crate) file_rots: bool,
    pub(crate) requests: u64,
    /// Keys of requests that wait for an answer, and of answered ones.
    pub(crate) wanted: BTreeSet<String>,
    pub(crate) answered: BTreeSet<String>,
    pub(crate) monitor: Monitor,
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<PlantedBug>, trace: Trace) -> Self {
        simulation::begin(seed);
        plant(bug);
        let mut rng = Rng::new(seed);
        let profile = Profile::generate(&mut rng);
        let scenario = Scenario::generate(&mut rng, &profile);
        let pair = rng.chance(profile.pairs);
        let storage = storage::create(&scenario.arches);
        store_base_packages(&storage.blobs, &scenario).expect("the disk takes it");
        let (hosts, faulty_until) = (scenario.hosts.clone(), scenario.faulty_s * S);
        let sources = scenario.sources.clone();
        let outside = OutsideWorld::new(scenario, profile.farm_fails, seed);
        let mut world = Self {
            now: 0,
            steps: 0,
            order: 0,
            events: BTreeMap::new(),
            workers: hosts.iter().enumerate().map(|(w, host)| Worker::new(w, host)).collect(),
            links: hosts.iter().map(|_| Default::default()).collect(),
            coordinators: (0..=usize::from(pair)).map(|_| Coordinator::default()).collect(),
            rng,
            profile,
            trace,
            faulty: true,
            faulty_until,
            signer: Signer::new(outside.clone()),
            outside,
            database: FactsReader::open(&storage.url),
            facts: Facts::default(),
            tree: PublishedTree::new(&storage.repos),
            storage,
            made: BTreeMap::new(),
            uploads: BTreeMap::new(),
            database_down_until: 0,
            data_full_until: 0,
            written: None,
            has_changed: false,
            disk_used: false,
            acknowledged: BTreeSet::new(),
            damaged: BTreeSet::new(),
            file_rots: false,
            requests: 0,
            wanted: BTreeSet::new(),
            answered: BTreeSet::new(),
            monitor: Monitor::default(),
            violation: None,
        };
        world.first_events(seed, &hosts, &sources);
        world
    }

    /// Records what the seed has chosen, and schedules the first events.
    fn first_events(&mut self, seed: u64, hosts: &[Host], sources: &[Source]) {
        let coordinators = self.coordinators.len();
        note!(self, "seed {seed}: a day of {}, coordinators: {coordinators}", self.profile.name);
        for host in hosts {
            self.trace.line(0, format_args!("{host:?}"));
        }
        for source in sources {
            self.trace.line(0, format_args!("{source:?}"));
        }
        for c in 0..self.coordinators.len() {
            self.after(0, Event::CoordinatorStarts(c));
        }
        for worker in 0..self.workers.len() {
            let delay = self.rng.below(3_000) * MS;
            self.after(delay, Event::WorkerStarts(worker));
        }
        self.after(self.faulty_until, Event::FaultsStop);
        self.first_actions();
        self.next_fault();
    }

    /// Schedules an event after so many microseconds.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now.saturating_add(delay), self.order), event);
    }

    pub(crate) fn violated(&mut self, invariant: Invariant, message: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, message: message.into() });
        }
    }

    /// Runs until everything has ended, an invariant broke, or time is up.
    pub(crate) fn run(mut self) -> Outcome {
        while self.violation.is_none() {
            let Some(((at, _), event)) = self.events.pop_first() else {
                self.violated(Invariant::I9, "nothing happens any more");
                break;
            };
            self.now = at;
            self.outside.lock().now = at;
            simulation::set_time(Duration::from_micros(at));
            self.steps += 1;
            self.happen(event);
            self.check();
            self.damage_file();
            if !self.faulty {
                if self.is_drained() {
                    break;
                }
                if self.now > self.faulty_until + DRAIN {
                    let stuck = self.stuck();
                    self.violated(Invariant::I9, stuck);
                }
            }
        }
        if let Some(violation) = &self.violation {
            note!(self, "*** {violation}");
        }
        // Their tasks must be dropped while the simulation exists.
        self.coordinators.clear();
        simulation::end();
        plant(None);
        Outcome {
            violation: self.violation,
            trace: self.trace,
            profile: self.profile.name,
            steps: self.steps,
            builds: self.facts.builds.len(),
            published: self.facts.publications.len(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(c, life, waiting) => self.run_step(c, life, waiting),
            Event::CoordinatorStarts(c) => self.start_coordinator(c),
            Event::CoordinatorEnds(c, life) => {
                if self.coordinators[c].life == life {
                    self.kill_coordinator(c);
                }
            }
            Event::PeerMessage(c, word) => self.receive_peer_message(c, word),
            Event::Up(w, c, connection, message) => {
                self.receive_from_worker(w, c, connection, message)
            }
            Event::Down(w, connection, message) => {
                self.receive_from_coordinator(w, connection, message);
            }
            Event::WorkerStarts(w) => self.start_worker(w),
            Event::Tick(w, life) => self.tick(w, life),
            Event::AttemptStep(w, life, key, step) => self.run_attempt_step(w, life, key, step),
            Event::Fault => {
                self.fault();
                self.next_fault();
            }
            Event::FaultsStop => self.stop_faults(),
            Event::GivesUp => self.give_up(),
            Event::User(action) => self.act(action),
            Event::Reads(generation) => self.read_documents(generation),
        }
    }
}
