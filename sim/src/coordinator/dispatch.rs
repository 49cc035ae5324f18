//! Tasks go to workers that are free, and are taken from those that are silent.

use std::collections::BTreeMap;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Failure, FailureStage, Fault};

use super::{Pass, Step, Stop, Work};
use crate::planted::PlantedBug;
use crate::rules;
use crate::store::Task;
use crate::trace::note;
use crate::world::{Event, MS, World};

/// The workers as a pass saw them when it began, and what each holds.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) workers: Vec<rules::Seen>,
    pub(crate) busy: BTreeMap<String, u32>,
}

impl World {
    /// Gives tasks to the workers that are connected here. True when grants are under way, with
    /// which the pass goes on.
    pub(super) fn dispatch_pass(&mut self, c: usize) -> Step<bool> {
        self.database()?;
        if self.coordinators[c].peers.down || self.coordinators[c].fleet.is_empty() {
            return Ok(false);
        }
        let tasks = self.store.task_list_to_dispatch(self.wall_us(c));
        if tasks.is_empty() {
            return Ok(false);
        }
        let (now, coordinator) = (self.now, &self.coordinators[c]);
        let listening = coordinator.listening;
        let seen = |known| rules::seen(known, listening, now);
        let workers = coordinator.fleet.values().map(seen).collect();
        let mut busy = BTreeMap::<String, u32>::new();
        for live in self.store.attempt_list_live(None) {
            *busy.entry(live.worker).or_default() += 1;
        }
        self.grant_later(c, tasks, Fleet { workers, busy });
        Ok(true)
    }

    fn grant_later(&mut self, c: usize, tasks: Vec<Task>, fleet: Fleet) {
        let delay =
            if self.rng.chance(100) { self.rng.below(1_500) } else { self.rng.below(15) } * MS;
        let life = self.coordinators[c].life;
        self.after(delay, Event::Work(c, life, Work::Grant(tasks, Box::new(fleet))));
    }

    /// Grants the first task that some worker has room for, and goes on with the rest.
    pub(super) fn grant(&mut self, c: usize, tasks: Vec<Task>, mut fleet: Fleet) {
        let mut rest = tasks.into_iter();
        let mut done = self.database();
        while done.is_ok() {
            let Some(task) = rest.next() else { break };
            let Some(worker) = rules::place(task.arch, &fleet) else { continue };
            let now_us = self.wall_us(c);
            let granted =
                self.commit(c, |store| store.attempt_grant(task.id, task.build, &worker, now_us));
            match granted {
                Ok(Some(attempt)) => {
                    note!(self, "c{c} task {} goes to {worker}, attempt {}", task.id, attempt.id);
                    *fleet.busy.entry(worker.clone()).or_default() += 1;
                    self.poke(c, &worker);
                    return self.grant_later(c, rest.collect(), fleet);
                }
                Ok(None) => {}
                Err(stop) => done = Err(stop),
            }
        }
        self.pass_done(c, Pass::Dispatch, done);
    }

    pub(super) fn lease_pass(&mut self, c: usize) -> Step {
        if self.planted(PlantedBug::NoLeases) {
            return Ok(());
        }
        self.database()?;
        let coordinator = &mut self.coordinators[c];
        if !rules::is_listening(self.now - coordinator.looked) {
            // It was stopped: what it did not hear then is held against nobody.
            coordinator.listening = self.now;
        }
        coordinator.looked = self.now;
        for live in self.store.attempt_list_live(None) {
            let coordinator = &self.coordinators[c];
            let known = coordinator.fleet.get(&live.worker);
            let heard = known.map_or(0, |known| known.heard).max(coordinator.listening);
            let silence = self.judged(c, &live.worker, self.now - heard);
            if !silence.is_some_and(rules::is_gone) {
                continue;
            }
            let whose = if self.planted(PlantedBug::LostIsPackages) {
                Fault::Package
            } else {
                Fault::Worker
            };
            let failure =
                Failure::new(whose, FailureStage::Lease, format!("{} was not heard", live.worker));
            match self.end(c, &live, &Outcome::Failed(failure)) {
                Err(Stop::Dead) => return Err(Stop::Dead),
                other => other?,
            }
        }
        Ok(())
    }
}
