//! The farm's packages in the solver's pools, and the changes that are sent to them.

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{
    ChannelChange, NewBuild, NewLock, NewPackage, NewTask, PoolUpdate, Revision, Store, Withdrawal,
    WithdrawnPackage,
};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Nevra, TaskId};

use crate::common::builds::{add_srpm, import, ready, srpm};
use crate::common::on_both;
use crate::keys::{older, on_empty, run};
use crate::{NOW, digest, new_build, start};

/// The last migration before the pools had a table.
const BEFORE_POOLS: i64 = 38;

fn nevra(version: &str) -> Nevra {
    format!("hello-{version}-1.x86_64").parse().unwrap()
}

/// A build of `hello` all of whose tasks are accepted. It is open.
async fn build(store: &Store, version: &str, arches: &[Arch]) -> BuildId {
    let request = NewBuild { arches: arches.to_vec(), ..new_build("lab", "hello") };
    let build = store.build_insert(&[request], "tester", "", NOW).await.unwrap().ids[0];
    add_srpm(store, build, &srpm(&format!("hello-{version}-1.src"))).await;
    let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
    let task = ready(store, build, &import(NOW), task).await;
    let source = format!("hello-{version}-1.src").parse().unwrap();
    let packages = [nevra(version), source].map(|nevra: Nevra| NewPackage {
        digest: digest(&nevra.to_string()),
        nevra,
        size: 5,
        repodata: digest("xml"),
    });
    let mut tx = store.write().await.unwrap();
    let added = tx.package_insert("lab", build, task, Arch::X86_64, &packages).await.unwrap();
    assert_eq!(added, 2);
    tx.pool_enter("lab", build, added).await.unwrap();
    tx.commit().await.unwrap();
    build
}

/// The same, and it has ended without being published.
async fn ended(store: &Store, version: &str) -> BuildId {
    let build = build(store, version, &[]).await;
    assert!(store.build_cancel(build, NOW).await.unwrap());
    build
}

async fn publish(store: &Store, number: i64, build: BuildId) {
    let revision = Revision {
        target: "lab".into(),
        channel: "testing".into(),
        revision: number,
        snapshot: digest("snapshot"),
        packages: 1,
        at: NOW,
    };
    assert!(
        store
            .revision_insert(&revision, &ChannelChange::nothing_since(number), &[build])
            .await
            .unwrap()
    );
}

/// A solver's knowledge of the pool: its packages, and the version that they are of.
#[derive(Debug, Default)]
struct Known {
    version: Option<i64>,
    packages: Vec<Nevra>,
}

impl Known {
    /// Reads the changes, applies them to the known packages, and returns them. The known packages
    /// are then those of the pool.
    async fn update(&mut self, store: &Store) -> PoolUpdate {
        let update = store.pool_fetch_update("lab", self.version).await.unwrap();
        assert_eq!(update.is_whole, self.version.is_none(), "{update:?}");
        self.packages.retain(|nevra| !update.gone.contains(nevra));
        for package in &update.present {
            assert_eq!(package.digest, digest(&package.nevra.to_string()));
            if !self.packages.contains(&package.nevra) {
                self.packages.push(package.nevra.clone());
            }
        }
        self.packages.sort_by_key(ToString::to_string);
        self.version = Some(update.version);
        let all = store.pool_fetch_update("lab", None).await.unwrap();
        let mut all: Vec<Nevra> = all.present.into_iter().map(|package| package.nevra).collect();
        // The databases have orders of their own.
        all.sort_by_key(ToString::to_string);
        assert_eq!(self.packages, all);
        update
    }

