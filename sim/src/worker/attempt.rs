//! The life of one attempt on a worker: slot, root, build, upload, end.

use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::task::{Assignment, Outcome, Phase, Progress, Success, TaskKind};
use rpmfarm_core::{Evr, Failure, FailureStage, Fault, Nevra};

use super::Key;
use crate::network::Up;
use crate::profile;
use crate::scenario::{Defect, Temper};
use crate::trace::note;
use crate::world::{Blob, Event, MS, S, World};

/// Where an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    WaitsForSlot,
    Fetch,
    Build,
    WaitsForLock,
    /// The files, the next of which goes, and the report on them.
    Upload(Vec<Blob>, usize, Box<Success>),
    Over,
}

/// How long an upload waits for its answer.
const PATIENCE: u64 = 3 * S;

impl World {
    pub(crate) fn live(&mut self, w: usize, life: u64, key: Key, step: u64) {
        if self.is_idle(w, Some(life), || Event::Life(w, life, key, step)) {
            return;
        }
        let Some(entry) = self.workers[w].attempts.get(&key) else { return };
        if entry.step != step || entry.done {
            return;
        }
        if entry.cancelled {
            return self.over(w, key, None);
        }
        match entry.stage.clone() {
            Stage::WaitsForSlot => {
                let at_work = self.workers[w].attempts.values().filter(|entry| {
                    !entry.done && !matches!(entry.stage, Stage::WaitsForSlot | Stage::Over)
                });
                let free = at_work.count() < self.workers[w].host.slots as usize;
                if free {
                    self.stage(w, key, Stage::Fetch, Phase::Fetch);
                }
                let delay = if free { self.rng.range(20 * MS, 400 * MS) } else { 200 * MS };
                self.next_step(w, key, delay);
            }
            Stage::Fetch => self.fetched(w, key),
            Stage::Build => self.built(w, key),
            Stage::WaitsForLock | Stage::Over => {}
            Stage::Upload(files, index, success) => self.upload(w, key, &files, index, &success),
        }
    }

    fn stage(&mut self, w: usize, key: Key, stage: Stage, phase: Phase) {
        if let Some(entry) = self.workers[w].attempts.get_mut(&key) {
            entry.stage = stage;
            entry.progress = Progress::Running(phase);
        }
        self.say(w);
    }

    /// Inputs come from the coordinator, sooner or later.
    fn fetched(&mut self, w: usize, key: Key) {
        let uses = self.workers[w].uses;
        let link = &self.links[w][uses];
        let open = link.mute_until.max(link.deaf_until) <= self.now;
        let reachable = open && self.coordinators[uses].up;
        if !reachable {
            return self.next_step(w, key, S);
        }
        self.stage(w, key, Stage::Build, Phase::Build);
        let worker = &self.workers[w];
        let package = worker.attempts.get(&key).map(|entry| entry.assignment.package.clone());
        let usual = self.scenario.source(&package.unwrap_or_default()).build_ms;
        let slow = if worker.host.temper == Temper::Slow { 8 } else { 1 };
        let delay = self.rng.range(usual / 2, usual + 1) * slow * MS;
        self.next_step(w, key, delay);
    }

    fn built(&mut self, w: usize, key: Key) {
        let Some(entry) = self.workers[w].attempts.get(&key) else { return };
        let assignment = entry.assignment.clone();
        let source = self.scenario.source(&assignment.package).clone();
        let worker = &self.workers[w];
        let crashing = worker.host.temper == Temper::Crashing && !worker.tamed;
        let kills = source.defect == Defect::KillsWorkers && assignment.kind() == TaskKind::Build;
        if kills || (crashing && self.rng.chance(600)) {
            return self.kill_worker(w);
        }
        let failed = |fault, stage: FailureStage, message: &str| {
            Some(Outcome::Failed(Failure::new(fault, stage, message)))
        };
        if worker.disk_full_until > self.now {
            return self.over(
                w,
                key,
                failed(Fault::Worker, FailureStage::Build, "the worker's disk is full"),
            );
        }
        match (assignment.kind(), source.defect) {
            (TaskKind::Srpm, Defect::BadSpec) => {
                return self.over(
                    w,
                    key,
                    failed(Fault::Package, FailureStage::Srpm, "the spec is no spec"),
                );
            }
            (TaskKind::Build, Defect::BadBuild) => {
                return self.over(
                    w,
                    key,
                    failed(Fault::Package, FailureStage::Build, "it does not compile"),
                );
            }
            _ => {}
        }
        if assignment.kind() == TaskKind::Build {
            let root = self.locks.get(&assignment.lock);
            let lacks = |name: &&String| root.is_none_or(|root| !root.contains(*name));
            if let Some(name) = source.dynamic.iter().find(lacks) {
                self.needs(w, key, assignment.round, name.clone());
                // It may die while the lock is made.
                let mortal =
                    self.profile.faults.iter().any(|(f, _)| *f == profile::Fault::WorkerDies);
                let dies = if self.faulty && (mortal || crashing) { 300 } else { 0 };
                if self.rng.chance(dies) {
                    self.kill_worker(w);
                }
                return;
            }
        }
        let (files, success) = self.results(w, key, &assignment);
        self.stage(w, key, Stage::Upload(files, 0, Box::new(success)), Phase::Upload);
        self.next_step(w, key, MS);
    }

