//! No server at the address, or another program.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::{TOKEN, home, rpmfarm, run};

/// An address without a server.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn an_unreachable_coordinator_is_exit_4_in_one_line() {
    let server = nowhere();
    for args in [&["list"] as &[&str], &["watch", "7"], &["build", "hello", "--target", "lab"]] {
        let ran = run(rpmfarm(&server, home(Some(TOKEN)).path()).args(args));
        assert_eq!(ran.code, 4);
        let expected = format!(
            "rpmfarm: cannot reach the coordinator at {server}: connection refused; is it running? (rpmfarm-coordinator --help)\n"
        );
        assert_eq!(ran.stderr, expected);
    }
}

#[test]
fn the_address_of_something_else_is_exit_4() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let ran = run(rpmfarm(&server, home(None).path()).arg("list"));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(&server), "{}", ran.stderr);
}

#[test]
fn the_version_of_the_command_is_known_without_a_coordinator() {
    let ran = run(rpmfarm(&nowhere(), home(None).path()).arg("version"));
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.starts_with("rpmfarm 0.1.0\ncoordinator unknown: cannot reach"),
        "{}",
        ran.stdout
    );
}
