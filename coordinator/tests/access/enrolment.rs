//! Tokens and certificates: which are valid.

use std::time::Duration;

use rpmfarm_core::worker_standing::Standing;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::enrolment_client::EnrolmentClient;
use rpmfarm_proto::v1::farm_client::FarmClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use tonic::{Code, Status};

use crate::coordinator::{Coordinator, Keys, request};

async fn renew(coordinator: &Coordinator, keys: &Keys) -> Result<Keys, Status> {
    let (key, request) = request();
    let mut client = EnrolmentClient::new(coordinator.tls(Some(keys)));
    let given = client.renew(v1::RenewRequest { request }).await?.into_inner();
    Ok(Keys { certificate: given.certificate, key })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_for_one_worker_and_for_a_time() {
    let coordinator = Coordinator::start().await;
    let token = coordinator.invite("w1", &["x86_64"], 0).await;
    let enrol = async |token: &str, request: &str, arches: &[&str]| {
        let request = v1::EnrolRequest {
            token: token.into(),
            request: request.into(),
            arches: arches.iter().map(ToString::to_string).collect(),
        };
        let given = EnrolmentClient::new(coordinator.tls(None)).enrol(request).await;
        given.map(tonic::Response::into_inner)
    };
    let refused = async |token: &str, request: &str, arches: &[&str], code, says: &str| {
        let status = enrol(token, request, arches).await.unwrap_err();
        assert!(status.message().contains(says), "{}", status.message());
        assert_eq!(status.code(), code, "{}", status.message());
    };
    let ((_, mine), (_, other)) = (request(), request());

    refused("rpmfarm1.x.y", &mine, &[], Code::Unauthenticated, "not an enrolment token").await;
    let foreign = format!("{}.{}", token.rsplit_once('.').unwrap().0, "0".repeat(64));
    refused(&foreign, &mine, &[], Code::Unauthenticated, "another farm's").await;
    let unknown = format!("rpmfarm1.{}.{}", "0".repeat(64), token.rsplit_once('.').unwrap().1);
    refused(&unknown, &mine, &[], Code::Unauthenticated, "no such enrolment token").await;
    refused(&token, "no request", &[], Code::InvalidArgument, "certificate signing request").await;
    refused(&token, &mine, &["ppc64le"], Code::InvalidArgument, "for x86_64, not for ppc64le")
        .await;
    // None of these has used it up.
    let first = enrol(&token, &mine, &["x86_64"]).await.unwrap();
    assert_eq!(first.worker, "w1");
    // The answer may get lost: the same key gets it again, another one does not.
    assert_eq!(enrol(&token, &mine, &[]).await.unwrap(), first);
    refused(&token, &other, &[], Code::Unauthenticated, "used already").await;
    refused(&token, &other, &[], Code::Unauthenticated, "rpmfarm worker enrol w1").await;

    let short = coordinator.invite("w2", &[], 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refused(&short, &other, &[], Code::Unauthenticated, "expired").await;

    let text = format!("{:?}", std::fs::read(coordinator.dir.path().join("data/farm.db")));
    let secret = token.split('.').nth(1).unwrap();
    let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    assert!(!text.contains(&bytes.join(", ")), "the store knows the digest of a token only");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_invitations_are_refused() {
    let coordinator = Coordinator::start().await;
    let invite = async |worker: &str, arch: &str, valid_seconds| {
        let request = v1::InviteWorkerRequest {
            worker: worker.into(),
            arches: vec![arch.into()],
            valid_seconds,
        };
        let mut client = FleetClient::new(coordinator.plain());
        client.invite_worker(coordinator.authorized(request)).await.map(drop)
    };
    for (worker, arch, valid, says) in [
        ("../w", "x86_64", 0, "not a worker's name"),
        ("", "x86_64", 0, "not a worker's name"),
        ("w", "m68k", 0, "m68k"),
        ("w", "x86_64", 8 * 86_400, "at most"),
    ] {
        let status = invite(worker, arch, valid).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(says), "{}", status.message());
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_and_end_with_a_revocation_or_a_new_enrolment() {
    let coordinator = Coordinator::start().await;
    let first = coordinator.enrol("w1").await;
    let second = renew(&coordinator, &first).await.unwrap();
    // Both certificates are valid: connections with the old one continue.
    renew(&coordinator, &first).await.unwrap();
    renew(&coordinator, &second).await.unwrap();

    // The host is enrolled again, and its earlier certificates are no longer valid.
    let third = coordinator.enrol("w1").await;
    for old in [&first, &second] {
        let status = renew(&coordinator, old).await.unwrap_err();
        assert!(status.message().contains("enrolled again"), "{status:?}");
    }
    coordinator.decide("w1", "revoked").await.unwrap();
    let status = renew(&coordinator, &third).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("revoked: a test's"), "{}", status.message());
    // Revoked is for good, until it is enrolled again.
    let status = coordinator.decide("w1", "active").await.unwrap_err();
    assert!(status.message().contains("enrol it again"), "{}", status.message());
    let fourth = coordinator.enrol("w1").await;
    renew(&coordinator, &fourth).await.unwrap();
    assert!(renew(&coordinator, &third).await.is_err());
    let standing = coordinator.store.standing_fetch("w1").await.unwrap().unwrap();
    assert_eq!(standing.standing, Standing::Active);

    // There is no decision about an unknown worker, and a caller cannot quarantine in the farm's
    // place.
    assert_eq!(coordinator.decide("w9", "drained").await.unwrap_err().code(), Code::NotFound);
    let status = coordinator.decide("w1", "quarantined").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_refused() {
    let coordinator = Coordinator::with(&["--certificate-seconds", "2"]).await;
    let keys = coordinator.enrol("w1").await;
    let channel = coordinator.tls(Some(&keys));
    let mut client = FarmClient::new(channel.clone());
    client.get_info(v1::GetInfoRequest {}).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    // The connection was made while it held.
    let status = client.get_info(v1::GetInfoRequest {}).await.unwrap_err();
    assert!(status.message().contains("has ended"), "{status:?}");
    // And no new one can be made with it.
    assert!(renew(&coordinator, &keys).await.is_err());
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_trust_the_farm_does_not_get_through() {
    let coordinator = Coordinator::start().await;
    // Plain words to the port with TLS.
    let plain = format!("http://127.0.0.1:{}", coordinator.port());
    let channel = tonic::transport::Endpoint::from_shared(plain).unwrap().connect_lazy();
    assert!(FarmClient::new(channel).get_info(v1::GetInfoRequest {}).await.is_err());
    // And a silent connection does not delay others.
    let silent = tokio::net::TcpStream::connect(("127.0.0.1", coordinator.port())).await.unwrap();
    let mut client = FarmClient::new(coordinator.tls(None));
    client.get_info(v1::GetInfoRequest {}).await.unwrap();
    drop(silent);
    coordinator.stop().await;
}
