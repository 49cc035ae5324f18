//! Webhooks of each forge: those that count, those that lead to nothing, and the few that are
//! refused.

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
use rpmfarm_core::Timestamp;
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

/// The first header that names a delivery, of each forge that has one.
const DELIVERY: [&str; 4] =
    ["x-github-delivery", "idempotency-key", "x-gitea-delivery", "x-forgejo-delivery"];

fn sign(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hex::encode(hmac::sign(&key, body.as_bytes()).as_ref())
}

/// The webhook of this forge for a push of `bash`, under this delivery.
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
    let response = router(scene.farm.hooks()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A webhook whose body never arrives, from an address. It needs a signature; otherwise nothing
/// waits for its body.
fn drips(scene: &Scene, from: [u8; 4]) -> BoxFuture<'static, Response> {
    let body =
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let signed = format!("sha256={}", "0".repeat(64));
    let request = Request::post("/github/lab").header("x-hub-signature-256", signed);
    let mut request = request.body(body).unwrap();
    let from = ConnectInfo(SocketAddr::from((from, 9)));
    request.extensions_mut().insert(from);
    Box::pin(router(scene.farm.hooks()).oneshot(request).map(Result::unwrap))
}

async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    scene
}

#[tokio::test]
async fn of_every_forge() {
    let scene = scene().await;
    for forge in ["github", "gitlab", "gitea", "forgejo", "pagure"] {
        let (status, message) = send(&scene, &hook(forge, &id('b'), &format!("{forge}-1"))).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{forge}: {message}");
        assert!(message.contains("bash is polled now"), "{message}");
        let row = scene.tracked("bash").await;
        assert_eq!((row.due, row.hint_commit), (Timestamp::ZERO, id('b')));
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
                // It sends the secret itself, which proves nothing about the body.
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
    // Only GitHub's unforgeable signature of the two counts, and it must be complete.
    let good = hook("github", &id('b'), "1");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let sha1 = hex::encode(hmac::sign(&key, good.body.as_bytes()).as_ref());
    let tag = sign(&good.body);
    for (name, value) in [
        ("x-hub-signature", format!("sha1={sha1}")),
        ("x-hub-signature", format!("sha256={tag}")),
        ("x-hub-signature-256", format!("sha1={sha1}")),
        ("x-hub-signature-256", tag.clone()),
        ("x-hub-signature-256", format!("sha256={}", &tag[..62])),
        ("x-hub-signature-256", format!("sha256={}", "0".repeat(64))),
        ("x-hub-signature-256", "sha256=".into()),
        ("x-hub-signature-256", String::new()),
    ] {
        let mut bad = good.without("signature");
        bad.headers.push((name, value.clone()));
        let (status, message) = send(&scene, &bad).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {value}: {message}");
    }
    assert_eq!(scene.tracked("bash").await, before, "nothing was recorded");
}

/// The poll that a webhook led to is over, as far as the store knows.
async fn forget_hint(scene: &Scene) {
    let is_due = scene.farm.store.tracked_poll_now("lab", "bash").await.unwrap();
    assert!(is_due);
    scene.poll_packages(&["bash"]).await;
}

#[tokio::test]
async fn sent_again() {
    let scene = scene().await;
    for forge in ["github", "gitlab", "gitea", "pagure"] {
        let first = hook(forge, &id('b'), &format!("{forge}-1"));
        assert_eq!(send(&scene, &first).await.0, StatusCode::ACCEPTED);
        scene.upstream.push("bash", "c9s", &id('b'));
        forget_hint(&scene).await;
        let due = scene.tracked("bash").await.due;
        let (status, message) = send(&scene, &first).await;
        assert_eq!(status, StatusCode::OK, "{forge}: {message}");
        assert!(message.contains("nothing to do: this delivery was received before"), "{message}");
        assert_eq!(scene.tracked("bash").await.due, due, "nobody looks again");
        // GitLab gives related events the same id: their bodies distinguish them.
        let other = hook(forge, &id('c'), &format!("{forge}-1"));
        assert_eq!(send(&scene, &other).await.0, StatusCode::ACCEPTED, "{forge}");
    }
    scene.decide().await;
    assert_eq!(scene.builds().await.len(), 1);
}

#[tokio::test]
async fn there_and_back_with_equal_bodies() {
    let scene = scene().await;
    let there = hook("gitlab", &id('b'), "body");
    let back = hook("gitlab", &id('a'), "body");
    for (n, hook) in [&there, &back, &there, &back].into_iter().enumerate() {
        let mut hook = hook.clone();
        let delivery = hook.headers.iter_mut().find(|(name, _)| DELIVERY.contains(name)).unwrap();
        delivery.1 = format!("event {n}");
        let (status, message) = send(&scene, &hook).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{n}: {message}");
    }
    // An attacker with a copy of a webhook can send it under other ids, and causes no more polls
    // with it.
    let mut answers = Vec::new();
    for n in 0..20 {
        let mut hook = there.clone();
        hook.headers[1].1 = format!("copy {n}");
        answers.push(send(&scene, &hook).await);
    }
    let taken = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    assert_eq!(taken, 6, "beside the two before: {answers:?}");
    let (status, message) = answers.last().unwrap();
    assert_eq!(*status, StatusCode::OK);
    assert!(message.contains("came too often lately"), "{message}");
}

#[tokio::test]
async fn of_another_repository_or_branch() {
    let scene = scene().await;
    let good = hook("github", &id('b'), "1");
    for other in ["me/bash", "forks/me/rpms/bash", "rpms/zlib", "bash/", "rpms"] {
        let body = good.body.replace("rpms/bash", other);
        let (status, message) = send(&scene, &good.with_body(&body)).await;
        assert_eq!(status, StatusCode::OK, "{other}: {message}");
        assert!(message.contains("is not tracked"), "{message}");
    }
    let (status, message) = send(&scene, &good.with_body(&good.body.replace("c9s", "main"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(message.contains("`c9s` is tracked, not `main`"), "{message}");
    let zero = "0".repeat(40);
    let (status, message) =
        send(&scene, &good.with_body(&good.body.replace(&id('b'), &zero))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(message.contains("`c9s` was deleted"), "{message}");
    assert_ne!(scene.tracked("bash").await.due, Timestamp::ZERO, "none of them counts");
}

#[tokio::test]
async fn events_that_are_no_pushes() {
    let scene = scene().await;
    for (forge, event, body) in [
        ("github", "ping", r#"{"zen":"x","hook_id":1}"#),
        ("github", "create", r#"{"ref":"v1","ref_type":"tag","repository":{"full_name":"a/b"}}"#),
        ("github", "pull_request", r#"{"action":"opened","pull_request":{}}"#),
        ("gitlab", "System Hook", r#"{"event_name":"project_create","path":"x","project_id":8}"#),
        ("gitlab", "System Hook", r#"{"event_name":"user_create","user_id":9}"#),
        ("gitlab", "Merge Request Hook", r#"{"object_kind":"merge_request","project":{"id":1}}"#),
        ("gitlab", "Pipeline Hook", r#"{"object_kind":"pipeline"}"#),
        ("gitea", "release", r#"{"action":"published"}"#),
        ("pagure", "pull-request.flag.added", r#"{"topic":"pull-request.flag.added","msg":{}}"#),
    ] {
        let mut hook = hook(forge, &id('b'), "1").with_body(body);
        hook.headers[0].1 = event.into();
        let (status, message) = send(&scene, &hook).await;
        assert_eq!(status, StatusCode::OK, "{forge} {event}: {message}");
        assert!(message.contains("nothing to do: event"), "{message}");
    }
    assert_ne!(scene.tracked("bash").await.due, Timestamp::ZERO, "none of them counts");
    // GitLab's system hook sends one event for all branches of one push.
    let body = format!(
        r#"{{"event_name":"repository_update","project":{{"path_with_namespace":"rpms/bash"}},
        "changes":[{{"ref":"refs/heads/main","after":"{0}"}},{{"ref":"refs/heads/c9s","after":"{0}"}}]}}"#,
        id('b')
    );
    let mut update = hook("gitlab", &id('b'), "2").with_body(&body);
    update.headers[0].1 = "System Hook".into();
    assert_eq!(send(&scene, &update).await.0, StatusCode::ACCEPTED);
    assert_eq!(scene.tracked("bash").await.hint_commit, id('b'));
}

#[tokio::test]
async fn found_by_repository_and_not_by_a_name() {
    let file = |port: u16| {
        let renamed = "[packages.gtk-plus]\nrepository = \"gtk+2\"\n\
                       [packages.gcc-toolset]\nrepository = \"gcc\"\nref = \"toolset\"\n";
        crate::scene::target(port).with(renamed)
    };
    let scene = Scene::of(crate::upstream::Upstream::start().await, file).await;
    scene.track(&["gtk-plus", "gcc", "gcc-toolset"]).await;
    let good = hook("github", &id('b'), "1");
    let send_of = async |fields: &str, branch: &str| {
        let body = format!(
            r#"{{"ref":"refs/heads/{branch}","after":"{}","repository":{{{fields}}}}}"#,
            id('b')
        );
        let hook = good.with_body(&body);
        let hook = Hook { headers: headers(&hook, fields), ..hook };
        send(&scene, &hook).await
    };
    for (fields, branch, expected) in [
        (r#""full_name":"rpms/gtk+2""#, "c9s", Some("gtk-plus")),
        (r#""full_name":"RPMS/Gtk+2.git/""#, "c9s", Some("gtk-plus")),
        (r#""full_name":"x","ssh_url":"git@h:rpms/gtk+2.git""#, "c9s", Some("gtk-plus")),
        (
            r#""full_name":"x","clone_url":"http://127.0.0.1/rpms/gtk%2B2/""#,
            "c9s",
            Some("gtk-plus"),
        ),
        (r#""full_name":"rpms/gcc""#, "c9s", Some("gcc")),
        (r#""full_name":"rpms/gcc""#, "toolset", Some("gcc-toolset")),
        // Its name, which is no repository's.
        (r#""full_name":"rpms/gtk-plus""#, "c9s", None),
        (r#""full_name":"rpms/gcc-toolset""#, "toolset", None),
    ] {
        let (status, message) = send_of(fields, branch).await;
        match expected {
            Some(package) => {
                assert_eq!(status, StatusCode::ACCEPTED, "{fields}: {message}");
                assert!(message.contains(&format!("{package} is polled now")), "{message}");
            }
            None => assert_eq!(status, StatusCode::OK, "{fields}: {message}"),
        }
    }
    // A repository that is renamed keeps its number; another forge's number is another one.
    let numbered = |name: &str| format!(r#""full_name":"{name}","id":17"#);
    assert_eq!(send_of(&numbered("rpms/gcc"), "c9s").await.0, StatusCode::ACCEPTED);
    let (status, message) = send_of(&numbered("elsewhere/gcc-new"), "c9s").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{message}");
    assert!(message.contains("gcc is polled now"), "{message}");
    let unknown = r#""full_name":"elsewhere/gcc-new","id":18"#;
    assert_eq!(send_of(unknown, "c9s").await.0, StatusCode::OK);
    // A package that is tracked from now on is found at once, and one that is removed is not.
    scene.track(&["less"]).await;
    assert_eq!(send_of(r#""full_name":"rpms/less""#, "c9s").await.0, StatusCode::ACCEPTED);
    scene.farm.store.tracked_delete("lab", "less", "tester", Timestamp::from_us(1)).await.unwrap();
    assert_eq!(send_of(r#""full_name":"rpms/less","x":1"#, "c9s").await.0, StatusCode::OK);
}

#[tokio::test]
async fn large_bodies_and_forms() {
    let scene = scene().await;
    let good = hook("github", &id('b'), "1");
    let commit = format!(r#"{{"id":"{}","added":["fix-{}.patch"]}},"#, id('c'), "0".repeat(900));
    let commits = commit.repeat((25 << 20) / commit.len());
    let large = good.body.replacen('{', &format!(r#"{{"commits":[{commits}{{}}],"#), 1);
    assert!(large.len() > 24 << 20);
    let large = good.with_body(&large);
    let pieces: Vec<_> = large
        .body
        .as_bytes()
        .chunks(5000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    let mut request = Request::post("/github/lab");
    for (name, value) in &large.headers {
        request = request.header(*name, value);
    }
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let request = request.header("content-type", "application/json; charset=utf-8");
    let response = router(scene.farm.hooks()).oneshot(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(scene.tracked("bash").await.hint_commit, id('b'));

    // GitHub signs the form, Gitea and Pagure its content; Pagure calls it JSON all the same.
    for (forge, kind, signs_form) in [
        ("github", "application/x-www-form-urlencoded", true),
        ("github", "Application/X-WWW-Form-Urlencoded; charset=UTF-8", true),
        ("gitea", "application/x-www-form-urlencoded", false),
        ("pagure", "application/json", false),
    ] {
        let json = hook(forge, &id('d'), &format!("{forge} {kind}"));
        let escaped: String = json.body.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let form = format!("payload={escaped}");
        let mut hook = if signs_form { json.with_body(&form) } else { Hook { body: form, ..json } };
        hook.headers.push(("content-type", kind.into()));
        let (status, message) = send(&scene, &hook).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{forge} {kind}: {message}");
        hook.body.push('x');
        assert_eq!(send(&scene, &hook).await.0, StatusCode::UNAUTHORIZED, "{forge} {kind}");
    }
    let marked = good.with_body(&format!("\u{feff}{}", good.body));
    assert_eq!(send(&scene, &marked).await.0, StatusCode::ACCEPTED);
    let mut packed = good.clone();
    packed.headers.push(("content-encoding", "gzip".into()));
    let (status, message) = send(&scene, &packed).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(message.contains("compressed"), "{message}");
}

#[tokio::test]
async fn a_target_that_cannot_be_read_loses_no_webhooks() {
    let scene = scene().await;
    std::fs::write(scene.dir.path().join("targets/lab.toml"), "rubbish").unwrap();
    scene.farm.targets.pass().unwrap();
    let (status, message) = send(&scene, &hook("gitlab", &id('b'), "1")).await;
    assert_eq!(status, StatusCode::OK, "{message}");
    assert!(message.contains("the target's file cannot be read now"), "{message}");
}

#[tokio::test]
async fn of_modifications_and_of_tags() {
    let scene = Scene::modified("").await;
    scene.upstream.push("bash", "c9s", &id('a'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    let good = hook("gitea", &id('b'), "1");
    let of = |repository: &str, branch: &str| {
        good.with_body(&good.body.replace("rpms/bash", repository).replace("c9s", branch))
    };
    for (repository, branch, status) in [
        ("rpms/autopatch-bash", "a9", StatusCode::ACCEPTED),
        ("rpms/autopatch-bash", "a8", StatusCode::OK),
        ("rpms/autopatch-zlib", "a9", StatusCode::OK),
        ("me/autopatch-bash", "a9", StatusCode::OK),
    ] {
        let hook = of(repository, branch);
        let hook = Hook { headers: headers(&hook, &format!("{repository} {branch}")), ..hook };
        let (answer, message) = send(&scene, &hook).await;
        assert_eq!(answer, status, "{repository} {branch}: {message}");
    }
    let row = scene.tracked("bash").await;
    assert_eq!(
        (row.due, row.hint_commit, row.hint_modification),
        (Timestamp::ZERO, String::new(), id('b'))
    );

    let scene = Scene::tagged().await;
    scene.upstream.push("bash", "tags/imports/c9/bash-5-1.el9", &id('a'));
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
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
    assert_eq!(scene.tracked("bash").await.due, Timestamp::ZERO);
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
    let mut nameless = good.with_body(&good.body.replace("object_kind", "x"));
    nameless.headers.retain(|(name, _)| !name.contains("event"));
    assert_eq!(send(&scene, &nameless).await.0, StatusCode::BAD_REQUEST);
    // Too long, with its length announced and without.
    let pieces = || {
        let pieces = (0..513).map(|_| Ok::<_, std::io::Error>("x".repeat(1 << 16)));
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    for length in [None, Some((32_u64 << 20) + 1), Some(1_u64 << 40)] {
        let mut request = Request::post("/github/lab");
        for (name, value) in &good.headers {
            request = request.header(*name, value);
        }
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(pieces()).unwrap();
        let response = router(scene.farm.hooks()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{length:?}");
    }
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
    // And when many addresses do so, the answer says when to come again.
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
