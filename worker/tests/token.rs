//! A worker that is started before the coordinator has made the token.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_rpmfarm-worker");

/// The longest that anything may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_token_that_is_not_there_yet_is_waited_for() {
    let directory = tempfile::tempdir_in("/var/lib").unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    let token = directory.path().join("token");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());

    let mut worker = Command::new(WORKER)
        .args(["run", "--name", "early", "--coordinator", &address, "--data-dir"])
        .arg(directory.path().join("data"))
        .arg("--token-file")
        .arg(&token)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stderr.take().unwrap()).lines();
    let _worker = Killed(worker);
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let wait_for = |words: &str| {
        let mut all = String::new();
        while !all.contains(words) {
            all += &received
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no `{words}` in: {all}"));
        }
        all
    };

    let line = wait_for("waiting for the token");
    assert!(line.contains(token.to_str().unwrap()), "{line}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it has called without a token");
    listener.set_nonblocking(false).unwrap();

    std::fs::write(&token, "secret\n").unwrap();
    wait_for("the worker runs");
    // It calls now: this returns.
    listener.accept().unwrap();
}
