//! The states of builds: the counts of one query for metrics agree with the state that is derived
//! of each build.

use std::collections::BTreeMap;

use rpmfarm_coordinator::rpc::view;
use rpmfarm_coordinator::store::{ChannelChange, NewPackage, NewTask, Revision, Signature, Store};
use rpmfarm_core::status::{BuildState, CountedState};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Failure, FailureStage, Fault, TaskId};

use crate::common::builds::{import, srpm};
use crate::common::on_both;
use crate::owners::claim;
use crate::{NOW, US, digest, start, succeeded};

const KEY: &str = "key";

/// Grants a new task to a worker, which succeeds.
async fn built(store: &Store, build: BuildId, task: TaskId, ends: bool) -> AttemptId {
    let granted = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
    let attempt = granted.id;
    if ends {
        let epoch = granted.epoch;
        assert!(store.attempt_end_succeeded(attempt, epoch, &succeeded(), NOW).await.unwrap());
    }
    attempt
}

async fn locked(store: &Store, build: BuildId, kind: TaskKind) -> TaskId {
    let tasks = store.task_list(build).await.unwrap();
    let task = tasks.iter().find(|task| task.kind == kind).unwrap().id;
    store.lock_insert(task, 0, digest("lock"), NOW).await.unwrap();
    task
}

/// Records an SRPM and the build task that comes with it.
async fn with_srpm(store: &Store, build: BuildId, name: &str) {
    let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
    store.task_insert(build, &[task], NOW).await.unwrap();
    let task = locked(store, build, TaskKind::Srpm).await;
    let attempt = built(store, build, task, true).await;
    let mut tx = store.write().await.unwrap();
    assert!(tx.acceptance_insert(task, attempt, 1, NOW).await.unwrap());
    tx.srpm_insert(build, &srpm(&format!("{name}-1-1.src"))).await.unwrap();
    let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
    tx.task_insert(build, &[task], NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// Accepts the packages of a build, which claims something or not.
async fn accept(
    store: &Store,
    build: BuildId,
    (task, attempt): (TaskId, AttemptId),
    name: &str,
    claims: bool,
) {
    let package = NewPackage {
        nevra: format!("{name}-1-1.x86_64").parse().unwrap(),
        digest: digest(&format!("{name}.rpm")),
        size: 5,
        repodata: digest("xml"),
    };
    let mut tx = store.write().await.unwrap();
    assert!(tx.acceptance_insert(task, attempt, 1, NOW).await.unwrap());
    tx.package_insert("lab", build, task, Arch::X86_64, &[package]).await.unwrap();
    if claims {
        tx.claim_replace(build, &[claim("gcc")], NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn sign(store: &Store, name: &str) {
    let signature = Signature { signed_digest: digest("s"), signed_size: 9, repodata: digest("r") };
    let package = digest(&format!("{name}.rpm"));
    store.signature_insert(KEY, &[(package, signature)], &[], NOW).await.unwrap();
}

async fn publish(store: &Store, build: BuildId) {
    let revision = Revision {
        target: "lab".into(),
        channel: "testing".into(),
        revision: 1,
        snapshot: digest("snapshot"),
        packages: 1,
        at: NOW,
    };
    assert!(
        store.revision_insert(&revision, &ChannelChange::nothing_since(1), &[build]).await.unwrap()
    );
}

/// A build in a state, which it has come to as builds do.
async fn build_at(store: &Store, state: BuildState) -> BuildId {
    let name = state.as_str();
    let build = start(store, &[name], "").await[0];
    match state {
        BuildState::Importing => return build,
        BuildState::Cancelled => {
            assert!(store.build_cancel(build, NOW).await.unwrap());
            return build;
        }
        BuildState::Failed => {
            let failure = Failure::new(Fault::Package, FailureStage::Import, "no spec");
            assert!(store.failure_insert(build, None, &failure, None, NOW).await.unwrap());
            return build;
        }
        _ => store.import_insert(build, &import(NOW)).await.unwrap(),
    };
    if state == BuildState::Srpm {
        return build;
    }
    with_srpm(store, build, name).await;
    if state == BuildState::Waiting {
        return build;
    }
    let task = locked(store, build, TaskKind::Build).await;
    if state == BuildState::Queued {
        return build;
    }
    let attempt = built(store, build, task, state != BuildState::Building).await;
    if matches!(state, BuildState::Building | BuildState::Accepting) {
        return build;
    }
    accept(store, build, (task, attempt), name, state == BuildState::Claimed).await;
    if matches!(state, BuildState::Publishing | BuildState::Published) {
        sign(store, name).await;
    }
    if state == BuildState::Published {
        publish(store, build).await;
    }
    build
}

/// The state of each build, which the counts must agree with.
async fn states(store: &Store, builds: &[BuildId]) -> Vec<BuildState> {
    let mut shown = store.build_list_details(builds).await.unwrap();
    let mut states = Vec::new();
    let mut expected = BTreeMap::<CountedState, i64>::new();
    for build in builds {
        let facts = shown.remove(build).unwrap();
        let packages = store.package_list_of_build(*build, KEY).await.unwrap();
        let signed = packages.iter().all(|package| package.signature.is_some());
        let state = view::state(&facts, &facts.tasks, signed);
        *expected.entry(state.counted()).or_default() += 1;
        states.push(state);
    }
    let rows = store.build_list_ended(builds).await.unwrap();
    for (build, state) in builds.iter().zip(&states) {
        let row = rows.get(build).map(|row| row.end.state());
        assert_eq!(row, state.is_end().then_some(*state), "{build}");
    }
    let counted = store.build_count_by_state().await.unwrap().into_iter();
    let counted: BTreeMap<CountedState, i64> = counted.filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, expected, "{states:?}");
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_in_every_state_are_counted_as_they_are_derived() {
    on_both(|store| async move {
        let mut builds = Vec::new();
        for state in BuildState::ALL {
            builds.push(build_at(&store, state).await);
            assert_eq!(states(&store, &builds).await, BuildState::ALL[..builds.len()]);
        }
        // Each state that is counted was reached.
        let all = store.build_count_by_state().await.unwrap();
        assert_eq!(all.len(), CountedState::ALL.len());
        assert!(all.iter().all(|(_, count)| *count > 0), "{all:?}");

        let (failed, cancelled) = (builds[10], builds[11]);
        for (build, at) in [(failed, NOW + 10 * US), (cancelled, NOW + 11 * US)] {
            assert!(store.build_retry(build, at).await.unwrap());
        }
        let expected = [&BuildState::ALL[..10], &[BuildState::Importing; 2]].concat();
        assert_eq!(states(&store, &builds).await, expected);
        assert!(store.build_cancel(failed, NOW + 20 * US).await.unwrap());
        assert_eq!(states(&store, &builds).await[10], BuildState::Cancelled);
    })
    .await;
}
