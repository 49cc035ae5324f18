//! Withdrawn packages, and the builds that were made with them.

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::store::{NewLock, NewTask};
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Nevra};

use crate::scene::{Scene, built};

impl Scene {
    /// The packages of a build, as a root names them.
    async fn locked(&self, build: BuildId) -> Vec<LockedPackage> {
        let rows = self.farm.store.package_list_of_build(build, "lab").await.unwrap();
        let binary = rows.into_iter().filter(|row| !row.package.nevra.is_source());
        binary
            .map(|row| LockedPackage {
                nevra: row.package.nevra,
                digest: row.package.digest,
                size: row.package.size,
                source: "x".into(),
                origin: "farm".into(),
                location: String::new(),
                base: String::new(),
                module: String::new(),
            })
            .collect()
    }

    async fn takes_back(&self, build: BuildId) -> (Vec<Nevra>, Vec<i64>) {
        let packages = self.farm.store.package_list_own(build).await.unwrap();
        let decided_by = ("ann", "backdoor");
        let (gone, rows) = self
            .farm
            .claims()
            .withdraw(&self.farm.store, "lab", &packages, decided_by)
            .await
            .unwrap();
        (gone, rows.iter().map(|row| row.build.0).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_gone_at_once_and_its_history_stays() {
    let scene = Scene::new().await;
    let store = &scene.farm.store;
    let made = built("bad", "Release: 1", "one");
    let bad = scene.made("bad", &made).await;
    let before = store.pool_fetch_generation("lab").await.unwrap();
    let (gone, impacts) = scene.takes_back(bad).await;
    assert_eq!(gone.len(), 2);
    assert_eq!(impacts, [0_i64; 0]);
    assert!(scene.packages(bad).await.is_empty());
    assert!(store.package_list("lab").await.unwrap().is_empty());
    assert!(
        store.pool_fetch_generation("lab").await.unwrap() > before,
        "pools are brought up to date"
    );
    let away = store.withdrawal_list_of_builds(&[bad]).await.unwrap();
    assert_eq!(away.len(), 2);
    assert_eq!((away[0].who.as_str(), away[0].reason.as_str()), ("ann", "backdoor"));
    // It had not ended.
    assert!(!store.build_is_open(bad).await.unwrap());
    assert!(store.build_cancelled_at(bad).await.unwrap().is_some());

    // Users who have installed it must never get another package of that name.
    let again = scene.build("bad").await;
    let refused = scene.srpm(again, &built("bad", "Release: 1", "two")).await.unwrap_err();
    assert!(refused.message.contains("withdrawn by ann: backdoor"), "{refused}");

    store
        .withdrawal_restore(&away, "lab", ("ann", "it was another one"), clock::now())
        .await
        .unwrap();
    assert_eq!(scene.packages(bad).await, ["bad-1-1.src", "bad-1-1.x86_64"]);
    assert!(store.withdrawal_list_of_builds(&[bad]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_hold_it_are_solved_again_and_what_was_made_is_marked() {
    let scene = Scene::new().await;
    let store = &scene.farm.store;
    let bad = scene.made("bad", &built("bad", "Release: 1", "bad")).await;
    let own = scene.locked(bad).await;

    // One build was made with it and is accepted; one waits for a worker, one is being built.
    let used = scene.build("used").await;
    let files = built("used", "Release: 1", "used");
    scene.srpm(used, &files).await.unwrap();
    let task =
        store.task_list(used).await.unwrap().into_iter().find(|t| t.kind.is_build()).unwrap();
    store.lock_insert(task.id, 0, scene.lock(own.clone()), clock::now()).await.unwrap();
    scene.binary(used, &files).await.unwrap();
    let mut waiting = Vec::new();
    for name in ["queued", "running"] {
        let build = scene.build(name).await;
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        store.task_insert(build, &[task], clock::now()).await.unwrap();
        let tasks = store.task_list(build).await.unwrap();
        let task = tasks.iter().find(|task| task.kind.is_build()).unwrap().id;
        store.lock_insert(task, 0, scene.lock(own.clone()), clock::now()).await.unwrap();
        waiting.push((build, task));
    }
    let (running, task) = waiting[1];
    store.attempt_grant(task, running, "w", clock::now()).await.unwrap().expect("granted");

    let impact = scene
        .farm
        .claims()
        .impact(store, "lab", &store.package_list_own(bad).await.unwrap())
        .await
        .unwrap();
    assert_eq!(impact.roots.len(), 2);
    let (_, impacts) = scene.takes_back(bad).await;
    assert!(impacts.contains(&used.0), "{impacts:?}");
    for (_, task) in &waiting {
        assert_eq!(store.lock_fetch(*task).await.unwrap(), None, "its root is solved again");
    }
    assert!(store.worker_list_on_build(running).await.unwrap().is_empty());
    assert!(store.build_is_open(running).await.unwrap());
    let shown = store.build_list_details(&[used]).await.unwrap();
    let marks: Vec<String> =
        shown[&used].impacts.iter().map(|(nevra, _)| nevra.to_string()).collect();
    assert_eq!(marks, ["bad-1-1.x86_64"]);

    // A root that was solved before and is recorded after that does not count.
    let own = [own[0].digest];
    let (_, task) = waiting[0];
    let digest = scene.lock(Vec::new());
    let lock = NewLock { task, round: 0, digest, target: "lab", own: &own, urgency: None };
    assert!(!store.lock_insert_if_current(lock, clock::now()).await.unwrap());
    let lock = NewLock { own: &[], ..lock };
    assert!(store.lock_insert_if_current(lock, clock::now()).await.unwrap());
}
