//! Builds in the states with which tests begin: requested, imported, with a task that waits for its
//! lock or for a worker.

#![allow(dead_code, reason = "no test needs all of it")]

use rpmfarm_coordinator::store::{Import, NewBuild, NewTask, Srpm, Store};
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::source::{SourceBundle, SourceFile};
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{BuildId, BuildOptions, Sha256, TaskId, Timestamp};

/// A build as anybody may ask for it.
pub fn new_build(target: &str, package: &str) -> NewBuild {
    NewBuild {
        target: target.into(),
        package: package.into(),
        git_ref: String::new(),
        modification_ref: String::new(),
        class: PriorityClass::default(),
        arches: Vec::new(),
        options: BuildOptions::default(),
    }
}

/// A build's sources, without files in the blob store.
pub fn import(at: Timestamp) -> Import {
    Import {
        url: "http://git/hello.git".into(),
        commit: "c0ffee".into(),
        subject: "Update".into(),
        bundle: Sha256::compute(b"bundle"),
        at,
    }
}

/// Sources that are a spec and nothing else.
pub fn bundle(package: &str) -> SourceBundle {
    let name = format!("{package}.spec");
    SourceBundle {
        package: package.into(),
        url: "http://git/hello.git".into(),
        commit: "c0ffee".into(),
        spec: SourceFile { name, digest: Sha256::compute(b"spec"), size: 4, executable: false },
        sources: Vec::new(),
        modification: None,
        plan: None,
    }
}

/// An accepted SRPM that requires nothing, with the digest of its name.
pub fn srpm(nevra: &str) -> Srpm {
    Srpm {
        digest: Sha256::compute(nevra.as_bytes()),
        size: 1,
        nevra: nevra.parse().unwrap(),
        requires: Vec::new(),
        conflicts: Vec::new(),
        predicts: Vec::new(),
        dynamic: false,
        terms: AllTerms::default(),
    }
}

/// Records the SRPM of a build.
pub async fn add_srpm(store: &Store, build: BuildId, srpm: &Srpm) {
    let mut tx = store.write().await.unwrap();
    tx.srpm_insert(build, srpm).await.unwrap();
    tx.commit().await.unwrap();
}

/// Records the sources of a build and its one task, both at the time of the import.
pub async fn planned(store: &Store, build: BuildId, import: &Import, task: NewTask) -> TaskId {
    store.import_insert(build, import).await.unwrap();
    store.task_insert(build, &[task], import.at).await.unwrap();
    store.task_list(build).await.unwrap()[0].id
}

/// The same with the task's lock: it waits for a worker.
pub async fn ready(store: &Store, build: BuildId, import: &Import, task: NewTask) -> TaskId {
    let task = planned(store, build, import, task).await;
    store.lock_insert(task, 0, Sha256::compute(b"lock"), import.at).await.unwrap();
    task
}
