//! Makes the dist-git, serves it, and fetches from it as a farm does: real git, by commit id and
//! at depth one, and look-aside files by both forms of addresses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rpmfarm_lab::distgit::{self, BRANCH, Commit, Entry};
use rpmfarm_lab::serve::Server;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(directory).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The status line with the headers, and the first bytes of the body.
fn get(server: &Server, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn served_as_upstream_is() {
    let directory = tempfile::tempdir().unwrap();
    let made = distgit::make(directory.path(), None).unwrap();
    let server = Server::start(directory.path().to_path_buf(), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();

    // The same folder gives the same commits.
    let again = tempfile::tempdir().unwrap();
    assert_eq!(distgit::make(again.path(), None).unwrap().commits, made.commits);

    // A fetch by commit id at depth one brings that commit alone.
    let clone = tempfile::tempdir().unwrap();
    let url = format!("{}/git/rpms/hello.git", server.url());
    let first = &made.commits["hello"];
    let newer = Commit { message: "Newer", tree: [("new", Entry::File(b"new\n"))].into() };
    let second = distgit::append(&made.repository("hello"), BRANCH, &newer).unwrap();
    git(clone.path(), &["init", "--quiet"]);
    git(clone.path(), &["fetch", "--quiet", "--depth=1", &url, first]);
    assert_eq!(git(clone.path(), &["rev-list", "--count", first]), "1");
    assert!(
        git(clone.path(), &["show", &format!("{first}:sources")]).contains("hello-2.10.tar.gz")
    );
    assert_eq!(
        git(clone.path(), &["ls-remote", &url, BRANCH]),
        format!("{second}\trefs/heads/{BRANCH}")
    );

    // Nothing can be pushed, and what is not there is said not to be.
    let push = ["push", &url, &format!("{first}:refs/heads/other")];
    assert!(
        !Command::new("git")
            .current_dir(clone.path())
            .args(push)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(
        get(&server, "/git/rpms/nothing.git/info/refs?service=git-upload-pack", "")
            .0
            .contains(" 404 ")
    );
    assert!(!get(&server, "/git/rpms/../../etc/passwd", "").0.contains(" 200 "));

    // The bad ones are as bad as they are meant to be.
    let link = git(&made.repository("outside-symlink"), &["ls-tree", BRANCH, "escape"]);
    assert!(link.starts_with("120000 "), "{link}");

    // The look-aside, by both forms of addresses, and in part.
    let metadata =
        git(&made.repository("jansson"), &["show", &format!("{BRANCH}:.jansson.metadata")]);
    let hash = metadata.split(' ').next().unwrap();
    let (head, exploded) = get(&server, &format!("/lookaside/{hash}"), "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let file = "jansson-2.14.tar.gz";
    let flat = format!("/lookaside/rpms/jansson/{file}/sha256/{hash}/{file}");
    assert_eq!(get(&server, &flat, "").1, exploded);
    let (head, part) = get(&server, &flat, "Range: bytes=10-19\r\n");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert_eq!(part, exploded[10..20]);
    let missing = git(&made.repository("missing-source"), &["show", &format!("{BRANCH}:sources")]);
    let hash = missing.rsplit(' ').next().unwrap();
    assert!(get(&server, &format!("/lookaside/{hash}"), "").0.contains(" 404 "));

    // Faults.
    assert_eq!(get(&server, "/fault/endless/any/name", "").1.len() >> 19, 1);
    let (head, _) = get(&server, "/fault/redirect?to=http://127.0.0.1:1/x", "");
    assert!(head.contains("location: http://127.0.0.1:1/x"), "{head}");
    assert!(get(&server, "/fault/status/503/any", "").0.contains(" 503 "));
    server.stop();
}
