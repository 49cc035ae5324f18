//! Webhooks of each forge: those that count, and those that are refused.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ring::hmac;
use rpmfarm_coordinator::track::router;
use tower::ServiceExt as _;

use crate::scene::{SECRET, Scene};
use crate::upstream::id;

/// A webhook as a forge sends it.
#[derive(Clone)]
struct Hook {
    forge: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn sign(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hex::encode(hmac::sign(&key, body.as_bytes()).as_ref())
}

/// A push of `bash` as this forge tells it, under this delivery.
fn hook(forge: &'static str, commit: &str, delivery: &str) -> Hook {
    let body = match forge {
        "gitlab" => format!(
            r#"{{"object_kind":"push","ref":"refs/heads/c9s","after":"{commit}",
            "project":{{"path_with_namespace":"rpms/bash"}},"n":"{delivery}"}}"#
        ),
        "pagure" => format!(
            r#"{{"topic":"git.receive","msg_id":"{delivery}","msg":{{"branch":"c9s",
            "end_commit":"{commit}","repo":{{"fullname":"rpms/bash"}}}}}}"#
        ),
        _ => format!(
            r#"{{"ref":"refs/heads/c9s","after":"{commit}","n":"{delivery}",
            "repository":{{"full_name":"rpms/bash","clone_url":"http://169.254.169.254/x"}}}}"#
        ),
    };
    let mut hook = Hook { forge, target: "lab", headers: Vec::new(), body };
    hook.headers = headers(&hook, delivery);
    hook
}

fn headers(hook: &Hook, delivery: &str) -> Vec<(&'static str, String)> {
    let (tag, delivery) = (sign(&hook.body), delivery.to_owned());
    match hook.forge {
        "github" => vec![
            ("x-github-event", "push".into()),
            ("x-github-delivery", delivery),
            ("x-hub-signature-256", format!("sha256={tag}")),
        ],
        "gitlab" => vec![
            ("x-gitlab-event", "Push Hook".into()),
            ("idempotency-key", delivery),
            ("x-gitlab-token", SECRET.into()),
        ],
        "gitea" => vec![
            ("x-gitea-event", "push".into()),
            ("x-gitea-delivery", delivery),
            ("x-gitea-signature", tag),
        ],
        "forgejo" => vec![
            ("x-forgejo-event", "push".into()),
            ("x-forgejo-delivery", delivery),
            ("x-forgejo-signature", tag),
        ],
        _ => vec![("x-pagure-topic", "git.receive".into()), ("x-pagure-signature-256", tag)],
    }
}

impl Hook {
    fn with_body(&self, body: &str) -> Self {
        let mut hook = Self { body: body.to_owned(), ..self.clone() };
        hook.headers = headers(&hook, "again");
        hook
    }

    fn without(&self, prefix: &str) -> Self {
        let mut hook = self.clone();
        hook.headers.retain(|(name, _)| !name.contains(prefix));
        hook
    }
}

async fn send(scene: &Scene, hook: &Hook) -> (StatusCode, String) {
    let mut request = Request::post(format!("/{}/{}", hook.forge, hook.target));
    for (name, value) in &hook.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Body::from(hook.body.clone())).unwrap();
    let response = router(scene.farm.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A webhook of which the body never comes, from an address.
fn drips(scene: &Scene, from: [u8; 4]) -> BoxFuture<'static, Response> {
    let body =
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut request = Request::post("/github/lab").body(body).unwrap();
    let from = ConnectInfo(SocketAddr::from((from, 9)));
    request.extensions_mut().insert(from);
    Box::pin(router(scene.farm.clone()).oneshot(request).map(Result::unwrap))
}

async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.track(&["bash"]).await;
    scene.look(&["bash"]).await;
    scene
}

