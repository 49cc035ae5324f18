//! Acceptance and refusal of a success, on both stores.

use rpmfarm_coordinator::store::{self as real, StoreError};
use rpmfarm_core::results::ResultFile;
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{Arch, AttemptId, Failure, FailureStage, Fault, TaskId, Timestamp};
use rpmfarm_sim::store as model;

use super::steps::{ARCHES, digest};
use super::{ModelPair, TARGET};

impl ModelPair {
    pub(super) async fn accept_or_refuse(&mut self) {
        let waiting = self.model.attempt_list_to_accept(self.now_us);
        let Some(ended) = self.rng.pick(&waiting).cloned() else { return };
        if self.rng.chance(150) {
            let retry = self.retry();
            self.reached.refused += 1;
            return self.refuse(&ended, Fault::Worker, retry).await;
        }
        let expected = self.accept_in_model(&ended);
        assert_eq!(self.accept_in_real(&ended).await, expected, "acceptance of {ended:?}");
        if expected {
            self.reached.accepted += 1;
        } else {
            self.reached.conflicts += 1;
            self.refuse(&ended, Fault::Package, None).await;
        }
    }

    async fn refuse(&mut self, ended: &model::EndedAttempt, fault: Fault, retry: Option<i64>) {
        let (now, failure) = (self.now_us, Failure::new(fault, FailureStage::Accept, "refused"));
        self.model.attempt_refuse(ended, &failure, retry, now);
        let (retry, now) = (retry.map(Timestamp::from_us), self.now());
        let all = self.real.attempt_list_to_accept(now).await.unwrap();
        let found = all.iter().find(|row| row.attempt.id.0 == ended.attempt.id).unwrap();
        self.real.attempt_refuse(found, &failure, retry, now).await.unwrap();
    }

    /// False when there is a NEVRA with another digest: then nothing has changed.
    fn accept_in_model(&mut self, ended: &model::EndedAttempt) -> bool {
        let (build, now) = (ended.build, self.now_us);
        let (task, attempt) = (TaskId(ended.attempt.task), AttemptId(ended.attempt.id));
        let kind = self.model.task_fetch(task).unwrap().kind;
        let mut draft = self.model.clone();
        assert!(
            draft.build_is_open(build) && draft.acceptance_insert(task, attempt, 7, now),
            "it waits for it"
        );
        if kind == TaskKind::Srpm {
            let srpm = model::Srpm {
                digest: digest("srpm"),
                size: 1,
                nevra: "p-1-1.src".parse().unwrap(),
                requires: Vec::new(),
                predicts: Vec::new(),
                dynamic: false,
            };
            draft.srpm_insert(build, &srpm);
            let tasks = ARCHES.map(|arch| model::NewTask { kind: TaskKind::Build, arch });
            draft.task_insert(build, &tasks[..1 + (task.0 % 2) as usize], now);
        }
        let packages = files(&ended.outcome).map(|file| model::NewPackage {
            nevra: nevra(file),
            digest: file.digest,
            size: file.size,
        });
        let packages: Vec<_> = packages.collect();
        let added = draft.package_insert(TARGET, build, task, Arch::X86_64, &packages).is_ok();
        if added {
            self.model = draft;
        }
        added
    }

    async fn accept_in_real(&self, ended: &model::EndedAttempt) -> bool {
        let (build, now) = (ended.build, self.now());
        let (task, attempt) = (TaskId(ended.attempt.task), AttemptId(ended.attempt.id));
        let kind = self.real.task_fetch(task).await.unwrap().unwrap().kind;
        let mut tx = self.real.write().await.unwrap();
        assert!(tx.build_lock_open(build).await.unwrap());
        assert!(tx.acceptance_insert(task, attempt, 7, now).await.unwrap());
        if kind == TaskKind::Srpm {
            let srpm = real::Srpm {
                digest: digest("srpm"),
                size: 1,
                nevra: "p-1-1.src".parse().unwrap(),
                requires: Vec::new(),
                conflicts: Vec::new(),
                predicts: Vec::new(),
                dynamic: false,
                terms: Default::default(),
            };
            tx.srpm_insert(build, &srpm).await.unwrap();
            let tasks = ARCHES.map(|arch| real::NewTask { kind: TaskKind::Build, arch });
            tx.task_insert(build, &tasks[..1 + (task.0 % 2) as usize], now).await.unwrap();
        }
        let packages = files(&ended.outcome).map(|file| real::NewPackage {
            nevra: nevra(file),
            digest: file.digest,
            size: file.size,
            repodata: digest("repodata"),
        });
        let packages: Vec<_> = packages.collect();
        match tx.package_insert(TARGET, build, task, Arch::X86_64, &packages).await {
            Ok(_) => tx.commit().await.map(|()| true).unwrap(),
            Err(StoreError::SameNevra { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn files(outcome: &Outcome) -> impl Iterator<Item = &ResultFile> {
    match outcome {
        Outcome::Succeeded(success) => success.files.iter(),
        Outcome::Failed(_) => [].iter(),
    }
}

fn nevra(file: &ResultFile) -> rpmfarm_core::Nevra {
    file.name.trim_end_matches(".rpm").parse().unwrap()
}
