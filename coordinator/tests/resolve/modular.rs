//! Repositories with modules, and with packages that lie elsewhere.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use rpmfarm_coordinator::resolve::{AgePolicy, Requirements};
use rpmfarm_core::Arch;
use rpmfarm_core::modules::ModuleChoice;
use rpmfarm_core::target::Target;

use crate::scene::{Scene, UPSTREAM, names, run};

/// A stream of the module `streamed` with one package.
fn stream(stream: &str, requires: &str) -> String {
    format!(
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: streamed\n  stream: \"{stream}\"\n  \
         version: 20260101\n  context: lab9\n  arch: x86_64\n  summary: s\n  description: d\n  \
         license: {{module: [MIT]}}\n  dependencies:\n  - requires: {{{requires}}}\n  artifacts:\n    \
         rpms:\n    - streamed-0:{stream}.0-1.noarch\n...\n"
    )
}

const DEFAULT: &str = "---\ndocument: modulemd-defaults\nversion: 1\ndata: {module: streamed, \
                       stream: '2', profiles: {'2': []}}\n";

/// Packages of two streams, and one outside of modules. All tests of modules start with them.
async fn scene(modules: &str, how: &[&str]) -> Scene {
    let scene = Scene::empty().await;
    scene.build("repo", UPSTREAM);
    for version in ["1.0", "2.0", "3.0"] {
        scene.build("repo", &[("streamed", version, "Provides: other-name")]);
    }
    scene.build("repo", &[("user", "1", "Requires: streamed")]);
    index(&scene, modules, how);
    scene
}

fn index(scene: &Scene, modules: &str, how: &[&str]) {
    scene.index("repo", &[]);
    let file = scene.www("repo").join("modules.yaml");
    fs::write(&file, modules).unwrap();
    run(Command::new("modifyrepo_c")
        .args(["--mdtype=modules"])
        .args(how)
        .arg(&file)
        .arg(scene.www("repo").join("repodata")));
    fs::remove_file(file).unwrap();
}

fn target(scene: &Scene, more: &str) -> Target {
    scene.file_of(&[("repo", "gpgcheck = false\ninsecure = true")]).with(more).target()
}

async fn streamed(scene: &Scene, target: &Target, modules: ModuleChoice) -> Result<String, String> {
    let wanted =
        Requirements { layers: vec![vec!["user".to_owned()]], modules, ..Requirements::default() };
    let resolver = scene.resolver();
    let now = SystemTime::now();
    let lock = resolver.resolve(target, Arch::X86_64, &scene.farm, wanted, now).await;
    let lock = lock.map_err(|error| error.to_string())?;
    let package = lock.packages().find(|package| package.nevra.name == "streamed").unwrap();
    Ok(format!("{} {}", package.nevra.evr.version, package.module))
}

#[tokio::test]
async fn streams_are_chosen_as_dnf_does() {
    let both = stream("2", "") + &stream("3", "");
    let scene = scene(&both, &["--compress-type=gz"]).await;
    let plain = target(&scene, "");
    let default = ModuleChoice::default;
    assert_eq!(streamed(&scene, &plain, default()).await, Ok("1.0 ".into()));

    let chosen = target(&scene, "modules = [\"streamed:3\"]");
    assert_eq!(
        streamed(&scene, &chosen, chosen.modules_of("x")).await,
        Ok("3.0 streamed:3".into())
    );

    let missing = target(&scene, "modules = [\"streamed:9\"]");
    let error = streamed(&scene, &missing, missing.modules_of("x")).await.unwrap_err();
    assert!(error.contains("no repository has the module stream `streamed:9`"), "{error}");
    assert!(error.contains("there are streamed:2, streamed:3"), "{error}");

    // A default stream, and the stream that a target or a package chooses instead.
    index(&scene, &(both + DEFAULT), &[]);
    fs::remove_dir_all(scene.cache()).unwrap();
    assert_eq!(streamed(&scene, &plain, default()).await, Ok("2.0 streamed:2".into()));
    let off = target(&scene, "disabled_modules = [\"streamed\"]");
    assert_eq!(streamed(&scene, &off, off.modules_of("x")).await, Ok("1.0 ".into()));
    let mut own = chosen.clone();
    own.packages =
        toml::from_str("[x]\nmodules = [\"streamed:2\"]\n[y]\ndisabled_modules = [\"streamed\"]")
            .unwrap();
    assert_eq!(streamed(&scene, &own, own.modules_of("x")).await, Ok("2.0 streamed:2".into()));
    assert_eq!(streamed(&scene, &own, own.modules_of("y")).await, Ok("1.0 ".into()));
    assert_eq!(streamed(&scene, &own, own.modules_of("z")).await, Ok("3.0 streamed:3".into()));
}

#[tokio::test]
async fn every_compression_of_modules_is_read() {
    // Debian's modifyrepo_c does not know zstd.
    for how in [
        &["--no-compress"][..],
        &["--compress-type=gz"],
        &["--compress-type=xz"],
        &["--compress-type=bz2"],
    ] {
        let scene = scene(&(stream("2", "") + &stream("3", "")), how).await;
        let plain = target(&scene, "");
        let found = streamed(&scene, &plain, ModuleChoice::default()).await;
        assert_eq!(found, Ok("1.0 ".into()), "{how:?}");
    }
}

