//! Polls of git servers, good and bad.

use std::time::Duration;

use rpmfarm_coordinator::clock;
use rpmfarm_core::Timestamp;

use crate::scene::Scene;
use crate::upstream::{Serve, id};

#[tokio::test]
async fn an_unchanged_repository_costs_one_small_request() {
    let scene = Scene::new().await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.upstream.push("bash", "c9s-next", &id('b'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    assert_eq!(scene.farm.store.track_ref_list("lab", "bash").await.unwrap()[0].commit_id, id('a'));
    scene.upstream.requests();
    scene.poll_packages(&["bash"]).await;
    assert_eq!(scene.upstream.requests(), ["POST /rpms/bash.git/git-upload-pack"]);
    assert!(scene.pushes().await.is_empty(), "where following begins is no push");
    let row = scene.tracked("bash").await;
    assert!(row.due > clock::now() && row.interval.is_some() && row.problem.is_empty(), "{row:?}");
}

#[tokio::test]
async fn a_server_without_protocol_2() {
    let scene = Scene::new().await;
    for package in ["a", "b"] {
        scene.upstream.push(package, "c9s", &id('a'));
        scene.upstream.serve(package, Serve::Old);
    }
    scene.track(&["a", "b"]).await;
    scene.poll_packages(&["a"]).await;
    assert_eq!(scene.farm.store.track_ref_list("lab", "a").await.unwrap().len(), 1);
    scene.upstream.requests();
    // The server is not asked again for a protocol that it does not know.
    scene.poll_packages(&["b"]).await;
    let requests = scene.upstream.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}

#[tokio::test]
async fn what_cannot_be_read_says_why_and_is_asked_less_often() {
    let scene = Scene::new().await;
    scene.upstream.push("good", "c9s", &id('a'));
    scene.upstream.push("gone", "other", &id('a'));
    for (package, serve) in [
        ("private", Serve::Status(401, None)),
        ("moved", Serve::Redirect("http://169.254.169.254/x".into())),
        ("rubbish", Serve::Rubbish),
        ("many", Serve::Refs(250_000)),
        ("broken", Serve::Status(500, None)),
    ] {
        scene.upstream.serve(package, serve);
    }
    let packages = ["private", "moved", "rubbish", "many", "broken", "missing", "gone", "good"];
    scene.track(&packages).await;
    scene.poll_packages(&packages).await;
    for (package, words) in [
        ("private", "answered 401"),
        ("moved", "redirects to http://169.254.169.254/x; write that address"),
        ("rubbish", "not a valid list of refs"),
        ("many", "more than"),
        ("broken", "answered 500"),
        ("missing", "answered 404"),
        ("gone", "has no branch or tag `c9s`"),
        ("good", ""),
    ] {
        let row = scene.tracked(package).await;
        assert!(row.problem.contains(words), "{package}: {}", row.problem);
        assert_eq!(row.failures > 0, package != "good", "{package}");
        assert!(package == "good" || row.interval > Some(Duration::from_secs(60)), "{row:?}");
    }
    assert!(scene.pushes().await.is_empty());
}

#[tokio::test]
async fn a_host_that_is_busy_is_left_alone_and_others_are_not() {
    let scene = Scene::new().await;
    scene.upstream.serve("a", Serve::Status(429, Some(600)));
    scene.upstream.push("b", "c9s", &id('a'));
    scene.track(&["a"]).await;
    scene.poll_packages(&["a"]).await;
    assert!(scene.tracked("a").await.problem.contains("answered 429"));
    scene.track(&["b"]).await;
    scene.upstream.requests();
    for _ in 0..20 {
        scene.poll().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(scene.upstream.requests(), Vec::<String>::new());
    assert_eq!(scene.tracked("b").await.due, Timestamp::ZERO, "it is still due");
}

#[tokio::test]
async fn many_are_looked_at_and_never_more_at_once_than_the_host_bears() {
    let scene = Scene::with("").await;
    let names: Vec<String> = (0..100).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        scene.upstream.push(name, "c9s", &id('a'));
    }
    scene.track(&names).await;
    scene.wait_for_polls(&names, &[0; 100]).await;
    assert_eq!(scene.upstream.requests().len(), 100, "each once");
}
