//! The acceptor as a process, beside the data of a coordinator.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rpmfarm_lab::farm::program;

use crate::support;

/// A running acceptor; it is killed with this.
pub(crate) struct Acceptor(Child);

impl Acceptor {
    pub(crate) fn start(data: &Path) -> Self {
        let socket = socket(data);
        let mut command = program("rpmfarm-acceptor");
        command.arg("serve").arg("--state").arg(state(data)).arg("--blobs").arg(data.join("blobs"));
        command.arg("--socket").arg(&socket).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the acceptor does not start");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join("acceptor.sock")
}

/// Its state directory.
pub(crate) fn state(data: &Path) -> PathBuf {
    data.join("acceptor")
}

/// Runs a command of an operator; it must succeed.
#[allow(dead_code, reason = "not every test needs one")]
pub(crate) fn operate(data: &Path, words: &[&str]) {
    support::run(program("rpmfarm-acceptor").args(words).arg("--state").arg(state(data)));
}
