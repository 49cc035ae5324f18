//! The simulated coordinator: its passes look for facts that lack their result, as the real ones
//! do, and every decision in them is `core`'s.
//!
//! A pass reads now and writes later, so that everything else can happen between; and it may
//! die before and after each commit.

mod accept;
mod dispatch;
mod publish;
mod resolve;
mod session;
mod sources;

use std::collections::BTreeMap;

use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{BuildId, Failure, TaskId};

pub(crate) use dispatch::Fleet;
pub(crate) use publish::{Publishing, signed};
pub(crate) use session::{Known, Session};

use crate::planted::Plant;
use crate::rules;
use crate::store::{EndedAttempt, Store, Task};
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// A pass looks at least so often.
const PERIOD: u64 = S;
/// How long what failed rests.
const REST: u64 = S;

/// The passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pass {
    Import,
    Plan,
    Resolve,
    Dispatch,
    Leases,
    Accept,
    Sign,
    Publish,
}

impl Pass {
    const ALL: [Self; 8] = [
        Self::Import,
        Self::Plan,
        Self::Resolve,
        Self::Dispatch,
        Self::Leases,
        Self::Accept,
        Self::Sign,
        Self::Publish,
    ];
}

/// A crew of a stage, and how many pieces it has under way at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Crew {
    Import,
    Resolve,
    Accept,
    Sign,
}

impl Crew {
    const fn limit(self) -> usize {
        match self {
            Self::Import => 8,
            Self::Resolve => 4,
            Self::Accept | Self::Sign => 2,
        }
    }
}

/// What solving said of a task.
pub(crate) type Solution = Result<Vec<LockedPackage>, Failure>;

/// The second half of something: what was read before is in it.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Import(BuildId),
    Lock(Task, Box<Solution>),
    LockRound(Task, u32),
    Grant(Vec<Task>, Box<Fleet>),
    Check(Box<EndedAttempt>),
    Sign(BuildId),
    Publish(Box<Publishing>),
    /// A piece of work that failed has rested.
    Rested(Crew, i64),
}

/// Why something came to no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process is dead.
    Dead,
    /// The database, the signer or another part of the farm said no.
    Error,
}

pub(crate) type Step<T = ()> = Result<T, Stop>;

/// A process.
#[derive(Debug)]
pub(crate) struct Coordinator {
    index: usize,
    pub(crate) up: bool,
    /// One more for each start.
    pub(crate) life: u64,
    pub(crate) frozen_until: u64,
    pub(crate) started: u64,
    /// Whether workers connect to it: the other one runs passes only.
    pub(crate) serves: bool,
    /// What its wall clock is off, in microseconds.
    pub(crate) clock_off: i64,
    /// When each pass comes next.
    due: BTreeMap<Pass, u64>,
    /// Until when one that failed hears no bell.
    rests_until: BTreeMap<Pass, u64>,
    /// Pieces of work under way, and whether each only rests.
    busy: BTreeMap<(Crew, i64), bool>,
    pub(crate) fleet: BTreeMap<String, Known>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    memory: BTreeMap<TaskId, (i64, Solution)>,
}

impl Coordinator {
    pub(crate) const fn new(index: usize, serves: bool) -> Self {
        Self {
            index,
            up: false,
            life: 0,
            frozen_until: 0,
            started: 0,
            serves,
            clock_off: 0,
            due: BTreeMap::new(),
            rests_until: BTreeMap::new(),
            busy: BTreeMap::new(),
            fleet: BTreeMap::new(),
            sessions: BTreeMap::new(),
            memory: BTreeMap::new(),
        }
    }
}

impl World {
    pub(crate) fn start_coordinator(&mut self, c: usize) {
        let now = self.now;
        let coordinator = &mut self.coordinators[c];
        if coordinator.up {
            return;
        }
        let (life, off) = (coordinator.life + 1, coordinator.clock_off);
        let serves = coordinator.serves;
        *coordinator = Coordinator {
            up: true,
            life,
            started: now,
            clock_off: off,
            ..Coordinator::new(coordinator.index, serves)
        };
        note!(self, "c{c} starts");
        for pass in Pass::ALL {
            let delay = self.rng.below(50) * MS;
            self.pass_in(c, pass, delay);
        }
    }

