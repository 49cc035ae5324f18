//! What is refused of git, and what is said.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rpmfarm_coordinator::import::ImportLimits;
use rpmfarm_core::{Fault, Target};

use crate::upstream::target_at;
use crate::{Scene, quick};

#[tokio::test]
async fn a_ref_that_is_not_there() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    let (fault, message) = scene.refusal(Some("lab2")).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.ends_with("has no branch or tag `lab2`; it has lab1"), "{message}");
    let (fault, message) = scene.refusal(Some(&"0123456789".repeat(4))).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.contains("does not give commit 0123456789"), "{message}");
    let (_, message) = scene.refusal(Some("--upload-pack=x")).await;
    assert!(message.contains("is not a branch, tag or commit"), "{message}");
    assert!(scene.import(Some("lab1")).await.is_ok());
}

#[tokio::test]
async fn a_package_that_is_not_there() {
    let scene = Scene::new().await;
    let error = scene.importer.import(&scene.target, "nothing", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Package);
    let message = error.to_string();
    assert!(message.starts_with("package `nothing` is not there: http://127"), "{message}");
    assert!(message.ends_with("answered 404"), "{message}");
    assert!(scene.importer.import(&scene.target, "../x", None).await.is_err());
}

#[tokio::test]
async fn sources_that_are_not_in_order() {
    let scene = Scene::new().await;
    let md5 = format!("{}  hello.tar\n", "0".repeat(32));
    let twice = format!("{}  fix.patch\n", "0".repeat(64));
    let spec = ("hello.spec", "Name: hello");
    for (files, words) in [
        (vec![("README", "no spec")], "no spec file"),
        (
            vec![("a.spec", "x"), ("other.spec", "x")],
            "2 spec files (a.spec, other.spec), and none is the package's hello.spec: say which one is built with `spec = \"FILE.spec\"` under [packages.hello] in the target",
        ),
        (vec![spec, ("fix.patch", "-> ../../etc/passwd")], "leads out of the repository"),
        (vec![spec, ("fix.patch", "-> /etc/passwd")], "to /etc/passwd; commit the file itself"),
        (vec![("hello.spec", "-> /etc/passwd")], "leads out of the repository"),
        (vec![spec, ("fix.patch", "-> gone")], "no file of the repository"),
        (vec![spec, ("a\nb.patch", "x")], "not a plain file name"),
        (vec![spec, ("sources", "rubbish")], "sources, line 1: `rubbish` is neither"),
        (vec![spec, ("sources", md5.as_str())], "allow_md5"),
        (
            vec![spec, ("fix.patch", "x"), ("sources", twice.as_str())],
            "fix.patch is there twice and differs: fix.patch is committed with sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881, sources says sha256:0000",
        ),
    ] {
        scene.upstream.commit(&files);
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Package, "{message}");
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[tokio::test]
async fn what_no_build_reads_stops_nothing() {
    use std::os::unix::ffi::OsStrExt as _;
    let scene = Scene::new().await;
    let deep = format!("tests/{}x", "d/".repeat(80));
    let commit = scene.upstream.commit(&[
        ("SPECS/hello.spec", "1"),
        ("SOURCES/a.patch", "x"),
        ("SOURCES/data/link", "-> /etc/passwd"),
        ("tests/outside", "-> /etc/passwd"),
        ("tests/gone", "-> nowhere"),
        ("tests/a\nb\u{1b}[31m", "x"),
        (&deep, "x"),
    ]);
    let odd = |folder: &str| {
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        scene.upstream.work().join(folder).join(name)
    };
    std::fs::write(odd("tests"), "x").unwrap();
    std::fs::create_dir(odd("SOURCES/data")).unwrap();
    std::fs::write(odd("SOURCES/data").join("x"), "x").unwrap();
    std::os::unix::fs::symlink(
        std::ffi::OsStr::from_bytes(b"\xff"),
        scene.upstream.work().join("tests/to-no-text"),
    )
    .unwrap();
    for path in ["ci", "tests/dep", "SOURCES/dep"] {
        let module = format!("160000,{commit},{path}");
        scene.upstream.git(&["update-index", "--add", "--cacheinfo", &module]);
    }
    scene.upstream.git(&["add", "--ignore-removal", "."]);
    scene.upstream.git(&["commit", "-q", "-m", "Odd neighbours"]);
    let bare = scene.upstream.bare();
    scene.upstream.git(&["push", "-q", bare.to_str().unwrap(), "HEAD:refs/heads/lab1"]);
    let imported = scene.import(None).await.unwrap();
    let names: Vec<_> = imported.bundle.sources.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.patch"]);
    assert!(imported.record.notes.is_empty());

    // What is taken has a name that can be told.
    std::fs::write(odd("SOURCES"), "x").unwrap();
    scene.upstream.push("lab1");
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Package);
    assert!(
        message.starts_with("the name of SOURCES/caf\u{fffd} in the repository is not UTF-8"),
        "{message}"
    );
}

