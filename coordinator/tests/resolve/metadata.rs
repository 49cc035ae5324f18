//! Metadata of external repositories: which are accepted, refused and kept.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rpmfarm_coordinator::resolve::{AgePolicy, MetadataError, MetadataErrorKind, ResolveError};
use rpmfarm_core::Fault as Whose;

use crate::scene::{Fault, Scene, run};

/// Why metadata were refused.
fn rejection(error: ResolveError) -> MetadataErrorKind {
    assert_eq!(error.fault(), Whose::Farm);
    let text = error.to_string();
    assert!(text.starts_with("repository `repo`: http://127.0.0.1:"), "{text}");
    match error {
        ResolveError::Metadata(MetadataError { source, .. }) => source,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_wrong_or_missing_signature_is_refused() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    scene.key("evil");
    scene.sign_page("repo", "evil");
    let error = scene.resolve(&resolver, &target, &[]).await.unwrap_err();
    let why = rejection(error);
    assert!(matches!(why, MetadataErrorKind::Signature { .. }), "{why}");
    assert!(why.to_string().contains("one of the keys"), "{why}");

    scene.sign_page("repo", "good");
    scene.edit_page("repo", |text| text.replace("<revision>", "<revision>1"));
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(matches!(why, MetadataErrorKind::Signature { .. }), "{why}");

    fs::remove_file(scene.www("repo").join("repodata/repomd.xml.asc")).unwrap();
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(why.to_string().contains("repomd.xml.asc: the server answered 404"), "{why}");

    scene.sign_page("repo", "good");
    scene.resolve(&resolver, &target, &[]).await.unwrap();
}

#[tokio::test]
async fn a_changed_primary_is_refused() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let primary = scene.primary("repo");
    let good = fs::read(&primary).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&primary, &bad).unwrap();
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(matches!(why, MetadataErrorKind::Mismatch { what: "digest", .. }), "{why}");

    fs::write(&primary, &good[..middle]).unwrap();
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    let text = format!("expected {} bytes, found {middle} bytes", good.len());
    assert!(why.to_string().contains(&text), "{why}");

    fs::write(&primary, [&good[..], b"x"].concat()).unwrap();
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(why.to_string().contains(&format!("longer than {} bytes", good.len())), "{why}");
    let left = fs::read_dir(scene.cache())
        .unwrap()
        .flatten()
        .flat_map(|home| fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path()));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0].map(std::path::PathBuf::from));
}

#[tokio::test]
async fn places_out_of_the_repository_are_refused() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.unsigned_target());
    let page = fs::read_to_string(scene.page("repo")).unwrap();
    for (place, says) in [
        ("../repodata/", "leads out of the repository"),
        ("/repodata/", "is absolute"),
        ("http://example.org/repodata/", "is absolute"),
    ] {
        scene.edit_page("repo", |_| page.replace("href=\"repodata/", &format!("href=\"{place}")));
        let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
        assert!(why.to_string().contains(says), "{why}");
    }
    scene.index("repo", &["--location-prefix", "../../elsewhere"]);
    let error = scene.resolve(&resolver, &target, &[]).await.unwrap_err();
    assert_eq!(error.fault(), Whose::Farm);
    assert!(error.to_string().contains("leads out of the repository"), "{error}");
}

#[tokio::test]
async fn rolled_back_metadata_are_refused_unless_they_are_asked_for() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    scene.resolve(&resolver, &target, &[]).await.unwrap();
    let old = scene.www("old");
    run(Command::new("cp").arg("-a").arg(scene.www("repo").join("repodata")).arg(&old));

    scene.build("repo", &[("late", "1", "")]);
    scene.sign_packages("repo", "good");
    scene.index("repo", &["--revision", "9999999999"]);
    scene.sign_page("repo", "good");
    assert_eq!(scene.refresh(&resolver, &target, AgePolicy::Refuse).await, Ok(true));
    scene.resolve(&resolver, &target, &["late"]).await.unwrap();

    let new = scene.www("new");
    fs::rename(scene.www("repo").join("repodata"), &new).unwrap();
    run(Command::new("cp").arg("-a").arg(&old).arg(scene.www("repo").join("repodata")));
    let error = scene.refresh(&resolver, &target, AgePolicy::Refuse).await.unwrap_err();
    assert!(error.contains("older than the cached metadata: revision"), "{error}");
    assert!(error.contains("after 9999999999"), "{error}");
    scene.resolve(&resolver, &target, &["late"]).await.unwrap();
    // Not forgotten over a restart.
    let restarted = scene.resolver();
    let error = scene.refresh(&restarted, &target, AgePolicy::Refuse).await.unwrap_err();
    assert!(error.contains("older than the cached metadata"), "{error}");

    assert_eq!(scene.refresh(&resolver, &target, AgePolicy::Accept).await, Ok(true));
    assert!(scene.resolve(&resolver, &target, &["late"]).await.is_err());
}

