//! One table of all calls of all services and of the callers that may make them. A call without a
//! row fails the test.

use std::collections::BTreeSet;
use std::error::Error as _;

use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rpmfarm_proto::DESCRIPTORS;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::coordinator::{Coordinator, Keys, with_token};

/// The callers that may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Everybody where reads are open, else the token or a certificate: it only reads.
    Reading,
    Token,
    /// A worker: the token without TLS, a certificate over TLS.
    Worker,
    /// Either, both ways.
    Either,
    Certificate,
    /// Only callers with a one-time token in the message, and only over TLS.
    Invited,
}

use Row::{Certificate, Either, Invited, Reading, Token, Worker};

const TABLE: &[(&str, Row)] = &[
    ("Farm/GetInfo", Reading),
    ("Farm/ListTargets", Reading),
    ("Farm/GetTarget", Reading),
    ("Farm/StartBuilds", Token),
    ("Farm/ListBuilds", Reading),
    ("Farm/GetBuild", Reading),
    ("Farm/WatchBuilds", Reading),
    ("Farm/ReadLog", Reading),
    ("Farm/CancelBuild", Token),
    ("Farm/RetryBuild", Token),
    ("Farm/SetPriority", Token),
    ("Farm/WhyBuild", Reading),
    ("Farm/GetLock", Reading),
    ("Farm/ListFiles", Reading),
    ("Farm/ReadFile", Reading),
    ("Farm/ListChannels", Reading),
    ("Farm/ListWorkers", Reading),
    ("Batches/PlanBuilds", Token),
    ("Batches/GetBatch", Reading),
    ("Batches/ListBatches", Reading),
    ("Batches/PauseBatch", Token),
    ("Batches/ResumeBatch", Token),
    ("Batches/CancelBatch", Token),
    ("Batches/RetryBatch", Token),
    ("Tracking/Track", Token),
    ("Tracking/Untrack", Token),
    ("Tracking/ListTracked", Reading),
    ("Tracking/GetTracked", Reading),
    ("Tracking/OrderPolicy", Token),
    ("Tracking/ApprovePushes", Token),
    ("Tracking/LookNow", Token),
    ("Tracking/PlanPushes", Reading),
    ("Sources/PreviewModifications", Token),
    ("Sources/GetSource", Reading),
    ("Sources/DiffSources", Reading),
    ("Packages/ListClaims", Reading),
    ("Packages/GetClaim", Token),
    ("Packages/DecideClaim", Token),
    ("Packages/Withdraw", Token),
    ("Packages/Restore", Token),
    ("Packages/GetImpact", Token),
    ("Proofs/GetProblems", Reading),
    ("Proofs/AcceptProblem", Token),
    ("Fleet/InviteWorker", Token),
    ("Fleet/GetWorker", Reading),
    ("Fleet/SetWorkerState", Token),
    ("Enrolment/Enrol", Invited),
    ("Enrolment/Renew", Certificate),
    ("Workers/Session", Worker),
    ("Workers/AppendLog", Worker),
    ("Workers/UploadOffset", Worker),
    ("Workers/Upload", Worker),
    ("Workers/KeepFiles", Worker),
    ("Blobs/Fetch", Either),
];

/// Served by the signer, on a socket of its own.
const ELSEWHERE: &[&str] = &["Acceptor", "Signer"];

struct Who {
    name: &'static str,
    channel: Channel,
    token: Option<String>,
    /// The rows that let it in.
    let_in: &'static [Row],
}

