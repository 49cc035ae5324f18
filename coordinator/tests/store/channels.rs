//! The packages of channels as rows: every revision reads as it was recorded.

use rpmfarm_coordinator::store::{ChannelChange, ChannelHead, Revision, Store};
use rpmfarm_core::snapshot::{ExcludedArches, Snapshot, SnapshotDelta, SnapshotPackage};
use rpmfarm_core::{Arch, Sha256};

use crate::common::on_both;
use crate::{NOW, digest};

const TARGET: &str = "lab";
const CHANNEL: &str = "testing";

fn package(nevra: &str, content: &str) -> SnapshotPackage {
    let name = nevra.split('-').next().unwrap();
    SnapshotPackage {
        nevra: nevra.parse().unwrap(),
        digest: digest(content),
        source: format!("{name}-1-1.src").parse().unwrap(),
        without: ExcludedArches::default(),
    }
}

fn snapshot(packages: &[SnapshotPackage]) -> Snapshot {
    Snapshot::from_packages(packages.to_vec()).unwrap()
}

fn digest_of(snapshot: &Snapshot) -> Sha256 {
    Sha256::compute(&serde_json::to_vec(snapshot).unwrap())
}

fn revision(number: i64, snapshot: &Snapshot) -> Revision {
    Revision {
        target: TARGET.into(),
        channel: CHANNEL.into(),
        revision: number,
        snapshot: digest_of(snapshot),
        packages: snapshot.packages().len().try_into().unwrap(),
        at: NOW,
    }
}

/// Records a revision on top of another one.
async fn record(store: &Store, number: i64, next: &Snapshot, base: (i64, &Snapshot)) -> bool {
    let change = ChannelChange { base: base.0, delta: base.1.delta_to(next) };
    store.revision_insert(&revision(number, next), &change, &[]).await.unwrap()
}

async fn at(store: &Store, number: i64) -> Snapshot {
    let packages = store.channel_list_packages(TARGET, CHANNEL, number).await.unwrap();
    Snapshot::from_packages(packages).unwrap()
}

async fn head(store: &Store) -> Option<ChannelHead> {
    store.channel_fetch_head(TARGET, CHANNEL).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_revision_can_be_read_from_the_rows() {
    on_both(|store| async move {
        let (a, b) = (package("a-1-1.noarch", "a"), package("b-1-1.noarch", "b"));
        let without = ExcludedArches { by_source: vec![Arch::Aarch64], held: Vec::new() };
        let kept = SnapshotPackage { without, ..b.clone() };
        let anew = package("a-1-1.noarch", "signed anew");
        let all = [
            Snapshot::default(),
            snapshot(std::slice::from_ref(&a)),
            snapshot(&[a.clone(), b.clone()]),
            snapshot(&[a, kept.clone()]),
            snapshot(&[anew, kept]),
            snapshot(&[b]),
        ];
        // A number is left out by a revision that was signed and never shown.
        let number = |place: usize| i64::try_from(place * 2).unwrap();
        for (place, (before, next)) in all.iter().zip(&all[1..]).enumerate() {
            let revision = number(place + 1);
            assert!(record(&store, revision, next, (number(place), before)).await, "{place}");
            let expected = ChannelHead { revision, snapshot: digest_of(next) };
            assert_eq!(head(&store).await, Some(expected));
        }
        for (place, snapshot) in all.iter().enumerate() {
            assert_eq!(&at(&store, number(place)).await, snapshot, "{place}");
            assert_eq!(&at(&store, number(place) + 1).await, snapshot, "{place}");
        }
        assert!(store.channel_list_packages(TARGET, "other", 4).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_other_rows_is_refused() {
    on_both(|store| async move {
        let (one, two) =
            (snapshot(&[package("a-1-1.noarch", "a")]), snapshot(&[package("b-1-1.noarch", "b")]));
        let none = Snapshot::default();
        assert!(record(&store, 1, &one, (0, &none)).await);
        for base in [(0, &none), (3, &none)] {
            assert!(!record(&store, 2, &two, base).await, "based on {}", base.0);
            let newest = store.channel_fetch(TARGET, CHANNEL).await.unwrap();
            assert_eq!(newest, Some(revision(1, &one)), "nothing is recorded");
            assert_eq!(at(&store, 2).await, one);
        }
        // The newest one again, for builds that brought nothing new.
        assert!(record(&store, 1, &one, (1, &one)).await);
        assert!(record(&store, 2, &two, (1, &one)).await);
        assert_eq!((at(&store, 1).await, at(&store, 2).await), (one, two));
    })
    .await;
}

/// A channel from before there were rows: a coordinator of the version before records a revision,
/// and one more while the rows of the next ones are there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_go_on_after_a_revision_without_any() {
    on_both(|store| async move {
        let of = |name: &str| package(&format!("{name}-1-1.noarch"), name);
        let old = snapshot(&[of("a")]);
        let next = snapshot(&[of("a"), of("b")]);
        let alone = snapshot(&[of("c")]);
        let last = snapshot(&[of("c"), of("d")]);
        let none = Snapshot::default();
        without_rows(&store, 1, &old).await;
        assert_eq!(head(&store).await, None);
        // A revision without rows is recorded as a whole.
        assert!(record(&store, 2, &next, (0, &none)).await);
        without_rows(&store, 3, &alone).await;
        assert_eq!(head(&store).await.unwrap().revision, 2);
        assert!(record(&store, 4, &last, (2, &next)).await);
        assert_eq!(head(&store).await.unwrap().revision, 4);
        assert_eq!((at(&store, 2).await, at(&store, 4).await), (next, last));
    })
    .await;
}

/// Records a revision as the version before does: the rows stay those of another one.
async fn without_rows(store: &Store, number: i64, snapshot: &Snapshot) {
    let head = head(store).await.map_or(0, |head| head.revision);
    let rows = ChannelChange { base: number, delta: SnapshotDelta::default() };
    let row = revision(number, snapshot);
    assert!(store.revision_insert(&row, &rows, &[]).await.unwrap());
    assert_eq!(self::head(store).await.map_or(0, |head| head.revision), head);
}
