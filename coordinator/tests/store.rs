//! The store of facts, the same tests on SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use common::on_both;
use rpmfarm_coordinator::store::{
    Build, BuildFilter, Certificate, Ended, Import, Invitation, MadePackage, NewBuild, NewPackage,
    NewTask, Revision, Signature, Srpm, Store, StoreError,
};
use rpmfarm_core::announce::AnnounceError;
use rpmfarm_core::enrolment::Use;
use rpmfarm_core::fleet::{Standing, StandingError};
use rpmfarm_core::queue::Class;
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{Arch, AttemptId, BuildId, Epoch, Failure, Fault, Sha256, TaskId};

const NOW: i64 = 1_000_000;

fn digest(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

async fn start(store: &Store, packages: &[&str], key: &str) -> Vec<BuildId> {
    let builds: Vec<NewBuild> = packages
        .iter()
        .map(|package| NewBuild {
            target: "lab".into(),
            package: (*package).into(),
            git_ref: String::new(),
            modification_ref: String::new(),
            class: Class::default(),
            arches: Vec::new(),
        })
        .collect();
    store.start_builds(&builds, "tester", key, NOW).await.unwrap().ids
}

/// A build with an import and one task of a kind, which has a lock.
async fn ready(store: &Store, kind: TaskKind) -> (BuildId, TaskId) {
    let build = start(store, &["hello"], "").await[0];
    let import = Import {
        url: "http://git/hello.git".into(),
        commit: "c0ffee".into(),
        subject: "Update".into(),
        bundle: digest("bundle"),
        at_us: NOW,
    };
    store.add_import(build, &import).await.unwrap();
    assert_eq!(store.import(build).await.unwrap(), Some(import));
    store.add_tasks(build, &[NewTask { kind, arch: Arch::X86_64 }], NOW).await.unwrap();
    let task = store.tasks(build).await.unwrap()[0].id;
    store.add_lock(task, 0, digest("lock"), NOW).await.unwrap();
    (build, task)
}

fn succeeded() -> Outcome {
    Outcome::Succeeded(Success::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_recorded_once() {
    on_both(|store| async move {
        let ids = start(&store, &["a", "b"], "key-1").await;
        assert_eq!(start(&store, &["a", "b"], "key-1").await, ids, "the same key, the same builds");
        assert_ne!(start(&store, &["a"], "key-2").await[0], ids[0]);

        let all = store.builds(&BuildFilter { limit: 10, ..Default::default() }).await.unwrap();
        assert_eq!(all.len(), 3);
        assert!(all[0].id > all[1].id, "newest first");
        assert_eq!(all[1].batch, all[2].batch);
        let filter = BuildFilter { package: "b".into(), limit: 10, ..Default::default() };
        assert_eq!(store.builds(&filter).await.unwrap().len(), 1);
        assert_eq!(store.builds_to_import(NOW).await.unwrap().len(), 3);
        assert!(store.build(BuildId(99)).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_granted_once_and_its_epoch_only_rises() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        assert_eq!(store.tasks_to_dispatch(9).await.unwrap().len(), 1);
        let first = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        assert!(store.grant(task, build, "w2", NOW).await.unwrap().is_none(), "held by w1");
        assert!(store.tasks_to_dispatch(9).await.unwrap().is_empty());
        let live = store.live_attempts(Some("w1")).await.unwrap();
        assert_eq!((live.len(), live[0].id, live[0].build), (1, first.id, build.0));

        let lost = Failure::new(Fault::Worker, "lease", "not heard");
        let (id, epoch) = (AttemptId(first.id), Epoch(first.epoch));
        assert!(store.end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap());
        let second = store.grant(task, build, "w2", NOW).await.unwrap().expect("granted again");
        assert!(second.epoch > first.epoch);

        // What the first worker says now is fenced, whichever epoch it names.
        for epoch in [first.epoch, second.epoch] {
            assert!(!store.end_succeeded(id, Epoch(epoch), &succeeded(), NOW).await.unwrap());
        }
        let id = AttemptId(second.id);
        assert_eq!(store.holder(id, Epoch(first.epoch)).await.unwrap(), None);
        let holder = store.holder(id, Epoch(second.epoch)).await.unwrap();
        assert_eq!(holder, Some(("w2".to_owned(), build)));
        let former = store.attempt_worker(AttemptId(first.id)).await.unwrap();
        assert_eq!(former.as_deref(), Some("w1"));
        let faults = store.worker_faults("w1", 5).await.unwrap();
        assert_eq!((faults.len(), faults[0].package.as_str()), (1, "hello"));
        assert_eq!(faults[0].failure, lost);
        assert!(store.worker_faults("w2", 5).await.unwrap().is_empty());
        assert!(store.end_succeeded(id, Epoch(second.epoch), &succeeded(), NOW).await.unwrap());
        assert!(!store.end_succeeded(id, Epoch(second.epoch), &succeeded(), NOW).await.unwrap());
        assert_eq!(store.attempts_to_accept(NOW).await.unwrap().len(), 1);
        assert!(store.tasks_to_dispatch(9).await.unwrap().is_empty(), "it waits for acceptance");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_is_accepted_and_nothing_after() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = AttemptId(attempt.id);
        store.end_succeeded(id, Epoch(attempt.epoch), &succeeded(), NOW).await.unwrap();

        let mut tx = store.write().await.unwrap();
        assert!(tx.accept(task, id, 1200, NOW).await.unwrap());
        drop(tx);
        assert!(store.acceptance(task).await.unwrap().is_none(), "not committed, not happened");
        let mut tx = store.write().await.unwrap();
        assert!(tx.accept(task, id, 1200, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(!tx.accept(task, AttemptId(77), 1, NOW).await.unwrap());
        drop(tx);
        assert_eq!(store.acceptance(task).await.unwrap(), Some((id, 1200, NOW)));
        assert!(store.grant(task, build, "w2", NOW).await.unwrap().is_none());
        assert!(store.attempts_to_accept(NOW).await.unwrap().is_empty());
        assert_eq!(store.builds_accepted().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nevra_has_one_digest() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let package = |content: &str| NewPackage {
            nevra: "hello-2.12-1.x86_64".parse().unwrap(),
            digest: digest(content),
            size: 5,
            repodata: digest("xml"),
        };
        let add = async |content: &str| {
            let mut tx = store.write().await.unwrap();
            let all = [package(content)];
            tx.add_packages("lab", build, task, Arch::X86_64, &all).await?;
            tx.commit().await
        };
        add("one").await.unwrap();
        add("one").await.unwrap();
        let error = add("two").await.unwrap_err();
        assert!(matches!(error, StoreError::SameNevra { .. }));
        let text = error.to_string();
        for part in ["hello-2.12-1.x86_64", "raise the release", &digest("one").hex()] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(store.package_count("lab").await.unwrap(), 1);

        let signed =
            Signature { signed_digest: digest("s"), signed_size: 9, repodata: digest("r") };
        assert_eq!(store.packages_of(build, "k").await.unwrap()[0].signature, None);
        store.add_signatures("k", &[(digest("one"), signed)], NOW).await.unwrap();
        assert_eq!(store.packages_of(build, "k").await.unwrap()[0].signature, Some(signed));
        assert_eq!(store.packages_of(build, "other").await.unwrap()[0].signature, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_a_build_or_wait_and_retries_open_it_again() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let farm = Failure::new(Fault::Farm, "resolve", "repository down");
        assert!(store.add_failure(build, Some(task), &farm, Some(NOW + 50), NOW).await.unwrap());
        assert!(store.tasks_to_dispatch(9).await.unwrap().is_empty());
        assert_eq!(store.queue_due(NOW + 49, 9).await.unwrap(), 0);
        assert!(store.grant(task, build, "w1", NOW).await.unwrap().is_none(), "it is not time");
        assert_eq!(store.queue_due(NOW + 50, 9).await.unwrap(), 1);
        assert_eq!(store.tasks_to_dispatch(9).await.unwrap().len(), 1);

        let attempt = store.grant(task, build, "w1", NOW + 50).await.unwrap().expect("granted");
        let package = Failure::new(Fault::Package, "build", "does not compile");
        let (id, epoch) = (AttemptId(attempt.id), Epoch(attempt.epoch));
        assert!(store.end_failed(id, epoch, &package, None, NOW + 60).await.unwrap());
        assert!(!store.is_open(build).await.unwrap());
        assert!(!store.add_failure(build, None, &package, None, NOW + 61).await.unwrap());
        assert!(!store.cancel_build(build, NOW + 62).await.unwrap(), "it has ended");
        assert_eq!(store.failures(build, 0).await.unwrap().len(), 2);

        assert!(store.retry_build(build, NOW + 70).await.unwrap());
        assert!(!store.retry_build(build, NOW + 71).await.unwrap(), "it is open");
        assert!(store.failures(build, NOW + 70).await.unwrap().is_empty());
        assert_eq!(store.tasks_to_dispatch(9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_takes_attempts_from_workers() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        assert!(store.cancel_build(build, NOW + 1).await.unwrap());
        assert!(store.live_attempts(None).await.unwrap().is_empty());
        let id = AttemptId(attempt.id);
        assert!(!store.end_succeeded(id, Epoch(attempt.epoch), &succeeded(), NOW).await.unwrap());
        assert!(store.grant(task, build, "w1", NOW).await.unwrap().is_none());
        assert_eq!(store.cancelled_us(build).await.unwrap(), NOW + 1);
        let attempts = store.attempts(task).await.unwrap();
        assert!(attempts[0].1.as_ref().is_some_and(|end| end.outcome.is_none()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_requirements_wait_for_their_lock() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = AttemptId(attempt.id);
        let requires = vec!["python3dist(wheel)".to_owned()];
        for _ in 0..2 {
            store.add_dynamic_requires(task, id, 0, &requires, NOW).await.unwrap();
        }
        store.add_dynamic_requires(task, AttemptId(99), 1, &requires, NOW).await.unwrap();
        let rounds = store.rounds_to_lock(NOW).await.unwrap();
        assert_eq!((rounds.len(), rounds[0].1), (1, 0));
        assert_eq!(store.dynamic_requires(task).await.unwrap(), [requires]);
        store.add_lock(task, 1, digest("wider"), NOW).await.unwrap();
        assert!(store.rounds_to_lock(NOW).await.unwrap().is_empty());
        let lock = store.lock(task).await.unwrap().expect("a lock");
        assert_eq!((lock.round, lock.digest), (1, digest("wider")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_only_go_forward() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Build).await;
        let revision = |number| Revision {
            target: "lab".into(),
            channel: "testing".into(),
            revision: number,
            snapshot: digest("snapshot"),
            packages: 3,
            at_us: NOW,
        };
        assert!(store.add_revision(&revision(1), &[build]).await.unwrap());
        let same = start(&store, &["same"], "").await[0];
        assert!(store.add_revision(&revision(1), &[same]).await.unwrap(), "it held this already");
        assert!(!store.is_open(same).await.unwrap());
        assert!(store.add_revision(&revision(2), &[]).await.unwrap());
        assert!(!store.add_revision(&revision(1), &[]).await.unwrap(), "never back");
        assert_eq!(store.channel("lab", "testing").await.unwrap(), Some(revision(2)));
        assert_eq!(store.publication(build).await.unwrap().map(|row| row.revision), Some(1));
        assert!(!store.is_open(build).await.unwrap());
        assert!(!store.retry_build(build, NOW).await.unwrap(), "what is published stays");

        let (waits, given_up) =
            (start(&store, &["w"], "").await[0], start(&store, &["c"], "").await[0]);
        store.cancel_build(given_up, NOW).await.unwrap();
        let of = async |ended| {
            let filter = BuildFilter { ended, limit: 10, ..Default::default() };
            let builds = store.builds(&filter).await.unwrap();
            builds.iter().map(Build::id).collect::<Vec<_>>()
        };
        assert_eq!(of(Ended::Open).await, [waits]);
        assert_eq!(of(Ended::Published).await, [same, build]);
        assert_eq!(of(Ended::Unpublished).await, [given_up]);
        assert_eq!(of(Ended::Any).await.len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_srpm_survives_storage() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Srpm).await;
        let srpm = Srpm {
            digest: digest("srpm"),
            size: 123,
            nevra: "hello-1:2.12-1.el9.src".parse().unwrap(),
            requires: vec!["gcc".into(), "(a or b)".into()],
            conflicts: vec!["old-tool".into()],
            predicts: vec!["hello".into()],
            dynamic: true,
        };
        let mut tx = store.write().await.unwrap();
        tx.add_srpm(build, &srpm).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.srpm(build).await.unwrap(), Some(srpm));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_decision_about_a_worker_holds() {
    on_both(|store| async move {
        assert_eq!(store.standing("w").await.unwrap(), None);
        let set = async |wanted, reason: &str| {
            // The clock does not matter: it may even go back.
            store.set_standing("w", wanted, reason, NOW).await.unwrap()
        };
        assert_eq!(set(Standing::Quarantined, "3 packages failed").await, Ok(true));
        assert_eq!(set(Standing::Drained, "new disk").await, Ok(true));
        assert_eq!(set(Standing::Drained, "again").await, Ok(false));
        assert_eq!(set(Standing::Quarantined, "more failed").await, Ok(false), "it is drained");
        store.set_standing("v", Standing::Quarantined, "x", NOW).await.unwrap().unwrap();
        let all = store.standings().await.unwrap();
        assert_eq!((all.len(), all["w"].standing), (2, Standing::Drained));
        assert_eq!(all["w"].reason, "new disk");
        assert_eq!(set(Standing::Active, "").await, Ok(true));
        assert_eq!(set(Standing::Revoked, "stolen").await, Ok(true));
        assert_eq!(set(Standing::Active, "").await, Err(StandingError::Revoked));
        let history = store.standing_history("w", 10).await.unwrap();
        let standings: Vec<_> = history.iter().map(|row| row.standing).collect();
        let expected =
            [Standing::Revoked, Standing::Active, Standing::Drained, Standing::Quarantined];
        assert_eq!(standings, expected);
    })
    .await;
}

fn certificate(worker: &str, text: &str) -> Certificate {
    Certificate {
        fingerprint: digest(text),
        worker: worker.into(),
        serial: "07".into(),
        pem: text.into(),
        issued_us: NOW,
        ends_us: NOW + 100,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_used_once_and_a_revocation_ends_all_certificates() {
    on_both(|store| async move {
        let invitation = Invitation {
            worker: "w".into(),
            arches: vec![Arch::X86_64],
            created_us: NOW,
            expires_us: NOW + 10,
            used: None,
        };
        store.add_invitation(digest("token"), &invitation).await.unwrap();
        assert_eq!(store.invitation(digest("token")).await.unwrap(), Some(invitation.clone()));
        assert_eq!(store.invitation(digest("other")).await.unwrap(), None);
        assert_eq!(store.enrolled_arches("w").await.unwrap(), None);

        let (key, first) = (digest("key"), certificate("w", "first"));
        let enrol = async |token: &str, key, certificate: Certificate| {
            let arches = [Arch::X86_64];
            store.enrol(digest(token), &arches, key, &certificate, NOW + 1).await.unwrap()
        };
        assert!(enrol("token", key, first.clone()).await);
        assert!(!enrol("token", digest("thief"), certificate("w", "thief")).await);
        assert_eq!(store.certificate(digest("thief")).await.unwrap(), None);
        let used = store.invitation(digest("token")).await.unwrap().unwrap().used;
        assert_eq!(used, Some((Use { key, at_us: NOW + 1 }, first.fingerprint)));
        assert_eq!(store.enrolled_arches("w").await.unwrap(), Some(vec![Arch::X86_64]));

        // Renewing leaves the first one as it is; only the worker's own can be renewed.
        assert!(store.renew(first.fingerprint, &certificate("w", "second")).await.unwrap());
        assert!(!store.renew(first.fingerprint, &certificate("v", "foreign")).await.unwrap());
        assert!(!store.renew(digest("none"), &certificate("w", "unknown")).await.unwrap());
        let ended =
            async |text: &str| store.certificate(digest(text)).await.unwrap().unwrap().ended;
        assert_eq!((ended("first").await, ended("second").await), (None, None));
        assert_eq!(store.enrolled().await.unwrap()["w"], NOW + 100);

        store.set_standing("w", Standing::Revoked, "stolen", NOW + 2).await.unwrap().unwrap();
        assert_eq!(ended("first").await.as_deref(), Some("revoked: stolen"));
        assert!(ended("second").await.is_some());
        assert!(!store.renew(digest("second"), &certificate("w", "third")).await.unwrap());
        assert_eq!(store.enrolled().await.unwrap()["w"], 0);

        // A new invitation lets it in again, with the new certificate only.
        store.add_invitation(digest("token 2"), &invitation).await.unwrap();
        assert!(enrol("token 2", digest("key 2"), certificate("w", "fourth")).await);
        assert_eq!(store.standing("w").await.unwrap().unwrap().standing, Standing::Active);
        assert!(ended("second").await.is_some());
        assert_eq!(ended("fourth").await, None);
        assert_eq!(store.certificates("w", 2).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_keeps_the_architectures_that_it_was_asked_for() {
    on_both(|store| async move {
        let new = |arches: &[Arch]| NewBuild {
            target: "lab".into(),
            package: "hello".into(),
            git_ref: String::new(),
            modification_ref: String::new(),
            class: Class::default(),
            arches: arches.to_vec(),
        };
        let asked = [Arch::Ppc64le, Arch::Aarch64];
        let builds = [new(&asked), new(&[])];
        let ids = store.start_builds(&builds, "tester", "", NOW).await.unwrap().ids;
        assert_eq!(store.build_arches(ids[0]).await.unwrap(), [Arch::Aarch64, Arch::Ppc64le]);
        assert!(store.build_arches(ids[1]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_announces_its_files_within_bounds() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let attempt = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let id = AttemptId(attempt.id);
        let announce = async |text: &str, size| {
            store.announce(id, (digest(text), size), 10, NOW).await.unwrap()
        };
        assert_eq!(announce("a", 6).await, Ok(()));
        assert_eq!(announce("a", 6).await, Ok(()), "the same again");
        assert_eq!(announce("b", 5).await, Err(AnnounceError::TooLarge { sum: 11, limit: 10 }));
        assert_eq!(announce("a", 7).await, Err(AnnounceError::Size { before: 6, now: 7 }));
        assert_eq!(announce("c", 4).await, Ok(()));
        assert_eq!(store.announced(id).await.unwrap().len(), 2);
        assert!(store.announced(AttemptId(attempt.id + 1)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_nobody_answered_is_taken_over_by_the_next_attempt() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let first = store.grant(task, build, "w1", NOW).await.unwrap().expect("granted");
        let (id, epoch) = (AttemptId(first.id), Epoch(first.epoch));
        store.add_dynamic_requires(task, id, 0, &["a".into()], NOW).await.unwrap();
        assert_eq!(store.rounds_to_lock(NOW).await.unwrap().len(), 1);
        let lost = Failure::new(Fault::Worker, "lease", "not heard");
        store.end_failed(id, epoch, &lost, Some(NOW), NOW).await.unwrap();
        assert!(store.rounds_to_lock(NOW).await.unwrap().is_empty(), "nobody waits for it");

        let second = store.grant(task, build, "w2", NOW).await.unwrap().expect("granted again");
        let id = AttemptId(second.id);
        store.add_dynamic_requires(task, id, 0, &["b".into()], NOW).await.unwrap();
        assert_eq!(store.rounds_to_lock(NOW).await.unwrap().len(), 1, "the second waits for it");
        assert_eq!(store.dynamic_requires(task).await.unwrap(), [["b"]]);
        // What is answered stays.
        store.add_lock(task, 1, digest("wider"), NOW).await.unwrap();
        store.add_dynamic_requires(task, id, 0, &["c".into()], NOW).await.unwrap();
        assert_eq!(store.dynamic_requires(task).await.unwrap(), [["b"]]);
        assert!(store.rounds_to_lock(NOW).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_in_their_order_whatever_the_clock_does() {
    const DAY: i64 = 86_400_000_000;
    on_both(|store| async move {
        let build = start(&store, &["hello"], "").await[0];
        let failure = Failure::new(Fault::Farm, "import", "no answer");
        // A day ahead it fails for good and is retried; then the clock is set right.
        assert!(store.add_failure(build, None, &failure, None, NOW + DAY).await.unwrap());
        assert!(store.retry_build(build, NOW + DAY).await.unwrap());
        assert!(store.add_failure(build, None, &failure, Some(NOW + 1), NOW).await.unwrap());
        assert!(store.add_failure(build, None, &failure, Some(NOW + 2), NOW).await.unwrap());
        let since = store.retried_us(build).await.unwrap();
        assert_eq!(store.failures(build, since).await.unwrap().len(), 2, "they are after it");
        // What waits for a time of tomorrow's clock is due now.
        let later = Some(NOW + DAY + 2_000_000);
        assert!(store.add_failure(build, None, &failure, later, NOW + DAY).await.unwrap());
        assert_eq!(store.builds_to_import(NOW + DAY).await.unwrap().len(), 0, "it waits 2 s");
        assert_eq!(store.builds_to_import(NOW).await.unwrap().len(), 1);
        assert!(store.cancel_build(build, NOW).await.unwrap());
        assert!(store.cancelled_us(build).await.unwrap() > since);
        assert!(store.retry_build(build, NOW).await.unwrap());
        let retried = store.retried_us(build).await.unwrap();
        assert!(retried > store.cancelled_us(build).await.unwrap());
        assert_eq!(store.failures(build, retried).await.unwrap().len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_repeats_the_architectures_that_failed() {
    on_both(|store| async move {
        let (build, first) = ready(&store, TaskKind::Build).await;
        let other = NewTask { kind: TaskKind::Build, arch: Arch::Aarch64 };
        store.add_tasks(build, &[other], NOW).await.unwrap();
        let second = store.tasks(build).await.unwrap()[1].id;
        store.add_lock(second, 0, digest("lock"), NOW).await.unwrap();
        let mut attempts = Vec::new();
        for (task, worker) in [(first, "w1"), (second, "w2")] {
            let attempt = store.grant(task, build, worker, NOW).await.unwrap().expect("granted");
            attempts.push((AttemptId(attempt.id), Epoch(attempt.epoch)));
        }
        let [(accepted, epoch), (failed, other)] = [attempts[0], attempts[1]];
        store.end_succeeded(accepted, epoch, &succeeded(), NOW).await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(tx.accept(first, accepted, 1, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let failure = Failure::new(Fault::Package, "check", "1 test failed");
        assert!(store.end_failed(failed, other, &failure, None, NOW).await.unwrap());
        assert!(!store.is_open(build).await.unwrap());

        assert!(store.retry_build(build, NOW + 1).await.unwrap());
        assert_eq!(store.acceptance(first).await.unwrap().map(|row| row.0), Some(accepted));
        assert!(store.grant(first, build, "w1", NOW + 1).await.unwrap().is_none(), "it stays");
        let again = store.grant(second, build, "w2", NOW + 1).await.unwrap().expect("again");
        assert_eq!(again.epoch, 2);
        assert!(store.attempts_to_accept(NOW + 1).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_architectures_wait_for_each_other() {
    on_both(|store| async move {
        let build = start(&store, &["hello"], "").await[0];
        let arches = [Arch::X86_64, Arch::Aarch64];
        let tasks: Vec<NewTask> = arches.map(|arch| NewTask { kind: TaskKind::Build, arch }).into();
        store.add_tasks(build, &tasks, NOW).await.unwrap();
        let tasks = store.tasks(build).await.unwrap();
        let made = |arch: &str, content: &str| MadePackage {
            package: NewPackage {
                nevra: format!("hello-1-1.{arch}").parse().unwrap(),
                digest: digest(content),
                size: 5,
                repodata: digest("xml"),
            },
            content: (arch == "noarch").then(|| digest("content")),
        };
        // The second architecture is first, and each has its own bytes of the noarch package.
        for (number, task) in tasks.iter().enumerate().rev() {
            store.add_lock(task.id, 0, digest("lock"), NOW).await.unwrap();
            let attempt = store.grant(task.id, build, "w1", NOW).await.unwrap().expect("granted");
            let mut tx = store.write().await.unwrap();
            assert!(tx.accept(task.id, AttemptId(attempt.id), 1, NOW).await.unwrap());
            let all = [made(task.arch.as_str(), "a"), made("noarch", task.arch.as_str())];
            tx.add_results(build, task.id, task.arch, &all).await.unwrap();
            let accepted = tx.accepted_tasks(build, TaskKind::Build).await.unwrap();
            let expected: Vec<Arch> = arches[number..].to_vec();
            assert_eq!(accepted.iter().map(|task| task.arch).collect::<Vec<_>>(), expected);
            assert_eq!(accepted[0].packages.len(), 2);
            assert!(
                accepted[0].packages.contains(&all[0]) && accepted[0].packages.contains(&all[1])
            );
            tx.commit().await.unwrap();
        }
        assert_eq!(store.package_count("lab").await.unwrap(), 0);
    })
    .await;
}