/// Makes a call with an empty message, and returns its result.
async fn call(who: &Who, path: &str) -> Result<(), Status> {
    let mut client = Grpc::new(who.channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = match &who.token {
        Some(token) => with_token(token, ()),
        None => Request::new(()),
    };
    let path = format!("/rpmfarm.v1.{path}").parse().unwrap();
    // Every call can be made as one that streams its answers.
    let codec = ProstCodec::<(), ()>::default();
    client.server_streaming(request, path, codec).await?.into_inner().message().await.map(drop)
}

/// Whether an answer comes from behind the door, be it that the message is empty.
fn was_let_in(answer: &Result<(), Status>) -> bool {
    match answer {
        Ok(()) => true,
        Err(status) => match status.code() {
            Code::InvalidArgument | Code::NotFound => true,
            Code::FailedPrecondition => !status.message().contains("over TLS only"),
            Code::Unauthenticated | Code::PermissionDenied | Code::Unavailable => false,
            // A broken handshake, or a connection that was cut.
            Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => false,
            code => panic!("{code:?}: {}", status.message()),
        },
    }
}

/// Makes every call as everybody.
async fn check(all: &[Who]) {
    let mut wrong = Vec::new();
    for who in all {
        for (path, row) in TABLE {
            let answer = call(who, path).await;
            let expected = who.let_in.contains(row);
            if was_let_in(&answer) != expected {
                wrong.push(format!("{} {path}: expected {expected}: {answer:?}", who.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A certificate for a name from another CA.
fn foreign() -> Keys {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().signed_by(&key, &issuer).unwrap();
    Keys { certificate: certificate.pem(), key: key.serialize_pem() }
}

#[test]
fn every_call_has_a_row() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut known = BTreeSet::new();
    for service in set.file.iter().flat_map(|file| &file.service) {
        if !ELSEWHERE.contains(&service.name()) {
            known.extend(
                service.method.iter().map(|call| format!("{}/{}", service.name(), call.name())),
            );
        }
    }
    let rows: BTreeSet<String> = TABLE.iter().map(|(call, _)| (*call).to_owned()).collect();
    assert_eq!(rows, known, "a call without a row, or a row without a call");
    let policy: BTreeSet<String> = rpmfarm_coordinator::identity::policy::POLICY
        .iter()
        .map(|(path, _)| path.trim_start_matches("/rpmfarm.v1.").to_owned())
        .collect();
    assert_eq!(policy, known, "a call without a policy is served to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_lets_in_whom_it_should_and_nobody_else() {
    let coordinator = Coordinator::start().await;
    let (good, revoked) = (coordinator.enrol("good").await, coordinator.enrol("revoked").await);
    coordinator.decide("revoked", "revoked").await.unwrap();
    let token = || Some(coordinator.token.clone());
    let wrong = || Some("0".repeat(64));
    let who = |name, channel, token, let_in| Who { name, channel, token, let_in };
    let plain = || coordinator.plain();
    let all = [
        who("nobody", plain(), None, &[Reading]),
        who("a foreign token", plain(), wrong(), &[Reading]),
        who("the token", plain(), token(), &[Reading, Token, Worker, Either]),
        who("nobody over TLS", coordinator.tls(None), None, &[Reading]),
        who("a foreign token over TLS", coordinator.tls(None), wrong(), &[Reading]),
        who("the token over TLS", coordinator.tls(None), token(), &[Reading, Token, Either]),
        who(
            "a worker",
            coordinator.tls(Some(&good)),
            None,
            &[Reading, Worker, Either, Certificate],
        ),
        who(
            "a worker with the token",
            coordinator.tls(Some(&good)),
            token(),
            &[Reading, Token, Worker, Either, Certificate],
        ),
        who("a revoked worker", coordinator.tls(Some(&revoked)), None, &[]),
        who("a revoked worker with the token", coordinator.tls(Some(&revoked)), token(), &[]),
        who("a foreign CA's worker", coordinator.tls(Some(&foreign())), None, &[]),
        who(
            "a foreign CA's worker with the token",
            coordinator.tls(Some(&foreign())),
            token(),
            &[],
        ),
    ];
    check(&all).await;
    // The signer's calls are served only on its socket.
    let signer =
        ["GetKey", "SignHeader", "SignRepomd", "GetStatus"].map(|name| format!("Signer/{name}"));
    for path in signer.iter().map(String::as_str).chain(["Farm/NoSuchCall", "../token"]) {
        for who in [&all[0], &all[2], &all[5], &all[6], &all[7]] {
            let status = call(who, path).await.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented, "{} {path}: {status}", who.name);
        }
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_reach_it_reading_needs_a_credential() {
    // On a port of all addresses, callers of this host have no special rights.
    let coordinator = Coordinator::with(&["--listen", "0.0.0.0:0", "--allow-plain"]).await;
    let good = coordinator.enrol("good").await;
    let token = || Some(coordinator.token.clone());
    let who = |name, channel, token, let_in| Who { name, channel, token, let_in };
    let plain = || coordinator.plain();
    check(&[
        who("nobody", plain(), None, &[]),
        who("a foreign token", plain(), Some("0".repeat(64)), &[]),
        who("the token", plain(), token(), &[Reading, Token, Worker, Either]),
        // TLS is on an address of this host alone here.
        who("nobody over TLS", coordinator.tls(None), None, &[Reading]),
        who(
            "a worker",
            coordinator.tls(Some(&good)),
            None,
            &[Reading, Worker, Either, Certificate],
        ),
    ])
    .await;
    let status = call(&who("nobody", plain(), None, &[]), "Farm/ListBuilds").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    for says in ["needs the farm's token", "--public-read"] {
        assert!(status.message().contains(says), "{}", status.message());
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_closed_and_opened_by_the_operator() {
    let coordinator = Coordinator::with(&["--private-read"]).await;
    let good = coordinator.enrol("good").await;
    let token = || Some(coordinator.token.clone());
    let who = |name, channel, token, let_in| Who { name, channel, token, let_in };
    check(&[
        who("nobody", coordinator.plain(), None, &[]),
        who("nobody over TLS", coordinator.tls(None), None, &[]),
        who("the token over TLS", coordinator.tls(None), token(), &[Reading, Token, Either]),
        who(
            "a worker",
            coordinator.tls(Some(&good)),
            None,
            &[Reading, Worker, Either, Certificate],
        ),
    ])
    .await;
    coordinator.stop().await;

    let open = ["--listen", "0.0.0.0:0", "--allow-plain", "--public-read"];
    let coordinator = Coordinator::with(&open).await;
    check(&[who("nobody", coordinator.plain(), None, &[Reading])]).await;
    coordinator.stop().await;
}

/// The status of a page.
async fn page(address: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let client = reqwest::Client::new();
    let mut request = client.get(format!("{address}{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_a_switch_of_their_own() {
    let wide = ["--listen", "0.0.0.0:0", "--allow-plain"];
    let coordinator = Coordinator::with(&wide).await;
    let address = &coordinator.plain;
    let (status, text) = page(address, "/metrics", None).await;
    assert_eq!(status, 401);
    assert!(text.contains("--public-metrics") && text.contains("Bearer TOKEN"), "{text}");
    assert_eq!(page(address, "/metrics", Some("wrong")).await.0, 401);
    assert_eq!(page(address, "/metrics", Some(&coordinator.token)).await.0, 200);
    // dnf and health checks need no credential.
    for path in ["/", "/healthz", "/repo/"] {
        assert_eq!(page(address, path, None).await.0, 200, "{path}");
    }
    assert_ne!(page(address, "/readyz", None).await.0, 401);
    coordinator.stop().await;

    let coordinator = Coordinator::with(&[&wide[..], &["--public-metrics"]].concat()).await;
    assert_eq!(page(&coordinator.plain, "/metrics", None).await.0, 200);
    coordinator.stop().await;

    let coordinator = Coordinator::with(&[&wide[..], &["--public-read"]].concat()).await;
    assert_eq!(page(&coordinator.plain, "/metrics", None).await.0, 401, "reads are not metrics");
    coordinator.stop().await;
}