#[tokio::test]
async fn more_files_than_a_package_has_beside_it() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1"), ("a.patch", "x"), ("tests/x", "x")]);
    for n in 0..20_001 {
        std::fs::write(scene.upstream.work().join(format!("tests/{n}")), "x").unwrap();
    }
    scene.upstream.push("lab1");
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.bundle.sources.len(), 1);
}

#[tokio::test]
async fn the_spec_that_is_the_package_s() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "own"), ("old-hello.spec", "old"), ("ci/x.spec", "ci")]);
    let imported = scene.import(None).await.unwrap();
    assert_eq!(scene.text(&imported, "hello.spec"), "own");
    let note = "hello.spec is built; the repository has other spec files beside it, which are not: old-hello.spec";
    assert_eq!(imported.record.notes, [note]);
    // And the one that the target names.
    let file = scene.upstream.target().with("packages.hello.spec = \"old-hello.spec\"");
    let imported = scene.importer.import(&file.target(), "hello", None).await.unwrap();
    assert_eq!(scene.text(&imported, "old-hello.spec"), "old");
    let text = file.with("packages.hello.spec = \"../x.spec\"").text();
    let error = Target::parse("lab.toml", &text).unwrap_err().to_string();
    assert!(error.contains("packages.hello.spec"), "{error}");
}

#[tokio::test]
async fn too_much_of_anything() {
    for (limits, words) in [
        (ImportLimits { spec: 100, ..quick() }, "hello.spec: 2000 bytes, at most 100 bytes"),
        (ImportLimits { committed_file: 10, ..quick() }, "b.patch: 500 bytes, at most 10 bytes"),
        (ImportLimits { files: 1, ..quick() }, "hello: 2 source files, at most 1 files"),
        (ImportLimits { bundle: 2100, ..quick() }, "hello: 2505 bytes of sources"),
        (ImportLimits { git_objects: 3, ..quick() }, "5 git objects in one commit"),
        (ImportLimits { git_bytes: 100, ..quick() }, "the git server sent more"),
        (ImportLimits { git_object: 1000, ..quick() }, "a git object of 2000 bytes, at most 1000"),
        (ImportLimits { git_unpacked: 2100, ..quick() }, "a pack that unpacks to "),
    ] {
        let scene = Scene::with(limits).await;
        let (spec, patch) = ("x".repeat(2000), "y".repeat(500));
        scene.upstream.commit(&[("hello.spec", &spec), ("a.patch", "small"), ("b.patch", &patch)]);
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Package, "{message}");
        assert!(message.contains(words), "{words}: {message}");
    }
}

/// The lab's target with another server.
fn at(scene: &Scene, url: &str) -> Target {
    let lines = format!("private_hosts = [\"127.0.0.1\"]\nupstream.url = \"{url}\"\n");
    scene.upstream.target().with(&lines).target()
}

