//! One attempt on a worker: slot, root, build, upload, end.

use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::task::{Assignment, Outcome, Phase, Progress, Success, TaskInput, TaskKind};
use rpmfarm_core::{Evr, Failure, FailureStage, Fault, Lock, Nevra, Sha256};

use super::Key;
use crate::network::Up;
use crate::outside::Rpm;
use crate::profile;
use crate::scenario::{Defect, Temper};
use crate::trace::note;
use crate::world::{Event, MS, MadeFile, S, World};

/// The stage of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    WaitsForSlot,
    Fetch,
    Build,
    WaitsForLock,
    /// The files, the index of the next one, and the report on them.
    Upload(Vec<BuiltFile>, usize, Box<Success>),
    Over,
}

/// A result file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuiltFile {
    pub(crate) digest: Sha256,
    pub(crate) bytes: Vec<u8>,
}

/// The largest lock or spec that a worker reads, in bytes.
const MAX_INPUT: u64 = 1 << 20;

/// How long an upload waits for its answer.
const PATIENCE: u64 = 3 * S;

impl World {
    pub(crate) fn run_attempt_step(&mut self, w: usize, life: u64, key: Key, step: u64) {
        if self.is_idle(w, Some(life), || Event::AttemptStep(w, life, key, step)) {
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
                let free = self.has_slot(w, entry.assignment.kind());
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

    /// Whether a slot of a worker is free for a task: builds have some, and SRPMs have additional
    /// ones and those that builds leave free.
    fn has_slot(&self, w: usize, kind: TaskKind) -> bool {
        let worker = &self.workers[w];
        let at_work = worker.attempts.values().filter(|entry| {
            !entry.done && !matches!(entry.stage, Stage::WaitsForSlot | Stage::Over)
        });
        let kinds: Vec<TaskKind> = at_work.map(|entry| entry.assignment.kind()).collect();
        let builds = kinds.iter().filter(|kind| **kind != TaskKind::Srpm).count();
        let (slots, srpm_slots) = (worker.host.slots as usize, worker.host.srpm_slots as usize);
        kinds.len() < slots + srpm_slots && (kind == TaskKind::Srpm || builds < slots)
    }

    fn stage(&mut self, w: usize, key: Key, stage: Stage, phase: Phase) {
        if let Some(entry) = self.workers[w].attempts.get_mut(&key) {
            entry.stage = stage;
            entry.progress = Progress::Running(phase);
        }
        self.report_state(w);
    }

    /// An input has arrived from the coordinator.
    fn fetched(&mut self, w: usize, key: Key) {
        let uses = self.workers[w].uses;
        let link = &self.links[w][uses];
        let open = link.mute_until.max(link.deaf_until) <= self.now;
        let reachable = open && self.coordinators[uses].is_up();
        if !reachable {
            return self.next_step(w, key, S);
        }
        self.stage(w, key, Stage::Build, Phase::Build);
        let worker = &self.workers[w];
        let package = worker.attempts.get(&key).map(|entry| entry.assignment.package.clone());
        let usual = {
            let truth = self.outside.lock();
            truth.scenario.source(&package.unwrap_or_default()).build_ms
        };
        let slow = if worker.host.temper == Temper::Slow { 8 } else { 1 };
        let delay = self.rng.range(usual / 2, usual + 1) * slow * MS;
        self.next_step(w, key, delay);
    }

    fn built(&mut self, w: usize, key: Key) {
        let Some(entry) = self.workers[w].attempts.get(&key) else { return };
        let assignment = entry.assignment.clone();
        let source = self.outside.lock().scenario.source(&assignment.package).clone();
        let worker = &self.workers[w];
        let crashing = worker.host.temper == Temper::Crashing && !worker.tamed;
        let kills = source.defect == Defect::KillsWorkers && assignment.kind() == TaskKind::Build;
        if kills || (crashing && self.rng.chance(600)) {
            return self.kill_worker(w);
        }
        if let Some(failure) = self.failure(w, assignment.kind(), source.defect) {
            return self.over(w, key, Some(Outcome::Failed(failure)));
        }
        if assignment.kind() == TaskKind::Build {
            let root = self.root(&assignment);
            if let Some(name) = source.dynamic.iter().find(|name| !root.contains(*name)) {
                self.needs(w, key, assignment.round, name.clone());
                // The worker may die while the lock is solved.
                let mortal =
                    self.profile.faults.iter().any(|(f, _)| *f == profile::Fault::WorkerDies);
                let dies = if self.faulty && (mortal || crashing) { 300 } else { 0 };
                if self.rng.chance(dies) {
                    self.kill_worker(w);
                }
                return;
            }
        }
        let Some(version) = self.version(&assignment) else {
            let failure = Failure::new(Fault::Farm, FailureStage::Fetch, "an input is not there");
            return self.over(w, key, Some(Outcome::Failed(failure)));
        };
        let (files, success) = self.results(w, key, &assignment, &version);
        self.stage(w, key, Stage::Upload(files, 0, Box::new(success)), Phase::Upload);
        self.next_step(w, key, MS);
    }

    /// The failure of rpmbuild, if any: the worker's disk, or the package's defect.
    fn failure(&self, w: usize, kind: TaskKind, defect: Defect) -> Option<Failure> {
        let (fault, stage, message) = match (kind, defect) {
            _ if self.workers[w].disk_full_until > self.now => {
                (Fault::Worker, FailureStage::Build, "the worker's disk is full")
            }
            (TaskKind::Srpm, Defect::BadSpec) => {
                (Fault::Package, FailureStage::Srpm, "the spec is no spec")
            }
            (TaskKind::Build, Defect::BadBuild) => {
                (Fault::Package, FailureStage::Build, "it does not compile")
            }
            _ => return None,
        };
        Some(Failure::new(fault, stage, message))
    }

    /// The names of the packages in a root.
    fn root(&self, assignment: &Assignment) -> Vec<String> {
        let lock = self.storage.blobs.read_small(assignment.lock, MAX_INPUT).ok();
        let lock = lock.and_then(|bytes| Lock::from_bytes(&bytes).ok());
        let names = |lock: Lock| lock.packages().map(|one| one.nevra.name.clone()).collect();
        lock.map(names).unwrap_or_default()
    }

    /// The version of the inputs.
    fn version(&self, assignment: &Assignment) -> Option<String> {
        match &assignment.input {
            TaskInput::Sources { spec, .. } => {
                let bytes = self.storage.blobs.read_small(spec.digest, MAX_INPUT).ok()?;
                let text = String::from_utf8(bytes).ok()?;
                text.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
            }
            TaskInput::Srpm { file, .. } => {
                let nevra: Nevra = file.name.strip_suffix(".rpm")?.parse().ok()?;
                Some(nevra.evr.version)
            }
        }
    }

    fn needs(&mut self, w: usize, key: Key, round: u32, name: String) {
        note!(self, "w{w} attempt {} needs {name} beyond round {round}", key.0);
        if let Some(entry) = self.workers[w].attempts.get_mut(&key) {
            entry.progress = Progress::NeedsRequires { round, requires: vec![name] };
            entry.stage = Stage::WaitsForLock;
        }
        self.report_state(w);
    }

    /// The files that rpmbuild writes.
    fn results(
        &mut self,
        w: usize,
        key: Key,
        assignment: &Assignment,
        version: &str,
    ) -> (Vec<BuiltFile>, Success) {
        let (source, arches) = {
            let truth = self.outside.lock();
            let source = truth.scenario.source(&assignment.package).clone();
            (source, truth.scenario.arches.clone())
        };
        let evr = Evr::new(0, version, "1");
        let srpm = Nevra::new(&source.name, evr.clone(), "src");
        let host = if source.reproducible { "sim".into() } else { format!("sim-{}", key.0) };
        let mut rpm = Rpm { nevra: srpm.clone(), host, ..Rpm::default() };
        let kind = if assignment.kind() == TaskKind::Srpm {
            rpm.requires.clone_from(&source.requires);
            if !source.dynamic.is_empty() {
                rpm.requires.push("rpmlib(DynamicBuildRequires)".into());
            }
            if source.arches.len() < arches.len() {
                rpm.exclusive = source.arches.iter().map(|arch| arch.as_str().into()).collect();
            }
            ResultKind::Srpm
        } else {
            rpm.nevra = Nevra::new(&source.name, evr, assignment.arch.as_str());
            rpm.source_rpm = srpm.file_name();
            ResultKind::Rpm
        };
        self.break_result(w, &mut rpm);
        let bytes = rpm.bytes();
        let (digest, size) = (Sha256::compute(&bytes), bytes.len() as u64);
        let by = (!source.reproducible).then_some(key);
        self.made.insert(digest, MadeFile { by, whole: rpm.whole });
        let mut files = vec![BuiltFile { digest, bytes }];
        let mut success = Success {
            files: vec![ResultFile { name: rpm.nevra.file_name(), kind, digest, size }],
            predicts: vec![source.name],
            rpmbuild_ms: 1,
            ..Success::default()
        };
        let made = success.files.clone();
        self.break_success(w, assignment.task, &mut files, &mut success);
        if !files.is_empty() {
            self.uploads.entry(assignment.task).or_default().push(made);
        }
        (files, success)
    }

    fn upload(&mut self, w: usize, key: Key, files: &[BuiltFile], index: usize, success: &Success) {
        let Some(file) = files.get(index) else {
            let outcome = Outcome::Succeeded(success.clone());
            return self.over(w, key, Some(outcome));
        };
        let mut sent = file.bytes.clone();
        let digest = (file.digest, sent.len() as u64);
        if self.faulty && self.rng.chance(20) {
            // A byte is damaged on the way, at a place that no digest within the file covers.
            sent[20] ^= 1;
        }
        let connection = self.workers[w].connection;
        let (attempt, epoch) = key;
        self.send_up(w, connection, Up::Upload { attempt, epoch, index, digest, sent });
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
            // It is sent again after its timeout.
            Some(false) => return,
            None => {
                let failure =
                    Failure::new(Fault::Farm, FailureStage::Upload, "the attempt is not held");
                return self.over(w, key, Some(Outcome::Failed(failure)));
            }
        }
        self.next_step(w, key, MS);
    }

    /// The attempt's task has ended; the outcome is reported until the coordinator no longer wants
    /// it.
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
        self.report_state(w);
    }
}
