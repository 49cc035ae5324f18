//! The stage that reads what a worker has uploaded, and accepts it whole or not at all.

use rpmfarm_core::results::{self, ResultFile};
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{AttemptId, Failure, FailureStage, Fault, TaskId};

use super::{Crew, Fence, Piece, Step};
use crate::planted::PlantedBug;
use crate::scenario::{Source, TARGET};
use crate::store::{EndedAttempt, NewPackage, NewTask, SameNevra, Srpm, Store, Task};
use crate::trace::note;
use crate::world::{Blob, MS, World};

impl World {
    pub(super) fn accept_pass(&mut self, f: Fence) -> Step {
        self.database()?;
        for ended in self.store.attempt_list_to_accept(self.wall_us(f.c)) {
            let delay = self.rng.range(5 * MS, 800 * MS);
            let key = ended.attempt.id;
            self.crew_start(f, Crew::Accept, key, delay, Piece::Check(Box::new(ended)));
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, f: Fence, ended: &EndedAttempt) -> Step {
        self.database()?;
        let Outcome::Succeeded(success) = &ended.outcome else { return Ok(()) };
        let Some(task) = self.store.task_fetch(TaskId(ended.attempt.task)).cloned() else {
            return Ok(());
        };
        let checked = match self.check_files(&task, success) {
            Ok(checked) => checked,
            Err(failure) => return self.refuse_results(f, ended, &failure),
        };
        // What the repositories will say of each file is a blob.
        self.disk()?;
        let package = self.store.build_fetch(task.build).map(|build| build.package.clone());
        let source = self.scenario.source(&package.unwrap_or_default()).clone();
        let now_us = self.wall_us(f.c);
        let mut refused = None;
        let kept = self.commit_behind(f, |store| {
            // A transaction that fails has not happened.
            let mut draft = store.clone();
            match record(&mut draft, ended, &task, success, &checked, &source, now_us) {
                Ok(true) => {
                    *store = draft;
                    true
                }
                Ok(false) => false,
                Err(failure) => {
                    refused = Some(failure);
                    false
                }
            }
        })?;
        if let Some(failure) = refused {
            return self.refuse_results(f, ended, &failure);
        }
        note!(self, "c{} attempt {} of task {}: accepted {kept}", f.c, ended.attempt.id, task.id);
        Ok(())
    }

    fn refuse_results(&mut self, f: Fence, ended: &EndedAttempt, failure: &Failure) -> Step {
        let mut failure = failure.clone();
        if self.planted(PlantedBug::BrokenIsPackages) {
            failure.fault = Fault::Package;
        }
        let now_us = self.wall_us(f.c);
        let task = TaskId(ended.attempt.task);
        let again = crate::rules::retry_at(&self.store, ended.build, Some(task), &failure, now_us);
        note!(self, "c{} attempt {}: refused, {failure}", f.c, ended.attempt.id);
        self.commit_behind(f, |store| store.attempt_refuse(ended, &failure, again, now_us))
    }

    /// What the headers of the files say; what the worker said is not believed.
    fn check_files(&self, task: &Task, success: &Success) -> Result<Vec<NewPackage>, Failure> {
        let refused = |fault, message: String| Failure::new(fault, FailureStage::Accept, message);
        results::check_set(task.kind, &success.files)
            .map_err(|refusal| refused(refusal.fault(), refusal.to_string()))?;
        let mut checked = Vec::new();
        for file in &success.files {
            let blob = self.blob_of(task, file);
            let Some(blob) = blob else {
                if self.planted(PlantedBug::AcceptUnread) {
                    checked.push(self.unread(file, task));
                    continue;
                }
                return Err(refused(Fault::Worker, format!("{} is not there", file.name)));
            };
            if !blob.whole && !self.planted(PlantedBug::AcceptUnread) {
                return Err(refused(Fault::Worker, format!("{} is torn", file.name)));
            }
            let named = match task.kind {
                TaskKind::Srpm => {
                    let package =
                        self.store.build_fetch(task.build).map(|build| build.package.as_str());
                    results::check_srpm(file, &blob.nevra, package.unwrap_or_default())
                }
                TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
                    let Some(srpm) = self.store.srpm_fetch(task.build) else {
                        return Err(refused(Fault::Farm, "there is no SRPM".into()));
                    };
                    let source = &blob.source_rpm;
                    results::check_rpm(file, &blob.nevra, source, task.arch, &srpm.nevra)
                }
            };
            named.map_err(|refusal| refused(refusal.fault(), refusal.to_string()))?;
            checked.push(NewPackage { nevra: blob.nevra.clone(), digest: blob.digest(), size: 1 });
        }
        Ok(checked)
    }