#[tokio::test]
async fn a_git_server_that_redirects() {
    let scene = Scene::new().await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    let url = format!("http://127.0.0.1:{}/moved/{{name}}.git", scene.upstream.port);
    let error = scene.importer.import(&at(&scene, &url), "hello", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    assert!(error.to_string().contains("redirects to /git/hello.git/info/refs"), "{error}");
}

#[tokio::test]
async fn a_git_server_that_is_down_or_silent() {
    let limits = ImportLimits { silence: Duration::from_secs(1), tries: 2, ..quick() };
    let scene = Scene::with(limits).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/{{name}}.git", listener.local_addr().unwrap().port());
    let target = at(&scene, &url);
    let error = scene.importer.import(&target, "hello", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    assert!(error.to_string().contains("no answer for 1 s"), "{error}");
    drop(listener);
    let error = scene.importer.import(&target, "hello", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_name_that_leads_into_the_own_network() {
    let scene = Scene::new().await;
    // Resolved by the system's hosts file, so only the resolver can see where it leads.
    let mut target = scene.target.clone();
    let url = format!("http://localhost:{}/git/{{name}}.git", scene.upstream.port);
    target.upstream.url = url.as_str().into();
    let error = scene.importer.import(&target, "hello", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    assert!(error.to_string().contains("add it to the target's private_hosts"), "{error}");
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test]
async fn an_import_that_nobody_waits_for_is_stopped() {
    let limits = ImportLimits { lanes: 1, ..quick() };
    let scene = Scene::with(limits).await;
    scene.upstream.commit(&[("hello.spec", "1")]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/{{name}}.git", listener.local_addr().unwrap().port());
    let target = at(&scene, &url);
    let silent = scene.importer.import(&target, "hello", None);
    assert!(tokio::time::timeout(Duration::from_millis(300), silent).await.is_err());
    // The only lane is free again at once.
    let start = Instant::now();
    scene.import(None).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_server_with_a_ref_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let limits = ImportLimits { lanes: 1, ..quick() };
    let scene = Scene::with(limits).await;
    let commit = scene.upstream.commit(&[("hello.spec", "1")]);
    let heads = scene.upstream.bare().join("refs/heads");
    let odd = heads.join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(&odd, format!("{commit}\n")).unwrap();
    scene.import(None).await.unwrap();
}

/// A file system of 2 MiB, as long as it lives.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=2m", "small"];
        let status = std::process::Command::new("mount").args(mount).arg(dir.path()).status();
        assert!(status.unwrap().success(), "mounting needs root");
        Self(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk() {
    let disk = Small::mount();
    let mut scene = Scene::new().await;
    scene.use_blobs_at(disk.0.path());
    scene.upstream.commit(&[("hello.spec", "1"), ("big", &"x".repeat(3 << 20))]);
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.starts_with("the coordinator's disk is full: "), "{message}");
    // Nothing partial is left, and what fits is still imported.
    assert_eq!(std::fs::read_dir(disk.0.path().join("incoming")).unwrap().count(), 0);
    scene.upstream.commit(&[("hello.spec", "2")]);
    scene.import(None).await.unwrap();
}

/// A git server that begins its list of refs and then sends a ref now and then, for ever.
async fn dripping() -> u16 {
    let drip = |_: axum::extract::Request| async {
        let packet = |text: &str| format!("{:04x}{text}", text.len() + 4);
        let head = packet("# service=git-upload-pack\n") + "0000";
        let refs = futures_util::stream::unfold(0, move |n| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((packet(&format!("{} refs/heads/b{n}\n", "a".repeat(40))), n + 1))
        });
        let body = futures_util::stream::once(async { head }).chain(refs);
        let body = axum::body::Body::from_stream(body.map(Ok::<_, std::io::Error>));
        let kind = "application/x-git-upload-pack-advertisement";
        ([(axum::http::header::CONTENT_TYPE, kind)], body)
    };
    let router = axum::Router::new().fallback(drip);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

#[tokio::test]
async fn a_git_server_that_drips() {
    let limits =
        ImportLimits { slowest: 100_000, pace_window: Duration::from_secs(1), tries: 1, ..quick() };
    let mut scene = Scene::with(limits).await;
    scene.target = target_at(dripping().await).target();
    let begun = Instant::now();
    let (_, message) = scene.refusal(None).await;
    assert!(message.contains("too slow ("), "{message}");
    assert!(begun.elapsed() < quick().silence, "it was never silent: {:?}", begun.elapsed());
}
