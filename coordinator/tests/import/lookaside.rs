//! Look-aside servers that fail, lie or lead astray.

use std::time::{Duration, Instant};

use rpmfarm_coordinator::import::ImportLimits;
use rpmfarm_core::Fault;

use crate::upstream::{Serve, sha512};
use crate::{Scene, quick};

/// A scene whose one tarball is served in this way.
async fn serving(limits: ImportLimits, serve: Serve) -> Scene {
    let scene = Scene::with(limits).await;
    let hash = sha512(&tarball());
    scene.upstream.serve(&hash, serve);
    let sources = format!("SHA512 (hello-1.tar.gz) = {hash}\n");
    scene.upstream.commit(&[("hello.spec", "1"), ("sources", &sources)]);
    scene
}

fn tarball() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn downloads(scene: &Scene) -> Vec<String> {
    scene.upstream.requests().into_iter().filter(|r| r.contains("hello-1.tar.gz")).collect()
}

#[tokio::test]
async fn another_content() {
    let scene = serving(quick(), Serve::Whole(b"not the tarball".to_vec())).await;
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.contains("hello-1.tar.gz from http://127"), "{message}");
    let expected = format!("expected sha512:{}", sha512(&tarball()));
    let found = format!("found sha512:{}", sha512(b"not the tarball"));
    assert!(message.contains(&expected) && message.contains(&found), "{message}");
    // A file with a wrong digest is not stored.
    let wrong = rpmfarm_core::Sha256::compute(b"not the tarball");
    assert!(!scene.blobs.contains(wrong));
}

#[tokio::test]
async fn a_file_that_no_server_has() {
    let mut scene = serving(quick(), Serve::Endless).await;
    let other =
        format!("http://127.0.0.1:{}/lookaside/other-{{hash}}/{{file}}", scene.upstream.port);
    scene.target.upstream.lookaside =
        vec![other.as_str().into(), other.replace("other", "third").as_str().into()];
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.contains("hello-1.tar.gz (sha512:"), "{message}");
    for tried in ["/lookaside/other-", "/lookaside/third-", "(404)"] {
        assert!(message.contains(tried), "{message}");
    }
    assert_eq!(downloads(&scene).len(), 2, "a 404 is not asked for again");
    scene.target.upstream.lookaside.clear();
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.contains("has no upstream.lookaside"), "{message}");
}

#[tokio::test]
async fn the_second_server_has_it() {
    let mut scene = serving(quick(), Serve::Whole(tarball())).await;
    let missing =
        format!("http://127.0.0.1:{}/lookaside/no-{{hash}}/{{file}}", scene.upstream.port);
    scene.target.upstream.lookaside.insert(0, missing.as_str().into());
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.bundle.sources[0].size, 800_000);
}

#[tokio::test]
async fn a_body_without_end() {
    let scene = serving(quick(), Serve::Endless).await;
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.contains("hello-1.tar.gz: more than that came"), "{message}");
    assert!(message.contains("at most 1048576 bytes are allowed"), "{message}");
    assert_eq!(downloads(&scene).len(), 1);
}

#[tokio::test]
async fn a_body_that_is_announced_too_long() {
    let scene = serving(quick(), Serve::Whole(vec![0; 2 << 20])).await;
    let (_, message) = scene.refusal(None).await;
    assert!(message.contains("2097152 bytes from"), "{message}");
}

#[tokio::test]
async fn a_server_that_falls_silent() {
    let limits = ImportLimits { silence: Duration::from_secs(2), tries: 2, ..quick() };
    let scene = serving(limits, Serve::Silent).await;
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.contains("no answer for 2 s"), "{message}");
    assert_eq!(downloads(&scene).len(), 2);
}

#[tokio::test]
async fn a_server_that_trickles() {
    let limits = ImportLimits { pace_window: Duration::from_secs(2), tries: 1, ..quick() };
    let scene = serving(limits, Serve::Trickle).await;
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.contains("too slow ("), "{message}");
}

#[tokio::test]
async fn the_time_of_an_import_ends() {
    let limits = ImportLimits { time: Duration::from_secs(1), ..quick() };
    let scene = serving(limits, Serve::Trickle).await;
    let start = Instant::now();
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.contains("longer than 1 s"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let scene = serving(quick(), Serve::Busy(tarball(), 2)).await;
    scene.import(None).await.unwrap();
    assert_eq!(downloads(&scene).len(), 3);
    let scene = serving(quick(), Serve::Busy(tarball(), 3)).await;
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Farm);
    assert!(message.contains("the server answered 503"), "{message}");
}

#[tokio::test]
async fn a_broken_download_is_resumed() {
    let scene = serving(quick(), Serve::Broken(tarball(), 300_000)).await;
    let imported = scene.import(None).await.unwrap();
    assert_eq!(imported.bundle.sources[0].digest, rpmfarm_core::Sha256::compute(&tarball()));
    let downloads = downloads(&scene);
    assert_eq!(downloads.len(), 2, "{downloads:?}");
    assert_eq!(downloads[1], "GET hello-1.tar.gz bytes=300000-");
}

#[tokio::test]
async fn redirects_lead_to_public_servers_only() {
    let spy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    spy.set_nonblocking(true).unwrap();
    let port = spy.local_addr().unwrap().port();
    let scene = serving(quick(), Serve::Endless).await;
    let hash = sha512(&tarball());
    let refused = async |to: &str, says: &str| {
        scene.upstream.serve(&hash, Serve::Redirect(to.to_owned()));
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Farm, "{to}: {message}");
        assert!(message.contains(says), "{to}: {message}");
        assert!(spy.accept().is_err(), "{to} was connected to");
        message
    };
    // Another port of this machine, in every spelling that leads there.
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        refused(&format!("http://{host}:{port}/secret"), "private_hosts").await;
    }
    // The metadata service of clouds, and reserved networks.
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "10.0.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        refused(&format!("http://{host}/latest/meta-data"), "private_hosts").await;
    }
    for scheme in ["gopher", "ftp"] {
        let says = format!("`{scheme}:` is not allowed");
        refused(&format!("{scheme}://127.0.0.1:{port}/_x"), &says).await;
    }
    // A password alone is a reason to refuse, and is not shown.
    let own = format!("http://joe:hunter2@127.0.0.1:{}/", scene.upstream.port);
    let message = refused(&own, "it holds a user name or password").await;
    assert!(!message.contains("joe") && !message.contains("hunter2"), "{message}");
    refused(&format!("http://127.0.0.1:{port}:{port}/x"), "without a usable place").await;
    refused("file:///etc/passwd", "`file:` is not allowed").await;
}

#[tokio::test]
async fn redirects_within_what_is_allowed_are_followed() {
    let scene = serving(quick(), Serve::Redirect("../there/hello-1.tar.gz".into())).await;
    scene.upstream.serve("there", Serve::Whole(tarball()));
    scene.import(None).await.unwrap();
    scene.upstream.serve("there", Serve::Redirect("../there/hello-1.tar.gz".into()));
    let scene = serving(quick(), Serve::Redirect("hello-1.tar.gz".into())).await;
    let (_, message) = scene.refusal(None).await;
    assert!(message.contains("too many redirects"), "{message}");
}