#[tokio::test]
async fn of_every_forge() {
    let scene = scene().await;
    for forge in ["github", "gitlab", "gitea", "forgejo", "pagure"] {
        let (status, message) = send(&scene, &hook(forge, &id('b'), &format!("{forge}-1"))).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{forge}: {message}");
        assert!(message.contains("bash is looked at"), "{message}");
        let row = scene.tracked("bash").await;
        assert_eq!((row.due_us, row.hint_commit), (0, id('b')));
    }
}

#[tokio::test]
async fn unsigned_or_wrongly_signed() {
    let scene = scene().await;
    let before = scene.tracked("bash").await;
    for forge in ["github", "gitlab", "gitea", "forgejo", "pagure"] {
        let good = hook(forge, &id('b'), "1");
        for (bad, words) in [
            (good.without("signature").without("token"), "is not signed"),
            (Hook { body: format!("{} ", good.body), ..good.clone() }, "signature is wrong"),
        ] {
            if forge == "gitlab" && words.contains("wrong") {
                // It sends the secret itself, which says nothing of the body.
                continue;
            }
            let (status, message) = send(&scene, &bad).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{forge}: {message}");
            assert!(message.contains(words), "{forge}: {message}");
        }
    }
    let mut wrong = hook("gitlab", &id('b'), "1");
    wrong.headers[2].1 = "another secret altogether".into();
    assert_eq!(send(&scene, &wrong).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.tracked("bash").await, before, "nothing was recorded");
}

#[tokio::test]
async fn replayed() {
    let scene = scene().await;
    for forge in ["github", "gitlab", "gitea", "pagure"] {
        let first = hook(forge, &id('b'), &format!("{forge}-1"));
        assert_eq!(send(&scene, &first).await.0, StatusCode::ACCEPTED);
        let (status, message) = send(&scene, &first).await;
        assert_eq!(status, StatusCode::CONFLICT, "{forge}");
        assert!(message.contains("taken before"), "{message}");
        // The same delivery with another content, and the same content as another delivery.
        let mut other = hook(forge, &id('c'), &format!("{forge}-1"));
        assert_eq!(send(&scene, &other).await.0, StatusCode::CONFLICT, "{forge}");
        other = first.clone();
        other.headers.retain(|(name, _)| !name.contains("delivery") && !name.contains("idempot"));
        assert_eq!(send(&scene, &other).await.0, StatusCode::CONFLICT, "{forge}");
    }
}