#[tokio::test]
async fn what_is_kept_serves_a_restart_and_is_checked_again() {
    let scene = Scene::new().await;
    let target = scene.target();
    let lock = scene.resolve(&scene.resolver(), &target, &["lib-devel"]).await.unwrap();
    assert_eq!(scene.requests(), 4, "page, signature, primary, filelists");

    let restarted = scene.resolver();
    assert_eq!(scene.resolve(&restarted, &target, &["lib-devel"]).await.unwrap(), lock);
    assert_eq!(scene.requests(), 0);
    assert_eq!(scene.refresh(&restarted, &target, AgePolicy::Refuse).await, Ok(false));
    assert_eq!(scene.requests(), 1, "only the page is asked for");

    // A damaged file is fetched again.
    let kept: Vec<_> = glob(&scene, "-primary.xml.gz");
    assert_eq!(kept.len(), 1);
    fs::write(&kept[0], b"damaged").unwrap();
    let restarted = scene.resolver();
    assert_eq!(scene.resolve(&restarted, &target, &["lib-devel"]).await.unwrap(), lock);
    assert_eq!(scene.requests(), 3, "filelists are still good");

    // Without the server, the cached metadata are enough.
    scene.stop();
    let restarted = scene.resolver();
    assert_eq!(scene.resolve(&restarted, &target, &["lib-devel"]).await.unwrap(), lock);
    assert!(scene.refresh(&restarted, &target, AgePolicy::Refuse).await.is_err());
}

fn glob(scene: &Scene, end: &str) -> Vec<std::path::PathBuf> {
    let list = |dir: std::path::PathBuf| fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    list(scene.cache())
        .flat_map(list)
        .filter(|path| path.is_dir())
        .flat_map(list)
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect()
}

#[tokio::test]
async fn a_bomb_is_not_given_to_the_solver() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.unsigned_target());
    let start = "<data type=\"primary\">";
    scene.edit_page("repo", |text| {
        let (before, primary) = text.split_once(start).unwrap();
        let (_, after) = primary.split_once("</open-size>").unwrap();
        let (primary, _) = primary.split_once("<open-size>").unwrap();
        format!("{before}{start}{primary}<open-size>1000</open-size>{after}")
    });
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(
        why.to_string().contains("decompressed size: expected 1000 bytes, found more"),
        "{why}"
    );
}

#[tokio::test]
async fn servers_that_misbehave() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let fault = |fault| *scene.faults.lock() = vec![("/repomd.xml", fault)];

    fault(Fault::Redirect("http://127.0.0.2:1/repo/repodata/repomd.xml"));
    let why = rejection_of_other_host(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(why.contains("127.0.0.2 has a loopback") && why.contains("private_hosts"), "{why}");

    fault(Fault::Unavailable(9));
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(why.to_string().contains("answered 503"), "{why}");

    fault(Fault::Hang);
    let why = rejection(scene.resolve(&resolver, &target, &[]).await.unwrap_err());
    assert!(why.to_string().contains("no answer for 2 s"), "{why}");

    fault(Fault::Unavailable(2));
    scene.resolve(&resolver, &target, &[]).await.unwrap();
}

fn rejection_of_other_host(error: ResolveError) -> String {
    assert_eq!(error.fault(), Whose::Farm);
    error.to_string()
}

#[tokio::test]
async fn a_key_that_is_none_is_named() {
    let scene = Scene::new().await;
    let (resolver, target) =
        (scene.resolver(), scene.target_of(&[("repo", "keys = [\"no.asc\"]")]));
    let error = scene.resolve(&resolver, &target, &[]).await.unwrap_err().to_string();
    assert!(error.contains("target t, repository `repo`: key file"), "{error}");
    assert!(error.contains("no.asc"), "{error}");
}

#[tokio::test]
async fn a_binary_key_does_as_well() {
    let scene = Scene::new().await;
    let file = scene.cache().with_file_name("good.asc");
    run(Command::new("gpg").args(["--batch", "--yes", "--dearmor"]).arg(&file));
    fs::rename(file.with_extension("asc.gpg"), &file).unwrap();
    let (resolver, target) = (scene.resolver(), scene.target());
    scene.resolve(&resolver, &target, &[]).await.unwrap();
}

#[tokio::test]
async fn metadata_that_are_too_old_are_refused_where_the_target_says_so() {
    let scene = Scene::new().await;
    let target = scene.target_with("max_age_days = 30");
    let resolver = scene.resolver();
    scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    let in_days = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400);
    scene.resolve_at(&resolver, &target, &["compiler"], in_days(29)).await.unwrap();
    let error = scene.resolve_at(&resolver, &target, &["compiler"], in_days(32)).await.unwrap_err();
    assert_eq!(error.fault(), Whose::Farm);
    let message = error.to_string();
    assert!(message.contains("more than max_age_days = 30"), "{message}");
    let any_age = scene.target();
    scene.resolve_at(&resolver, &any_age, &["compiler"], in_days(3000)).await.unwrap();
}