    /// `kill -9`: what is not in the store, in files or on the wire is gone.
    pub(crate) fn kill_coordinator(&mut self, c: usize) {
        if !self.coordinators[c].up {
            return;
        }
        note!(self, "c{c} dies");
        let life = self.coordinators[c].life;
        self.coordinators[c].up = false;
        if self.repo.lock == Some((c, life)) {
            self.repo.lock = None;
        }
        let back = self.rng.range(200 * MS, 20 * S);
        self.after(back, Event::CoordinatorStarts(c));
        let connections: Vec<(u64, usize)> = self.coordinators[c]
            .sessions
            .iter()
            .map(|(id, session)| (*id, session.worker))
            .collect();
        for (connection, worker) in connections {
            self.refuse(worker, connection);
        }
    }

    /// Whether an event of an earlier life comes, or of a process that stands still: then it
    /// comes later.
    fn is_void(&mut self, c: usize, life: u64, event: impl FnOnce() -> Event) -> bool {
        let coordinator = &self.coordinators[c];
        if !coordinator.up || coordinator.life != life {
            return true;
        }
        if coordinator.frozen_until > self.now {
            let later = coordinator.frozen_until - self.now;
            self.after(later, event());
            return true;
        }
        false
    }

    fn pass_in(&mut self, c: usize, pass: Pass, delay: u64) {
        let at = self.now + delay;
        let coordinator = &mut self.coordinators[c];
        if coordinator.due.get(&pass).is_some_and(|due| *due <= at && *due >= self.now) {
            return;
        }
        coordinator.due.insert(pass, at);
        let life = coordinator.life;
        self.after(delay, Event::Pass(c, life, pass));
    }

    /// Something was written: every pass looks soon.
    pub(crate) fn ring(&mut self, c: usize) {
        if self.coordinators[c].up {
            for pass in Pass::ALL {
                let coordinator = &self.coordinators[c];
                let rests = coordinator.rests_until.get(&pass).is_some_and(|at| *at > self.now);
                if coordinator.due.contains_key(&pass) && !rests {
                    let delay = self.rng.below(10) * MS;
                    self.pass_in(c, pass, delay);
                }
            }
        }
    }

    pub(crate) fn pass_comes(&mut self, c: usize, life: u64, pass: Pass) {
        if self.is_void(c, life, || Event::Pass(c, life, pass)) {
            return;
        }
        if self.coordinators[c].due.get(&pass).is_none_or(|due| *due > self.now) {
            // It was brought forward, and has been; or it is under way.
            return;
        }
        self.coordinators[c].due.remove(&pass);
        let done = match pass {
            Pass::Import => self.import_pass(c),
            Pass::Plan => self.plan_pass(c),
            Pass::Resolve => self.resolve_pass(c),
            Pass::Dispatch => match self.dispatch_pass(c) {
                Ok(true) => return,
                Ok(false) => Ok(()),
                Err(stop) => Err(stop),
            },
            Pass::Leases => self.lease_pass(c),
            Pass::Accept => self.accept_pass(c),
            Pass::Sign => self.sign_pass(c),
            Pass::Publish => match self.publish_pass(c) {
                Ok(true) => return,
                Ok(false) => Ok(()),
                Err(stop) => Err(stop),
            },
        };
        self.pass_done(c, pass, done);
    }

    /// A pass has ended; it looks again when a bell rings, or when its period is over.
    fn pass_done(&mut self, c: usize, pass: Pass, done: Step) {
        match done {
            Err(Stop::Dead) => {}
            Err(Stop::Error) => {
                let until = self.now + REST;
                self.coordinators[c].rests_until.insert(pass, until);
                self.pass_in(c, pass, REST);
            }
            Ok(()) if self.planted(Plant::NoPoll) => {
                self.coordinators[c].due.insert(pass, u64::MAX);
            }
            // With nothing to do its looks see nothing, so there are fewer.
            Ok(()) if self.store.open_builds.is_empty() => self.pass_in(c, pass, 5 * PERIOD),
            Ok(()) => self.pass_in(c, pass, PERIOD),
        }
    }

