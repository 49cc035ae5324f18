//! Claims of builds, and packages that are taken back and given back.

use std::collections::BTreeSet;

use rpmfarm_coordinator::store::{
    ImpactRow, NewPackage, Revision, Srpm, Store, StoreError, Withdraw,
};
use rpmfarm_core::owners::{Claim, Kind, Owner};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Nevra, TaskId};

use crate::common::builds::{add_srpm, srpm};
use crate::common::on_both;
use crate::{NOW, digest, ready, start, succeeded};

pub(crate) fn claim(what: &str) -> Claim {
    let owner = Owner {
        source: "gcc".into(),
        package: "gcc-13-1.x86_64".parse().unwrap(),
        repository: "appstream".into(),
    };
    let package = "evil-1-1.noarch".parse().unwrap();
    Claim { kind: Kind::Provides, what: what.into(), package, owners: [owner].into() }
}

/// A build all of whose tasks are accepted.
async fn accepted(store: &Store) -> (BuildId, TaskId) {
    let (build, task) = ready(store, TaskKind::Build).await;
    let granted = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
    let attempt = AttemptId(granted.id);
    let epoch = rpmfarm_core::Epoch(granted.epoch);
    assert!(store.end_succeeded(attempt, epoch, &succeeded(), NOW).await.unwrap());
    let mut tx = store.write().await.unwrap();
    assert!(tx.accept(task, attempt, 1, NOW).await.unwrap());
    tx.commit().await.unwrap();
    (build, task)
}

async fn add(store: &Store, (build, task): (BuildId, TaskId), nevra: &str) -> Nevra {
    let nevra: Nevra = nevra.parse().unwrap();
    let package = NewPackage {
        nevra: nevra.clone(),
        digest: digest(&format!("{nevra} {build}")),
        size: 5,
        repodata: digest("xml"),
    };
    let mut tx = store.write().await.unwrap();
    tx.add_packages("lab", build, task, Arch::X86_64, &[package]).await.unwrap();
    tx.commit().await.unwrap();
    nevra
}

