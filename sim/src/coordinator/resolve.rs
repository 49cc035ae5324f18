//! The stage that gives every task its lock, in the order of its batch.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::batch_order::BatchDecision;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Failure, FailureStage, Fault};

use super::{Crew, Fence, Piece, Solution, Step};
use crate::rules::{self, Waiting};
use crate::store::{Build, Srpm, Task};
use crate::trace::note;
use crate::world::{MS, World};

impl World {
    pub(super) fn resolve_pass(&mut self, f: Fence) -> Step {
        self.database()?;
        let now_us = self.wall_us(f.c);
        for task in self.store.task_list_to_lock(TaskKind::Srpm, now_us) {
            let solution = self.solve(&[], task.arch);
            self.lock_later(f, task, 0, solution);
        }
        let tasks = self.store.task_list_to_lock(TaskKind::Build, now_us);
        let wanted: BTreeSet<_> = tasks.iter().map(|task| task.id).collect();
        self.coordinators[f.c].memory.retain(|task, _| wanted.contains(task));
        let mut batches = BTreeMap::<i64, Vec<(Task, Build)>>::new();
        for task in tasks {
            let Some(build) = self.store.build_fetch(task.build).cloned() else { continue };
            batches.entry(build.batch).or_default().push((task, build));
        }
        for (batch, tasks) in batches {
            self.lock_batch(f, batch, tasks);
        }
        for (task, round) in self.store.round_list_to_lock(now_us) {
            // New packages may have to be fetched from afar.
            let longest = if self.rng.chance(300) { 10_000 } else { 500 };
            let delay = self.rng.range(10, longest) * MS;
            self.crew_start(f, Crew::Resolve, task.id.0, delay, Piece::LockRound(task, round));
        }
        Ok(())
    }

    fn lock_later(&mut self, f: Fence, task: Task, round: u32, solution: Solution) {
        let delay = self.rng.range(10 * MS, 500 * MS);
        let key = task.id.0;
        let piece = Piece::Lock(task, round, Box::new(solution));
        self.crew_start(f, Crew::Resolve, key, delay, piece);
    }

    /// The builds of a batch that are neither accepted nor ended, once each has its SRPM.
    fn mates(&self, batch: i64) -> Option<Vec<(Build, Srpm)>> {
        let mates = self.store.batch_member_list_open(batch).into_iter();
        let with_srpm =
            |mate: Build| self.store.srpm_fetch(mate.id()).cloned().map(|srpm| (mate, srpm));
        mates.map(with_srpm).collect()
    }

    /// What a task requires, with what its attempts found, and the round of its next lock.
    fn wanted(&self, task: &Task, srpm: &Srpm) -> (Vec<String>, u32) {
        let found = self.store.round_list(task.id);
        let round = u32::try_from(found.len()).unwrap_or(u32::MAX);
        (srpm.requires.iter().cloned().chain(found.into_iter().flatten()).collect(), round)
    }

    fn lock_batch(&mut self, f: Fence, batch: i64, tasks: Vec<(Task, Build)>) {
        let Some(mates) = self.mates(batch) else { return };
        let mut waiting = Vec::new();
        for (task, build) in tasks {
            let Some(srpm) = self.store.srpm_fetch(task.build).cloned() else { continue };
            let (requires, round) = self.wanted(&task, &srpm);
            let solution = self.remembered(f, &task, &build, &requires);
            waiting.push(Waiting { task, requires, round, solution });
        }
        let turns = rules::turns(&self.store, &waiting, &mates);
        for (waiting, turn) in waiting.into_iter().zip(turns) {
            if turn == Some(BatchDecision::Proceed) {
                self.lock_later(f, waiting.task, waiting.round, waiting.solution);
            }
        }
    }

    fn remembered(
        &mut self,
        f: Fence,
        task: &Task,
        build: &Build,
        requires: &[String],
    ) -> Solution {
        let packages = self.store.pool_fetch_generation(&build.target);
        if let Some((count, wanted, solution)) = self.coordinators[f.c].memory.get(&task.id)
            && (*count, wanted.as_slice()) == (packages, requires)
        {
            return solution.clone();
        }
        let solution = self.solve(requires, task.arch);
        let known = (packages, requires.to_vec(), solution.clone());
        self.coordinators[f.c].memory.insert(task.id, known);
        solution
    }

    /// The solver, in small: a name is provided by the farm's own package of it, by the base
    /// repository's, or by nobody.
    fn solve(&self, requires: &[String], arch: Arch) -> Solution {
        let own = self.store.package_list(crate::scenario::TARGET);
        let mut root = vec![rules::locked("gcc", "gcc", None)];
        for name in requires {
            let newest = own
                .iter()
                .filter(|package| package.nevra.name == *name && arch.accepts(&package.nevra.arch))
                .max_by(|a, b| a.nevra.evr.cmp(&b.nevra.evr));
            let in_base = name.starts_with("base-")
                || self
                    .scenario
                    .sources
                    .iter()
                    .any(|source| source.name == *name && source.in_base.contains(&arch));
            match newest {
                Some(package) => root.push(rules::locked(name, name, Some(package.digest))),
                None if in_base => root.push(rules::locked(name, name, None)),
                None => {
                    let message = format!("nothing provides {name}");
                    return Err(Failure::new(Fault::Package, FailureStage::Resolve, message));
                }
            }
        }
        Ok(root)
    }

    pub(super) fn conclude(
        &mut self,
        f: Fence,
        task: &Task,
        round: u32,
        solution: Solution,
    ) -> Step {
        self.database()?;
        let root = match solution {
            Ok(root) => root,
            Err(failure) => return self.record_failure(f, task.build, Some(task.id), &failure),
        };
        if self.faulty && self.rng.chance(self.profile.farm_fails) {
            let failure = Failure::new(Fault::Farm, FailureStage::Resolve, "a download failed");
            return self.record_failure(f, task.build, Some(task.id), &failure);
        }
        // The lock is a blob.
        self.disk()?;
        let (digest, names) = rules::lock(task, round, &root);
        self.locks.insert(digest, names);
        note!(self, "c{} task {}: round {round} is locked", f.c, task.id);
        let now_us = self.wall_us(f.c);
        self.commit_behind(f, |store| store.lock_insert(task.id, round, digest, now_us))
    }

    pub(super) fn lock_round(&mut self, f: Fence, task: &Task, round: u32) -> Step {
        self.database()?;
        let Some(srpm) = self.store.srpm_fetch(task.build).cloned() else { return Ok(()) };
        let (requires, next) = self.wanted(task, &srpm);
        let solution = self.solve(&requires, task.arch);
        let batch = self.store.build_fetch(task.build).map_or(0, |build| build.batch);
        let mates = self.mates(batch).unwrap_or_default();
        let blockers = rules::waits_for(task, &requires, &solution, &mates);
        if blockers.is_empty() {
            self.conclude(f, task, next, solution)?;
        } else {
            note!(self, "c{} task {}: round {round} waits for builds {blockers:?}", f.c, task.id);
            let now_us = self.wall_us(f.c);
            self.commit_behind(f, |store| store.attempt_postpone(task, round, now_us))?;
        }
        self.poke_all(f.c);
        Ok(())
    }
}