    fn needs(&mut self, w: usize, key: Key, round: u32, name: String) {
        note!(self, "w{w} attempt {} needs {name} beyond round {round}", key.0);
        if let Some(entry) = self.workers[w].attempts.get_mut(&key) {
            entry.progress = Progress::NeedsRequires { round, requires: vec![name] };
            entry.stage = Stage::WaitsForLock;
        }
        self.say(w);
    }

    /// What rpmbuild leaves.
    fn results(&mut self, w: usize, key: Key, assignment: &Assignment) -> (Vec<Blob>, Success) {
        let source = self.scenario.source(&assignment.package);
        let made_by = (!source.reproducible).then_some(key);
        let (name, predicts) = (source.name.clone(), vec![source.name.clone()]);
        let version = match &assignment.input {
            rpmfarm_core::task::TaskInput::Sources { spec, .. } => {
                spec.name.trim_end_matches(".spec").to_owned()
            }
            rpmfarm_core::task::TaskInput::Srpm { file, .. } => {
                let parts = file.name.trim_start_matches(&format!("{name}-")).split('-');
                parts.map(str::to_owned).next().unwrap_or_default()
            }
        };
        let evr = Evr::new(0, version, "1");
        let srpm = Nevra::new(&name, evr.clone(), "src");
        let mut files = Vec::new();
        match assignment.kind() {
            TaskKind::Srpm => {
                files.push(Blob { nevra: srpm, source_rpm: String::new(), whole: true, made_by })
            }
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
                for part in ["", "-doc"] {
                    let nevra =
                        Nevra::new(format!("{name}{part}"), evr.clone(), assignment.arch.as_str());
                    files.push(Blob { nevra, source_rpm: srpm.file_name(), whole: true, made_by });
                }
            }
        }
        let kind = match assignment.kind() {
            TaskKind::Srpm => ResultKind::Srpm,
            TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => ResultKind::Rpm,
        };
        self.break_results(w, &mut files);
        let announced = |blob: &Blob| ResultFile {
            name: blob.nevra.file_name(),
            kind,
            digest: blob.digest(),
            size: 1,
        };
        let mut success = Success {
            files: files.iter().map(announced).collect(),
            predicts,
            rpmbuild_ms: 1,
            ..Success::default()
        };
        self.break_success(w, &mut files, &mut success);
        (files, success)
    }

    fn upload(&mut self, w: usize, key: Key, files: &[Blob], index: usize, success: &Success) {
        let Some(file) = files.get(index) else {
            let outcome = Outcome::Succeeded(success.clone());
            return self.over(w, key, Some(outcome));
        };
        let mut sent = file.clone();
        if self.faulty && self.rng.chance(20) {
            // A byte flips on the way.
            sent.whole = !sent.whole;
        }
        let connection = self.workers[w].connection;
        let (attempt, epoch) = key;
        let announced = Box::new(file.clone());
        self.send_up(
            w,
            connection,
            Up::Upload { attempt, epoch, index, announced, sent: Box::new(sent) },
        );
        self.next_step(w, key, PATIENCE);
    }

    /// The answer to an upload.
    pub(super) fn uploaded(&mut self, w: usize, key: Key, index: usize, taken: Option<bool>) {
        let Some(entry) = self.workers[w].attempts.get_mut(&key) else { return };
        let Stage::Upload(_, at, _) = &mut entry.stage else { return };
        if *at != index || entry.done {
            return;
        }
        match taken {
            Some(true) => *at += 1,
            // It is sent again when its patience is over.
            Some(false) => return,
            None => {
                let failure =
                    Failure::new(Fault::Farm, FailureStage::Upload, "the attempt is not held");
                return self.over(w, key, Some(Outcome::Failed(failure)));
            }
        }
        self.next_step(w, key, MS);
    }

    /// The attempt's task has ended; how is told until nobody wants to hear of it.
    fn over(&mut self, w: usize, key: Key, outcome: Option<Outcome>) {
        let Some(entry) = self.workers[w].attempts.get_mut(&key) else { return };
        entry.done = true;
        entry.stage = Stage::Over;
        if let Some(outcome) = outcome {
            entry.progress = Progress::Ended(outcome);
        }
        note!(self, "w{w} attempt {} is over", key.0);
        if self.workers[w].attempts.get(&key).is_some_and(|entry| entry.forgotten) {
            self.workers[w].attempts.remove(&key);
        }
        self.say(w);
    }
}
