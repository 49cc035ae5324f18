//! Repositories that lie in several places, and repositories that move on.

use std::fs;
use std::time::SystemTime;

use rpmfarm_coordinator::resolve::AgePolicy;
use rpmfarm_core::Arch;
use rpmfarm_core::target::{Target, Template};

use crate::scene::{Fault, Scene, UPSTREAM, digest, names};

async fn scene() -> Scene {
    let scene = Scene::empty().await;
    scene.build("repo", UPSTREAM);
    scene.index("repo", &[]);
    scene
}

/// The target's first repository's URL, up to the directories that are served.
fn server(target: &Target) -> String {
    target.repositories[0].urls(Arch::X86_64)[0].replace("repo/", "")
}

fn placed(scene: &Scene, key: &str, directories: &[&str]) -> Target {
    let mut target = scene.unsigned_target();
    let server = server(&target);
    let urls: Vec<String> = directories.iter().map(|dir| format!("{server}{dir}")).collect();
    let repository = &mut target.repositories[0];
    match key {
        "baseurl" => {
            repository.baseurl = serde_json::from_value(serde_json::json!(urls)).unwrap();
        }
        "mirrorlist" => {
            fs::write(scene.www("list"), format!("# mirrors\n{}\n", urls.join("\n"))).unwrap();
            repository.mirrorlist = Some(Template::from(format!("{server}list").as_str()));
        }
        _ => {
            let page = digest(&scene.page("repo"));
            let urls: String = urls
                .iter()
                .enumerate()
                .map(|(number, url)| {
                    format!(
                        "<url protocol=\"http\" preference=\"{}\">{url}/repodata/repomd.xml</url>",
                        100 - number
                    )
                })
                .collect();
            let text = format!(
                "<metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\"><files>\
                 <file name=\"repomd.xml\"><verification><hash type=\"sha256\">{page}</hash>\
                 </verification><resources>{urls}</resources></file></files></metalink>"
            );
            fs::write(scene.www("metalink"), text).unwrap();
            repository.metalink = Some(Template::from(format!("{server}metalink").as_str()));
        }
    }
    if key != "baseurl" {
        repository.baseurl = serde_json::from_str("[]").unwrap();
    }
    let text = toml::to_string(&target).unwrap();
    Target::parse("lab.toml", &text).unwrap()
}

#[tokio::test]
async fn another_mirror_is_asked_when_one_fails() {
    for key in ["baseurl", "mirrorlist", "metalink"] {
        let scene = scene().await;
        let target = placed(&scene, key, &["nowhere", "repo"]);
        let resolver = scene.resolver();
        let lock = scene.resolve(&resolver, &target, &["lib"]).await.unwrap();
        assert_eq!(names(&lock)[0], ["rpm-4", "shell-5"], "{key}");
        resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();

        let target = placed(&scene, key, &["nowhere", "neither"]);
        fs::remove_dir_all(scene.cache()).unwrap();
        let error = scene.resolve(&scene.resolver(), &target, &["lib"]).await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/repodata/repomd.xml"), "{key}: {error}");
    }
}

#[tokio::test]
async fn a_mirror_with_another_page_than_the_metalink_says_is_passed_over() {
    let scene = scene().await;
    scene.build("stale", &[("rpm", "3", ""), ("builder", "0", "")]);
    scene.index("stale", &[]);
    let target = placed(&scene, "metalink", &["stale", "repo"]);
    let lock = scene.resolve(&scene.resolver(), &target, &[]).await.unwrap();
    assert_eq!(names(&lock)[0], ["rpm-4", "shell-5"]);
    let target = placed(&scene, "metalink", &["stale"]);
    fs::remove_dir_all(scene.cache()).unwrap();
    let error = scene.resolve(&scene.resolver(), &target, &[]).await.unwrap_err().to_string();
    assert!(error.contains("digest by the metalink"), "{error}");
}

#[tokio::test]
async fn lists_that_lead_nowhere_are_refused() {
    let scene = scene().await;
    let target = placed(&scene, "mirrorlist", &[]);
    let error = scene.resolve(&scene.resolver(), &target, &[]).await.unwrap_err().to_string();
    assert!(error.contains("names no mirror"), "{error}");
    fs::write(scene.www("list"), "http://127.0.0.1:1/repo/\nftp://example.org/\n").unwrap();
    let error = scene.resolve(&scene.resolver(), &target, &[]).await.unwrap_err().to_string();
    assert!(error.contains("private address 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_package_that_is_gone_is_told_apart_and_solved_anew() {
    let scene = scene().await;
    let target = scene.unsigned_target();
    let resolver = scene.resolver();
    let lock = scene.resolve(&resolver, &target, &["lib"]).await.unwrap();
    // The repository is updated: a newer package replaces this one.
    for path in scene.rpms("repo") {
        if path.to_string_lossy().contains("/lib-3") {
            fs::remove_file(path).unwrap();
        }
    }
    scene.build("repo", &[("lib", "4", "")]);
    scene.index("repo", &[]);
    let error = resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert_eq!(scene.refresh(&resolver, &target, AgePolicy::Refuse).await, Ok(true));
    let lock = scene.resolve(&resolver, &target, &["lib"]).await.unwrap();
    resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();
    assert!(lock.packages().any(|package| package.nevra.to_string() == "lib-4-1.noarch"));

    // Another failure does not mean that a package has disappeared.
    let shell = lock.packages().find(|package| package.nevra.name == "shell").unwrap();
    fs::remove_file(scene.blobs.path(shell.digest)).ok();
    scene.faults.lock().push((".rpm", Fault::Unavailable(99)));
    let error = resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap_err();
    assert!(!error.is_gone(), "{error}");
}

#[tokio::test]
async fn costs_and_included_packages_are_obeyed() {
    let scene = scene().await;
    scene.build("other", &[("lib", "9", ""), ("extra", "1", "")]);
    scene.index("other", &[]);
    let plain = "gpgcheck = false\ninsecure = true";
    let chosen = async |more: &str| {
        let other = format!("{plain}\n{more}");
        let target = scene.target_of(&[("repo", plain), ("other", &other)]);
        let lock = scene.resolve(&scene.resolver(), &target, &["lib"]).await.unwrap();
        let lib = lock.packages().find(|package| package.nevra.name == "lib").unwrap();
        format!("{} {}", lib.nevra.evr.version, lib.origin)
    };
    assert_eq!(chosen("").await, "9 other");
    assert_eq!(chosen("excludepkgs = [\"lib-[0-9]*\"]").await, "3 repo");
    assert_eq!(chosen("includepkgs = [\"ext*\"]").await, "3 repo");
    assert_eq!(chosen("priority = 100").await, "3 repo");
    scene.build("other", &[("lib", "3", "")]);
    for path in scene.rpms("other") {
        if path.to_string_lossy().contains("/lib-9") {
            fs::remove_file(path).unwrap();
        }
    }
    scene.index("other", &[]);
    for (cost, origin) in [("500", "3 other"), ("1500", "3 repo")] {
        fs::remove_dir_all(scene.cache()).unwrap();
        assert_eq!(chosen(&format!("cost = {cost}")).await, origin);
    }
}
