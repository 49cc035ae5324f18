//! The products of builds: source packages, results that wait for each other, and names that exist
//! already.

use rpmfarm_coordinator::store::{
    NewPackage, NewTask, ResultPackage, Signature, Srpm, StoreError, UnplacedRow,
};
use rpmfarm_core::missing_requirements::LackingPackage;
use rpmfarm_core::published_repositories::UnplacedPackage;
use rpmfarm_core::statement::{Hex, SignedAcceptance};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::terms::Terms;
use rpmfarm_core::{Arch, Nevra, Sha256};

use crate::common::on_both;
use crate::{NOW, US, digest, ready, start};

#[tokio::test(flavor = "multi_thread")]
async fn an_srpm_survives_storage() {
    on_both(|store| async move {
        let (build, _) = ready(&store, TaskKind::Srpm).await;
        let on_aarch64 = Terms {
            requires: vec!["gcc(aarch-64)".into()],
            predicts: vec!["hello".into(), "hello-arm".into()],
            excluded: vec!["x86_64".into()],
            ..Terms::default()
        };
        let srpm = Srpm {
            digest: digest("srpm"),
            size: 123,
            nevra: "hello-1:2.12-1.el9.src".parse().unwrap(),
            requires: vec!["gcc".into(), "(a or b)".into()],
            conflicts: vec!["old-tool".into()],
            predicts: vec!["hello".into()],
            dynamic: true,
            terms: [("aarch64".into(), on_aarch64.clone())].into(),
        };
        assert_eq!(srpm.requires_on(Arch::Aarch64), on_aarch64.requires);
        assert_eq!(srpm.conflicts_with("aarch64"), on_aarch64.conflicts);
        // For other architectures only the header is known.
        assert_eq!(srpm.requires_on(Arch::Ppc64le), srpm.requires);
        assert_eq!(srpm.conflicts_with("noarch"), srpm.conflicts);
        assert_eq!(srpm.predicts_anywhere(), ["hello", "hello-arm"]);
        let mut tx = store.write().await.unwrap();
        tx.srpm_insert(build, &srpm).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.srpm_fetch(build).await.unwrap(), Some(srpm));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_file_the_newest_acceptance_of_its_target_is_kept() {
    on_both(|store| async move {
        let signed = |text: &str, byte| SignedAcceptance {
            text: format!("first line\n{text}\n"),
            signature: Hex([byte; 64]),
        };
        let add = async |target: &str, all: &[(Sha256, SignedAcceptance)]| {
            let mut tx = store.write().await.unwrap();
            tx.add_acceptances(target, all).await.unwrap();
            tx.commit().await.unwrap();
        };
        let (one, other) = (digest("one"), digest("other"));
        add("lab", &[(one, signed("a", 1)), (other, signed("b", 2))]).await;
        add("lab", &[(one, signed("c", 3))]).await;
        add("next", &[(one, signed("d", 4))]).await;
        let both = [one, other];
        let read = async |target: &str| store.signed_acceptance_list(target, &both).await.unwrap();
        assert_eq!(read("lab").await, [(one, signed("c", 3)), (other, signed("b", 2))].into());
        assert_eq!(read("next").await, [(one, signed("d", 4))].into());
        assert!(store.signed_acceptance_list("lab", &[]).await.unwrap().is_empty());
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
            tx.package_insert("lab", build, task, Arch::X86_64, &all).await?;
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
        assert_eq!(store.pool_fetch_generation("lab").await.unwrap(), 1);

        let signed =
            Signature { signed_digest: digest("s"), signed_size: 9, repodata: digest("r") };
        assert_eq!(store.package_list_of_build(build, "k").await.unwrap()[0].signature, None);
        store.signature_insert("k", &[(digest("one"), signed)], &[], NOW).await.unwrap();
        assert_eq!(
            store.package_list_of_build(build, "k").await.unwrap()[0].signature,
            Some(signed)
        );
        assert_eq!(store.package_list_of_build(build, "other").await.unwrap()[0].signature, None);

        // The names, of many, that exist and are signed with that key.
        let nevra = package("one").nevra;
        let others: Vec<Nevra> =
            (0..1200).map(|n| format!("other{n}-1-1.x86_64").parse().unwrap()).collect();
        let names: Vec<&Nevra> = others.iter().chain([&nevra]).collect();
        let found = store.package_list_signed("lab", "k", &names).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].package.nevra, found[0].signature), (&nevra, Some(signed)));
        for (target, key) in [("lab", "other"), ("other", "k")] {
            assert!(store.package_list_signed(target, key, &names).await.unwrap().is_empty());
        }
        assert!(store.package_list_signed("lab", "k", &[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_architectures_wait_for_each_other() {
    on_both(|store| async move {
        let build = start(&store, &["hello"], "").await[0];
        let arches = [Arch::X86_64, Arch::Aarch64];
        let tasks: Vec<NewTask> = arches.map(|arch| NewTask { kind: TaskKind::Build, arch }).into();
        store.task_insert(build, &tasks, NOW).await.unwrap();
        let tasks = store.task_list(build).await.unwrap();
        let made = |arch: &str, content: &str| ResultPackage {
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
            store.lock_insert(task.id, 0, digest("lock"), NOW).await.unwrap();
            let attempt =
                store.attempt_grant(task.id, build, "w1", NOW).await.unwrap().expect("granted");
            let mut tx = store.write().await.unwrap();
            assert!(tx.acceptance_insert(task.id, attempt.id, 1, NOW).await.unwrap());
            let all = [made(task.arch.as_str(), "a"), made("noarch", task.arch.as_str())];
            tx.result_insert(build, task.id, task.arch, &all).await.unwrap();
            let accepted = tx.task_list_accepted(build, TaskKind::Build).await.unwrap();
            let expected: Vec<Arch> = arches[number..].to_vec();
            assert_eq!(accepted.iter().map(|task| task.arch).collect::<Vec<_>>(), expected);
            assert_eq!(accepted[0].packages.len(), 2);
            assert!(
                accepted[0].packages.contains(&all[0]) && accepted[0].packages.contains(&all[1])
            );
            tx.commit().await.unwrap();
        }
        assert_eq!(store.pool_fetch_generation("lab").await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_packages_lack_is_that_of_the_newest_publication() {
    on_both(|store| async move {
        let (build, task) = ready(&store, TaskKind::Build).await;
        let package = NewPackage {
            nevra: "script-1-1.noarch".parse().unwrap(),
            digest: digest("script"),
            size: 5,
            repodata: digest("xml"),
        };
        let mut tx = store.write().await.unwrap();
        tx.package_insert("el9", build, task, Arch::X86_64, std::slice::from_ref(&package))
            .await
            .unwrap();
        tx.build_note_insert(build, &["one".into(), "two".into()]).await.unwrap();
        tx.build_note_insert(build, &["two".into(), "three".into()]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.build_note_list(build).await.unwrap(), ["one", "two", "three"]);
        let lacking = |arch, requirement: &str| LackingPackage {
            nevra: package.nevra.clone(),
            arch,
            requirement: requirement.into(),
        };
        let first = [lacking(None, "x"), lacking(Some(Arch::Ppc64le), "jit >= 1")];
        store.lacking_replace("el9", "testing", &first).await.unwrap();
        assert_eq!(store.lacking_list(build).await.unwrap(), first);
        let second = [lacking(Some(Arch::Aarch64), "jit")];
        store.lacking_replace("el9", "testing", &second).await.unwrap();
        store.lacking_replace("el9", "stable", &[]).await.unwrap();
        assert_eq!(store.lacking_list(build).await.unwrap(), second);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_repository_is_listed_with_its_time() {
    on_both(|store| async move {
        let package = |name: &str| UnplacedPackage {
            nevra: format!("{name}-1-1.noarch").parse().unwrap(),
            source: "a-1-1.src".parse().unwrap(),
        };
        let row = |name: &str, since| UnplacedRow { package: package(name), since };
        let replace = async |all: &[UnplacedPackage], now| {
            store.unplaced_replace("el9", "testing", all, now).await.unwrap();
            store.unplaced_list("el9", "testing").await.unwrap()
        };
        let later = NOW + US;
        let first = replace(&[package("b"), package("a")], NOW).await;
        assert_eq!(first, [row("a", NOW), row("b", NOW)]);
        let second = replace(&[package("c"), package("b")], later).await;
        assert_eq!(second, [row("b", NOW), row("c", later)]);
        store.unplaced_replace("el9", "stable", &[package("a")], NOW).await.unwrap();
        assert!(replace(&[], later).await.is_empty());
        let other = store.unplaced_list("el9", "stable").await.unwrap();
        assert_eq!(other, [row("a", NOW)]);
    })
    .await;
}