    /// The versions of `hello` in the pool.
    async fn versions(&mut self, store: &Store) -> Vec<String> {
        self.update(store).await;
        self.packages.iter().map(|nevra| nevra.evr.version.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pools_have_the_newest_version_and_the_last_build() {
    on_both(|store| async move {
        let mut known = Known::default();
        assert!(known.versions(&store).await.is_empty(), "nothing was ever accepted");
        ended(&store, "1").await;
        assert_eq!(known.versions(&store).await, ["1"]);
        ended(&store, "3").await;
        let update = known.update(&store).await;
        assert_eq!((update.present.len(), update.gone), (1, vec![nevra("1")]));
        ended(&store, "2").await;
        assert_eq!(known.versions(&store).await, ["2", "3"], "a lower version hides none");
        ended(&store, "4").await;
        assert_eq!(known.versions(&store).await, ["4"]);
        // Without changes the update is empty.
        let update = known.update(&store).await;
        assert!(update.present.is_empty() && update.gone.is_empty());
        assert_eq!(store.package_list("lab").await.unwrap().len(), 8, "the history is all there");
        assert!(store.pool_fetch_update("other", None).await.unwrap().present.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_for_one_architecture_hides_none_of_another() {
    on_both(|store| async move {
        let mut known = Known::default();
        ended(&store, "1").await;
        let one = build(&store, "2", &[Arch::X86_64]).await;
        assert!(store.build_cancel(one, NOW).await.unwrap());
        assert_eq!(known.versions(&store).await, ["1", "2"]);
        ended(&store, "3").await;
        assert_eq!(known.versions(&store).await, ["3"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_shows_or_may_show_stays() {
    on_both(|store| async move {
        let mut known = Known::default();
        let first = build(&store, "1", &[]).await;
        let second = build(&store, "2", &[]).await;
        assert_eq!(known.versions(&store).await, ["1", "2"], "both may be published");
        publish(&store, 1, first).await;
        assert_eq!(known.versions(&store).await, ["1", "2"], "it is shown");
        ended(&store, "3").await;
        publish(&store, 2, second).await;
        let update = known.update(&store).await;
        assert_eq!(update.gone, [nevra("1")], "the channel shows the second one");
        assert_eq!(known.versions(&store).await, ["2", "3"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_batch_has_locked_stays_until_it_ends() {
    on_both(|store| async move {
        let mut known = Known::default();
        ended(&store, "1").await;
        let user = start(&store, &["user", "mate"], "").await;
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        store.import_insert(user[0], &import(NOW)).await.unwrap();
        store.task_insert(user[0], &[task], NOW).await.unwrap();
        let task: TaskId = store.task_list(user[0]).await.unwrap()[0].id;
        let own = [digest(&nevra("1").to_string())];
        let (target, own) = ("lab", &own[..]);
        let lock = NewLock { task, round: 0, digest: digest("lock"), target, own, urgency: None };
        assert!(store.lock_insert_if_current(lock, NOW).await.unwrap());
        ended(&store, "2").await;
        assert_eq!(known.versions(&store).await, ["1", "2"]);
        assert!(store.build_cancel(user[0], NOW).await.unwrap());
        let third = build(&store, "3", &[]).await;
        assert_eq!(known.versions(&store).await, ["1", "3"], "its batch is open");
        publish(&store, 1, third).await;
        assert_eq!(known.versions(&store).await, ["1", "3"], "still");
        assert!(store.build_cancel(user[1], NOW).await.unwrap());
        let fourth = build(&store, "4", &[]).await;
        publish(&store, 2, fourth).await;
        assert_eq!(known.versions(&store).await, ["4"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_gives_its_place_back() {
    on_both(|store| async move {
        let mut known = Known::default();
        ended(&store, "1").await;
        ended(&store, "2").await;
        assert_eq!(known.versions(&store).await, ["2"]);
        let what = Withdrawal {
            target: "lab",
            packages: &[nevra("2")],
            roots: &[],
            impacts: &[],
            who: "ann",
            reason: "broken",
        };
        store.withdrawal_insert(&what, NOW).await.unwrap();
        assert_eq!(known.versions(&store).await, ["1"]);
        let away: Vec<WithdrawnPackage> = store.withdrawal_list("lab", &nevra("2")).await.unwrap();
        store.withdrawal_restore(&away, "lab", ("ann", "a mistake"), NOW).await.unwrap();
        assert_eq!(known.versions(&store).await, ["2"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_told_the_pools_is_found() {
    on_both(|store| async move {
        let mut known = Known::default();
        ended(&store, "1").await;
        let of = ended(&store, "2").await;
        assert_eq!(known.versions(&store).await, ["2"]);
        // As a coordinator does that does not know of these tables.
        let task = store.task_list(of).await.unwrap()[0].id;
        let package = NewPackage {
            nevra: "other-1-1.x86_64".parse().unwrap(),
            digest: digest("other-1-1.x86_64"),
            size: 5,
            repodata: digest("xml"),
        };
        let mut tx = store.write().await.unwrap();
        tx.package_insert("lab", of, task, Arch::X86_64, &[package]).await.unwrap();
        tx.commit().await.unwrap();
        let update = store.pool_fetch_update("lab", known.version).await.unwrap();
        assert!(update.is_whole, "what came before is not known");
        assert_eq!(update.present.len(), 2);
        known = Known::default();
        assert_eq!(known.versions(&store).await, ["2", "1"], "by their names: hello, other");
        // From now on there are only differences.
        ended(&store, "3").await;
        let update = known.update(&store).await;
        assert_eq!((update.present.len(), update.gone.len()), (1, 2));
    })
    .await;
}

/// Builds 1, 2 and 3 of a farm before 0039: their versions are 2, 10 and 3.
fn history() -> String {
    let mut text = String::new();
    for (id, version) in [(1, 2), (2, 10), (3, 3)] {
        let (name, repodata) = (format!("hello-{version}-1"), digest("xml").hex());
        let file = digest(&format!("{name}.x86_64")).hex();
        text += &format!(
            "INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key,
                 created_us, priority)
             VALUES ({id}, {id}, 'lab', 'hello', '', 'ann', '', 1, 'tracking');
             INSERT INTO tasks (id, build, kind, arch, created_us)
             VALUES ({id}, {id}, 'build', 'x86_64', 1);
             INSERT INTO srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic,
                 terms)
             VALUES ({id}, '{file}', 1, '{name}.src', '[]', '[]', '[]', 0, '{{}}');
             INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
             VALUES ('lab', '{name}.x86_64', {id}, {id}, 'x86_64', '{file}', 1, '{repodata}');"
        );
    }
    text + "INSERT INTO pools (target, changes, withdrawn, shown) VALUES ('lab', 3, 0, 0);"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pools_of_an_older_farm_are_made_of_its_packages() {
    on_empty(async |url| {
        let mut connection = older(&url, BEFORE_POOLS).await;
        run(&mut connection, history()).await;
        drop(connection);
        let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
        let mut known = Known::default();
        assert_eq!(known.versions(&store).await, ["10", "3"], "the newest, and the last");
        assert_eq!(store.pool_fetch_generation("lab").await.unwrap(), 3);
        store.close().await;
    })
    .await;
}