    fn blob_of(&self, task: &Task, file: &ResultFile) -> Option<&Blob> {
        let blob = self.blobs.get(&file.digest);
        if !self.planted(PlantedBug::FilesOfTask) {
            return blob;
        }
        let of_task = self.uploads.iter().filter(|(attempt, _)| {
            self.store.attempts.get(attempt).is_some_and(|row| row.task == task.id.0)
        });
        let named = |blob: &&Blob| blob.nevra.file_name() == file.name && blob.whole;
        of_task.flat_map(|(_, all)| all).filter_map(|digest| self.blobs.get(digest)).find(named)
    }

    /// What would be recorded if nothing were read.
    fn unread(&self, file: &ResultFile, task: &Task) -> NewPackage {
        let text = file.name.trim_end_matches(".rpm");
        let other = format!("{}-0-0.{}", text.replace(['/', '.'], "-"), task.arch);
        let nevra = text.parse().or_else(|_| other.parse());
        NewPackage {
            nevra: nevra.unwrap_or_else(|_| {
                rpmfarm_core::Nevra::new(
                    "unread",
                    rpmfarm_core::Evr::new(0, "0", "0"),
                    task.arch.as_str(),
                )
            }),
            digest: file.digest,
            size: file.size,
        }
    }
}

/// The transaction of an acceptance. False when there is nothing to accept any more.
fn record(
    store: &mut Store,
    ended: &EndedAttempt,
    task: &Task,
    success: &Success,
    checked: &[NewPackage],
    source: &Source,
    now_us: i64,
) -> Result<bool, Failure> {
    let attempt = AttemptId(ended.attempt.id);
    if !store.build_is_open(ended.build)
        || !store.acceptance_insert(task.id, attempt, success.rpmbuild_ms, now_us)
    {
        return Ok(false);
    }
    let refused = |same: SameNevra| {
        let message = format!("{} exists already, from build {}", same.nevra, same.build);
        Failure::new(Fault::Package, FailureStage::Accept, message)
    };
    if task.kind == TaskKind::Srpm {
        let Some(file) = checked.first() else { return Ok(false) };
        store.package_check_unused(TARGET, file).map_err(refused)?;
        let srpm = Srpm {
            digest: file.digest,
            size: file.size,
            nevra: file.nevra.clone(),
            requires: source.requires.clone(),
            predicts: success.predicts.clone(),
            dynamic: !source.dynamic.is_empty(),
        };
        store.srpm_insert(ended.build, &srpm);
        let new = |arch| NewTask { kind: TaskKind::Build, arch };
        let tasks: Vec<NewTask> = source.arches.iter().copied().map(new).collect();
        store.task_insert(ended.build, &tasks, now_us);
        return Ok(true);
    }
    store.package_insert(TARGET, ended.build, task.id, task.arch, checked).map_err(refused)?;
    // The source package is the build's together with what is built of it.
    let made_by = store.task_list(ended.build).into_iter().find(|task| task.kind == TaskKind::Srpm);
    if let (Some(made_by), Some(srpm)) = (made_by, store.srpm_fetch(ended.build)) {
        let (nevra, digest, size) = (srpm.nevra.clone(), srpm.digest, srpm.size);
        let srpm = [NewPackage { nevra, digest, size }];
        store
            .package_insert(TARGET, ended.build, made_by.id, made_by.arch, &srpm)
            .map_err(refused)?;
    }
    Ok(true)
}