async fn at_claim(store: &Store) -> Vec<BuildId> {
    let rows = store.builds_with_claims("", false, 9).await.unwrap();
    rows.iter().map(|row| row.id()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_build_is_at_no_other_stage() {
    on_both(|store| async move {
        let (build, _) = accepted(&store).await;
        let claims = [claim("gcc"), claim("cc")];
        let mut tx = store.write().await.unwrap();
        tx.set_claims(build, &claims, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.claims(build).await.unwrap(), [claims[1].clone(), claims[0].clone()]);
        assert_eq!(at_claim(&store).await, [build]);
        assert!(store.builds_accepted().await.unwrap().is_empty());
        assert!(store.approved_claims("lab").await.unwrap().is_empty());

        let decide = async |word: &str| {
            let mut tx = store.write().await.unwrap();
            let done = tx.decide_claims(build, (word, "ann", "because"), NOW).await.unwrap();
            tx.commit().await.unwrap();
            done
        };
        assert!(decide("refused").await);
        assert_eq!(at_claim(&store).await, [build], "who refuses it also fails it");
        assert!(decide("approved").await);
        assert!(!decide("approved").await, "it is decided");
        assert!(at_claim(&store).await.is_empty());
        assert_eq!(store.builds_accepted().await.unwrap()[0].id(), build);
        assert_eq!(store.builds_with_claims("lab", true, 9).await.unwrap().len(), 1);
        assert!(store.open_claims(build).await.unwrap().is_empty());
        let words: Vec<_> =
            store.decisions(build).await.unwrap().into_iter().map(|one| one.word).collect();
        assert_eq!(words, ["refused", "approved"]);
        let approved = store.approved_claims("lab").await.unwrap();
        assert_eq!(approved.len(), 2);
        assert_eq!((approved[0].source.as_str(), approved[0].build), ("hello", build));
        let shown = store.shown(&[build]).await.unwrap().remove(&build).unwrap();
        assert!(!shown.is_claimed() && shown.claims.len() == 2 && shown.decisions.len() == 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_that_name_paths_are_remembered() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Srpm).await;
        let srpm = Srpm {
            requires: vec!["gcc".into(), "/usr/bin/perl".into(), "font(:lang=ja)".into()],
            ..srpm("hello-1-1.src")
        };
        add_srpm(&store, build, &srpm).await;
        let expected: BTreeSet<String> = ["/usr/bin/perl".into(), "font(:lang=ja)".into()].into();
        assert_eq!(store.required_things("lab").await.unwrap(), expected);
        assert!(store.required_things("other").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_can_be_given_back() {
    on_both(|store| async move {
        let (build, task) = accepted(&store).await;
        let of = (build, task);
        let packages =
            [add(&store, of, "a-1-1.x86_64").await, add(&store, of, "b-1-1.noarch").await];
        // It is published.
        let revision = Revision {
            target: "lab".into(),
            channel: "testing".into(),
            revision: 1,
            snapshot: digest("snapshot"),
            packages: 2,
            at_us: NOW,
        };
        assert!(store.add_revision(&revision, &[build]).await.unwrap());
        add_srpm(&store, build, &srpm("hello-1-1.src")).await;
        let published = async || {
            let all = store.published_evrs("lab", "testing", "hello").await.unwrap();
            assert_eq!(store.published_beside(&[build]).await.unwrap().len(), all.len());
            all.len()
        };
        assert_eq!(published().await, 1);

        let user = start(&store, &["user"], "").await[0];
        let impacts = [ImpactRow {
            build: user,
            nevra: packages[0].clone(),
            digest: digest(&format!("{} {build}", packages[0])),
            through: None,
        }];
        let what = Withdraw {
            target: "lab",
            packages: &packages,
            roots: &[],
            impacts: &impacts,
            who: "ann",
            reason: "backdoor",
        };
        let before = store.package_count("lab").await.unwrap();
        assert_eq!(store.withdraw(&what, NOW).await.unwrap(), packages);
        assert!(store.withdraw(&what, NOW).await.unwrap().is_empty(), "once");
        assert!(store.package_count("lab").await.unwrap() > before);
        assert!(store.packages("lab").await.unwrap().is_empty());
        assert_eq!(published().await, 0, "older versions sort above what is left");
        let state = store.pool_state("lab").await.unwrap();
        assert!(state.withdrawn > state.shown);
        store.set_pool_shown("lab", state.withdrawn).await.unwrap();
        let state = store.pool_state("lab").await.unwrap();
        assert_eq!(state.withdrawn, state.shown);
        let source: Nevra = "hello-1-1.src".parse().unwrap();
        let all = store.all_withdrawn("lab").await.unwrap();
        assert!(all.contains(&(packages[0].clone(), source)) && all.len() == 2);
        let shown = store.shown(&[build, user]).await.unwrap();
        assert_eq!(shown[&build].withdrawn.len(), 2);
        assert_eq!(shown[&user].impacts, [(packages[0].clone(), None)]);

        // The name is not free for the package that had it, but for its rightful owner.
        let both = [crate::new_build("lab", "hello"), crate::new_build("lab", "rightful")];
        let ids = store.start_builds(&both, "tester", "", NOW).await.unwrap().ids;
        let package = |text: &str| NewPackage {
            nevra: packages[0].clone(),
            digest: digest(text),
            size: 5,
            repodata: digest("xml"),
        };
        let mut tx = store.write().await.unwrap();
        let refused = tx.add_packages("lab", ids[0], task, Arch::X86_64, &[package("x")]).await;
        assert!(matches!(refused, Err(StoreError::Withdrawn { .. })), "{refused:?}");
        drop(tx);
        let away = store.withdrawn("lab", &packages[1]).await.unwrap();
        store.restore(&away, "lab", ("ann", "a mistake"), NOW).await.unwrap();
        assert_eq!(store.own_packages(build).await.unwrap(), packages[1..]);
        let back = store.returning("lab").await.unwrap();
        assert_eq!((&back[0].nevra, back[0].build), (&packages[1], build));
        let state = store.pool_state("lab").await.unwrap();
        store.set_pool_shown("lab", state.withdrawn).await.unwrap();
        assert!(store.returning("lab").await.unwrap().is_empty());

        let mut tx = store.write().await.unwrap();
        let mine = [package("rightful")];
        tx.add_packages("lab", ids[1], task, Arch::X86_64, &mine).await.unwrap();
        tx.commit().await.unwrap();
        let away = store.withdrawn("lab", &packages[0]).await.unwrap();
        let taken = store.restore(&away, "lab", ("ann", "a mistake"), NOW).await;
        assert!(matches!(taken, Err(StoreError::SameNevra { .. })), "{taken:?}");
    })
    .await;
}