#[tokio::test]
async fn of_another_repository_or_branch() {
    let scene = scene().await;
    let good = hook("github", &id('b'), "1");
    for other in ["me/bash", "forks/me/rpms/bash", "rpms/zlib", "bash/", "rpms"] {
        let body = good.body.replace("rpms/bash", other);
        let (status, message) = send(&scene, &good.with_body(&body)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{other}: {message}");
        assert!(message.contains("is not followed"), "{message}");
    }
    let (status, message) = send(&scene, &good.with_body(&good.body.replace("c9s", "main"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(message.contains("`c9s` is followed, not `main`"), "{message}");
    let mut ping = good.with_body("{}");
    ping.headers[0].1 = "ping".into();
    assert_eq!(send(&scene, &ping).await.0, StatusCode::OK);
    assert_ne!(scene.tracked("bash").await.due_us, 0, "none of them counts");
}

#[tokio::test]
async fn of_modifications_and_of_tags() {
    let scene = Scene::modified("").await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.track(&["bash"]).await;
    scene.look(&["bash"]).await;
    let good = hook("gitea", &id('b'), "1");
    let of = |repository: &str, branch: &str| {
        good.with_body(&good.body.replace("rpms/bash", repository).replace("c9s", branch))
    };
    for (repository, branch, status) in [
        ("rpms/autopatch-bash", "a9", StatusCode::ACCEPTED),
        ("rpms/autopatch-bash", "a8", StatusCode::OK),
        ("rpms/autopatch-zlib", "a9", StatusCode::NOT_FOUND),
        ("me/autopatch-bash", "a9", StatusCode::NOT_FOUND),
    ] {
        let hook = of(repository, branch);
        let hook = Hook { headers: headers(&hook, &format!("{repository} {branch}")), ..hook };
        let (answer, message) = send(&scene, &hook).await;
        assert_eq!(answer, status, "{repository} {branch}: {message}");
    }
    let row = scene.tracked("bash").await;
    assert_eq!((row.due_us, row.hint_commit, row.hint_modification), (0, String::new(), id('b')));

    let scene = Scene::tagged().await;
    scene.upstream.push("bash", "tags/imports/c9/bash-5-1.el9", &id('a'));
    scene.track(&["bash"]).await;
    scene.look(&["bash"]).await;
    for (tag, status) in [
        ("imports/c9/bash-5-2.el9", StatusCode::ACCEPTED),
        ("imports/c9/bash-completion-5-2.el9", StatusCode::OK),
        ("imports/c8/bash-5-2.el9", StatusCode::OK),
    ] {
        let body = good.body.replace("refs/heads/c9s", &format!("refs/tags/{tag}"));
        let hook = good.with_body(&body);
        let hook = Hook { headers: headers(&hook, tag), ..hook };
        let (answer, message) = send(&scene, &hook).await;
        assert_eq!(answer, status, "{tag}: {message}");
    }
    assert_eq!(scene.tracked("bash").await.due_us, 0);
}

#[tokio::test]
async fn to_the_wrong_address() {
    let scene = scene().await;
    let good = hook("github", &id('b'), "1");
    for (forge, target) in [("svn", "lab"), ("github", "other"), ("github", "..")] {
        let bad = Hook { forge, target, ..good.clone() };
        assert_eq!(send(&scene, &bad).await.0, StatusCode::NOT_FOUND, "{forge} {target}");
    }
    // Without secrets there are no webhooks.
    std::fs::write(scene.dir.path().join("hooks.toml"), "").unwrap();
    assert_eq!(send(&scene, &good).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bodies_that_are_none() {
    let scene = scene().await;
    let good = hook("github", &id('b'), "1");
    for body in ["", "{", "[]", "{}", "null", "\u{0}", &"[".repeat(100_000)] {
        let (status, message) = send(&scene, &good.with_body(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body:.20}: {message}");
    }
    let mut form = good.clone();
    form.headers.push(("content-type", "application/x-www-form-urlencoded".into()));
    assert_eq!(send(&scene, &form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send(&scene, &good.without("event")).await.0, StatusCode::BAD_REQUEST);
    // Too long, with its length announced and without.
    let long = "x".repeat((1 << 20) + 1);
    let (status, message) = send(&scene, &good.with_body(&long)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{message}");
    let pieces =
        futures_util::stream::iter((0..17).map(|_| Ok::<_, std::io::Error>("x".repeat(1 << 16))));
    let request = Request::post("/github/lab").body(Body::from_stream(pieces)).unwrap();
    let response = router(scene.farm.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn bodies_that_never_come_keep_nobody_out_for_long() {
    let scene = scene().await;
    let mut dripping = Vec::new();
    let mut drip = |from| dripping.push(drips(&scene, from));
    (0..40).for_each(|_| drip([192, 0, 2, 1]));
    for one in &mut dripping {
        assert!(futures_util::poll!(one).is_pending());
    }
    // One address has not taken all places.
    let begun = Instant::now();
    assert_eq!(send(&scene, &hook("github", &id('b'), "1")).await.0, StatusCode::ACCEPTED);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // And when many addresses have, it is said in time when to come again.
    let mut others: Vec<_> = (0..40).map(|n| drips(&scene, [198, 51, 100, n])).collect();
    for one in &mut others {
        assert!(futures_util::poll!(one).is_pending());
    }
    let mut late = drips(&scene, [203, 0, 113, 1]);
    let answer = tokio::time::timeout(Duration::from_secs(8), &mut late).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "10");
    drop((dripping, others));
    assert_eq!(send(&scene, &hook("github", &id('c'), "2")).await.0, StatusCode::ACCEPTED);
}