#[tokio::test]
async fn the_platform_comes_from_the_release_package_or_the_target() {
    let modules = stream("2", "platform: [lab9]") + DEFAULT;
    let scene = scene(&modules, &[]).await;
    let plain = target(&scene, "");
    let error = streamed(&scene, &plain, ModuleChoice::default()).await.unwrap_err();
    assert!(error.contains("module_platform_id"), "{error}");
    for (platform, found) in [("lab9", "2.0 streamed:2"), ("lab8", "3.0 ")] {
        let named = target(&scene, &format!("module_platform_id = \"platform:{platform}\""));
        let answer = streamed(&scene, &named, ModuleChoice::default()).await;
        assert_eq!(answer, Ok(found.into()), "{platform}");
    }
    let provides = "Provides: system-release\nProvides: base-module(platform:lab9)";
    scene.build("repo", &[("lab-release", "9", provides)]);
    index(&scene, &modules, &[]);
    fs::remove_dir_all(scene.cache()).unwrap();
    let found = streamed(&scene, &plain, ModuleChoice::default()).await;
    assert_eq!(found, Ok("2.0 streamed:2".into()));

    // A chosen stream with requirements that no module has is reported, not ignored.
    index(&scene, &stream("2", "platform: [lab9], nowhere: [x]"), &[]);
    fs::remove_dir_all(scene.cache()).unwrap();
    let chosen = target(&scene, "modules = [\"streamed:2\"]");
    let error = streamed(&scene, &chosen, chosen.modules_of("x")).await.unwrap_err();
    assert!(error.contains("`streamed:2` cannot be used"), "{error}");
    assert!(error.contains("module(nowhere:x)"), "{error}");
}

#[tokio::test]
async fn malformed_modules_refuse_the_repository() {
    let scene = scene("document: modulemd\nversion: 3\ndata: {}\n", &[]).await;
    let error = streamed(&scene, &target(&scene, ""), ModuleChoice::default()).await.unwrap_err();
    assert!(error.contains("repository `repo`: modules.yaml: document 1"), "{error}");
    assert!(error.contains("version `3`"), "{error}");
}

#[tokio::test]
async fn what_the_farm_has_built_is_hidden_by_no_module() {
    let scene = scene(&stream("2", ""), &[]).await;
    scene.build("own", &[("streamed", "2.0", "")]);
    scene.accept("own");
    let plain = target(&scene, "");
    assert_eq!(streamed(&scene, &plain, ModuleChoice::default()).await, Ok("2.0 ".into()));
}

#[tokio::test]
async fn packages_come_from_the_base_that_metadata_name() {
    let scene = Scene::empty().await;
    scene.build("files", UPSTREAM);
    fs::create_dir_all(scene.www("repo")).unwrap();
    let index = |base: &str| {
        run(Command::new("createrepo_c")
            .args(["--quiet", "--baseurl", base, "--outputdir"])
            .arg(scene.www("repo"))
            .arg(scene.www("files")));
    };
    let target = target(&scene, "");
    let url = target.repositories[0].urls(Arch::X86_64)[0].replace("repo/", "files/");
    index(&url);
    let resolver = scene.resolver();
    let lock = scene.resolve(&resolver, &target, &["lib"]).await.unwrap();
    assert_eq!(names(&lock)[0], ["rpm-4", "shell-5"]);
    assert!(lock.packages().all(|package| package.base == url), "{lock:?}");
    resolver.fetch(&target, &lock, SystemTime::now()).await.unwrap();

    for (base, why) in [
        ("http://127.0.0.1:1/files/", "private address 127.0.0.1"),
        ("media://1.2#1", "not reached by http or https"),
        ("../files/", "is not a URL"),
    ] {
        index(base);
        scene.refresh(&resolver, &target, AgePolicy::Accept).await.unwrap();
        let error = scene.resolve(&resolver, &target, &["lib"]).await.unwrap_err().to_string();
        assert!(error.contains("repository `repo`: location of"), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn metadata_come_from_the_base_that_the_page_names() {
    let scene = Scene::empty().await;
    scene.build("files", UPSTREAM);
    scene.index("files", &[]);
    fs::create_dir_all(scene.www("repo/repodata")).unwrap();
    fs::copy(scene.page("files"), scene.page("repo")).unwrap();
    let target = target(&scene, "");
    let base = target.repositories[0].urls(Arch::X86_64)[0].replace("repo/", "files/");
    scene.edit_page("repo", |text| {
        text.replace("<location href", &format!("<location xml:base=\"{base}\" href"))
    });
    scene.resolve(&scene.resolver(), &target, &["lib"]).await.unwrap();
    scene.edit_page("repo", |text| text.replace(&base, "http://10.0.0.1/"));
    fs::remove_dir_all(scene.cache()).unwrap();
    let error = scene.resolve(&scene.resolver(), &target, &["lib"]).await.unwrap_err().to_string();
    assert!(error.contains("private address 10.0.0.1"), "{error}");
}
