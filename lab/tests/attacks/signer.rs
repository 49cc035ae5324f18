//! An attacker with the coordinator's user calls the signer directly: it signs nothing that
//! replaces a signed package or page, nothing without an acceptance, and nothing for other targets.

use std::fs;
use std::path::Path;

use rpmfarm_core::Sha256;
use rpmfarm_core::signing::PROTOCOL;
use rpmfarm_lab::farm::program;
use rpmfarm_proto::v1::signer_client::SignerClient;
use rpmfarm_proto::v1::{SignHeaderRequest, SignRepomdRequest};
use rpmfarm_rpmfile::{header_to_sign, inspect};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::made::Made;
use crate::stored::binary;
use crate::{Attack, NOTHING, PATIENCE, Scene};

async fn ask(scene: &Scene) -> SignerClient<Channel> {
    let socket = scene.farm.directory().join("signer.sock");
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    SignerClient::new(endpoint.connect().await.unwrap())
}

fn page(text: &str) -> SignRepomdRequest {
    SignRepomdRequest {
        key: "lab".into(),
        target: "lab".into(),
        channel: "testing".into(),
        path: "x86_64/os".into(),
        data: text.as_bytes().to_vec().into(),
        protocol: PROTOCOL,
    }
}

/// A request that is right in all that it says of a package.
fn header(of: &Path) -> SignHeaderRequest {
    let header = header_to_sign(of).unwrap();
    SignHeaderRequest {
        key: "lab".into(),
        nevra: inspect(of).unwrap().nevra.to_string(),
        header_digest: Sha256::compute(&header).hex(),
        header: header.into(),
        artifact_digest: Sha256::compute(&fs::read(of).unwrap()).hex(),
        target: "lab".into(),
        build: 1,
        protocol: PROTOCOL,
        // The acceptor alone can make one.
        acceptance: None,
    }
}

/// It was understood, and refused.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, what: &str) {
    let status = match answer {
        Ok(signature) => panic!("{what} is signed: {signature:?}"),
        Err(status) => status,
    };
    let broken = [Code::Unavailable, Code::Unimplemented, Code::Unknown, Code::Internal];
    assert!(!broken.contains(&status.code()), "{what}: {status}");
}

/// Pages of the channel that was published, as it is, older, and as it is not.
async fn asks_for_pages(signer: &mut SignerClient<Channel>, current: &str) {
    // The current page is signed again: the requests are valid.
    signer.sign_repomd(page(current)).await.unwrap();
    let revision = current.split_once("<revision>").unwrap().1.split_once('<').unwrap().0;
    let of = |revision: u64| format!("<revision>{revision}<");
    let now: u64 = revision.parse().unwrap();
    let older = current.replace(&of(now), &of(now - 1));
    assert_ne!(older, current);
    let changed = current.replace("<data ", "<data x=\"1\" ");
    assert_ne!(changed, current);
    let (target, channel, path) = ("other".to_owned(), "stable".to_owned(), "x86_64/debug".into());
    for (what, request) in [
        ("an older revision", page(&older)),
        ("another page of the revision", page(&changed)),
        (
            "a document with another root element",
            page("<?xml version=\"1.0\"?>\n<other><repomd/></other>\n"),
        ),
        ("no XML", page("<?xml version=\"1.0\"?> <repomd")),
        ("another target's", SignRepomdRequest { target, ..page(current) }),
        ("another channel's", SignRepomdRequest { channel, ..page(current) }),
        ("another repository's", SignRepomdRequest { path, ..page(current) }),
    ] {
        refused(signer.sign_repomd(request).await, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_the_signer_replaces_nothing() {
    let mut scene = Scene::new();
    let asked = Attack { name: "asked", tags: "BuildArch: noarch", ..NOTHING };
    scene.push(&asked);
    let published = scene.farm.client().publish(&["asked"], PATIENCE).unwrap();
    let accepted = binary(&published[0]);
    let repos = scene.farm.directory().join("coordinator/repos");
    let current = repos.join("lab/testing/x86_64/os/repodata/repomd.xml");
    let mut signer = ask(&scene).await;
    asks_for_pages(&mut signer, &fs::read_to_string(current).unwrap()).await;

    let backdoor = "echo BACKDOOR > %{buildroot}/usr/share/asked/x";
    let foreign = Made::of(&Attack { install: backdoor, ..asked });
    let unknown = Made::of(&Attack { name: "unknown", tags: "BuildArch: noarch", ..NOTHING });
    let (foreign, unknown) = (header(&foreign.binary()), header(&unknown.binary()));
    let (nevra, none) = (foreign.nevra.clone(), "0".repeat(64));
    for (what, request) in [
        ("another package of that name", foreign.clone()),
        (
            "its header with the accepted file",
            SignHeaderRequest { artifact_digest: accepted, ..foreign },
        ),
        ("a package that nobody accepted", unknown.clone()),
        ("a file of another name", SignHeaderRequest { nevra, ..unknown.clone() }),
        ("no file", SignHeaderRequest { artifact_digest: none, ..unknown.clone() }),
        ("another target's", SignHeaderRequest { target: "other".into(), ..unknown.clone() }),
        ("no build's", SignHeaderRequest { build: 0, ..unknown }),
    ] {
        refused(signer.sign_header(request).await, what);
    }
    scene.goes_on();
    let log = scene.farm.directory().join("signer-audit.jsonl");
    let output = program("rpmfarm-signer").args(["audit", "verify"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
