//! Claims of builds, and packages that are taken back and given back.

use std::collections::BTreeSet;

use rpmfarm_coordinator::store::{
    ChannelChange, ImpactRow, NewPackage, Revision, Srpm, Store, StoreError, Withdrawal,
};
use rpmfarm_core::owners::{Claim, ClaimKind, Owner};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Nevra, TaskId};

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
    Claim { kind: ClaimKind::Provides, what: what.into(), package, owners: [owner].into() }
}

/// A build all of whose tasks are accepted.
async fn accepted(store: &Store) -> (BuildId, TaskId) {
    let (build, task) = ready(store, TaskKind::Build).await;
    let granted = store.attempt_grant(task, build, "w1", NOW).await.unwrap().expect("granted");
    let attempt = granted.id;
    let epoch = granted.epoch;
    assert!(store.attempt_end_succeeded(attempt, epoch, &succeeded(), NOW).await.unwrap());
    let mut tx = store.write().await.unwrap();
    assert!(tx.acceptance_insert(task, attempt, 1, NOW).await.unwrap());
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
    tx.package_insert("lab", build, task, Arch::X86_64, &[package]).await.unwrap();
    tx.commit().await.unwrap();
    nevra
}

async fn at_claim(store: &Store) -> Vec<BuildId> {
    let rows = store.build_list_with_claims("", false, 9).await.unwrap();
    rows.iter().map(|row| row.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_build_is_at_no_other_stage() {
    on_both(|store| async move {
        let (build, _) = accepted(&store).await;
        let claims = [claim("gcc"), claim("cc")];
        let mut tx = store.write().await.unwrap();
        tx.claim_replace(build, &claims, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.claim_list(build).await.unwrap(), [claims[1].clone(), claims[0].clone()]);
        assert_eq!(at_claim(&store).await, [build]);
        assert!(store.build_list_accepted().await.unwrap().is_empty());
        assert!(store.claim_list_approved("lab").await.unwrap().is_empty());

        let decide = async |word: &str| {
            let mut tx = store.write().await.unwrap();
            let done = tx.claim_decide(build, (word, "ann", "because"), NOW).await.unwrap();
            tx.commit().await.unwrap();
            done
        };
        assert!(decide("refused").await);
        assert_eq!(at_claim(&store).await, [build], "who refuses it also fails it");
        assert!(decide("approved").await);
        assert!(!decide("approved").await, "it is decided");
        assert!(at_claim(&store).await.is_empty());
        assert_eq!(store.build_list_accepted().await.unwrap()[0].id, build);
        assert_eq!(store.build_list_with_claims("lab", true, 9).await.unwrap().len(), 1);
        assert!(store.claim_list_open(build).await.unwrap().is_empty());
        let words: Vec<_> = store
            .claim_decision_list(build)
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.word)
            .collect();
        assert_eq!(words, ["refused", "approved"]);
        let approved = store.claim_list_approved("lab").await.unwrap();
        assert_eq!(approved.len(), 2);
        assert_eq!((approved[0].source.as_str(), approved[0].build), ("hello", build));
        let shown = store.build_list_details(&[build]).await.unwrap().remove(&build).unwrap();
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
        assert_eq!(store.required_thing_list("lab").await.unwrap(), expected);
        assert!(store.required_thing_list("other").await.unwrap().is_empty());
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
            at: NOW,
        };
        assert!(
            store
                .revision_insert(&revision, &ChannelChange::nothing_since(0), &[build])
                .await
                .unwrap()
        );
        add_srpm(&store, build, &srpm("hello-1-1.src")).await;
        let published = async || {
            let all = store.channel_list_evrs("lab", "testing", "hello").await.unwrap();
            assert_eq!(store.channel_list_evrs_of_builds(&[build]).await.unwrap().len(), all.len());
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
        let what = Withdrawal {
            target: "lab",
            packages: &packages,
            roots: &[],
            impacts: &impacts,
            who: "ann",
            reason: "backdoor",
        };
        let before = store.pool_fetch_generation("lab").await.unwrap();
        assert_eq!(store.withdrawal_insert(&what, NOW).await.unwrap(), packages);
        assert!(store.withdrawal_insert(&what, NOW).await.unwrap().is_empty(), "once");
        assert!(store.pool_fetch_generation("lab").await.unwrap() > before);
        assert!(store.package_list("lab").await.unwrap().is_empty());
        assert_eq!(published().await, 0, "older versions sort above what is left");
        let state = store.pool_fetch("lab").await.unwrap();
        assert!(state.withdrawn > state.shown);
        store.pool_set_shown("lab", state.withdrawn).await.unwrap();
        let state = store.pool_fetch("lab").await.unwrap();
        assert_eq!(state.withdrawn, state.shown);
        let source: Nevra = "hello-1-1.src".parse().unwrap();
        let all = store.withdrawal_list_names("lab").await.unwrap();
        assert!(all.contains(&(packages[0].clone(), source)) && all.len() == 2);
        let shown = store.build_list_details(&[build, user]).await.unwrap();
        assert_eq!(shown[&build].withdrawn.len(), 2);
        assert_eq!(shown[&user].impacts, [(packages[0].clone(), None)]);

        // The name is not free for the package that had it, but for its rightful owner.
        let both = [crate::new_build("lab", "hello"), crate::new_build("lab", "rightful")];
        let ids = store.build_insert(&both, "tester", "", NOW).await.unwrap().ids;
        let package = |text: &str| NewPackage {
            nevra: packages[0].clone(),
            digest: digest(text),
            size: 5,
            repodata: digest("xml"),
        };
        let mut tx = store.write().await.unwrap();
        let refused = tx.package_insert("lab", ids[0], task, Arch::X86_64, &[package("x")]).await;
        assert!(matches!(refused, Err(StoreError::Withdrawn { .. })), "{refused:?}");
        drop(tx);
        let away = store.withdrawal_list("lab", &packages[1]).await.unwrap();
        store.withdrawal_restore(&away, "lab", ("ann", "a mistake"), NOW).await.unwrap();
        assert_eq!(store.package_list_own(build).await.unwrap(), packages[1..]);
        let back = store.returning_list("lab").await.unwrap();
        assert_eq!((&back[0].nevra, back[0].build), (&packages[1], build));
        let state = store.pool_fetch("lab").await.unwrap();
        store.pool_set_shown("lab", state.withdrawn).await.unwrap();
        assert!(store.returning_list("lab").await.unwrap().is_empty());

        let mut tx = store.write().await.unwrap();
        let mine = [package("rightful")];
        tx.package_insert("lab", ids[1], task, Arch::X86_64, &mine).await.unwrap();
        tx.commit().await.unwrap();
        let away = store.withdrawal_list("lab", &packages[0]).await.unwrap();
        let taken = store.withdrawal_restore(&away, "lab", ("ann", "a mistake"), NOW).await;
        assert!(matches!(taken, Err(StoreError::SameNevra { .. })), "{taken:?}");
    })
    .await;
}