    pub(crate) fn work_comes(&mut self, c: usize, life: u64, work: Work) {
        if self.is_void(c, life, || Event::Work(c, life, work.clone())) {
            return;
        }
        match work {
            Work::Import(build) => {
                let done = self.import(c, build);
                self.crew_done(c, Crew::Import, build.0, done);
            }
            Work::Lock(task, solution) => {
                let done = self.conclude(c, &task, 0, *solution);
                self.crew_done(c, Crew::Resolve, task.id.0, done);
            }
            Work::LockRound(task, round) => {
                let done = self.lock_round(c, &task, round);
                self.crew_done(c, Crew::Resolve, task.id.0, done);
            }
            Work::Grant(tasks, fleet) => self.grant(c, tasks, *fleet),
            Work::Check(ended) => {
                let done = self.accept(c, &ended);
                self.crew_done(c, Crew::Accept, ended.attempt.id, done);
            }
            Work::Sign(build) => {
                let done = self.sign(c, build);
                self.crew_done(c, Crew::Sign, build.0, done);
            }
            Work::Publish(publishing) => self.publish(c, *publishing),
            Work::Rested(crew, key) => {
                self.coordinators[c].busy.remove(&(crew, key));
                self.ring(c);
            }
        }
    }

    /// Starts a piece of work unless it is under way or all hands are busy.
    fn crew_start(&mut self, c: usize, crew: Crew, key: i64, delay: u64, work: Work) {
        let coordinator = &mut self.coordinators[c];
        let of_crew = coordinator.busy.iter().filter(|((of, _), _)| *of == crew);
        let at_work = of_crew.filter(|(_, rests)| !**rests).count();
        if at_work >= crew.limit() || coordinator.busy.contains_key(&(crew, key)) {
            return;
        }
        coordinator.busy.insert((crew, key), false);
        let life = coordinator.life;
        self.after(delay, Event::Work(c, life, work));
    }

    fn crew_done(&mut self, c: usize, crew: Crew, key: i64, done: Step) {
        match done {
            Err(Stop::Dead) => {}
            Err(Stop::Error) => {
                self.coordinators[c].busy.insert((crew, key), true);
                let life = self.coordinators[c].life;
                self.after(REST, Event::Work(c, life, Work::Rested(crew, key)));
                self.ring(c);
            }
            Ok(()) => {
                self.coordinators[c].busy.remove(&(crew, key));
                self.ring(c);
            }
        }
    }

    /// What the wall clock of a coordinator says, in microseconds since 1970.
    pub(crate) fn wall_us(&self, c: usize) -> i64 {
        1_750_000_000_000_000
            + i64::try_from(self.now).unwrap_or(i64::MAX)
            + self.coordinators[c].clock_off
    }

    /// Whether the database answers.
    pub(crate) const fn database(&self) -> Step {
        if self.now < self.database_down_until { Err(Stop::Error) } else { Ok(()) }
    }

    /// One transaction. The process may die before and after it, and its answer may be lost.
    pub(crate) fn commit<T>(
        &mut self,
        c: usize,
        transaction: impl FnOnce(&mut Store) -> T,
    ) -> Step<T> {
        self.database()?;
        let dies = if self.faulty { self.profile.dies_at_commit } else { 0 };
        if self.rng.chance(dies) {
            self.kill_coordinator(c);
            return Err(Stop::Dead);
        }
        let before = self.store.version;
        let answer = transaction(&mut self.store);
        if self.store.version == before {
            return Ok(answer);
        }
        if self.rng.chance(dies) {
            self.kill_coordinator(c);
            return Err(Stop::Dead);
        }
        let lost = if self.faulty { self.profile.answer_lost } else { 0 };
        if self.rng.chance(lost) {
            note!(self, "c{c} does not hear of its commit");
            return Err(Stop::Error);
        }
        self.ring(c);
        Ok(answer)
    }

    /// Records a failure of a stage, to be tried again or for good.
    pub(crate) fn record_failure(
        &mut self,
        c: usize,
        build: BuildId,
        task: Option<TaskId>,
        failure: &Failure,
    ) -> Step {
        let now_us = self.wall_us(c);
        let retry_us = rules::retry_at(&self.store, build, task, failure, now_us);
        note!(self, "c{c} build {build}: {failure}, again: {}", retry_us.is_some());
        self.commit(c, |store| store.add_failure(build, task, failure, retry_us, now_us))?;
        Ok(())
    }
}
