//! Crews, which do the long pieces of a stage side by side; and the second half of everything
//! that a coordinator reads in one event and writes in a later one.

use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{BuildId, Failure, Stage};

use super::passes::REST;
use super::{Claimed, Fence, Fleet, Publishing, Step, Stop};
use crate::store::{EndedAttempt, Task};
use crate::trace::note;
use crate::world::{Event, S, World};

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
    Grant(Vec<Task>, Box<Fleet>),
    /// Stages are to be taken, as the look saw them that began at a time.
    Take(Vec<Claimed>, u64),
    /// Of a stage, behind the fence with which it was begun.
    Piece(Fence, Piece),
    /// A piece of work that failed has rested.
    Rested(Crew, i64),
}

/// A piece of a stage's work.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Import(BuildId),
    /// A task, the round of its lock, and the lock.
    Lock(Task, u32, Box<Solution>),
    LockRound(Task, u32),
    Check(Box<EndedAttempt>),
    Sign(BuildId),
    Publish(Box<Publishing>),
}

impl World {
    pub(crate) fn work_comes(&mut self, c: usize, life: u64, work: Work) {
        if self.is_void(c, life, || Event::Work(c, life, work.clone())) {
            return;
        }
        match work {
            Work::Grant(tasks, fleet) => self.grant(c, tasks, *fleet),
            Work::Take(claims, began) => {
                let taken = self.take_stages(c, claims);
                self.looked(c, began, taken);
            }
            Work::Piece(fence, piece) => self.piece_comes(fence, piece),
            Work::Rested(crew, key) => {
                self.coordinators[c].busy.remove(&(crew, key));
                self.ring(c);
            }
        }
    }

    fn piece_comes(&mut self, f: Fence, piece: Piece) {
        let (crew, key, done) = match piece {
            Piece::Import(build) => (Crew::Import, build.0, self.import(f, build)),
            Piece::Lock(task, round, solution) => {
                (Crew::Resolve, task.id.0, self.conclude(f, &task, round, *solution))
            }
            Piece::LockRound(task, round) => {
                (Crew::Resolve, task.id.0, self.lock_round(f, &task, round))
            }
            Piece::Check(ended) => (Crew::Accept, ended.attempt.id, self.accept(f, &ended)),
            Piece::Sign(build) => (Crew::Sign, build.0, self.sign(f, build)),
            Piece::Publish(publishing) => return self.publish(f, *publishing),
        };
        self.crew_done(f.c, crew, key, done);
    }

    /// Starts a piece of work unless it is under way or all hands are busy.
    pub(super) fn crew_start(&mut self, f: Fence, crew: Crew, key: i64, delay: u64, piece: Piece) {
        let coordinator = &mut self.coordinators[f.c];
        let of_crew = coordinator.busy.iter().filter(|((of, _), _)| *of == crew);
        let at_work = of_crew.filter(|(_, rests)| !**rests).count();
        if at_work >= crew.limit() || coordinator.busy.contains_key(&(crew, key)) {
            return;
        }
        coordinator.busy.insert((crew, key), false);
        self.piece_in(f, delay, piece);
    }

    /// A piece of work is under way, and its coordinator may be stopped before the end of it: for
    /// longer than others wait.
    pub(super) fn piece_in(&mut self, f: Fence, delay: u64, piece: Piece) {
        let life = self.coordinators[f.c].life;
        self.after(delay, Event::Work(f.c, life, Work::Piece(f, piece)));
        // Of the steps of a publication there are few, and each is a place of its own. Others need
        // some time to publish without this one's workers.
        let (often, longest) = if f.stage == Stage::Publish { (4, 120) } else { (1, 40) };
        let pauses = if self.faulty { self.profile.pauses * often } else { 0 };
        if self.rng.chance(pauses) {
            let length = self.rng.range(4 * S, longest * S);
            note!(self, "c{} is stopped for {} s at its {} stage", f.c, length / S, f.stage);
            let until = self.now + delay + length;
            let coordinator = &mut self.coordinators[f.c];
            coordinator.frozen_until = coordinator.frozen_until.max(until);
        }
    }

    fn crew_done(&mut self, c: usize, crew: Crew, key: i64, done: Step) {
        match done {
            Err(Stop::Dead) => return,
            Err(Stop::Error) => {
                self.coordinators[c].busy.insert((crew, key), true);
                let life = self.coordinators[c].life;
                self.after(REST, Event::Work(c, life, Work::Rested(crew, key)));
            }
            Ok(()) => {
                self.coordinators[c].busy.remove(&(crew, key));
            }
        }
        self.ring(c);
    }
}
